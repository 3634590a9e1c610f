"""Arrays on disk, keyed by everything that made them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from mibench.errors import MIBenchError

Arrays = dict[str, NDArray[Any]]

_ABOUT = "about this file"
_ELSEWHERE = "; name a folder with cache_dir or MIBENCH_CACHE"


class NotMade(Exception):
    """What was asked for is not there, and is not to be made, or not to be waited for."""


def digest(key: Mapping[str, Any]) -> str:
    """Return a short name for a key; equal keys, and only those, give equal names."""
    return hashlib.sha256(_text(key).encode()).hexdigest()[:20]


def safe(name: str, reserved: Collection[str] = ()) -> str:
    """Return a name for a file in letters, digits and ``._+-``; unlike names stay unlike."""
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "_", name).lstrip(".")[:80]
    if name and plain == name and name not in reserved:
        return name
    return f"{plain}-{digest({'name': name})[:8]}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what is written there takes its place at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def unwritable(folder: Path, named: Path | None = None) -> str:
    """Return why nothing can be written in a folder, which need not be there; nothing if it can.

    It names the folder that is in the way, where that is another than `named` or `folder`.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    try:
        with tempfile.TemporaryFile(dir=there):
            return ""
    except OSError as error:
        told = there.absolute() == (named or folder).absolute()
        return ("" if told else f"{there}: ") + os.strerror(error.errno or 0)


def check_folders(folders: Iterable[Path]) -> None:
    """Raise MIBenchError for the first folder in which nothing can be written; none is made."""
    for folder in folders:
        if file := next((path for path in (folder, *folder.parents) if path.is_file()), None):
            raise MIBenchError(
                f"{file} is a file where a folder belongs; remove it or choose another folder"
            )
        if cause := unwritable(folder):
            raise MIBenchError(
                f"{folder} cannot be written ({cause}); mend it or choose another folder"
            )


class Store:
    """A directory of array files, each made once, also when several processes ask for it.

    A file holds its key and the SHA-256 of each array; both are compared on reading, and what is
    damaged is made anew.

    Parameters
    ----------
    directory : path
    makes : bool
        Whether what is lacking is made; if not, :class:`NotMade` is raised, without waiting for
        a process that is making it.

    Attributes
    ----------
    asked : set of str
        The files that were asked for, below the directory.
    made : bool
        Whether any of them had to be made.
    waits : bool
        Whether what another process is making is waited for; if not, :class:`NotMade` is raised.

    Raises
    ------
    MIBenchError
        If the directory is a file.
    """

    def __init__(self, directory: Path, makes: bool = True):
        self.directory, self.makes = directory, makes
        self.asked: set[str] = set()
        self.made, self.waits = False, True
        if self.directory.is_file():
            raise MIBenchError(f"the cache {self.directory} is a file{_ELSEWHERE}")

    def check(self, kind: str = "weights") -> None:
        """Raise MIBenchError where nothing of a kind can be written; no folder is made."""
        if cause := unwritable(self.directory / kind, self.directory):
            raise MIBenchError(
                f"the cache {self.directory} cannot be written ({cause}){_ELSEWHERE}"
            )

    def file(self, kind: str, key: Mapping[str, Any], ending: str) -> Path:
        """Return where a file of this key lies or will lie."""
        return self.directory / kind / f"{digest(key)}{ending}"

    def get(self, kind: str, key: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays stored under `key`, made by `make` where there are none."""
        path = self.file(kind, key, ".npz")
        self.asked.add(str(path.relative_to(self.directory)))
        if (found := _read(path, key)) is not None:
            return found
        if not self.makes:
            raise NotMade(kind)
        self.check(kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(f"{path}.lock", timeout=-1 if self.waits else 0).acquire()
        except Timeout:
            raise NotMade(kind) from None
        with lock:
            if (found := _read(path, key)) is not None:
                return found
            self.made, arrays = True, make()
            about = {"key": _text(key), "sha256": {n: _sha256(a) for n, a in arrays.items()}}
            said = np.frombuffer(json.dumps(about).encode(), np.uint8)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **{_ABOUT: said}, **arrays)  # type: ignore[arg-type]
            return arrays


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True, default=str)


def _sha256(array: NDArray[Any]) -> str:
    said = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(said + np.ascontiguousarray(array).tobytes()).hexdigest()


def _read(path: Path, key: Mapping[str, Any]) -> Arrays | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        about = json.loads(arrays.pop(_ABOUT).tobytes())
        sound = about["key"] == _text(key)
        sound &= about["sha256"] == {name: _sha256(array) for name, array in arrays.items()}
    # A damaged file makes the readers of ZIP, NPY and JSON raise almost anything.
    except (OSError, ValueError, EOFError, LookupError, TypeError, AttributeError):
        sound = False
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, SyntaxError, MemoryError):
        sound = False
    if not sound:
        warnings.warn(f"{path} is damaged; it is made anew", stacklevel=3)
        return None
    return arrays
