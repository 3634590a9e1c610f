"""The command that checks an attack of one's own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mibench.apps.cli.base import PATH, main
from mibench.errors import MIBenchError


@main.command("check")
@click.argument("file", type=PATH)
def check_attacks(file: Path) -> None:
    """Run the checks that an attack must pass on those of FILE.

    They run on simulated models and take seconds. Exits with 1 where a check fails.
    """
    from mibench.attacks import ATTACKS
    from mibench.catalogue import load_plugins
    from mibench.study.checking import check

    load_plugins([file])
    path = str(file.expanduser().resolve())
    own = [
        k for k in ATTACKS.values() if getattr(sys.modules[k.__module__], "__file__", "") == path
    ]
    if not own:
        raise MIBenchError(f"{file} registers no attack; decorate its class with @register")
    failed = False
    for kind in own:
        wrong = check(kind)
        failed |= bool(wrong)
        click.echo(f"{kind.name}: {'; '.join(wrong) or 'passes every check'}")
    sys.exit(int(failed))
