"""Tables of results: written, gathered, read together, selected and averaged.

``executed/results`` and ``executed/answers`` hold what lies beside all executed notebooks; see
:mod:`mibench.study.parquet`.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from mibench import __version__, scenarios
from mibench.catalogue import meant
from mibench.construction import described
from mibench.errors import MIBenchError
from mibench.setting import Setting
from mibench.store import check_folders, unwritable
from mibench.study import parquet
from mibench.study.metrics import METRICS

_ORDER = ["model", "seed", "scenario"]
# Of tables that lack columns, or whose whole numbers are of several sizes.
_PROMOTE = "permissive"


def save(output: str | Path, results: pd.DataFrame, answers: pd.DataFrame) -> None:
    """Write both tables of :meth:`mibench.study.study.Study.run`.

    Parameters
    ----------
    output : path without ending
        Of :func:`mibench.study.parquet.place`; its name is that of the notebook. :func:`load`
        takes it, too.
    """
    output = Path(output)
    said = {"notebook": output.name}
    if "dataset" in results and len(results):
        said["dataset"] = str(results["dataset"].iloc[0])
    # The results last: where they are, the answers are complete.
    for file, table in (
        (parquet.answers_of(output), answers),
        (parquet.results_of(output), results),
    ):
        # Categories, as of tables that were loaded, come back from Parquet as another type.
        plain = table.astype(dict.fromkeys(table.select_dtypes("category"), "str"))
        parquet.write(file, pa.Table.from_pandas(plain, preserve_index=False), said)


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
    return _collect(_sources(Path(folder), dataset), Path(folder))


def _sources(folder: Path, dataset: str | None) -> dict[str, list[Path]]:
    """Return the files of results below a folder, or the one of an `output`, by dataset."""
    alone = [] if folder.is_dir() else [parquet.results_of(folder)]
    found: dict[str, list[Path]] = {}
    for file in parquet.files(folder, dataset) or filter(Path.is_file, alone):
        found.setdefault(parquet.said(file).get("dataset", file.parent.name), []).append(file)
    return found


def _collect(sources: dict[str, list[Path]], into: Path) -> list[Path]:
    if not sources:
        return []
    check_folders(into / kind for kind in parquet.TOGETHER)
    with FileLock(into / ".results.lock"):
        made = [_collected(into, name, of) for name, of in sorted(sources.items())]
        for kind in parquet.TOGETHER:
            _align(sorted(into.glob(f"{kind}/*/part.parquet")))
    return [part for part in made if part]


def load(folder: str | Path, dataset: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read all scenarios' results and answers below a folder, of one dataset or of all.

    What several notebooks ran alike is kept once; see :func:`collect`. Rows of the whole pool,
    which no factor describes, are left to :func:`load_all`.

    Parameters
    ----------
    folder : path
        Of executed notebooks, or an `output` of :func:`save`, of which its tables are read. Where
        it cannot be written, what is not gathered there is gathered elsewhere for the time.
    dataset : str, optional

    Returns
    -------
    results, answers : DataFrame
        Texts of the answers, of which there are millions, are categories.

    Raises
    ------
    MIBenchError
        If there are none.
    """
    return load_all(folder, dataset)[:2]


def load_all(
    folder: str | Path, dataset: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read what :func:`load` does, and the results on whole pools (`scenario: pool`) if any."""
    folder = Path(folder)
    sources = _sources(folder, dataset)
    if not sources:
        what = f"of {dataset} " if dataset else ""
        hint = meant(dataset, _sources(folder, None))
        raise MIBenchError(
            f"no results {what}in {folder}; {hint}run mibench run PARAMETERS.yaml first"
        )
    places = (folder, *(folder / kind for kind in parquet.TOGETHER))
    blocked = not folder.is_dir() or any(map(unwritable, places))
    with TemporaryDirectory() if blocked else nullcontext(folder) as made:
        states = {name: _states(of) for name, of in sources.items()} if blocked else {}
        found = _current(folder, states) if blocked else []
        if not (found := found or _collect(sources, Path(made))):
            raise MIBenchError(f"no table in {folder} can be read; run its parameter file again")
        try:
            results, answers = _read_parts(found)
        except parquet.DAMAGED:
            for kind in parquet.TOGETHER:
                shutil.rmtree(Path(made) / kind, ignore_errors=True)
            results, answers = _read_parts(_collect(sources, Path(made)))
    if (results["scenario"] == scenarios.POOL).all():
        raise MIBenchError(f"{folder} holds results on the whole pool alone; run scenarios as well")
    return _selected(results), answers, results[results["scenario"] == scenarios.POOL]


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
    of = np.zeros(len(answers), dtype=bool)
    for _, setting in results[shared].drop_duplicates().iterrows():
        alike = [(answers[c] == v) | (answers[c].isna() & pd.isna(v)) for c, v in setting.items()]
        of |= np.logical_and.reduce(alike)
    return answers[of]


def _collected(folder: Path, dataset: str, sources: list[Path]) -> Path | None:
    """Return the file of a dataset's results, written anew where a source has changed.

    None where all sources are damaged.
    """
    target, states = _part(folder, dataset), _states(sources)
    if _current(folder, {dataset: states}):
        return target
    rows: list[pd.DataFrame] = []
    whole: list[Path] = []
    left_out: list[str] = []
    for file in sorted(sources, key=lambda file: file.stat().st_mtime_ns):
        if wrong := parquet.wrong(parquet.belongs_to(file)):
            # No stamp holds it, so that this is said every time.
            del states[file]
            left_out.append(f"{file.parent}/{wrong}")
        else:
            rows.append(pd.read_parquet(file, partitioning=None).assign(file=len(whole)))
            whole.append(file)
    if left_out:
        more = f" with {len(left_out) - 1} more" if left_out[1:] else ""
        warnings.warn(
            f"{min(left_out)}, and left out{more}; run the parameter file again", stacklevel=4
        )
    if not rows:
        return None
    results = pd.concat(rows)
    # Hundreds of small tables take more than the one that holds them.
    rows.clear()
    settings = identity(results)
    results = results.drop_duplicates(settings, keep="last")
    results = results.sort_values([c for c in _ORDER if c in results], kind="stable")
    varied = [c for c in settings if results[c].nunique(dropna=False) > 1 or c == "model"]
    answers, by_file = [pa.table({})], results.groupby("file")
    for i, beside in enumerate(parquet.answers_of(parquet.belongs_to(file)) for file in whole):
        if i in by_file.groups and len(pq.read_schema(beside).names):
            found = pd.read_parquet(beside, partitioning=None)
            found = found.drop(columns="dataset", errors="ignore")
            answers.append(_encoded(_with_settings(found, by_file.get_group(i), varied)))
            _give_back()
    # The results last: they hold the stamp by which both are found to be complete. The dataset's
    # name is that of the folder, as readers of Parquet expect.
    stamp = _stamp(states)
    parquet.write(_beside(target), pa.concat_tables(answers, promote_options=_PROMOTE), stamp)
    kept = results.drop(columns=["file", "dataset"], errors="ignore")
    parquet.write(target, pa.Table.from_pandas(kept, preserve_index=False), stamp)
    answers.clear()
    _give_back()
    return target


def _give_back() -> None:
    """Let the system have the memory that Arrow keeps for later, which is half of what it uses."""
    pa.default_memory_pool().release_unused()


def _part(folder: Path, dataset: str) -> Path:
    return folder / "results" / f"dataset={quote(dataset, safe='')}" / "part.parquet"


def _current(folder: Path, states: dict[str, dict[Path, Any]]) -> list[Path]:
    """Return the files of datasets' results where all were made from what is there now."""
    parts = [_part(folder, name) for name in sorted(states)]
    stamps = [_stamp(of) for _, of in sorted(states.items())]
    both = (parts, map(_beside, parts))
    return parts if all([*map(parquet.said, files)] == stamps for files in both) else []


def _states(sources: list[Path]) -> dict[Path, Any]:
    return {
        file: [_state(file), _state(parquet.answers_of(parquet.belongs_to(file)))]
        for file in sources
    }


def _state(file: Path) -> list[str | int]:
    """Return a file's name, size and time, by which a change is seen."""
    found = file.stat() if file.exists() else None
    return [file.name, found.st_size, found.st_mtime_ns] if found else [file.name]


def _stamp(states: dict[Path, Any]) -> dict[str, str]:
    return {"stamp": json.dumps([__version__, [*states.values()]])}


def _with_settings(answers: pd.DataFrame, results: pd.DataFrame, varied: list[str]) -> pd.DataFrame:
    """Return the answers that belong to rows of results, with those rows' settings that vary."""
    shared = [c for c in identity(answers) if c in results]
    return answers.merge(results[list(dict.fromkeys([*shared, *varied]))], on=shared)


def _encoded(answers: pd.DataFrame) -> pa.Table:
    """Return answers whose texts, each repeated thousands of times, are numbers of a list."""
    table = pa.Table.from_pandas(answers, preserve_index=False).replace_schema_metadata(None)
    for i, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            table = table.set_column(i, field.name, table[i].dictionary_encode())
    return table


def _align(parts: list[Path]) -> None:
    """Give the shares of all datasets the same columns: readers take those of the first."""
    own = [pq.read_schema(part) for part in parts]
    common = pa.unify_schemas(
        [schema.remove_metadata() for schema in own], promote_options=_PROMOTE
    )
    for part, schema in zip(parts, own, strict=True):
        if not schema.equals(common):
            table = pa.concat_tables(
                [common.empty_table(), pq.read_table(part, partitioning=None)],
                promote_options=_PROMOTE,
            )
            parquet.write(part, table.replace_schema_metadata(schema.metadata), parquet.said(part))


def _beside(part: Path) -> Path:
    return part.parents[2] / "answers" / part.parent.name / part.name


def _dataset(part: Path) -> str:
    return unquote(part.parent.name.removeprefix("dataset="))


def _with_dataset(part: Path) -> pd.DataFrame:
    table = pd.read_parquet(part, partitioning=None, page_checksum_verification=True)
    if len(table.columns):
        table.insert(0, "dataset", _dataset(part))
    return table


def _read_parts(parts: list[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    results = pd.concat(map(_with_dataset, parts), ignore_index=True)
    return results, _answers([_beside(part) for part in parts])


def _answers(parts: list[Path]) -> pd.DataFrame:
    """Read the answers on scenarios of all parts, texts as categories in their order.

    Column by column, as memory would hold millions of rows twice.
    """
    files = [pq.ParquetFile(part, page_checksum_verification=True) for part in parts]
    names = files[0].schema_arrow.names
    if not names:
        return pd.DataFrame()
    kept = [pc.not_equal(file.read(["scenario"])[0], scenarios.POOL) for file in files]
    each = [pc.sum(rows, min_count=0).as_py() for rows in kept]
    texts = pd.CategoricalDtype([_dataset(part) for part in parts])
    which = np.repeat(np.arange(len(parts), dtype=np.int32), each)
    columns = {"dataset": pd.Series(pd.Categorical.from_codes(which, dtype=texts))}
    for name in names:
        read = [file.read([name])[0] for file in files]
        if len(which) < sum(map(len, read)):
            read = [own.filter(rows) for own, rows in zip(read, kept, strict=True)]
        column = pa.chunked_array([chunk for own in read for chunk in own.chunks], read[0].type)
        values = column.unify_dictionaries().to_pandas()
        if isinstance(values.dtype, pd.CategoricalDtype):
            # The pool's own scenario, among others, is no longer there.
            values = values.cat.set_categories(sorted(values.unique().dropna()))
        columns[name] = values
        _give_back()
    return pd.DataFrame(columns, copy=False)


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
            name: f"{row[name]:z.3f} [{row[name + '_low']:z.3f}, {row[name + '_high']:z.3f}]"
            if row[name] == row[name]
            else metric.absent
            for name, metric in METRICS.items()
            if name in row
        }
        for row in results.to_dict("records")
    }
    return pd.DataFrame.from_dict(rows, orient="index")
