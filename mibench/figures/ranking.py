"""Which attack leads where: a heat map of all scenarios, and a critical-difference diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, studentized_range

from mibench.errors import MIBenchError
from mibench.figures import rows
from mibench.figures.style import WIDTHS, Picture, attack_style, drawn, list_down, picture
from mibench.look import PLAIN, Look, many
from mibench.study.metrics import METRICS, OF_ANSWERS, ORDERED

_ALPHA = 0.05
_LABELLED = 30


@dataclass(frozen=True)
class Ranking:
    """Attacks ranked over scenarios, with Friedman's test and Nemenyi's critical difference.

    Attributes
    ----------
    ranks : Series
        Mean rank of each attack, 1 the best, best first; ties share their mean.
    scenarios : int
        How many scenarios were ranked, N.
    statistic, p : float
        Friedman's chi-squared, corrected for ties, and its p value.
    critical_difference : float
        Mean ranks that differ by less do not differ at the 5% level.
    """

    ranks: pd.Series[float]
    scenarios: int
    statistic: float
    p: float
    critical_difference: float

    @property
    def groups(self) -> list[tuple[int, int]]:
        """First and last place of each largest run of attacks that do not differ."""
        values, found = self.ranks.to_numpy(), []
        last_end = 0
        for first in range(len(values)):
            within = values <= values[first] + self.critical_difference
            end = int(np.flatnonzero(within)[-1])
            if end > max(first, last_end):
                found.append((first, end))
                last_end = end
        return found


def rank(values: pd.DataFrame) -> Ranking:
    """Rank attacks over scenarios and test whether their ranks differ.

    Parameters
    ----------
    values : DataFrame, (N, k)
        Scenarios down, attacks across; higher is better. Scenarios in which an attack has no
        value are left out.

    Raises
    ------
    MIBenchError
        If fewer than two scenarios or three attacks are left.

    References
    ----------
    Demsar 2006, "Statistical Comparisons of Classifiers over Multiple Data Sets", section 3.2.2.
    """
    values = values.dropna()
    count, attacks = values.shape
    if count < 2 or attacks < 3:
        raise MIBenchError(
            f"a ranking needs three attacks with values in the same two scenarios; these are "
            f"{many(attacks, 'attack')} in {count}"
        )
    # Values that differ by rounding alone are ties.
    values = values.round(9)
    ranks = values.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    if values.nunique(axis=1).max() == 1:
        statistic, p = 0.0, 1.0
    else:
        statistic, p = friedmanchisquare(*(values[name] for name in values))
    quantile = studentized_range.ppf(1 - _ALPHA, attacks, np.inf) / np.sqrt(2)
    difference = float(quantile * np.sqrt(attacks * (attacks + 1) / (6 * count)))
    return Ranking(ranks, count, float(statistic), float(p), difference)


def ranked_values(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a metric to rank by, scenarios down and attacks across; higher is better.

    Each target dataset's scores stand once. FPR and FNR, of which lower is better, are negative.

    Raises
    ------
    MIBenchError
        If the metric is not one of :data:`mibench.study.metrics.ORDERED`.
    """
    if metric not in ORDERED:
        raise MIBenchError(f"no ranking by {metric!r}; use one of {', '.join(ORDERED)}")
    if _repeated(results, metric):
        made = ["distribution", "distance", "differential_distance"]
        first = results.groupby(made)["scenario"].transform("min")
        results = results[results["scenario"] == first]
    return METRICS[metric].better * rows.pivot(results, metric)


def _repeated(results: pd.DataFrame, metric: str) -> bool:
    """Whether scenarios that differ in the withheld ratio alone have the same value.

    Of all scores they have, where the attack withholds and no group was left out.
    """
    ways = results[["construction", "withholding"]].drop_duplicates().to_numpy().tolist()
    return metric not in OF_ANSWERS and all("pairs" in way or "attack" in way for way in ways)


@drawn
def critical_difference(results: pd.DataFrame, *, look: Look = PLAIN) -> Picture:
    """Draw mean ranks, attacks that do not differ joined by a bar (after Demsar 2006, figure 1).

    Attacks are listed downwards, so that many names stay readable in one column.

    Parameters
    ----------
    results : DataFrame
        Rows of one dataset, model and defence.
    look : Look
        Its metric is one of :data:`mibench.study.metrics.ORDERED`.

    Raises
    ------
    MIBenchError
        If there are too few rows, or rows of more than one setting.
    """
    setting, metric = rows.only_setting(results, "to rank"), look.metric
    ranking, title = rank(ranked_values(results, metric)), rows.titles(results)
    best, count = [title[str(name)] for name in ranking.ranks.index], len(ranking.ranks)
    figure, axes = picture(look, 2.0 + 0.135 * count)
    for place, (name, value) in enumerate(ranking.ranks.items()):
        axes.plot(value, place, **attack_style(str(name)).mark, ms=4)
    right = count + 0.5
    step = (count - 0.5) / 3 / max(len(ranking.groups), 8)
    for i, (first, last) in enumerate(ranking.groups):
        x = right + (i + 0.5) * step
        axes.plot([x, x], [first - 0.3, last + 0.3], color="black", lw=1.2)
    end = right + max(len(ranking.groups), 1) * step
    # The scale of the differences, above the first attack.
    axes.plot([1, 1 + ranking.critical_difference], [-1.2, -1.2], color="black", lw=1.2)
    axes.text(1, -1.5, f"CD = {ranking.critical_difference:.2f}", va="bottom")
    axes.set_xlim(0.5, max(end, 1.3 + ranking.critical_difference))
    list_down(axes, best)
    axes.set_ylim(top=-2.8)
    ticks = mpl.ticker.MaxNLocator(6, integer=True).tick_values(1, count)
    axes.set_xticks([1, *(t for t in ticks if 1 < t <= count)])
    axes.set_xlabel(f"mean rank by {METRICS[metric].label} (1 = best)")
    axes.spines["left"].set_visible(False)
    axes.tick_params("y", length=0)
    figure.head(f"{setting}: {ranking.scenarios} scenarios")
    figure.explain_colours(map(str, ranking.ranks.index))
    level = ranking.ranks <= ranking.ranks.iloc[0] + ranking.critical_difference
    repeated = (
        " Scenarios that differ in the withheld ratio alone have the same scores and count once."
        if _repeated(results, metric)
        else ""
    )
    p = "p < 0.001" if ranking.p < 0.001 else f"p = {ranking.p:.3f}"
    figure.caption = (
        f"Mean ranks of {len(best)} attacks by {METRICS[metric].label} on {setting}, over "
        f"{ranking.scenarios} scenarios in which all have a value. Friedman: chi-squared = "
        f"{ranking.statistic:.1f}, {p}; Nemenyi: mean ranks within CD = "
        f"{ranking.critical_difference:.2f} of each other do not differ at the 5% level, a bar "
        f"joins them.{repeated} The scenarios share {rows.shared_models(results)}, so their "
        "ranks are not independent, as both tests suppose: p and CD are too small, and differences "
        f"are {rows.over_models(results)}. {rows.counted(results)}."
    )
    figure.alt = (
        "Attacks by mean rank, best first: "
        + ", ".join(f"{name} {r:.1f}" for name, r in zip(best, ranking.ranks, strict=True))
        + f". Within the critical difference of the best: {many(int(level.sum()) - 1, 'other')}."
    )
    return figure


@drawn
def heat_map(results: pd.DataFrame, *, look: Look = PLAIN) -> Picture:
    """Draw a metric of every attack in every scenario, each scenario's leader marked.

    Parameters
    ----------
    results : DataFrame
        Rows of one dataset, model and defence, of any number of scenarios.
    look : Look
        Its metric is one of :data:`mibench.study.metrics.ORDERED`.

    Raises
    ------
    MIBenchError
        If there are no rows with values, or rows of more than one setting.
    """
    setting, metric = rows.only_setting(results, "to draw"), look.metric
    if metric not in ORDERED:
        raise MIBenchError(f"no heat map of {metric!r}; use one of {', '.join(ORDERED)}")
    values, title = rows.pivot(results, metric), rows.titles(results)
    better, label = METRICS[metric].better, METRICS[metric].label
    if values.empty:
        raise MIBenchError(f"no scenario of {setting} has {label}: {METRICS[metric].absent}")
    order = (better * values).mean().sort_values(ascending=False, kind="stable").index
    values, names = values[order], [title[str(name)] for name in order]
    array = values.to_numpy().T
    leads = np.isclose(better * array, np.nanmax(better * array, axis=0), atol=1e-9)
    figure, axes = picture(look, 1.6 + 0.135 * len(order))
    image = axes.imshow(
        array, aspect="auto", cmap="cividis", interpolation="nearest", rasterized=True
    )
    size = min(3.5, 72 * (WIDTHS[look.columns] - 1.8) / len(values) * 0.7)
    down, across = np.nonzero(leads)
    axes.plot(
        across,
        down,
        "o",
        color="white",
        mec="black",
        mew=0.4,
        ms=size,
        clip_on=False,
        zorder=5,
    )
    list_down(axes, names)
    axes.grid(False)
    axes.tick_params(length=0)
    _scenarios_below(axes, results, list(values.index))
    figure.colorbar(image, ax=axes, label=label, location="bottom", aspect=40, pad=0.02, shrink=0.9)
    figure.head(f"{setting}: {many(len(values), 'scenario')}")
    led = pd.Series(leads.sum(axis=1), names)
    led = led[led > 0].sort_values(ascending=False, kind="stable")
    close = _within_the_leader(results, metric, values)
    figure.caption = (
        f"{label} of {many(len(order), 'attack')} in {many(len(values), 'scenario')} of {setting}; "
        "a dot marks each scenario's best value (several where they tie). In "
        f"{close} of {many(len(values), 'scenario')} {rows.over_models(results)} some other "
        f"attack's value lies within the leader's 95% interval. Attacks in the order of "
        f"their mean. {rows.counted(results)}.{rows.unreachable(results)}"
    )
    figure.alt = "Leading attacks and in how many scenarios: " + ", ".join(
        f"{name} {count}" for name, count in led.items()
    )
    return figure


def _scenarios_below(axes: mpl.axes.Axes, results: pd.DataFrame, ids: Sequence[str]) -> None:
    """Name scenarios where there is room, else the distributions and distances they share."""
    if len(ids) <= _LABELLED:
        axes.set_xticks(range(len(ids)), ids, rotation=90)
        return
    factors = results.drop_duplicates("scenario").set_index("scenario").loc[list(ids)]
    shared = factors[["distribution", "distance"]].apply(tuple, axis=1).to_numpy()
    starts = [i for i in range(len(ids)) if i == 0 or shared[i] != shared[i - 1]]
    ends = [*starts[1:], len(ids)]
    places = [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)]
    axes.set_xticks(places, [f"{shared[i][1]:g}" for i in starts], rotation=90)
    axes.set_xlabel("distance")
    for start in starts[1:]:
        new = shared[start][0] != shared[start - 1][0]
        axes.axvline(start - 0.5, color="white", lw=1.6 if new else 0.5)
    for name in dict.fromkeys(factors["distribution"]):
        inside = np.flatnonzero(factors["distribution"] == name)
        axes.text(inside.mean(), -0.7, name, ha="center", va="bottom")


def _within_the_leader(results: pd.DataFrame, metric: str, values: pd.DataFrame) -> int:
    """Count the scenarios in which a second attack's value reaches the leader's interval."""
    better = METRICS[metric].better
    end = f"{metric}_low" if better > 0 else f"{metric}_high"
    bounds = better * rows.pivot(results, end).loc[values.index, values.columns].to_numpy()
    leader = better * values.to_numpy()
    bound = np.take_along_axis(bounds, np.nanargmax(leader, axis=1)[:, None], axis=1)
    return int(((leader >= bound).sum(axis=1) > 1).sum())
