"""Figures of who leads whom: conflicts, rankings over seeds, two metrics' leaders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from mibench import attacks
from mibench.compare.conflicts import of_models
from mibench.errors import MIBenchError
from mibench.figures.rows import counted, only_setting
from mibench.figures.style import COLOURS, MARKERS, Picture, picture, style
from mibench.study.metrics import METRICS


def conflict_matrix(found: pd.DataFrame, results: pd.DataFrame, metric: str = "ma") -> Picture:
    """Draw for every two attacks in how many pairs of scenarios their order flips.

    Above the diagonal the pairs of scenarios that differ in one factor, below it those that
    differ in two.

    Parameters
    ----------
    found : DataFrame
        Rows of :func:`mibench.compare.conflicts.find`.
    results : DataFrame
        The rows of one dataset, model and defence that they were found in.
    metric : str
        By which attacks were compared.

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
    place = {name: i for i, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), dtype=int)
    for row in found.to_dict("records"):
        low, high = sorted((place[row["attack"]], place[row["other"]]))
        matrix[(low, high) if row["type"] == 1 else (high, low)] += 1
    titles = [attacks.named(name).full_title for name in names]
    table = pd.DataFrame(matrix, titles, titles)
    with style():
        figure, axes = picture(figsize=(7.16, 6.4))
        axes.grid(False)
        shown = table.map(lambda count: f"{count}" if count else "")
        sns.heatmap(
            np.log1p(table),
            mask=table == 0,
            annot=shown,
            fmt="",
            cmap="viridis_r",
            cbar=False,
            square=True,
            linewidths=0.3,
            linecolor="0.9",
            annot_kws={"fontsize": 5},
            ax=axes,
        )
        axes.plot([0, len(names)], [0, len(names)], color="0.5", lw=0.8)
        axes.set_title(
            "Pairs of scenarios in which the order of two attacks flips\n"
            "above the diagonal: one factor differs; below: two differ"
        )
        axes.tick_params(labelsize=6, length=0)
    kinds = found["type"].value_counts()
    figure.caption = (
        f"For every two of {len(names)} attacks on {only_setting(results, 'to draw')}, the number "
        f"of pairs of scenarios in which their order by {METRICS[metric].label} flips, "
        f"both differences significant {of_models(results['seed'].nunique())}: above the "
        "diagonal pairs that differ in one factor "
        f"({kinds.get(1, 0)} in all), below it pairs that differ in two "
        f"({kinds.get(2, 0)}). {counted(results)}."
    )
    both = np.triu(matrix + matrix.T)
    first, second = np.unravel_index(both.argmax(), both.shape)
    figure.alt = (
        f"Heat map of counts; most often, in {both[first, second]} pairs of scenarios, the order "
        f"of {titles[first]} and {titles[second]} flips."
    )
    return figure


def ranks(ranking: pd.DataFrame, results: pd.DataFrame, metric: str = "ma") -> Picture:
    """Draw every attack's mean rank over scenarios, one mark per seed, and the ranks' middle half.

    Parameters
    ----------
    ranking : DataFrame
        Rows of :func:`mibench.compare.conflicts.ranking`.
    results : DataFrame
        The rows of one dataset, model and defence that they were found in.
    metric : str
        By which they were ranked.
    """
    order = ranking.groupby("title")["rank"].mean().sort_values().index
    place = {title: i for i, title in enumerate(order)}
    seeds = sorted(ranking["seed"].unique())
    with style():
        figure, axes = picture(figsize=(3.5, 1 + 0.16 * len(order)))
        by = ranking.groupby("title")["rank"]
        quartiles = pd.DataFrame({q: by.quantile(q) for q in (0.25, 0.75)})
        axes.hlines(
            [place[t] for t in quartiles.index],
            quartiles[0.25],
            quartiles[0.75],
            color="0.8",
            lw=4,
            label="middle half",
        )
        for i, seed in enumerate(seeds):
            mean = ranking[ranking["seed"] == seed].groupby("title")["rank"].mean()
            axes.plot(
                mean,
                [place[t] for t in mean.index],
                MARKERS[i % len(MARKERS)],
                color=COLOURS[i % len(COLOURS)],
                ms=3,
                label=f"mean, seed {seed}",
            )
        axes.set_yticks(range(len(order)), order)
        axes.invert_yaxis()
        axes.set_xlabel(f"rank by {METRICS[metric].label} (1 is best)")
        figure.legend(loc="outside lower center", ncols=2)
    figure.caption = (
        f"Ranks by {METRICS[metric].label} of {len(order)} attacks on "
        f"{only_setting(results, 'to draw')} over {ranking['scenario'].nunique()} "
        "scenarios, 1 is best: a mark is the mean with one seed "
        "(splits, training and construction), the bar holds the middle half of an attack's "
        f"ranks. {counted(results)}."
    )
    figure.alt = (
        f"Attacks from best to worst mean rank: {order[0]} first, {order[-1]} last; "
        f"{(quartiles[0.75] - quartiles[0.25]).idxmax()} has the widest middle half."
    )
    return figure


def two_views(
    leaders: pd.DataFrame,
    results: pd.DataFrame,
    metric: str = "ma",
    other: str = "tpr_at_fpr_1",
) -> Picture:
    """Draw each scenario's leader by one metric beside its leader by another, in both metrics.

    Parameters
    ----------
    leaders : DataFrame
        Rows of :func:`mibench.compare.conflicts.leaders` for the same two metrics.
    results : DataFrame
        The rows of one dataset, model and defence that they were found in.
    """
    by, by_other = METRICS[metric].label, METRICS[other].label
    with style():
        figure, grid = picture(1, 2, figsize=(7.16, 3.4), width_ratios=[1, 1.3])
        _leads(grid[0], leaders, metric, other)
        pairs = pd.crosstab(leaders["leader"], leaders["other_leader"])
        pairs = pairs.loc[
            pairs.sum(axis=1).sort_values(ascending=False).index,
            pairs.sum().sort_values(ascending=False).index,
        ]
        sns.heatmap(
            pairs,
            mask=pairs == 0,
            annot=True,
            fmt="d",
            cmap="Blues",
            cbar=False,
            linewidths=0.3,
            linecolor="0.9",
            ax=grid[1],
        )
        grid[1].grid(False)
        grid[1].tick_params(length=0)
        grid[1].set_title("(b) scenarios by both leaders", loc="left")
        grid[1].set(ylabel=f"leads by {by}", xlabel=f"leads by {by_other}")
    figure.caption = (
        f"The attacks that lead by {by} and by {by_other} in each of {len(leaders)} scenarios "
        f"of {only_setting(results, 'to draw')}: (a) both with their values, joined "
        "where they differ; (b) how often each two lead. Values are means over seeds. "
        f"{counted(results)}."
    )
    figure.alt = (
        f"In {leaders['same'].sum()} of {len(leaders)} scenarios one attack leads by both. By {by} "
        f"{pairs.index[0]} leads most often, by {by_other} {pairs.columns[0]}."
    )
    return figure


def _leads(axes: Axes, leaders: pd.DataFrame, metric: str, other: str) -> None:
    differs = leaders[~leaders["same"]]
    for _, row in differs.iterrows():
        axes.plot(
            [row[metric], row[f"other_{metric}"]],
            [row[other], row[f"other_{other}"]],
            color="0.8",
            lw=0.6,
            zorder=1,
        )
    axes.plot(
        differs[metric],
        differs[other],
        MARKERS[0],
        color=COLOURS[0],
        ms=3,
        label=f"leads by {METRICS[metric].label}",
    )
    axes.plot(
        differs[f"other_{metric}"],
        differs[f"other_{other}"],
        MARKERS[2],
        color=COLOURS[5],
        ms=3,
        label=f"leads by {METRICS[other].label}",
    )
    same = leaders[leaders["same"]]
    axes.plot(same[metric], same[other], MARKERS[1], color=COLOURS[2], ms=3, label="leads by both")
    axes.set(xlabel=METRICS[metric].label, ylabel=METRICS[other].label)
    axes.set_title("(a) both leaders of each scenario", loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=1)
