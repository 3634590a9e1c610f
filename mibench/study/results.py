"""Tables of results on disk: Parquet files beside the executed notebooks.

``executed/DATASET/NAME.parquet`` holds the results of the notebook NAME,
``executed/DATASET/answers/NAME.parquet`` its answers, and the metadata of both say of which
dataset they are and which notebook made them. ``executed/results`` and ``executed/answers`` hold
all of them together.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from mibench import __version__, scenarios
from mibench.construction import described
from mibench.errors import MIBenchError
from mibench.setting import Setting
from mibench.store import replacing, safe
from mibench.study.metrics import METRICS

_TOGETHER = ("results", "answers")
_ORDER = ["model", "seed", "scenario"]
_SAID = b"mibench"
# What readers of Parquet and of its metadata raise on damaged files.
_DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException)


def place(folder: str | Path, dataset: str, name: str) -> Path:
    """Return where a notebook's tables lie: the path without ending that :func:`save` takes.

    Unlike names never share a place, whatever letters they hold; a dataset called ``results`` or
    ``answers`` has a folder beside the collected tables of that name.
    """
    return Path(folder) / safe(dataset, _TOGETHER) / safe(name)


def answers_of(output: str | Path) -> Path:
    """Return the file that holds the answers of the results written to `output`."""
    output = Path(output)
    return output.parent / "answers" / f"{output.name}.parquet"


def results_of(output: str | Path) -> Path:
    """Return the file that holds the results written to `output`."""
    output = Path(output)
    return output.with_name(f"{output.name}.parquet")


def save(output: str | Path, results: pd.DataFrame, answers: pd.DataFrame) -> None:
    """Write both tables of :meth:`mibench.study.study.Study.run`.

    Parameters
    ----------
    output : path without ending
        Of :func:`place`; its name is that of the notebook.
    """
    output = Path(output)
    said = {"notebook": output.name}
    if "dataset" in results and len(results):
        said["dataset"] = str(results["dataset"].iloc[0])
    # The results last: where they are, the answers are complete.
    _write(answers_of(output), answers, said)
    _write(results_of(output), results, said)


def belongs_to(file: str | Path) -> Path:
    """Return the `output` that a table's file was written for, by what the file itself says.

    A damaged file, which says nothing, belongs where it lies.
    """
    file = Path(file)
    folder = file.parent.parent if file.parent.name == "answers" else file.parent
    return folder / _said(file).get("notebook", file.name.removesuffix(".parquet"))


def readable(output: str | Path) -> bool:
    """Return whether both tables of `output` are there, complete, and as they were written."""
    try:
        for file in (results_of(output), answers_of(output)):
            _read(file)
            if "sha256" not in _said(file):
                return False
    except _DAMAGED:
        return False
    return True


def files(folder: str | Path, dataset: str | None = None) -> list[Path]:
    """Return the files beside executed notebooks that hold results, without those of answers."""
    below = safe(dataset, _TOGETHER) if dataset else "*"
    found = Path(folder).glob(f"{below}/*.parquet")
    return sorted(p for p in found if p.parent.name not in _TOGETHER)


def origin(output: str | Path) -> dict[str, str]:
    """Return what the results written to `output` say of their data and device."""
    path = results_of(output)
    if not path.exists():
        return {}
    columns = [c for c in ("data_sha256", "device") if c in pq.read_schema(path).names]
    rows = pd.read_parquet(path, columns=columns)
    return {c: ", ".join(sorted(rows[c].dropna().astype(str).unique())) for c in columns}


def collect(folder: str | Path, dataset: str | None = None) -> list[Path]:
    """Gather what lies beside executed notebooks into two Parquet datasets, by dataset.

    ``pd.read_parquet("executed/results")`` and ``pd.read_parquet("executed/answers")`` then read
    all of it. What several notebooks ran alike is kept once, as the newest made it. Damaged
    tables are left out, with a line that says so. Only datasets of which a file has changed are
    gathered anew.

    Returns
    -------
    list of Path
        The files of results, one per dataset; those of answers have the same place in ``answers``.
    """
    folder = Path(folder)
    by_dataset: dict[str, list[Path]] = {}
    for file in files(folder, dataset):
        if readable(belongs_to(file)):
            by_dataset.setdefault(_said(file).get("dataset", file.parent.name), []).append(file)
        else:
            warnings.warn(
                f"{file} or its answers are damaged or of an older version, and left out; run its "
                "parameter file again",
                stacklevel=2,
            )
    if not by_dataset:
        return []
    with FileLock(folder / ".results.lock"):
        found = [_collected(folder, name, of) for name, of in sorted(by_dataset.items())]
        for kind in _TOGETHER:
            _align(sorted(folder.glob(f"{kind}/*/part.parquet")))
    return found


def load(folder: str | Path, dataset: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read all scenarios' results and answers below a folder, of one dataset or of all.

    What several notebooks ran alike is kept once; see :func:`collect`. Rows of the whole pool,
    which no factor describes, are left to :func:`load_pool`.

    Raises
    ------
    MIBenchError
        If there are none.
    """
    found = collect(folder, dataset)
    if not found:
        what = f"of {dataset} " if dataset else ""
        raise MIBenchError(f"no results {what}in {folder}; run mibench run PARAMETERS.yaml first")
    try:
        results = pd.concat(map(_with_dataset, found), ignore_index=True)
        answers = pd.concat([_with_dataset(_beside(p)) for p in found], ignore_index=True)
    except _DAMAGED:
        for kind in _TOGETHER:
            shutil.rmtree(Path(folder) / kind)
        return load(folder, dataset)
    if (results["scenario"] == scenarios.POOL).all():
        raise MIBenchError(f"{folder} holds results on the whole pool alone; run scenarios as well")
    return _selected(results), _selected(answers)


def load_pool(folder: str | Path, dataset: str | None = None) -> pd.DataFrame:
    """Read the results on whole pools (`scenario: pool`) below a folder; possibly none."""
    results = pd.concat(map(_with_dataset, collect(folder, dataset)), ignore_index=True)
    return results[results["scenario"] == scenarios.POOL]


def _selected(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of scenarios that select from the pool."""
    return table[table["scenario"] != scenarios.POOL] if len(table) else table


def identity(results: pd.DataFrame) -> list[str]:
    """Return the columns that say what a row is about: scenario, attack, and every setting."""
    named = {"scenario", "attack", *Setting.model_fields}
    return [c for c in map(str, results.columns) if c in named or c.startswith(("train_", "size_"))]


def setting_of(table: pd.DataFrame) -> list[str]:
    """Return the columns that say what was attacked, whatever the seed.

    Only rows that are alike in these are compared with each other or averaged.
    """
    return [c for c in identity(table) if c not in ("scenario", "attack", "seed")]


def of_setting(answers: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return the answers that have the settings of rows of results."""
    shared = [c for c in setting_of(answers) if c in results]
    return answers.merge(results[shared].drop_duplicates(), on=shared)


def _collected(folder: Path, dataset: str, sources: list[Path]) -> Path:
    """Return the file of a dataset's results, written anew where a source has changed."""
    both = [(p, answers_of(belongs_to(p))) for p in sources]
    stats = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for pair in both for f in pair]
    stamp = {"stamp": json.dumps([__version__, stats])}
    target = folder / "results" / f"dataset={quote(dataset, safe='')}" / "part.parquet"
    if _said(target) == stamp == _said(_beside(target)):
        return target
    both.sort(key=lambda pair: pair[0].stat().st_mtime_ns)
    together = pd.concat([_read(p).assign(file=i) for i, (p, _) in enumerate(both)])
    settings = identity(together)
    results = together.drop_duplicates(settings, keep="last")
    results = results.sort_values([c for c in _ORDER if c in results], kind="stable")
    varied = [c for c in settings if results[c].nunique(dropna=False) > 1 or c == "model"]
    answers = [
        _with_settings(_read(beside), results[results["file"] == i], varied)
        for i, (_, beside) in enumerate(both)
        if len(pq.read_schema(beside).names) and (results["file"] == i).any()
    ]
    # The results last: they hold the stamp by which both are found to be complete.
    for path, table in (
        (_beside(target), pd.concat(answers) if answers else pd.DataFrame()),
        (target, results.drop(columns="file")),
    ):
        # The dataset's name is that of the folder, as readers of Parquet expect.
        _write(path, table.drop(columns="dataset", errors="ignore"), stamp)
    return target


def _with_settings(answers: pd.DataFrame, results: pd.DataFrame, varied: list[str]) -> pd.DataFrame:
    """Return the answers that belong to rows of results, with those rows' settings that vary."""
    shared = [c for c in identity(answers) if c in results and c != "dataset"]
    return answers.merge(results[list(dict.fromkeys([*shared, *varied]))], on=shared)


def _write(path: Path, table: pd.DataFrame, said: dict[str, str]) -> None:
    """Write a table with what it says of itself in its metadata; a notebook's with its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = pa.Table.from_pandas(table, preserve_index=False)
    if "notebook" in said:
        said = {**said, "sha256": _digest(content.to_pandas())}
    metadata = {**(content.schema.metadata or {}), _SAID: json.dumps(said).encode()}
    with replacing(path) as temporary:
        pq.write_table(content.replace_schema_metadata(metadata), temporary)


def _read(path: Path) -> pd.DataFrame:
    """Read a table, or raise one of :data:`_DAMAGED` where it is not as it was written."""
    content = pq.read_table(path, partitioning=None)
    said = json.loads((content.schema.metadata or {}).get(_SAID, b"{}"))
    table: pd.DataFrame = content.to_pandas()
    if said.get("sha256") not in (None, _digest(table)):
        raise ValueError(f"{path} is not as it was written")
    return table


def _digest(table: pd.DataFrame) -> str:
    """Return the digest of a table's names, types and values."""
    digest = hashlib.sha256(repr([*table.dtypes.items()]).encode())
    digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _said(file: Path) -> dict[str, str]:
    """Return what a table says of itself; nothing where it is damaged or not there."""
    try:
        metadata = pq.read_schema(file).metadata or {}
        found: dict[str, str] = json.loads(metadata.get(_SAID, b"{}"))
    except _DAMAGED:
        return {}
    return found


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


def _beside(part: Path) -> Path:
    return part.parents[2] / "answers" / part.parent.name / part.name


def _with_dataset(part: Path) -> pd.DataFrame:
    table = pd.read_parquet(part, partitioning=None)
    if len(table.columns):
        table.insert(0, "dataset", unquote(part.parent.name.removeprefix("dataset=")))
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
    named = "^(scenario|label|status|error|shape_distance)$"
    shown = results.filter(regex=f"{named}|_(wanted|measured)$")
    return shown.drop_duplicates().set_index("scenario")


def uncontrolled(results: pd.DataFrame) -> pd.DataFrame:
    """Return what each target dataset has that no factor controls.

    One row per scenario and seed; see :func:`mibench.construction.described.describe`.
    """
    rows = results.loc[
        results["status"] == "ok", ["scenario", "seed", *scenarios.FACTORS, *described.DESCRIBED]
    ]
    return rows.drop_duplicates().set_index("scenario")


def cautions(results: pd.DataFrame) -> list[str]:
    """Return in words what else the factors moved.

    See :func:`mibench.construction.described.warnings`.
    """
    rows: list[Any] = uncontrolled(results).to_dict("records")
    return described.warnings(rows)


def within(
    results: pd.DataFrame, factor: str, metric: str = "ma", by: Sequence[str] = ("attack",)
) -> pd.DataFrame:
    """Average a metric at each level of a factor, all else equal.

    Not every level of one factor was run with every level of the others (low differential
    distances go with small withheld ratios), so that a plain mean over a factor's level would
    differ by what it was run with (Simpson's paradox). Here a cell is what differs in `factor`
    alone; cells that lack a level are left out, and each level's mean is over the same cells.

    Parameters
    ----------
    results : DataFrame
    factor : str
        One of :data:`mibench.scenarios.FACTORS`, or a setting such as ``seed``.
    metric : str
    by : sequence of str
        What the averages are told apart by.

    Returns
    -------
    DataFrame
        One row per value of `by`, one column per level, and `cells`, how many were averaged.

    Raises
    ------
    MIBenchError
        If no cell has every level.
    """
    rows = _selected(results[results["status"] == "ok"])
    named = [c for c in identity(rows) if c != "scenario"]
    fixed = [c for c in dict.fromkeys([*by, *named, *scenarios.FACTORS]) if c in rows]
    cells = rows.pivot_table(
        index=[c for c in fixed if c != factor and rows[c].notna().all()],
        columns=factor,
        values=metric,
    ).dropna()
    if cells.empty:
        raise MIBenchError(
            f"nothing differs in {factor.replace('_', ' ')} alone at all of its levels; run more "
            "scenarios"
        )
    means = cells.groupby(level=list(by), sort=False).mean()
    return means.assign(cells=cells.groupby(level=list(by)).size())


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
            if row[name] == row[name]
            else metric.absent
            for name, metric in METRICS.items()
            if name in row
        }
        for row in results.to_dict("records")
    }
    return pd.DataFrame.from_dict(rows, orient="index")
