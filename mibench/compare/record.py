"""The published record: target datasets, results and figures as numbers, each file read once.

Nothing here is corrected but by :func:`counted`.
"""

from __future__ import annotations

from functools import cache

import pandas as pd

from mibench.data.record import table as table
from mibench.errors import MIBenchError

GROUP = 10  # members, and as many nonmembers, in a published group


def groups(dataset: str) -> pd.DataFrame:
    """Return a published pool's groups by number, with their distances and counts.

    Raises
    ------
    MIBenchError
        If the record lacks the pool.
    """
    known = table("groups")
    if dataset not in set(known["dataset"]):
        raise MIBenchError(
            f"the published groups of {dataset} are not known; known are "
            + ", ".join(known["dataset"].unique())
        )
    return known[known["dataset"] == dataset].set_index("group")


@cache
def targets(dataset: str) -> dict[str, list[int]]:
    """Return the groups of a pool's 84 published target datasets by scenario, repeated as there."""
    rows = table("targets").query("dataset == @dataset")
    return {
        str(scenario): [int(group) for group in chosen.split()]
        for scenario, chosen in zip(rows["scenario"], rows["groups"], strict=True)
    }


def figure(source: str) -> pd.DataFrame:
    """Return the numbers of a figure or table, such as "Fig. 7" or "Table IX".

    Raises
    ------
    MIBenchError
        If its numbers are not among the record.
    """
    numbers = table("figures")
    if source not in (known := numbers["source"].unique()):
        raise MIBenchError(f"there are no numbers of {source!r}; known are {', '.join(known)}")
    return numbers[numbers["source"] == source].drop(columns="source")


def counted(printed: pd.DataFrame) -> pd.DataFrame:
    """Return printed results whose FPR holds true negatives, "Risk score", counted right.

    All printed metrics follow from recall and FPR, of as many members as nonmembers.
    """
    recall, fpr = printed["recall"], 1 - printed["fpr"]
    return printed.assign(
        precision=recall / (recall + fpr),
        f1=2 * recall / (1 + recall + fpr),
        fpr=fpr,
        ma=recall - fpr,
        accuracy=(1 + recall - fpr) / 2,
    )


def blindmi_groups(dataset: str) -> pd.DataFrame:
    """Count BlindMI-Diff-w's published answers in every group of an image dataset's pool.

    Returns
    -------
    DataFrame
        One row a group: `recall`, `fpr`, `ma`, and both distances. Empty where the groups hold no
        such counts.
    """
    pool = groups(dataset).dropna(subset="called_members")
    fpr = pool["nonmembers_called_members"] / GROUP
    recall = pool["called_members"] / GROUP - fpr
    distances = pool[["distance", "differential_distance"]]
    return distances.assign(recall=recall, fpr=fpr, ma=recall - fpr)


def blindmi(dataset: str) -> pd.DataFrame:
    """Return the means of :func:`blindmi_groups` in every scenario: `recall`, `fpr` and `ma`."""
    rates = blindmi_groups(dataset)[["recall", "fpr", "ma"]]
    found = {} if rates.empty else {s: rates.loc[g].mean() for s, g in targets(dataset).items()}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("scenario")
