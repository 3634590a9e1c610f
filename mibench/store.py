"""Arrays on disk, keyed by everything that made them."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pooch
from filelock import FileLock
from numpy.typing import NDArray

from mibench.errors import MIBenchError

Arrays = dict[str, NDArray[Any]]


def digest(key: Mapping[str, Any]) -> str:
    """Return a short name for a key; equal keys, and only those, give equal names."""
    text = json.dumps(key, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what is written there takes its place at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Store:
    """A directory of array files, each made once, also when several processes ask for it.

    Parameters
    ----------
    directory : path, optional
        Defaults to `MIBENCH_CACHE`, then to the user's cache directory.

    Raises
    ------
    MIBenchError
        If it is a file.
    """

    def __init__(self, directory: str | Path | None = None):
        default = os.environ.get("MIBENCH_CACHE") or pooch.os_cache("mibench") / "signals"
        self.directory = Path(directory or default)
        if self.directory.is_file():
            raise MIBenchError(
                f"the cache {self.directory} is a file; name a folder with --cache-dir or "
                "MIBENCH_CACHE"
            )

    def file(self, kind: str, key: Mapping[str, Any], ending: str) -> Path:
        """Return where a file of this key lies or will lie, in a folder that is there."""
        path = self.directory / kind / f"{digest(key)}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def get(self, kind: str, key: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays stored under `key`, made by `make` where there are none.

        A file that cannot be read is made anew.
        """
        path = self.file(kind, key, ".npz")
        if (found := _read(path)) is not None:
            return found
        with FileLock(f"{path}.lock"):
            if (found := _read(path)) is not None:
                return found
            arrays = make()
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            with replacing(path.with_suffix(".json")) as temporary:
                temporary.write_text(json.dumps(key, indent=1, default=str))
            return arrays


def _read(path: Path) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
