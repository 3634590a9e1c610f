"""What an attack gets wrong in each group of a target dataset, and how it goes with distances."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mibench.construction.groups import Groups
from mibench.errors import MIBenchError

DISTANCES = ("distance", "differential_distance")


def rates(answers: pd.DataFrame, attack: str, metric: str) -> pd.Series[float]:
    """Return an attack's FPR or FNR in each group, by the group's number in the pool.

    Parameters
    ----------
    answers : DataFrame
        Of :meth:`mibench.study.study.Study.run`, of one setting with groups.
    attack : str
        Its name.
    metric : {"fpr", "fnr"}

    Raises
    ------
    MIBenchError
        If the attack has no answers.
    """
    side = answers["is_member"] == (metric == "fnr")
    own = answers[(answers["attack"] == attack) & (answers["answer"] >= 0) & side]
    if own.empty:
        raise MIBenchError(f"there are no answers of {attack} to draw")
    wrong = (own["answer"] != own["is_member"]).astype(float)
    # Rounded, as means of the same tenths differ in their last digits.
    return wrong.groupby(own["part"]).mean().round(6)


def measured(answers: pd.DataFrame, pool: Groups, attack: str) -> pd.DataFrame:
    """Return an attack's `ma`, and `distance` and `differential_distance`, one row a group.

    Parameters and errors are those of :func:`rates`, of answers of the pool's own study.
    """
    ma = 1 - rates(answers, attack, "fnr") - rates(answers, attack, "fpr")
    both = {f: getattr(pool, f"{f}s")[ma.index] for f in DISTANCES}
    return pd.DataFrame({"ma": ma, **both})


def changes(groups: pd.DataFrame) -> pd.DataFrame:
    """Return by how much every two groups differ, from the lower MA to the higher.

    Parameters
    ----------
    groups : DataFrame
        One row a group: `ma`, `distance` and `differential_distance`, as :func:`measured` makes it.

    Returns
    -------
    DataFrame
        One row a pair of groups: the changes of `ma`, and of `distance` and
        `differential_distance` as shares of these groups' range.
    """
    rows = groups[["ma", *DISTANCES]].dropna().sort_values("ma", kind="stable")
    low, high = np.triu_indices(len(rows), 1)
    spans = (rows.max() - rows.min()).where(lambda s: s > 0, 1).to_dict() | {"ma": 1}
    values = {column: rows[column].to_numpy() / span for column, span in spans.items()}
    return pd.DataFrame({column: value[high] - value[low] for column, value in values.items()})


def by_ma(groups: pd.DataFrame) -> pd.DataFrame:
    """Return the mean changes of both distances by the change of MA in tenths (Table X)."""
    pairs = changes(groups)
    table = pairs.groupby(pairs["ma"].round(1))[list(DISTANCES)].mean()
    return table.assign(pairs=pairs.groupby(pairs["ma"].round(1)).size()).drop(0, errors="ignore")
