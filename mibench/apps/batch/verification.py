"""Verification: executed notebooks are executed again and their numbers compared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pandas as pd

from mibench.apps.batch import kernels
from mibench.apps.batch.execution import execute
from mibench.apps.batch.notebooks import read_metadata
from mibench.errors import MIBenchError
from mibench.setting import Place
from mibench.study import parquet


@dataclass(frozen=True)
class Verdict:
    """What became of an executed notebook's numbers.

    Attributes
    ----------
    notebook : Path
    differs : dict of str to str
        What differs, by column, and by how much; empty where the numbers are the same.
    versions : dict of str to tuple
        Versions, device, commit and source that are not those of the first execution: (then, now).
    """

    notebook: Path
    differs: dict[str, str]
    versions: dict[str, tuple[str, str]]


def verify(paths: list[Path], data_dir: Path | None = None, retrain: bool = False) -> list[Verdict]:
    """Execute notebooks again, with their own parameters and code, and compare every number.

    Parameters
    ----------
    paths : list of Path
        Executed notebooks, tables of results beside them, or folders of them.
    data_dir : Path, optional
        Where the published files lie now, if not where they did.
    retrain : bool
        Whether the models, too, are trained anew, in place of those in the cache.

    Raises
    ------
    MIBenchError
        If there is nothing to verify at a path.
    """
    return [_verify(notebook, data_dir, retrain) for p in paths for notebook in _notebooks(p)]


def _notebooks(path: Path) -> Iterator[Path]:
    output = parquet.belongs_to(path) if path.suffix == ".parquet" else path.with_suffix("")
    listed = [output.with_name(f"{output.name}.ipynb")]
    if path.is_dir():
        listed = sorted(path.rglob("[!.]*.ipynb"))
    found = [p for p in listed if p.exists() and parquet.results_of(p.with_suffix("")).exists()]
    if not found:
        there = any(p.exists() for p in (path, *listed))
        lacks = "holds no results to verify" if there else "is not there"
        raise MIBenchError(
            f"{path} {lacks}; give an executed notebook that has its table beside it, of "
            "executed/DATASET/"
        )
    yield from found


def _verify(notebook: Path, data_dir: Path | None, retrain: bool) -> Verdict:
    made = read_metadata(notebook)
    if made.get("status") != "completed":
        raise MIBenchError(f"{notebook} was not completed by a batch; run its parameter file again")
    if not (beside := parquet.answers_of(notebook.with_suffix(""))).exists():
        raise MIBenchError(f"{beside} is missing; run its parameter file again")
    parameters = dict(nbformat.read(notebook, as_version=4).metadata.papermill.parameters)
    kernels.use_forked_kernels(made["threads"], map(Path, made["plugins"]))
    with tempfile.TemporaryDirectory(dir=kernels.private_folder()) as folder:
        parameters["output"] = str(Path(folder) / "again")
        place = dict(parameters.get("place", {}))
        place |= {} if data_dir is None else {"data_dir": str(data_dir)}
        parameters["place"] = place | {"cache_dir": str(Path(folder) / "cache")}
        if not retrain:
            _take(Place.read(place).cache_dir, Path(folder) / "cache")
        again = Path(folder) / "again.ipynb"
        error, _ = execute(notebook, again, parameters, None)
        if error:
            return Verdict(notebook, {"error": error}, {})
        outputs = [p.with_suffix("") for p in (notebook, again)]
        before, now = (pd.read_parquet(parquet.results_of(output)) for output in outputs)
        answers = [pd.read_parquet(parquet.answers_of(output)) for output in outputs]
    origin = ("git_commit", "device", "code")
    how = [c for c in map(str, before) if c.endswith("_version") or c in origin]
    versions = {
        c: (str(before[c].iloc[0]), str(now[c].iloc[0]))
        for c in how
        if c in now and not before[c].equals(now[c])
    }
    differs = differences(before.drop(columns=[*how, "seconds"], errors="ignore"), now)
    differs |= {f"answers: {c}": text for c, text in differences(*answers).items()}
    return Verdict(notebook, differs, versions)


def _take(cache: Path, other: Path) -> None:
    """Let a cache have all that another one has, but for what attacks answered."""
    other.mkdir()
    for kept in cache.absolute().glob("*"):
        if kept.name != "scores":
            (other / kept.name).symlink_to(kept)


def differences(before: pd.DataFrame, now: pd.DataFrame) -> dict[str, str]:
    """Return the columns of `before` that are not exactly the same in `now`, and by how much."""
    if len(before) != len(now):
        return {"rows": f"{len(before)} before, {len(now)} now"}
    found = {column: "missing now" for column in map(str, before) if column not in now}
    for column in (c for c in map(str, before) if c in now and not before[c].equals(now[c])):
        old, new = before[column], now[column]
        found[column] = f"in {(old.astype(str) != new.astype(str)).sum()} rows"
        if pd.api.types.is_numeric_dtype(old) and pd.api.types.is_numeric_dtype(new):
            apart = (old.astype(float) - new.astype(float)).abs().max()
            found[column] = f"by up to {apart:.3g}"
    return found
