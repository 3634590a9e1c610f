"""Thresholds chosen on samples whose membership is known, such as a shadow model's."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mibench.outputs import BoolArray, FloatArray, IntArray


def best_threshold(scores: ArrayLike, is_member: BoolArray, balanced: bool = True) -> float:
    """Return the threshold of the highest membership advantage, or of the highest accuracy.

    Of several equally good thresholds the highest is taken; it is the lowest score that is called a
    member's, or lies just above all where nobody is best called one.

    Parameters
    ----------
    scores : float array, (n,)
    is_member : bool array, (n,)
    balanced : bool
        True for max MA = TPR - FPR, False for max accuracy.
    """
    values = np.asarray(scores, dtype=np.float64)
    members, nonmembers = np.sort(values[is_member]), np.sort(values[~is_member])
    # The best is a member's score: to go below it for a nonmember's only loses. Of equal ones the
    # first counts them all.
    called = len(nonmembers) - np.searchsorted(nonmembers, members)
    gain = np.arange(len(members), 0.0, -1.0)
    if balanced:
        gain /= len(members)
        gain -= called / len(nonmembers)
    else:
        gain -= called
    # Rounding makes equal gains differ in their last digits; without it ties break by chance.
    best = len(gain) - 1 - int(np.round(gain[::-1], 12).argmax())
    return float(members[best] if gain[best] > 1e-12 else np.nextafter(values.max(), np.inf))


def rate_threshold(nonmembers: ArrayLike, max_fpr: float) -> float:
    """Return the lowest threshold that at most a share `max_fpr` of nonmembers' scores reach."""
    descending = -np.sort(-np.asarray(nonmembers, dtype=np.float64))
    return float(np.nextafter(descending[int(max_fpr * len(descending) + 1e-9)], np.inf))


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
