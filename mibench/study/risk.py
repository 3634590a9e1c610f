"""Who is found: the risk of each sample, and of slices of the samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, IntArray
from mibench.study import metrics

FPR = 0.01
"""The false positive rate at which a sample counts as found."""


def false_alarms(scores: FloatArray, is_member: BoolArray) -> FloatArray:
    """Return for each sample the share of nonmembers that are scored as high or higher, (n,).

    A member is found by every threshold of that false positive rate or more.
    """
    nonmembers = np.sort(scores[~is_member])
    return (len(nonmembers) - np.searchsorted(nonmembers, scores)) / len(nonmembers)


def per_sample(
    scores: FloatArray, rates: FloatArray, labels: IntArray, is_member: BoolArray
) -> pd.DataFrame:
    """Return a row for each sample.

    Parameters
    ----------
    scores : float array, (n,)
        Of the best attack.
    rates : float array, (A, n)
        :func:`false_alarms` of each attack, the best one first; NaN where an attack left out the
        sample.
    labels : int array, (n,)
    is_member : bool array, (n,)

    Returns
    -------
    DataFrame
        `sample`, `label`, `is_member`, `score` and `false_alarms` of the best attack, and how many
        attacks call it a member at 1% false alarms, `found_by`.
    """
    return pd.DataFrame(
        {
            "sample": np.arange(len(labels)),
            "label": labels,
            "is_member": is_member,
            "score": scores,
            "false_alarms": rates[0],
            "found_by": (rates <= FPR).sum(axis=0),
        }
    )


def slices(risk: pd.DataFrame, by: ArrayLike | None = None) -> pd.DataFrame:
    """Return how exposed each slice of the samples is to the best attack.

    Parameters
    ----------
    risk : DataFrame
        Of :func:`per_sample`.
    by : array, (n,), optional
        The slice of each sample, such as a group of persons; by default its label.

    Returns
    -------
    DataFrame
        One row per slice: `members`, `nonmembers`; the share of its members `found` at 1% false
        alarms among all samples, with Wilson's 95% interval; the share of its nonmembers that are
        `called` members there; and the AUC within the slice.

    Raises
    ------
    MIBenchError
        If `by` is of another length.
    """
    names = np.asarray(risk["label"] if by is None else by)
    if names.shape != (len(risk),):
        raise MIBenchError(f"by has shape {names.shape}; give one value for each of {len(risk)}")
    scored = risk["false_alarms"].notna().to_numpy()
    rows = []
    for name, part in risk[scored].groupby(names[scored]):
        rate, mask = part["false_alarms"].to_numpy(), part["is_member"].to_numpy()
        found = metrics.proportion(int((rate[mask] <= FPR).sum()), int(mask.sum()))
        called = metrics.proportion(int((rate[~mask] <= FPR).sum()), int((~mask).sum()))
        both = mask.any() and not mask.all()
        auc = metrics.auc(part["score"].to_numpy(), mask) if both else metrics.UNKNOWN
        measured = metrics.as_columns({"found": found, "called": called, "auc": auc})
        rows.append({"slice": name, "members": mask.sum(), "nonmembers": (~mask).sum(), **measured})
    return pd.DataFrame(rows)
