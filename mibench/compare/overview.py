"""What every attack finds, in one table, with intervals over trained models."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import t

from mibench.study.metrics import METRICS
from mibench.study.results import setting_of

SHOWN = ("ma", "auc", "tpr_at_fpr_1")
_NAMED = ("dataset", "model", "defence", "construction")


def overview(results: pd.DataFrame, *, by_scenario: bool = False) -> pd.DataFrame:
    """Return MA, AUC and TPR at 1% FPR of every attack in every setting, the highest MA first.

    A value is the mean over the scenarios run, or that of one scenario where they are told apart,
    then over seeds; its 95% interval is that of Student's t over the seeds' means, and NaN where
    there is one seed.

    Returns
    -------
    DataFrame
        The setting as far as it varies, `scenario` where told apart, `title`, `seeds`, of each
        metric the value, `<metric>_low`, `<metric>_high` and of how many scenarios it is the mean,
        `<metric>_scenarios`, and `scenarios`, how many were run.
    """
    ok = results[results["status"] == "ok"]
    told = [c for c in setting_of(ok) if c not in _NAMED and not _repeats(ok, c)]
    varied = [c for c in told if ok[c].nunique(dropna=False) > 1]
    apart = ["scenario"] if by_scenario else []
    by = [*(c for c in _NAMED if c in ok), *varied, *apart, "title"]
    each = ok.groupby([*by, "seed"], sort=False, dropna=False)[list(SHOWN)].mean()
    grouped = each.groupby(level=by, sort=False, dropna=False)
    table, count = grouped.mean(), grouped.size()
    width = grouped.std().mul(t.ppf(0.975, np.maximum(count - 1, 1)) / np.sqrt(count), axis=0)
    for metric in SHOWN:
        table[f"{metric}_low"] = (table[metric] - width[metric]).clip(METRICS[metric].least)
        table[f"{metric}_high"] = (table[metric] + width[metric]).clip(upper=1.0)
    keys = [*dict.fromkeys([*by, "scenario"])]
    runs = ok.groupby(keys, sort=False, dropna=False)[list(SHOWN)].count()
    met = (runs > 0).groupby(level=by, sort=False, dropna=False).sum()
    table = table.join(met.add_suffix("_scenarios"))
    table["scenarios"] = runs.groupby(level=by, sort=False, dropna=False).size()
    table = (
        table.assign(seeds=count)
        .reset_index()
        .sort_values([*by[:-1], "ma"], ascending=[True] * (len(by) - 1) + [False], kind="stable")
    )
    ends = ("", "_low", "_high", "_scenarios")
    return table[[*by, "seeds", *(f"{m}{end}" for m in SHOWN for end in ends), "scenarios"]]


def _repeats(rows: pd.DataFrame, column: str) -> bool:
    """Whether a column of the recipe says in every row what the setting's own of its name says."""
    name = column.removeprefix("train_")
    if name == column or name not in rows:
        return False
    one, other = rows[name], rows[column]
    return bool((one.eq(other) | (one.isna() & other.isna())).all())


def gaps(table: pd.DataFrame) -> list[str]:
    """Return in sentences which means of :func:`overview` are of fewer scenarios than were run."""
    said = []
    for metric in SHOWN:
        counts = table[f"{metric}_scenarios"]
        if (counts < table["scenarios"]).any():
            few = " to ".join(map(str, dict.fromkeys([counts.min(), counts.max()])))
            over = f"is the mean over {few} of {table['scenarios'].max()} scenarios"
            why = f": it {METRICS[metric].absent}" if METRICS[metric].fpr else ""
            what = over if counts.any() else "is absent"
            said.append(f"{METRICS[metric].label} {what}{why}.")
    return said


def in_words(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """Return :func:`overview` as texts: each metric with its interval, settings that vary alone."""
    said = pd.DataFrame(index=table.index)
    for column in table.columns[: list(table).index("seeds")]:
        if column == "title" or table[column].nunique() > 1:
            said["attack" if column == "title" else column] = table[column].astype(str)
    for metric in SHOWN:
        rows = table[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy()
        said[METRICS[metric].label] = [_said(v, low, high, digits) for v, low, high in rows]
    return said


def _said(value: float, low: float, high: float, digits: int) -> str:
    if np.isnan(value):
        return "–"
    ends = "" if np.isnan(low) else f" [{low:z.{digits}f}, {high:z.{digits}f}]"
    return f"{value:z.{digits}f}{ends}"
