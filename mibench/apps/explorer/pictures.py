"""The pictures of the explorer: axes that are kept and drawn into, shown as PNG.

Each has a scene, which is drawn whole when other data are shown, and marks on top of it, which
follow the threshold; while only marks move, the scene is copied. Nothing here is known to
pyplot, whose state belongs to the user.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import PIL.Image
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mibench.figures.scenario import ScoreAxis
from mibench.figures.style import MEMBER, NONMEMBER, style
from mibench.outputs import BoolArray, FloatArray

# CSS pixels; the picture has SHARPNESS times as many of its own, for screens that show them.
WIDTH = 480
SHARPNESS = 1.25
# The axes' left and right end as shares of the width, with which sliders are aligned.
LEFT, RIGHT = 0.11, 0.97
# Columns in which a picture says its values: as many as a histogram of scores has bins.
_COLUMNS = ScoreAxis.bins
# Above the axes stands the legend, below them their label.
_TOP, _BOTTOM = 24, 36


@contextmanager
def drawing() -> Iterator[None]:
    """Draw as figures do, in letters for a screen; entered once for all pictures of a change."""
    with style(), mpl.rc_context({"font.size": 9}):
        yield


class Picture:
    """One pair of axes on a canvas of its own.

    Parameters
    ----------
    height : int
        In CSS pixels.
    """

    def __init__(self, height: int):
        self.height = height
        below, rest = _BOTTOM / height, 1 - (_TOP + _BOTTOM) / height
        with drawing():
            self.figure = Figure((WIDTH / 72, height / 72), dpi=72 * SHARPNESS)
            self.figure.set_layout_engine("none")
            self.axes: Axes = self.figure.add_axes((LEFT, below, RIGHT - LEFT, rest))
        self._canvas = FigureCanvasAgg(self.figure)
        self._marks: list[Artist] = []
        self._scene: Any = None
        self._pixels, self._source = np.empty((0, 0, 4), np.uint8), ""
        self._columns: list[Column] = []

    @contextmanager
    def scene(self) -> Iterator[Axes]:
        """Give axes to draw a new scene into; what is animated there are its marks."""
        # Not cleared, because making ticks anew takes most of the time.
        for artist in [*self.axes.lines, *self.axes.patches, *self.figure.legends]:
            artist.remove()
        self.axes.relim()
        self.axes.autoscale()
        self._columns = []
        yield self.axes
        corner = (LEFT - 0.02, 1.0)
        self.figure.legend(loc="upper left", bbox_to_anchor=corner, ncols=5, columnspacing=1.0)
        self._canvas.draw()
        self._marks = [artist for artist in self.axes.get_children() if artist.get_animated()]
        self._scene = self._canvas.copy_from_bbox(self.figure.bbox)

    def image(self, alt: str) -> Image:
        """Return the scene with its marks where they are now; `alt` says what is seen."""
        self._canvas.restore_region(self._scene)
        for mark in self._marks:
            self.axes.draw_artist(mark)
        pixels = np.array(self._canvas.buffer_rgba())
        # To encode takes most of the time, and most steps of a slider move few marks.
        if not np.array_equal(pixels, self._pixels):
            self._pixels, self._source = pixels, png(pixels)
        return Image(self._source, alt, self.height, self._columns)

    def say(self, values: Callable[[float], Iterable[str]]) -> None:
        """Let a scene say, where the pointer is, its values at a place of the horizontal axis."""
        ends = np.linspace(self.axes.bbox.x0, self.axes.bbox.x1, _COLUMNS + 1)
        middles = np.column_stack([(ends[:-1] + ends[1:]) / 2, np.zeros(_COLUMNS)])
        places = self.axes.transData.inverted().transform(middles)[:, 0]
        left, width = ends / SHARPNESS, (ends[1] - ends[0]) / SHARPNESS
        self._columns = [
            Column(x, width, [*values(at)]) for x, at in zip(left[:-1], places, strict=True)
        ]

    def spots(self, points: FloatArray) -> FloatArray:
        """Return where points, (n, 2), are in CSS pixels from the upper left corner."""
        from_below = self.axes.transData.transform(points) / SHARPNESS
        return np.abs(from_below - [0, self.height])


class Column(NamedTuple):
    """A part of a picture from its left end, in CSS pixels, and the lines said of it."""

    left: float
    width: float
    said: list[str]


class Image(NamedTuple):
    """An image as a page has it, what is seen there in words, and what its columns say."""

    source: str
    alt: str
    height: int
    columns: list[Column]


def png(pixels: NDArray[np.uint8]) -> str:
    """Return pixels, (height, width, 3 or 4), as an HTML image's source, compressed fast."""
    data = io.BytesIO()
    PIL.Image.fromarray(pixels).convert("RGB").save(data, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


# A sample's colour says what it is, its form whether the attack is right about it.
_OUTCOMES = {
    "TP": (MEMBER, "o"),
    "FP": (NONMEMBER, "x"),
    "FN": (MEMBER, "x"),
    "TN": (NONMEMBER, "o"),
    "withheld": ("0.6", "."),
}


def draw_map(axes: Axes, points: FloatArray) -> Callable[[Iterable[BoolArray]], None]:
    """Prepare axes for samples at points, (n, 2), by what an attack makes of them.

    Returns
    -------
    callable
        Takes which are TP, FP, FN, TN and withheld, each (n,).
    """
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.05 * np.maximum(high - low, 1e-9)
    axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), xticks=[], yticks=[])
    axes.set(ylim=(low[1] - margin[1], high[1] + margin[1]))
    axes.set_xlabel("first and second principal component")
    marks = [
        axes.plot([], [], form, color=colour, ms=4, alpha=0.8, label=name, animated=True)[0]
        for name, (colour, form) in _OUTCOMES.items()
    ]

    def place(outcomes: Iterable[BoolArray]) -> None:
        for mark, chosen in zip(marks, outcomes, strict=True):
            mark.set_data(points[chosen].T)

    return place


def values(axes: Axes, names: Iterable[str]) -> Callable[[float], Iterator[str]]:
    """Return what says the values of curves with names at a place of the horizontal axis."""
    curves = {str(line.get_label()).lstrip("_"): np.array(line.get_data()) for line in axes.lines}

    def say(place: float) -> Iterator[str]:
        yield f"{axes.get_xlabel()} {place:.3g}"
        for name in names:
            x, y = curves[name]
            value = y[max(np.searchsorted(x, place, "right") - 1, 0)]
            yield f"{axes.get_ylabel()} {value:.3f}: {name}"

    return say
