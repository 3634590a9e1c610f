"""The six published panels of a research question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mibench.errors import MIBenchError
from mibench.figures.rows import counted, only_setting, unreachable
from mibench.figures.style import GRID, SERIES, SMALLEST, WIDTHS, Picture, drawn, picture, series
from mibench.look import PLAIN, Look, many
from mibench.scenarios import FACTORS, RESEARCH_QUESTIONS, level
from mibench.study.metrics import METRICS

PANELS = ("precision", "recall", "f1", "fnr", "fpr", "ma")
# Inches, by the number of rows.
_HEIGHTS = {6: 9.0, 3: 6.2, 2: 4.6}


@drawn
def six_panels(results: pd.DataFrame, question: str, *, look: Look = PLAIN) -> Picture:
    """Draw precision, recall, F1, FNR, FPR and MA of every attack at each level of a factor.

    Parameters
    ----------
    results : DataFrame
        Rows of :meth:`mibench.study.study.Study.run` for the scenarios of one panel. Of
        several seeds the mean is drawn, with the range of their intervals.
    question : {"RQ1", "RQ2", "RQ3", "RQ4"}
    look : Look
        Without a layout of its own as many panels stand abreast as leave room for the attacks'
        names; more attacks than one column has room for take two.

    Raises
    ------
    MIBenchError
        If there are no rows, rows of more than one dataset, model or defence, or more attacks
        than the layout has room for.
    """
    setting = only_setting(results, f"to draw for {question}")
    factor = FACTORS[int(question[-1]) - 1]
    levels = list(dict.fromkeys(results[factor]))
    titles = list(dict.fromkeys(results["title"]))
    by = results[results["status"] == "ok"].groupby([factor, "title"], sort=False)
    look, abreast = _arranged(look, len(titles))
    rows = 6 // abreast
    figure, grid = picture(look, _HEIGHTS[rows], rows, abreast)
    for axes, letter, metric in zip(grid.flat, "abcdef", PANELS, strict=True):
        absent = _panel(axes, by, levels, factor, titles, metric)
        axes.set_title(f"({letter}) {METRICS[metric].label}{absent}", loc="left")
    letters = min(7, _letters(look, abreast, len(titles)))
    for axes in grid.flat[-abreast:]:
        axes.set_xticks(range(len(titles)), titles, rotation=90, fontsize=letters)
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.head(f"{question}: {RESEARCH_QUESTIONS[question]}\n{setting}")
    figure.legend(
        handles,
        names,
        title=_heading(factor),
        loc="outside lower center",
        ncols=len(levels),
        columnspacing=1,
    )
    bars = "; bars are 95% intervals."
    if results["seed"].nunique() > 1:
        bars = (
            ", the mean over the seeds; bars reach from the lowest end of their 95% intervals to "
            "the highest."
        )
    figure.caption = (
        f"{question} on {setting}: {', '.join(METRICS[m].label for m in PANELS)} of "
        f"{many(len(titles), 'attack')} at {many(len(levels), 'level')} of the {_heading(factor)} "
        f"({', '.join(level(factor, at) for at in levels)}); the scenarios are "
        f"{', '.join(dict.fromkeys(results['scenario']))}. {counted(results)}. Marks are values on "
        f"the answered samples{bars}{unreachable(results)}"
    )
    figure.alt = (
        f"Six panels, one mark for each attack and level of the {_heading(factor)}. "
        + " ".join(_highest(results, factor, at) for at in levels)
    ).strip()
    return figure


def _letters(look: Look, abreast: int, names: int) -> float:
    """Return the points of letters with which names stand below a panel without touching."""
    return 0.84 * 72 * (WIDTHS[look.columns] / abreast - 0.4) / names


def _arranged(look: Look, names: int) -> tuple[Look, int]:
    """Return a look and how many panels stand abreast in it."""
    if look.layout != "auto":
        abreast = int(look.layout[-1])
        if _letters(look, abreast, names) < SMALLEST:
            raise MIBenchError(
                f"{names} attacks have no room below panels of layout {look.layout}; name fewer "
                "attacks, another layout or two columns"
            )
        return look, abreast
    for abreast in (3, 2, 1):
        if _letters(look, abreast, names) >= SMALLEST and abreast <= look.columns + 1:
            return look, abreast
    return look.model_copy(update={"columns": 2}), 1


def _highest(results: pd.DataFrame, factor: str, at: object) -> str:
    rows = results[(results[factor] == at) & (results["status"] == "ok")]
    if rows.empty:
        return ""
    ma = rows.groupby("title", sort=False)["ma"].mean()
    return (
        f"At {level(factor, at)} MA runs from {ma.min():z.2f} ({ma.idxmin()}) to "
        f"{ma.max():z.2f} ({ma.idxmax()})."
    )


def _panel(
    axes: Axes, by: Any, levels: Sequence[object], factor: str, titles: list[str], metric: str
) -> str:
    """Draw one panel, and return what its title says of values that there are not."""
    found = {"value": (metric, "mean"), "low": (f"{metric}_low", "min")}
    table = by.agg(**found, high=(f"{metric}_high", "max")).reset_index()
    for i, at in enumerate(levels):
        rows = table[table[factor] == at]
        x = rows["title"].map(titles.index).to_numpy(float) + 0.2 * (i - (len(levels) - 1) / 2)
        value = rows["value"]
        error = np.maximum(np.stack([value - rows["low"], rows["high"] - value]), 0)
        mark = {**series(i), "ms": 2.5, "elinewidth": 0.7, "label": level(factor, at)}
        axes.errorbar(x, value, yerr=error, **mark)
        if len(absent := x[value.isna()]):
            axes.plot(absent, 0 * absent, "x", color=SERIES[i], ms=3, clip_on=False)
    # Lines in place of ticks, which take half the time of a panel.
    axes.vlines(range(len(titles)), 0, 1, **GRID, transform=axes.get_xaxis_transform())
    axes.set_xticks([])
    axes.xaxis.grid(False)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set_xlim(-0.6, len(titles) - 0.4)
    lowest = table["low"].min()
    axes.set_ylim((lowest if lowest < 0 else 0) - 0.05, 1.05)
    return f"\n× {METRICS[metric].absent}" if table["value"].isna().any() else ""


def _heading(factor: str) -> str:
    return factor.replace("_", " ")
