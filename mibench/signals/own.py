"""What a model of one's own, and models trained beside it, answer: the arrays of an audit.

Their names are those of docs/attacks.md. Samples are shared out as in
:class:`mibench.signals.signals.Signals`: references are trained on halves of the target's members
and nonmembers, shadows on halves of the attacker's own samples, distilled models on what the target
answers on halves of those.
"""

from __future__ import annotations

import inspect
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

import mibench.adapters  # noqa: F401 - registers them
from mibench import code, progress
from mibench.adapters.base import ADAPTERS, adapter_of
from mibench.data.base import checksum
from mibench.errors import MIBenchError
from mibench.outputs import (
    FloatArray,
    IntArray,
    are_posteriors,
    check_labels,
    check_numbering,
    check_outputs,
    cross_entropy,
)
from mibench.setting import Setting
from mibench.signals import perturbations
from mibench.signals.owner import sha256
from mibench.signals.perturbations import COPIES
from mibench.signals.signals import RANDOM_POINTS, halves
from mibench.store import Arrays, Store
from mibench.streams import Streams

LIKE_THE_TARGET = "like the target"
# Of the population, and of members and nonmembers: halves and thirds of fewer train nothing.
_FEWEST = 30
# Other files say which samples a model is trained on and asked for, which the key says itself.
_MAKERS = ("signals/own", "signals/perturbations", "adapters/", "training/", "outputs", "streams")
Train = Callable[[NDArray[Any], IntArray, int], Any]
Stages = Callable[[NDArray[Any], IntArray, int], Iterator[Any]]


class Samples(NamedTuple):
    """Inputs (n, ...) as a model takes them, and their labels (n,)."""

    inputs: NDArray[Any]
    labels: NDArray[Any]

    def take(self, chosen: IntArray) -> Samples:
        """Return a selection."""
        return Samples(self.inputs[chosen], self.labels[chosen])


@dataclass(frozen=True)
class _Space:
    """Where inputs lie: :mod:`mibench.signals.perturbations` wants them in [0, 1].

    Images are scaled by the range of all pixels, records of floats by each column's.
    """

    kind: str
    low: FloatArray
    span: FloatArray
    channels_last: bool

    @classmethod
    def of(cls, inputs: NDArray[Any]) -> _Space | None:
        """Return the space of inputs, or None where copies make no sense."""
        axes, real = inputs.ndim, inputs.dtype.kind == "f" and np.isfinite(inputs).all()
        if axes == 2 and inputs.dtype.kind in "biuf" and np.isin(inputs, (0, 1)).all():
            return cls("binary", np.zeros(1), np.ones(1), False)
        if not real or axes not in (2, 4):
            return None
        axis = 0 if axes == 2 else None
        low, last = inputs.min(axis), axes == 4 and inputs.shape[-1] < inputs.shape[1]
        return cls("image" if axes == 4 else "real", low, inputs.max(axis) - low, last)

    def unit(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Return inputs in [0, 1], images (n, C, H, W)."""
        scaled = (inputs - self.low) / np.where(self.span > 0, self.span, 1)
        return np.moveaxis(scaled, -1, 1 if self.channels_last else -1).astype(np.float32)

    def back(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return inputs as the model takes them."""
        inputs = np.moveaxis(unit, 1 if self.channels_last else -1, -1)
        return (inputs * self.span + self.low).astype(np.float32)


class Own:
    """A model of one's own, its samples, and those that an attacker has.

    Parameters
    ----------
    model
        Whatever an adapter takes.
    samples : mapping of str to (inputs, labels)
        The "members", "nonmembers" and perhaps the "population".
    train : callable or "like the target", optional
        From (inputs, labels, seed) to a model that an adapter takes, or a generator function that
        yields it as it is trained.
    setting : Setting
        The seed, and how many models are trained.
    store : Store
        Keeps what each trained model answers.
    needs : collection of str
        Of attacks: what is asked, and which models are trained.

    Attributes
    ----------
    notes : list of str
        What was interpreted, and what was not made and why.

    Raises
    ------
    MIBenchError
        If something is not what it should be; nothing is trained then.
    """

    def __init__(
        self,
        model: Any,
        samples: Mapping[str, tuple[Any, Any]],
        train: Train | str | None,
        setting: Setting,
        store: Store,
        needs: Collection[str],
    ):
        self.model, self.setting, self.store, self.needs = model, setting, store, needs
        self.train, self.stages, self.made_by = _training(model, train, "population" in samples)
        inputs = {name: _inputs(name, pair) for name, pair in samples.items()}
        if len(shapes := {array.shape[1:] for array in inputs.values()}) > 1:
            raise MIBenchError(f"all inputs must be alike; found shapes {sorted(shapes)}")
        pool = np.concatenate([inputs["members"], inputs["nonmembers"]])
        self.notes: list[str] = []
        self.logits = _ask(model, pool, "the model", None, self.notes.append)
        checked = {
            name: Samples(
                own, check_labels(f"{name}' labels", labels, own.shape[:1], self.logits.shape[1])
            )
            for (name, own), (_, labels) in zip(inputs.items(), samples.values(), strict=True)
        }
        sides = checked["members"], checked["nonmembers"]
        # Refused before anything is trained; the caution comes with the arrays' own.
        check_numbering(self.logits[: len(sides[0].labels)], sides[0].labels)
        self.pool = Samples(pool, np.concatenate([side.labels for side in sides]))
        self.is_member = np.arange(len(pool)) < len(sides[0].labels)
        self.population = checked.get("population", Samples(pool[:0], self.pool.labels[:0]))
        self.checksum = [checksum(*own) for own in checked.values()]
        self.streams = Streams(seed=setting.seed, data=self.checksum)
        self.notes += _shared(inputs)
        self.numbers = _numbers(pool) and _numbers(self.population.inputs)
        self.space = _Space.of(pool)
        lacking = [kind for kind in (*COPIES, "generated", "random") if kind in needs]
        if self.space is None and lacking:
            named = " and ".join(", ".join(lacking).rsplit(", ", 1))
            self.notes.append(
                f"no {named} inputs were made, since inputs of "
                f"{pool.dtype} and {pool.ndim} axes are neither records of bits or floats (2 axes) "
                "nor images of floats (4), none of them NaN or infinite"
            )
        elif self.space and "augmented" in needs and self.space.kind != "image":
            self.notes.append("no augmented copies were made, which are of images (4 axes) only")
        if train is not None:
            self.notes += _enough(self.pool.labels, self.population.labels)
        count = len(self.population.labels)
        size = 0 if train is None else min(len(sides[0].labels), count // 3)
        parts = np.split(self.streams("population").permutation(count), [2 * size])
        self.shadows_own, self.auxiliary = (self.population.take(part) for part in parts)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that attacks can be given, by the names of an audit's arrays."""
        made = {
            "target_logits": self.logits,
            "target_labels": self.pool.labels,
            "target_is_member": self.is_member,
            **self._copies(self.model, self.pool, ""),
        }
        inputs, labels = self.auxiliary
        if self.numbers:
            made["inputs"] = self.pool.inputs
        if self.space is not None:
            some, stream = self.space.unit(self.pool.inputs[:1]), self.streams("random")
            points = perturbations.random_points(some, self.space.kind, RANDOM_POINTS, stream)
            made["random_logits"] = self._answer(self.model, self.space.back(points))
        if len(labels):
            made["auxiliary_logits"] = self._of_auxiliary
            made["auxiliary_labels"] = labels
            made |= {"auxiliary_inputs": inputs} if self.numbers else {}
        if len(labels) and self.space is not None:
            unit, stream = self.space.unit(inputs), self.streams("generated")
            copies = perturbations.generated_nonmembers(unit, self.space.kind, stream)
            made["generated_logits"] = self._answer(self.model, self.space.back(copies))
            made["generated_labels"] = labels
        return made | self._trained()

    @cached_property
    def _of_auxiliary(self) -> FloatArray:
        return self._answer(self.model, self.auxiliary.inputs)

    def _answer(self, model: Any, inputs: NDArray[Any], name: str = "the model") -> FloatArray:
        return _ask(model, inputs, name, self.logits.shape[1], diverges=model is not self.model)

    def _kinds(self, owner: str) -> list[str]:
        """Return which copies an owner's models are asked for."""
        if self.space is None:
            return []
        read = {"reference_": {"augmented"}, "shadow_": {"perturbed", "noisy"}, "": set(COPIES)}
        made = read[owner] if self.space.kind == "image" else read[owner] - {"augmented"}
        return [kind for kind in COPIES if kind in made and kind in self.needs]

    def _copies(self, model: Any, samples: Samples, owner: str) -> Arrays:
        """Return what a model answers on copies of samples."""
        found: Arrays = {}
        kinds = self._kinds(owner)
        if self.space is None or not kinds:
            return found
        unit, makers = self.space.unit(samples.inputs), perturbations.MAKERS
        for kind in kinds:
            count = COPIES[kind]
            copies = makers[kind](unit, self.space.kind, count, self.streams(owner + kind))
            bar = progress.bar(copies, f"asking {kind} copies", count, delay=1)
            answers = [self._answer(model, self.space.back(copy)) for copy in bar]
            found[f"{owner}{kind}_predicted"] = np.stack([a.argmax(axis=1) for a in answers])
            with np.errstate(invalid="ignore"):  # of a model that diverged
                losses = [cross_entropy(a, samples.labels) for a in answers]
            found[f"{owner}{kind}_loss"] = np.stack(losses)
        return found

    def _trained(self) -> Arrays:
        """Return the answers of all models that are trained beside the target."""
        if self.train is None:
            return {}
        stacks: dict[str, list[NDArray[Any]]] = defaultdict(list)
        jobs = [*self._shadows(), *self._references(), *self._distilled(), *self._students(stacks)]
        for job in progress.bar(jobs, "models trained beside", unit="model"):
            for name, array in job().items():
                stacks[name].append(array)
        made = {name: np.stack(arrays) for name, arrays in stacks.items()}
        paths = [name for name in made if name.endswith("trajectory_logits")]
        if not all(np.isfinite(made[name]).all() for name in paths):
            self.notes.append(
                "trajectories were left out, since a distilled model diverged at one of its stages"
            )
            return {name: array for name, array in made.items() if name not in paths}
        # Of one model, the target, where others are of several.
        return made | {n: made[n][0] for n in paths if n == "trajectory_logits"}

    def _shadows(self) -> Iterator[Callable[[], Arrays]]:
        if "shadow" not in self.needs:
            return
        own = self.shadows_own
        asked = {"shadow": own.inputs, "shadow_auxiliary": self.auxiliary.inputs}
        everyone = np.arange(len(own.labels))
        for k in range(self.setting.shadows):
            [half, _] = halves(everyone, 2, self.streams("shadows", k))
            given = {"shadow_labels": own.labels, "shadow_is_member": np.isin(everyone, half)}
            yield partial(self._one, f"shadow {k}", own.take(half), asked, given, own)

    def _references(self) -> Iterator[Callable[[], Arrays]]:
        if "references" not in self.needs:
            return
        asked = {"reference": self.pool.inputs, "auxiliary_reference": self.auxiliary.inputs}
        everyone, count = np.arange(len(self.pool.labels)), self.setting.references
        for k, half in enumerate(halves(everyone, count, self.streams("references"))):
            given = {"reference_in": np.isin(everyone, half)}
            yield partial(
                self._one, f"reference {k}", self.pool.take(half), asked, given, self.pool
            )

    def _distilled(self) -> Iterator[Callable[[], Arrays]]:
        if "distilled" not in self.needs:
            return
        (inputs, labels), rng = self.population, self.streams("distilled")
        teacher = self._answer(self.model, inputs)
        for k, half in enumerate(halves(np.arange(len(labels)), self.setting.distilled, rng)):
            taught = Samples(inputs[half], _drawn(teacher[half], rng))
            yield partial(self._one, f"distilled {k}", taught, {"distilled": self.pool.inputs}, {})

    def _students(self, stacks: Mapping[str, list[NDArray[Any]]]) -> Iterator[Callable[[], Arrays]]:
        """Yield what distils the target, and each shadow by its answers, stage by stage."""
        if "trajectory" not in self.needs or self.stages is None:
            return
        inputs = self.auxiliary.inputs

        def distil(owner: str, k: int, asked: NDArray[Any]) -> Arrays:
            answers = stacks["shadow_auxiliary_logits"][k] if owner else self._of_auxiliary
            taught = Samples(inputs, _drawn(answers, self.streams(f"{owner}student", k)))
            name = f"{owner}trajectory"
            made = self._one(f"{name} {k}", taught, {name: asked}, {}, stages=self.stages)
            counts = [len(made[f"{name}_logits"]), *map(len, stacks["trajectory_logits"])]
            if len({*counts}) > 1:
                raise MIBenchError(
                    f"train yields {counts[0]} stages for a model distilled from shadow {k} and "
                    f"{counts[1]} for one from the target; let it yield as many each time"
                )
            return made

        yield partial(distil, "", 0, self.pool.inputs)
        for k in range(self.setting.shadows):
            yield partial(distil, "shadow_", k, self.shadows_own.inputs)

    def _one(
        self,
        name: str,
        samples: Samples,
        asked: Mapping[str, NDArray[Any]],
        given: Mapping[str, NDArray[Any]],
        copied: Samples | None = None,
        stages: Stages | None = None,
    ) -> Arrays:
        """Return what a model trained on samples answers, from the store where it is there.

        With stages it is what each of them answers, (E, ...).
        """
        seed, owner = self.streams.seed(f"training {name}"), f"{name.split()[0]}_"
        kinds = [] if copied is None else self._kinds(owner)

        def answers(model: Any) -> Arrays:
            if model is self.model:
                raise MIBenchError("train returned the audited model; let it make a new one")
            if model is None:
                raise MIBenchError(
                    f"train gave nothing for {name}; let it return, or yield, a model"
                )
            if inspect.isgenerator(model):
                raise MIBenchError(
                    "train returned a generator; give the function that has yield in its own body"
                )
            return {f"{n}_logits": self._answer(model, i, name) for n, i in asked.items()}

        def make() -> Arrays:
            assert self.train is not None
            try:
                if stages is not None:
                    found = [answers(model) for model in stages(*samples, seed)] or [answers(None)]
                    return {n: np.stack([stage[n] for stage in found]) for n in found[0]}
                model = self.train(*samples, seed)
            except MIBenchError:
                raise
            except Exception as error:  # whatever the library that trains raises
                raise MIBenchError(
                    f"train fails for {name}, of {len(samples.labels)} samples of "
                    f"{len(np.unique(samples.labels))} classes: {_told(error)}"
                ) from error
            answered = answers(model)
            return answered | ({} if copied is None else self._copies(model, copied, owner))

        key = {
            "model": name,
            "data": self.checksum,
            "samples": [[*part.shape, sha256(part)] for part in samples],
            "seed": seed,
            "copies": kinds,
            "made_by": self.made_by,
            "code": _source(),
        }
        return {**self.store.get("audits", key, make), **given}


def _training(
    model: Any, train: Train | str | None, population: bool
) -> tuple[Train | None, Stages | None, str]:
    """Return the function that trains, one that yields its stages, and what is known of it."""
    if train is None:
        return None, None, ""
    if not population:
        raise MIBenchError(
            "train needs population: (inputs, labels) of nonmembers that an attacker has, on which "
            "shadow and distilled models are trained"
        )
    adapter = adapter_of(model)
    if train == LIKE_THE_TARGET:
        return partial(adapter.like, model), adapter.stages(model), adapter.described(model)
    if not callable(train):
        raise MIBenchError(
            f"train is {train!r}; give a function of inputs, labels and seed that returns a model, "
            f"or {LIKE_THE_TARGET!r}"
        )
    try:
        inspect.signature(train).bind("inputs", "labels", 0)
    except TypeError:
        raise MIBenchError(
            "train cannot be called with inputs, labels and seed; let it take these"
        ) from None
    except ValueError:  # a function in C does not tell
        pass
    if not inspect.isgeneratorfunction(train):
        return train, None, code.of(train)

    def last(inputs: NDArray[Any], labels: IntArray, seed: int) -> Any:
        return next(iter(deque(train(inputs, labels, seed), maxlen=1)), None)

    return last, train, code.of(train)


def _drawn(logits: FloatArray, rng: np.random.Generator) -> IntArray:
    """Return labels drawn from posteriors: of logits that are NaN, class 0.

    The mean loss on them is the loss on the posteriors, and whoever trains takes labels.
    """
    posteriors = scipy.special.softmax(logits, axis=1)
    drawn = posteriors.cumsum(axis=1) > rng.random((len(logits), 1))
    labels: IntArray = drawn.argmax(axis=1)
    return labels


def _source() -> str:
    """Return the digest of the files by which models are trained and asked."""
    made = code.digests(__name__, *(type(adapter).__module__ for adapter in ADAPTERS.values()))
    ours = tuple(f"mibench/{maker}" for maker in _MAKERS)
    return code.combined(
        {f: d for f, d in made.items() if f.startswith(ours) or not f.startswith("mibench/")}
    )


def _ask(
    model: Any,
    inputs: NDArray[Any],
    name: str,
    classes: int | None,
    say: Callable[[str], None] = lambda note: None,
    diverges: bool = False,
) -> FloatArray:
    """Return a model's logits (n, C), or the logarithms of its posteriors.

    All are NaN where the training `diverges` and some are.
    """
    adapter = adapter_of(model, name)
    try:
        answers = np.asarray(adapter.answer(model, inputs, classes))
    except MIBenchError:
        raise
    except Exception as error:  # whatever the model's library raises
        raise MIBenchError(
            f"{name} cannot be asked for inputs of {inputs.dtype} and shape {inputs.shape}; give "
            f"them as it takes them: {_told(error)}"
        ) from error
    answers = answers[:, None] if answers.ndim == 1 else answers
    if answers.dtype.kind == "f" and not (finite := np.isfinite(answers)).all():
        if diverges:
            return np.full((len(inputs), classes or 1), np.nan)
        held = "" if _numbers(inputs) else " some inputs hold NaN or infinity;"
        raise MIBenchError(
            f"{name} answers NaN or infinity for {(~finite).any(axis=1).sum()} of "
            f"{len(inputs)} inputs;{held} give inputs that it can classify"
        )
    form = "posteriors" if adapter.posteriors or are_posteriors(answers) else "logits"
    return check_outputs(f"{name}'s {form}", answers, (len(inputs),), classes, say)


def _told(error: Exception) -> str:
    """Return an error of another library in one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__} ({said[:200]})"


def _inputs(name: str, pair: Any) -> NDArray[Any]:
    """Return the inputs of a pair that came from outside."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise MIBenchError(f"{name} must be a pair (inputs, labels), not a {type(pair).__name__}")
    try:
        inputs = np.asarray(pair[0])
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors with gradients
        raise MIBenchError(f"the inputs of {name} are no array: {error}") from None
    if inputs.dtype.kind not in "biufU" or inputs.ndim == 0 or len(inputs) == 0:
        raise MIBenchError(
            f"the inputs of {name} are of {inputs.dtype} and shape {inputs.shape}; give an array "
            "of numbers or texts, one entry a sample"
        )
    return inputs


def _shared(inputs: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """Yield a caution where inputs are those of another part as well."""
    rows = {name: {row.tobytes() for row in array} for name, array in inputs.items()}
    for name, other in combinations(rows, 2):
        if both := len(rows[name] & rows[other]):
            yield (
                f"caution: {both:,} inputs of {other} are inputs of {name} as well, so that what "
                "was found may be wrong"
            )


def _enough(pool: IntArray, population: IntArray) -> Iterator[str]:
    """Yield a caution where the population lacks classes; refuse what is too small to train on."""
    for name, labels in (("members and nonmembers", pool), ("population", population)):
        if len(labels) < _FEWEST:
            raise MIBenchError(
                f"{len(labels)} samples are too few for {name} where train is given: give "
                f"{_FEWEST} at least, better as many as the model was trained on"
            )
    if len(lacking := np.setdiff1d(pool, population)):
        classes = ", ".join(map(str, lacking[:5])) + ", ..." * (len(lacking) > 5)
        yield (
            f"caution: population holds no sample of {len(lacking)} of the classes ({classes}), of "
            "which shadow and distilled models learn nothing"
        )


def _numbers(inputs: NDArray[Any]) -> bool:
    """Return whether inputs are finite numbers."""
    return inputs.dtype.kind != "U" and bool(np.isfinite(inputs).all())
