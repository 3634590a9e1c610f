"""What each factor does to each attack, in two ways of making target datasets."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mibench.figures.rows import counted
from mibench.figures.style import MARKERS, SERIES, Picture, drawn, list_down, panels
from mibench.look import PLAIN, Look


@drawn
def dumbbells(
    table: pd.DataFrame, results: pd.DataFrame, way: str = "construction", *, look: Look = PLAIN
) -> Picture:
    """Draw each attack's effects in two ways, joined by a line, one panel a question.

    Parameters
    ----------
    table : DataFrame
        Of :func:`mibench.compare.sensitivity.sensitivity`.
    results : DataFrame
        The rows that it was made of.
    way : str
        In what they differ, as there.
    """
    ways = [c.removeprefix("size_") for c in map(str, table) if c.startswith("size_")]
    titles = list(dict.fromkeys(table["title"]))
    factors = list(dict.fromkeys(zip(table["question"], table["factor"], strict=True)))
    ends = [table[f"size_{w}"] + side * table[f"error_{w}"] for w in ways for side in (-2, 2)]
    limit = 1.05 * float(np.nanmax(np.abs(ends)))
    each = 0.6 + 0.15 * len(titles)
    figure, grid = panels(look, len(factors), 2 * look.columns, each, 0.6, sharey=True)
    for axes, (question, factor) in zip(grid, factors, strict=True):
        rows = table[table["factor"] == factor]
        place = np.array([titles.index(t) for t in rows["title"]])
        values = rows[[f"size_{w}" for w in ways]].to_numpy(float)
        axes.hlines(place, values.min(1), values.max(1), color="0.7", lw=1, zorder=1)
        for i, value in enumerate(ways):
            sure = rows[f"sure_{value}"].eq(True)
            at = place + 0.24 * (i - 0.5)
            error = 2 * rows[f"error_{value}"]
            axes.errorbar(values[:, i], at, xerr=error, fmt="none", ecolor=SERIES[i], lw=0.5)
            inside = np.where(sure, SERIES[i], "white")
            axes.scatter(
                values[:, i],
                at,
                s=11,
                marker=MARKERS[i],
                facecolors=inside,
                edgecolors=SERIES[i],
                linewidths=0.8,
                zorder=3,
                label=f"{way}: {value}",
            )
        axes.axvline(0, color="0.4", lw=0.8)
        axes.set_title(f"{question}\n{factor.replace('_', ' ')}", loc="left", fontsize=7)
        axes.set(xlim=(-limit, limit), xlabel="change of MA")
        axes.locator_params(axis="x", nbins=4)
    list_down(grid[0], titles)
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2)
    [dataset] = results["dataset"].unique()
    figure.caption = (
        f"The change of MA from each factor's first level to its last on {dataset}, within cells "
        f"that differ in the factor alone, with {way} by {ways[0]} and by {ways[1]}. Filled: "
        f"surely not zero, corrected; bars are two standard errors. {counted(results)}."
    )
    holds = table["holds"].value_counts()
    figure.alt = f"Of {len(table)} effects " + ", ".join(f"{n} hold {h}" for h, n in holds.items())
    return figure
