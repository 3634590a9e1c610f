"""Parquet files of results, beside the executed notebooks.

``executed/DATASET/NAME.parquet`` holds the results of the notebook NAME,
``executed/DATASET/answers/NAME.parquet`` its answers, and the metadata of both say of which
dataset they are, which notebook made them, and the digest of their values. pandas is not imported,
so that what only asks for files answers at once.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mibench.store import replacing, safe

# Folders of what is gathered from all of them.
TOGETHER = ("results", "answers")
_SAID = b"mibench"
# What readers of Parquet and of its metadata raise on damaged files.
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException)


def place(folder: str | Path, dataset: str, name: str) -> Path:
    """Return where a notebook's tables lie: the path without ending that
    :func:`mibench.study.results.save` takes.

    Unlike names never share a place, whatever letters they hold; a dataset called ``results`` or
    ``answers`` has a folder beside the collected tables of that name.
    """
    return Path(folder) / safe(dataset, TOGETHER) / safe(name)


def answers_of(output: str | Path) -> Path:
    """Return the file that holds the answers of the results written to `output`."""
    output = Path(output)
    return output.parent / "answers" / f"{output.name}.parquet"


def results_of(output: str | Path) -> Path:
    """Return the file that holds the results written to `output`."""
    output = Path(output)
    return output.with_name(f"{output.name}.parquet")


def belongs_to(file: str | Path) -> Path:
    """Return the `output` that a table's file was written for, by what the file itself says.

    A damaged file, which says nothing, belongs where it lies.
    """
    file = Path(file)
    folder = file.parent.parent if file.parent.name == "answers" else file.parent
    return folder / said(file).get("notebook", file.name.removesuffix(".parquet"))


def wrong(output: str | Path) -> str:
    """Return which table of `output` is not as it was written, and how; nothing where both are."""
    for file in (results_of(output), answers_of(output)):
        named = file.relative_to(Path(output).parent)
        try:
            sound = _as_written(file)
        except FileNotFoundError:
            return f"{named} is missing"
        except DAMAGED:
            sound = False
        if not sound:
            return f"{named} is damaged or of an older version"
    return ""


def files(folder: str | Path, dataset: str | None = None) -> list[Path]:
    """Return the files beside executed notebooks that hold results, without those of answers."""
    below = safe(dataset, TOGETHER) if dataset else "*"
    found = Path(folder).glob(f"{below}/*.parquet")
    return sorted(p for p in found if p.parent.name not in TOGETHER)


def origin(output: str | Path) -> dict[str, str]:
    """Return what the results written to `output` say of their data and device."""
    path = results_of(output)
    if not path.exists():
        return {}
    columns = [c for c in ("data_sha256", "device") if c in pq.read_schema(path).names]
    with pq.ParquetFile(path) as file:
        rows = file.read(columns)
    return {
        c: ", ".join(sorted(map(str, rows[c].drop_null().unique().to_pylist()))) for c in columns
    }


def write(path: Path, content: pa.Table, told: dict[str, str]) -> None:
    """Write a table with what it says of itself in its metadata; a notebook's with its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if "notebook" in told:
        told = {**told, "sha256": _digest(content)}
    metadata = {**(content.schema.metadata or {}), _SAID: json.dumps(told).encode()}
    with replacing(path) as temporary:
        pq.write_table(
            content.replace_schema_metadata(metadata), temporary, write_page_checksum=True
        )


def _as_written(path: Path) -> bool:
    # Arrow's shorter way loads pandas.
    with pq.ParquetFile(path) as file:
        content, beside = file.read(), dict(file.metadata.metadata)
    # Readers differ in which copy of the metadata they take.
    copy = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(beside.pop(b"ARROW:schema"))))
    same = copy.equals(content.schema, check_metadata=True) and copy.metadata == beside
    return same and bool(json.loads(beside[_SAID])["sha256"] == _digest(content))


def _digest(table: pa.Table) -> str:
    """Return the digest of a table's names, types, values and what else is said of them."""
    described = [(field.name, str(field.type)) for field in table.schema]
    other = {k: v for k, v in (table.schema.metadata or {}).items() if k != _SAID}
    digest = hashlib.sha256(repr([table.num_rows, described, sorted(other.items())]).encode())
    for column in table.columns:
        digest.update(_bytes(column.is_valid().combine_chunks()))
        values = column.drop_null().combine_chunks()
        if not pa.types.is_primitive(values.type):
            # Of texts, few of which differ, the different ones and which is where.
            digest.update(repr(values.unique().to_pylist()).encode())
            values = values.dictionary_encode().indices
        digest.update(_bytes(values))
    return digest.hexdigest()


def _bytes(values: pa.Array) -> bytes:
    # Arrow's own way to NumPy loads pandas.
    whole = values.cast("uint8") if pa.types.is_boolean(values.type) else values
    width, data = whole.type.bit_width // 8, whole.buffers()[1]
    if data is None:  # nothing is there
        return b""
    return bytes(data.slice(whole.offset * width, len(whole) * width))


def said(file: Path) -> dict[str, str]:
    """Return what a table says of itself; nothing where it is damaged or not there."""
    try:
        metadata = pq.read_schema(file).metadata or {}
        found: dict[str, str] = json.loads(metadata.get(_SAID, b"{}"))
    except DAMAGED:
        return {}
    return found
