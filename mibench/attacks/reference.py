"""Attacks that compare the target with reference models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mibench.attacks.base import Attack, Inference, Rate
from mibench.attacks.thresholds import best_threshold, rate_threshold
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, IntArray, Outputs

# Samples that are scored at a time.
_AT_ONCE = 2048
# The rate aimed at where no reference tells what a member's score is.
_RATE_WITHOUT_MEMBERS = 0.1


Score = Callable[[FloatArray, "Others"], FloatArray]


@dataclass
class Others:
    """The models that one is compared with.

    Attributes
    ----------
    values : float array, (K, n)
        Their signals on each sample.
    trained_on : bool array, (K, n)
    each : bool
        False: the target is compared, with all of them, and what is summed over models is (n,).
        True: each of them is compared, with all but itself, and it is (K, n).
    whole : Others, optional
        Of whose samples these are some.
    """

    values: FloatArray
    trained_on: BoolArray
    each: bool = False
    whole: Others | None = None
    _variances: dict[bool, FloatArray] = field(default_factory=dict)

    def blocks(self) -> Iterator[tuple[slice, Others]]:
        """Yield some samples at a time: what is computed of all models then stays in a cache."""
        for start in range(0, self.values.shape[1], _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            some = Others(self.values[:, part], self.trained_on[:, part], self.each, self)
            # Means that were asked for already need not be found again.
            known = {name: vars(self)[name] for name in ("inside", "outside") if name in vars(self)}
            vars(some).update({name: means[..., part] for name, means in known.items()})
            yield part, some

    def in_blocks(self, own: FloatArray, score: Score) -> FloatArray:
        """Return the scores of (..., n) signals, block by block."""
        found = np.empty(own.shape)
        for part, some in self.blocks():
            found[..., part] = score(own[..., part], some)
        return found

    @cached_property
    def inside(self) -> FloatArray:
        """The mean over models trained with a sample."""
        return self._mean(self.trained_on)

    @cached_property
    def outside(self) -> FloatArray:
        """The mean over models trained without a sample."""
        return self._mean(~self.trained_on)

    def _mean(self, side: BoolArray) -> FloatArray:
        found = self.total(np.where(side, self.values, 0))
        found /= self._count(side)
        return found

    def _count(self, side: BoolArray) -> NDArray[np.int32]:
        count: NDArray[np.int32] = side.sum(axis=0, dtype=np.int32)
        return count - side if self.each else count

    def gaussian(self, inside: bool, pooled: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """Return mean and deviation over the models trained with a sample, or without.

        The variance is the mean squared deviation of a sample's models and of `pooled` further ones
        that deviate as all samples' models do on average.
        """
        count, mean, squares = self._moments(inside)
        if pooled:
            squares += pooled * (self.whole or self)._variance(inside)
        squares /= count + pooled
        # A deviation of zero would make every other value impossible.
        return mean, np.sqrt(squares, out=squares) + 1e-12

    def _variance(self, inside: bool) -> FloatArray:
        """Return that of all samples together, about each sample's own mean."""
        if inside not in self._variances:
            sums = [
                [values.sum(axis=-1, keepdims=True) for values in some._moments(inside)]
                for _, some in self.blocks()
            ]
            count, _, squares = (np.sum(values, axis=0) for values in zip(*sums, strict=True))
            self._variances[inside] = squares / count
        return self._variances[inside]

    def _moments(self, inside: bool) -> tuple[NDArray[np.int32], FloatArray, FloatArray]:
        """Return of a side's models the number, the mean and the squared deviations' sum."""
        side = self.trained_on if inside else ~self.trained_on
        count = self._count(side)
        centre = np.where(side, self.values, 0).sum(axis=0) / side.sum(axis=0)
        # About the mean of all models, from which that of the others is not far.
        apart = np.where(side, self.values - centre, 0)
        mean = self.total(apart) / count
        squares = self.total(np.square(apart, out=apart))
        squares -= count * mean**2
        mean += centre
        return count, mean, np.maximum(squares, 0, out=squares)

    def total(self, parts: FloatArray, add: np.ufunc = np.add) -> FloatArray:
        """Return the sum of (K, n) over models, or for each model over all others.

        The latter adds what comes before it to what comes after it: in a difference of sums small
        values would drown.
        """
        if not self.each:
            whole: FloatArray = add.reduce(parts, axis=0)
            return whole
        found, before, after = np.empty_like(parts), parts[0].copy(), parts[-1].copy()
        for k in range(1, len(parts)):
            found[k] = before
            add(before, parts[k], out=before)
        for k in range(len(parts) - 2, 0, -1):
            add(found[k], after, out=found[k])
            add(after, parts[k], out=after)
        found[0] = after
        return found


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
        queries, found, scores = 0, np.zeros(len(target)), np.zeros(1)
        for own, values in self.asked(target, logits):
            stand_ins = Others(values, trained_on, each=True)
            self.tune(stand_ins)
            scores = self.score(values, stand_ins) + scores
            found += self.score(own, Others(values, trained_on))
            queries += 1
        # All models' arrays are large, and the threshold needs room.
        del values, stand_ins
        scores /= queries
        if self.fpr is None and trained_on.any():
            threshold = best_threshold(scores.ravel(), trained_on.ravel())
        else:
            threshold = rate_threshold(scores[~trained_on], self.fpr or _RATE_WITHOUT_MEMBERS)
        return Inference(found / queries, threshold)

    def asked(self, target: Outputs, logits: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Yield, of each query, the target's signal (n,) and the references' (K, n).

        The score is the mean of the queries' scores. By default there is one query, the sample.
        """
        yield self.signal(target.logits, target.labels), self.signals(logits, target.labels)

    def signals(self, logits: FloatArray, labels: IntArray) -> FloatArray:
        """Return what is compared, (K, n), one model at a time to save memory."""
        return np.stack([self.signal(model, labels) for model in logits])

    def tune(self, stand_ins: Others) -> None:
        """Choose what the score needs, before it is first asked for; by default nothing."""

    @abstractmethod
    def signal(self, logits: FloatArray, labels: IntArray) -> FloatArray:
        """Return what is compared, (n,), of one model's logits (n, C)."""

    @abstractmethod
    def score(self, own: FloatArray, others: Others) -> FloatArray:
        """Score the target's signal (n,), or that of each stand-in (K, n), against the others'."""


def references_of(title: str, target: Outputs) -> tuple[FloatArray, BoolArray]:
    """Return the reference models' logits (K, n, C) and mask (K, n), or raise MIBenchError."""
    if target.reference_logits is None or target.reference_in is None:
        raise MIBenchError(f"{title} needs reference models, which were not given")
    return target.reference_logits, target.reference_in
