"""What a dataset is once it has been read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.data.splits import SplitSizes, sizes_of


@dataclass(frozen=True)
class Parsed:
    """What a reader makes of files; the fields are those of :class:`Dataset`."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    kind: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled dataset, memory-mapped where it is large.

    Attributes
    ----------
    name : str
    inputs : array, (N, features) for records or (N, channels, height, width) for images
        As it is kept: bits and pixels as uint8, reals in [0, 1] as float32. What a model takes
        is :meth:`take`.
    labels : int64 array, (N,)
        Classes 0 to C-1.
    kind : {"binary", "real", "image"}
        What a record is, which decides how noisy copies and generated nonmembers are made.
    checksum : str
        SHA-256 of inputs and labels, hexadecimal; computed where it is not given.
    sizes : SplitSizes
        How many samples each role gets; where it is not given those of
        :func:`mibench.data.splits.sizes_of`.
    """

    name: str
    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    kind: str
    checksum: str = ""
    sizes: SplitSizes = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not self.checksum:
            object.__setattr__(self, "checksum", checksum(self.inputs, self.labels))
        if self.sizes is None:
            object.__setattr__(self, "sizes", sizes_of(self.name, len(self.labels)))

    @property
    def num_classes(self) -> int:
        """The number of classes, C."""
        return int(self.labels.max()) + 1

    def take(self, samples: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Return the inputs of some samples as a model takes them: (n, ...), in [0, 1]."""
        taken = self.inputs[samples]
        if self.kind == "image" and taken.dtype == np.uint8:
            return np.divide(taken, 255, dtype=np.float32)
        # A copy, for what is mapped cannot be written to.
        return np.array(taken, dtype=np.float32)


def checksum(inputs: NDArray[Any], labels: NDArray[np.int64]) -> str:
    """Return the SHA-256 of inputs and labels, hexadecimal."""
    digest = hashlib.sha256(np.ascontiguousarray(inputs).data)
    digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()
