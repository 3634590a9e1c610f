"""Datasets on disk: parsed once from their files, memory-mapped ever after."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from mibench.data.base import Parsed, checksum
from mibench.store import digest

# Part of every key: raised when a reader comes to make something else of the same file.
_READERS_VERSION = 1


def parsed_once(
    directory: Path, name: str, source: object, parse: Callable[[], Parsed]
) -> tuple[Parsed, str]:
    """Return what `parse` makes of `source`, memory-mapped, and its checksum.

    Parameters
    ----------
    directory : Path
        Of all parsed datasets.
    name : str
    source : object
        What JSON can hold and what changes whenever the source does.
    parse : callable
        Called where nothing is kept under this key, or what is kept cannot be read.
    """
    key = {"name": name, "source": source, "readers": _READERS_VERSION}
    folder = directory / f"{name}-{digest(key)}"
    if (found := _read(folder)) is not None:
        return found
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if (found := _read(folder)) is None:
            parsed = parse()
            shutil.rmtree(folder, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=directory, prefix=".parsing-") as temporary:
                made = Path(temporary) / "made"
                _write(made, parsed)
                made.rename(folder)
            found = _read(folder)
        assert found is not None, folder
        return found


def _write(folder: Path, parsed: Parsed) -> None:
    folder.mkdir()
    np.save(folder / "inputs.npy", parsed.inputs)
    np.save(folder / "labels.npy", parsed.labels)
    stated = {"kind": parsed.kind, "checksum": checksum(parsed.inputs, parsed.labels)}
    (folder / "dataset.json").write_text(json.dumps(stated), encoding="utf-8")


def _read(folder: Path) -> tuple[Parsed, str] | None:
    try:
        stated = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        inputs: NDArray[Any] = np.load(folder / "inputs.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        return Parsed(inputs, labels, stated["kind"]), stated["checksum"]
    except (OSError, ValueError, EOFError, KeyError):
        return None
