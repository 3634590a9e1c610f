"""The pictures of the explorer: figures that are kept and updated, shown as PNG.

Each has a scene, which is drawn whole when other data are shown, and marks on top of it, which
follow the threshold; while only marks move, the scene is copied. Nothing here is known to
pyplot, whose state belongs to the user.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy.stats import norm

from mibench.construction.target import TargetDataset
from mibench.figures.style import COLOURS, MEMBER, NONMEMBER, attack_style, style
from mibench.outputs import BoolArray, FloatArray
from mibench.study import metrics

# CSS pixels; the picture has SHARPNESS times as many of its own, for screens that show them.
WIDTH = 480
SHARPNESS = 1.25
# The axes' left and right end as shares of the width, with which sliders are aligned.
LEFT, RIGHT = 0.11, 0.97

_BINS = 40


class Picture:
    """One pair of axes on a canvas of its own, and the widget that shows it."""

    def __init__(self, height: int, top: float, bottom: float, **settings: Any):
        with style():
            size = (WIDTH / 72, height / 72)
            self.figure = Figure(size, dpi=72 * SHARPNESS)
            self.figure.set_layout_engine("none")
            self.canvas = FigureCanvasAgg(self.figure)
            self.axes: Axes = self.figure.add_axes(
                (LEFT, bottom / height, RIGHT - LEFT, 1 - (top + bottom) / height)
            )
            self.axes.set(**settings)
            # Ticks that come later are made outside of the style.
            self.axes.tick_params(which="both", labelsize=9)
            self.axes.xaxis.label.set_fontsize(9)
            self.axes.yaxis.label.set_fontsize(9)
            self.axes.grid(True, color="0.9")
        layout = widgets.Layout(width="100%", margin="0")
        self.widget = widgets.Image(format="png", width=WIDTH, height=height, layout=layout)
        self.marks: list[Artist] = []
        self._scene: Any = None
        self._legend: Any = None

    def add_mark(self, artist: Any) -> Any:
        """Let an artist be one that moves on top of the scene."""
        artist.set_animated(True)
        self.marks.append(artist)
        return artist

    def legend(self, entries: Sequence[Artist], columns: int) -> None:
        """Put a legend above the axes in place of the one there is."""
        self._legend = None
        for legend in self.figure.legends:
            legend.remove()
        with style():
            self.figure.legend(
                handles=entries,
                loc="upper left",
                bbox_to_anchor=(LEFT - 0.02, 1.0),
                ncols=columns,
                fontsize=9,
                borderpad=0.2,
                handletextpad=0.4,
                columnspacing=1.0,
            )

    def _keep_legend(self) -> None:
        """Copy the legend once it is drawn: drawing it takes as long as the axes' ticks."""
        if self._legend is None:
            [legend] = self.figure.legends
            self._legend = self.canvas.copy_from_bbox(legend.get_window_extent().padded(1))
            legend.set_visible(False)
        self.canvas.restore_region(self._legend)

    def changed(self) -> None:
        """Have the scene drawn anew by the next :meth:`render`."""
        self._scene = None

    def render(self) -> None:
        """Draw what has changed and show it."""
        if self._scene is None:
            self.canvas.draw()
            self._keep_legend()
            self._scene = self.canvas.copy_from_bbox(self.figure.bbox)
        else:
            self.canvas.restore_region(self._scene)
        for mark in self.marks:
            self.axes.draw_artist(mark)
        self.widget.value = png(np.asarray(self.canvas.buffer_rgba())[..., :3])


def png(pixels: NDArray[Any], **settings: Any) -> bytes:
    """Return an array of pixels as PNG, compressed fast rather than well."""
    data = io.BytesIO()
    imsave(data, pixels, format="png", pil_kwargs={"compress_level": 1}, **settings)
    return data.getvalue()


class ScoreHistogram(Picture):
    """Scores of members and nonmembers, the threshold, and the scores without an answer."""

    def __init__(self) -> None:
        super().__init__(200, 24, 36, ylabel="samples", xlabel="score")
        edges = np.linspace(0, 1, _BINS + 1)
        self._bars = [
            self.axes.stairs(np.zeros(_BINS), edges, fill=True, alpha=0.6, color=colour, label=name)
            for colour, name in ((MEMBER, "members"), (NONMEMBER, "nonmembers"))
        ]
        self._withheld = self.add_mark(
            self.axes.add_patch(Rectangle((0, 0), 0, 1, color="0.3", alpha=0.25, lw=0))
        )
        self._withheld.set_transform(self.axes.get_xaxis_transform())
        self._withheld.set_label("withheld")
        self._own = self.axes.axvline(0, color="black", ls=":", lw=1.2, label="attack's own")
        self._threshold = self.add_mark(
            self.axes.axvline(0, color="black", lw=1.5, label="threshold")
        )
        self.legend([*self._bars, self._withheld, self._own, self._threshold], 5)
        self.interval = (0.0, 1.0)

    def show(self, scores: FloatArray, is_member: BoolArray, own: float) -> None:
        """Take an attack's scores, (n,), and the threshold that it chose."""
        finite = scores[np.isfinite(scores)]
        # The extreme tails of a score would leave the rest in one bin.
        low, high = np.quantile(finite, (0.005, 0.995))
        low, high = min(low, own), max(high, own)
        margin = 0.02 * (high - low) or 0.5
        self.interval = (float(low - margin), float(high + margin))
        edges = np.linspace(*self.interval, _BINS + 1)
        most = 1
        for bars, side in zip(self._bars, (is_member, ~is_member), strict=True):
            counts = np.histogram(np.clip(scores[side], low, high), edges)[0]
            bars.set_data(counts, edges)
            most = max(most, int(counts.max()))
        self._own.set_xdata([own, own])
        self.axes.set(xlim=self.interval, ylim=(0, 1.05 * most))
        self.changed()

    def mark(self, threshold: float, withheld: tuple[float, float] | None) -> None:
        """Draw the threshold and the interval of scores that get no answer."""
        self._threshold.set_xdata([threshold, threshold])
        low, high = withheld or (threshold, threshold)
        self._withheld.set(x=low, width=high - low)
        self.render()


# Colour says what a sample is, the form whether the attack is right about it.
OUTCOMES = (
    ("TP", "member, called so", MEMBER, "o"),
    ("FN", "member, missed", MEMBER, "x"),
    ("TN", "nonmember, called so", NONMEMBER, "o"),
    ("FP", "nonmember, accused", NONMEMBER, "x"),
    ("withheld", "no answer", "0.6", "."),
)


class OutcomeMap(Picture):
    """The target dataset's samples on two principal components, by what the attack makes of them.

    Points nearer to each other have more alike log posteriors.
    """

    def __init__(self) -> None:
        super().__init__(230, 24, 24, xlabel="first and second principal component")
        # Without ticks the scene stays as it is whatever the data.
        self.axes.set(xticks=[], yticks=[])
        self._points = [
            self.add_mark(
                self.axes.plot([], [], form, color=colour, ms=4, alpha=0.8, label=name)[0]
            )
            for name, _, colour, form in OUTCOMES
        ]
        self.legend(self._points, 5)
        self._at: FloatArray = np.zeros((0, 2))

    def show(self, points: FloatArray) -> None:
        """Take the samples' positions, (n, 2)."""
        self._at = points
        low, high = points.min(axis=0), points.max(axis=0)
        margin = 0.05 * np.maximum(high - low, 1e-9)
        self.axes.set(
            xlim=(low[0] - margin[0], high[0] + margin[0]),
            ylim=(low[1] - margin[1], high[1] + margin[1]),
        )

    def mark(self, called: BoolArray, is_member: BoolArray, keep: BoolArray) -> None:
        """Colour the samples by answer, truth and whether there is an answer, each (n,)."""
        sides = (
            called & is_member & keep,
            ~called & is_member & keep,
            ~called & ~is_member & keep,
            called & ~is_member & keep,
            ~keep,
        )
        for points, side in zip(self._points, sides, strict=True):
            points.set_data(self._at[side, 0], self._at[side, 1])
        self.render()


class RocCurves(Picture):
    """ROC curves of up to two attacks on log axes, each with the threshold's point."""

    def __init__(self) -> None:
        super().__init__(260, 24, 36, xlabel="FPR", ylabel="TPR", xscale="log", yscale="log")
        self._curves = [self.axes.plot([], [], lw=1.5, drawstyle="steps-post")[0] for _ in range(2)]
        self._points = [
            self.add_mark(self.axes.plot([], [], ms=8, mec="black", clip_on=False)[0])
            for _ in range(2)
        ]
        chance = self.axes.plot([1e-9, 1], [1e-9, 1], color="0.6", lw=1, ls=":", label="chance")
        self._chance = chance[0]

    def show(self, curves: Sequence[tuple[str, str, FloatArray, BoolArray]]) -> None:
        """Take the name, the title, the scores and the membership of one or two attacks."""
        floor = 0.5 / len(curves[0][3])
        for i, line in enumerate(self._curves):
            line.set_data([], [])
            self._points[i].set_data([], [])
            if i < len(curves):
                name, title, scores, is_member = curves[i]
                drawn = attack_style(name)
                line.set(color=drawn.colour, linestyle=drawn.line)
                self._points[i].set(marker=drawn.marker, color=drawn.face, mec="black")
                fpr, tpr, _ = metrics.roc(scores, is_member)
                # A rate of zero has no place on a log axis; it is drawn at the lower edge.
                line.set_data(np.maximum(fpr, floor), np.maximum(tpr, floor))
                line.set_label(title)
        self.axes.set(xlim=(floor * 0.9, 1.1), ylim=(floor * 0.9, 1.1))
        self._floor = floor
        self.legend([*self._curves[: len(curves)], self._chance], 3)
        self.changed()

    def mark(self, points: Sequence[tuple[float, float]]) -> None:
        """Draw the points (FPR, TPR) of all samples at each attack's threshold."""
        for mark, (fpr, tpr) in zip(self._points, points, strict=False):
            mark.set_data([max(fpr, self._floor)], [max(tpr, self._floor)])
        self.render()


class DistanceHistogram(Picture):
    """The distances of a target dataset's pairs against the distribution that was wanted."""

    def __init__(self) -> None:
        super().__init__(
            200, 24, 36, xlabel="distance of a member-nonmember pair", ylabel="density"
        )
        edges = np.linspace(0, 1, _BINS + 1)
        self._bars = self.axes.stairs(
            np.zeros(_BINS), edges, fill=True, color=COLOURS[4], label="constructed"
        )
        self._wanted = self.axes.plot([], [], color="black", lw=1.5, label="wanted")[0]
        self.legend([self._bars, self._wanted], 2)

    def show(self, target: TargetDataset) -> None:
        """Draw a target dataset's distances."""
        mean, deviation = target.distance[0], target.deviation[0]
        low, high = mean - 3.5 * deviation, mean + 3.5 * deviation
        edges = np.linspace(low, high, _BINS + 1)
        density = np.histogram(np.clip(target.distances, low, high), edges, density=True)[0]
        self._bars.set_data(density, edges)
        top = 1.1 * float(density.max())
        x = np.linspace(low, high, 300)
        shape = target.scenario.distribution
        if shape == "normal":
            self._wanted.set_data(x, norm.pdf(x, mean, deviation))
        elif shape == "uniform":
            half = np.sqrt(3) * deviation
            self._wanted.set_data(x, (np.abs(x - mean) <= half) / (2 * half))
        else:
            ends = [mean - deviation, mean + deviation]
            self._wanted.set_data(
                [ends[0], ends[0], np.nan, ends[1], ends[1]], [0, top, np.nan, 0, top]
            )
        self.axes.set(xlim=(low, high), ylim=(0, top))
        self.changed()
        self.render()
