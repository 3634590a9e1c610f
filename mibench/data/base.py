"""What a dataset is: what is published of it, and what has been read of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.catalogue import Catalogue
from mibench.data.files import Files


@dataclass(frozen=True)
class SplitSizes:
    """How many samples each role gets, and target datasets take.

    `pairs` is the number of member-nonmember pairs drawn, `group` how many members, and how many
    nonmembers, a group holds.
    """

    members: int
    nonmembers: int
    shadow_members: int
    shadow_nonmembers: int
    auxiliary: int
    pairs: int
    group: int = 10

    @classmethod
    def equal(cls, count: int) -> SplitSizes:
        """Return as many samples of each role, and 1,000 pairs."""
        return cls(count, count, count, count, count, pairs=1000)


@dataclass(frozen=True)
class Levels:
    """The levels of a dataset's factors, nominal: a pool maps them onto its own range.

    Attributes
    ----------
    distance, differential_distance : three numbers each, ascending
    withheld_ratio : four fractions
    distance_quantiles : nine numbers, optional
        The published distances' quantiles .1, .2, ..., .9. Without them the levels of the
        distance are quantiles already.
    """

    distance: tuple[float, ...]
    differential_distance: tuple[float, ...]
    withheld_ratio: tuple[float, ...]
    distance_quantiles: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Parsed:
    """What a reader makes of files; `notes` say what was made of what, and what was left out."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    kind: str
    notes: tuple[str, ...] = ()


Reader = Callable[[Files], Parsed]


@dataclass(frozen=True, eq=False)
class Published:
    """A dataset that is found by its name: how it is read, and what was published of it.

    Attributes
    ----------
    name : str
    module : str
        The module that says so, ``__name__`` there.
    rows, classes : int
    shapes : tuple of tuple of int
        The shapes that a sample may have.
    sizes : SplitSizes
        The default.
    forms : mapping of str to Reader
        Files and folders it comes as, most wanted first; what they hold must have these rows,
        classes and a shape.
    copies : mapping of str to Reader
        The same of what is not the published file, such as its images as JPEG: fewer rows will do.
    embedded : callable, optional
        Reads a dataset that needs no file.
    page : str
        Where to fetch it by hand.
    download : str
        URL; only where a digest has been published.
    digests : mapping of str to str
        Of files, or of those in a folder, as "algorithm:hexadecimal".
    levels : Levels, optional
        Without them a dataset is given generic ones.
    panels : mapping of str to tuple of str
        The scenarios' ids of RQ1 to RQ4.
    off_grid : mapping of str to tuple
        Published scenarios beside the 84: distribution, distance, differential distance, ratio.
    published_sizes : SplitSizes, optional
        Sizes as the public record tells them.
    first_rows : mapping of str to int
        Each role's first row in the published order, where the record tells it.
    """

    name: str
    module: str
    rows: int
    classes: int
    shapes: tuple[tuple[int, ...], ...]
    sizes: SplitSizes
    forms: Mapping[str, Reader] = field(default_factory=dict)
    copies: Mapping[str, Reader] = field(default_factory=dict)
    embedded: Callable[[], Parsed] | None = None
    page: str = ""
    download: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    levels: Levels | None = None
    panels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    off_grid: Mapping[str, tuple[str, float, float, float]] = field(default_factory=dict)
    published_sizes: SplitSizes | None = None
    first_rows: Mapping[str, int] = field(default_factory=dict)


DATASETS: Catalogue[Published] = Catalogue("dataset")


def panels(*numbers: str) -> dict[str, tuple[str, ...]]:
    """Return the ids of the scenarios of RQ1 to RQ4, each given as numbers, such as "01 29 57"."""
    return {
        f"RQ{i}": tuple(f"ES{n}" for n in given.split()) for i, given in enumerate(numbers, start=1)
    }


def register(published: Published) -> None:
    """Make a dataset known by its name."""
    DATASETS.add(published.name, published)


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
        SHA-256 of inputs and labels, hexadecimal.
    sizes : SplitSizes
        How many samples each role gets.
    first_rows : mapping of str to int
        The first row of each role, where samples are shared out in the published order.
    notes : tuple of str
        What was made of the files, and what was left out.
    """

    name: str
    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    kind: str
    checksum: str
    sizes: SplitSizes
    first_rows: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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


def unit_pixels(pixels: NDArray[np.uint8]) -> tuple[NDArray[Any], str]:
    """Return pixels so that :meth:`Dataset.take` reaches 1, and how they were scaled.

    No image set of 8 bits stays below 128 throughout: those are bits, grey levels of 0 to 16 and
    the like, which 255 would make all but black.
    """
    top = int(pixels.max())
    if not 0 < top < 128:
        return pixels, f"pixels 0 to {top} divided by 255"
    return np.divide(pixels, top, dtype=np.float32), f"pixels 0 to {top} divided by {top}"
