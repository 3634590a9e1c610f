"""What the explorer says in numbers: HTML tables of outcomes and of single samples."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

from mibench.apps.explorer.pictures import image
from mibench.outputs import BoolArray, FloatArray, IntArray, Outputs
from mibench.study.metrics import METRICS, Estimate

SHOWN = ("precision", "recall", "f1", "fnr", "fpr", "ma", "auc")
SAMPLES = 10


def outcome(estimates: Mapping[str, Estimate], counts: Mapping[str, int]) -> str:
    """Return the confusion counts beside the metrics with their 95% intervals.

    Parameters
    ----------
    estimates : mapping of str to Estimate
    counts : mapping of str to int
        TP, FN, TN, FP, and the withheld members and nonmembers as WM and WN.
    """
    rows = "".join(
        f'<tr><td class="name">{METRICS[name].label}</td>'
        f'<td data-metric="{name}">{number(estimates[name].value)}</td>'
        f"<td>{interval(estimates[name])}</td></tr>"
        for name in SHOWN
    )
    confusion = "".join(
        f'<tr><td class="name">{side}</td>'
        + "".join(f'<td data-count="{key}">{counts[key]}</td>' for key in keys)
        + "</tr>"
        for side, keys in (("members", ("TP", "FN", "WM")), ("nonmembers", ("FP", "TN", "WN")))
    )
    return (
        '<div class="mibench-pair"><table class="mibench-table">'
        '<tr><th class="name"></th><th></th><th>95% interval</th></tr>'
        f'{rows}</table><table class="mibench-table"><tr><th class="name">called</th>'
        "<th>member</th><th>non-m.</th><th>withheld</th></tr>"
        f"{confusion}</table></div>"
    )


def number(value: float) -> str:
    """Return a value with four decimals, or a dash for a ratio without a denominator."""
    return "–" if np.isnan(value) else f"{value:.4f}"


def interval(estimate: Estimate) -> str:
    """Return an estimate's interval."""
    return "" if np.isnan(estimate.value) else f"[{estimate.low:.4f}, {estimate.high:.4f}]"


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
    return order[right[order]][:SAMPLES], order[~right[order]][:SAMPLES]


def samples(
    title: str,
    chosen: IntArray,
    outputs: Outputs,
    scores: FloatArray,
    is_member: BoolArray,
    images: NDArray[np.float32] | None,
) -> str:
    """Return some samples of a target dataset, as images where they are images.

    Parameters
    ----------
    title : str
    chosen : int array, (m,)
        Positions in the target dataset.
    outputs : Outputs
        The target model's outputs on it.
    scores, is_member : array, (n,)
    images : float array, (n, channels, height, width), optional
    """
    head = f'<div class="mibench-title">{escape(title)}</div>'
    if len(chosen) == 0:
        return f'{head}<div class="mibench-note">none</div>'
    posterior = outputs.true_probs
    if images is None:
        rows = "".join(
            f'<tr><td class="name">{"member" if is_member[i] else "nonmember"}</td>'
            f"<td>{outputs.labels[i]}</td><td>{outputs.predicted[i]}</td>"
            f"<td>{posterior[i]:.4f}</td><td>{scores[i]:.4g}</td></tr>"
            for i in chosen
        )
        return (
            f'{head}<table class="mibench-table"><tr><th class="name">truth</th><th>label</th>'
            f"<th>predicted</th><th>p(label)</th><th>score</th></tr>{rows}</table>"
        )
    cells = "".join(
        f"<div>{_thumbnail(images[i], outputs.labels[i])}<br>"
        f"{'member' if is_member[i] else 'non-m.'}<br>"
        f"{outputs.labels[i]} → {outputs.predicted[i]}<br>{posterior[i]:.2f}<br>"
        f"{scores[i]:.3g}</div>"
        for i in chosen
    )
    return (
        f'{head}<div class="mibench-samples">{cells}</div>'
        '<div class="mibench-note">truth, label → predicted, p(label), score</div>'
    )


def _thumbnail(sample: NDArray[np.float32], label: int) -> str:
    # Channels last; one channel is grey.
    pixels = np.clip(sample.transpose(1, 2, 0), 0, 1)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    return image((255 * pixels).astype(np.uint8), f"a sample of class {label}")
