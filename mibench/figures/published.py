"""Ours against the published values, scenario by scenario."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mibench.attacks.base import kind_of
from mibench.errors import MIBenchError
from mibench.figures.style import SMALLEST, Picture, attack_style, drawn, panels
from mibench.look import PLAIN, Look
from mibench.study.metrics import METRICS


@drawn
def scatter(compared: pd.DataFrame, *, look: Look = PLAIN) -> Picture:
    """Draw ours against theirs, one panel a dataset and one mark per attack and scenario.

    Parameters
    ----------
    compared : DataFrame
        Rows of :func:`mibench.compare.published.beside`.
    look : Look
        Its metric is ma or auc.

    Raises
    ------
    MIBenchError
        If there are no values of the metric.
    """
    metric = look.metric
    rows = compared[compared["metric"] == metric].dropna(subset=["ours", "theirs"])
    if rows.empty:
        raise MIBenchError(f"no published {metric} has a counterpart in these results")
    datasets = list(dict.fromkeys(rows["dataset"]))
    attacks = list(dict.fromkeys(rows["attack"]))
    ends = rows[["ours", "theirs"]].to_numpy()
    low, high = ends.min() - 0.03, ends.max() + 0.03
    beside = 0.9 + 0.14 * -(-len(attacks) // (2 * look.columns))
    each, abreast = 1.4 + 0.5 * look.columns, 1 + look.columns
    figure, grid = panels(look, len(datasets), abreast, each, beside, sharey=True)
    for axes, dataset in zip(grid, datasets, strict=True):
        axes.plot([low, high], [low, high], color="0.6", lw=0.8)
        for attack, own in rows[rows["dataset"] == dataset].groupby("attack", sort=False):
            of = attack_style(str(attack))
            inside = np.where(own["caveat"] == "", of.colour, "none")
            axes.scatter(
                own["theirs"],
                own["ours"],
                s=9,
                marker=of.marker,
                linewidths=0.6,
                edgecolors=of.colour,
                facecolors=inside,
            )
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set_xlabel(f"published {METRICS[metric].label}")
        axes.set_title(dataset, loc="left")
    for attack in attacks:
        look_of, kind = attack_style(attack), kind_of(attack)
        title = attack if kind is None else kind.title
        grid[0].plot([], [], look_of.marker, color=look_of.colour, ms=3.5, label=title)
    figure.legend(loc="outside lower center", ncols=2 * look.columns, fontsize=SMALLEST)
    figure.supylabel(f"our {METRICS[metric].label}", fontsize=7)
    above = rows.assign(above=rows["ours"] > rows["theirs"]).groupby("dataset", sort=False)["above"]
    figure.caption = (
        f"Our {METRICS[metric].label} against the published, one mark per attack and scenario "
        f"({len(rows)} in all); on the diagonal both are equal. Hollow: the published value has a "
        "caveat (another unit, other samples, or a curve that is none). Networks, training and "
        "samples differ."
    )
    figure.alt = "Share of marks in which ours is higher: " + ", ".join(
        f"{dataset} {share:.2f}" for dataset, share in above.mean().items()
    )
    return figure
