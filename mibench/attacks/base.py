"""What an attack is, what it may see, and the register of all attacks."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, IntArray, Outputs

# The false positive rate of attacks that know nonmembers only, and the most of those that are to be
# precise.
FPR = 0.1

NEEDS = {
    "shadow": "a shadow model's outputs on its own members and nonmembers",
    "references": "outputs of reference models on the target dataset, and what they trained on",
    "random": "the target's outputs on random inputs",
    "generated": "the target's outputs on generated nonmembers",
    "auxiliary": "the target's outputs on labelled nonmembers of the auditor's own",
    "distilled": "outputs of models distilled from the target",
    "inputs": "the samples themselves",
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
    shadow_auxiliary : Outputs, optional
        The shadow model's outputs on the same.
    """

    shadow: Outputs | None = None
    shadow_is_member: BoolArray | None = None
    random: Outputs | None = None
    generated: Outputs | None = None
    auxiliary: Outputs | None = None
    shadow_auxiliary: Outputs | None = None


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
    labels_only : bool
        Whether it reads nothing of the target but the labels it answers.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    labels_only: ClassVar[bool] = False

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


def check_seed(seed: int) -> None:
    """Raise MIBenchError if a seed is none that every library takes."""
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**32:
        raise MIBenchError(f"the seed is {seed!r}; it must be a whole number from 0 to {2**32 - 1}")


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

    One sort. Of several equally good thresholds the highest is taken; it is the lowest score that
    is called a member's, or lies just above all where nobody is best called one.

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
    return _cut(descending, best)


def precise_threshold(scores: ArrayLike, is_member: BoolArray, max_fpr: float) -> float:
    """Return the threshold of the highest PPV among those whose FPR is at most `max_fpr`.

    PPV is judged by :func:`sure_ppv`. One sort. Of equally good thresholds the lowest is taken,
    which finds the most members.
    """
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    descending, members = values[order], is_member[order]
    ends = np.concatenate([descending[1:] < descending[:-1], [True]])
    ppv = np.where(ends, sure_ppv(np.cumsum(members), np.cumsum(~members), is_member, max_fpr), -1)
    if ppv.max() < 0:
        return _cut(descending, 0)
    return _cut(descending, len(ppv) - int(ppv[::-1].argmax()))


def sure_ppv(tp: IntArray, fp: IntArray, is_member: BoolArray, max_fpr: float) -> FloatArray:
    """Return the lower end of the PPV's 95% interval (Wilson), -1 where the FPR is too high.

    PPV = TPR / (TPR + FPR), for as many members as nonmembers. By the PPV itself a single
    member with the highest score of all would win, and the threshold would find nobody else.
    """
    tpr, fpr = tp / is_member.sum(), fp / (~is_member).sum()
    allowed = (fpr <= max_fpr) & (tp > 0)
    ppv = tpr / np.maximum(tpr + fpr, 1e-12)
    count, z = np.maximum(tp + fp, 1), 1.959964
    spread = z * np.sqrt(ppv * (1 - ppv) / count + z**2 / (4 * count**2))
    low = (ppv + z**2 / (2 * count) - spread) / (1 + z**2 / count)
    return np.where(allowed, np.round(low, 12), -1.0)


def _cut(descending: FloatArray, count: int) -> float:
    """Return a threshold that the first `count` scores reach and the others do not."""
    return float(descending[count - 1] if count else np.nextafter(descending[0], np.inf))


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
