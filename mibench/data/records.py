"""Tables of bits with a label: Location30, Purchase100, Texas100 (Shokri et al. 2017)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.data.base import Parsed
from mibench.data.files import Files
from mibench.errors import MIBenchError

PAGE = "https://github.com/privacytrustlab/datasets"
_CHUNK = 5000


def labelled_bits(files: Files, name: str) -> Parsed:
    """Read a table of a label, from 1 on, then bits a row."""
    [content] = files.contents([name])
    if (found := _by_width(content)) is None:
        table = _table(files, name, content)
        found = np.ascontiguousarray(table[:, 1:]), table[:, 0]
    return _checked(files, name, *found)


def bits_and_labels(files: Files, bits: str, labels: str) -> Parsed:
    """Read a table of bits, and another of a label, from 1 on, a row."""
    read = zip((bits, labels), files.contents([bits, labels]), strict=True)
    values, classes = (_table(files, name, content) for name, content in read)
    if classes.shape != (len(values), 1):
        raise MIBenchError(
            f"{files.path}: {labels} has {classes.shape[0]} rows of {classes.shape[1]} values for "
            f"the {len(values)} rows of {bits}; download it again"
        )
    return _checked(files, bits, values, classes[:, 0])


def _by_width(content: bytes) -> tuple[NDArray[np.uint8], NDArray[Any]] | None:
    """Return bits and labels of a table whose rows end in as many bits, None of any other.

    Several times as fast as reading it as a table of any numbers.
    """
    letters = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    width = 2 * content[: content.find(b"\n")].count(b",") - 1
    starts = np.append(0, ends[:-1] + 1) if len(ends) else ends
    # A comma and a digit or more of the label before the bits.
    if width < 1 or not content.endswith(b"\n") or (ends - starts).min() < width + 2:
        return None
    rows = np.lib.stride_tricks.sliding_window_view(letters, width + 1)
    bits = np.empty((len(ends), (width + 1) // 2), np.uint8)
    begin = ends - width - 1
    for some in (slice(i, i + _CHUNK) for i in range(0, len(ends), _CHUNK)):
        # Each comma with its digit is one number.
        pairs = rows[begin[some]].view("<u2") - int.from_bytes(b",0", "little")
        if np.bitwise_or.reduce(pairs, axis=None) not in (0, 0x100):
            return None
        bits[some] = pairs >> 8
    labels = [content[a:b] for a, b in zip(starts, begin, strict=True)]
    return (bits, np.array(labels, np.int64)) if all(map(bytes.isdigit, labels)) else None


def _table(files: Files, name: str, content: bytes) -> NDArray[np.uint8]:
    import pandas as pd

    try:
        with pd.read_csv(
            io.BytesIO(content), header=None, dtype=np.uint8, chunksize=_CHUNK
        ) as chunks:
            return np.concatenate([chunk.to_numpy() for chunk in chunks])
    except (ValueError, OverflowError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise MIBenchError(
            f"{files.path}: {name} is not the published table ({reason}); download it again"
        ) from None


def _checked(files: Files, name: str, bits: NDArray[np.uint8], labels: NDArray[Any]) -> Parsed:
    if bits.size and bits.max() > 1:
        raise MIBenchError(
            f"{files.path}: {name} holds the value {bits.max()} where only 0 and 1 belong; "
            "download it again"
        )
    return Parsed(bits, labels.astype(np.int64) - 1, "binary")
