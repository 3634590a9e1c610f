"""The command line's group and the options that several commands share."""

from __future__ import annotations

import errno
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from mibench import __version__
from mibench.errors import MIBenchError

PATH = click.Path(path_type=Path)
results_option = click.option(
    "--results",
    "folder",
    default="executed",
    type=PATH,
    help="Folder of executed notebooks and their result tables.",
)
ATTACKS_HELP = "Attacks or groups, with commas between."
dataset_option = click.option("--dataset", help="Only this dataset's (default: all).")


class _Commands(click.Group):
    def main(self, *given: Any, **named: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                return super().main(*given, **named | {"standalone_mode": False})
        except click.Abort:
            sys.exit(130)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(2)
        except click.ClickException as error:
            said = error.format_message().rstrip(".")
            said = f"{said[:1].lower()}{said[1:]}"
            if isinstance(error, click.MissingParameter) and error.ctx:
                said += f"; {error.ctx.command_path} --help says what it is"
        except MIBenchError as error:
            said = str(error)
        except OSError as error:
            said = f"{error.filename} cannot be used: {error.strerror}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                said = "no space is left on the disk; free some and run again"
            # Of a file that the user named, or of one below a folder that the user named.
            elif error.filename is None:
                raise
        click.echo(f"mibench: {said}", err=True)
        sys.exit(2)


def echo_table(rows: Iterable[Iterable[str]], align: str) -> None:
    """Print rows in columns; the last is wrapped to what is left of the line.

    With textwrap, because rich would be one more dependency for four tables.

    Parameters
    ----------
    rows : iterable of iterable of str
        The first has the columns' names.
    align : str
        ``<`` or ``>`` for each column but the last, which stands to the left.
    """
    listed = [[*row] for row in rows]
    widths = [max(len(row[i]) for row in listed) for i in range(len(align))]
    for row in listed:
        cells = "".join(
            f"{cell:{side}{width}}  " for cell, side, width in zip(row, align, widths, strict=False)
        )
        echo_wrapped(row[-1], cells, " " * len(cells))


def echo_wrapped(text: str, first: str = "", rest: str = "", err: bool = False) -> None:
    """Print a text in lines as wide as the terminal, or 80 columns, behind what indents them."""
    said = textwrap.fill(
        text,
        shutil.get_terminal_size().columns,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    click.echo(said, err=err)


def _warn(message: Warning | str, *where: Any, **rest: Any) -> None:
    """Print a warning's sentence, without the place in the code that it comes from."""
    click.echo(f"mibench: {message}", err=True)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(__version__)
def main() -> None:
    """MIBench: which membership inference attack really is stronger, and why papers disagree."""
