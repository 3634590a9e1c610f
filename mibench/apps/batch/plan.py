"""Batches: the jobs that a parameter file asks for."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import papermill
import yaml
from sklearn.model_selection import ParameterGrid

from mibench import attacks, scenarios
from mibench import data as datasets
from mibench.apps.batch.jobs import Job, Outcome, Task, Training
from mibench.errors import MIBenchError
from mibench.store import replacing
from mibench.study.study import Experiment, checked_recipe

_FILE_KEYS = {"defaults", "seeds", "notebooks", "time_limit"}
_ENTRY_KEYS = {"notebook", "name", "parameters", "grid"}


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
    asked = content.get("notebooks") if isinstance(content, dict) else None
    if not isinstance(asked, list) or not asked:
        raise MIBenchError(f"{file} has no list 'notebooks'; see parameters/demo.yaml")
    _check_keys(file, "the file", content, _FILE_KEYS)
    root = file.resolve().parent.parent
    defaults = _mapping(file, "defaults", content)
    limit = content.get("time_limit")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise MIBenchError(f"{file}: time_limit is {limit!r}; give whole seconds a cell")
    if data_dir is not None:
        defaults["data_dir"] = str(data_dir)
    seeds = content.get("seeds") or []
    tasks = [task for entry in asked for task in _tasks(file, root, entry, defaults, seeds, limit)]
    if unused := defaults.keys() - {"data_dir", *(name for t in tasks for name in t.parameters)}:
        raise MIBenchError(f"{file}: no notebook takes the default {', '.join(sorted(unused))}")
    outputs = [task.output for task in tasks]
    for output in outputs:
        if outputs.count(output) > 1:
            raise MIBenchError(
                f"{file}: several notebooks would be written to {output.name}; tell them apart by "
                "'name' or 'grid'"
            )
    return list(_with_data(tasks))


def _with_data(tasks: list[Task]) -> Iterator[Task]:
    """Add to each task the checksum of its dataset, looked up once a dataset and folder."""
    known: dict[str, str | None] = {}
    for task in tasks:
        if task.reads is not None:
            yield task
            continue
        names = ("dataset", "data_dir", "cache_dir", "sizes")
        given = {name: task.parameters.get(name) for name in names}
        key = json.dumps(given, default=str)
        if key not in known:
            known[key] = _checksum(**given)
        yield replace(task, data=known[key])


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
    taken = _values(papermill.inspect_notebook(str(notebook)))
    given = {k: v for k, v in defaults.items() if k in taken}
    given |= _mapping(file, "parameters", entry)
    grid = _mapping(file, "grid", entry)
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
        parameters = taken | given | chosen
        _check_values(file, parameters, defaults.get("data_dir"))
        named = parameters.get("dataset")
        dataset = datasets.name_of(named) if named else "all"
        varied = [str(chosen[name]) for name in grid if name in chosen]
        stem = "-".join([str(entry.get("name") or notebook.stem), *varied])
        folder = root / "executed"
        output = folder / dataset / f"{_file_name(stem)}.ipynb"
        if "output" in taken:
            parameters["output"] = str(output.with_suffix(""))
        if "figures" in taken:
            parameters["figures"] = str(root / "figures")
        if "results" in taken:
            parameters["results"] = str(folder)
            if named:
                # Results say of a user's own dataset how it is called, not where it lies.
                parameters["dataset"] = dataset
        reads = folder if "results" in taken else None
        yield Task(notebook, output, parameters, reads, limit)


def _values(taken: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a notebook itself gives its parameters."""
    return {name: ast.literal_eval(parameter["default"]) for name, parameter in taken.items()}


def _checksum(
    dataset: str | None,
    data_dir: str | None,
    cache_dir: str | None,
    sizes: dict[str, int] | None,
) -> str | None:
    """Return the checksum of a dataset that is read from files, None of any other.

    Downloaded and embedded data are pinned by the package.
    """
    if not dataset or (dataset in datasets.names() and not datasets.data_folder(data_dir)):
        return None
    try:
        return datasets.load(dataset, data_dir, cache_dir, sizes).checksum
    except MIBenchError:  # the notebook says what is wrong with the file
        return None


def trainings(tasks: Iterable[Task]) -> list[Training]:
    """Return each different training that tasks need, with the attacks that need it."""
    known = inspect.signature(Experiment).parameters
    found: dict[str, Training] = {}
    for task in tasks:
        if task.reads is not None or not task.parameters.get("dataset"):
            continue
        settings = {k: v for k, v in task.parameters.items() if k in known}
        key = json.dumps([settings, task.data], sort_keys=True, default=str)
        before = found[key].attacks if key in found else ()
        names = dict.fromkeys((*before, *task.attacks))
        found[key] = Training(settings, tuple(names), task.data)
    return list(found.values())


def training_of(task: Task, among: Iterable[Training]) -> Training | None:
    """Return the training that a task needs."""
    return next((t for t in among if t.settings.items() <= task.parameters.items()), None)


def _check_values(file: Path, parameters: dict[str, Any], data_dir: str | None) -> None:
    try:
        dataset = parameters.get("dataset")
        if dataset is not None:
            # A notebook that draws results names a dataset and has no data directory.
            folder = parameters.get("data_dir", data_dir)
            parameters["dataset"] = datasets.check_name(str(dataset), folder)
            dataset = datasets.name_of(parameters["dataset"])
        for name in ("scenario", "base"):
            if parameters.get(name):
                scenarios.find(str(parameters[name]), dataset)
        chosen = parameters.get("attacks", "all")
        if chosen != "all" and (not isinstance(chosen, list) or not chosen):
            raise MIBenchError(f"attacks is {chosen!r}; give 'all' or a list of names")
        for attack in [] if chosen == "all" else chosen:
            attacks.find(str(attack))
        if "references" in parameters:
            names = inspect.signature(checked_recipe).parameters
            checked_recipe(**{k: v for k, v in parameters.items() if k in names})
    except MIBenchError as error:
        raise MIBenchError(f"{file}: {error}") from None


def _mapping(file: Path, name: str, content: dict[str, Any]) -> dict[str, Any]:
    found = content.get(name) or {}
    if not isinstance(found, dict):
        raise MIBenchError(f"{file}: {name} is {found!r}; give names with values")
    return dict(found)


def _check_keys(file: Path, where: str, given: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(str(key) for key in given.keys() - known)
    if unknown:
        raise MIBenchError(
            f"{file}: {where} has unknown keys {', '.join(unknown)}; known are "
            f"{', '.join(sorted(known))}"
        )


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text)


class Report:
    """A table of what became of every job of a batch, kept on disk from the first moment on.

    Parameters
    ----------
    file : path
        The parameter file; the report is ``executed/<its name>-report.csv``.
    tasks : list of Task
    """

    def __init__(self, file: str | Path, tasks: list[Task]):
        file = Path(file).resolve()
        self.path = file.parent.parent / "executed" / f"{file.stem}-report.csv"
        self.outcomes: list[Outcome] = []
        wanted = [task for task in tasks if not task.is_done()]
        needed = [training for training in trainings(wanted) if not training.is_done()]
        jobs: list[Job] = [*needed, *tasks]
        self.rows = {job.name: _row(job) for job in jobs}

    def add(self, outcome: Outcome) -> None:
        """Note an outcome."""
        self.outcomes.append(outcome)
        job = outcome.job
        stated = {k: getattr(outcome, k) for k in ("state", "seconds", "tries", "error")}
        self.rows[job.name] = _row(job) | stated
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            pd.DataFrame(self.rows.values()).to_csv(temporary, index=False)


def _row(job: Job) -> dict[str, Any]:
    output = str(job.output) if isinstance(job, Task) else ""
    empty = {"state": "waiting", "seconds": None, "tries": 0, "error": ""}
    return {"job": job.name, "kind": job.alike[0][0], **empty, "output": output}
