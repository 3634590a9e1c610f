"""Tables of results on disk: Parquet files beside the executed notebooks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from mibench import scenarios
from mibench.errors import MIBenchError
from mibench.metrics import METRICS

_ANSWERS = ".answers.parquet"
_IDENTITY = ["dataset", "model", "defence", "seed", "scenario", "attack"]


def save(output: str | Path, results: pd.DataFrame, answers: pd.DataFrame) -> None:
    """Write both tables of :meth:`mibench.experiment.Experiment.run`.

    Parameters
    ----------
    output : path without ending
        ``<output>.parquet`` receives `results`, ``<output>.answers.parquet`` `answers`.
    """
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    for table, ending in ((answers, _ANSWERS), (results, ".parquet")):
        path = output.with_name(output.name + ending)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        table.to_parquet(temporary, index=False)
        temporary.replace(path)


def files(folder: str | Path, dataset: str | None = None) -> list[Path]:
    """Return the files that hold results, without those of answers."""
    pattern = f"{dataset or '*'}/*.parquet"
    return sorted(p for p in Path(folder).glob(pattern) if not p.name.endswith(_ANSWERS))


def load(folder: str | Path, dataset: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read all results and answers below a folder, of one dataset or of all.

    What several notebooks ran alike is kept once.

    Raises
    ------
    MIBenchError
        If there are none.
    """
    found = files(folder, dataset)
    if not found:
        what = f"of {dataset} " if dataset else ""
        raise MIBenchError(f"no results {what}in {folder}; run mibench run PARAMETERS.yaml first")
    results = pd.concat([pd.read_parquet(p) for p in found], ignore_index=True)
    beside = [p.with_name(p.name.removesuffix(".parquet") + _ANSWERS) for p in found]
    answers = pd.concat([pd.read_parquet(p) for p in beside if p.exists()], ignore_index=True)
    return _latest(results, _IDENTITY), _latest(answers, [*_IDENTITY, "sample"])


def _latest(table: pd.DataFrame, identity: list[str]) -> pd.DataFrame:
    """Return the last of equal rows; a table of an older version may lack a column."""
    known = [column for column in identity if column in table]
    return table.drop_duplicates(known, keep="last", ignore_index=True) if known else table


def to_json(results: pd.DataFrame) -> str:
    """Return a table as a JSON list of objects, NaN as null."""
    rows: list[dict[str, Any]] = json.loads(results.to_json(orient="records"))
    return json.dumps(rows, indent=1)


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
