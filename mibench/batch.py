"""Batches: the notebooks named in a parameter file, executed by papermill."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from filelock import FileLock, Timeout
from nbclient.exceptions import DeadKernelError
from sklearn.model_selection import ParameterGrid
from traitlets.config import Config

from mibench import __version__, attacks, datasets, results, scenarios
from mibench.errors import MIBenchError
from mibench.experiment import Experiment, provenance

_FILE_KEYS = {"defaults", "seeds", "notebooks", "time_limit"}
_TRIES = 3
_TRAINING = (
    "dataset",
    "model",
    "seed",
    "references",
    "epochs",
    "device",
    "defence",
    "recipe",
    "distilled",
    "data_dir",
    "cache_dir",
)
_ENTRY_KEYS = {"notebook", "name", "parameters", "grid"}


@dataclass(frozen=True)
class Task:
    """One execution of one notebook.

    Attributes
    ----------
    notebook : Path
    output : Path
        The executed notebook; its results go beside it.
    parameters : dict
    reads : Path or None
        The folder of results that the notebook draws from, which then is part of its key.
    time_limit : int or None
        Seconds that one cell may take.
    """

    notebook: Path
    output: Path
    parameters: dict[str, Any]
    reads: Path | None
    time_limit: int | None = None

    @property
    def name(self) -> str:
        """The executed notebook's path below the folder of all."""
        return f"{self.output.parent.name}/{self.output.stem}"

    @property
    def training(self) -> dict[str, Any] | None:
        """What names the models that the notebook needs, or None where it needs none."""
        if "dataset" not in self.parameters or self.reads is not None:
            return None
        return {k: self.parameters[k] for k in _TRAINING if k in self.parameters}

    def key(self) -> str:
        """Return a digest of everything that the executed notebook depends on."""
        digest = hashlib.sha256(self.notebook.read_bytes())
        stated = {"parameters": self.parameters, "mibench": __version__}
        digest.update(json.dumps(stated, sort_keys=True, default=str).encode())
        if self.reads is not None:
            for file in results.files(self.reads, self.parameters.get("dataset")):
                digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    @property
    def running(self) -> Path:
        """The temporary name of the notebook while it is executed."""
        return self.output.with_name(f".{self.output.stem}.running.ipynb")

    def state(self) -> str:
        """Return "done", "failed", "running" or "waiting".

        Done is an output that is there, complete, and made with this very key.
        """
        made = self._made()
        if made.get("key") == self.key() and made.get("status") == "completed":
            return "done" if self._has_results() else "waiting"
        lock = FileLock(self.output.with_name(f".{self.output.stem}.lock"))
        if self.running.exists():
            try:
                lock.acquire(blocking=False)
                lock.release()
            except Timeout:
                return "running"
        return "failed" if made.get("status") == "failed" else "waiting"

    def is_done(self) -> bool:
        """Return whether there is nothing left to do."""
        made = self._made()
        completed = made.get("status") == "completed" and made.get("key") == self.key()
        return completed and self._has_results()

    def seconds(self) -> float | None:
        """Return how long the notebook took when it was last executed."""
        return self._made().get("seconds")

    def _has_results(self) -> bool:
        return "output" not in self.parameters or self.output.with_suffix(".parquet").exists()

    def _made(self) -> dict[str, Any]:
        try:
            return dict(nbformat.read(self.output, as_version=4).metadata.get("mibench", {}))
        except Exception:  # missing or broken in whatever way: running again mends it
            return {}


@dataclass(frozen=True)
class Outcome:
    """What became of a task; `error` is None unless it failed."""

    task: Task
    error: str | None = None
    skipped: bool = False


def plan(file: str | Path, data_dir: str | Path | None = None) -> list[Task]:
    """Read a parameter file and return its tasks in order.

    A file holds `defaults` (parameters of every notebook), optionally `seeds` (a list, each of
    which repeats the notebooks that take a seed) and `notebooks`: names, or mappings with
    `notebook`, `parameters`, `grid` (a list of values for each parameter, all combinations of
    which are run) and `name` (of the executed notebook).

    The notebooks are those of the folder `notebooks` beside the parameter file's own folder;
    `executed` and `figures` lie there too.

    Raises
    ------
    MIBenchError
        If the file is missing, is not of this form, or names what does not exist.
    """
    file = Path(file)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise MIBenchError(f"{file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MIBenchError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("notebooks"), list):
        raise MIBenchError(f"{file} has no list 'notebooks'; see parameters/demo.yaml")
    _check_keys(file, "the file", content, _FILE_KEYS)
    root = file.resolve().parent.parent
    defaults = dict(content.get("defaults") or {})
    limit = content.get("time_limit")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise MIBenchError(f"{file}: time_limit is {limit!r}; give whole seconds a cell")
    if data_dir is not None:
        defaults["data_dir"] = str(data_dir)
    seeds = content.get("seeds") or []
    tasks = [
        task
        for entry in content["notebooks"]
        for task in _tasks(file, root, entry, defaults, seeds, limit)
    ]
    outputs = [task.output for task in tasks]
    for output in outputs:
        if outputs.count(output) > 1:
            raise MIBenchError(
                f"{file}: several notebooks would be written to {output.name}; tell them apart by "
                "'name' or 'grid'"
            )
    return tasks


def _tasks(
    file: Path,
    root: Path,
    entry: Any,
    defaults: dict[str, Any],
    seeds: list[int],
    limit: int | None,
) -> Iterator[Task]:
    entry = {"notebook": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or "notebook" not in entry:
        raise MIBenchError(f"{file}: {entry!r} names no notebook")
    _check_keys(file, f"notebook {entry['notebook']}", entry, _ENTRY_KEYS)
    notebook = root / "notebooks" / f"{entry['notebook']}.ipynb"
    if not notebook.is_file():
        known = ", ".join(sorted(p.stem for p in notebook.parent.glob("*.ipynb")))
        raise MIBenchError(f"{file}: there is no notebook {notebook}; known are {known or 'none'}")
    taken = papermill.inspect_notebook(str(notebook))
    given = {**{k: v for k, v in defaults.items() if k in taken}, **(entry.get("parameters") or {})}
    grid = dict(entry.get("grid") or {})
    if seeds and "seed" in taken:
        grid["seed"] = seeds
    for name in (*given, *grid):
        if name not in taken:
            raise MIBenchError(
                f"{file}: {notebook.stem} takes no parameter {name!r}; it takes {', '.join(taken)}"
            )
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise MIBenchError(f"{file}: grid parameter {name!r} needs a list of values")
    for chosen in ParameterGrid(grid):
        parameters = given | chosen
        _check_values(file, parameters)
        dataset = parameters.get("dataset") or "all"
        varied = [str(chosen[name]) for name in grid if name in chosen]
        stem = "-".join([entry.get("name") or notebook.stem, *varied])
        folder = root / "executed"
        output = folder / dataset / f"{_file_name(stem)}.ipynb"
        if "output" in taken:
            parameters["output"] = str(output.with_suffix(""))
        if "figures" in taken:
            parameters["figures"] = str(root / "figures")
        if "results" in taken:
            parameters["results"] = str(folder)
        reads = folder if "results" in taken else None
        yield Task(notebook, output, parameters, reads, limit)


def _check_values(file: Path, parameters: dict[str, Any]) -> None:
    try:
        dataset = parameters.get("dataset")
        if dataset is not None:
            parameters["dataset"] = dataset = datasets.check_name(str(dataset))
        for name in ("scenario", "base"):
            if parameters.get(name):
                scenarios.find(str(parameters[name]), dataset)
        chosen = parameters.get("attacks", "all")
        for attack in [] if chosen == "all" else chosen:
            attacks.find(attack)
    except MIBenchError as error:
        raise MIBenchError(f"{file}: {error}") from None


def _check_keys(file: Path, where: str, given: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(str(key) for key in given.keys() - known)
    if unknown:
        raise MIBenchError(
            f"{file}: {where} has unknown keys {', '.join(unknown)}; known are "
            f"{', '.join(sorted(known))}"
        )


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text)


def train(settings: dict[str, Any], names: list[str]) -> str | None:
    """Train and query all that the attacks `names` need, and return the error if it failed."""
    try:
        Experiment(**settings).prepare(names)
    except MIBenchError as error:
        return str(error)
    return None


def attacks_of(task: Task) -> list[str]:
    """Return the names of the attacks that a task runs."""
    chosen = task.parameters.get("attacks", "all")
    return list(attacks.REGISTRY) if chosen == "all" else list(chosen)


def execute(task: Task) -> Outcome:
    """Execute one task, unless it is done already.

    The notebook is written under a temporary name and renamed when it is through; one that
    failed is kept with its error, its state in its metadata, and runs again next time. What
    another batch is executing is waited for, not executed twice.
    """
    task.output.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(task.output.with_name(f".{task.output.stem}.lock")):
        return Outcome(task, skipped=True) if task.is_done() else _execute(task)


def _execute(task: Task) -> Outcome:
    for stale in (task.output, *task.output.parent.glob(f"{task.output.stem}*.parquet")):
        if stale.name.split(".")[0] == task.output.stem:
            stale.unlink(missing_ok=True)
    key, began = task.key(), time.monotonic()
    error = _papermill(task, _TRIES)
    try:
        made = nbformat.read(task.running, as_version=4)
    except OSError:
        return Outcome(task, error)
    made.metadata["mibench"] = {
        "key": key,
        "status": "failed" if error else "completed",
        "seconds": round(time.monotonic() - began, 2),
        **provenance(),
    }
    nbformat.write(made, task.running)
    task.running.replace(task.output)
    return Outcome(task, error)


def _papermill(task: Task, tries: int) -> str | None:
    """Execute a notebook and return its error; a kernel that died is tried again."""
    # Kernels on sockets that other users of the machine cannot listen to.
    with tempfile.TemporaryDirectory() as sockets:
        local = {"transport": "ipc", "ip": str(Path(sockets) / "kernel")}
        try:
            papermill.execute_notebook(
                task.notebook,
                task.running,
                task.parameters,
                progress_bar=False,
                kernel_name="python3",
                execution_timeout=task.time_limit,
                config=Config({} if os.name == "nt" else {"KernelManager": local}),
            )
        except DeadKernelError as problem:
            return _papermill(task, tries - 1) if tries > 1 else _sentence(problem)
        except Exception as problem:  # one failing notebook never takes the others down
            return _sentence(problem)
    return None


def _sentence(problem: Exception) -> str:
    name, value = getattr(problem, "ename", None), getattr(problem, "evalue", None)
    if name:
        return f"{name}: {value}"
    lines = [line for line in str(problem).splitlines() if line.strip("- ")]
    return f"{type(problem).__name__}: {lines[0] if lines else ''}"
