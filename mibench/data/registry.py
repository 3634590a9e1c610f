"""The published datasets, and loading these or a user's own by name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mibench.data import cifar, images, own, records
from mibench.data.base import Dataset, Parsed
from mibench.data.cache import parsed_once
from mibench.data.downloads import fetch
from mibench.data.files import Files
from mibench.data.splits import sizes_of
from mibench.errors import MIBenchError
from mibench.store import Store

Reader = Callable[[Files], Parsed]


@dataclass(frozen=True)
class Published:
    """What is known of a published dataset and where it is had from.

    Attributes
    ----------
    rows, classes : int
    shapes : tuple of tuple of int
        The shapes that a sample may have.
    forms : mapping of str to Reader
        Files and folders it comes as, most wanted first.
    page : str
        Where to fetch it by hand.
    download : tuple of str, optional
        URL and checksum; only where a checksum has been published.
    """

    rows: int
    classes: int
    shapes: tuple[tuple[int, ...], ...]
    forms: Mapping[str, Reader]
    page: str
    download: tuple[str, str] | None = None


_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_SHOKRI = "https://github.com/privacytrustlab/datasets"

PUBLISHED = {
    "CIFAR100": Published(
        60_000,
        100,
        ((3, 32, 32),),
        {
            "cifar-100-python.tar.gz": cifar.hundred_python,
            "cifar-100-python": cifar.hundred_python,
            "cifar-100-binary.tar.gz": cifar.hundred_binary,
            "cifar-100-binary": cifar.hundred_binary,
        },
        _CIFAR + "cifar.html",
        (_CIFAR + "cifar-100-python.tar.gz", "md5:eb9058c3a382ffc7106e4002c42a8d85"),
    ),
    "CIFAR10": Published(
        60_000,
        10,
        ((3, 32, 32),),
        {
            "cifar-10-python.tar.gz": cifar.ten_python,
            "cifar-10-batches-py": cifar.ten_python,
            "cifar-10-binary.tar.gz": cifar.ten_binary,
            "cifar-10-batches-bin": cifar.ten_binary,
        },
        _CIFAR + "cifar.html",
        (_CIFAR + "cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a"),
    ),
    "CH_MNIST": Published(
        5000,
        8,
        ((3, 64, 64),),
        {
            "Kather_texture_2016_image_tiles_5000.zip": images.ch_mnist,
            "Kather_texture_2016_image_tiles_5000": images.ch_mnist,
        },
        "https://zenodo.org/records/53169",
        # The checksum is the one that OpenFL publishes for this file.
        (
            "https://zenodo.org/records/53169/files/Kather_texture_2016_image_tiles_5000.zip",
            "sha384:7d86abe1d04e68b77c055820c2a4c582a1d25d2983e38ab724e"
            "ac75affce8b7cb2cbf5ba68848dcfd9d84005d87d6790",
        ),
    ),
    "ImageNet": Published(
        100_000,
        200,
        ((3, 64, 64),),
        {
            "tiny-imagenet-200.zip": images.tiny_imagenet,
            "tiny-imagenet-200": images.tiny_imagenet,
        },
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        # The checksum is the one that Avalanche publishes for this file.
        (
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "md5:90528d7ca1a48142e341f4ef8d21d0de",
        ),
    ),
    "Location30": Published(
        5010,
        30,
        ((446,),),
        {"bangkok": records.location30, "dataset_location.tgz": records.location30},
        _SHOKRI,
        (
            _SHOKRI + "/raw/master/dataset_location.tgz",
            "sha256:927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33",
        ),
    ),
    "Purchase100": Published(
        197_324,
        100,
        ((600,),),
        {"dataset_purchase": records.purchase100, "dataset_purchase.tgz": records.purchase100},
        _SHOKRI,
    ),
    "Texas100": Published(
        67_330,
        100,
        ((6169,), (6170,)),
        {"texas": records.texas100, "dataset_texas.tgz": records.texas100},
        _SHOKRI,
    ),
}
_DIGITS = "digits"


def load(
    name: str,
    data_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Dataset:
    """Load a dataset by name, or a user's own by its path.

    Files are parsed once; what they hold is kept in the cache and memory-mapped from there, until
    they change.

    Parameters
    ----------
    name : str
        One of :func:`names`, case does not matter; or the path of an image folder, of a tar or
        zip archive of one, of an `.npz` file (arrays `inputs` and `labels`), or of a CSV or
        Parquet table, `PATH::COLUMN` where its label column is not `label`.
    data_dir : path, optional
        Where the published files lie, and a user's own that are not found otherwise. Without it
        `MIBENCH_DATA` is used, and without that a published file is downloaded into the cache.
    cache_dir : path, optional
        See :class:`mibench.store.Store`.
    sizes : mapping of str to int, optional
        Counts of roles and `pairs` that differ from :func:`mibench.data.splits.sizes_of`.

    Raises
    ------
    MIBenchError
        If the name is unknown, the data directory lacks the dataset's file, the file is not what
        was published, or the sizes cannot be had.
    """
    found = check_name(name, data_dir)
    title = name_of(found)
    directory = Store(cache_dir).directory
    if found == _DIGITS:
        parsed, checksum = _digits(), ""
    else:
        if found in PUBLISHED:
            path = _locate(found, data_folder(data_dir), _downloads(cache_dir))
            column = ""
        else:
            path, column = own.split_column(found)
        files = Files(path)

        def parse() -> Parsed:
            return _read(found, files) if found in PUBLISHED else own.read(files, column)

        source = [str(path.resolve()), column, files.stamp()]
        parsed, checksum = parsed_once(directory / "datasets", title, source, parse)
    return Dataset(
        title,
        parsed.inputs,
        parsed.labels,
        parsed.kind,
        checksum,
        sizes_of(title, len(parsed.labels), sizes),
    )


def names() -> tuple[str, ...]:
    """Return the names of the datasets that can be loaded by name."""
    return (_DIGITS, *PUBLISHED)


def check_name(name: str, data_dir: str | Path | None = None) -> str:
    """Return `name` as it is spelt in :func:`names`, or an existing path made absolute.

    A path is one from the working directory, else from the data directory.

    Raises
    ------
    MIBenchError
        If it is neither.
    """
    for known in names():
        if known.lower() == name.lower():
            return known
    if not name.strip():
        raise MIBenchError(f"the dataset's name is empty; known are {', '.join(names())}")
    path, column = own.split_column(name)
    for place in (path, (data_folder(data_dir) or Path()) / path):
        if place.exists():
            return f"{place.resolve()}::{column}" if "::" in name else str(place.resolve())
    if os.sep in name or path.suffix:
        raise MIBenchError(
            f"dataset {str(path)!r} does not exist, here or in the data directory; give a name or "
            "a path"
        )
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise MIBenchError(f"unknown dataset {name!r}; {hint}known are {', '.join(names())}")


def name_of(name: str, data_dir: str | Path | None = None) -> str:
    """Return the name of a dataset that is given by name or path.

    A path named like a known dataset has `_own` appended, for it has other levels and sizes.
    """
    found = check_name(name, data_dir)
    if found in names():
        return found
    title = own.own_name(found)
    return f"{title}_own" if title.lower() in map(str.lower, names()) else title


def whereabouts(name: str, data_dir: Path | None = None, cache_dir: Path | None = None) -> str:
    """Return where the files of a published dataset are, or come from, as a sentence's end."""
    if name == _DIGITS:
        return "inside scikit-learn"
    known, folder = PUBLISHED[name], data_folder(data_dir)
    directory = folder or _downloads(cache_dir)
    for form in known.forms:
        if (directory / form).exists():
            return f"found: {directory / form}"
    if folder is not None:
        return f"not in {folder}; see {known.page}"
    return f"downloaded from {known.download[0]}" if known.download else f"by hand: {known.page}"


def is_here(name: str, data_dir: str | Path | None, cache_dir: str | Path | None) -> bool:
    """Return whether a dataset can be loaded without a download."""
    known = PUBLISHED.get(check_name(name, data_dir))
    if known is None or known.download is None or data_folder(data_dir) is not None:
        return True
    return (_downloads(cache_dir) / known.download[0].rsplit("/", 1)[-1]).exists()


def data_folder(data_dir: str | Path | None) -> Path | None:
    """Return the folder of published files, given or named by `MIBENCH_DATA`, or None."""
    folder = data_dir or os.environ.get("MIBENCH_DATA")
    return Path(folder) if folder else None


def _downloads(cache_dir: str | Path | None) -> Path:
    return Store(Path(cache_dir)).directory / "downloads"


def _locate(name: str, data_dir: Path | None, downloads: Path) -> Path:
    known = PUBLISHED[name]
    listed = ", ".join(known.forms)
    if data_dir is not None:
        for form in known.forms:
            if (data_dir / form).exists():
                return data_dir / form
        raise MIBenchError(
            f"{data_dir} holds none of {listed}; give the folder of the published file of {name} "
            f"({known.page}) with --data-dir or MIBENCH_DATA"
        )
    if known.download is None:
        raise MIBenchError(
            f"{name} has no published checksum, so it is not downloaded; fetch it from "
            f"{known.page} and give the folder of one of {listed} with --data-dir or MIBENCH_DATA"
        )
    return fetch(*known.download, downloads)


def _read(name: str, files: Files) -> Parsed:
    """Read a published dataset and compare it with what is known of it."""
    known = PUBLISHED[name]
    parsed = known.forms[files.path.name](files)
    rows, shape = len(parsed.labels), parsed.inputs.shape[1:]
    if rows != known.rows or shape not in known.shapes:
        raise MIBenchError(
            f"{files.path}: expected {known.rows} samples of shape "
            f"{' or '.join(map(str, known.shapes))}, found {rows} of {shape}; download it again"
        )
    if set(np.unique(parsed.labels)) != {*range(known.classes)}:
        raise MIBenchError(
            f"{files.path}: expected {known.classes} classes, found "
            f"{len(np.unique(parsed.labels))} from {parsed.labels.min()} to "
            f"{parsed.labels.max()}; download it again"
        )
    return parsed


def _digits() -> Parsed:
    from sklearn.datasets import load_digits

    data = load_digits()
    inputs = (data.images[:, None] / 16).astype(np.float32)
    return Parsed(inputs, data.target.astype(np.int64), "image")
