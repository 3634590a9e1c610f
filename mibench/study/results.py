"""Tables of results on disk: Parquet files beside the executed notebooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from mibench import __version__, scenarios
from mibench.errors import MIBenchError
from mibench.store import replacing
from mibench.study.metrics import METRICS

_ANSWERS = ".answers.parquet"
_ROW = ["model", "defence", "scenario", "attack", "seed"]
# What scenario and attack say already.
_IMPLIED = [
    "dataset",
    "label",
    "distribution",
    "distance",
    "differential_distance",
    "withheld_ratio",
    "title",
]
_ORDER = ["model", "seed", "scenario"]
_STAMP = b"mibench"


def save(output: str | Path, results: pd.DataFrame, answers: pd.DataFrame) -> None:
    """Write both tables of :meth:`mibench.study.study.Experiment.run`.

    Parameters
    ----------
    output : path without ending
        ``<output>.parquet`` receives `results`, ``<output>.answers.parquet`` `answers`.
    """
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    for table, ending in ((answers, _ANSWERS), (results, ".parquet")):
        path = output.with_name(output.name + ending)
        with replacing(path) as temporary:
            table.to_parquet(temporary, index=False)


def files(folder: str | Path, dataset: str | None = None) -> list[Path]:
    """Return the files beside executed notebooks that hold results, without those of answers."""
    pattern = f"{dataset or '*'}/*.parquet"
    return sorted(p for p in Path(folder).glob(pattern) if not p.name.endswith(_ANSWERS))


def origin(output: str | Path) -> dict[str, str]:
    """Return what the results written to `output` say of their data and device."""
    path = Path(output).with_suffix(".parquet")
    if not path.exists():
        return {}
    columns = [c for c in ("data_sha256", "device") if c in pq.read_schema(path).names]
    rows = pd.read_parquet(path, columns=columns)
    return {c: ", ".join(sorted(rows[c].dropna().astype(str).unique())) for c in columns}


def collect(folder: str | Path, dataset: str | None = None) -> list[Path]:
    """Gather what lies beside executed notebooks into two Parquet datasets, by dataset.

    ``pd.read_parquet("executed/results")`` and ``pd.read_parquet("executed/answers")`` then read
    all of it. What several notebooks ran alike is kept once, as the newest made it. Only
    datasets of which a file has changed are gathered anew.

    Returns
    -------
    list of Path
        The files of results, one a dataset; those of answers have the same place in ``answers``.
    """
    folder = Path(folder)
    names = sorted({file.parent.name for file in files(folder, dataset)})
    if not names:
        return []
    with FileLock(folder / ".results.lock"):
        found = [_collected(folder, name) for name in names]
        for kind in ("results", "answers"):
            _align(sorted(folder.glob(f"{kind}/*/part.parquet")))
    return found


def load(folder: str | Path, dataset: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read all results and answers below a folder, of one dataset or of all.

    What several notebooks ran alike is kept once; see :func:`collect`.

    Raises
    ------
    MIBenchError
        If there are none.
    """
    found = collect(folder, dataset)
    if not found:
        what = f"of {dataset} " if dataset else ""
        raise MIBenchError(f"no results {what}in {folder}; run mibench run PARAMETERS.yaml first")
    results = pd.concat(map(_with_dataset, found), ignore_index=True)
    answers = pd.concat([_with_dataset(_answers_of(p)) for p in found], ignore_index=True)
    return results, answers


def identity(results: pd.DataFrame) -> list[str]:
    """Return the columns that say what a row is about: all but what was found, when and how."""
    found = {"status", "error", "threshold", "shape_distance", "samples", "seconds", "git_commit"}
    found |= {f"{m}{end}" for m in METRICS for end in ("", "_low", "_high")}
    found |= {"target_train_accuracy", "target_test_accuracy", "target_epsilon"}
    endings = ("_wanted", "_measured", "_version")
    return [c for c in map(str, results.columns) if c not in found and not c.endswith(endings)]


def _collected(folder: Path, dataset: str) -> Path:
    """Return the file of a dataset's results, written anew where a source has changed."""
    sources = files(folder, dataset)
    stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sources]
    stamp = json.dumps([__version__, stats]).encode()
    target = folder / "results" / f"dataset={dataset}" / "part.parquet"
    if target.exists() and (pq.read_schema(target).metadata or {}).get(_STAMP) == stamp:
        return target
    oldest_first = sorted(sources, key=lambda p: p.stat().st_mtime_ns)
    tables = [pd.read_parquet(p) for p in oldest_first]
    together = pd.concat(tables, keys=range(len(tables)), names=["file", "row"]).reset_index("file")
    settings = identity(together.drop(columns="file"))
    results = together.drop_duplicates(settings, keep="last")
    results = results.sort_values([c for c in _ORDER if c in results], kind="stable")
    free = [c for c in settings if c not in _IMPLIED]
    varied = [c for c in free if c == "model" or results[c].nunique(dropna=False) > 1]
    answers = [
        _with_settings(pd.read_parquet(beside), results[results["file"] == i], varied)
        for i, p in enumerate(oldest_first)
        if (beside := p.with_name(p.name.removesuffix(".parquet") + _ANSWERS)).exists()
        and len(pq.read_schema(beside).names)
        and (results["file"] == i).any()
    ]
    # The results last: they hold the stamp by which both are found to be complete.
    _write_part(_answers_of(target), pd.concat(answers) if answers else pd.DataFrame(), stamp)
    _write_part(target, results.drop(columns="file"), stamp)
    return target


def _with_settings(answers: pd.DataFrame, results: pd.DataFrame, varied: list[str]) -> pd.DataFrame:
    """Return the answers that belong to rows of results, with those rows' settings that vary."""
    shared = [c for c in _ROW if c in answers and c in results]
    return answers.merge(results[list(dict.fromkeys([*shared, *varied]))], on=shared)


def _write_part(path: Path, table: pd.DataFrame, stamp: bytes) -> None:
    """Write one dataset's share; its name is that of its folder, as readers of Parquet expect."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = pa.Table.from_pandas(
        table.drop(columns="dataset", errors="ignore"), preserve_index=False
    )
    stamped = content.replace_schema_metadata({**(content.schema.metadata or {}), _STAMP: stamp})
    with replacing(path) as temporary:
        pq.write_table(stamped, temporary)


def _align(parts: list[Path]) -> None:
    """Give the shares of all datasets the same columns: readers take those of the first."""
    own = [pq.read_schema(part) for part in parts]
    common = pa.unify_schemas(
        [schema.remove_metadata() for schema in own], promote_options="permissive"
    )
    for part, schema in zip(parts, own, strict=True):
        if not schema.equals(common):
            table = pa.concat_tables(
                [common.empty_table(), pq.read_table(part, partitioning=None)],
                promote_options="permissive",
            )
            with replacing(part) as temporary:
                pq.write_table(table.replace_schema_metadata(schema.metadata), temporary)


def _answers_of(part: Path) -> Path:
    return part.parents[2] / "answers" / part.parent.name / part.name


def _with_dataset(part: Path) -> pd.DataFrame:
    table = pd.read_parquet(part, partitioning=None)
    if len(table.columns):
        table.insert(0, "dataset", part.parent.name.removeprefix("dataset="))
    return table


def to_json(results: pd.DataFrame) -> str:
    """Return a table as a JSON list of objects, NaN as null."""
    rows: list[dict[str, Any]] = json.loads(results.to_json(orient="records"))
    return json.dumps(rows, indent=1)


def select(table: pd.DataFrame, **setting: str) -> pd.DataFrame:
    """Return the rows of a setting, such as ``model="MLP"``; a column that is absent is one value.

    Raises
    ------
    MIBenchError
        If there are none.
    """
    for column, value in setting.items():
        if column in table:
            table = table[table[column] == value]
    if table.empty:
        raise MIBenchError("no results of " + ", ".join(f"{c} {v}" for c, v in setting.items()))
    return table


def panel(results: pd.DataFrame, dataset: str, question: str) -> pd.DataFrame:
    """Return the rows of a research question's published panel, in its order."""
    ids = [scenario.id for scenario in scenarios.panel(dataset, question)]
    rows = results[(results["dataset"] == dataset) & results["scenario"].isin(ids)]
    return rows.sort_values("scenario", key=lambda s: s.map(ids.index), kind="stable")


def factors(results: pd.DataFrame) -> pd.DataFrame:
    """Return what each scenario was to have and what its target dataset was measured to have."""
    columns = ["scenario", "label", "status", "error"]
    measured = [str(c) for c in results.columns if str(c).endswith(("_wanted", "_measured"))]
    shape = [c for c in ("shape_distance",) if c in results]
    return results[columns + measured + shape].drop_duplicates().set_index("scenario")


def compare(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one metric, attacks down and scenarios across."""
    return results.pivot_table(
        index="title", columns="scenario", values=metric, sort=False, dropna=False
    )


def metrics_table(results: pd.DataFrame) -> pd.DataFrame:
    """Return every metric with its interval as text, attacks down and metrics across."""
    rows = {
        row["title"]: {
            name: f"{row[name]:.3f} [{row[name + '_low']:.3f}, {row[name + '_high']:.3f}]"
            for name in METRICS
            if name in row
        }
        for row in results.to_dict("records")
    }
    return pd.DataFrame.from_dict(rows, orient="index")
