"""Tables of bits with a label: Location30, Purchase100, Texas100 (Shokri et al. 2017)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.data.base import Parsed
from mibench.data.files import Files
from mibench.errors import MIBenchError

_CHUNK = 5000


def location30(files: Files) -> Parsed:
    """Read `bangkok`: a label 1-30, then 446 bits a row."""
    return _labelled_bits(files, "bangkok")


def purchase100(files: Files) -> Parsed:
    """Read `dataset_purchase`: a label 1-100, then 600 bits a row."""
    return _labelled_bits(files, "dataset_purchase")


def texas100(files: Files) -> Parsed:
    """Read `100/feats`, bits, and `100/labels`, a label 1-100 a row."""
    bits = _table(files, "100/feats")
    labels = _table(files, "100/labels")
    if labels.shape != (len(bits), 1):
        raise MIBenchError(
            f"{files.path}: 100/labels has {labels.shape[0]} rows of {labels.shape[1]} values for "
            f"the {len(bits)} rows of 100/feats; download it again"
        )
    return _checked(files, "100/feats", bits, labels[:, 0])


def _labelled_bits(files: Files, name: str) -> Parsed:
    table = _table(files, name)
    return _checked(files, name, np.ascontiguousarray(table[:, 1:]), table[:, 0])


def _table(files: Files, name: str) -> NDArray[np.uint8]:
    # Imported here, so that naming a dataset stays quick.
    import pandas as pd

    content = io.BytesIO(files.content(name))
    try:
        with pd.read_csv(content, header=None, dtype=np.uint8, chunksize=_CHUNK) as chunks:
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
