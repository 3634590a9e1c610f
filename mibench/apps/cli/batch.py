"""Commands of batches."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from mibench.apps.cli.base import main

data_dir_option = click.option("--data-dir", type=click.Path(path_type=Path))

if TYPE_CHECKING:
    from mibench.apps.batch.jobs import Outcome, Task


@main.command("run")
@click.argument("parameters", type=click.Path(path_type=Path))
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1), help="Jobs at a time."
)
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler to use instead.")
@click.option("--dry-run", is_flag=True, help="Only show what is done, what will run, how long.")
@data_dir_option
def run_batch(
    parameters: Path, workers: int, scheduler: str | None, dry_run: bool, data_dir: Path | None
) -> None:
    """Execute the notebooks named in PARAMETERS (a YAML file) through papermill.

    What must be trained is trained first, once. Executed notebooks and their results go to
    executed/DATASET/, figures to figures/, a report with a row a job to
    executed/PARAMETERS-report.csv. What is done already with the same parameters is skipped; a
    failing notebook is kept with its error and the others go on. Exit code 1 says that some
    failed. Stopped in whatever way, the same command continues.
    """
    from mibench.apps.batch import cluster
    from mibench.apps.batch import plan as batch
    from mibench.apps.batch.jobs import DiskFull
    from mibench.study import results

    tasks = batch.plan(parameters, data_dir.resolve() if data_dir else None)
    if dry_run:
        _echo_states(tasks, look=True)
        return
    report = batch.Report(parameters, tasks)
    progress = _Progress(len(report.rows))
    try:
        for outcome in cluster.run(tasks, workers, scheduler, progress.event):
            report.add(outcome)
            progress.end(outcome)
        folder = report.path.parent
        results.collect(folder)
    except KeyboardInterrupt:
        _leave("stopped; the same command continues", 130)
    except DiskFull as error:
        _leave(f"mibench: {error}", 2)
    progress.close()
    outcomes = report.outcomes
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    notebooks = [outcome for outcome in outcomes if outcome.job in tasks]
    skipped = sum(outcome.state == "skipped" for outcome in notebooks)
    lost = sum(outcome.state == "failed" for outcome in notebooks)
    click.echo(
        f"{len(notebooks) - skipped} notebooks run, {skipped} already done, {lost} failed; "
        f"{len(outcomes) - len(notebooks)} trainings"
    )
    for outcome in failed:
        click.echo(f"failed: {outcome.job.name}\n        {outcome.error}", err=True)
    click.echo(f"report: {report.path}")
    for figures in sorted({t.parameters["figures"] for t in tasks if "figures" in t.parameters}):
        click.echo(f"figures are in {figures}")
    if failed:
        sys.exit(1)


def _leave(why: str, code: int) -> NoReturn:
    """End at once: workers' threads wait for kernels, which end with this process."""
    click.echo(why, err=True)
    sys.stdout.flush()
    os._exit(code)


class _Progress:
    """A bar on a terminal, else a line an event."""

    def __init__(self, total: int):
        from tqdm import tqdm

        self.on_terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, unit="job", disable=not self.on_terminal, smoothing=0.1)
        self.running: dict[str, None] = {}
        self.lock = threading.Lock()

    def event(self, kind: str, name: str) -> None:
        with self.lock:
            self.running[name] = None
            self._show(kind, name, kind != "start")

    def end(self, outcome: Outcome) -> None:
        with self.lock:
            self.running.pop(outcome.job.name, None)
            self.bar.update()
            if outcome.state != "skipped":
                detail = outcome.error or f"{outcome.seconds:.1f} s"
                failed = outcome.state == "failed"
                self._show(outcome.state, f"{outcome.job.name}  {detail}", failed)

    def close(self) -> None:
        self.bar.close()

    def _show(self, kind: str, text: str, matters: bool) -> None:
        if matters or not self.on_terminal:
            self.bar.write(f"{time.strftime('%H:%M:%S')} {kind:8}{text}", file=sys.stdout)
            sys.stdout.flush()
        now = ", ".join(self.running)
        self.bar.set_postfix_str(now if len(now) < 60 else f"{now[:57]}...")


@main.command("status")
@click.argument("parameters", type=click.Path(path_type=Path))
@data_dir_option
def batch_status(parameters: Path, data_dir: Path | None) -> None:
    """Show what of a batch is done, running, failed and waiting, also from another shell.

    The options must be those of the run: other parameters are another batch.
    """
    from mibench.apps.batch import plan as batch

    _echo_states(batch.plan(parameters, data_dir.resolve() if data_dir else None), look=False)


def _echo_states(tasks: list[Task], look: bool) -> None:
    """Print the state of every job and an estimate; `look` into caches that no batch filled."""
    from collections import Counter

    from mibench.apps.batch import estimates
    from mibench.apps.batch import plan as batch
    from mibench.apps.batch.jobs import Job

    notebooks = [(task, task.state()) for task in tasks]
    needed = {t.name for t in batch.trainings(t for t, state in notebooks if state != "done")}
    trainings = batch.trainings(tasks)
    states: list[tuple[Job, str]] = []
    for training in trainings:
        state = training.state()
        if state == "waiting" and look and training.name in needed and training.is_cached():
            state = "done"
        if state != "waiting" or training.name in needed:
            states.append((training, state))
    states += notebooks
    for job, state in states:
        click.echo(f"{state:8}{job.name}")
    counts = Counter(state for _, state in states)
    click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))
    left = [job for job, state in states if state != "done"]
    if left:
        caches = estimates.caches(trainings)
        measured = estimates.Measured(tasks[0].output.parents[1], caches)
        click.echo(f"to go, on one worker: {measured.estimate(left)}")


@main.command("verify")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--retrain", is_flag=True, help="Train the models anew, too, in an empty cache.")
@data_dir_option
def verify_results(paths: tuple[Path, ...], retrain: bool, data_dir: Path | None) -> None:
    """Execute executed notebooks again and say whether their numbers are the same.

    PATHS are executed notebooks, the tables beside them, or folders of them. Every number must be
    equal, to the last bit; only times may differ. Exit code 1 says that some are not.
    """
    from mibench.apps.batch.verification import verify

    verdicts = verify(list(paths), data_dir, retrain)
    for verdict in verdicts:
        click.echo(f"{'differs' if verdict.differs else 'same':8}{verdict.notebook}")
        for column, text in verdict.differs.items():
            click.echo(f"        {column}: {text}")
        for name, (then, now) in verdict.versions.items():
            click.echo(f"        made with {name} {then}, now {now}")
    if any(verdict.differs for verdict in verdicts):
        sys.exit(1)
