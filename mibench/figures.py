"""Figures of results: one style, colour-blind safe, readable at one column's width."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from mibench import metrics
from mibench.attacks import Attack, Inference
from mibench.construction import TargetDataset
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray
from mibench.scenarios import RESEARCH_QUESTIONS

PANELS = {
    "precision": "(a) Precision",
    "recall": "(b) Recall",
    "f1": "(c) F1",
    "fnr": "(d) FNR",
    "fpr": "(e) FPR",
    "ma": "(f) MA",
}
_FACTORS = {
    "RQ1": "distribution",
    "RQ2": "distance",
    "RQ3": "differential_distance",
    "RQ4": "withheld_ratio",
}
# Okabe & Ito's palette, which people of every colour vision can tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MEMBER, NONMEMBER = _COLOURS[5], _COLOURS[0]


def style() -> AbstractContextManager[None]:
    """Return the context in which every figure is drawn."""
    return mpl.rc_context(
        {
            "font.size": 7,
            "axes.titlesize": 8,
            "figure.titlesize": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "0.9",
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 200,
            "pdf.fonttype": 42,
        }
    )


def six_panels(results: pd.DataFrame, question: str) -> Figure:
    """Draw precision, recall, F1, FNR, FPR and MA of every attack at each level of a factor.

    Parameters
    ----------
    results : DataFrame
        Rows of :meth:`mibench.experiment.Experiment.run` for the scenarios of one panel. Of
        several seeds the mean is drawn, with the range of their intervals.
    question : {"RQ1", "RQ2", "RQ3", "RQ4"}

    Raises
    ------
    MIBenchError
        If there are no rows, or rows of more than one dataset or model.
    """
    if results.empty:
        raise MIBenchError(f"there are no results to draw for {question}")
    settings = results[["dataset", "model"]].drop_duplicates()
    if len(settings) > 1:
        raise MIBenchError(
            "a figure shows one dataset and one model; choose among "
            + ", ".join(f"{d} with {m}" for d, m in settings.itertuples(index=False))
        )
    factor = _FACTORS[question]
    levels = list(dict.fromkeys(results[factor]))
    titles = list(dict.fromkeys(results["title"]))
    with style():
        # One column's width; the more attacks, the fewer panels beside each other.
        rows = 6 if len(titles) > 10 else 3
        figure, grid = plt.subplots(
            rows, 6 // rows, figsize=(3.5, 6.2 if rows == 3 else 9.0), sharex=True
        )
        for axes, (metric, heading) in zip(grid.flat, PANELS.items(), strict=True):
            _panel(axes, results, factor, levels, titles, metric)
            axes.set_title(heading, loc="left")
        handles, names = grid.flat[0].get_legend_handles_labels()
        dataset, model = settings.iloc[0]
        figure.suptitle(f"{question}: {RESEARCH_QUESTIONS[question]}\n{dataset}, {model}")
        figure.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=len(levels),
            title=_heading(factor),
            columnspacing=1,
        )
        missing = results.loc[results["status"] != "ok", "scenario"].unique()
        if len(missing):
            figure.supxlabel(f"not reachable in this pool: {', '.join(missing)}", fontsize=7)
    return figure


def _panel(
    axes: Axes,
    results: pd.DataFrame,
    factor: str,
    levels: Sequence[object],
    titles: Sequence[str],
    metric: str,
) -> None:
    place = {title: i for i, title in enumerate(titles)}
    for i, level in enumerate(levels):
        rows = results[(results[factor] == level) & (results["status"] == "ok")]
        by = rows.groupby("title", sort=False)
        value = by[metric].mean()
        low, high = by[f"{metric}_low"].min(), by[f"{metric}_high"].max()
        x = np.array([place[t] for t in value.index]) + 0.2 * (i - (len(levels) - 1) / 2)
        axes.errorbar(
            x,
            value,
            yerr=np.maximum(np.stack([value - low, high - value]), 0),
            fmt=_MARKERS[i],
            color=_COLOURS[i],
            markersize=2.5,
            elinewidth=0.7,
            label=_level(level, factor),
        )
        for at in x[value.isna()]:
            axes.text(
                at,
                0.5,
                "no positive predictions",
                rotation=90,
                fontsize=5,
                ha="center",
                va="center",
            )
    axes.set_xticks(range(len(titles)), titles, rotation=90)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set_xlim(-0.6, len(titles) - 0.4)
    floor = min(0.0, float(results[f"{metric}_low"].min(skipna=True)))
    axes.set_ylim(floor - 0.03 if np.isfinite(floor) else -0.03, 1.03)


def _heading(factor: str) -> str:
    return factor.replace("_", " ")


def _level(level: object, factor: str) -> str:
    if isinstance(level, str):
        return level
    return f"{100 * float(str(level)):g}%" if factor == "withheld_ratio" else f"{level:.3f}"


def distances(target: TargetDataset) -> Figure:
    """Draw the distances of a target dataset's pairs against the wanted distribution."""
    mean, deviation = target.distance[0], target.deviation[0]
    shape = target.scenario.distribution
    with style():
        figure, axes = plt.subplots(figsize=(3.5, 2.6))
        axes.hist(target.distances, bins=30, density=True, color=_COLOURS[4], label="constructed")
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


def scores(result: Judged) -> Figure:
    """Draw an attack's scores of members and nonmembers with its threshold."""
    values, is_member = result.inference.scores, result.is_member
    finite = values[np.isfinite(values)]
    with style():
        figure, axes = plt.subplots(figsize=(3.5, 2.6))
        # The extreme tails of a score would leave the rest in one bin.
        low, high = np.quantile(finite, (0.005, 0.995))
        bins = np.linspace(low, high if high > low else low + 1, 31).tolist()
        for side, name, colour in (
            (is_member, "members", MEMBER),
            (~is_member, "nonmembers", NONMEMBER),
        ):
            clipped = np.clip(values[side], bins[0], bins[-1])
            axes.hist(clipped, bins=bins, alpha=0.6, color=colour, label=name)
        if bins[0] <= result.inference.threshold <= bins[-1]:
            axes.axvline(result.inference.threshold, color="black", ls="--", label="threshold")
        axes.set(xlabel=f"score of {result.attack.title}", ylabel="samples")
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def roc(results: Sequence[Judged]) -> Figure:
    """Draw ROC curves on log axes, each with its threshold's point."""
    with style():
        figure, axes = plt.subplots(figsize=(3.5, 3.2 + 0.13 * len(results)))
        for i, result in enumerate(results):
            values, is_member = result.inference.scores, result.is_member
            fpr, tpr, _ = metrics.roc(values, is_member)
            colour = mpl.colormaps["turbo"](i / max(len(results) - 1, 1))
            area = result.metrics["auc"].value
            name = f"{result.attack.title} (AUC {area:.2f})"
            axes.plot(fpr, tpr, color=colour, lw=1, drawstyle="steps-post", label=name)
            called = values >= result.inference.threshold
            axes.plot(called[~is_member].mean(), called[is_member].mean(), "o", color=colour, ms=3)
        floor = 0.5 / len(results[0].is_member)
        line = np.geomspace(floor, 1, 50)
        axes.plot(line, line, color="0.6", lw=0.8, ls=":")
        axes.set(xscale="log", yscale="log", xlim=(floor, 1.1), ylim=(floor, 1.1))
        axes.set(xlabel="FPR", ylabel="TPR")
        figure.legend(loc="outside lower center", fontsize=6, ncols=1 if len(results) < 4 else 2)
    return figure


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PNG and PDF beside each other and return the two files.

    Parameters
    ----------
    figure : Figure
    path : path without ending
    """
    written = []
    for ending in (".png", ".pdf"):
        file = Path(path).with_name(Path(path).name + ending)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.stem}.{os.getpid()}{ending}")
        # A PDF's creation date would make equal figures differ.
        metadata = {"CreationDate": None} if ending == ".pdf" else None
        figure.savefig(temporary, metadata=metadata)
        temporary.replace(file)
        written.append(file)
    return written
