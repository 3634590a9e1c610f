"""What a batch is made of: trainings, and executions of notebooks; what is done is not repeated."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import papermill
from filelock import FileLock, Timeout
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_output
from traitlets.config import Config

from mibench import __version__, attacks
from mibench import data as datasets
from mibench.apps.batch import kernels
from mibench.errors import MIBenchError
from mibench.store import Arrays, Store, digest, replacing
from mibench.study import results
from mibench.study.study import Experiment, provenance

TRIES = 3
# Where something lies says nothing about what it is.
_PLACES = ("data_dir", "cache_dir", "output", "results", "figures")


class DiskFull(MIBenchError):
    """No space is left, so that nothing else of a batch can succeed either."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    job : Job
    state : {"done", "skipped", "failed"}
    seconds : float
        What it took; of a skipped one, when it was done.
    tries : int
    error : str
        Empty unless it failed.
    """

    job: Job
    state: str
    seconds: float = 0.0
    tries: int = 1
    error: str = ""


@dataclass(frozen=True)
class Training:
    """All that one target model needs for some attacks, trained and queried.

    Attributes
    ----------
    settings : dict
        Parameters of :class:`mibench.study.study.Experiment`.
    attacks : tuple of str
    data : str or None
        The dataset's checksum, None where it is pinned by the package itself.
    """

    settings: dict[str, Any]
    attacks: tuple[str, ...]
    data: str | None = None

    @property
    def name(self) -> str:
        """What is trained, in words; different trainings have different names."""
        rest = {k: v for k, v in self._identity().items() if k not in ("dataset", "model")}
        words = [self.settings["dataset"], self.settings.get("model", "")]
        return " ".join(["training", *filter(None, words), *(f"{k}={v}" for k, v in rest.items())])

    @property
    def alike(self) -> list[tuple[str, ...]]:
        """Names of what its time can be estimated from, the most similar first."""
        dataset = self.settings["dataset"]
        return [("training", dataset, self.settings.get("model", "")), ("training", dataset)]

    @property
    def record(self) -> Path:
        """The file in the cache that says what was trained, how long it took and where it is."""
        key = {**self._identity(), "data": self.data}
        key |= {"mibench": __version__, "torch": version("torch")}
        return self._store.directory / "trainings" / f"{digest(key)}.json"

    def is_done(self) -> bool:
        """Return whether everything was trained and is still in the cache."""
        made = read_json(self.record)
        there = all((self._store.directory / name).exists() for name in made.get("files", []))
        return bool(made) and there and set(self.attacks) <= set(made["attacks"])

    def state(self) -> str:
        """Return "done", "running" or "waiting"."""
        if self.is_done():
            return "done"
        return "running" if _is_held(self._lock) else "waiting"

    def is_cached(self) -> bool:
        """Return whether the cache holds everything, whoever put it there; reads the dataset.

        Nothing is downloaded to find out.
        """
        if self.is_done():
            return True
        known = self.settings
        try:
            if not datasets.is_here(
                known["dataset"], known.get("data_dir"), known.get("cache_dir")
            ):
                return False
            return self._prepare(may_make=False) is None
        except (_NotCachedError, MIBenchError):
            return False

    def run(self, threads: int, tell: Callable[[str, str], None]) -> Outcome:
        """Train in a process of its own; one that dies is tried again."""
        began = time.monotonic()
        for tries in range(1, TRIES + 1):
            tell("start" if tries == 1 else "retry", self.name)
            try:
                given = (threads, dict(os.environ))
                with ProcessPoolExecutor(1, kernels.context(), kernels.begin_fork, given) as pool:
                    error = pool.submit(self._prepare).result() or ""
            except BrokenProcessPool:
                error = f"its process died {tries} times"
                continue
            except Exception as problem:  # one failing training never takes the others down
                error = _sentence(problem)
            break
        _stop_if_full(error, self.name)
        seconds = round(time.monotonic() - began, 2)
        return Outcome(self, "failed" if error else "done", seconds, tries, error)

    @property
    def _store(self) -> Store:
        return Store(self.settings.get("cache_dir"))

    @property
    def _lock(self) -> Path:
        return self.record.with_suffix(".lock")

    def _identity(self) -> dict[str, Any]:
        return {k: v for k, v in self.settings.items() if k not in _PLACES}

    def _prepare(self, may_make: bool = True) -> str | None:
        """Train and query what is not cached, keep a record, and return a user's mistake if any."""
        store = _Watched(self._store.directory, may_make)
        self.record.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock):
            began = time.monotonic()
            try:
                experiment = Experiment(**self.settings)
                experiment.signals.store = store
                experiment.prepare(self.attacks)
            except _NotCachedError:
                raise
            except MIBenchError as error:
                return str(error)
            before = read_json(self.record)
            spent = time.monotonic() - began if store.made else 0
            files = sorted({*before.get("files", []), *store.asked})
            made = {
                "settings": self._identity(),
                "attacks": sorted({*before.get("attacks", []), *self.attacks}),
                "seconds": round(before.get("seconds", 0) + spent, 2),
                "bytes": sum((store.directory / name).stat().st_size for name in files),
                "files": files,
            }
            with replacing(self.record) as temporary:
                temporary.write_text(json.dumps(made, indent=1, default=str), encoding="utf-8")
        return None


class _NotCachedError(Exception):
    """Something would have to be made."""


class _Watched(Store):
    """A store that notes what it was asked for, and makes what it lacks only where it may."""

    def __init__(self, directory: Path, may_make: bool):
        super().__init__(directory)
        self.may_make, self.made = may_make, False
        self.asked: set[str] = set()

    def get(self, kind: str, key: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        def noted() -> Arrays:
            if not self.may_make:
                raise _NotCachedError
            self.made = True
            return make()

        self.asked.add(f"{kind}/{digest(key)}.npz")
        return super().get(kind, key, noted)


@dataclass(frozen=True)
class Task:
    """One execution of one notebook.

    Attributes
    ----------
    notebook : Path
    output : Path
        The executed notebook; its results go beside it.
    parameters : dict
        Values of all the notebook's parameters.
    reads : Path or None
        The folder of results that the notebook draws from, which then is part of its key.
    time_limit : int or None
        Seconds that one cell may take.
    data : str or None
        The dataset's checksum, None where it is pinned by the package itself.
    """

    notebook: Path
    output: Path
    parameters: dict[str, Any]
    reads: Path | None
    time_limit: int | None = None
    data: str | None = None

    @property
    def name(self) -> str:
        """The executed notebook's path below the folder of all."""
        return f"{self.output.parent.name}/{self.output.stem}"

    @property
    def alike(self) -> list[tuple[str, ...]]:
        """Names of what its time can be estimated from, the most similar first."""
        kind = self.notebook.stem
        return [("notebook", kind, self.output.parent.name), ("notebook", kind)]

    @property
    def attacks(self) -> list[str]:
        """The names of the attacks that it runs."""
        chosen = self.parameters.get("attacks", "all")
        return list(attacks.REGISTRY) if chosen == "all" else list(chosen)

    def key(self) -> str:
        """Return a digest of everything but the data that the executed notebook depends on."""
        digest = hashlib.sha256(self.notebook.read_bytes())
        stated = {"parameters": self._stated(), "mibench": __version__}
        digest.update(json.dumps(stated, sort_keys=True, default=str).encode())
        if self.reads is not None:
            for file in results.files(self.reads, self.parameters.get("dataset")):
                digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    def is_done(self) -> bool:
        """Return whether the output is there, complete, and made with this key from this data."""
        made = read_metadata(self.output)
        if made.get("status") != "completed" or made.get("key") != self.key():
            return False
        if self.data and made.get("data_sha256", self.data) != self.data:
            return False
        return not self.parameters.get("output") or self.output.with_suffix(".parquet").exists()

    def state(self) -> str:
        """Return "done", "failed", "running" or "waiting"."""
        if self.is_done():
            return "done"
        if _is_held(self._lock):
            return "running"
        return "failed" if read_metadata(self.output).get("status") == "failed" else "waiting"

    def skipped(self) -> Outcome:
        """Return the outcome of a task that was done before."""
        return Outcome(self, "skipped", read_metadata(self.output).get("seconds", 0.0), 0)

    def run(self, threads: int, tell: Callable[[str, str], None]) -> Outcome:
        """Execute the notebook in a kernel of `threads` threads, unless it is done already.

        It is written under a temporary name and renamed when it is through; one that failed is
        kept with its error and runs again next time. What another batch is executing is waited
        for, not executed twice.

        Raises
        ------
        DiskFull
        """
        kernels.use_forked_kernels(threads)
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._lock):
                return self.skipped() if self.is_done() else self._execute(threads, tell)
        except OSError as problem:
            _stop_if_full(str(problem), self.name)
            raise

    @property
    def _lock(self) -> Path:
        return self.output.with_name(f".{self.output.stem}.lock")

    def _stated(self) -> dict[str, Any]:
        return {k: v for k, v in self.parameters.items() if k not in _PLACES}

    def _execute(self, threads: int, tell: Callable[[str, str], None]) -> Outcome:
        for file in self.output.parent.iterdir():
            # The results of an earlier run, and what one that was killed was writing.
            owner = file.name.lstrip(".").split(".")[0]
            if owner == self.output.stem and file != self._lock:
                file.unlink(missing_ok=True)
        key, began = self.key(), time.monotonic()
        running = self.output.with_name(f".{self.output.stem}.running.ipynb")
        for tries in range(1, TRIES + 1):
            tell("start" if tries == 1 else "retry", self.name)
            parameters, limit = self.parameters, self.time_limit
            error, died = execute_notebook(self.notebook, running, parameters, limit)
            if not died:
                break
        _stop_if_full(error, self.name)
        seconds = round(time.monotonic() - began, 2)
        if running.exists():
            made = nbformat.read(running, as_version=4)
            if error:
                _show_error(made, error)
            made.metadata["mibench"] = {
                "key": key,
                "notebook": self.notebook.stem,
                "status": "failed" if error else "completed",
                "error": error,
                "seconds": seconds,
                "tries": tries,
                "threads": threads,
                "parameters": json.loads(json.dumps(self._stated(), default=str)),
                "seed": self.parameters.get("seed"),
                **results.origin(self.output),
                **provenance(),
            }
            nbformat.write(made, running)
            running.replace(self.output)
        return Outcome(self, "failed" if error else "done", seconds, tries, error)


Job = Training | Task


def execute_notebook(
    notebook: Path, output: Path, parameters: dict[str, Any], time_limit: int | None
) -> tuple[str, bool]:
    """Execute a notebook once and return its error, if any, and whether its kernel died."""
    # Kernels on sockets that other users of the machine cannot listen to.
    with tempfile.TemporaryDirectory(prefix="mibench-") as sockets:
        local = {"transport": "ipc", "ip": str(Path(sockets) / "kernel")}
        try:
            papermill.execute_notebook(
                notebook,
                output,
                parameters,
                progress_bar=False,
                kernel_name="python3",
                execution_timeout=time_limit,
                config=Config({} if os.name == "nt" else {"KernelManager": local}),
                # What a kernel has to write is written by its cells.
                shutdown_kernel="immediate",
            )
        except DeadKernelError as problem:
            return _sentence(problem), True
        except Exception as problem:  # one failing notebook never takes the others down
            return _sentence(problem), False
    return "", False


def _show_error(made: nbformat.NotebookNode, error: str) -> None:
    """Add an error that no cell shows, a time limit's or a dead kernel's, to the cell it ended."""
    cells = [cell for cell in made.cells if cell.cell_type == "code"]
    if any(output.output_type == "error" for cell in cells for output in cell.outputs):
        return
    for cell in [c for c in cells if c.metadata.papermill.get("start_time")][-1:]:
        name, _, value = error.partition(": ")
        cell.outputs.append(new_output("error", ename=name, evalue=value, traceback=[error]))


def read_metadata(notebook: Path) -> dict[str, Any]:
    """Return what a batch noted in an executed notebook, nothing where it cannot be read."""
    return dict(read_json(notebook).get("metadata", {}).get("mibench", {}))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, an empty one where it cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):  # missing or broken: making it again mends it
        return {}
    return found if isinstance(found, dict) else {}


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    try:
        FileLock(lock).acquire(blocking=False).lock.release()
    except Timeout:
        return True
    return False


def _stop_if_full(error: str, name: str) -> None:
    if any(os.strerror(code) in error for code in (errno.ENOSPC, errno.EDQUOT)):
        raise DiskFull(f"no space is left on the disk ({name}: {error}); free some and run again")


def _sentence(problem: Exception) -> str:
    name, value = getattr(problem, "ename", None), getattr(problem, "evalue", None)
    if name:
        return f"{name}: {value}"
    lines = [line for line in str(problem).splitlines() if line.strip("- ")]
    return f"{type(problem).__name__}: {lines[0] if lines else ''}"
