"""Each fast algorithm beside its plain version, in one run: python benchmarks/run.py [NAME ...].

The plain versions stand here, not in the package. Times are medians of alternating runs in this
process; the ratio is what to quote. Location30 is read from MIBENCH_DATA.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import nbformat
import numpy as np
import papermill
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from torch import nn

from mibench import data as datasets
from mibench import models
from mibench.apps.batch import plan as batches
from mibench.apps.batch import running
from mibench.apps.batch.notebooks import Task
from mibench.attacks.blindmi import differential_moves, gaussians
from mibench.attacks.shapley import knn_shapley
from mibench.errors import MIBenchError
from mibench.training import Device, Recipe, find, recipe, train


def compare(fast: Callable[[], Any], plain: Callable[[], Any], runs: int) -> tuple[Any, Any, str]:
    """Run both in turn and return their results with a line of times."""
    times: tuple[list[float], list[float]] = ([], [])
    results: list[Any] = [None, None]
    for _ in range(runs):
        for i, function in enumerate((fast, plain)):
            results[i], seconds = _timed(function)
            times[i].append(seconds)
    a, b = map(median, times)
    return results[0], results[1], f"fast {a:.3f} s, plain {b:.3f} s, {b / a:.1f} times as fast"


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = function()
    return result, time.perf_counter() - began


def training() -> str:
    """64 MLPs on Location30, 5 epochs: one stack against one network at a time."""
    data = datasets.load("Location30")
    rng = np.random.default_rng(0)
    subsets = np.stack([rng.permutation(3000)[:1500] for _ in range(64)])
    recipe = Recipe(epochs=5)
    inputs = data.take(slice(None))
    x, y = torch.from_numpy(inputs), torch.from_numpy(data.labels)

    def stacked() -> dict[str, Any]:
        return train(recipe, inputs, data.labels, subsets, 30, range(64))

    def one_at_a_time() -> list[dict[str, Any]]:
        found = []
        for seed, subset in enumerate(torch.from_numpy(subsets)):
            torch.manual_seed(seed)
            network = models.build("MLP", inputs.shape[1:], 30)
            optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
            order = torch.Generator().manual_seed(seed)
            for _ in range(recipe.epochs):
                for batch in torch.randperm(1500, generator=order).split(recipe.batch_size):
                    index = subset[batch]
                    loss = nn.functional.cross_entropy(network(x[index]), y[index])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            found.append({n: p.detach().numpy() for n, p in network.named_parameters()})
        return found

    fast, plain, line = compare(stacked, one_at_a_time, 3)
    worst = max(np.abs(fast[n][k] - plain[k][n]).max() for n in fast for k in range(64))
    return f"{line}; weights differ by at most {worst:.1e}"


def blindmi() -> str:
    """BlindMI-Diff at n = 1,000: kept kernel sums against a recomputed MMD for every move."""
    rng = np.random.default_rng(0)
    confidence = np.sort(np.r_[rng.beta(9, 1, 500), rng.beta(2, 2, 500)])[rng.permutation(1000)]
    features = np.column_stack([confidence, confidence, (1 - confidence) * rng.random(1000)])
    generated = rng.random((100, 3)) * 0.8
    kernel = gaussians(*[np.concatenate([features, generated])] * 2)

    def recomputed() -> np.ndarray[Any, Any]:
        in_g = np.r_[np.zeros(1000, bool), np.ones(100, bool)]

        def mmd() -> float:
            t, g = np.flatnonzero(~in_g), np.flatnonzero(in_g)
            across = kernel[np.ix_(t, g)].mean()
            return float(kernel[np.ix_(t, t)].mean() - 2 * across + kernel[np.ix_(g, g)].mean())

        now, changed = mmd(), True
        while changed:
            changed = False
            for i in np.flatnonzero(~in_g[:1000]):
                in_g[i] = True
                if (then := mmd()) > now + 1e-12:
                    now, changed = then, True
                else:
                    in_g[i] = False
        return in_g[:1000]

    nobody = np.zeros(1000, bool)
    fast, plain, line = compare(
        lambda: differential_moves(features, generated, nobody, False)[0], recomputed, 1
    )
    return f"{line}; {(fast != plain).sum()} of 1000 decisions differ ({plain.sum()} nonmembers)"


def shapley() -> str:
    """KNN-Shapley at n = 2,000: all test points at once against a loop over test points and ranks.

    The loop is the published recursion as written, with NumPy's distances and sort.
    """
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(2000, 10)), rng.integers(0, 10, 2000)
    tests, wanted = rng.normal(size=(100, 10)), rng.integers(0, 10, 100)

    def looped() -> np.ndarray[Any, Any]:
        values = np.zeros(2000)
        for point, label in zip(tests, wanted, strict=True):
            order = ((points - point) ** 2).sum(axis=1).argsort(kind="stable")
            value = (labels[order[-1]] == label) / 2000
            values[order[-1]] += value
            for i in range(1999, 0, -1):
                step = float(labels[order[i - 1]] == label) - float(labels[order[i]] == label)
                value += step / 5 * min(5, i) / i
                values[order[i - 1]] += value
        return values / len(tests)

    fast, plain, line = compare(lambda: knn_shapley(points, labels, tests, wanted, 5), looped, 5)
    return f"{line}; values differ by at most {np.abs(fast - plain).max():.1e}"


def batch() -> str:
    """Notebooks of digits, all trained: a batch of one worker against a fresh kernel for each.

    What the notebooks' cells themselves take is measured in this process, after one run to warm
    it up; the rest is overhead.
    """
    notebooks = Path(__file__).parents[1] / "notebooks"
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        project = Path(folder)
        (project / "notebooks").symlink_to(notebooks)
        (project / "parameters").mkdir()
        file = project / "parameters" / "batch.yaml"
        grid = {"scenario": [f"ES{i:02}" for i in range(10, 20)]}
        file.write_text(json.dumps({"notebooks": [{"notebook": "scenario", "grid": grid}]}))
        tasks = batches.plan(file)
        shell = InteractiveShell.instance()

        def in_this_process() -> None:
            for task in tasks:
                _in_this_process(shell, task)

        def in_fresh_kernels() -> None:
            for task in tasks:
                papermill.execute_notebook(
                    task.notebook,
                    project / "plain.ipynb",
                    task.parameters,
                    progress_bar=False,
                    kernel_name="python3",
                )

        in_this_process()
        _, own = _timed(in_this_process)
        # Before the batch, which makes all kernels of this process forks.
        _, plain = _timed(in_fresh_kernels)
        with running.Threads(1, lambda kind, name: None) as worker:
            outcomes, fast = _timed(lambda: list(running.run(tasks, worker)))
    if failed := [o.error for o in outcomes if o.error]:
        raise MIBenchError(failed[0])
    own, plain, fast = (seconds / len(tasks) for seconds in (own, plain, fast))
    return (
        f"cells {own:.2f} s a notebook; beyond them the batch takes {fast - own:.2f} s, fresh "
        f"kernels {plain - own:.2f} s; in all {plain / fast:.1f} times as fast"
    )


def _in_this_process(shell: InteractiveShell, task: Task) -> None:
    """Run a notebook's cells, with everything that they show drawn as a kernel would."""
    cells = [c for c in nbformat.read(task.notebook, as_version=4).cells if c.cell_type == "code"]
    given = "\n".join(f"{name} = {value!r}" for name, value in task.parameters.items())
    with capture_output():
        for source in (given, *(cell.source for cell in cells[1:])):
            shell.run_cell(source).raise_error()


def networks() -> str:
    """Training on 32 x 32 images: every mix of channels-last and mixed precision, images/s."""
    device = find("auto")
    name, size, batch = (
        ("ResNet50", 10_000, 128) if device.type == "cuda" else ("StandDNN", 640, 64)
    )
    rng = np.random.default_rng(0)
    images = rng.random((size, 3, 32, 32), dtype=np.float32)
    labels, everybody = rng.integers(0, 10, size), np.arange(size)[None]
    lines = [f"{name} on {_device_name(device.type)}, batches of {batch}"]
    forms = [Device(device.type, mixed, last) for mixed in (False, True) for last in (False, True)]
    made = recipe(name, 1, {"batch_size": batch})
    times: dict[Device, list[float]] = {form: [] for form in forms}
    for run in range(4):
        for form in forms:
            fitting = partial(train, made, images, labels, everybody, 10, [0], device=form)
            _, seconds = _timed(fitting)
            if run:  # the first warms up
                times[form].append(seconds)
    plain = median(times[forms[0]])
    for form in forms:
        seconds = median(times[form])
        precision = "mixed precision" if form.mixed_precision else "single precision"
        layout = "channels-last" if form.channels_last else "channels-first"
        lines.append(
            f"{precision}, {layout}: {size / seconds:.0f} images/s, {plain / seconds:.2f} times"
        )
    return "\n    ".join(lines)


def _device_name(kind: str) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name()
    return f"a CPU, {Recipe().threads} threads"


BENCHMARKS = {f.__name__: f for f in (training, blindmi, shapley, batch, networks)}

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        sys.exit(f"unknown benchmark {unknown[0]}; known are {', '.join(BENCHMARKS)}")
    for name in chosen:
        print(f"{name}: {(BENCHMARKS[name].__doc__ or '').splitlines()[0]}")
        try:
            print(f"    {BENCHMARKS[name]()}")
        except MIBenchError as error:
            sys.exit(f"    {error}")
