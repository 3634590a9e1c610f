"""Metrics of an attack, each with a 95% interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from mibench.attacks import Inference
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, IntArray

LOW_FPRS = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_0.1": 0.001, "tpr_at_fpr_0.01": 0.0001}
METRICS = (
    "precision",
    "recall",
    "f1",
    "fpr",
    "fnr",
    "ma",
    "accuracy",
    "auc",
    *LOW_FPRS,
    "max_ma_threshold",
)
_Z = float(norm.ppf(0.975))
_REPLICATES = 400


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; NaN where a ratio has no denominator."""

    value: float
    low: float
    high: float


def answered(inference: Inference, withheld_ratio: float, seed: int) -> BoolArray:
    """Return which samples an attack answers: not the ceil(r n) closest to its threshold.

    Ties are broken by the seed.
    """
    count = len(inference.scores)
    # The product's rounding error must not withhold one more: 0.45 * 600 is 270.00000000000006.
    withheld = math.ceil(round(withheld_ratio * count, 9))
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
    for AUC; the rest by a bootstrap over members and nonmembers.

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
    called = inference.scores >= inference.threshold
    tp = int((called & is_member & keep).sum())
    fp = int((called & ~is_member & keep).sum())
    fn = int((~called & is_member & keep).sum())
    tn = int((~called & ~is_member & keep).sum())
    tpr, fpr = proportion(tp, tp + fn), proportion(fp, fp + tn)
    overlap = proportion(tp, tp + fp + fn)
    values = {
        "precision": proportion(tp, tp + fp),
        "recall": tpr,
        "f1": Estimate(*(2 * j / (1 + j) for j in (overlap.value, overlap.low, overlap.high))),
        "fpr": fpr,
        "fnr": proportion(fn, tp + fn),
        "ma": difference(tpr, fpr),
        "accuracy": proportion(tp + tn, tp + fp + fn + tn),
        "auc": auc(inference.scores, is_member),
    }
    values.update(_bootstrapped(inference.scores, is_member, seed))
    return values


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
        return Estimate(math.nan, math.nan, math.nan)
    p, z = successes / trials, _Z
    centre = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    # At 0 and 1 rounding would put the bound a hair inside the value.
    return Estimate(p, min(max(centre - half, 0), p), max(min(centre + half, 1), p))


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
    members, nonmembers = scores[is_member], scores[~is_member]
    m, n = len(members), len(nonmembers)
    ranks = rankdata(np.concatenate([members, nonmembers]))
    above = (ranks[:m] - rankdata(members)) / n
    below = 1 - (ranks[m:] - rankdata(nonmembers)) / m
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
    thresholds, last = _thresholds(scores)
    order = np.argsort(-scores, kind="stable")
    tpr = np.cumsum(is_member[order])[last] / is_member.sum()
    fpr = np.cumsum(~is_member[order])[last] / (~is_member).sum()
    return (
        np.concatenate([[0.0], fpr]),
        np.concatenate([[0.0], tpr]),
        np.concatenate([[np.inf], thresholds]),
    )


def _thresholds(scores: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the distinct scores, descending, and the last position of each in that order."""
    descending = np.sort(scores)[::-1]
    last = np.flatnonzero(np.concatenate([descending[1:] < descending[:-1], [True]]))
    return descending[last], last


def _bootstrapped(scores: FloatArray, is_member: BoolArray, seed: int) -> dict[str, Estimate]:
    """Return TPR at low FPR and the threshold of highest MA with percentile intervals."""
    rng = np.random.default_rng([seed, 12])
    order = np.argsort(-scores, kind="stable")
    thresholds, last = _thresholds(scores)
    rates = []
    for side in (is_member[order], ~is_member[order]):
        size = int(side.sum())
        above = np.zeros((_REPLICATES + 1, size + 1))
        above[0, 1:] = 1
        # Each row's draws have numbers of their own, so that all rows are counted at once.
        drawn = rng.integers(size, size=(_REPLICATES, size))
        drawn += size * np.arange(_REPLICATES)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=_REPLICATES * size)
        above[1:, 1:] = counts.reshape(_REPLICATES, size)
        np.cumsum(above, axis=1, out=above)
        rates.append(above[:, side.cumsum()[last]] / size)
    tpr, fpr = rates
    found = {name: np.where(fpr <= bound, tpr, 0).max(axis=1) for name, bound in LOW_FPRS.items()}
    found["max_ma_threshold"] = thresholds[(tpr - fpr).argmax(axis=1)]
    return {name: _percentiles(values) for name, values in found.items()}


def _percentiles(values: FloatArray) -> Estimate:
    """Return the first value, which is of the sample itself, with the others' interval."""
    # No interpolation, which between a finite and an infinite score has no value.
    low, high = np.quantile(values[1:], (0.025, 0.975), method="inverted_cdf")
    return Estimate(float(values[0]), min(float(low), values[0]), max(float(high), values[0]))
