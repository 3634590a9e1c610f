"""What a target dataset's four factors do not control, and whether a factor moves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mibench.outputs import BoolArray, FloatArray, Labelled
from mibench.scenarios import FACTORS

DESCRIBED = (
    "member_loss",
    "nonmember_loss",
    "member_accuracy",
    "nonmember_accuracy",
    "classes",
    "difficulty_auc",
)
# A factor's levels that lie nearer than this move little, whatever share of it is theirs.
_LEAST_SPREAD = 0.1
_DIFFICULTY_TOLERANCE = 0.05


def describe(labelled: Labelled) -> dict[str, float]:
    """Describe a target dataset of n samples.

    Parameters
    ----------
    labelled : Labelled
        The target model's outputs on it, with membership.

    Returns
    -------
    dict of str to float
        ``member_loss`` and ``nonmember_loss`` (means, in nats), ``member_accuracy`` and
        ``nonmember_accuracy``, ``classes`` (how many there are), and ``difficulty_auc``, NaN until
        reference models tell it; see :func:`difficulty_auc`.
    """
    outputs, is_member = labelled.outputs, labelled.is_member
    correct = outputs.predicted == outputs.labels
    return {
        "member_loss": float(outputs.loss[is_member].mean()),
        "nonmember_loss": float(outputs.loss[~is_member].mean()),
        "member_accuracy": float(correct[is_member].mean()),
        "nonmember_accuracy": float(correct[~is_member].mean()),
        "classes": float(len(np.unique(outputs.labels))),
        "difficulty_auc": np.nan,
    }


def difficulty_auc(is_member: BoolArray, difficulty: FloatArray) -> float:
    """Return the share of pairs of a member and a nonmember whose member is more difficult.

    Parameters
    ----------
    is_member : bool array, (n,)
    difficulty : float array, (n,)
        Mean loss of each sample over reference models that did not see it.
    """
    members, nonmembers = np.sort(difficulty[is_member]), np.sort(difficulty[~is_member])
    return float(share_below(nonmembers, members).mean())


def share_below(values: FloatArray, limits: FloatArray) -> FloatArray:
    """Return the share of sorted values that lie below each limit, equal ones counted half."""
    twice = np.searchsorted(values, limits, "left") + np.searchsorted(values, limits, "right")
    return twice / (2 * len(values))


def warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in words what else the factors move, or an empty list.

    Parameters
    ----------
    rows : sequence of mapping
        One per target dataset: the scenario's four factors and what :func:`describe` returns.

    Returns
    -------
    list of str
        One sentence for a factor that explains more than half of the variance of the nonmembers'
        accuracy, where its levels differ by more than a tenth; and one for the target datasets
        whose difficulty AUC is off one half by more than 0.05.
    """
    import pandas as pd

    if not rows:
        return []
    said, table = [], pd.DataFrame(rows)
    accuracy = table["nonmember_accuracy"].astype(float)
    for factor in FACTORS:
        by = accuracy.groupby(table[factor])
        means, of_factor = by.mean(), by.transform("mean").var()
        if means.max() - means.min() <= _LEAST_SPREAD:
            continue
        if (share := of_factor / accuracy.var()) > 0.5:
            listed = ", ".join(f"{m:.0%} at {level}" for level, m in means.items())
            said.append(
                f"The {factor.replace('_', ' ')} explains {share:.0%} of the variance of the "
                f"nonmembers' accuracy ({listed}): what an attack gains or loses with it may come "
                "from that accuracy"
            )
    auc = table["difficulty_auc"].to_numpy(float)
    off = np.abs(auc - 0.5)
    if count := (off > _DIFFICULTY_TOLERANCE).sum():
        said.append(
            f"In {count} of {len(rows)} target datasets members and nonmembers are not equally "
            "difficult for models that saw neither: the AUC of difficulty is "
            f"{auc[np.nanargmax(off)]:.2f} "
            "where it is farthest from 0.50, so that part of an attack's success is no membership"
        )
    return said
