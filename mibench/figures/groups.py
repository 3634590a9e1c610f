"""Group by group: the pool's distances, and what attacks get wrong in each group."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from mibench.attacks.base import named
from mibench.compare.groups import DISTANCES, changes, rates
from mibench.construction.groups import Groups
from mibench.construction.target import Pool
from mibench.figures.rows import only_setting
from mibench.figures.style import AREA, SERIES, Picture, attack_style, begin, drawn, picture, series
from mibench.look import PLAIN, Look, many
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
    on_top = {"transform": axes.get_xaxis_transform(), "clip_on": False}
    axes.plot(own, [0.97] * 9, "|", color="black", label="its deciles", **on_top)
    if known:
        axes.plot(known, [1.03] * 9, "|", color=SERIES[0], label="published deciles", **on_top)
    axes.set(xlabel=f"distance of a {part}", ylabel=f"{part}s")
    axes.locator_params("y", integer=True)
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

    Parameters and errors are those of :func:`mibench.compare.groups.rates`.
    """
    rate, title = rates(answers, attack, metric), named(attack).full_title
    counts = rate.round(1).value_counts().sort_index()
    figure, axes = picture(look, 2.4)
    axes.bar(counts.index, counts, width=0.08, color=attack_style(attack).colour)
    axes.set(xlabel=f"{METRICS[metric].label} in a group", ylabel="groups", xlim=(-0.05, 1.05))
    axes.locator_params("y", integer=True)
    figure.head(title)
    figure.caption = (
        f"{title} on {only_setting(answers, 'to draw')}: in how many of "
        f"{many(len(rate), 'group')} it has which {METRICS[metric].label}, to tenths, of groups "
        "that stand in several scenarios the mean; "
        f"{many(answers['scenario'].nunique(), 'scenario')}, "
        f"seed {', '.join(map(str, sorted(answers['seed'].unique())))}."
    )
    figure.alt = f"Bars; the mean is {rate.mean():.2f}, the most frequent {counts.idxmax():.2f}."
    return figure


@drawn
def against_differential(
    answers: pd.DataFrame, pool: Groups, attack: str, metric: str = "fnr", *, look: Look = PLAIN
) -> Picture:
    """Draw an attack's rate in each group against its differential distance (Fig. 16: FNR).

    Parameters and errors are those of :func:`mibench.compare.groups.rates`, of answers of the
    pool's own study.
    """
    rate, title = rates(answers, attack, metric), named(attack).full_title
    at = pool.differential_distances[rate.index]
    correlation = spearmanr(at, rate).statistic if rate.nunique() > 1 else np.nan
    label = METRICS[metric].label
    figure, axes = picture(look, 2.4)
    mark = attack_style(attack)
    axes.scatter(at, rate, s=8, marker=mark.marker, color=mark.colour, alpha=0.6)
    figure.head(title)
    axes.set(xlabel="differential distance of a group", ylabel=f"{label} in a group")
    begin(axes, "y", metric)
    figure.caption = (
        f"{label} of {title} in each of {many(len(rate), 'group')} against the group's "
        f"differential distance; Spearman's rank correlation {correlation:z.2f}."
    )
    figure.alt = f"Scatter of {many(len(rate), 'group')}, rank correlation {correlation:z.2f}."
    return figure


@drawn
def by_change(groups: pd.DataFrame, attack: str, *, look: Look = PLAIN) -> Picture:
    """Draw by how much MA differs between two groups whose distances differ by so much (Fig. 13).

    Parameters
    ----------
    groups : DataFrame
        Of :func:`mibench.compare.groups.measured`.
    attack : str
        Its name.
    look : Look
    """
    pairs, words, title = changes(groups).abs(), [], named(attack).full_title
    figure, axes = picture(look, 2.4)
    for i, factor in enumerate(DISTANCES):
        # As published up to a half; larger changes are of few pairs.
        ma = pairs["ma"].groupby(pairs[factor].round(1).where(lambda c: c < 0.55))
        mean, said = ma.mean(), factor.replace("_", " ")
        at = mean.index + 0.02 * i
        axes.vlines(at, ma.quantile(0.1), ma.quantile(0.9), color=SERIES[i], lw=0.8)
        axes.plot(at, mean, **series(i), ms=3, label=said)
        words.append(f"{said} from {mean.iloc[0]:z.2f} to {mean.iloc[-1]:z.2f}")
    axes.set(xlabel="change, as a share of the groups' range", ylabel="change of MA")
    figure.legend(loc="outside lower center", ncols=2)
    figure.head(title)
    figure.caption = (
        f"By how much MA of {title} differs between two groups, by how much their distances do: "
        f"mean and quantiles .1 and .9 over {many(len(pairs), 'pair')} of {len(groups)} groups."
    )
    figure.alt = f"Mean change of MA from the smallest to the largest change: {', '.join(words)}."
    return figure
