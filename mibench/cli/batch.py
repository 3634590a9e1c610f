"""Commands of batches."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mibench.cli.base import data_dir_option, main

if TYPE_CHECKING:
    from mibench.batch import Task


@main.command("run")
@click.argument("parameters", type=click.Path(path_type=Path))
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1), help="Tasks at a time."
)
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler to use instead.")
@click.option("--dry-run", is_flag=True, help="Only show what is done, what will run, how long.")
@data_dir_option
def run_batch(
    parameters: Path, workers: int, scheduler: str | None, dry_run: bool, data_dir: Path | None
) -> None:
    """Execute the notebooks named in PARAMETERS (a YAML file) through papermill.

    What must be trained is trained first, once. Executed notebooks and their results go to
    executed/DATASET/, figures to figures/. What is done already with the same parameters is
    skipped; a failing notebook is kept with its error and the others go on. Exit code 1 says
    that some failed. Stopped in whatever way, the same command continues.
    """
    from tqdm import tqdm

    from mibench import batch, cluster

    tasks = batch.plan(parameters, data_dir.resolve() if data_dir else None)
    if dry_run:
        _echo_states(tasks)
        return
    failed, skipped = [], 0
    bar = tqdm(total=len(tasks), unit="notebook", disable=not sys.stderr.isatty())

    def say(line: str) -> None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def trained(name: str, error: str | None) -> None:
        say(f"trained {name}" if error is None else f"failed  training {name}: {error}")

    try:
        for outcome in cluster.run(tasks, workers, scheduler, trained):
            bar.update()
            skipped += outcome.skipped
            if outcome.error:
                failed.append(outcome)
            if not outcome.skipped:
                say(f"{'failed' if outcome.error else 'done'}    {outcome.task.name}")
    except KeyboardInterrupt:
        click.echo("stopped; the same command continues", err=True)
        # Workers' threads wait for kernels, which end with this process.
        os._exit(130)
    bar.close()
    ran = len(tasks) - skipped
    click.echo(f"{ran} notebooks run, {skipped} already done, {len(failed)} failed")
    for outcome in failed:
        click.echo(f"failed: {outcome.task.output}\n        {outcome.error}", err=True)
    for folder in sorted({t.parameters["figures"] for t in tasks if "figures" in t.parameters}):
        click.echo(f"figures are in {folder}")
    if failed:
        sys.exit(1)


@main.command("status")
@click.argument("parameters", type=click.Path(path_type=Path))
@data_dir_option
def batch_status(parameters: Path, data_dir: Path | None) -> None:
    """Show what of a batch is done, running, failed and waiting, also from another shell.

    The options must be those of the run: other parameters are another batch.
    """
    from mibench import batch

    _echo_states(batch.plan(parameters, data_dir.resolve() if data_dir else None))


def _echo_states(tasks: Sequence[Task]) -> None:
    from collections import Counter, defaultdict

    states: Counter[str] = Counter()
    measured: defaultdict[Path, list[float]] = defaultdict(list)
    waiting = []
    for task in tasks:
        state = task.state()
        states[state] += 1
        click.echo(f"{state:8}{task.name}")
        if (seconds := task.seconds()) is not None:
            measured[task.notebook].append(seconds)
        if state != "done":
            waiting.append(task.notebook)
    click.echo(", ".join(f"{count} {state}" for state, count in states.items()))
    known = [sum(measured[n]) / len(measured[n]) for n in waiting if measured[n]]
    if waiting and known:
        unknown = len(waiting) - len(known)
        note = f", {unknown} of a kind that has not been timed yet" if unknown else ""
        click.echo(f"about {sum(known):.0f} s of notebooks to go on one worker{note}")
