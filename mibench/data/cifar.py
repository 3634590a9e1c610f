"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), the python and the binary versions."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.data.base import Parsed
from mibench.data.files import Files
from mibench.errors import MIBenchError

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
# The published order: the test images are the rows from 50,000 on. The record tells no auxiliary
# samples.
FIRST_ROWS = {
    "members": 40_000,
    "nonmembers": 50_000,
    "shadow_members": 0,
    "shadow_nonmembers": 10_000,
    "auxiliary": 20_000,
}
_PIXELS = 3 * 32 * 32


class _Type:
    """Stands in for numpy.dtype: a state from a file could make it reach outside of an array."""

    def __init__(self, code: object, *_: object):
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"an array is of type {code!r}, not of bytes")

    def __setstate__(self, state: object) -> None:
        """Pass over byte order and alignment, which bytes do not have."""


class _Array:
    """Stands in for numpy.ndarray: bytes and their shape."""

    values: NDArray[np.uint8] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Type, bool, bytes]) -> None:
        _, shape, kind, by_columns, content = state
        if not isinstance(kind, _Type):
            raise pickle.UnpicklingError("an array is of no type")
        order: Any = "F" if by_columns else "C"
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order=order)


def _reconstruct(*_: object) -> _Array:
    return _Array()


# What a pickled array consists of. The names are looked up here and nothing is imported.
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]


def pickled(files: Files, names: tuple[str, ...], key: bytes) -> Parsed:
    """Read the pickled batches of these names, whose labels are under a key."""
    batches = []
    for name, content in zip(names, files.contents(names), strict=True):
        where = f"{files.path}: {name}"
        try:
            batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        except Exception as error:  # a malformed pickle can raise anything
            raise MIBenchError(
                f"{where} is not a CIFAR batch ({error}); do not trust this file"
            ) from None
        if not isinstance(batch, dict) or not isinstance(batch.get(b"data"), _Array):
            raise MIBenchError(f"{where} holds no array 'data'; download it again")
        pixels, labels = batch[b"data"].values, batch.get(key)
        if pixels.shape[1:] != (_PIXELS,):
            raise MIBenchError(f"{where}: 'data' is not rows of {_PIXELS} bytes; download it again")
        if not isinstance(labels, list) or [*map(type, labels)] != [int] * len(pixels):
            raise MIBenchError(f"{where}: {key.decode()!r} is not a label a row; download it again")
        batches.append((pixels, np.array(labels)))
    return _images(batches)


def binary(files: Files, names: tuple[str, ...], labels: int) -> Parsed:
    """Read the binary batches of these names; the last byte of label before an image is it."""
    batches = []
    for name, read in zip(names, files.contents(f"{n}.bin" for n in names), strict=True):
        content = np.frombuffer(read, np.uint8)
        if len(content) % (labels + _PIXELS):
            raise MIBenchError(
                f"{files.path}: {name}.bin is not rows of {labels + _PIXELS} bytes; download it "
                "again"
            )
        rows = content.reshape(-1, labels + _PIXELS)
        batches.append((rows[:, labels:], rows[:, labels - 1]))
    return _images(batches)


def _images(batches: list[tuple[NDArray[Any], NDArray[Any]]]) -> Parsed:
    """Join batches in the published order: training images, then test images."""
    pixels, labels = zip(*batches, strict=True)
    inputs = np.concatenate(pixels).reshape(-1, 3, 32, 32)
    return Parsed(inputs, np.concatenate(labels).astype(np.int64), "image")
