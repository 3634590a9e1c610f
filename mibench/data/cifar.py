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

_PIXELS = 3 * 32 * 32
_TEN = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


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


def ten_python(files: Files) -> Parsed:
    """Read the pickled batches of CIFAR-10."""
    return _images([_unpickle(files, name, b"labels") for name in _TEN])


def hundred_python(files: Files) -> Parsed:
    """Read the pickled batches of CIFAR-100, with its fine labels."""
    return _images([_unpickle(files, name, b"fine_labels") for name in ("train", "test")])


def ten_binary(files: Files) -> Parsed:
    """Read the binary batches of CIFAR-10: a byte of label before each image."""
    return _images([_rows(files, f"{name}.bin", 1) for name in _TEN])


def hundred_binary(files: Files) -> Parsed:
    """Read the binary batches of CIFAR-100: bytes of coarse and fine label before each image."""
    return _images([_rows(files, f"{name}.bin", 2) for name in ("train", "test")])


def _unpickle(files: Files, name: str, key: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    content = files.content(name)
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
    if (
        not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(isinstance(label, int) for label in labels)
    ):
        raise MIBenchError(f"{where}: {key.decode()!r} is not a label a row; download it again")
    return pixels, np.array(labels)


def _rows(files: Files, name: str, labels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    content = np.frombuffer(files.content(name), np.uint8)
    if len(content) % (labels + _PIXELS):
        raise MIBenchError(
            f"{files.path}: {name} is not rows of {labels + _PIXELS} bytes; download it again"
        )
    rows = content.reshape(-1, labels + _PIXELS)
    return rows[:, labels:], rows[:, labels - 1]


def _images(batches: list[tuple[NDArray[Any], NDArray[Any]]]) -> Parsed:
    pixels, labels = zip(*batches, strict=True)
    inputs = np.concatenate(pixels).reshape(-1, 3, 32, 32)
    return Parsed(inputs, np.concatenate(labels).astype(np.int64), "image")
