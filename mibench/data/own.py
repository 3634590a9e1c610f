"""A user's own data: image folders, .npz arrays, CSV and Parquet tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mibench.data.base import Parsed
from mibench.data.files import Files, is_archive, stem
from mibench.data.images import image_folder
from mibench.errors import MIBenchError

if TYPE_CHECKING:
    import pandas as pd

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
    elif path.suffix.lower() == ".npz":
        parsed = _npz(path)
    elif path.suffix.lower() in TABLES:
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
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        with file:
            names = file.files
            arrays = {n: np.asarray(file[n]) for n in ("inputs", "labels") if n in names}
    except Exception as error:  # a damaged file makes the readers of ZIP and NPY raise anything
        raise MIBenchError(f"{path} is not a readable .npz file ({_reason(error)})") from None
    if missing := {"inputs", "labels"} - arrays.keys():
        raise MIBenchError(f"{path} holds no array {min(missing)!r}, only {', '.join(names)}")
    inputs, labels = arrays["inputs"], arrays["labels"]
    shapes_fit = inputs.ndim > 0 and labels.ndim == 1 and len(labels) == len(inputs)
    if not shapes_fit or inputs.dtype.kind not in "buif":
        raise MIBenchError(
            f"{path}: inputs {inputs.dtype}{inputs.shape} and labels {labels.shape} do not go "
            "together; give numbers (n, ...) and (n,)"
        )
    if not inputs.size:
        raise MIBenchError(f"{path} holds no features")
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
        is_csv = path.suffix.lower() == ".csv"
        table = pd.read_csv(path) if is_csv else pd.read_parquet(path)
    except Exception as error:  # a damaged file makes the readers raise anything
        raise MIBenchError(
            f"{path} is not a readable {path.suffix} file ({_reason(error)})"
        ) from None
    columns = [str(c) for c in table.columns]
    if len(set(columns)) < len(columns):
        raise MIBenchError(f"{path} has several columns of one name; rename them")
    table.columns = pd.Index(columns)
    if column not in columns:
        raise MIBenchError(
            f"{path} has no label column {column!r}; name one as {path}::COLUMN of "
            f"{', '.join(columns)}"
        )
    labels = table.pop(column)
    _check_column(path, labels)
    for name in table:
        texts = _check_column(path, table[name])
        if texts > _MOST_TEXTS:
            raise MIBenchError(
                f"{path}: column {name!r} has {texts} different texts; drop or encode it"
            )
    if table.empty:
        raise MIBenchError(f"{path} holds no features")
    features = pd.get_dummies(table, dtype=np.uint8)
    return _records(
        path, features.to_numpy(), list(features.columns), _classes(path, labels.to_numpy())
    )


def _check_column(path: Path, column: pd.Series[Any]) -> int:
    """Return how many different texts a column holds, 0 for one of numbers."""
    from pandas.api import types

    if column.isna().any():
        raise MIBenchError(f"{path}: column {column.name!r} has empty cells; fill or drop them")
    if types.is_numeric_dtype(column):
        return 0
    try:
        if types.is_object_dtype(column) or types.is_string_dtype(column):
            return column.nunique()
        if isinstance(column.dtype, types.CategoricalDtype):
            return column.nunique()
    except TypeError:  # of what cannot be compared, such as lists
        pass
    raise MIBenchError(f"{path}: column {column.name!r} holds neither numbers nor texts; drop it")


def _reason(error: Exception) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    # NumPy's own words advise to load them all the same.
    return "it holds Python objects" if "allow_pickle" in reason else reason


def _classes(path: Path, labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.round(labels))).all():
        raise MIBenchError(f"{path}: labels are no whole numbers; give classes")
    if labels.dtype.kind not in "biufUSO":
        raise MIBenchError(f"{path}: labels are of type {labels.dtype}; give numbers or texts")
    return np.unique(
        labels.astype(str) if labels.dtype.kind == "O" else labels, return_inverse=True
    )[1].astype(np.int64)


def _records(
    path: Path, values: NDArray[Any], columns: list[str], labels: NDArray[np.int64]
) -> Parsed:
    """Keep bits as they are; scale each column of anything else to [0, 1]."""
    if np.isin(values, (0, 1)).all():
        return Parsed(values.astype(np.uint8), labels, "binary")
    values = values.astype(np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    finite = np.isfinite(low) & np.isfinite(high)
    if not finite.all():
        bad = columns[int(np.flatnonzero(~finite)[0])]
        raise MIBenchError(f"{path}: column {bad!r} holds numbers that are not finite")
    # Of halves, since the largest number less the smallest may be none.
    span = np.where(high > low, high / 2 - low / 2, 1)
    return Parsed(((values / 2 - low / 2) / span).astype(np.float32), labels, "real")
