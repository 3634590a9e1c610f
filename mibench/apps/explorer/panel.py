"""One attack on one target dataset: its pictures, its threshold, its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from mibench.apps.explorer.page import Part
from mibench.apps.explorer.pictures import LEFT, RIGHT, WIDTH, Picture, draw_map, png
from mibench.attacks import Attack, Inference
from mibench.construction.target import TargetDataset
from mibench.figures.scenario import ScoreAxis, draw_scores, in_words
from mibench.outputs import BoolArray, FloatArray, IntArray
from mibench.study import metrics
from mibench.study.metrics import Estimate
from mibench.study.study import Attacked, Study

_METRICS = ("precision", "recall", "f1", "fnr", "fpr", "ma", "auc")
# The metrics shown, and what they are called.
SHOWN = {name: metrics.METRICS[name].label for name in _METRICS}
_COUNTS = ("TP", "FP", "FN", "TN", "WM", "WN")
_SAMPLES = 10
_STEPS = 1000


class AttackPanel:
    """What one attack makes of a target dataset at a threshold that can be moved.

    Parameters
    ----------
    moved : callable
        Called with this panel when the user has moved the threshold; it calls :meth:`judge`.

    Attributes
    ----------
    parts : tuple of Part
        What stands above and below the slider.
    estimates : dict of str to Estimate
        The metrics shown.
    counts : dict of str to int
        The confusion counts shown.
    """

    def __init__(self, moved: Callable[[AttackPanel], None]):
        self.estimates: dict[str, Estimate] = {}
        self.counts: dict[str, int] = {}
        self._moved = lambda _: moved(self)
        self._study: Study | None = None
        self._shown: Attacked | None = None
        self.scores, self.outcome, self.surest = Part("scores"), Part("outcome"), Part("surest")
        self.map, self.points = Part("picture"), Part("points")
        self.parts = (self.scores, self.outcome, self.map, self.points, self.surest)
        self._histogram, self._map = Picture(200), Picture(230)
        share = f"{100 * (RIGHT - LEFT):.1f}%"
        # Of whole positions, because a front end rounds a slider's number and sends it back.
        self.slider = widgets.IntSlider(
            max=_STEPS,
            readout=False,
            layout=widgets.Layout(width=share, margin=f"0 0 0 {100 * LEFT:.1f}%"),
        )
        self.own = widgets.Button(
            description="back to the attack's own threshold",
            tooltip="Take the threshold that the attack chose without knowing the members",
        )
        self.slider.add_class("mibench-part").observe(self._moved, "value")
        self.own.add_class("mibench-part").add_class("mibench-own")
        self.own.on_click(lambda _: self.slider.set_trait("value", self._own_position))
        layers = widgets.Box([self.map.widget, self.points.widget]).add_class("mibench-layers")
        below = [self.outcome.widget, layers, self.surest.widget]
        self.box = widgets.VBox([self.scores.widget, self.slider, self.own, *below])

    def result_on(self, study: Study, target: TargetDataset, attack: Attack) -> Attacked | None:
        """Return what is shown if it is this attack's on these samples, whatever the ratio.

        It comes without metrics, which depend on the ratio.
        """
        if not self._is_on(study, target) or self.result.attack != attack:
            return None
        return replace(self.result, target=target, metrics={})

    def _is_on(self, study: Study, target: TargetDataset) -> bool:
        if self._shown is None or study is not self._study:
            return False
        return np.array_equal(self._shown.target.samples, target.samples)

    @property
    def result(self) -> Attacked:
        """The attack's answer that is shown."""
        assert self._shown is not None
        return self._shown

    @property
    def judged(self) -> Attacked:
        """The same with the metrics that are shown."""
        return replace(self.result, metrics=self.estimates)

    @property
    def threshold(self) -> float:
        """The threshold at the slider's position; at the one nearest to it, the attack's own."""
        if self.slider.value == self._own_position:
            return self.result.inference.threshold
        return float(self._axis.score(self.slider.value / _STEPS))

    @property
    def called(self) -> BoolArray:
        """Which samples the threshold calls members, (n,)."""
        return self.result.inference.scores >= self.threshold

    @property
    def point(self) -> tuple[float, float]:
        """FPR and TPR of all samples, whether answered or not, at the threshold."""
        called, is_member = self.called, self.result.is_member
        return float(called[~is_member].mean()), float(called[is_member].mean())

    @property
    def recalled(self) -> tuple[float, float]:
        """Recall and precision of all samples at the threshold; without a positive NaN."""
        found = self.result.is_member[self.called]
        return self.point[1], float(found.mean()) if len(found) else np.nan

    def show(self, of: str, study: Study, result: Attacked) -> None:
        """Show an attack's answer; the threshold stays where it was if only the ratio changed.

        Parameters
        ----------
        of : str
            Of what choice this is the answer; see :class:`mibench.apps.explorer.page.Part`.
        study : Study
        result : Attacked
        """
        before, on_same = self._shown, self._is_on(study, result.target)
        self._study, self._shown, self._of = study, result, of
        if not on_same:
            samples = result.target.samples
            self._outputs = study.signals.outputs(samples)
            data = study.dataset
            images = data.inputs[samples] if data.kind == "image" else ()
            self._thumbnails = [_thumbnail(image) for image in images]
            points = PCA(2, random_state=0).fit_transform(self._outputs.log_probs)
            with self._map.scene() as axes:
                self._place = draw_map(axes, points)
            self._spots = self._map.spots(points)
        if before is None or before.inference is not result.inference:
            with self._histogram.scene() as axes:
                self._axis = draw_scores(axes, result)
                axes.set_xlabel(axes.get_xlabel().replace("\n", " "))
                self._mark = axes.axvline(0, color="black", lw=1.5, label="moved", animated=True)
                self._mark.set_snap(False)  # a step of the slider is less than a pixel
                band = Rectangle((0, 0), 0, 1, color="0.3", alpha=0.25, lw=0, label="withheld")
                band.set(animated=True, transform=axes.get_xaxis_transform())
                self._band = axes.add_patch(band)
                self._histogram.say(counted(self._axis, result))
            self.slider.unobserve(self._moved, "value")
            self.slider.value = self._own_position
            self.slider.observe(self._moved, "value")
        every = self._samples(np.arange(len(result.is_member)))
        placed = zip(self._spots, every, strict=True)
        self.points.show(of, WIDTH, self._map.height, placed)
        self.judge()

    @property
    def _own_position(self) -> int:
        return round(_STEPS * float(self._axis.place(self.result.inference.threshold)))

    def judge(self) -> None:
        """Show what follows from the threshold."""
        assert self._study is not None
        result, threshold = self.result, self.threshold
        ratio = self._study.withheld(result.target.scenario)
        seed = self._study.metrics_seed
        scores, is_member = result.inference.scores, result.is_member
        moved = Inference(scores, threshold)
        keep = metrics.answered(moved, ratio, seed)
        called = self.called
        own = self.slider.value == self._own_position
        self.estimates = (own and result.metrics) or metrics.evaluate(moved, is_member, ratio, seed)
        outcomes = metrics.confusion(called, is_member, keep)
        counts = [*outcomes.sum(axis=1), (~keep & is_member).sum(), (~keep & ~is_member).sum()]
        self.counts = dict(zip(_COUNTS, map(int, counts), strict=True))
        self._place([*outcomes, ~keep])
        self.own.disabled = own
        doubtful = self._axis.place(scores[~keep])
        ends = (doubtful.min(), doubtful.max()) if len(doubtful) else (0.0, 0.0)
        self._band.set(x=ends[0], width=ends[1] - ends[0])
        self._mark.set_xdata([self._axis.place(threshold)] * 2)
        named = f"{result.attack.full_title}, {result.target.scenario.id}"
        said = in_words(replace(self.judged, inference=moved))
        self.scores.show(self._of, named, result.attack.source, self._histogram.image(said))
        margin = np.abs(scores - threshold)
        surest = extremes(margin, called == is_member, keep)
        counted = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        self.outcome.show(self._of, named, self, SHOWN)
        self.map.show(self._of, self._map.image(f"Map of the samples by outcome: {counted}."))
        self.surest.show(self._of, *map(self._samples, surest))

    def _samples(self, chosen: IntArray) -> list[dict[str, Any]]:
        """Return what is said of samples at positions in the target dataset."""
        outputs, result = self._outputs, self.result
        return [
            {
                "truth": "member" if result.is_member[i] else "non-m.",
                "label": outputs.labels[i],
                "predicted": outputs.predicted[i],
                "posterior": outputs.true_probs[i],
                "score": result.inference.scores[i],
                "source": self._thumbnails[i] if self._thumbnails else "",
            }
            for i in chosen
        ]


def counted(axis: ScoreAxis, result: Attacked) -> Callable[[float], list[str]]:
    """Return what says how many scores lie in the bin at a place of an axis."""
    ends = np.linspace(0, 1, axis.bins + 1)
    places = axis.place(result.inference.scores)
    members, others = (
        np.histogram(places[side], ends)[0] for side in (result.is_member, ~result.is_member)
    )

    def say(place: float) -> list[str]:
        at = int(place * axis.bins)
        low, high = axis.score(ends[at : at + 2])
        return [
            f"score {low:.3g} to {high:.3g}",
            f"members {members[at]}, nonmembers {others[at]}",
        ]

    return say


def _thumbnail(sample: NDArray[np.float32]) -> str:
    # Channels last; one channel is grey.
    pixels = np.clip(sample.transpose(1, 2, 0), 0, 1)
    return png((255 * np.broadcast_to(pixels, (*pixels.shape[:2], 3))).astype(np.uint8))


def extremes(margin: FloatArray, right: BoolArray, keep: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the samples that an attack is surest of, and rightly or wrongly so.

    Parameters
    ----------
    margin : float array, (n,)
        How far each score lies from the threshold, which is how sure the attack is.
    right, keep : bool array, (n,)
        Whether the answer is right, and whether there is one.

    Returns
    -------
    two int arrays of at most ten positions
        The right and the wrong ones, the surest first.
    """
    order = np.argsort(-margin, kind="stable")
    order = order[keep[order]]
    return order[right[order]][:_SAMPLES], order[~right[order]][:_SAMPLES]
