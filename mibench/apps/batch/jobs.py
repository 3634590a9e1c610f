"""What trainings and notebooks have in common as jobs of a batch."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from mibench.errors import MIBenchError

_TRIES = 3
# What a killed server of forks leaves those who ask it, beside what their libraries say.
SERVER_GONE = (EOFError, ConnectionError)

# Is told "start" or "retry", and the name of a job.
Tell = Callable[[str, str], None]


class DiskFull(MIBenchError):
    """No space is left, so that nothing else of a batch can succeed either."""


class Job(Protocol):
    """A training or the execution of a notebook."""

    @property
    def name(self) -> str:
        """What it is called; different jobs of a batch have different names."""

    @property
    def alike(self) -> list[tuple[str, ...]]:
        """Names of what its time can be estimated from, the most similar first."""

    def is_done(self) -> bool:
        """Return whether all it makes is there, made from what is there now."""

    def run(self, threads: int, tell: Tell) -> Outcome:
        """Do it on `threads` threads."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    name : str
        The job's.
    state : {"done", "skipped", "failed"}
    seconds : float
        What it took; of a skipped one, when it was done.
    tries : int
    error : str
        Empty unless it failed.
    """

    name: str
    state: str
    seconds: float = 0.0
    tries: int = 1
    error: str = ""


def attempt(name: str, tell: Tell, once: Callable[[], tuple[str, bool]]) -> Outcome:
    """Do a job, again where its process dies.

    Parameters
    ----------
    name : str
    tell : Tell
    once : callable
        Does it and returns its error, empty for none, and whether its process died.

    Raises
    ------
    DiskFull
    """
    began = time.monotonic()
    for tries in range(1, _TRIES + 1):
        tell("start" if tries == 1 else "retry", name)
        error, died = once()
        if not died:
            break
    stop_if_full(error, name)
    seconds = round(time.monotonic() - began, 2)
    return Outcome(name, "failed" if error else "done", seconds, tries, error)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, an empty one where it cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # missing or broken: making it again mends it
        return {}
    return found if isinstance(found, dict) else {}


def is_held(lock: Path) -> bool:
    """Return whether a process holds a lock."""
    if not lock.exists():
        return False
    try:
        FileLock(lock).acquire(blocking=False).lock.release()
    except Timeout:
        return True
    except OSError:  # of a folder that cannot be written
        return False
    return False


def stop_if_full(error: str, name: str) -> None:
    """Raise DiskFull if that is what an error says."""
    if any(os.strerror(code) in error for code in (errno.ENOSPC, errno.EDQUOT)):
        raise DiskFull(f"no space is left on the disk ({name}: {error}); free some and run again")


def sentence(problem: BaseException) -> str:
    """Return an error in one line."""
    name, value = getattr(problem, "ename", None), getattr(problem, "evalue", None)
    if name:
        return f"{name}: {value}"
    lines = [line for line in str(problem).splitlines() if line.strip("- ")]
    return f"{type(problem).__name__}: {lines[0] if lines else ''}"
