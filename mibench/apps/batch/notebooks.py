"""Notebooks of a batch: what one declares and is made from; what is done is not repeated."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from mibench import code
from mibench.apps.batch import jobs
from mibench.apps.batch.jobs import Outcome, Tell
from mibench.attacks.base import parse
from mibench.errors import MIBenchError
from mibench.setting import Place, Setting
from mibench.study import parquet
from mibench.study.provenance import provenance, sources

# Where something lies says nothing about what it is.
_PLACES = ("place", "output", "results", "figures")


@dataclass(frozen=True)
class Source:
    """What a notebook says of itself.

    Attributes
    ----------
    declared : dict
        The names that its first cell tagged `parameters` assigns, with their values; Ellipsis
        stands for a value that is no plain one.
    digest : str
        Of its code cells.
    uses : frozenset of str
        The modules of this package that it imports.
    """

    declared: dict[str, Any]
    digest: str
    uses: frozenset[str]


def read(path: Path) -> Source:
    """Return what a notebook says of itself; it is not run.

    Raises
    ------
    MIBenchError
        If it is no notebook, not in Python, or its parameters cell is no Python.
    """
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, _: int) -> Source:
    try:
        # Read as JSON where that serves, since nbformat takes two seconds to load.
        made = json.loads(path.read_bytes())
        if made.get("nbformat") != 4:
            import nbformat

            made = nbformat.read(path, as_version=4)
        cells = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
        texts = ["".join(cell["source"]) for cell in cells]
        tags = [cell["metadata"].get("tags", []) for cell in cells]
        tagged = [t for t, said in zip(texts, tags, strict=True) if "parameters" in said]
        kernel, info = (made["metadata"].get(k, {}) for k in ("kernelspec", "language_info"))
        language = kernel.get("language") or info.get("name", "python")
    except OSError:
        raise
    except Exception as error:  # a broken file makes the reader raise anything
        raise MIBenchError(f"{path} is no notebook ({jobs.sentence(error)})") from None
    if language != "python":
        raise MIBenchError(f"{path} is written in {language}; a batch runs notebooks in Python")
    declared: dict[str, Any] = {}
    try:
        for statement in _parsed(tagged[0]).body if tagged else []:
            declared |= _assigned(statement)
    except SyntaxError as error:
        raise MIBenchError(f"{path}: its parameters cell is no Python: {error.msg}") from None
    used: set[str] = set()
    for text in texts:
        try:
            used |= set(code.imports(_parsed(text)))
        except SyntaxError:  # its cell will say so
            continue
    return Source(declared, hashlib.sha256(repr(texts).encode()).hexdigest(), frozenset(used))


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError:  # perhaps a magic command
        from IPython.core.inputtransformer2 import TransformerManager

        return ast.parse(TransformerManager().transform_cell(text))


def _assigned(statement: ast.stmt) -> dict[str, Any]:
    """Return the names that a statement assigns and their values, Ellipsis where not plain."""
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)):
        return {}
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    try:
        value = ast.literal_eval(statement.value) if statement.value else ...
    except (ValueError, TypeError, MemoryError, RecursionError):
        value = ...
    found = {t.id: value for t in targets if isinstance(t, ast.Name)}
    several = [t for t in targets if isinstance(t, (ast.Tuple, ast.List))]
    return found | {n.id: ... for t in several for n in t.elts if isinstance(n, ast.Name)}


@dataclass(frozen=True)
class Task:
    """One execution of one notebook.

    Attributes
    ----------
    notebook : Path
    output : Path
        The executed notebook; its results go beside it.
    parameters : dict
        The values that it is given in place of its own.
    place : Place
    setting : Setting or None
        What it measures; None of one that measures nothing by itself.
    attacks : tuple of str
        The labels of the attacks that it runs.
    reads : Path or None
        The folder of results that it draws from, and of which dataset.
    dataset : str or None
        The dataset whose results it reads, None for all.
    time_limit : int or None
        Seconds that one cell may take.
    data : str or None
        The dataset's checksum, None where it is pinned by the package itself.
    """

    notebook: Path
    output: Path
    parameters: dict[str, Any]
    place: Place
    setting: Setting | None = None
    attacks: tuple[str, ...] = ()
    reads: Path | None = None
    dataset: str | None = None
    time_limit: int | None = None
    data: str | None = None

    @property
    def name(self) -> str:
        """The executed notebook's path below the folder of all."""
        return f"{self.output.parent.name}/{self.output.stem}"

    @property
    def alike(self) -> list[tuple[str, ...]]:
        """Names of what its time can be estimated from, the most similar first."""
        kind = "notebook", self.notebook.stem
        return [(*kind, self.output.parent.name), kind]

    @property
    def files(self) -> list[Path]:
        """The executed notebook and its tables."""
        return files_of(self.output)

    def draws_from(self, other: Task) -> bool:
        """Return whether it reads results that another task makes."""
        makes = other.reads is None and "output" in other.parameters
        return self.reads is not None and makes and self.dataset in (None, other.dataset)

    def made_from(self) -> dict[str, Any]:
        """Return everything that the executed notebook depends on, by name.

        One that measures depends on the source of the stages and of its attacks, any other on what
        it imports of this package.
        """
        source = read(self.notebook)
        found = {f"parameter {k}": v for k, v in self.parameters.items() if k not in _PLACES}
        if self.setting is not None:
            found.pop("parameter setting", None)
            found |= self.setting.model_dump()
            found["parameter attacks"] = self.attacks
            found |= sources(self.setting, parse(self.attacks))
        else:
            found |= code.digests(*source.uses)
        if self.reads is not None:
            read_files = parquet.files(self.reads, self.dataset)
            digests = [(f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in read_files]
            found["results"] = hashlib.sha256(repr(digests).encode()).hexdigest()
        found[f"notebook {self.notebook.name}"] = source.digest
        plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
        return plain

    def stale(self) -> list[str]:
        """Return in words what is not as the notebook's execution left it; empty if all is."""
        if not (made := read_metadata(self.output)):
            return [f"{self.output.name} cannot be read"]
        changed = [
            f"{c} changed" for c in code.changed(made.get("made_from", {}), self.made_from())
        ]
        if self.data and made.get("data_sha256", self.data) != self.data:
            changed.append("the dataset changed")
        if "output" in self.parameters and (wrong := parquet.wrong(self.output.with_suffix(""))):
            changed.append(wrong)
        return changed

    def is_done(self) -> bool:
        """Return whether the output is there, complete, and made from what is there now."""
        return read_metadata(self.output).get("status") == "completed" and not self.stale()

    def state(self) -> str:
        """Return "done", "failed", "running", "stale" or "waiting"."""
        if jobs.is_held(self._lock):
            return "running"
        if not self.output.exists():
            return "waiting"
        if read_metadata(self.output).get("status") == "failed":
            return "failed"
        return "stale" if self.stale() else "done"

    def skipped(self) -> Outcome:
        """Return the outcome of a task that was done before."""
        return Outcome(self.name, "skipped", read_metadata(self.output).get("seconds", 0.0), 0)

    def run(self, threads: int, tell: Tell) -> Outcome:
        """Execute the notebook in a kernel of `threads` threads, unless it is done already.

        It is written under a temporary name and renamed when it is through; one that failed is
        kept with its error and runs again next time. What another batch is executing is waited
        for, not executed twice.

        Raises
        ------
        DiskFull
        """
        from mibench.apps.batch import kernels

        self.place.load_plugins()
        kernels.use_forked_kernels(threads, self.place.plugins)
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._lock):
                return self.skipped() if self.is_done() else self._execute(threads, tell)
        except OSError as problem:
            jobs.stop_if_full(str(problem), self.name)
            raise

    @property
    def _lock(self) -> Path:
        return self.output.with_name(f".{self.output.stem}.lock")

    @property
    def _running(self) -> Path:
        return self.output.with_name(f".{self.output.stem}.running.ipynb")

    def _clear(self) -> None:
        """Remove what an earlier run made, so that no number outlives the code that made it."""
        for file in (*self.files, self._running):
            name = re.compile(rf"\.{re.escape(file.name)}\.\d+\.tmp")
            left = [f for f in file.parent.glob(".*.tmp") if name.fullmatch(f.name)]
            for old in (file, *left):
                old.unlink(missing_ok=True)

    def _execute(self, threads: int, tell: Tell) -> Outcome:
        # It takes seconds to load, and what is done is told without.
        from mibench.apps.batch.execution import execute, finish

        self._clear()
        made_from, given = self.made_from(), (self.notebook, self._running, self.parameters)
        outcome = jobs.attempt(self.name, tell, lambda: execute(*given, self.time_limit))
        if self._running.exists():
            noted = {
                **{k: getattr(outcome, k) for k in ("error", "seconds", "tries")},
                "notebook": self.notebook.stem,
                "status": "failed" if outcome.error else "completed",
                "threads": threads,
                "plugins": [str(file) for file in self.place.plugins],
                "made_from": made_from,
                **parquet.origin(self.output.with_suffix("")),
                **provenance(),
            }
            finish(self._running, outcome.error, noted)
            self._running.replace(self.output)
        return outcome


def files_of(executed: Path) -> list[Path]:
    """Return an executed notebook and its tables, which are these and no others."""
    output = executed.with_suffix("")
    return [executed, parquet.results_of(output), parquet.answers_of(output)]


def read_metadata(notebook: Path) -> dict[str, Any]:
    """Return what a batch noted in an executed notebook, nothing where it cannot be read."""
    found = jobs.read_json(notebook).get("metadata")
    noted = found.get("mibench") if isinstance(found, dict) else None
    return noted if isinstance(noted, dict) else {}
