"""Batches: the notebooks that a parameter file asks for, each with what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from mibench import scenarios
from mibench.apps.batch import notebooks, parameters
from mibench.apps.batch.notebooks import Task
from mibench.attacks.base import parse
from mibench.catalogue import meant
from mibench.data import loading
from mibench.data.base import DATASETS
from mibench.errors import MIBenchError
from mibench.setting import Place, Setting
from mibench.store import Store
from mibench.study import parquet
from mibench.training.recipe import of_setting

_PLACES = ("data_dir", "cache_dir")
# Above it a mistake; each takes half a millisecond to plan.
_MOST = 100_000
T = TypeVar("T")
# What the batch itself tells a notebook that declares it.
_TOLD = ("setting", "place", "output", "results", "figures")


def plan(file: str | Path, given: Mapping[str, Any] | None = None) -> list[Task]:
    """Read a parameter file and return its tasks in order, all of them checked.

    A file holds `defaults` (for every notebook that takes them), optionally `seeds` (a list, each
    of which repeats the notebooks that take a seed; one that declares `seeds` gets the list),
    `plugins` (files that add attacks, models or datasets), `time_limit` (seconds a cell) and
    `notebooks`: names, or mappings with `notebook`, `parameters`, `grid` (a list of values for each
    parameter, all combinations of which are run) and `name` (of the executed notebook).

    The notebooks are those of the folder `notebooks` beside the parameter file's own folder;
    `executed` and `figures` lie there too. A notebook that declares `setting` and `place` in its
    parameters cell gets the fields of :class:`Setting` and :class:`Place` in these; any other is
    given what the file states for it by the names that it declares.

    Parameters
    ----------
    file : path
    given : mapping, optional
        Values that go before those of the file.

    Raises
    ------
    MIBenchError
        If the file is missing, is not of this form, or names what does not exist.
    """
    asked, given = parameters.read(Path(file)), dict(given or {})
    batch = _Batch(str(file), Path(file).absolute().parent.parent, asked, given)
    tasks = [task for entry in asked.notebooks for task in batch.tasks(entry)]
    if unused := batch.stated.keys() - batch.taken - {*_PLACES}:
        hint = meant(min(unused), batch.taken).strip()
        named = ", ".join(sorted(unused))
        raise MIBenchError(
            f"{file}: no notebook takes the default {named}; {hint or 'leave it out'}"
        )
    counted = Counter(str(f).lower() for task in tasks for f in task.files)
    for task in tasks:
        if any(counted[str(f).lower()] > 1 for f in task.files):
            if tasks.count(task) > 1:
                raise MIBenchError(
                    f"{file}: notebook {task.notebook.stem} is listed twice with the same values "
                    f"(for {task.output.name}); leave one out"
                )
            raise MIBenchError(
                f"{file}: several notebooks would be written to {task.output.name}; tell them "
                "apart by 'name' or 'grid'"
            )
    return list(_with_data(str(file), tasks))


class _Batch:
    """What all notebooks of a parameter file share."""

    def __init__(self, file: str, root: Path, asked: parameters.File, given: dict[str, Any]):
        self.file, self.root, self.asked, self.given = file, root, asked, given
        for seed in (s for i, s in enumerate(asked.seeds) if s in asked.seeds[:i]):
            raise MIBenchError(f"{file}: seed {seed} is listed twice; leave one out")
        self.taken, self.count = set[str](), 0
        self.stated = asked.defaults | given
        self.place = self._place(self.stated)
        self.place.load_plugins()
        self._check({k: v for k, v in self.stated.items() if k in Setting.model_fields})

    def tasks(self, said: Any) -> Iterator[Task]:
        """Yield the executions of a notebook that an entry asks for."""
        said = {"notebook": said} if isinstance(said, str) else said
        if not isinstance(said, dict) or not isinstance(said.get("notebook"), str):
            raise MIBenchError(f"{self.file}: {said!r} names no notebook")
        where = f"{self.file}: notebook {said['notebook']}"
        entry, seeds = parameters.Entry.read(said, where), self.asked.seeds
        path = self.root / "notebooks" / f"{entry.notebook}.ipynb"
        if not path.is_file():
            known = sorted(p.stem for p in path.parent.glob("*.ipynb"))
            raise MIBenchError(
                f"{self.file}: there is no notebook {path}; {meant(entry.notebook, known)}known: "
                f"{', '.join(known) or 'none'}"
            )
        declared = notebooks.read(path).declared
        takes = [name for name in declared if name not in _TOLD]
        if "setting" in declared:
            takes += [name for name in Setting.model_fields if name not in declared]
        if "place" in declared:
            takes += _PLACES
        own, grid = dict(entry.parameters), dict(entry.grid)
        if seeds and "seeds" in declared:
            own = {"seeds": seeds, **own}
        elif seeds and "seed" in takes:
            grid["seed"] = seeds
        for k in grid.keys() & self.given.keys():
            raise MIBenchError(f"{where}: {k} is varied here, so it cannot be given as well")
        for k in (*own, *grid):
            if k in _TOLD:
                raise MIBenchError(f"{where}: {k} is set by the batch itself; leave it out")
            if k not in takes:
                raise MIBenchError(
                    f"{where} takes no parameter {k!r}; {meant(k, takes)}it takes "
                    f"{', '.join(takes) or 'none'}"
                )
        self.taken |= {*takes}
        self.count += prod(map(len, grid.values()))
        if self.count > _MOST:
            raise MIBenchError(
                f"{where}: with its grid the file asks for {self.count:,} notebooks, of {_MOST:,} "
                "at most; leave values out or split the file"
            )
        names, made = sorted(grid), set[Path]()
        for values in product(*(grid[name] for name in names)):
            varied = dict(zip(names, values, strict=True))
            stated = {k: v for k, v in (self.stated | own | self.given).items() if k in takes}
            name = [entry.name or entry.notebook, *grid]
            task = self._task(where, path, declared, stated | varied, name)
            if task.output in made:
                at = ", ".join(f"{k} {_said(varied[k])}" for k in grid)
                raise MIBenchError(f"{where}: {at} is listed twice; leave one out")
            made.add(task.output)
            yield task

    def _task(
        self,
        where: str,
        path: Path,
        declared: dict[str, Any],
        stated: dict[str, Any],
        name: list[str],
    ) -> Task:
        """Return one execution; its name is followed by the values that are stated for some."""
        folder, told = self.root / "executed", dict[str, Any]()
        place, setting = self._place(self.stated | stated), None
        flat = {k: v for k, v in stated.items() if k in declared}
        has = declared | flat
        if "place" in declared:
            told["place"] = place.model_dump(mode="json", exclude_none=True)
        reads = folder if "setting" not in declared and _is_told(declared, "results") else None
        dataset, attacks = None, tuple[str, ...]()
        if "setting" in declared:
            if not isinstance(declared["setting"], dict):
                raise MIBenchError(f"{where}: its setting is no dictionary of plain values")
            fields = {k: v for k, v in stated.items() if k in Setting.model_fields}
            setting = self._check(declared["setting"] | fields, where)
            changed = setting.model_dump(exclude_defaults=True)
            told["setting"] = {"dataset": setting.dataset, **changed}
            dataset = loading.name_of(setting.dataset, place)
            for k in ("scenario", "base"):
                if has.get(k) not in (None, ...):
                    one = _located(where, scenarios.find, str(has[k]), dataset)
                    flat |= {k: one.id} if k in flat else {}
            found = _located(where, parse, has.get("attacks", "all"))
            attacks = tuple(attack.label for attack in found)
        elif reads is not None and isinstance(has.get("dataset"), str):
            # Results say of a user's own dataset how it is called, not where it lies.
            told["dataset"] = dataset = _located(where, loading.name_of, has["dataset"], place)
        stem = "-".join([name[0], *(_said((stated | flat)[k]) for k in name[1:])])
        output = parquet.place(folder, dataset or "all", stem)
        places = {"output": output, "figures": self.root / "figures", "results": folder}
        told |= {k: str(at) for k, at in places.items() if _is_told(declared, k)}
        limit = self.asked.time_limit
        output = output.with_name(f"{output.name}.ipynb")
        return Task(path, output, flat | told, place, setting, attacks, reads, dataset, limit)

    def _place(self, stated: Mapping[str, Any]) -> Place:
        fields = {k: stated[k] for k in _PLACES if k in stated}
        place = Place.read({**fields, "plugins": self.asked.plugins}, self.file)
        if place.data_dir is not None and not place.data_dir.is_dir():
            raise MIBenchError(f"{self.file}: data_dir {place.data_dir} is no folder")
        Store(place.cache_dir)  # which says if it is no folder
        return place

    def _check(self, fields: Mapping[str, Any], where: str = "") -> Setting:
        """Return a setting whose names all exist."""
        where = where or self.file
        setting = Setting.read(fields, where)
        _located(where, of_setting, setting)
        named = _located(where, loading.check_name, setting.dataset, self.place)
        return setting.model_copy(update={"dataset": named})


def _located(where: str, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function; what it finds wrong is said with where it stands."""
    try:
        return function(*arguments)
    except MIBenchError as error:
        raise MIBenchError(f"{where}: {error}") from None


def _is_told(declared: dict[str, Any], name: str) -> bool:
    """Return whether a notebook declares a name as the place of something, or as none."""
    return name in declared and isinstance(declared[name], str | None)


def _with_data(file: str, tasks: list[Task]) -> Iterator[Task]:
    """Add to each task the checksum of its dataset, looked up once a dataset and folder.

    Downloaded and embedded data are pinned by the package.
    """
    known: dict[str, str | None] = {}
    for task in tasks:
        if (setting := task.setting) is not None:
            asked = setting.dataset, task.place, setting.sizes
            if (key := repr(asked)) not in known:
                here = loading.is_here(*asked[:2])
                found = _located(file, loading.load, *asked) if here else None
                pinned = setting.dataset in DATASETS and not task.place.data_dir
                known[key] = None if pinned or found is None else found.checksum
            task = replace(task, data=known[key])
        yield task


def _said(value: Any) -> str:
    """Return a varied value as a part of a file's name."""
    if isinstance(value, dict):
        return "_".join(f"{k}={_said(v)}" for k, v in value.items())
    return "_".join(map(_said, value)) if isinstance(value, list) else str(value)
