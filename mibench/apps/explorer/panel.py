"""One attack on one target dataset: its pictures, its threshold, its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape

import ipywidgets as widgets
import numpy as np
from sklearn.decomposition import PCA

from mibench.apps.explorer import tables
from mibench.apps.explorer.pictures import LEFT, RIGHT, OutcomeMap, ScoreHistogram
from mibench.attacks import Inference
from mibench.construction.target import TargetDataset
from mibench.outputs import BoolArray, FloatArray
from mibench.study import metrics
from mibench.study.metrics import Estimate
from mibench.study.study import Attacked, Experiment

_STEPS = 1000


class AttackPanel:
    """What one attack makes of a target dataset at a threshold that can be moved.

    Parameters
    ----------
    moved : callable
        Called after the user has moved the threshold.

    Attributes
    ----------
    estimates : dict of str to Estimate
        The metrics shown.
    counts : dict of str to int
        The confusion counts shown.
    """

    def __init__(self, moved: Callable[[], None]):
        self.estimates: dict[str, Estimate] = {}
        self.counts: dict[str, int] = {}
        self._moved = moved
        self._shown: Attacked | None = None
        self._title = widgets.HTML()
        self.histogram = ScoreHistogram()
        self.map = OutcomeMap()
        share = f"{100 * (RIGHT - LEFT):.1f}%"
        # Of whole positions, because a front end rounds a slider's number and sends it back.
        self.slider = widgets.IntSlider(
            max=_STEPS,
            readout=False,
            layout=widgets.Layout(width=share, margin=f"0 0 0 {100 * LEFT:.1f}%"),
        )
        self.own = widgets.Button(
            description="back to the attack's own",
            tooltip="Take the threshold that the attack chose without knowing the members",
            layout=widgets.Layout(width="auto", flex="0 0 auto"),
        )
        self._at = widgets.HTML(
            layout=widgets.Layout(flex="1 1 auto", min_width="0", margin="0 0 0 8px")
        )
        self._numbers = widgets.HTML()
        self._surest = widgets.HTML()
        self.slider.observe(self._slider_moved, "value")
        self.own.on_click(lambda _: self.slider.set_trait("value", self._own_position()))
        self.box = widgets.VBox(
            [
                self._title,
                self.histogram.widget,
                self.slider,
                widgets.HBox([self._at, self.own]),
                self._numbers,
                self.map.widget,
                self._surest,
            ],
            layout=widgets.Layout(flex="1 1 0", min_width="0", overflow="hidden"),
        )

    def result_on(self, target: TargetDataset, attack: str) -> Attacked | None:
        """Return what is shown if it is this attack's on these samples, whatever the ratio.

        It comes without metrics, which depend on the ratio.
        """
        result = self._shown
        if result is None or result.attack.name != attack:
            return None
        if result.target.samples is not target.samples:
            return None
        return replace(result, target=target, metrics={})

    @property
    def result(self) -> Attacked:
        """The attack's answer that is shown."""
        assert self._shown is not None
        return self._shown

    @property
    def curve(self) -> tuple[str, str, FloatArray, BoolArray]:
        """Name, title, scores and membership."""
        result = self.result
        title = f"{result.attack.title} (AUC {self.estimates['auc'].value:.2f})"
        return result.attack.name, title, result.inference.scores, result.is_member

    @property
    def html(self) -> str:
        """Everything but the pictures."""
        parts = (self._title, self._at, self._numbers, self._surest)
        return "".join(part.value for part in parts)

    @property
    def threshold(self) -> float:
        """The threshold at the slider's position; at the one nearest to it, the attack's own."""
        if self.slider.value == self._own_position():
            return self.result.inference.threshold
        low, high = self.histogram.interval
        return low + (high - low) * self.slider.value / _STEPS

    @property
    def point(self) -> tuple[float, float]:
        """FPR and TPR of all samples, whether answered or not, at the threshold."""
        result = self.result
        called = result.inference.scores >= self.threshold
        return float(called[~result.is_member].mean()), float(called[result.is_member].mean())

    def show(self, experiment: Experiment, result: Attacked) -> None:
        """Show an attack's answer; the threshold stays where it was if only the ratio changed."""
        before, self._shown = self._shown, result
        self._seed = experiment.seed
        same_data = before is not None and before.target.samples is result.target.samples
        if not same_data:
            samples = result.target.samples
            self._outputs = experiment.signals.outputs("target", samples)
            data = experiment.dataset
            self._images = data.inputs[samples] if data.kind == "image" else None
            self.map.show(PCA(2, random_state=0).fit_transform(self._outputs.log_probs))
        if before is None or before.inference is not result.inference:
            inference = result.inference
            title, source = escape(result.attack.title), escape(result.attack.source)
            self._title.value = (
                f'<div class="mibench-title">{title} '
                f'<span class="mibench-note">{source}</span></div>'
            )
            self.histogram.show(inference.scores, result.is_member, inference.threshold)
            self.slider.unobserve(self._slider_moved, "value")
            self.slider.value = self._own_position()
            self.slider.observe(self._slider_moved, "value")
        self._judge()

    def _own_position(self) -> int:
        low, high = self.histogram.interval
        return round(_STEPS * (self.result.inference.threshold - low) / (high - low))

    def _slider_moved(self, _: object) -> None:
        self._judge()
        self._moved()

    def _judge(self) -> None:
        """Show what follows from the threshold."""
        result, threshold = self.result, self.threshold
        scores, is_member = result.inference.scores, result.is_member
        moved = Inference(scores, threshold)
        ratio = result.target.scenario.withheld_ratio
        keep = metrics.answered(moved, ratio, self._seed)
        called = scores >= threshold
        own = self.slider.value == self._own_position()
        self.estimates = (own and result.metrics) or metrics.evaluate(
            moved, is_member, ratio, self._seed
        )
        cells = metrics.confusion(called, is_member, keep).sum(axis=1)
        withheld = (~keep & is_member).sum(), (~keep & ~is_member).sum()
        names = ("TP", "FP", "FN", "TN", "WM", "WN")
        self.counts = {n: int(c) for n, c in zip(names, (*cells, *withheld), strict=True)}
        self.own.disabled = own
        note = (
            "the attack's own" if own else f"the attack's own is {result.inference.threshold:.4g}"
        )
        self._at.value = (
            f'<div class="mibench-note">threshold <b>{threshold:.4g}</b> ({note})</div>'
        )
        self._numbers.value = tables.outcome(self.estimates, self.counts)
        doubtful = scores[~keep]
        ends = (float(doubtful.min()), float(doubtful.max())) if len(doubtful) else None
        self.histogram.mark(threshold, ends)
        self.map.mark(called, is_member, keep)
        surest = tables.extremes(np.abs(scores - threshold), called == is_member, keep)
        titles = ("Surest and right", "Surest and wrong")
        self._surest.value = "".join(
            tables.samples(title, chosen, self._outputs, scores, is_member, self._images)
            for title, chosen in zip(titles, surest, strict=True)
        )
