"""Attacks that compare the target with reference models."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mibench.attacks.base import Attack, Inference, Rate
from mibench.attacks.thresholds import best_threshold
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, IntArray, Outputs


@dataclass
class ReferenceAttack(Attack):
    """An attack whose threshold is found by attacking the reference models themselves.

    The auditor knows what those were trained on: each in turn stands in for the target and is
    scored against the others; the threshold of highest MA over all these scores is used. Where
    none was trained on any of the samples, it is the one that a share `fpr` of the scores reaches.

    Attributes
    ----------
    reads_in : bool
        Whether the score reads models trained with the sample.
    """

    needs = frozenset({"references"})
    reads_in: ClassVar[bool] = True

    fpr: Rate = 0.1

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
        own, references = (
            self.signal(target.logits, target.labels),
            self.signal(logits, target.labels),
        )
        scores = np.concatenate(
            [
                self.score(
                    references[k], np.delete(references, k, 0), np.delete(trained_on, k, 0), k
                )
                for k in range(len(references))
            ]
        )
        if trained_on.any():
            threshold = best_threshold(scores, trained_on.ravel())
        else:
            threshold = float(np.quantile(scores, 1 - self.fpr))
        return Inference(self.score(own, references, trained_on), threshold)

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
