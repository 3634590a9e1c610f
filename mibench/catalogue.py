"""Open catalogues: what has a name and is found by it, shipped, installed or a user's own file."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from mibench import code
from mibench.errors import MIBenchError

T = TypeVar("T")


class Catalogue(Mapping[str, T], Generic[T]):
    """Things of one kind by name, in the order in which they were added.

    A package adds its own through the entry point group ``mibench.<kind>s``: each entry point names
    a module that registers something when it is imported. A user's file does so through
    :func:`load_plugins`.

    Parameters
    ----------
    kind : str
        What a thing is, in words: "attack".
    title : callable, optional
        What a thing is called in figures; it is found by that too.
    """

    def __init__(self, kind: str, title: Callable[[T], str] = lambda thing: ""):
        self.kind, self._title = kind, title
        self._things: dict[str, T] = {}
        self._installed = False

    def add(self, name: str, thing: T) -> None:
        """Make a thing known by its name; one of the same name gives way.

        A file that is loaded again brings a new class of an old name.
        """
        self._things[name] = thing

    def find(self, name: str) -> str:
        """Return a name as it is spelt here; case and punctuation do not matter.

        Raises
        ------
        MIBenchError
            If nothing has it.
        """
        if name in self:
            return name
        wanted = plain(str(name))
        for known, thing in self.items():
            if wanted and wanted in (plain(known), plain(self._title(thing))):
                return known
        raise unknown(self.kind, name, self)

    def __getitem__(self, name: str) -> T:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, T]:
        if not self._installed:
            self._installed = True
            for point in entry_points(group=f"mibench.{self.kind}s"):
                point.load()
        return self._things


def unknown(kind: str, name: object, known: Iterable[str]) -> MIBenchError:
    """Return the error of a name that nothing has, with what may have been meant."""
    names = [*known]
    hint = meant(name, names)
    return MIBenchError(f"unknown {kind} {str(name)!r}; {hint}known are {', '.join(names)}")


def meant(name: object, known: Iterable[str]) -> str:
    """Return a question whether the known name most like `name` was meant; nothing if none is."""
    spelt = {n.lower(): n for n in known}
    close = difflib.get_close_matches(str(name).lower(), spelt, n=1)
    return f"did you mean {spelt[close[0]]}? " if close else ""


def plain(name: str) -> str:
    """Return a name's letters and digits in lower case."""
    return "".join(c for c in name.lower() if c.isalnum())


def load_plugins(files: Iterable[str | Path]) -> None:
    """Run a user's files, each of which registers attacks, models or datasets.

    A file is run once, and again after it has changed.

    Raises
    ------
    MIBenchError
        If a file is missing or fails.
    """
    for file in files:
        path = Path(os.path.expanduser(file)).resolve()
        try:
            source = path.read_bytes()
        except OSError as error:
            raise MIBenchError(f"plugin {path} cannot be read: {error.strerror}") from None
        _run(path, source)


@cache
def _run(path: Path, source: bytes) -> None:
    # A module of its own name, so that two files called attack.py are two.
    module = ModuleType(f"mibench_plugin_{plain(str(path))}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    code.note(path, source)
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except MIBenchError:
        raise
    except Exception as error:  # a user's file may raise anything
        raise MIBenchError(
            f"plugin {path} cannot be loaded: {type(error).__name__}: {error}"
        ) from None
