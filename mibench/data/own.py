"""A user's own data: image folders, .npz arrays, CSV and Parquet tables."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mibench.data.base import Parsed, unit_pixels
from mibench.data.files import Files, is_archive, no_bomb, stem
from mibench.data.images import image_folder
from mibench.data.npz import bound, read_npz
from mibench.errors import MIBenchError

if TYPE_CHECKING:
    import pandas as pd

_MOST_TEXTS = 100
_MOST_NAMED = 8
_HELD_IN_A_CLASS = 10
_ALWAYS_CLASSES = 20


def split_column(text: str) -> tuple[Path, str]:
    """Return path and label column of `PATH` or `PATH::COLUMN`."""
    path, _, column = text.partition("::")
    # Of a user who is not here it leaves the name, which no file has.
    return Path(os.path.expanduser(path)), column or "label"


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
    path, ending = files.path, files.path.suffix.lower()
    if path.is_dir() and any(name.lower().endswith(".parquet") for name in files.paths()):
        parsed = _table(path, column)
    elif path.is_dir() or is_archive(path):
        parsed = image_folder(files)
    elif ending == ".npz":
        parsed = _npz(path)
    elif ending in (".csv", ".parquet"):
        parsed = _table(path, column)
    else:
        raise MIBenchError(
            f"{path} is no image folder, archive of one, .npz, .csv or .parquet file"
        )
    classes, rows = len(np.unique(parsed.labels)), len(parsed.labels)
    if classes < 2:
        raise MIBenchError(f"{path} holds one class only; give at least two")
    if classes > max(_ALWAYS_CLASSES, rows // _HELD_IN_A_CLASS):
        raise MIBenchError(
            f"{path}: its labels have {classes} values in {rows} samples, as a number to predict "
            f"has; give classes of {_HELD_IN_A_CLASS} samples and more"
        )
    return parsed


def _npz(path: Path) -> Parsed:
    found = read_npz(path, ("inputs", "labels").__contains__, no_bomb)
    if missing := {"inputs", "labels"} - found.keys():
        raise MIBenchError(f"{path} holds no array {min(missing)!r}, only {', '.join(found)}")
    inputs, labels = found.pop("inputs"), found.pop("labels")
    shapes_fit = inputs.ndim > 0 and labels.ndim == 1 and len(labels) == len(inputs)
    if not shapes_fit or inputs.dtype.kind not in "buif":
        raise MIBenchError(
            f"{path}: inputs {inputs.dtype}{inputs.shape} and labels {labels.shape} do not go "
            "together; give numbers (n, ...) and (n,)"
        )
    if not inputs.size:
        raise MIBenchError(f"{path} holds no features")
    notes = [f"arrays left out: {', '.join(sorted(found))}"] if found else []
    classes = _classes(path, labels)
    if inputs.ndim == 2:
        return _records(path, inputs, [str(i) for i in range(inputs.shape[1])], classes, notes)
    if inputs.ndim == 3:
        inputs = inputs[:, None]
    elif inputs.ndim == 4 and inputs.shape[1] not in (1, 3) and inputs.shape[3] in (1, 3):
        inputs = inputs.transpose(0, 3, 1, 2)
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
        raise MIBenchError(
            f"{path}: inputs have shape {inputs.shape}; records are (n, features), images "
            "(n, height, width), (n, channels, height, width) or (n, height, width, channels)"
        )
    if inputs.dtype == np.uint8:
        inputs, scaled = unit_pixels(inputs)
        notes.append(scaled)
    else:
        inputs = inputs.astype(np.float32)
        # The comparison is false for NaN too.
        if not (inputs.min() >= 0 and inputs.max() <= 1):
            raise MIBenchError(f"{path}: images must be uint8, or numbers in [0, 1]")
    return Parsed(np.ascontiguousarray(inputs), classes, "image", tuple(notes))


def _table(path: Path, column: str) -> Parsed:
    import pandas as pd

    try:
        table = _csv(path, column) if path.suffix.lower() == ".csv" else _parquet(path)
    except MIBenchError:
        raise
    except Exception as error:  # a damaged file makes the readers raise anything
        raise MIBenchError(
            f"{path} is not a readable {path.suffix or '.parquet'} file "
            f"({' '.join(str(error).split())[:200] or type(error).__name__})"
        ) from None
    columns = [str(c) for c in table.columns]
    _check_names(path, columns)
    table.columns = pd.Index(columns)
    if column not in columns:
        raise MIBenchError(
            f"{path} has no label column {column!r}; name one as {path}::COLUMN of "
            f"{', '.join(columns)}"
        )
    notes = [] if table.index.equals(pd.RangeIndex(len(table))) else ["left out: row names"]
    if columns[0] in ("", "Unnamed: 0") and _counts_rows(table.iloc[:, 0]):
        table = table.iloc[:, 1:]
        notes.append("left out: the first column, row numbers without a name")
    labels = table.pop(column)
    _check_column(path, labels)
    texts = {name: _check_column(path, table[name]) for name in table}
    for name in (name for name, count in texts.items() if count > _MOST_TEXTS):
        # What keeps a column of numbers from being one.
        odd = table[name][pd.to_numeric(table[name], errors="coerce").isna()]
        why = f" for {odd.iloc[0]!r} among its numbers" if 0 < len(odd) < len(table) else ""
        raise MIBenchError(
            f"{path}: column {name!r} has {texts[name]} different texts{why}; drop or encode it"
        )
    if table.empty:
        raise MIBenchError(f"{path} holds no features")
    features = pd.get_dummies(table, dtype=np.uint8)
    classes = _classes(path, labels.to_numpy())
    shown = sorted({(int(c), str(t)) for c, t in zip(classes, labels, strict=True)})
    notes.append(f"label {column!r}: {_listed(text for _, text in shown)}")
    if encoded := [f"{n!r} ({count})" for n, count in texts.items() if count]:
        notes.append(f"texts, a bit for each: {_listed(encoded)}")
    if numbers := [repr(n) for n, count in texts.items() if not count]:
        notes.append(f"numbers: {_listed(numbers)}")
    return _records(path, features.to_numpy(), list(features.columns), classes, notes)


def _parquet(path: Path) -> pd.DataFrame:
    import pandas as pd
    from pyarrow import dataset

    # A column of one value takes no room in a file, however many rows it has.
    parts = dataset.dataset(path, format="parquet")
    bound(path, 8 * parts.count_rows() * len(parts.schema.names))
    return pd.read_parquet(path)


def _csv(path: Path, column: str) -> pd.DataFrame:
    import pandas as pd

    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    # pandas would give the second of two columns of one name another name.
    _check_names(path, header)
    # Classes are read as the texts they are: 01 is not 1, and NA is a country.
    return pd.read_csv(path, dtype={column: str}, keep_default_na=False, na_values=[""])


def _check_names(path: Path, columns: list[str]) -> None:
    [(name, count)] = Counter(columns).most_common(1) or [("", 0)]
    if count > 1:
        raise MIBenchError(f"{path} has several columns of one name, {name!r}; rename them")


def _counts_rows(column: pd.Series[Any]) -> bool:
    values = column.to_numpy()
    rows = np.arange(len(values))
    return values.dtype.kind in "iu" and any(np.array_equal(values, rows + i) for i in (0, 1))


def _check_column(path: Path, column: pd.Series[Any]) -> int:
    """Return how many different texts a column holds, 0 for one of numbers."""
    from pandas.api import types

    if column.isna().any():
        raise MIBenchError(f"{path}: column {column.name!r} has empty cells; fill or drop them")
    if types.is_numeric_dtype(column):
        return 0
    category = isinstance(column.dtype, types.CategoricalDtype)
    with suppress(TypeError):  # of what cannot be compared, such as lists
        if category or types.is_object_dtype(column) or types.is_string_dtype(column):
            return column.nunique()
    raise MIBenchError(f"{path}: column {column.name!r} holds neither numbers nor texts; drop it")


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _classes(path: Path, labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return classes 0 to C-1, in the order of numbers where all labels are numbers."""
    if labels.dtype.kind not in "biufUSO":
        raise MIBenchError(f"{path}: labels are of type {labels.dtype}; give numbers or texts")
    values, classes = np.unique(
        labels.astype(str) if labels.dtype.kind == "O" else labels, return_inverse=True
    )
    try:
        numbers = values.astype(np.float64)
    except ValueError:
        return classes.astype(np.int64)
    if values.dtype.kind == "U" and not np.isfinite(numbers).all():
        return classes.astype(np.int64)
    if not (np.isfinite(numbers) & (numbers == np.round(numbers))).all():
        raise MIBenchError(f"{path}: labels are no whole numbers; give classes")
    # Texts such as 1 and 01 stay apart; a stable sort keeps their order.
    return np.argsort(np.argsort(numbers, kind="stable"))[classes].astype(np.int64)


def _records(
    path: Path,
    values: NDArray[Any],
    columns: list[str],
    labels: NDArray[np.int64],
    notes: list[str],
) -> Parsed:
    """Keep bits as they are; scale each column of anything else to [0, 1]."""
    if np.isin(values, (0, 1)).all():
        said = "zeros and ones, kept as bits"
        return Parsed(values.astype(np.uint8), labels, "binary", (*notes, said))
    values = values.astype(np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    finite = np.isfinite(low) & np.isfinite(high)
    if not finite.all():
        bad = columns[int(np.flatnonzero(~finite)[0])]
        raise MIBenchError(f"{path}: column {bad!r} holds numbers that are not finite")
    # Of halves, since the largest number less the smallest may be none.
    span = np.where(high > low, high / 2 - low / 2, 1)
    scaled = ((values / 2 - low / 2) / span).astype(np.float32)
    return Parsed(scaled, labels, "real", (*notes, "each column scaled to [0, 1] over all rows"))
