"""Trainings: all that one target model needs for some attacks, trained and queried once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mibench.apps.batch import jobs
from mibench.apps.batch.jobs import Outcome, Tell
from mibench.code import combined
from mibench.data.loading import is_here
from mibench.errors import MIBenchError
from mibench.setting import Place, Setting
from mibench.store import NotMade, Store, digest, replacing
from mibench.study.provenance import sources

if TYPE_CHECKING:
    from mibench.apps.batch.notebooks import Task
    from mibench.training.work import Work


@dataclass(frozen=True)
class Training:
    """The training and querying of all models that some attacks need.

    Attributes
    ----------
    setting : Setting
    place : Place
    attacks : tuple of str
        Their labels.
    data : str or None
        The dataset's checksum, None where it is pinned by the package itself.
    """

    setting: Setting
    place: Place
    attacks: tuple[str, ...]
    data: str | None = None

    @property
    def name(self) -> str:
        """What is trained, in words."""
        rest = self.setting.model_dump(exclude={"dataset", "model"}, exclude_defaults=True)
        return " ".join([*self.alike[0], *(f"{k}={v}" for k, v in rest.items())])

    @property
    def alike(self) -> list[tuple[str, ...]]:
        """Names of what its time can be estimated from, the most similar first."""
        kind = "training", self.setting.dataset
        return [(*kind, self.setting.model), kind]

    @property
    def record(self) -> Path:
        """The file in the cache that says what was trained, how long it took and where it is."""
        # Which may add the network; a process that was forked to train it knows none yet.
        self.place.load_plugins()
        key = {**self.setting.model_dump(), "data": self.data, "torch": version("torch")}
        key["code"] = combined(sources(self.setting, []))
        return self.place.cache_dir / "trainings" / f"{digest(key)}.json"

    def is_done(self) -> bool:
        """Return whether everything was trained and is still in the cache."""
        made = jobs.read_json(self.record)
        there = all((self.place.cache_dir / name).exists() for name in made.get("files", []))
        return bool(made) and there and set(self.attacks) <= set(made["attacks"])

    def state(self) -> str:
        """Return "done", "running" or "waiting"."""
        if self.is_done():
            return "done"
        return "running" if jobs.is_held(self._lock) else "waiting"

    def is_cached(self) -> bool:
        """Return whether the cache holds everything, whoever put it there; reads the dataset.

        Nothing is downloaded, made or noted to find out.
        """
        from mibench.study.study import Study

        if self.is_done():
            return True
        try:
            if not is_here(self.setting.dataset, self.place):
                return False
            study = Study(self.setting, self.place)
            study.store.makes = False
            study.prepare(self.attacks)
        except (NotMade, MIBenchError):
            return False
        return True

    def work(self) -> Work | None:
        """Return what is to go, None where the dataset is not here or nothing can be said."""
        from mibench.study.study import Study, all_needs
        from mibench.training.work import work_of

        try:
            if not is_here(self.setting.dataset, self.place):
                return None
            signals = Study(self.setting, self.place).signals
            left = signals.left(all_needs(self.attacks))
            shape, classes = signals.dataset.inputs.shape[1:], signals.dataset.num_classes
            return work_of(*left, signals.recipe, shape, classes, signals.device)
        except MIBenchError:  # the run will say so
            return None

    def run(self, threads: int, tell: Tell) -> Outcome:
        """Train in a process of its own; one that dies is tried again."""
        return jobs.attempt(self.name, tell, lambda: self._once(self._prepare, threads))

    def _once(self, work: Callable[[], str], threads: int) -> tuple[str, bool]:
        from mibench.apps.batch import kernels

        # Beside the batch's own bar there is no place for another.
        given = (threads, {**os.environ, "TQDM_DISABLE": "1"})
        try:
            with ProcessPoolExecutor(1, kernels.context(), kernels.begin_fork, given) as pool:
                return pool.submit(work).result(), False
        except (BrokenProcessPool, *jobs.SERVER_GONE):
            return "its process died each time", True
        except Exception as problem:  # one failing training never takes the others down
            return jobs.sentence(problem), False

    def help(self, threads: int) -> None:
        """Train, beside the process that does it all, what nobody has begun to train.

        What goes wrong here goes wrong there as well, where it is told.
        """
        if not self.is_done():
            self._once(self._train, threads)

    def _train(self) -> str:
        from mibench.study.study import Study

        began = time.monotonic()
        try:
            study = Study(self.setting, self.place)
            study.train(self.attacks)
        except MIBenchError as error:
            return str(error)
        self._note(study.store, began, ())
        return ""

    @property
    def _lock(self) -> Path:
        return self.record.with_suffix(".lock")

    def _prepare(self) -> str:
        """Train and query what is not cached, keep a record, and return a user's mistake if any."""
        # It takes seconds to load, and a state is told without.
        from mibench.study.study import Study

        self.record.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock):
            began = time.monotonic()
            try:
                study = Study(self.setting, self.place)
                study.train(self.attacks)
                study.prepare(self.attacks)
            except MIBenchError as error:
                return str(error)
            self._note(study.store, began, self.attacks)
        return ""

    def _note(self, store: Store, began: float, attacks: Iterable[str]) -> None:
        """Add to the record what a store made or found, for attacks that lack nothing now."""
        self.record.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.record.with_suffix(".note.lock")):
            before = jobs.read_json(self.record)
            spent = time.monotonic() - began if store.made else 0
            files = sorted({*before.get("files", []), *store.asked})
            made: dict[str, Any] = {
                "setting": self.setting.model_dump(),
                "attacks": sorted({*before.get("attacks", []), *attacks}),
                "seconds": round(before.get("seconds", 0) + spent, 2),
                "bytes": sum((store.directory / name).stat().st_size for name in files),
                "files": files,
            }
            with replacing(self.record) as temporary:
                temporary.write_text(json.dumps(made, indent=1), encoding="utf-8")


def trainings(tasks: Iterable[Task]) -> list[Training]:
    """Return each different training that tasks need, with the attacks that need it."""
    found: dict[str, Training] = {}
    for task in tasks:
        if task.setting is not None:
            key = repr((task.setting, task.place, task.data))
            before = found[key].attacks if key in found else ()
            attacks = tuple(dict.fromkeys((*before, *task.attacks)))
            found[key] = Training(task.setting, task.place, attacks, task.data)
    return list(found.values())


def training_of(task: Task, among: Iterable[Training]) -> Training | None:
    """Return the training that a task needs."""
    return next((t for t in among if (t.setting, t.place) == (task.setting, task.place)), None)
