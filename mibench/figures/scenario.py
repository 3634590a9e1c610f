"""Figures of one scenario: its target dataset's distances, an attack's scores, ROC curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm

from mibench.attacks import Attack, Inference
from mibench.attacks.thresholds import best_threshold
from mibench.construction.target import TargetDataset
from mibench.figures.style import (
    AREA,
    MEMBER,
    NONMEMBER,
    SMALLEST,
    Picture,
    attack_style,
    drawn,
    list_down,
    picture,
)
from mibench.look import PLAIN, Look, many
from mibench.outputs import BoolArray, FloatArray, IntArray
from mibench.study import metrics

# Curves that can be told apart in one figure.
MOST = 6
# What a distance is one of, by construction.
_PARTS = {"groups": "group", "pairs": "member-nonmember pair"}


@drawn
def distances(target: TargetDataset, *, look: Look = PLAIN) -> Picture:
    """Draw the distances of a target dataset's groups or pairs against those wanted."""
    figure, axes = picture(look, 2.6)
    figure.alt = draw_distances(axes, target)
    figure.legend(loc="outside upper center", ncols=2)
    (mean, _), (deviation, _) = target.distance, target.deviation
    wanted = f" and the distribution wanted: mean {mean:.3g}, standard deviation {deviation:.3g}"
    figure.caption = (
        f"Distances of the {len(target.distances)} {_PARTS[target.construction]}s of "
        f"{target.scenario.id} ({target.scenario.label}){wanted if len(target.wanted) else ''}."
    )
    return figure


def draw_distances(axes: Axes, target: TargetDataset) -> str:
    """Draw them into axes, and return in words what is seen."""
    (mean, _), (deviation, _) = target.distance, target.deviation
    shape, colour = target.scenario.distribution, AREA
    axes.hist(
        target.distances, 30, density=True, histtype="stepfilled", color=colour, label="constructed"
    )
    x = np.linspace(mean - 4 * deviation, mean + 4 * deviation, 400)
    axes.set(xlabel=f"distance of a {_PARTS[target.construction]}", ylabel="density")
    said = (
        f"Histogram of distances, mean {target.distances.mean():.3g}, standard deviation "
        f"{target.distances.std():.3g}"
    )
    if not len(target.wanted):
        return f"{said}."
    if shape == "normal":
        axes.plot(x, norm.pdf(x, mean, deviation), color="black", label="wanted: normal")
    elif shape == "uniform":
        half = np.sqrt(3) * deviation
        density = (np.abs(x - mean) <= half) / (2 * half)
        axes.plot(x, density, color="black", label="wanted: uniform")
    else:
        for side, name in ((-1, "wanted: bernoulli"), (1, None)):
            axes.axvline(mean + side * deviation, color="black", ls="--", lw=0.8, label=name)
    return f"{said}, with the wanted {shape} distribution over it."


class Judged(Protocol):
    """An attack's answer with the truth, of an experiment or an audit."""

    @property
    def attack(self) -> Attack: ...  # noqa: D102
    @property
    def inference(self) -> Inference: ...  # noqa: D102
    @property
    def is_member(self) -> BoolArray: ...  # noqa: D102
    @property
    def metrics(self) -> dict[str, metrics.Estimate]: ...  # noqa: D102


@drawn
def scores(*results: Judged, look: Look = PLAIN) -> Picture:
    """Draw attacks' scores of members and nonmembers with their thresholds.

    Of several attacks a strip each, members above its line and nonmembers below.
    """
    height = 2.6 if len(results) == 1 else 0.8 + 0.21 * len(results)
    figure, axes = picture(look, height)
    if len(results) == 1:
        draw_scores(axes, results[0])
        axes.set_ylabel("samples")
        ranked = "The axis is by rank among the distinct scores where"
    else:
        _draw_strips(axes, results)
        ranked = (
            "The numbers are the scores at the ends of each strip, heights are shares of its "
            "fullest bin. A strip is by rank among the distinct scores (*) where"
        )
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    is_member = results[0].is_member
    figure.caption = (
        f"Scores of {', '.join(r.attack.full_title for r in results)}: {is_member.sum()} members, "
        f"{(~is_member).sum()} nonmembers; what lies beyond an end is in the outermost bin. "
        f"{ranked} one bin would hold more than half of {ScoreAxis.bins} or more distinct ones."
    )
    figure.alt = "Histograms of scores. " + " ".join(in_words(result) for result in results)
    return figure


def _draw_strips(axes: Axes, results: Sequence[Judged]) -> None:
    """Draw the scores of several attacks, one below the other."""
    found = [ScoreAxis(r.inference.scores, r.inference.threshold) for r in results]
    bins = np.linspace(0, 1, ScoreAxis.bins + 1)
    counts = np.array(
        [
            [axis.counts(result.inference.scores[result.is_member == m]) for m in (True, False)]
            for axis, result in zip(found, results, strict=True)
        ]
    )
    rows = np.arange(len(results))
    # Up is where the vertical axis, which names the first attack on top, becomes less.
    heights = counts / counts.max((1, 2), keepdims=True) * np.array([[-0.45], [0.45]])
    steps = np.repeat(heights, 2, axis=2) + rows[:, None, None]
    across = np.concatenate([[0], np.repeat(bins, 2)[1:-1], [1]])
    for side, name, colour in ((0, "members", MEMBER), (1, "nonmembers", NONMEMBER)):
        down = np.pad(steps[:, side], ((0, 0), (1, 1)))
        down[:, [0, -1]] = rows[:, None]
        outlines = np.stack(np.broadcast_arrays(across, down), axis=-1)
        # One collection in place of a panel each, which took half of a notebook's time.
        axes.add_collection(PolyCollection([*outlines], facecolor=colour, label=name))
    at = [a.place(r.inference.threshold) for a, r in zip(found, results, strict=True)]
    axes.vlines(at, rows - 0.45, rows + 0.45, color="black", lw=0.8, label="threshold")
    for row, axis in enumerate(found):
        for end, beside in ((0, "right"), (1, "left")):
            text = f" {_short(axis.score(end))} "
            axes.text(end, row, text, ha=beside, va="center", fontsize=SMALLEST)
    marks = [" *" if axis.by_rank else "" for axis in found]
    list_down(axes, [r.attack.full_title + m for r, m in zip(results, marks, strict=True)])
    axes.set(xlim=(-0.24, 1.2), xticks=[], xlabel="score, from low to high")
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)


def in_words(result: Judged) -> str:
    """Return where an attack's scores lie and what its MA is."""
    values, is_member, ma = result.inference.scores, result.is_member, result.metrics["ma"]
    return (
        f"{result.attack.full_title}: members' median {np.median(values[is_member]):.3g}, "
        f"nonmembers' {np.median(values[~is_member]):.3g}, "
        f"threshold {result.inference.threshold:.3g}, "
        f"MA {ma.value:z.3f} ({ma.low:z.3f} to {ma.high:z.3f})."
    )


class ScoreAxis:
    """Where scores lie on an axis from 0 to 1.

    Their distances are those of the scores, or, where more than half of the scores would lie in
    one bin, those of their ranks among the distinct scores.

    Parameters
    ----------
    scores : float array, (n,)
    threshold : float
        It is on the axis too.

    Attributes
    ----------
    by_rank : bool
    """

    bins = 40

    def __init__(self, scores: FloatArray, threshold: float):
        finite = scores[np.isfinite(scores)]
        # The extreme tails of a score would leave the rest in one bin.
        low, high = np.quantile(finite, (0.005, 0.995))
        ends = min(low, threshold), max(high, threshold)
        distinct = np.unique(np.append(finite, threshold))
        # Between scores that are all but equal there is no room for bins.
        apart = ends[1] - ends[0] > max(1e-12 * np.abs(ends).max(), 1e-290)
        fullest = np.histogram(finite, self.bins, ends if apart else None)[0].max()
        self.by_rank = bool(fullest > len(finite) / 2 and len(distinct) >= self.bins)
        if self.by_rank:
            self._scores = distinct
        else:
            margin = 0.02 * (ends[1] - ends[0]) or 0.5
            self._scores = np.array([ends[0] - margin, ends[1] + margin])
        self._places = np.linspace(0, 1, len(self._scores))

    def place(self, score: Any) -> Any:
        """Return where scores lie, those beyond the ends at the ends."""
        return np.interp(score, self._scores, self._places)

    def score(self, place: Any) -> Any:
        """Return the scores that lie at places."""
        return np.interp(place, self._places, self._scores)

    def counts(self, scores: FloatArray) -> IntArray:
        """Return how many scores are in each bin, (bins,)."""
        return np.histogram(self.place(scores), self.bins, (0, 1))[0]

    @property
    def ticks(self) -> FloatArray:
        """The scores at which an axis has its ticks."""
        if self.by_rank:
            # No more stand beside each other in the narrowest panel.
            return np.asarray(self.score(np.linspace(0.08, 0.92, 3)))
        low, high = self._scores
        found = MaxNLocator(3).tick_values(low, high)
        return np.asarray(found[(found >= low) & (found <= high)])


def draw_scores(axes: Axes, result: Judged) -> ScoreAxis:
    """Draw an attack's scores and its threshold into axes, and return what lies where."""
    values, threshold = result.inference.scores, result.inference.threshold
    axis = ScoreAxis(values, threshold)
    bins = np.linspace(0, 1, axis.bins + 1)
    for member, name, colour in ((True, "members", MEMBER), (False, "nonmembers", NONMEMBER)):
        counts = axis.counts(values[result.is_member == member])
        # One path in place of forty bars, which take most of the time to draw.
        axes.stairs(counts, bins, fill=True, alpha=0.6, color=colour, label=name)
    axes.axvline(axis.place(threshold), color="black", ls="--", label="threshold")
    axes.set_xticks(axis.place(axis.ticks), [*map(_short, axis.ticks)])
    axes.set_xlim(0, 1)
    axes.locator_params("y", integer=True)
    by_rank = " (by rank)" if axis.by_rank else ""
    axes.set_xlabel(f"score{by_rank} of\n{result.attack.full_title}")
    return axis


def _short(value: float) -> str:
    """Return a number in few characters."""
    if 0 < abs(value) < 0.01:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.0f}" if 10 <= abs(value) < 1000 else f"{value:z.2g}"


@drawn
def roc(results: Sequence[Judged], *, look: Look = PLAIN) -> Picture:
    """Draw ROC curves on log axes, each with its threshold's point."""
    figure, axes = picture(look, 4.2)
    figure.alt = draw_roc(axes, results)
    figure.legend(
        loc="outside lower center", fontsize=SMALLEST, ncols=look.columns, handlelength=1.6
    )
    is_member = results[0].is_member
    figure.caption = (
        f"ROC curves of {many(len(results), 'attack')} on {is_member.sum()} members and "
        f"{(~is_member).sum()} nonmembers, both axes logarithmic; a point marks each attack's own "
        "threshold, the dotted line chance. "
        f"{'' if len(results) <= MOST else f'The {MOST} of largest AUC stand out. '}"
        "AUC with 95% interval: "
        + "; ".join(
            f"{r.attack.full_title} {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
            for r in results
            for auc in (r.metrics["auc"],)
        )
        + "."
    )
    return figure


def draw_roc(axes: Axes, results: Sequence[Judged]) -> str:
    """Draw them into axes, and return in words what is seen."""
    floor = 0.5 / len(results[0].is_member)
    by_area = sorted(results, key=lambda r: -r.metrics["auc"].value)
    for result in by_area[MOST:]:
        fpr, tpr, _ = metrics.roc(result.inference.scores, result.is_member)
        axes.plot(fpr, tpr, color="0.8", lw=0.5, drawstyle="steps-post")
    for result in by_area[:MOST]:
        values, is_member = result.inference.scores, result.is_member
        fpr, tpr, _ = metrics.roc(values, is_member)
        look = attack_style(result.attack.name)
        called = values >= result.inference.threshold
        # Where a rate is zero the point stands at the edge, as a logarithm has no zero.
        rates = called[~is_member].mean(), called[is_member].mean()
        at = [max(rate, floor) for rate in rates]
        line: dict[str, Any] = {"color": look.colour, "ls": look.line, "lw": 0.8}
        point: dict[str, Any] = {"marker": look.marker, "mfc": look.face, "ms": 3.5}
        # Named, but not in the legend, which shows line and point as one.
        axes.plot(fpr, tpr, **line, drawstyle="steps-post", label=f"_{result.attack.full_title}")
        axes.plot(*at, **point, color=look.colour, clip_on=False)
        name = f"{result.attack.full_title} (AUC {result.metrics['auc'].value:.2f})"
        axes.plot([], [], **line, **point, label=name)
    if len(results) > MOST:
        axes.plot([], [], color="0.8", lw=0.5, label=f"{len(results) - MOST} more")
    chance = np.geomspace(floor, 1, 50)
    axes.plot(chance, chance, color="0.6", lw=0.8, ls=":")
    axes.set(xscale="log", yscale="log", xlim=(floor, 1.1), ylim=(floor, 1.1))
    axes.minorticks_off()
    axes.set(xlabel="FPR", ylabel="TPR")
    return (
        f"ROC curves; {by_area[0].attack.full_title} has the largest area below its curve, AUC "
        f"{by_area[0].metrics['auc'].value:.2f}."
    )


def draw_pr(axes: Axes, results: Sequence[Judged]) -> str:
    """Draw precision against recall into axes, and return in words what is seen."""
    for result in results:
        is_member, look = result.is_member, attack_style(result.attack.name)
        fpr, tpr, _ = metrics.roc(result.inference.scores, is_member)
        recall, false = tpr[1:], fpr[1:] * (~is_member).sum()
        found = recall * is_member.sum()
        axes.plot(
            recall,
            found / (found + false),
            color=look.colour,
            ls=look.line,
            lw=0.8,
            label=result.attack.full_title,
        )
    axes.axhline(results[0].is_member.mean(), color="0.6", lw=0.8, ls=":")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel="recall", ylabel="precision")
    return "Precision against recall; the dotted line is the share of members."


@drawn
def class_thresholds(result: Judged, labels: IntArray, *, look: Look = PLAIN) -> Picture:
    """Draw each class's threshold of highest MA on a target dataset beside the attack's own.

    The published README's part II. Chosen on the truth, so that no attack can have them.

    Parameters
    ----------
    result : Judged
    labels : int array, (2n,)
        The classes of its samples.
    look : Look
    """
    values, own = result.inference.scores, result.inference.threshold
    judged = [c for c in np.unique(labels) if 0 < result.is_member[labels == c].mean() < 1]
    of = (labels == c for c in judged)
    best = np.array([best_threshold(values[own], result.is_member[own]) for own in of])
    figure, axes = picture(look, 2.4)
    axes.plot(judged, best, **attack_style(result.attack.name).mark, ms=3)
    axes.axhline(own, color="black", ls="--", lw=0.8, label="the attack's threshold")
    axes.set(xlabel="class", ylabel="threshold at highest MA")
    figure.legend(loc="outside lower center")
    figure.head(result.attack.full_title)
    figure.caption = (
        f"The score at which MA of {result.attack.full_title} is highest in each of "
        f"{many(len(judged), 'class', 'classes')} with members and nonmembers, and the "
        "threshold that the attack chose."
    )
    figure.alt = f"From {best.min():.3g} to {best.max():.3g}; the attack's threshold is {own:.3g}."
    return figure
