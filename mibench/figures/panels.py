"""The six published panels of a research question."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mibench.errors import MIBenchError
from mibench.figures.style import COLOURS, MARKERS, style
from mibench.scenarios import RESEARCH_QUESTIONS

PANELS = {
    "precision": "(a) Precision",
    "recall": "(b) Recall",
    "f1": "(c) F1",
    "fnr": "(d) FNR",
    "fpr": "(e) FPR",
    "ma": "(f) MA",
}
_MOST_IN_COLUMN = 30
_FACTORS = {
    "RQ1": "distribution",
    "RQ2": "distance",
    "RQ3": "differential_distance",
    "RQ4": "withheld_ratio",
}


def six_panels(results: pd.DataFrame, question: str) -> Figure:
    """Draw precision, recall, F1, FNR, FPR and MA of every attack at each level of a factor.

    Parameters
    ----------
    results : DataFrame
        Rows of :meth:`mibench.experiment.Experiment.run` for the scenarios of one panel. Of
        several seeds the mean is drawn, with the range of their intervals.
    question : {"RQ1", "RQ2", "RQ3", "RQ4"}

    Raises
    ------
    MIBenchError
        If there are no rows, or rows of more than one dataset or model.
    """
    if results.empty:
        raise MIBenchError(f"there are no results to draw for {question}")
    settings = results[["dataset", "model"]].drop_duplicates()
    if len(settings) > 1:
        raise MIBenchError(
            "a figure shows one dataset and one model; choose among "
            + ", ".join(f"{d} with {m}" for d, m in settings.itertuples(index=False))
        )
    factor = _FACTORS[question]
    levels = list(dict.fromkeys(results[factor]))
    titles = list(dict.fromkeys(results["title"]))
    with style():
        # One column's width while names have room; the more attacks, the fewer panels abreast.
        rows = 6 if len(titles) > 10 else 3
        width = 3.5 if len(titles) <= _MOST_IN_COLUMN else 7.16
        figure, grid = plt.subplots(
            rows, 6 // rows, figsize=(width, 6.2 if rows == 3 else 9.0), sharex=True
        )
        for axes, (metric, heading) in zip(grid.flat, PANELS.items(), strict=True):
            _panel(axes, results, factor, levels, titles, metric)
            axes.set_title(heading, loc="left")
        handles, names = grid.flat[0].get_legend_handles_labels()
        dataset, model = settings.iloc[0]
        figure.suptitle(f"{question}: {RESEARCH_QUESTIONS[question]}\n{dataset}, {model}")
        figure.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=len(levels),
            title=_heading(factor),
            columnspacing=1,
        )
        missing = results.loc[results["status"] != "ok", "scenario"].unique()
        if len(missing):
            figure.supxlabel(f"not reachable in this pool: {', '.join(missing)}", fontsize=7)
    return figure


def _panel(
    axes: Axes,
    results: pd.DataFrame,
    factor: str,
    levels: Sequence[object],
    titles: Sequence[str],
    metric: str,
) -> None:
    place = {title: i for i, title in enumerate(titles)}
    for i, level in enumerate(levels):
        rows = results[(results[factor] == level) & (results["status"] == "ok")]
        by = rows.groupby("title", sort=False)
        value = by[metric].mean()
        low, high = by[f"{metric}_low"].min(), by[f"{metric}_high"].max()
        x = np.array([place[t] for t in value.index]) + 0.2 * (i - (len(levels) - 1) / 2)
        axes.errorbar(
            x,
            value,
            yerr=np.maximum(np.stack([value - low, high - value]), 0),
            fmt=MARKERS[i],
            color=COLOURS[i],
            markersize=2.5,
            elinewidth=0.7,
            label=_level(level, factor),
        )
        for at in x[value.isna()]:
            axes.text(
                at,
                0.5,
                "no positive predictions",
                rotation=90,
                fontsize=5,
                ha="center",
                va="center",
            )
    axes.set_xticks(range(len(titles)), titles, rotation=90)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set_xlim(-0.6, len(titles) - 0.4)
    floor = min(0.0, float(results[f"{metric}_low"].min(skipna=True)))
    axes.set_ylim(floor - 0.03 if np.isfinite(floor) else -0.03, 1.03)


def _heading(factor: str) -> str:
    return factor.replace("_", " ")


def _level(level: object, factor: str) -> str:
    if isinstance(level, str):
        return level
    return f"{100 * float(str(level)):g}%" if factor == "withheld_ratio" else f"{level:.3f}"
