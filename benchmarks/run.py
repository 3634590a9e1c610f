"""Each fast algorithm beside its plain version, in one run: python benchmarks/run.py [NAME ...].

The plain versions stand here, not in the package. Times are medians of alternating runs in this
process, CPU seconds where nothing else is said; the ratio is what to quote. Location30 is read from
MIBENCH_DATA. What is measured is kept in benchmarks/measured, a file per machine and version, and
docs/performance.md takes its tables and its figure from there.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import dask
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import papermill
import torch
from distributed import LocalCluster
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from torch import nn

from mibench import Setting, Study, __version__, models
from mibench import data as datasets
from mibench.apps.batch import plan as batches
from mibench.apps.batch import running
from mibench.apps.batch.cluster import Cluster
from mibench.apps.batch.notebooks import Task
from mibench.attacks.base import Knowledge, parse
from mibench.attacks.blindmi import differential_moves, gaussians
from mibench.attacks.lira import OnlineLiRA
from mibench.attacks.rmia import RMIA
from mibench.attacks.shapley import knn_shapley
from mibench.compare import conflicts
from mibench.errors import MIBenchError
from mibench.figures import save
from mibench.figures.all_figures import all_figures
from mibench.outputs import Outputs
from mibench.scenarios import catalogue
from mibench.setting import Place
from mibench.store import replacing
from mibench.study import metrics, parquet, results
from mibench.training import (
    Device,
    Recipe,
    answering,
    find,
    predict,
    recipe,
    recorded,
    stacked,
    train,
)
from mibench.training.work import work_of


def compare(fast: Callable[[], Any], plain: Callable[[], Any], runs: int) -> tuple[Any, Any, str]:
    """Run both in turn and return their results with a line of times."""
    times: tuple[list[float], list[float]] = ([], [])
    results: list[Any] = [None, None]
    for _ in range(runs):
        for i, function in enumerate((fast, plain)):
            results[i], seconds = _timed(function, time.process_time)
            times[i].append(seconds)
    a, b = map(median, times)
    return results[0], results[1], f"fast {a:.3f} s, plain {b:.3f} s, {b / a:.1f} times as fast"


def _timed(
    function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
) -> tuple[Any, float]:
    began = clock()
    result = function()
    return result, clock() - began


def _peak(function: Callable[[], Any]) -> int:
    """Return how many bytes a function holds at most beside what was there before."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


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


def simulated(n: int, models: int, classes: int, seed: int = 0) -> tuple[Outputs, Knowledge]:
    """Return drawn logits of a target and of references on n samples and on a tenth as many."""
    rng = np.random.default_rng(seed)

    def drawn(count: int, seen: np.ndarray[Any, Any]) -> Outputs:
        labels = rng.integers(0, classes, count)
        logits = rng.standard_normal((models + 1, count, classes), dtype=np.float32)
        logits[:, np.arange(count), labels] += 2
        return Outputs(logits[0], labels, logits[1:], seen)

    half = np.argsort(rng.random((models, n)), axis=0) < models // 2
    population = drawn(n // 10, np.zeros((models, n // 10), dtype=bool))
    return drawn(n, half), Knowledge(auxiliary=population)


def references(n: int = 50_000, models: int = 64, classes: int = 100, runs: int = 3) -> str:
    """LiRA and RMIA, with the threshold from stand-ins, against their scores alone as defined.

    The plain versions read one model at a time: the logit scaling as the authors of LiRA write it,
    the softmax at RMIA's temperature, and every pair of a sample and one of the population.
    """
    target, known = simulated(n, models, classes)
    population = known.given("auxiliary")
    seen, lines = target.reference_in, []
    assert target.reference_logits is not None and seen is not None

    def posterior(logits: Any, labels: Any, temperature: float) -> tuple[Any, Any]:
        probs = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
        probs = probs.astype(np.float64)
        probs /= probs.sum(axis=1, keepdims=True)
        true = probs[np.arange(len(labels)), labels].copy()
        probs[np.arange(len(labels)), labels] = 0
        return true, probs.sum(axis=1)

    def logit(logits: Any) -> Any:
        return np.log(np.divide(*posterior(logits, target.labels, 1.0)))

    def lira() -> Any:
        confidences = np.stack([logit(model) for model in target.reference_logits])
        score, own = np.zeros(n), logit(target.logits)
        for sign, side in ((1, seen), (-1, ~seen)):
            chosen = np.where(side, confidences, np.nan)
            mean, deviation = np.nanmean(chosen, axis=0), np.nanstd(chosen, axis=0)
            score -= sign * (((own - mean) / deviation) ** 2 / 2 + np.log(deviation))
        return score

    def rmia() -> Any:
        def ratio(outputs: Outputs, mask: Any) -> Any:
            own, *each = (
                posterior(model, outputs.labels, 2.0)[0]
                for model in (outputs.logits, *outputs.reference_logits)
            )
            sides = [np.where(side, each, np.nan) for side in (mask, ~mask) if side.any()]
            return own / np.mean([np.nanmean(side, axis=0) for side in sides], axis=0)

        of_z = ratio(population, population.reference_in)
        blocks = np.array_split(ratio(target, seen), n // 500 + 1)
        return np.concatenate([(b[:, None] / of_z >= 2.0).mean(axis=1) for b in blocks])

    for attack, plain in ((OnlineLiRA(pooled=0.0), lira), (RMIA(), rmia)):
        inferred = partial(lambda a: a.fit(known).infer(target).scores, attack)
        found, wanted, line = compare(inferred, plain, runs)
        size = target.reference_logits.nbytes
        beside = (f"{_peak(f) / size:.2f}" for f in (inferred, plain))
        worst = np.abs(found - wanted).max()
        lines.append(
            f"{attack.title}: {line}; memory beside the input, in inputs: {', '.join(beside)}; "
            f"scores differ by at most {worst:.1e}"
        )
    return "\n    ".join(lines)


def growth(largest: int = 76_800, smallest: int = 600, runs: int = 3) -> str:
    """CPU seconds and memory of twice the samples, references, scenarios.

    The attacks by references, or BlindMI-Diff-w/o, and their metrics: samples and references are
    simulated, scenarios those of digits, whose models are trained, evenly from all of the
    catalogue, as some take longer than others. Medians of several runs.
    """
    names = (
        "lira_online",
        "lira_offline",
        "rmia",
        "rmia_offline",
        "base",
        "calibrated",
        "attack_r",
    )

    def attacked(n: int, count: int, names: tuple[str, ...] = names) -> Callable[[], None]:
        target, known = simulated(n, count, 10)
        is_member = np.arange(n) % 2 == 0

        def run() -> None:
            for attack in parse(names):
                metrics.evaluate(attack.fit(known).infer(target), is_member)

        return run

    doubled = range(1 + round(np.log2(largest / smallest)))
    samples = [smallest * 2**i for i in doubled]
    of = {
        "samples": [(n, attacked(n, 16)) for n in samples],
        "samples of BlindMI": [(n, attacked(n, 2, ("blindmi_diff_wo",))) for n in samples],
        "references": [(k, attacked(max(smallest, 3000), k)) for k in (8, 16, 32, 64)],
    }
    lines, figure = [], plt.figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Setting(references=8), Place.read({"cache_dir": folder}))
        ids = [s.id for s in catalogue(study.dataset.name)]
        study.run(ids[:1], names)
        each_kth = [(k, ids[: 80 : 80 // k]) for k in (10, 20, 40, 80)]
        of["scenarios"] = [(k, partial(study.run, some, names)) for k, some in each_kth]
        for what, each in of.items():
            # In turn, so that a machine that grows slower does so for all sizes.
            again = [[_timed(f, time.process_time)[1] for _, f in each] for _ in range(runs)]
            seconds = [median(times) for times in zip(*again, strict=True)]
            peaks = [_peak(f) / 1e6 for _, f in each]
            ratios = [(np.array(v[1:]) / v[:-1]).max() for v in (seconds, peaks)]
            lines.append(
                f"{what}, {each[0][0]:,} to {each[-1][0]:,}: twice as many take at most "
                f"{ratios[0]:.2f} times the CPU seconds and {ratios[1]:.2f} times the memory"
            )
            for ax, values in zip(axes, (seconds, peaks), strict=True):
                ax.loglog([size for size, _ in each], values, "o-", label=what)
    axes[0].set_ylabel("CPU seconds")
    axes[1].set_ylabel("memory beside the input, MB")
    for ax in axes:
        ax.set_xlabel("samples, references, scenarios")
    axes[0].legend()
    figure.savefig(_DOCS / "pictures" / "growth.png", dpi=150)
    return "\n    ".join(lines)


def whole(seeds: int = 5, references: int = 64, processes: int = 2) -> str:
    """Every attack in all scenarios of Location30, five seeds with 64 references, nothing cached.

    Elapsed seconds of two processes of one thread each.
    """
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            rows = sum(pool.map(partial(_one_seed, cache, references), range(seeds)))
        seconds = time.perf_counter() - began
    return f"{seeds} seeds, {references} references, {rows:,} rows: {seconds:.0f} s elapsed"


def _one_seed(cache: str, references: int, seed: int) -> int:
    torch.set_num_threads(1)
    setting = Setting(dataset="Location30", seed=seed, references=references)
    study = Study(setting, Place.read({"cache_dir": Path(cache)}))
    with redirect_stderr(io.StringIO()):
        return len(study.run(catalogue("Location30"))[0])


def starts() -> str:
    """CPU seconds of commands that answer from what is there: medians of five starts."""
    batch = Path(__file__).parents[1] / "parameters" / "demo.yaml"
    asked = [["attacks"], ["status", str(batch)], ["attack", "loss_threshold"]]
    told = []
    for arguments in asked:
        spent = []
        for _ in range(6):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-m", "mibench", *arguments]
            subprocess.run(command, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        # The first may compile the package's files, or train.
        told.append(f"`mibench {arguments[0]}` {median(spent[1:]):.2f} s")
    return ", ".join(told)


def neighbour(runs: int = 3) -> str:
    """Sixteen perceptrons of Location30, and six networks of digits, beside a busy process.

    Against without one; elapsed, alternately, each in a process of its own.
    """
    told = []
    for dataset, model, references in (("Location30", "MLP", 16), ("digits", "StandDNN", 6)):
        fields = {"dataset": dataset, "model": model, "references": references, "epochs": 20}
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(runs):
            for busy, measured in times.items():
                with tempfile.TemporaryDirectory() as cache:
                    code = _TRAINING.format(fields=fields, cache=cache)
                    beside = [sys.executable, "-c", "while True: pass"]
                    spins = subprocess.Popen(beside) if busy else None
                    command = [sys.executable, "-c", code]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    if spins:
                        spins.kill()
                        spins.wait()
                    measured.append(float(done.stdout))
        alone, beside_it = (median(times[busy]) for busy in (False, True))
        told.append(
            f"{references} references {model} of {dataset}: alone {alone:.1f} s, beside a busy "
            f"process {beside_it:.1f} s, {beside_it / alone:.2f} times as long"
        )
    return "\n    ".join(told)


_TRAINING = """
import time
from mibench import Study
study = Study.read({fields}, {{"cache_dir": "{cache}"}})
began = time.perf_counter()
for _ in study.signals.references.weights():
    pass
print(time.perf_counter() - began)
"""


def cluster(runs: int = 2) -> str:
    """Sixteen reference networks of digits on Dask workers of one thread: four against one.

    Elapsed, alternately, from an empty cache to the end of a batch of one notebook.
    """
    fields: dict[str, Any] = {"dataset": "digits", "model": "StandDNN", "attacks": ["rmia"]}
    times: dict[int, list[float]] = {1: [], 4: []}
    weights = set()
    with dask.config.set({"distributed.worker.daemon": False}):
        for _ in range(runs):
            for count, measured in times.items():
                with (
                    tempfile.TemporaryDirectory() as folder,
                    LocalCluster(count, threads_per_worker=1, dashboard_address=None) as workers,
                    Cluster(workers.scheduler_address, lambda kind, name: None) as pool,
                ):
                    tasks = _one_notebook(Path(folder), **fields, references=16, distilled=2)
                    outcomes, seconds = _timed(lambda t=tasks, p=pool: list(running.run(t, p)))
                    if failed := [o.error for o in outcomes if o.error]:
                        raise MIBenchError(failed[0])
                    measured.append(seconds)
                    made = sorted((Path(folder) / "cache" / "weights").glob("*.npz"))
                    weights.add(tuple((f.name, _arrays(f)) for f in made))
    one, four = (median(values) for values in times.values())
    same = "equal" if len(weights) == 1 else "OTHER"
    return (
        f"one worker {one:.1f} s, four {four:.1f} s, {one / four:.1f} times as fast; {same} weights"
    )


def _one_notebook(project: Path, **stated: Any) -> list[Task]:
    (project / "notebooks").symlink_to(Path(__file__).parents[1] / "notebooks")
    (project / "parameters").mkdir()
    file = project / "parameters" / "batch.yaml"
    notebooks = [{"notebook": "scenario", "parameters": {"scenario": "ES10"}}]
    stated["cache_dir"] = str(project / "cache")
    file.write_text(json.dumps({"defaults": stated, "notebooks": notebooks}))
    return batches.plan(file)


def _arrays(file: Path) -> str:
    with np.load(file) as found:
        return repr(json.loads(found["about this file"].tobytes())["sha256"])


def drawing(seeds: int = 3) -> str:
    """Results of 84 scenarios and three seeds of Location30: reading, figures, conflicts.

    CPU seconds, attacks by shadow models or none; and what a warm scenario notebook takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        fields = {"dataset": "Location30", "references": 16}
        for seed in range(seeds):
            study = Study(
                Setting(**fields, seed=seed), Place.read({"cache_dir": project / "cache"})
            )
            with redirect_stderr(io.StringIO()):
                found = study.run(catalogue("Location30"))
            results.save(parquet.place(project, "Location30", f"seed{seed}"), *found)
        (rows, answers), reading = _timed(lambda: results.load(project), time.process_time)
        _, figures = _timed(lambda: _drawn(rows, answers), time.process_time)
        judge = partial(conflicts.differences, answers, "ma")
        _, judged = _timed(
            lambda: conflicts.find(conflicts.significant(judge())), time.process_time
        )
        [task] = _one_notebook(project, **fields)
        shell = InteractiveShell.instance()
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            _in_this_process(shell, task)
            _, warm = _timed(lambda: _in_this_process(shell, task), time.process_time)
    return (
        f"{len(rows):,} rows, {len(answers):,} answers: read in {reading:.1f} s, all figures in "
        f"{figures:.1f} s, conflicts in {judged:.1f} s; a warm scenario notebook {warm:.1f} s"
    )


def _drawn(rows: pd.DataFrame, answers: pd.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, figure in all_figures(rows, answers):
            save(figure, Path(folder) / name)
            plt.close(figure)


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
        for source in (cells[0].source, given, *(cell.source for cell in cells[1:])):
            shell.run_cell(source).raise_error()


def networks() -> str:
    """Training on 32 x 32 images: every mix of channels-last and mixed precision, images/s.

    On CUDA also what recorded steps and stacks gain, the share of the peak, and queries.
    """
    device = find("auto")
    on_cuda = device.type == "cuda"
    name, size, batch = ("ResNet50", 10_000, 128) if on_cuda else ("StandDNN", 640, 64)
    rng = np.random.default_rng(0)
    images = rng.random((size, 3, 32, 32), dtype=np.float32)
    labels, everybody = rng.integers(0, 10, size), np.arange(size)[None]
    made = recipe(name, 2 if on_cuda else 1, {"batch_size": batch})
    trained = made.epochs * size

    def fitting(form: Device) -> Callable[[], Any]:
        return partial(train, made, images, labels, everybody, 10, [0], device=form)

    forms: dict[str, Callable[[], Any]] = {}
    if on_cuda:
        plain = "mixed precision, channels-last, not recorded"
        forms[plain] = partial(_unrecorded, fitting(device))
    for mixed, last in product((False, True), repeat=2):
        precision, layout = "mixed" if mixed else "single", "last" if last else "first"
        form = Device(device.type, mixed, last)
        forms[f"{precision} precision, channels-{layout}"] = fitting(form)
    lines = [f"{name} on {_device_name(device.type)}, batches of {batch}"]
    lines += _rates(forms, trained, "images")
    if on_cuda:
        step = work_of(1, 1, 0, made, images.shape[1:], 10, device).flops
        operations, seconds = _peak_rate()
        rate = trained / median(_timed(fitting(device))[1] for _ in range(3))
        share = rate * step * seconds / operations
        lines.append(
            f"{rate * step / 1e12:.0f} TFLOP/s, {share:.0%} of those of a bfloat16 product of "
            "8192 x 8192 matrices"
        )
        lines += _small_ones(device, images[:2048], labels[:2048])
    return "\n    ".join(lines)


def _small_ones(device: Device, images: Any, labels: Any) -> list[str]:
    """Stacks of small networks and queries on CUDA."""
    lines, size = [], len(images)
    made, subsets = recipe("StandDNN", 3), np.tile(np.arange(size), (16, 1))
    stack = partial(train, made, images, labels, subsets, 10, range(16), device=device)

    def alone() -> None:
        with patch.object(stacked, "_PLAIN", ()):
            stack()

    forms: dict[str, Callable[[], Any]] = {
        "16 StandDNN one after another, not recorded": partial(_unrecorded, alone),
        "16 StandDNN one after another": alone,
        "16 StandDNN in a stack": stack,
    }
    lines += _rates(forms, made.epochs * subsets.size, "images")
    records = np.random.default_rng(0).random((size, 446), dtype=np.float32)
    made, subsets = recipe("MLP", 20), np.tile(np.arange(size), (64, 1))
    stack = partial(train, made, records, labels, subsets, 10, range(64), device=device)
    plain = "64 MLP in a stack, not recorded"
    forms = {plain: partial(_unrecorded, stack), "64 MLP in a stack": stack}
    lines += _rates(forms, made.epochs * subsets.size, "records")
    deep = recipe("ResNet50", 1)
    weights = train(deep, images, labels, np.arange(size)[None], 10, [0], device=device)
    answer = answering(deep, weights, images.shape[1:], 10, device)
    asked = {
        "queries of ResNet50, built for each": lambda: predict(deep, weights, images, 10, device),
        "queries of ResNet50": lambda: answer(images),
    }
    return lines + _rates(asked, size, "images")


def _unrecorded(function: Callable[[], Any]) -> None:
    with patch.object(recorded, "FIRST", sys.maxsize):
        function()


def _rates(forms: dict[str, Callable[[], Any]], count: int, what: str) -> list[str]:
    """Return a line for each function: its rate, beside that of the first."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for run in range(3):
        for name, function in forms.items():
            seconds = _timed(function)[1]
            if run:  # the first warms up
                times[name].append(seconds)
    found = {name: count / median(seconds) for name, seconds in times.items()}
    first = next(iter(found.values()))
    return [f"{name}: {rate:,.0f} {what}/s ({rate / first:.2f})" for name, rate in found.items()]


def _peak_rate() -> tuple[float, float]:
    """Return the operations of a large product in bfloat16 on CUDA, and its seconds."""
    size, runs = 8192, 20
    one, other = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in "ab")

    def products() -> None:
        for _ in range(runs):
            one @ other
        torch.cuda.synchronize()

    products()
    return 2.0 * size**3 * runs, _timed(products)[1]


def _device_name(kind: str) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name()
    return f"a CPU, {Recipe().threads} threads"


_DOCS = Path(__file__).parents[1] / "docs"
_MEASURED = Path(__file__).parent / "measured"
_MARKS = "<!-- measured -->", "<!-- end of measured -->"


def keep(name: str, said: str, folder: Path = _MEASURED) -> None:
    """Keep what was measured in the file of this machine and version."""
    file = folder / re.sub(r"\W+", "_", _machine()) / f"{__version__}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(file.read_text()) if file.exists() else {"machine": _machine()}
    with replacing(file) as temporary:
        temporary.write_text(json.dumps({**found, name: said}, indent=2) + "\n")


def tables(folder: Path = _MEASURED) -> str:
    """Return all that is kept, a table for each machine and version."""
    parts = []
    for file in sorted(folder.glob("*/*.json")):
        found = json.loads(file.read_text())
        rows = [
            f"| `{name}` | {line.strip()} |"
            for name, said in found.items()
            if name != "machine"
            for line in said.splitlines()
        ]
        head = [f"{found['machine']}, MIBench {file.stem}:", "", "| benchmark | measured |"]
        parts += [*head, "| --- | --- |", *rows, ""]
    return "\n".join(parts)


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", info.read_text() if info.exists() else "")
    device = f"{_device_name('cuda')}, " if find("auto").type == "cuda" else ""
    return f"{device}{named[1] if named else platform.machine()}, {os.cpu_count()} cores"


_ALL = (training, references, growth, whole, blindmi, shapley, batch, starts, networks)
_ALL += (neighbour, cluster, drawing)
BENCHMARKS: dict[str, Callable[[], str]] = {f.__name__: f for f in _ALL}

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        sys.exit(f"unknown benchmark {unknown[0]}; known are {', '.join(BENCHMARKS)}")
    for name in chosen:
        print(f"{name}: {(BENCHMARKS[name].__doc__ or '').splitlines()[0]}")
        try:
            keep(name, said := BENCHMARKS[name]())
        except MIBenchError as error:
            sys.exit(f"    {error}")
        print(f"    {said}")
    page = _DOCS / "performance.md"
    before, rest = page.read_text().split(_MARKS[0])
    after = rest.split(_MARKS[1])[1]
    page.write_text(f"{before}{_MARKS[0]}\n{tables()}{_MARKS[1]}{after}")
