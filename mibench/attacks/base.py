"""What an attack is, what it may see, and the register of all attacks."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, Outputs

NEEDS = {
    "shadow": "a shadow model's outputs on its own members and nonmembers",
    "references": "outputs of reference models on the target dataset, and what they trained on",
    "random": "the target's outputs on random inputs",
    "generated": "the target's outputs on generated nonmembers",
    "auxiliary": "the target's outputs on labelled nonmembers of the auditor's own",
    "distilled": "outputs of models distilled from the target",
    "perturbed": "the target's answers on perturbed copies",
    "noisy": "the target's answers on noisy copies",
}


@dataclass(frozen=True)
class Knowledge:
    """What an attacker has beside the target dataset; the same for all target datasets.

    Attributes
    ----------
    shadow : Outputs, optional
        The shadow model's outputs on its own members and nonmembers.
    shadow_is_member : bool array, optional
    random : Outputs, optional
        The target's outputs on random inputs, labelled with what it answers.
    generated : Outputs, optional
        The target's outputs on generated nonmembers, labelled as the samples they came from.
    auxiliary : Outputs, optional
        The target's outputs on labelled nonmembers that the attacker owns.
    """

    shadow: Outputs | None = None
    shadow_is_member: BoolArray | None = None
    random: Outputs | None = None
    generated: Outputs | None = None
    auxiliary: Outputs | None = None


@dataclass(frozen=True)
class Inference:
    """An attack's answer: `scores` (n,), higher for likelier members, and one threshold.

    A sample is called a member where its score reaches the threshold.
    """

    scores: FloatArray
    threshold: float


class Attack(ABC):
    """A membership inference attack.

    Subclasses set the class attributes, implement :meth:`infer`, override :meth:`fit` where they
    learn something beforehand, and are registered with :func:`register`. An attack never
    receives the membership of the target dataset: :class:`mibench.outputs.Outputs` has no
    place for it.

    Attributes
    ----------
    name : str
        How it is called on the command line.
    title : str
        How it is written in tables and figures.
    source : str
        The paper.
    needs : frozenset of str
        Keys of :data:`NEEDS`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[frozenset[str]]

    def __init__(self, seed: int = 0):
        self.seed = seed

    def fit(self, knowledge: Knowledge) -> Self:
        """Learn what does not depend on the target dataset."""
        return self

    @abstractmethod
    def infer(self, target: Outputs) -> Inference:
        """Score the samples of a target dataset."""


AttackType = TypeVar("AttackType", bound=type[Attack])
REGISTRY: dict[str, type[Attack]] = {}


def register(attack: AttackType) -> AttackType:
    """Make an attack known by its name; use as a class decorator."""
    unknown = attack.needs - NEEDS.keys()
    if unknown:
        raise ValueError(f"{attack.name} needs {unknown}, which nothing provides")
    REGISTRY[attack.name] = attack
    return attack


def find(name: str) -> type[Attack]:
    """Return the attack with a name or title; case and punctuation do not matter.

    Raises
    ------
    MIBenchError
        If there is none.
    """
    plain = _plain(name)
    for attack in REGISTRY.values():
        if plain in (_plain(attack.name), _plain(attack.title)):
            return attack
    close = difflib.get_close_matches(name.lower(), REGISTRY, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise MIBenchError(f"unknown attack {name!r}; {hint}known are {', '.join(REGISTRY)}")


def given(value: Outputs | None, need: str) -> Outputs:
    """Return a part of the knowledge, or raise MIBenchError where it is lacking."""
    if value is None:
        raise MIBenchError(f"this attack needs {NEEDS[need]}, which was not given")
    return value


def shadow_of(knowledge: Knowledge) -> tuple[Outputs, BoolArray]:
    """Return the shadow model's outputs and membership, or raise MIBenchError."""
    shadow = given(knowledge.shadow, "shadow")
    if knowledge.shadow_is_member is None:
        raise MIBenchError("the shadow outputs come without their membership")
    return shadow, knowledge.shadow_is_member


def best_threshold(scores: ArrayLike, is_member: BoolArray, balanced: bool = True) -> float:
    """Return the threshold of the highest membership advantage, or of the highest accuracy.

    One sort. Of several equally good thresholds the highest is taken; it lies midway between
    neighbouring scores, or at infinity where nobody is best called a member.

    Parameters
    ----------
    scores : float array, (n,)
    is_member : bool array, (n,)
    balanced : bool
        True for max MA = TPR - FPR, False for max accuracy.
    """
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    descending, members = values[order], is_member[order]
    gain = np.where(members, 1.0, -1.0)
    if balanced:
        gain = np.where(members, 1 / is_member.sum(), -1 / (~is_member).sum())
    totals = np.concatenate([[0.0], np.cumsum(gain)])
    edges = np.concatenate([[True], descending[1:] < descending[:-1], [True]])
    # Rounding makes equal totals differ in their last digits; without it ties break by chance.
    best = int(np.where(edges, np.round(totals, 12), -np.inf).argmax())
    if best == 0:
        return float("inf")
    if best == len(values):
        return float(descending[-1])
    return float((descending[best - 1] + descending[best]) / 2)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
