"""Figures of who leads whom: conflicts, rankings over seeds, two metrics' leaders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm

from mibench import attacks
from mibench.compare import conflicts
from mibench.errors import MIBenchError
from mibench.figures.rows import counted, only_setting, over_models
from mibench.figures.style import (
    CELLS,
    SMALLEST,
    WIDTHS,
    Picture,
    begin,
    drawn,
    list_down,
    picture,
    series,
)
from mibench.look import PLAIN, Look, many
from mibench.scenarios import POOL
from mibench.study.metrics import METRICS


@drawn
def conflict_matrix(found: pd.DataFrame, results: pd.DataFrame, *, look: Look = PLAIN) -> Picture:
    """Draw for every two attacks in how many pairs of scenarios their order flips.

    Above the diagonal the pairs of scenarios that differ in one factor, below it those that
    differ in two.

    Parameters
    ----------
    found : DataFrame
        Rows of :func:`mibench.compare.conflicts.find`.
    results : DataFrame
        The rows of one dataset, model and defence that they were found in.
    look : Look
        Its metric is the one by which attacks were compared.

    Raises
    ------
    MIBenchError
        If there are none.
    """
    if found.empty:
        raise MIBenchError("there are no conflicts to draw")
    present = {*found["attack"], *found["other"]}
    order = list(attacks.ATTACKS)
    names = sorted(present, key=lambda n: (order.index(n.partition("[")[0]), n))
    matrix = np.zeros((len(names), len(names)), dtype=int)
    for row in found.to_dict("records"):
        low, high = sorted((names.index(row["attack"]), names.index(row["other"])))
        matrix[(low, high) if row["type"] == 1 else (high, low)] += 1
    titles = [attacks.named(name).full_title for name in names]
    table, setting = pd.DataFrame(matrix, titles, titles), only_setting(results, "to draw")
    # Points of one cell's side. Without room for names below, numbers stand for them.
    side = 72 * (WIDTHS[look.columns] - 1.9) / len(names)
    named = side > 1.2 * SMALLEST
    shown = table.map(lambda count: f"{count}" if count and side > 2 * SMALLEST else "")
    height = 1.4 + len(names) * max(side, 1.3 * SMALLEST) / 72 + (0.9 if named else 0)
    figure, axes = picture(look, height)
    axes.grid(False)
    most = max(2, matrix.max())
    colours = {"cmap": "viridis_r", "norm": LogNorm(1, most)}
    bar = {"label": "pairs of scenarios", "location": "bottom", "aspect": 40, "pad": 0.02}
    bar |= {"ticks": np.unique(np.geomspace(1, most, 4).round()), "format": "%d"}
    cells = {"mask": table == 0, "annot": shown, "fmt": "", **colours, **CELLS}
    sns.heatmap(table, cbar_kws=bar, ax=axes, **cells)
    figure.axes[-1].minorticks_off()
    axes.plot([0, len(names)], [0, len(names)], color="0.5", lw=0.8)
    axes.set_title("above the diagonal one factor differs, below two", fontsize=7, loc="right")
    places = np.arange(len(names))
    if named:
        axes.set_xticks(places + 0.5, titles, rotation=90)
        axes.set_yticks(places + 0.5, titles, rotation=0)
    else:
        step = 1 + int(1.6 * SMALLEST / side)
        axes.set_xticks(places[::step] + 0.5, [f"{i + 1}" for i in places[::step]], rotation=0)
        axes.set_yticks(places + 0.5, [f"{t}  {i + 1}" for i, t in enumerate(titles)], rotation=0)
    axes.tick_params(labelsize=SMALLEST, length=0)
    figure.head(f"{setting}\nwhere the order of two attacks flips")
    kinds = found["type"].value_counts()
    figure.caption = (
        f"For every two of {len(names)} attacks on {setting}, the number "
        f"of pairs of scenarios in which their order by {METRICS[look.metric].label} flips, "
        f"both differences significant {over_models(results)}: above the diagonal "
        "pairs that differ in one factor "
        f"({kinds.get(1, 0)} in all), below it pairs that differ in two "
        f"({kinds.get(2, 0)}). {counted(results)}."
    )
    both = np.triu(matrix + matrix.T)
    first, second = np.unravel_index(both.argmax(), both.shape)
    figure.alt = (
        f"Heat map of counts; most often, in {many(both[first, second], 'pair')} of scenarios, the "
        f"order of {titles[first]} and {titles[second]} flips."
    )
    return figure


@drawn
def ranks(ranking: pd.DataFrame, results: pd.DataFrame, *, look: Look = PLAIN) -> Picture:
    """Draw every attack's mean rank over scenarios, one mark per seed, and the ranks' middle half.

    Parameters
    ----------
    ranking : DataFrame
        Rows of :func:`mibench.compare.conflicts.ranking`.
    results : DataFrame
        The rows of one dataset, model and defence that they were found in.
    look : Look
        Its metric is the one by which they were ranked.
    """
    metric = look.metric
    by, setting = ranking.groupby("title")["rank"], only_setting(results, "to draw")
    order = by.mean().sort_values().index
    figure, axes = picture(look, 1.2 + 0.16 * len(order))
    low, high = (by.quantile(q)[order] for q in (0.25, 0.75))
    axes.hlines(range(len(order)), low, high, color="0.8", lw=4, label="middle half")
    for i, (seed, own) in enumerate(ranking.groupby("seed")):
        mean = own.groupby("title")["rank"].mean().reindex(order)
        axes.plot(mean, range(len(order)), **series(i), ms=3, label=f"mean, seed {seed}")
    list_down(axes, list(order))
    axes.set_xlabel(f"rank by {METRICS[metric].label} (1 is best)")
    figure.head(setting)
    figure.legend(loc="outside lower center", ncols=2)
    figure.caption = (
        f"Ranks by {METRICS[metric].label} of {many(len(order), 'attack')} on "
        f"{setting} over {many(ranking['scenario'].nunique(), 'scenario')}, 1 is best: "
        "a mark is the mean with one seed (splits, training and construction), the bar holds "
        f"the middle half of an attack's ranks. {counted(results)}."
    )
    figure.alt = (
        f"Attacks from best to worst mean rank: {order[0]} first, {order[-1]} last; "
        f"{(high - low).idxmax()} has the widest middle half."
    )
    return figure


@drawn
def two_views(
    results: pd.DataFrame, other: str = "tpr_at_fpr_0.1", *, look: Look = PLAIN
) -> Picture:
    """Draw every attack on the whole pool by two metrics, the leaders by each named.

    Parameters
    ----------
    results : DataFrame
        Rows of one dataset, model and defence, of which those of the whole pool are drawn.
    other : str
        The other metric.
    look : Look
        Its metric is the first.

    Raises
    ------
    MIBenchError
        As of :func:`mibench.compare.conflicts.leaders`.
    """
    metric = look.metric
    leaders, rows = conflicts.leaders(results, metric, other), results[results["scenario"] == POOL]
    setting, lead = only_setting(rows, "to draw"), leaders.iloc[0]
    values = rows.groupby("title", sort=False)[[metric, other]].mean()
    by, by_other = METRICS[metric].label, METRICS[other].label
    figure, axes = picture(look, 3.0)
    axes.plot(values[metric], values[other], **series(0), ms=3)
    leading = values.loc[[*dict.fromkeys((lead["leader"], lead["other_leader"]))]]
    leading = leading.sort_values(other, kind="stable")
    close = np.ptp(leading[other]) < 0.15 * np.ptp(values[other])
    for title, *place in leading.itertuples():
        side = "left" if place[0] < values[metric].mean() else "right"
        # The lower of two that would be written over each other is named below.
        below = close and len(leading) > 1 and title == leading.index[0]
        up: dict[str, Any] = {"xytext": (0, -4 if below else 4), "va": "top" if below else "bottom"}
        axes.annotate(title, tuple(place), textcoords="offset points", ha=side, **up)
    axes.set(xlabel=by, ylabel=by_other)
    begin(axes, "x", metric)
    begin(axes, "y", other)
    figure.head(setting)
    figure.caption = (
        f"{many(len(values), 'attack')} by {by} and by {by_other} on the whole pool, nothing "
        f"selected, of {setting}; the leaders are named. Means over "
        f"{many(rows['seed'].nunique(), 'target model')}, "
        f"n = {rows['samples'].iloc[0]:.0f} samples."
    )
    figure.alt = f"By {by} {lead['leader']} leads, by {by_other} {lead['other_leader']}."
    return figure
