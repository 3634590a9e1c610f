"""A user's own data: image folders, .npz arrays, CSV and Parquet tables."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.datasets.base import Parsed
from mibench.datasets.files import Files, is_archive, stem
from mibench.datasets.images import image_folder
from mibench.errors import MIBenchError

TABLES = (".csv", ".parquet")
_MOST_TEXTS = 100


def split_column(text: str) -> tuple[Path, str]:
    """Return path and label column of `PATH` or `PATH::COLUMN`."""
    path, _, column = text.partition("::")
    return Path(path).expanduser(), column or "label"


def own_name(text: str) -> str:
    """Return the name of a user's dataset: its path's stem in letters, digits and underscores."""
    return re.sub(r"\W+", "_", stem(split_column(text)[0])).strip("_") or "own"


def read(files: Files, column: str) -> Parsed:
    """Read a user's data by what its path is.

    Raises
    ------
    MIBenchError
        If it is of no known form, or what it holds cannot serve.
    """
    path = files.path
    if path.is_dir() or is_archive(path):
        parsed = image_folder(files)
    elif path.suffix == ".npz":
        parsed = _npz(path)
    elif path.suffix in TABLES:
        parsed = _table(path, column)
    else:
        raise MIBenchError(
            f"{path} is no image folder, archive of one, .npz, .csv or .parquet file"
        )
    if len(np.unique(parsed.labels)) < 2:
        raise MIBenchError(f"{path} holds one class only; give at least two")
    return parsed


def _npz(path: Path) -> Parsed:
    try:
        with np.load(path, allow_pickle=False) as file:
            if missing := {"inputs", "labels"} - set(file.files):
                raise MIBenchError(
                    f"{path} holds no array {min(missing)!r}, only {', '.join(file.files)}"
                )
            inputs, labels = file["inputs"], file["labels"]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise MIBenchError(f"{path} is not a readable .npz file ({error})") from None
    if labels.ndim != 1 or len(labels) != len(inputs) or inputs.dtype.kind not in "buif":
        raise MIBenchError(
            f"{path}: inputs {inputs.dtype}{inputs.shape} and labels {labels.shape} do not go "
            "together; give numbers (n, ...) and (n,)"
        )
    classes = _classes(path, labels)
    if inputs.ndim == 2:
        return _records(path, inputs, [str(i) for i in range(inputs.shape[1])], classes)
    if inputs.ndim == 3:
        inputs = inputs[:, None]
    elif inputs.ndim == 4 and inputs.shape[1] not in (1, 3) and inputs.shape[3] in (1, 3):
        inputs = inputs.transpose(0, 3, 1, 2)
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
        raise MIBenchError(
            f"{path}: inputs have shape {inputs.shape}; records are (n, features), images "
            "(n, height, width), (n, channels, height, width) or (n, height, width, channels)"
        )
    if inputs.dtype != np.uint8:
        inputs = inputs.astype(np.float32)
        # The comparison is false for NaN too.
        if not (inputs.min() >= 0 and inputs.max() <= 1):
            raise MIBenchError(f"{path}: images must be uint8, or numbers in [0, 1]")
    return Parsed(np.ascontiguousarray(inputs), classes, "image")


def _table(path: Path, column: str) -> Parsed:
    import pandas as pd

    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise MIBenchError(f"{path} is not a readable {path.suffix} file ({reason})") from None
    columns = [str(c) for c in table.columns]
    table.columns = pd.Index(columns)
    if column not in columns:
        raise MIBenchError(
            f"{path} has no label column {column!r}; name one as {path}::COLUMN of "
            f"{', '.join(columns)}"
        )
    labels = table.pop(column)
    if labels.isna().any():
        raise MIBenchError(f"{path}: label column {column!r} has empty cells; fill or drop them")
    for name in table:
        if table[name].isna().any():
            raise MIBenchError(f"{path}: column {name!r} has empty cells; fill or drop them")
        is_text = not pd.api.types.is_numeric_dtype(table[name])
        if is_text and table[name].nunique() > _MOST_TEXTS:
            raise MIBenchError(
                f"{path}: column {name!r} has {table[name].nunique()} different texts; drop or "
                "encode it"
            )
    features = pd.get_dummies(table, dtype=np.uint8)
    return _records(
        path, features.to_numpy(), list(features.columns), _classes(path, labels.to_numpy())
    )


def _classes(path: Path, labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.dtype.kind == "f" and not (labels == np.round(labels)).all():
        raise MIBenchError(f"{path}: labels are fractions; give classes")
    if labels.dtype.kind not in "biufUSO":
        raise MIBenchError(f"{path}: labels are of type {labels.dtype}; give numbers or texts")
    return np.unique(
        labels.astype(str) if labels.dtype.kind == "O" else labels, return_inverse=True
    )[1].astype(np.int64)


def _records(
    path: Path, values: NDArray[Any], columns: list[str], labels: NDArray[np.int64]
) -> Parsed:
    """Keep bits as they are; scale each column of anything else to [0, 1]."""
    if not values.size:
        raise MIBenchError(f"{path} holds no features")
    if np.isin(values, (0, 1)).all():
        return Parsed(values.astype(np.uint8), labels, "binary")
    values = values.astype(np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    if not np.isfinite(low + high).all():
        bad = columns[int(np.flatnonzero(~np.isfinite(low + high))[0])]
        raise MIBenchError(f"{path}: column {bad!r} holds numbers that are not finite")
    span = np.where(high > low, high - low, 1)
    return Parsed(((values - low) / span).astype(np.float32), labels, "real")
