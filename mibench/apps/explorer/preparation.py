"""Training in a process of its own, whose progress can be followed and which can be stopped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from mibench.errors import MIBenchError

# What a progress bar of tqdm prints: "training target:  42%|###  | 21/50 [00:03<00:04, ..."
_BAR = re.compile(r"([^:\r\x1b]+):\s*\d+%\|.*\|\s*(\d+)/(\d+) \[[\d:]+<([\d:?]+)")

Report = Callable[[str, float], None]


class Training:
    """The command ``mibench attack`` in a process of its own, which leaves its models in the cache.

    A process, because it can be ended at any moment, whatever it is doing, and because controls
    answer while it works.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self.stopped = False

    def run(self, arguments: Sequence[str], report: Report) -> None:
        """Run the command and wait for its end.

        Parameters
        ----------
        arguments : sequence of str
            Those of ``mibench attack``.
        report : callable
            Is given what is being done and the share of it that is done, 0 to 1.

        Raises
        ------
        MIBenchError
            If the command fails, with the sentence it printed, or if it was stopped.
        """
        command = [sys.executable, "-m", "mibench", "attack"]
        last = "it was stopped"
        with self._lock:
            if self.stopped:
                raise MIBenchError(last)
            self._process = subprocess.Popen(
                [*command, *arguments],
                env=os.environ | {"TQDM_DISABLE": ""},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
            )
        with self._process as process:
            assert process.stderr is not None
            # Universal newlines: every state of a progress bar ends with a carriage return.
            for line in process.stderr:
                if bar := _BAR.search(line):
                    what, done, all_of_it, left = bar.groups()
                    said = f"{what.strip()}: {done} of {all_of_it}"
                    said += "" if "?" in left else f", {left} left"
                    report(said, int(done) / max(int(all_of_it), 1))
                elif line.strip():
                    last = line.strip()
        if process.returncode != 0:
            raise MIBenchError(last.removeprefix("mibench: "))

    def stop(self) -> None:
        """End the process now, or keep it from starting."""
        with self._lock:
            self.stopped = True
            if self._process is not None:
                self._process.terminate()
