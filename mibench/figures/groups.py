"""Group by group: the pool's distances, and what attacks get wrong in each group."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from mibench.attacks.base import named
from mibench.construction.groups import Groups
from mibench.construction.target import Pool
from mibench.errors import MIBenchError
from mibench.figures.style import AREA, SERIES, Picture, attack_style, drawn, picture
from mibench.look import PLAIN, Look
from mibench.scenarios import levels
from mibench.study.metrics import METRICS

_DECILES = np.arange(1, 10) / 10


@drawn
def pool_distances(pool: Pool, dataset: str, *, look: Look = PLAIN) -> Picture:
    """Draw the distances of all groups or pairs of a pool, with its and the published deciles.

    The published Fig. 6. A dataset without published deciles has its own alone.
    """
    own, known = np.quantile(pool.distances, _DECILES), levels(dataset).distance_quantiles
    part = pool.construction.removesuffix("s")
    figure, axes = picture(look, 2.6)
    axes.hist(pool.distances, 30, histtype="stepfilled", color=AREA, label="the pool")
    axes.plot(
        own,
        [0.97] * 9,
        "|",
        color="black",
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        label="its deciles",
    )
    if known:
        axes.plot(
            known,
            [1.03] * 9,
            "|",
            color=SERIES[0],
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label="published deciles",
        )
    axes.set(xlabel=f"distance of a {part}", ylabel=f"{part}s")
    figure.legend(loc="outside upper center", ncols=3)
    theirs = f" The published pool's median is {known[4]:.3g}." if known else ""
    figure.caption = (
        f"Distances of the {len(pool.distances)} {part}s of the pool of {dataset}, with their "
        f"deciles .1 to .9.{theirs}"
    )
    figure.alt = (
        f"Histogram from {pool.distances.min():.3g} to {pool.distances.max():.3g}, median "
        f"{own[4]:.3g}."
    )
    return figure


@drawn
def over_groups(
    answers: pd.DataFrame, attack: str, metric: str = "fpr", *, look: Look = PLAIN
) -> Picture:
    """Draw of how many groups an attack's rate is which (Fig. 9: FPR of BlindMI-Diff-w).

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
    rate, title = _rates(answers, attack, metric), named(attack).full_title
    counts = rate.value_counts().sort_index()
    figure, axes = picture(look, 2.4)
    axes.bar(counts.index, counts, width=0.04, color=attack_style(attack).colour)
    axes.set(xlabel=f"{METRICS[metric].label} in a group", ylabel="groups")
    figure.head(title)
    figure.caption = (
        f"In how many of {len(rate)} groups {title} has which {METRICS[metric].label}, of groups "
        f"that stand in several scenarios the mean; {answers['scenario'].nunique()} scenarios."
    )
    figure.alt = f"Bars; the mean is {rate.mean():.2f}, the most frequent {counts.idxmax():.2f}."
    return figure


@drawn
def against_differential(
    answers: pd.DataFrame, pool: Groups, attack: str, metric: str = "fnr", *, look: Look = PLAIN
) -> Picture:
    """Draw an attack's rate in each group against its differential distance (Fig. 16: FNR).

    Parameters are those of :func:`over_groups`, of answers of the pool's own study.
    """
    rate, title = _rates(answers, attack, metric), named(attack).full_title
    at = pool.differential_distances[rate.index]
    tied = rate.nunique() < 2
    correlation = np.nan if tied else float(spearmanr(at, rate).statistic)
    figure, axes = picture(look, 2.4)
    mark = attack_style(attack)
    axes.scatter(at, rate, s=8, marker=mark.marker, color=mark.colour, alpha=0.6)
    figure.head(title)
    axes.set_xlabel("differential distance of a group")
    axes.set_ylabel(f"{METRICS[metric].label} in a group")
    figure.caption = (
        f"{METRICS[metric].label} of {title} in each of {len(rate)} groups against the group's "
        f"differential distance; Spearman's rank correlation {correlation:.2f}."
    )
    figure.alt = f"Scatter of {len(rate)} groups, rank correlation {correlation:.2f}."
    return figure


def _rates(answers: pd.DataFrame, attack: str, metric: str) -> pd.Series[float]:
    """Return a rate of wrong answers in each group, by the group's number in the pool."""
    side = answers["is_member"] == (metric == "fnr")
    own = answers[(answers["attack"] == attack) & (answers["answer"] >= 0) & side]
    if own.empty:
        raise MIBenchError(f"there are no answers of {attack} to draw")
    wrong = (own["answer"] != own["is_member"]).astype(float)
    # Rounded, as means of the same tenths differ in their last digits.
    return wrong.groupby(own["part"]).mean().round(6)
