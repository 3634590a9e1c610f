"""Metrics of an attack, each with a 95% interval.

The table :data:`METRICS` says of every metric what it is called, whether more of it is better, and
which answers it counts; nothing else in the package lists metrics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy

from mibench.attacks.base import Inference
from mibench.construction.described import share_below
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, IntArray

# Cells of a confusion table: true positives, false positives, false negatives, true negatives.
_TP, _FP, _FN, _TN = np.eye(4, dtype=int)
# Of the normal distribution, between which and its negative 95% lie.
_Z = 1.959963984540054
# Each of two steps, nonmembers and members, may fail with this on each side.
_STEP = 0.025
_MARGIN = 1.75


@dataclass(frozen=True)
class Metric:
    """What is known of a metric before anything is measured.

    Attributes
    ----------
    label : str
        What figures and tables call it.
    better : int
        1 where higher is better, -1 where lower is, 0 where neither is.
    ratios : tuple of (sign, cells above, cells below)
        The metric of the answered samples as a signed sum of ratios of counts, each given by the
        four cells' weights (TP, FP, FN, TN). Empty for metrics of all scores.
    fpr : float, optional
        The false positive rate at which it is the true positive rate.
    """

    label: str
    better: int
    ratios: tuple[tuple[int, IntArray, IntArray], ...] = ()
    fpr: float | None = None

    @property
    def needed(self) -> int:
        """The fewest nonmembers that the metric can be had from."""
        return 1 if self.fpr is None else math.ceil(round(1 / self.fpr, 6))

    @property
    def least(self) -> float:
        """The lowest value that the metric can have: -1 of MA, 0 of a rate."""
        return float(sum(sign for sign, _, _ in self.ratios if sign < 0))

    @property
    def absent(self) -> str:
        """Why a value is NaN, in words."""
        if self.fpr is not None:
            return f"needs at least {self.needed:,} nonmembers"
        return "no positive predictions" if self.ratios else "no value"

    def of(self, counts: FloatArray) -> FloatArray:
        """Return the metric of counts (4, ...), NaN where a ratio has no denominator."""
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = [
                sign * np.tensordot(above, counts, 1) / np.tensordot(below, counts, 1)
                for sign, above, below in self.ratios
            ]
        return np.sum(parts, axis=0)


METRICS = {
    "precision": Metric("Precision", 1, ((1, _TP, _TP + _FP),)),
    "recall": Metric("Recall", 1, ((1, _TP, _TP + _FN),)),
    "f1": Metric("F1", 1, ((1, 2 * _TP, 2 * _TP + _FP + _FN),)),
    "fpr": Metric("FPR", -1, ((1, _FP, _FP + _TN),)),
    "fnr": Metric("FNR", -1, ((1, _FN, _TP + _FN),)),
    "ma": Metric("MA", 1, ((1, _TP, _TP + _FN), (-1, _FP, _FP + _TN))),
    "accuracy": Metric("Accuracy", 1, ((1, _TP + _TN, _TP + _FP + _FN + _TN),)),
    "auc": Metric("AUC", 1),
    "tpr_at_fpr_1": Metric("TPR at 1% FPR", 1, fpr=0.01),
    "tpr_at_fpr_0.1": Metric("TPR at 0.1% FPR", 1, fpr=0.001),
    "tpr_at_fpr_0.01": Metric("TPR at 0.01% FPR", 1, fpr=0.0001),
    "max_ma_threshold": Metric("Threshold at highest MA", 0),
}
# Metrics of the answered samples, which two attacks can be compared by sample by sample.
OF_ANSWERS = tuple(name for name, metric in METRICS.items() if metric.ratios)
# Metrics by which attacks can be ordered.
ORDERED = tuple(name for name, metric in METRICS.items() if metric.better)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; NaN where a ratio has no denominator."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def answered(inference: Inference, withheld_ratio: float, seed: int) -> BoolArray:
    """Return which samples an attack answers: not the ceil(r n) closest to its threshold.

    Ties are broken by the seed.
    """
    count = len(inference.scores)
    # The product's rounding error must not withhold one more: 0.45 * 600 is 270.00000000000006.
    withheld = math.ceil(round(withheld_ratio * count, 9))
    if not withheld:
        return np.ones(count, dtype=bool)
    level = inference.scores == inference.threshold
    # Taken apart, since infinity less infinity is no number.
    doubt = np.where(level, 0, np.abs(np.where(level, 0, inference.scores) - inference.threshold))
    order = np.lexsort((np.random.default_rng([seed, 11]).random(count), doubt))
    keep = np.ones(count, dtype=bool)
    keep[order[:withheld]] = False
    return keep


def evaluate(
    inference: Inference, is_member: BoolArray, withheld_ratio: float = 0.0, seed: int = 0
) -> dict[str, Estimate]:
    """Return every metric of :data:`METRICS`.

    Precision to accuracy are those of the answered samples; AUC, TPR at low FPR and the threshold
    of highest MA are those of all scores.

    Intervals: Wilson's for proportions; F1 through the proportion TP / (TP + FP + FN) of which it
    is a monotone function; Newcombe's (1998, method 10) for MA; DeLong's (1988) on the logit scale
    for AUC; :func:`tpr_at_fpr` and :func:`max_ma_threshold` say theirs.

    Raises
    ------
    MIBenchError
        If a score is NaN, or members or nonmembers are lacking.
    """
    if np.isnan(inference.scores).any():
        raise MIBenchError(f"the attack gave {np.isnan(inference.scores).sum()} NaN scores")
    if is_member.all() or not is_member.any():
        raise MIBenchError("metrics need members and nonmembers")
    keep = answered(inference, withheld_ratio, seed)
    cells = confusion(inference.scores >= inference.threshold, is_member, keep)
    counts = cells.sum(axis=1)
    values = {}
    for name in OF_ANSWERS:
        parts = [
            proportion(int(above @ counts), int(below @ counts))
            for _, above, below in METRICS[name].ratios
        ]
        values[name] = parts[0] if len(parts) == 1 else difference(*parts)
    tp, fp, fn, _ = map(int, counts)
    overlap = proportion(tp, tp + fp + fn)
    values["f1"] = Estimate(*(2 * j / (1 + j) for j in (overlap.value, overlap.low, overlap.high)))
    values["auc"] = auc(inference.scores, is_member)
    for name, metric in METRICS.items():
        if metric.fpr is not None:
            values[name] = tpr_at_fpr(inference.scores, is_member, metric.fpr)
    return values | {"max_ma_threshold": max_ma_threshold(inference.scores, is_member)}


def confusion(called: BoolArray, is_member: BoolArray, answered: BoolArray) -> BoolArray:
    """Return which samples are true and false positives, false and true negatives, (4, ..., n)."""
    sides = called & is_member, called & ~is_member, ~called & is_member, ~called & ~is_member
    return np.stack([side & answered for side in sides])


def as_columns(estimates: dict[str, Estimate]) -> dict[str, float]:
    """Return estimates as table columns: the name, and the name with `_low` and `_high`."""
    columns: dict[str, float] = {}
    for name, estimate in estimates.items():
        columns[name] = estimate.value
        columns[f"{name}_low"], columns[f"{name}_high"] = estimate.low, estimate.high
    return columns


def proportion(successes: int, trials: int) -> Estimate:
    """Return a proportion with Wilson's interval (Wilson 1927)."""
    if trials == 0:
        return UNKNOWN
    p, weight = successes / trials, 1 + _Z**2 / trials
    # Written out, since scipy.stats.binomtest does a test first and takes a tenth of all scenarios.
    centre = (p + _Z**2 / (2 * trials)) / weight
    half = _Z / weight * math.sqrt(p * (1 - p) / trials + _Z**2 / (4 * trials**2))
    # At 0 and 1 rounding would put the bound a hair beside the value.
    return Estimate(p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """Return a - b of independent proportions with Newcombe's interval (1998, method 10)."""
    value = a.value - b.value
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, value - below, value + above)


def auc(scores: FloatArray, is_member: BoolArray) -> Estimate:
    """Return the area under the ROC curve with DeLong's interval (1988), on the logit scale.

    A perfect separation, where DeLong's variance is zero, gets Wilson's interval of as many
    trials as the smaller side has samples.
    """
    members, nonmembers = np.sort(scores[is_member]), np.sort(scores[~is_member])
    m, n = len(members), len(nonmembers)
    above, below = share_below(nonmembers, members), 1 - share_below(members, nonmembers)
    value = float(above.mean())
    if not 0 < value < 1:
        return proportion(round(value) * min(m, n), min(m, n))
    variance = (above.var(ddof=1) if m > 1 else 0.0) / m
    variance += (below.var(ddof=1) if n > 1 else 0.0) / n
    half = _Z * math.sqrt(variance) / (value * (1 - value))
    centre = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-(centre + side * half))) for side in (-1, 1))
    return Estimate(value, low, high)


def roc(scores: FloatArray, is_member: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return FPR, TPR and thresholds, each (k + 1,), from nobody called a member to everybody."""
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    last = np.flatnonzero(np.append(descending[1:] < descending[:-1], True))
    tpr = np.cumsum(is_member[order])[last] / is_member.sum()
    fpr = np.cumsum(~is_member[order])[last] / (~is_member).sum()
    return (
        np.concatenate([[0.0], fpr]),
        np.concatenate([[0.0], tpr]),
        np.concatenate([[np.inf], descending[last]]),
    )


def tpr_at_fpr(scores: FloatArray, is_member: BoolArray, fpr: float, among: int = 1) -> Estimate:
    """Return the highest TPR of a threshold whose FPR is at most `fpr`, with an exact interval.

    Of the best `among` several attacks the interval is that of all of them at once (Bonferroni).

    The interval is of the TPR at the threshold that all nonmembers of the kind, not only these,
    would reach with probability `fpr`. That threshold lies between two order statistics of the
    nonmembers (binomial tail), and the TPR at either has Clopper and Pearson's (1934) interval;
    each step fails on one side with at most 2.5%. NaN where there are fewer than 1 / `fpr`
    nonmembers, which cannot show such a rate.
    """
    members, nonmembers = np.sort(scores[is_member]), np.sort(scores[~is_member])[::-1]
    m, n = len(members), len(nonmembers)
    # The rounding error of 1 / 0.07 must not ask for one more.
    if n < round(1 / fpr, 6):
        return UNKNOWN
    edges = np.concatenate([[np.inf], nonmembers, [-np.inf]])
    # Samples above the k-th highest nonmember, of which k - 1 are nonmembers.
    allowed = math.floor(round(fpr * n, 9))
    value = float((members > edges[allowed + 1]).mean())
    step = _STEP / among
    few, many = _tails(step, n, fpr)
    sure = int((members > edges[few]).sum())
    possible = int((members >= edges[many + 1]).sum())
    low = scipy.special.betaincinv(sure, m - sure + 1, step) if sure else 0.0
    high = 1.0
    if possible < m:
        high = scipy.special.betaincinv(possible + 1, m - possible, 1 - step)
    return Estimate(value, min(float(low), value), max(float(high), value))


@cache
def _tails(chance: float, trials: int, rate: float) -> tuple[int, int]:
    """Return the numbers of successes that fewer, and more, come up with this chance at most."""
    # As scipy.stats.binom's ppf and isf, which take longer to load than all else.
    successes = np.arange(trials + 1)
    fewer = scipy.special.bdtr(successes, trials, rate) < chance
    more = scipy.special.bdtrc(successes, trials, rate) > chance
    return int(fewer.sum()), int(more.sum())


def max_ma_threshold(scores: FloatArray, is_member: BoolArray) -> Estimate:
    """Return the threshold of highest MA, and the thresholds that may be it.

    The interval spans the thresholds whose MA is below the highest by no more than chance
    explains: less than `_MARGIN` standard errors of the difference, which follow from the samples
    between both thresholds. (The bootstrap fails for the place of a maximum: Abrevaya & Huang
    2005.)
    """
    fpr, tpr, thresholds = roc(scores, is_member)
    best = int((tpr - fpr).argmax())
    lost = (tpr - fpr)[best] - (tpr - fpr)
    m, n = int(is_member.sum()), int((~is_member).sum())
    # One sample more on each side, so that no difference is without error.
    between = (np.abs(tpr - tpr[best]) + 1 / m) / m + (np.abs(fpr - fpr[best]) + 1 / n) / n
    kept = np.flatnonzero(lost <= _MARGIN * np.sqrt(between))
    # Every threshold down to the next lower score is the same.
    first, last = max(int(kept[0]), 1), min(int(kept[-1]) + 1, len(thresholds) - 1)
    value = float(thresholds[best])
    return Estimate(
        value, min(float(thresholds[last]), value), max(float(thresholds[first]), value)
    )
