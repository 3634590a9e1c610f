"""What an attack is, what it may see, and the catalogue of all attacks."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from itertools import product
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_type_hints

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from mibench.catalogue import Catalogue
from mibench.errors import MIBenchError
from mibench.outputs import FloatArray, Labelled, Outputs

# A share such as a false positive rate, and a number of things, as parameters.
Rate = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]

NEEDS = {
    "shadow": "shadow models' outputs on their own members and nonmembers",
    "references": "outputs of reference models on the target dataset, and what they trained on",
    "random": "the target's outputs on random inputs",
    "generated": "the target's outputs on generated nonmembers",
    "auxiliary": "the target's outputs on labelled nonmembers of the auditor's own",
    "distilled": "outputs of models distilled from the target",
    "trajectory": "outputs of a model distilled from the target, as it was distilled",
    "inputs": "the samples themselves",
    "perturbed": "the target's answers on perturbed copies",
    "noisy": "the target's answers on noisy copies",
    "augmented": "the target's and reference models' answers on mirrored and shifted images",
}


@dataclass(frozen=True)
class Knowledge:
    """What an attacker has beside the target dataset; the same for all target datasets.

    Attributes
    ----------
    seed : int
        Of the attack's own randomness. Nothing else can be told from it: neither the order of a
        target dataset nor the splits.
    shadows : tuple of Labelled
        Each shadow model's outputs on its own members and nonmembers.
    random : Outputs, optional
        The target's outputs on random inputs, labelled with what it answers.
    generated : Outputs, optional
        The target's outputs on generated nonmembers, labelled as the samples they came from.
    auxiliary : Outputs, optional
        The target's outputs on labelled nonmembers that the attacker owns.
    shadow_auxiliary : tuple of Outputs
        Each shadow model's outputs on the same.
    """

    seed: int = 0
    shadows: tuple[Labelled, ...] = ()
    random: Outputs | None = None
    generated: Outputs | None = None
    auxiliary: Outputs | None = None
    shadow_auxiliary: tuple[Outputs, ...] = ()

    @property
    def shadow(self) -> Labelled:
        """All shadow models' outputs together; MIBenchError where there are none."""
        if not self.shadows:
            raise _lacking("shadow")
        return Labelled.joined(self.shadows)

    def given(self, need: str) -> Outputs:
        """Return what is known under a need's name, or raise MIBenchError where it is lacking."""
        found: Outputs | None = getattr(self, need)
        if found is None:
            raise _lacking(need)
        return found


def _lacking(need: str) -> MIBenchError:
    return MIBenchError(f"this attack needs {NEEDS[need]}, which was not given")


@dataclass(frozen=True)
class Inference:
    """An attack's answer: `scores` (n,), higher for likelier members, and one threshold.

    A sample is called a member where its score reaches the threshold.
    """

    scores: FloatArray
    threshold: float


@dataclass
class Attack(ABC):
    """A membership inference attack; its fields are its parameters.

    Subclasses set the class attributes, implement :meth:`infer`, override :meth:`fit` where they
    learn something beforehand, and are registered with :func:`register`. An attack never
    receives the membership of the target dataset: :class:`mibench.outputs.Outputs` has no
    place for it. A field may state its range as ``Annotated[float, pydantic.Field(gt=0)]``.

    Attributes
    ----------
    name : str
        How it is called in parameter files and on the command line.
    title : str
        How it is written in tables and figures.
    source : str
        The paper.
    needs : frozenset of str
        Keys of :data:`NEEDS`.
    labels_only : bool
        Whether it reads nothing of the target but the labels it answers.
    per_sample : bool
        Whether a sample's score follows from that sample alone, and the threshold from none of
        them, whichever are attacked together, so that a pool is scored once for all target
        datasets that are chosen from it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    labels_only: ClassVar[bool] = False
    per_sample: ClassVar[bool] = False

    def fit(self, knowledge: Knowledge) -> Self:
        """Learn what does not depend on the target dataset."""
        return self

    @abstractmethod
    def infer(self, target: Outputs) -> Inference:
        """Score the samples of a target dataset."""

    @property
    def label(self) -> str:
        """The name with the parameters that are not the default, such as ``rmia[gamma=2]``."""
        return self.name + self._changed()

    @property
    def full_title(self) -> str:
        """The title with the parameters that are not the default."""
        return f"{self.title} {self._changed()}".strip()

    def _changed(self) -> str:
        said = ",".join(
            f"{field.name}={_shown(value)}"
            for field in fields(self)
            if (value := getattr(self, field.name)) != _default(field)
        )
        return f"[{said}]" if said else ""


def _default(field: Any) -> Any:
    return field.default if field.default is not MISSING else field.default_factory()


def _shown(value: Any) -> str:
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value)


AttackType = TypeVar("AttackType", bound=type[Attack])
ATTACKS: Catalogue[type[Attack]] = Catalogue("attack", lambda kind: kind.title)


def register(attack: AttackType) -> AttackType:
    """Make an attack known by its name; use as a class decorator, above ``@dataclass``."""
    unknown = attack.needs - NEEDS.keys()
    if unknown:
        raise MIBenchError(f"{attack.name} needs {', '.join(unknown)}, which nothing provides")
    ATTACKS.add(attack.name, attack)
    return attack


# The published list, which names BlindMI-Diff once, and its extension. "Risk score" was run as the
# attack by modified entropy (docs/published.md).
_PUBLISHED = (
    *("nn_attack", "top3_nn", "top2_true", "top1_threshold", "loss_threshold", "label_only"),
    *("blindmi_diff_w", "class_modified_entropy", "shapley", "ppv", "calibrated", "distillation"),
    "lira_online",
)
# By name, which attacks belong to a group. `labels-only`, as "Label-only" is an attack.
GROUPS: dict[str, Callable[[type[Attack]], bool]] = {
    "all": lambda kind: True,
    "published13": lambda kind: kind.name in _PUBLISHED,
    "published15": lambda kind: kind.name in (*_PUBLISHED, "blindmi_diff_wo", "blindmi_1class"),
    "shadow-only": lambda kind: kind.needs <= {"shadow"},
    "labels-only": lambda kind: kind.labels_only,
}


Specs = str | Iterable[str | Mapping[str, Any] | Attack]


def parse(specs: Specs) -> list[Attack]:
    """Return the attacks that are asked for; one that is in several groups once.

    Parameters
    ----------
    specs : str, or a list
        Of names or titles, of :data:`GROUPS` such as "all", and of labels such as
        ``rmia[gamma=2]``, in a string with commas between; in a list also of mappings with `name`
        and parameters, a list of values for one of which stands for one attack each:
        ``{name: rmia, gamma: [1, 2]}``.

    Raises
    ------
    MIBenchError
        If an attack is unknown, is listed twice or has no such parameter, or a value is not what
        it must be.
    """
    if isinstance(specs, str):
        specs = [said for said in re.split(r",(?![^\[]*\])", specs) if said.strip()]
    if isinstance(specs, Mapping) or not isinstance(specs, Iterable):
        raise MIBenchError(f"attacks is {specs!r}; give 'all' or a list of names")
    found: dict[str, Attack] = {}
    listed: set[str] = set()
    for spec in specs:
        if isinstance(spec, str) and spec in GROUPS:
            attacks = [kind() for kind in ATTACKS.values() if GROUPS[spec](kind)]
        else:
            attacks = [spec] if isinstance(spec, Attack) else _parsed(spec)
            for attack in attacks:
                if attack.label in listed:
                    raise MIBenchError(f"attack {attack.label} is listed twice; leave one out")
                listed.add(attack.label)
        found |= {attack.label: attack for attack in attacks}
    if not found:
        raise MIBenchError("attacks is an empty list; give 'all' or a list of names")
    return list(found.values())


def named(label: str) -> Attack:
    """Return the attack of one name, title or label; see :func:`parse`."""
    [attack] = _parsed(label)
    return attack


def kind_of(label: str) -> type[Attack] | None:
    """Return the kind of attack that a label of results is of, None of one no longer known."""
    return ATTACKS.get(label.partition("[")[0])


def _parsed(spec: Any) -> list[Attack]:
    if isinstance(spec, str):
        spec = _from_label(spec)
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise MIBenchError(f"attack {spec!r} has no name; give a name, or name and parameters")
    kind = ATTACKS[ATTACKS.find(spec["name"])]
    known = [field.name for field in fields(kind)]
    swept = {k: v if isinstance(v, list) else [v] for k, v in spec.items() if k != "name"}
    for name, values in swept.items():
        if not values:
            raise MIBenchError(f"{kind.name}: {name} is an empty list; give at least one value")
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise MIBenchError(f"{kind.name} has no parameter {name!r}; {has}")
    return [
        _made(kind, dict(zip(swept, values, strict=True))) for values in product(*swept.values())
    ]


def _made(kind: type[Attack], parameters: dict[str, Any]) -> Attack:
    types = get_type_hints(kind, include_extras=True) if parameters else {}
    for name, value in parameters.items():
        try:
            parameters[name] = TypeAdapter(types[name]).validate_python(value, strict=True)
        except ValidationError as error:
            said = error.errors()[0]["msg"].replace("Input should be", "it must be")
            raise MIBenchError(f"{kind.name}: {name} is {value!r}; {said}") from None
    return kind(**parameters)


def _from_label(text: str) -> dict[str, Any]:
    name, bracket, inside = text.partition("[")
    spec: dict[str, Any] = {"name": name}
    if not bracket or text in ATTACKS:
        return {"name": text}
    inside, closed, rest = inside.strip().rpartition("]")
    if not closed or rest or "]" in inside:
        raise MIBenchError(f"attack {text!r} is not written as name[parameter=value]")
    for part in inside.split(","):
        key, equals, value = part.partition("=")
        if not equals or key.strip() in spec:
            said = "is given twice" if equals else "has no value; write name[parameter=value]"
            raise MIBenchError(f"attack {text!r}: {key.strip() or 'a parameter'} {said}")
        try:
            spec[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise MIBenchError(
                f"attack {text!r}: {key.strip()} has no value that can be read"
            ) from None
    return spec
