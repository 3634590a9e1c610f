"""Files of a folder or an archive, read in memory, in one pass: nothing is ever extracted."""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from mibench.errors import MIBenchError

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".zip")

# An archive may hold so many times its own size, and this much in any case: what is published
# takes up to 60 times its archive's size, a bomb 1,000 times and more.
_MOST_TIMES = 200
_MOST_ANYWAY = 64 << 20
_MOST_FILES = 1_000_000

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

    def read(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of each file whose name is wanted; each is asked for once.

        Names are relative to the path, in the order in which the files lie there.

        Raises
        ------
        MIBenchError
            If something cannot be read, is no regular file, lies outside of its archive, or
            unpacks to much more than its archive.
        """
        with readable(self.path):
            if self.path.is_dir() or not is_archive(self.path):
                for name, path in sorted(self.paths().items()):
                    if wanted(name):
                        yield name, _regular(path).read_bytes()
            elif self.path.name.lower().endswith(".zip"):
                with zipfile.ZipFile(_regular(self.path)) as archive:
                    members = [info for info in archive.infolist() if not info.is_dir()]
                    no_bomb(self.path, sum(info.file_size for info in members))
                    for info in members:
                        if _inside(self.path, info.filename) and wanted(info.filename):
                            yield info.filename, archive.read(info)
            else:
                with tarfile.open(_regular(self.path)) as tar:
                    # Links are no files here: where they lead is not what was published.
                    for member in filter(tarfile.TarInfo.isfile, _members(self.path, tar)):
                        if _inside(self.path, member.name) and wanted(member.name):
                            file = tar.extractfile(member)
                            assert file is not None
                            yield member.name, file.read()

    def contents(self, endings: Iterable[str]) -> list[bytes]:
        """Return the content of the one file each that has or ends with such a name.

        Raises
        ------
        MIBenchError
            If there is none, or more than one.
        """
        found: dict[str, list[bytes]] = {ending: [] for ending in endings}

        def which(name: str) -> str | None:
            return next((e for e in found if name == e or name.endswith(f"/{e}")), None)

        for name, content in self.read(lambda name: which(name) is not None):
            found[str(which(name))].append(content)
        for ending, contents in found.items():
            if len(contents) != 1:
                what = f"{len(contents)} files" if contents else "no file"
                raise MIBenchError(f"{self.path} holds {what} {ending!r}; download it again")
        return [content for [content] in found.values()]

    def paths(self) -> dict[str, Path]:
        """Return the files of a folder by name, or the one plain file."""
        if not self.path.is_dir():
            return {self.path.name: self.path}
        with readable(self.path):
            return {name: self.path / name for name in _list_folder(self.path)}

    def stamp(self) -> list[tuple[str, int, int, int]]:
        """Return what changes whenever a file does: names, sizes, times of change in ns."""
        with readable(self.path):
            stats = [(str(path), _regular(path).stat()) for path in self.paths().values()]
        return [(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats]

    def check(self, known: Mapping[str, str]) -> None:
        """Compare files with their known digests, "algorithm:hexadecimal" by name.

        Raises
        ------
        MIBenchError
            If one is another.
        """
        for path in self.paths().values():
            if (expected := known.get(path.name)) is None:
                continue
            algorithm, _, digest = expected.partition(":")
            with readable(self.path), _regular(path).open("rb") as file:
                found = hashlib.file_digest(file, algorithm).hexdigest()
            if found != digest:
                raise MIBenchError(
                    f"{path} is not the published file ({algorithm} {found}, published "
                    f"{digest}); download it again, or give it another name as data of your own"
                )


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


def no_bomb(path: Path, size: int) -> None:
    """Raise MIBenchError for an archive that unpacks to many times its size."""
    if size > _MOST_ANYWAY + _MOST_TIMES * path.stat().st_size:
        raise MIBenchError(
            f"{path} unpacks to more than {_MOST_TIMES} times its size; do not trust this file"
        )


def _regular(path: Path) -> Path:
    if not stat.S_ISREG(path.stat().st_mode):
        raise MIBenchError(f"{path} is no regular file; give a file or folder of data")
    return path


def _inside(path: Path, name: str) -> bool:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise MIBenchError(
            f"{path} holds {name!r}, which lies outside of it; do not trust this file"
        )
    return True


def _list_folder(path: Path) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise error

    if path == path.parent:
        raise MIBenchError(f"{path} is the folder of all files; give that of the data")
    seen: set[str] = set()
    listed = 0
    for folder, _, files in os.walk(path, onerror=fail, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            raise OSError(f"the link {folder} leads to {real}, which is in it already")
        seen.add(real)
        if (listed := listed + len(files)) + len(seen) > _MOST_FILES:
            raise MIBenchError(f"{path} holds over {_MOST_FILES} files; give the data's folder")
        below = PurePosixPath(Path(folder).relative_to(path).as_posix())
        yield from (str(below / file) for file in files)


def _members(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield a tar archive's members; raise ReadError where it does not end as one does."""
    for member in archive:
        no_bomb(path, member.offset_data + member.size)
        yield member
    file = archive.fileobj
    assert file is not None
    # The module takes whatever is no header for the end.
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"it breaks off at byte {archive.offset}")
    # What is compressed is checked against its checksum where it ends.
    while block := file.read(1 << 20):
        no_bomb(path, archive.offset + len(block))
