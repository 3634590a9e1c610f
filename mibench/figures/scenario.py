"""Figures of one scenario: its target dataset's distances, an attack's scores, ROC curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import norm

from mibench.attacks import Attack, Inference
from mibench.construction.target import TargetDataset
from mibench.figures.style import COLOURS, MEMBER, NONMEMBER, Picture, attack_style, picture, style
from mibench.outputs import BoolArray
from mibench.study import metrics


def distances(target: TargetDataset) -> Picture:
    """Draw the distances of a target dataset's pairs against the wanted distribution."""
    mean, deviation = target.distance[0], target.deviation[0]
    shape = target.scenario.distribution
    with style():
        figure, axes = picture(figsize=(3.5, 2.6))
        axes.hist(target.distances, bins=30, density=True, color=COLOURS[4], label="constructed")
        x = np.linspace(mean - 4 * deviation, mean + 4 * deviation, 400)
        if shape == "normal":
            axes.plot(x, norm.pdf(x, mean, deviation), color="black", label="wanted: normal")
        elif shape == "uniform":
            half = np.sqrt(3) * deviation
            density = (np.abs(x - mean) <= half) / (2 * half)
            axes.plot(x, density, color="black", label="wanted: uniform")
        else:
            for side, name in ((-1, "wanted: bernoulli"), (1, None)):
                axes.axvline(mean + side * deviation, color="black", ls="--", lw=0.8, label=name)
        axes.set(xlabel="distance of a member-nonmember pair", ylabel="density")
        figure.legend(loc="outside upper center", ncols=2)
    figure.caption = (
        f"Distances of the {len(target.distances)} member-nonmember pairs of {target.scenario.id} "
        f"({target.scenario.label}) and the distribution wanted: mean {mean:.3g}, standard "
        f"deviation {deviation:.3g}."
    )
    figure.alt = (
        f"Histogram of distances, mean {target.distances.mean():.3g}, standard deviation "
        f"{target.distances.std():.3g}, with the wanted {shape} distribution over it."
    )
    return figure


class Judged(Protocol):
    """An attack's answer with the truth, of an experiment or an audit."""

    @property
    def attack(self) -> type[Attack]: ...  # noqa: D102
    @property
    def inference(self) -> Inference: ...  # noqa: D102
    @property
    def is_member(self) -> BoolArray: ...  # noqa: D102
    @property
    def metrics(self) -> dict[str, metrics.Estimate]: ...  # noqa: D102


def scores(*results: Judged) -> Picture:
    """Draw attacks' scores of members and nonmembers with their thresholds, a panel each."""
    columns = min(len(results), 4)
    rows = -(-len(results) // columns)
    size = (3.5, 2.6) if len(results) == 1 else (7.16, 1.35 * rows + 0.3)
    with style():
        figure, grid = picture(rows, columns, figsize=size, squeeze=False)
        for axes in grid.flat[len(results) :]:
            axes.remove()
        for axes, result in zip(grid.flat, results, strict=False):
            _scores(axes, result)
        handles = {
            name: handle
            for axes in figure.axes
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3)
        if len(results) > 1:
            figure.supylabel("samples", fontsize=7)
        else:
            figure.axes[0].set_ylabel("samples")
    is_member = results[0].is_member
    figure.caption = (
        f"Scores of {', '.join(r.attack.title for r in results)}: {is_member.sum()} members, "
        f"{(~is_member).sum()} nonmembers; what lies beyond the outermost 0.5% on either side is "
        "in the outermost bins."
    )
    figure.alt = "Histograms of scores. " + " ".join(_in_words(result) for result in results)
    return figure


def _in_words(result: Judged) -> str:
    values, is_member, ma = result.inference.scores, result.is_member, result.metrics["ma"]
    return (
        f"{result.attack.title}: members' median {np.median(values[is_member]):.3g}, nonmembers' "
        f"{np.median(values[~is_member]):.3g}, threshold {result.inference.threshold:.3g}, "
        f"MA {ma.value:.3f} ({ma.low:.3f} to {ma.high:.3f})."
    )


def _scores(axes: Axes, result: Judged) -> None:
    values, is_member = result.inference.scores, result.is_member
    finite = values[np.isfinite(values)]
    # The extreme tails of a score would leave the rest in one bin.
    low, high = np.quantile(finite, (0.005, 0.995))
    bins = np.linspace(low, high if high > low else low + 1, 31)
    for side, name, colour in (
        (is_member, "members", MEMBER),
        (~is_member, "nonmembers", NONMEMBER),
    ):
        counts, _ = np.histogram(np.clip(values[side], bins[0], bins[-1]), bins)
        # One path in place of thirty bars, which take most of the time to draw.
        axes.stairs(counts, bins, fill=True, alpha=0.6, color=colour, label=name)
    if bins[0] <= result.inference.threshold <= bins[-1]:
        axes.axvline(result.inference.threshold, color="black", ls="--", label="threshold")
    axes.set_xlabel(f"score of\n{result.attack.title}")
    axes.locator_params("x", nbins=4)


def roc(results: Sequence[Judged]) -> Picture:
    """Draw ROC curves on log axes, each with its threshold's point."""
    with style():
        figure, axes = picture(figsize=(3.5, 3.2 + 0.13 * len(results)))
        floor = 0.5 / len(results[0].is_member)
        for result in results:
            values, is_member = result.inference.scores, result.is_member
            fpr, tpr, _ = metrics.roc(values, is_member)
            drawn = attack_style(result.attack.name)
            area = result.metrics["auc"].value
            called = values >= result.inference.threshold
            # Where a rate is zero the point stands at the edge, as a logarithm has no zero.
            rates = called[~is_member].mean(), called[is_member].mean()
            at = [max(rate, floor) for rate in rates]
            axes.plot(fpr, tpr, color=drawn.colour, ls=drawn.line, lw=0.8, drawstyle="steps-post")
            axes.plot(*at, drawn.marker, color=drawn.colour, mfc=drawn.face, ms=3.5, clip_on=False)
            # The legend shows line and point as one.
            axes.plot(
                [],
                [],
                drawn.marker,
                color=drawn.colour,
                mfc=drawn.face,
                ms=3.5,
                ls=drawn.line,
                lw=0.8,
                label=f"{result.attack.title} (AUC {area:.2f})",
            )
        line = np.geomspace(floor, 1, 50)
        axes.plot(line, line, color="0.6", lw=0.8, ls=":")
        axes.set(xscale="log", yscale="log", xlim=(floor, 1.1), ylim=(floor, 1.1))
        axes.set(xlabel="FPR", ylabel="TPR")
        figure.legend(
            loc="outside lower center",
            fontsize=5.5,
            ncols=1 if len(results) < 4 else 2,
            columnspacing=0.8,
            handlelength=1.6,
        )
    is_member = results[0].is_member
    figure.caption = (
        f"ROC curves of {len(results)} attacks on {is_member.sum()} members and "
        f"{(~is_member).sum()} nonmembers, both axes logarithmic; a point marks each attack's own "
        "threshold, the dotted line chance. AUC with 95% interval: "
        + "; ".join(
            f"{r.attack.title} {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
            for r in results
            for auc in (r.metrics["auc"],)
        )
        + "."
    )
    best = max(results, key=lambda r: r.metrics["auc"].value)
    figure.alt = (
        f"ROC curves; {best.attack.title} has the largest area below its curve, AUC "
        f"{best.metrics['auc'].value:.2f}."
    )
    return figure
