"""Batches: the notebooks named in a parameter file, executed by papermill."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from filelock import FileLock
from sklearn.model_selection import ParameterGrid
from traitlets.config import Config

from mibench import __version__, attacks, datasets, results, scenarios
from mibench.errors import MIBenchError

# Kernels that other users of the machine cannot listen to, where the system has such sockets.
_KERNELS = Config({} if os.name == "nt" else {"KernelManager": {"transport": "ipc"}})
_FILE_KEYS = {"defaults", "seeds", "notebooks"}
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
    """

    notebook: Path
    output: Path
    parameters: dict[str, Any]
    reads: Path | None

    def key(self) -> str:
        """Return a digest of everything that the executed notebook depends on."""
        digest = hashlib.sha256(self.notebook.read_bytes())
        stated = {"parameters": self.parameters, "mibench": __version__}
        digest.update(json.dumps(stated, sort_keys=True, default=str).encode())
        if self.reads is not None:
            for file in results.files(self.reads, self.parameters.get("dataset")):
                digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    def is_done(self) -> bool:
        """Return whether the output is there, complete, and made with this very key."""
        written = [self.output]
        if "output" in self.parameters:
            written.append(self.output.with_suffix(".parquet"))
        if not all(file.exists() for file in written):
            return False
        try:
            made = nbformat.read(self.output, as_version=4).metadata.get("mibench", {})
        except Exception:  # whatever is wrong with the file, running again mends it
            return False
        return bool(made.get("status") == "completed" and made.get("key") == self.key())


@dataclass(frozen=True)
class Outcome:
    """What became of a task; `error` is None unless it failed."""

    task: Task
    error: str | None = None


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
    if data_dir is not None:
        defaults["data_dir"] = str(data_dir)
    seeds = content.get("seeds") or []
    tasks = [
        task
        for entry in content["notebooks"]
        for task in _tasks(file, root, entry, defaults, seeds)
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
    file: Path, root: Path, entry: Any, defaults: dict[str, Any], seeds: list[int]
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
        yield Task(notebook, output, parameters, folder if "results" in taken else None)


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


def execute(task: Task) -> Outcome:
    """Execute one task.

    The notebook is written under a temporary name and renamed when it is through; one that
    failed is kept with its error, its state in its metadata, and runs again next time. What
    another batch is executing is waited for, not executed twice.
    """
    task.output.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(task.output.with_name(f".{task.output.stem}.lock")):
        return Outcome(task) if task.is_done() else _execute(task)


def _execute(task: Task) -> Outcome:
    for stale in (task.output, *task.output.parent.glob(f"{task.output.stem}*.parquet")):
        if stale.name.split(".")[0] == task.output.stem:
            stale.unlink(missing_ok=True)
    key = task.key()
    running = task.output.with_name(f".{task.output.stem}.running.ipynb")
    error = None
    try:
        papermill.execute_notebook(
            task.notebook,
            running,
            task.parameters,
            progress_bar=False,
            kernel_name="python3",
            config=_KERNELS,
        )
    except Exception as problem:  # one failing notebook never takes the others down
        error = _last_line(problem)
    try:
        made = nbformat.read(running, as_version=4)
    except OSError:
        return Outcome(task, error)
    status = "failed" if error else "completed"
    made.metadata["mibench"] = {"key": key, "status": status, "version": __version__}
    nbformat.write(made, running)
    running.replace(task.output)
    return Outcome(task, error)


def _last_line(problem: Exception) -> str:
    name, value = getattr(problem, "ename", None), getattr(problem, "evalue", None)
    if name:
        return f"{name}: {value}"
    lines = [line for line in str(problem).splitlines() if line.strip()]
    return f"{type(problem).__name__}: {lines[-1] if lines else ''}"
