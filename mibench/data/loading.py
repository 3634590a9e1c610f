"""Datasets by name, or a user's own by its path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from mibench.catalogue import plain, unknown
from mibench.data import own
from mibench.data.base import DATASETS, Dataset, Parsed, Published, checksum
from mibench.data.cache import parsed_once
from mibench.data.downloads import fetch
from mibench.data.files import Files
from mibench.data.splits import sizes_of
from mibench.errors import MIBenchError
from mibench.setting import Place
from mibench.store import Store


def load(
    name: str, place: Place, sizes: Literal["published"] | Mapping[str, int] | None = None
) -> Dataset:
    """Load a dataset by name, or a user's own by its path.

    Files are parsed once; what they hold is kept in the cache and memory-mapped from there, until
    they or their reader change.

    Parameters
    ----------
    name : str
        One of :data:`mibench.data.DATASETS`, case does not matter; or the path of an image folder,
        of a tar or zip archive of one, of an `.npz` file (arrays `inputs` and `labels`), or of a
        CSV or Parquet table, `PATH::COLUMN` where its label column is not `label`.
    place : Place
        `data_dir` holds the published files, and a user's own that are not found otherwise;
        without it a published file is downloaded into `cache_dir`.
    sizes : "published" or mapping of str to int, optional
        See :func:`mibench.data.splits.sizes_of`.

    Raises
    ------
    MIBenchError
        If the name is unknown, the data directory lacks the dataset's file, the file is not what
        was published, or the sizes cannot be had.
    """
    found = check_name(name, place)
    title, known = name_of(found, place), DATASETS.get(found)
    cache = Store(place.cache_dir).directory
    first_rows: Mapping[str, int] = {}
    if known is not None and known.embedded is not None:
        parsed = known.embedded()
        made = checksum(parsed.inputs, parsed.labels)
    else:
        path, column = own.split_column(found) if known is None else (_locate(known, place), "")
        files = Files(path)

        def parse() -> Parsed:
            return own.read(files, column) if known is None else _read(files, known)

        source = [str(path.resolve()), column, files.stamp()]
        module = own.__name__ if known is None else known.module
        parsed, made = parsed_once(cache / "datasets", title, source, module, parse)
        if known is not None and sizes == "published":
            first_rows = known.first_rows
        if known is not None and first_rows and path.name not in known.forms:
            raise MIBenchError(
                f"sizes: the published order of {title} is that of the published files, one of "
                f"{', '.join(known.forms)}, not of {path.name}; give roles with counts"
            )
    counts = sizes_of(title, len(parsed.labels), sizes, known)
    return Dataset(
        title, parsed.inputs, parsed.labels, parsed.kind, made, counts, first_rows, parsed.notes
    )


def describe(name: str, place: Place) -> list[str]:
    """Return in sentences what is made of a dataset's files, and what is left out."""
    data = load(name, place)
    shape = " x ".join(map(str, data.inputs.shape[1:]))
    kind = {"binary": "records of bits", "real": "records of numbers", "image": "images"}[data.kind]
    first = f"{data.name}: {len(data.labels)} {kind} ({shape}), {data.num_classes} classes"
    return [first, *data.notes]


def check_name(name: str, place: Place) -> str:
    """Return `name` as :data:`mibench.data.DATASETS` spells it, or an existing path made absolute.

    A path is one from the working directory, else from the data directory.

    Raises
    ------
    MIBenchError
        If it is neither.
    """
    for known in DATASETS:
        if os.sep not in name and plain(known) == plain(name):
            return known
    if not name.strip():
        raise MIBenchError(f"the dataset's name is empty; known are {', '.join(DATASETS)}")
    path, column = own.split_column(name)
    for candidate in (path, (place.data_dir or Path()) / path):
        if candidate.exists():
            found = str(candidate.resolve())
            return f"{found}::{column}" if "::" in name else found
    if os.sep in name or path.suffix:
        raise MIBenchError(
            f"dataset {str(path)!r} does not exist, here or in the data directory; give a name or "
            "a path"
        )
    raise unknown("dataset", name, DATASETS)


def name_of(name: str, place: Place) -> str:
    """Return the name of a dataset that is given by name or path.

    A path named like a known dataset has `_own` appended, for it has other levels and sizes.
    """
    found = check_name(name, place)
    if found in DATASETS:
        return found
    title = own.own_name(found)
    return f"{title}_own" if plain(title) in map(plain, DATASETS) else title


def whereabouts(name: str, place: Place) -> str:
    """Return where the files of a known dataset are, or come from, as a sentence's end."""
    known = DATASETS[name]
    if known.embedded is not None:
        return "comes with its reader"
    if (path := _found(known, place)) is not None:
        return f"found: {path}"
    if place.data_dir is not None:
        return f"not in {place.data_dir}; see {known.page}"
    return f"downloaded from {known.download}" if known.download else f"by hand: {known.page}"


def is_here(name: str, place: Place) -> bool:
    """Return whether a dataset can be loaded without a download."""
    known = DATASETS.get(check_name(name, place))
    if known is None or not known.download or place.data_dir is not None:
        return True
    return (_downloads(place) / known.download.rsplit("/", 1)[-1]).exists()


def _downloads(place: Place) -> Path:
    return place.cache_dir / "downloads"


def _found(known: Published, place: Place) -> Path | None:
    """Return the first form of a dataset that lies in the data directory, or was downloaded."""
    folder = place.data_dir or _downloads(place)
    return next((folder / f for f in (*known.forms, *known.copies) if (folder / f).exists()), None)


def _locate(known: Published, place: Place) -> Path:
    listed = ", ".join((*known.forms, *known.copies))
    if place.data_dir is not None:
        if (path := _found(known, place)) is not None:
            return path
        raise MIBenchError(
            f"{place.data_dir} holds none of {listed}; give the folder of the published file of "
            f"{known.name} ({known.page}) with --data-dir or MIBENCH_DATA"
        )
    if not known.download:
        raise MIBenchError(
            f"{known.name} has no published checksum, so it is not downloaded; fetch it from "
            f"{known.page} and give the folder of one of {listed} with --data-dir or MIBENCH_DATA"
        )
    digest = known.digests[known.download.rsplit("/", 1)[-1]]
    return fetch(known.download, digest, _downloads(place))


def _read(files: Files, known: Published) -> Parsed:
    """Read a known dataset and compare it with what is published of it."""
    path, official = files.path, files.path.name in known.forms
    files.check(known.digests)
    parsed = {**known.copies, **known.forms}[path.name](files)
    rows, shape = len(parsed.labels), parsed.inputs.shape[1:]
    if shape not in known.shapes or rows > known.rows or (official and rows < known.rows):
        raise MIBenchError(
            f"{path}: expected {known.rows} samples of shape "
            f"{' or '.join(map(str, known.shapes))}, found {rows} of {shape}; download it again"
        )
    if [*(found := np.unique(parsed.labels))] != [*range(known.classes)]:
        raise MIBenchError(
            f"{path}: expected {known.classes} classes, found {len(found)} from {found[0]} to "
            f"{found[-1]}; download it again"
        )
    if official:
        return parsed
    note = f"read from {path.name}, not the published file: {rows} of {known.rows} samples"
    return replace(parsed, notes=(note, *parsed.notes))
