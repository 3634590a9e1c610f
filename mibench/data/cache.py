"""Datasets on disk: parsed once from their files, memory-mapped ever after.

Not kept as :class:`mibench.store.Store` keeps arrays, for what is zipped cannot be mapped.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from mibench import code
from mibench.data.base import Parsed, checksum
from mibench.store import digest

# Names, sizes and times of files whose content this process has compared with its digest.
_compared: set[tuple[object, ...]] = set()


def parsed_once(
    directory: Path, name: str, source: object, module: str, parse: Callable[[], Parsed]
) -> tuple[Parsed, str]:
    """Return what `parse` makes of `source`, memory-mapped, and its checksum.

    Parameters
    ----------
    directory : Path
        Of all parsed datasets.
    name : str
    source : object
        What JSON can hold and what changes whenever the source does.
    module : str
        That of the reader; another source code of it makes another key.
    parse : callable
        Called where nothing is kept under this key, or what is kept is not what was written.
    """
    key = {"name": name, "source": source, "code": code.digest(module)}
    folder = directory / f"{name}-{digest(key)}"
    if (found := _read(folder)) is not None:
        return found
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if (found := _read(folder)) is None:
            if folder.exists():
                warnings.warn(f"{folder} is damaged; it is made anew", stacklevel=2)
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
    inputs, labels = parsed.inputs, parsed.labels
    np.save(folder / "inputs.npy", inputs)
    np.save(folder / "labels.npy", labels)
    stated = {"kind": parsed.kind, "notes": parsed.notes, "checksum": checksum(inputs, labels)}
    stated |= {"shape": inputs.shape, "type": str(inputs.dtype)}
    text = json.dumps(stated | {"digest": digest(stated)})
    (folder / "dataset.json").write_text(text, encoding="utf-8")


def _read(folder: Path) -> tuple[Parsed, str] | None:
    """Return what is kept in a folder, or None where it is not what was written."""
    try:
        stated = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        inputs: NDArray[Any] = np.load(folder / "inputs.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        stats = [(folder / f"{n}.npy").stat() for n in ("inputs", "labels")]
        expected = stated.pop("digest")
        as_stated = (
            expected == digest(stated)
            and [list(inputs.shape), str(inputs.dtype)] == [stated["shape"], stated["type"]]
            and labels.dtype == np.int64
            and labels.shape == inputs.shape[:1]
        )
        state = (expected, *((s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats))
        if not as_stated or (
            state not in _compared and checksum(inputs, labels) != stated["checksum"]
        ):
            return None
        _compared.add(state)
        return Parsed(inputs, labels, stated["kind"], tuple(stated["notes"])), stated["checksum"]
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError):
        return None
