"""A metric by a factor's level, or several metrics, attacks down and datasets side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from mibench.errors import MIBenchError
from mibench.figures.rows import by_setting, counted
from mibench.figures.style import WIDTHS, Picture, begin, drawn, list_down, panels, series
from mibench.look import PLAIN, Look
from mibench.scenarios import DISTRIBUTIONS, level
from mibench.study.metrics import METRICS
from mibench.study.results import within

# What the published Figs. 11, 12, 14 and 15 show.
LEVELS = (
    ("ma", "differential_distance"),
    ("ma", "withheld_ratio"),
    ("fnr", "distribution"),
    ("fnr", "distance"),
)
# Inches that a dataset's panel takes at least.
_PANEL = 1.15


@drawn
def by_factor(results: pd.DataFrame, metric: str, factor: str, *, look: Look = PLAIN) -> Picture:
    """Draw a metric of every attack at each level of a factor, one panel a dataset.

    The published Figs. 11 (MA by differential distance), 12 (MA by withheld ratio), 14 and 15 (FNR
    by distribution and by distance). Each mark is a mean over scenarios that differ in the factor
    alone (:func:`mibench.study.results.within`) and over seeds.

    Raises
    ------
    MIBenchError
        If no dataset has scenarios that differ in the factor alone.
    """
    said, named = METRICS[metric].label, factor.replace("_", " ")

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        means = within(rows, factor, metric, ["title"]).drop(columns="cells")
        if len(means.columns) < 2:
            raise MIBenchError(f"all scenarios have the same {named}; run more")
        order = [d for d in DISTRIBUTIONS if d in means] or sorted(means.columns)
        return means[order].rename(columns=lambda at: level(factor, at))

    ways = _ways(results)
    figure = _side_by_side(results, table, said, metric, look)
    figure.head(f"{said} by {named}: {ways}")
    figure.caption = (
        f"{said} of each attack ({ways}) at each level of the {named}, the mean over scenarios "
        f"that differ in it alone. {counted(results)}."
    )
    return figure


@drawn
def four_metrics(results: pd.DataFrame, *, look: Look = PLAIN) -> Picture:
    """Draw precision, recall, F1 and FPR of every attack, one panel a dataset (Fig. 10).

    Means over the same scenarios for all attacks, and over seeds.
    """
    metrics = ("precision", "recall", "f1", "fpr")

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        means = rows.groupby("title", sort=False)[list(metrics)].mean()
        return means.rename(columns={m: METRICS[m].label for m in metrics})

    ways = _ways(results)
    figure = _side_by_side(results, table, "value", "fpr", look)
    figure.head(ways)
    figure.caption = (
        f"Precision, recall, F1 and FPR of each attack ({ways}), means over all scenarios and "
        f"seeds of a dataset. {counted(results)}."
    )
    return figure


def _ways(results: pd.DataFrame) -> str:
    """Return the settings' names without the dataset, which stands above its panel."""
    return "; ".join(dict.fromkeys(name.partition(", ")[2] for name, _ in by_setting(results)))


def _side_by_side(
    results: pd.DataFrame,
    table: Callable[[pd.DataFrame], pd.DataFrame],
    label: str,
    metric: str,
    look: Look,
) -> Picture:
    """Draw a table of each dataset's results: its rows up the axis, its columns as marks."""
    ok = results[results["status"] == "ok"]
    tables, lacking = {}, MIBenchError("there are no results to draw")
    for name, rows in ok.groupby("dataset", sort=False):
        try:
            tables[str(name)] = table(rows)
        except MIBenchError as error:  # others may have what this dataset lacks
            lacking = error
    if not tables:
        raise lacking
    titles = [t for t in dict.fromkeys(ok["title"]) if any(t in v.index for v in tables.values())]
    abreast, each = int((WIDTHS[look.columns] - 1.2) / _PANEL), 1.5 + 0.15 * len(titles)
    figure, grid = panels(look, len(tables), abreast, each, sharey=True)
    for axes, (dataset, values) in zip(grid, tables.items(), strict=True):
        place = np.array([titles.index(t) for t in values.index])
        for i, column in enumerate(values):
            at = place + 0.5 * (i / max(len(values.columns) - 1, 1) - 0.5)
            axes.plot(values[column], at, **series(i), ms=3, label=str(column))
        axes.set_title(dataset, loc="left")
        axes.set_xlabel(label)
        begin(axes, "x", metric)
    list_down(grid[0], titles)
    if len({tuple(values) for values in tables.values()}) == 1:
        handles = grid[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=4, columnspacing=1)
    else:  # levels are each dataset's own
        for axes in grid:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.5 / (each - 1)))
    figure.alt = " ".join(
        f"{dataset}: by the mean of its marks {_ends(values.mean(axis=1))}."
        for dataset, values in tables.items()
    )
    return figure


def _ends(means: pd.Series[float]) -> str:
    """Return in words which attack is highest and which lowest, where there are two."""
    if len(means) == 1:
        return f"{means.index[0]} is at {means.iloc[0]:z.2f}"
    high, low = f"{means.idxmax()} is highest, {means.max():z.2f}", f"{means.idxmin()} lowest"
    return f"{high}, {low}, {means.min():z.2f}"
