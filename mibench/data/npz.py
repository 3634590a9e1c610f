"""Reading of NPZ files that came from anybody."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mibench.errors import MIBenchError


def read_npz(
    path: Path, used: Callable[[str], bool], *checks: Callable[[Path, int], None]
) -> dict[str, Any]:
    """Return the arrays whose names are used, and None for whatever else is in the file.

    `checks` are told how many bytes it unpacks to before it is, as :func:`bound` is in any case.

    Raises
    ------
    MIBenchError
        If the file is not a complete NPZ file, is too large or holds Python objects.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise MIBenchError(f"{path} holds a single array; write an NPZ file, numpy.savez")
        with file, zipfile.ZipFile(path) as members:
            size = sum(member.file_size for member in members.infolist())
            for check in (bound, *checks):
                check(path, size)
            return {name: file[name] if used(name) else None for name in file.files}
    except MIBenchError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise MIBenchError(f"{path} cannot be read: {reason}") from None
    # A damaged file makes the readers of ZIP and NPY raise almost anything.
    except Exception as error:
        if "Object arrays" in str(error):
            raise MIBenchError(
                f"{path} holds Python objects, which are not loaded: they could run code; save "
                "plain numeric arrays with numpy.savez"
            ) from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if "pickled" in reason:  # NumPy's guess at whatever is neither ZIP nor NPY
            reason = "it is no ZIP archive"
        raise MIBenchError(
            f"{path} is not a complete NPZ file ({reason}); write it again with numpy.savez"
        ) from None


def bound(path: Path, size: int) -> None:
    """Raise MIBenchError for a file that unpacks to more bytes than half the machine's memory."""
    if size > (most := memory() // 2):
        raise MIBenchError(
            f"{path} unpacks to {size / 2**30:.1f} GiB; this machine can take "
            f"{most / 2**30:.1f} GiB, half its memory"
        )


def memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
