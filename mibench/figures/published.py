"""Ours against the published values, scenario by scenario."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mibench.attacks.base import kind_of
from mibench.errors import MIBenchError
from mibench.figures.style import SMALLEST, Picture, attack_style, drawn, picture
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
    across = min(len(datasets), 1 + look.columns)
    down = -(-len(datasets) // across)
    ends = rows[["ours", "theirs"]].to_numpy()
    low, high = ends.min() - 0.03, ends.max() + 0.03
    legend = 0.14 * -(-len(attacks) // (2 * look.columns))
    height = 0.9 + legend + down * (2.4 if look.columns == 2 else 1.9)
    figure, grid = picture(look, height, down, across, squeeze=False, sharey=True)
    for axes, dataset in zip(grid.flat, datasets, strict=False):
        axes.plot([low, high], [low, high], color="0.6", lw=0.8)
        for attack, own in rows[rows["dataset"] == dataset].groupby("attack", sort=False):
            mark = attack_style(str(attack))
            axes.scatter(
                own["theirs"],
                own["ours"],
                s=9,
                marker=mark.marker,
                edgecolors=mark.colour,
                facecolors=np.where(own["caveat"] == "", mark.colour, "none"),
                linewidths=0.6,
            )
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set_xlabel(f"published {METRICS[metric].label}")
        axes.set_title(dataset, loc="left")
    for axes in grid.flat[len(datasets) :]:
        axes.axis("off")
    kinds = {attack: kind_of(attack) for attack in attacks}
    handles = [
        grid[0, 0].plot([], [], attack_style(a).marker, color=attack_style(a).colour, ms=3.5)[0]
        for a in attacks
    ]
    titles = [a if kind is None else kind.title for a, kind in kinds.items()]
    figure.legend(
        handles, titles, loc="outside lower center", ncols=2 * look.columns, fontsize=SMALLEST
    )
    for axes in grid[:, 0]:
        axes.set_ylabel(f"our {METRICS[metric].label}")
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
