"""Files of a folder or an archive, read in memory: nothing is ever extracted."""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath

from mibench.errors import MIBenchError

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".zip")

_UNREADABLE = (
    OSError,
    EOFError,
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    # An encrypted zip, and one compressed in a way that Python cannot undo.
    RuntimeError,
    NotImplementedError,
)


class Files:
    """The files below a path: a folder, a tar or zip archive, or one plain file.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all files, relative to the path.

        Raises
        ------
        MIBenchError
            If the archive cannot be read, or holds a member that lies outside of it.
        """
        with readable(self.path):
            names = tuple(_list(self.path))
        for name in names:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise MIBenchError(
                    f"{self.path} holds {name!r}, which lies outside of it; do not trust this file"
                )
        return names

    def find(self, ending: str) -> str:
        """Return the one name that is `ending` or ends with it below some folder.

        Raises
        ------
        MIBenchError
            If there is none, or more than one.
        """
        found = [n for n in self.names if n == ending or n.endswith(f"/{ending}")]
        if len(found) != 1:
            what = "no file" if not found else f"{len(found)} files"
            raise MIBenchError(f"{self.path} holds {what} {ending!r}; download it again")
        return found[0]

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of the named files, in the order in which they lie there."""
        with readable(self.path):
            yield from _read(self.path, frozenset(names))

    def content(self, ending: str) -> bytes:
        """Return the content of the file that :meth:`find` finds."""
        [(_, content)] = self.read([self.find(ending)])
        return content

    def stamp(self) -> list[tuple[str, int, int, int]]:
        """Return what changes whenever a file does: names, sizes, times of change in ns."""
        single = not self.path.is_dir()
        paths = [self.path] if single else [self.path / name for name in self.names]
        with readable(self.path):
            stats = [(str(p), os.stat(p)) for p in paths]
        return [(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn every error of reading `path` into one sentence."""
    try:
        yield
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MIBenchError(
            f"{path} cannot be read ({reason}); is it complete? download it again"
        ) from None


def stem(path: Path) -> str:
    """Return a path's name without its ending, `.tar.gz` and the like included."""
    for ending in ARCHIVES:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name if path.is_dir() else path.stem


def is_archive(path: Path) -> bool:
    """Return whether the name of a path is that of an archive."""
    return path.name.lower().endswith(ARCHIVES)


def _list(path: Path) -> Iterator[str]:
    if path.is_dir():
        yield from _list_folder(path)
    elif not is_archive(path):
        yield path.name
    elif path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            yield from (info.filename for info in archive.infolist() if not info.is_dir())
    else:
        with tarfile.open(path) as archive:
            # Links are no files here: where they lead is not what was published.
            yield from (member.name for member in _members(archive) if member.isfile())


def _list_folder(path: Path) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for folder, _, files in os.walk(path, onerror=fail, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            raise OSError(f"the link {folder} leads to {real}, which is in it already")
        seen.add(real)
        below = PurePosixPath(Path(folder).relative_to(path).as_posix())
        yield from (str(below / file) for file in files)


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield a tar archive's members; raise ReadError where it does not end as one does."""
    yield from archive
    file = archive.fileobj
    assert file is not None
    # The module takes whatever is no header for the end.
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"it breaks off at byte {archive.offset}")
    # What is compressed is checked against its checksum where it ends.
    while file.read(1 << 20):
        pass


def _read(path: Path, names: frozenset[str]) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for name in sorted(names):
            yield name, (path / name).read_bytes()
    elif not is_archive(path):
        yield path.name, path.read_bytes()
    elif path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename in names:
                    yield info.filename, archive.read(info)
    else:
        with tarfile.open(path) as archive:
            for member in _members(archive):
                if member.name in names and (file := archive.extractfile(member)) is not None:
                    yield member.name, file.read()
