"""Labelled datasets and their disjoint, seeded splits."""

from __future__ import annotations

import difflib
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray

from mibench.errors import MIBenchError

ROLES = ("members", "nonmembers", "shadow_members", "shadow_nonmembers", "auxiliary")


@dataclass(frozen=True)
class Dataset:
    """A labelled dataset in memory.

    Attributes
    ----------
    name : str
    inputs : float32 array, (N, features) for records or (N, channels, height, width) for images
        Values in [0, 1].
    labels : int64 array, (N,)
        Classes 0 to C-1.
    kind : {"binary", "image"}
        What a record is, which decides how noisy copies and generated nonmembers are made.
    checksum : str
        SHA-256 of inputs and labels.
    """

    name: str
    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    kind: str

    @property
    def num_classes(self) -> int:
        """The number of classes, C."""
        return int(self.labels.max()) + 1

    def take(self, samples: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the inputs of some samples as a model takes them, (n, ...)."""
        return self.inputs[samples].astype(np.float32, copy=False)

    @property
    def checksum(self) -> str:
        """SHA-256 of inputs and labels, hexadecimal."""
        digest = hashlib.sha256(np.ascontiguousarray(self.inputs).tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class SplitSizes:
    """How many samples each role gets; `pairs` is the number of member-nonmember pairs drawn."""

    members: int
    nonmembers: int
    shadow_members: int
    shadow_nonmembers: int
    auxiliary: int
    pairs: int


SPLIT_SIZES = {
    "digits": SplitSizes(300, 700, 250, 250, 297, pairs=80),
    "Location30": SplitSizes(1000, 2000, 700, 700, 610, pairs=300),
}


def split(dataset: Dataset, seed: int) -> dict[str, NDArray[np.int64]]:
    """Share out a dataset's samples among the roles of :data:`ROLES`, disjointly.

    Returns
    -------
    dict of str to int array
        Sample indices of each role, in shuffled order.
    """
    sizes = SPLIT_SIZES[dataset.name]
    counts = [getattr(sizes, role) for role in ROLES]
    if sum(counts) > len(dataset.labels):
        raise MIBenchError(
            f"{dataset.name} has {len(dataset.labels)} samples but its splits ask for "
            f"{sum(counts)}; lower the sizes in SPLIT_SIZES"
        )
    order = np.random.default_rng([seed, 1]).permutation(len(dataset.labels))
    parts = np.split(order, np.cumsum(counts))
    return dict(zip(ROLES, parts, strict=False))


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Load a dataset by name.

    Parameters
    ----------
    name : str
        One of :func:`names`; case does not matter.
    data_dir : Path, optional
        Where the published files lie. Without it `MIBENCH_DATA` is used, and without that the
        file is downloaded into the user's cache.

    Raises
    ------
    MIBenchError
        If the name is unknown, or the data directory lacks the dataset's file, or the file is
        not what was published.
    """
    name = check_name(name)
    if data_dir is None and os.environ.get("MIBENCH_DATA"):
        data_dir = Path(os.environ["MIBENCH_DATA"])
    return _READERS[name](data_dir)


def names() -> tuple[str, ...]:
    """Return the names of the datasets that can be loaded."""
    return tuple(_READERS)


def check_name(name: str) -> str:
    """Return `name` as it is spelt in :func:`names`, or raise MIBenchError."""
    for known in _READERS:
        if known.lower() == name.lower():
            return known
    close = difflib.get_close_matches(name, _READERS, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise MIBenchError(f"unknown dataset {name!r}; {hint}known are {', '.join(_READERS)}")


def _digits(_: Path | None) -> Dataset:
    from sklearn.datasets import load_digits

    data = load_digits()
    inputs = (data.images[:, None] / 16).astype(np.float32)
    return Dataset("digits", inputs, data.target.astype(np.int64), "image")


_LOCATION_ARCHIVE = "dataset_location.tgz"
_LOCATION_URL = (
    "https://github.com/privacytrustlab/datasets/raw/master/dataset_location.tgz",
    "sha256:927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33",
)


def _location30(data_dir: Path | None) -> Dataset:
    """Read the check-in records of Shokri et al. 2017: label 1-30, then 446 bits a row."""
    path = _find(data_dir, ("bangkok", _LOCATION_ARCHIVE), _LOCATION_URL)
    if path.name == _LOCATION_ARCHIVE:
        try:
            with tarfile.open(path) as archive:
                member = archive.extractfile("bangkok")
                content = b"" if member is None else member.read()
        except KeyError:
            raise MIBenchError(f"{path} holds no file 'bangkok'; download it again") from None
        except (tarfile.TarError, EOFError, OSError) as error:
            raise MIBenchError(
                f"{path} is not a readable archive ({error}); download it again"
            ) from None
    else:
        content = path.read_bytes()
    try:
        table = np.loadtxt(
            io.BytesIO(content.replace(b'"', b"")), delimiter=",", dtype=np.int16, ndmin=2
        )
    except ValueError as error:
        raise MIBenchError(f"{path}: not the published 'bangkok' table ({error})") from None
    labels, bits = table[:, 0].astype(np.int64) - 1, table[:, 1:]
    if table.shape != (5010, 447) or not np.isin(bits, (0, 1)).all() or set(labels) != {*range(30)}:
        raise MIBenchError(
            f"{path}: expected 5010 rows of a label 1-30 and 446 bits, found {table.shape[0]} rows "
            f"of {table.shape[1]} values; download it again"
        )
    return Dataset("Location30", bits.astype(np.float32), labels, "binary")


def _find(data_dir: Path | None, candidates: tuple[str, ...], source: tuple[str, str]) -> Path:
    """Return the first candidate in `data_dir`, or the downloaded file where there is no dir."""
    if data_dir is None:
        url, known_hash = source
        try:
            return Path(
                pooch.retrieve(
                    url,
                    known_hash,
                    fname=candidates[-1],
                    path=pooch.os_cache("mibench"),
                    progressbar=True,
                )
            )
        except (OSError, ValueError) as error:
            raise MIBenchError(
                f"{candidates[-1]} could not be downloaded ({error}); fetch it from {url} and "
                "give its folder with --data-dir or MIBENCH_DATA"
            ) from None
    for candidate in candidates:
        if (data_dir / candidate).is_file():
            return data_dir / candidate
    raise MIBenchError(
        f"{data_dir} holds none of {', '.join(candidates)}; give the folder of the published file "
        "with --data-dir or MIBENCH_DATA"
    )


_READERS: dict[str, Callable[[Path | None], Dataset]] = {
    "digits": _digits,
    "Location30": _location30,
}
