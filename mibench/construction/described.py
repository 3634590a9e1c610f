"""What a target dataset's four factors do not control, and whether a factor moves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mibench.outputs import BoolArray, FloatArray, Labelled

FACTORS = {
    "distribution": "the distribution of the distances",
    "distance": "the distance",
    "differential_distance": "the differential distance",
    "withheld_ratio": "the withheld ratio",
}
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
    said = []
    accuracy = np.array([row["nonmember_accuracy"] for row in rows], dtype=float)
    for factor, words in FACTORS.items():
        levels = sorted({row[factor] for row in rows})
        masks = [np.array([row[factor] == level for row in rows]) for level in levels]
        means = np.array([accuracy[mask].mean() for mask in masks])
        if len(levels) < 2 or np.ptp(means) <= _LEAST_SPREAD:
            continue
        within = sum(mask.sum() * accuracy[mask].var() for mask in masks)
        share = 1 - within / (len(accuracy) * accuracy.var())
        if share > 0.5:
            listed = ", ".join(
                f"{100 * m:.0f}% at {level}" for level, m in zip(levels, means, strict=True)
            )
            said.append(
                f"{words[0].upper()}{words[1:]} explains {100 * share:.0f}% of the variance of the "
                f"nonmembers' accuracy ({listed}): what an attack gains or loses with it may come "
                "from that accuracy"
            )
    auc = np.array([row["difficulty_auc"] for row in rows], dtype=float)
    off = np.abs(auc - 0.5) > _DIFFICULTY_TOLERANCE
    if off.any():
        worst = int(np.nanargmax(np.abs(auc - 0.5)))
        said.append(
            f"In {off.sum()} of {len(rows)} target datasets members and nonmembers are not equally "
            f"difficult for models that saw neither: the AUC of difficulty is {auc[worst]:.2f} "
            "where it is farthest from 0.50, so that part of an attack's success is no membership"
        )
    return said
