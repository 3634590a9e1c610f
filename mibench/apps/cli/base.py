"""The command line's group and the options that several commands share."""

from __future__ import annotations

import errno
import sys
import warnings
from typing import Any

import click

from mibench import __version__
from mibench.errors import MIBenchError


class _Commands(click.Group):
    def main(self, *given: Any, **named: Any) -> Any:
        try:
            return super().main(*given, **named | {"standalone_mode": False})
        except click.ClickException as error:
            if isinstance(error, click.exceptions.NoArgsIsHelpError):
                error.show()
                sys.exit(2)
            said = error.format_message().rstrip(".")
            click.echo(f"mibench: {said[:1].lower()}{said[1:]}", err=True)
            sys.exit(2)
        except click.Abort:
            sys.exit(130)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                return super().invoke(ctx)
        except MIBenchError as error:
            click.echo(f"mibench: {error}", err=True)
            sys.exit(2)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                click.echo(
                    "mibench: no space is left on the disk; free some and run again", err=True
                )
                sys.exit(2)
            # Of a file that the user named, or of one below a folder that the user named.
            if error.filename is None:
                raise
            click.echo(f"mibench: {error.filename} cannot be used: {error.strerror}", err=True)
            sys.exit(2)


def _warn(message: Warning | str, *where: Any, **rest: Any) -> None:
    """Print a warning's sentence, without the place in the code that it comes from."""
    click.echo(f"mibench: {message}", err=True)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """MIBench: which membership inference attack really is stronger, and why papers disagree."""
