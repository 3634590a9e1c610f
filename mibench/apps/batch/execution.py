"""The execution of a notebook through papermill, and what is written into it at the end."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_output
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from traitlets.config import Config

from mibench.apps.batch import jobs, kernels


class _WrittenOnce(NBClientEngine):  # type: ignore[misc]
    """Papermill's engine; a notebook is written when it has ended, not at each cell's ends."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **settings: Any
    ) -> None:
        # Nobody reads it before, and two writings of each cell take as long as a kernel's start.
        output, nb_man.output_path = nb_man.output_path, None
        try:
            super().execute_managed_notebook(nb_man, kernel_name, **settings)
        finally:
            nb_man.output_path = output


papermill_engines.register("written once", _WrittenOnce)


def execute(
    notebook: Path, output: Path, parameters: dict[str, Any], time_limit: int | None
) -> tuple[str, bool]:
    """Execute a notebook once and return its error, if any, and whether its kernel died."""
    with tempfile.TemporaryDirectory(dir=kernels.private_folder()) as folder:
        sockets = {"transport": "ipc", "ip": str(Path(folder) / "k")} if os.name != "nt" else {}
        manager = {"connection_file": str(Path(folder) / "kernel.json"), **sockets}
        try:
            papermill.execute_notebook(
                notebook,
                output,
                parameters,
                engine_name="written once",
                progress_bar=False,
                kernel_name="python3",
                language="python",
                execution_timeout=time_limit,
                config=Config({"KernelManager": manager}),
                # What a kernel has to write is written by its cells.
                shutdown_kernel="immediate",
            )
        except (DeadKernelError, *jobs.SERVER_GONE) as problem:
            return jobs.sentence(problem), True
        except Exception as problem:  # one failing notebook never takes the others down
            return jobs.sentence(problem), False
    return "", False


def finish(executed: Path, error: str, noted: dict[str, Any]) -> None:
    """Write the error that an execution ended with, and what is noted of it, into the notebook."""
    made = nbformat.read(executed, as_version=4)
    _drop_bars(made)
    if error:
        _show_error(made, error)
    made.metadata["mibench"] = noted
    nbformat.write(made, executed)


def _drop_bars(made: nbformat.NotebookNode) -> None:
    """Take away what is left of progress bars that have ended: a widget that shows nothing."""
    bar = re.compile(r"\d%\|.*\| \d+/\d+ \[")
    for cell in (cell for cell in made.cells if cell.cell_type == "code"):
        cell.outputs = [
            output
            for output in cell.outputs
            if not bar.search(str(output.get("data", {}).get("text/plain", "")))
        ]


def _show_error(made: nbformat.NotebookNode, error: str) -> None:
    """Add an error that no cell shows, a time limit's or a dead kernel's, to the cell it ended."""
    cells = [cell for cell in made.cells if cell.cell_type == "code"]
    if any(output.output_type == "error" for cell in cells for output in cell.outputs):
        return
    for cell in [c for c in cells if c.metadata.papermill.get("start_time")][-1:]:
        name, _, value = error.partition(": ")
        cell.outputs.append(new_output("error", ename=name, evalue=value, traceback=[error]))
