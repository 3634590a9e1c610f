"""Attacks that compare the target with reference models."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mibench.attacks.base import Attack, Inference, Rate
from mibench.attacks.thresholds import best_threshold, rate_threshold
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, IntArray, Outputs

# The rate aimed at where no reference tells what a member's score is.
_RATE_WITHOUT_MEMBERS = 0.1


@dataclass
class ReferenceAttack(Attack):
    """An attack whose threshold is found by attacking the reference models themselves.

    The auditor knows what those were trained on: each in turn stands in for the target and is
    scored against the others. The threshold is that of highest MA over all these scores, or, with
    `fpr` given, the one that this share of the nonmembers' scores reaches at most. Where no
    reference was trained on any of the samples, it is the latter with 10%.

    Attributes
    ----------
    reads_in : bool
        Whether the score reads models trained with the sample.
    """

    needs = frozenset({"references"})
    reads_in: ClassVar[bool] = True

    fpr: Rate | None = None

    def infer(self, target: Outputs) -> Inference:
        """Score the target against the references."""
        logits, trained_on = references_of(self.title, target)
        sides = (trained_on, ~trained_on) if self.reads_in else (~trained_on,)
        if min(side.sum(axis=0).min() for side in sides) < 3:
            also = " and three with it" if self.reads_in else ""
            raise MIBenchError(
                f"{self.title} needs for every sample three reference models trained without it"
                f"{also}, one of which stands in for the target; these are {len(logits)}"
            )
        own = self.signal(target.logits, target.labels)
        references = self.signal(logits, target.labels)
        self.tune(references, trained_on)
        scores = self.stand_ins(references, trained_on)
        if self.fpr is None and trained_on.any():
            threshold = best_threshold(scores.ravel(), trained_on.ravel())
        else:
            threshold = rate_threshold(scores[~trained_on], self.fpr or _RATE_WITHOUT_MEMBERS)
        return Inference(self.score(own, references, trained_on), threshold)

    def stand_ins(self, references: FloatArray, trained_on: BoolArray) -> FloatArray:
        """Score each reference model against the others, (K, n)."""
        return np.stack(
            [
                self.score(
                    references[k], np.delete(references, k, 0), np.delete(trained_on, k, 0), k
                )
                for k in range(len(references))
            ]
        )

    def tune(self, references: FloatArray, trained_on: BoolArray) -> None:
        """Choose what the score needs, before it is first asked for; by default nothing."""

    @abstractmethod
    def signal(self, logits: FloatArray, labels: IntArray) -> FloatArray:
        """Return what is compared, (..., n), of logits (..., n, C)."""

    @abstractmethod
    def score(
        self,
        own: FloatArray,
        references: FloatArray,
        trained_on: BoolArray,
        stand_in: int | None = None,
    ) -> FloatArray:
        """Score n samples of one model, (n,), against other models, (K, n).

        `stand_in` is the number of the reference model that stands in for the target, if one
        does; `references` and `trained_on` are without it.
        """


def references_of(title: str, target: Outputs) -> tuple[FloatArray, BoolArray]:
    """Return the reference models' logits (K, n, C) and mask (K, n), or raise MIBenchError."""
    if target.reference_logits is None or target.reference_in is None:
        raise MIBenchError(f"{title} needs reference models, which were not given")
    return target.reference_logits, target.reference_in


def mean_of(values: FloatArray, side: BoolArray) -> FloatArray:
    """Return the mean of the chosen entries of each column of (K, n): (n,)."""
    mean: FloatArray = np.where(side, values, 0).sum(axis=0) / side.sum(axis=0)
    return mean
