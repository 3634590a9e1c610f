"""Commands of batches."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mibench.apps.cli.base import ATTACKS_HELP, PATH, main
from mibench.apps.cli.settings import pairs, place_options
from mibench.look import many
from mibench.setting import Place

if TYPE_CHECKING:
    from mibench.apps.batch.jobs import Job, Outcome
    from mibench.apps.batch.notebooks import Task


def _parameter_file(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument and the options by which a batch is named."""
    for option in (
        place_options("data_dir"),
        click.option(
            "--set",
            "values",
            metavar="NAME=VALUE",
            multiple=True,
            help="A value for all notebooks.",
        ),
        click.option("--attacks", metavar="NAMES", help=ATTACKS_HELP),
        click.argument("parameters", type=PATH),
    ):
        command = option(command)
    return command


def _plan(
    parameters: Path, attacks: str | None, values: tuple[str, ...], place: Place
) -> list[Task]:
    from mibench.apps.batch import plan

    given = pairs("set", values) | place.model_dump(mode="json", include=place.model_fields_set)
    if attacks is not None:
        given["attacks"] = attacks
    return plan.plan(parameters, given)


@main.command("run")
@_parameter_file
@click.option("--workers", default=1, type=click.IntRange(1), help="Jobs at a time.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="A running Dask scheduler to use: tls:// or tcp://."
)
@click.option("--dry-run", is_flag=True, help="Only show what is done, what will run, how long.")
def run_batch(workers: int, scheduler: str | None, dry_run: bool, **named: Any) -> None:
    """Execute the notebooks that PARAMETERS, a YAML file, names.

    Through papermill. What must be trained is trained first, once. Executed notebooks and their
    results go to executed/DATASET/, figures to figures/, a report with one row per job to
    executed/PARAMETERS-report.csv. What is done already, with the same values and the same code,
    is skipped; a failing notebook is kept with its error and the others go on. Exit code 1 says
    that some failed. However it was interrupted, run the same command to resume.

    Paths, here and in PARAMETERS: ~ is the home folder; relative ones are those of the working
    directory.
    """
    from mibench.apps.batch import running
    from mibench.apps.batch.jobs import DiskFull
    from mibench.store import Store, check_folders, unwritable
    from mibench.study import parquet, results

    tasks = _plan(**named)
    figures = sorted({t.parameters["figures"] for t in tasks if "figures" in t.parameters})
    executed, own = tasks[0].output.parents[1], dict.fromkeys(t.output.parent for t in tasks)
    together = [folder / kind for folder in (executed, *own) for kind in parquet.TOGETHER]
    caches = {task.place.cache_dir for task in tasks}
    folders = [executed, *own, *together, *map(Path, figures)]
    seen = running.look([] if dry_run else tasks)
    if len(seen[0]) == len(tasks) and any(map(unwritable, [*caches, *folders])):
        click.echo(f"0 notebooks run, {len(tasks)} already done")
        return
    for cache in caches:
        Store(cache).check()
    if dry_run:
        _echo_states(tasks, look=True)
        return
    check_folders(folders)
    jobs: list[Job] = [*seen[1], *tasks]
    report = running.Report(named["parameters"], jobs)
    progress = _Progress(jobs, tasks, workers)
    try:
        with _workers(workers, scheduler, progress) as pool:
            for outcome in running.run(tasks, pool, seen):
                report.add(outcome)
                progress.end(outcome)
        results.collect(report.path.parent)
    except KeyboardInterrupt:
        _leave("stopped; run the same command to resume", 130)
    except DiskFull as error:
        _leave(f"mibench: {error}", 2)
    progress.bar.close()
    names, outcomes = {task.name for task in tasks}, report.outcomes
    states = Counter(outcome.state for outcome in outcomes if outcome.name in names)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    untrained = len(failed) - states["failed"]
    click.echo(
        f"{many(states['done'] + states['failed'], 'notebook')} run, {states['skipped']} already "
        f"done, {states['failed']} failed; {many(len(outcomes) - states.total(), 'training')}"
        f"{f', {untrained} failed' if untrained else ''}"
    )
    for outcome in failed:
        click.echo(f"failed: {outcome.name}\n        {outcome.error}", err=True)
    click.echo(f"report: {report.path}")
    for folder in figures:
        if any(Path(folder).glob("*")):
            click.echo(f"figures are in {folder}")
    if failed:
        sys.exit(1)


def _workers(count: int, scheduler: str | None, progress: _Progress) -> Any:
    from mibench.apps.batch.running import Threads
    from mibench.errors import MIBenchError

    if scheduler is None:
        return Threads(count, progress.event)
    try:
        from mibench.apps.batch.cluster import Cluster, risk
    except ModuleNotFoundError:
        raise MIBenchError("--scheduler needs Dask: pip install 'mibench[cluster]'") from None
    if warning := risk(scheduler):
        click.echo(f"mibench: {warning}", err=True)
    return Cluster(scheduler, progress.event)


def _leave(why: str, code: int) -> NoReturn:
    """End at once: workers' threads wait for kernels, which end with this process."""
    click.echo(why, err=True)
    sys.stdout.flush()
    os._exit(code)


class _Progress:
    """A bar on a terminal, else a line per event; with the time left, from what was measured."""

    def __init__(self, jobs: list[Job], tasks: list[Task], workers: int):
        from tqdm import tqdm

        self.on_terminal = sys.stderr.isatty()
        self.bar = tqdm(total=len(jobs), unit="job", disable=not self.on_terminal)
        self.left = {job.name: job for job in jobs}
        self.measured, self.workers = _measured(tasks), workers
        self.running: dict[str, None] = {}
        self.lock = threading.Lock()

    def event(self, kind: str, name: str) -> None:
        with self.lock:
            self.running[name] = None
            self._show(kind, name, kind != "start")

    def end(self, outcome: Outcome) -> None:
        with self.lock:
            self.running.pop(outcome.name, None)
            job = self.left.pop(outcome.name)
            self.bar.update()
            if outcome.state != "skipped":
                self.measured.note(job, outcome.seconds)
                left = self.measured.estimate(self.left.values()).spread(self.workers)
                detail = outcome.error or f"{outcome.seconds:.1f} s{left}"
                failed = outcome.state == "failed"
                self._show(outcome.state, f"{outcome.name}  {detail}", failed)

    def _show(self, kind: str, text: str, matters: bool) -> None:
        if matters or not self.on_terminal:
            self.bar.write(f"{time.strftime('%H:%M:%S')} {kind:8}{text}", file=sys.stdout)
            sys.stdout.flush()
        now = ", ".join(self.running)
        self.bar.set_postfix_str(now if len(now) < 60 else f"{now[:57]}...")


def _measured(tasks: list[Task]) -> Any:
    from mibench.apps.batch.estimates import Measured

    return Measured(tasks[0].output.parents[1], {task.place.cache_dir for task in tasks})


@main.command("status")
@_parameter_file
def batch_status(**named: Any) -> None:
    """Show what of a batch is done, stale, waiting or failed.

    Also what is running, from another shell.
    Stale is what was made from something that has changed since, or of which a notebook that runs
    first makes more; it is named. The options must be those of the run: other values are another
    batch.
    """
    _echo_states(_plan(**named), look=False)


def _echo_states(tasks: list[Task], look: bool) -> None:
    """Print the state of every job and an estimate.

    `look` into caches that no batch filled, and at how much work each training is.
    """
    from mibench.apps.batch import estimates
    from mibench.apps.batch.trainings import trainings

    notebooks: list[tuple[Task, str]] = []
    sooner: dict[str, list[str]] = {}
    for task in tasks:
        before = notebooks if task.reads else []
        ahead = [t for t, state in before if state not in ("done", "failed")]
        sooner[task.name] = [f"{t.name} runs first" for t in ahead if task.draws_from(t)]
        state = task.state()
        notebooks.append((task, "stale" if state == "done" and sooner[task.name] else state))
    needed = {t.name for t in trainings(t for t, state in notebooks if state != "done")}
    states: list[tuple[Job, str]] = []
    measured, unlike = _measured(tasks), list[tuple[Any, float, float]]()
    for training in trainings(tasks):
        state, wanted = training.state(), training.name in needed
        if state == "waiting" and look and wanted and training.is_cached():
            state = "done"
        if state == "waiting" and not wanted:
            continue
        work = training.work() if state == "waiting" and look else None
        states.append((training, state))
        click.echo(f"{state:8}{training.name}{estimates.of_work(work) if work else ''}")
        if work and measured.estimate([training]).unknown:
            unlike.append((training, work.seconds, work.bytes))
    for computed in unlike:
        measured.note(*computed)
    for task, state in notebooks:
        changed = task.stale() + sooner[task.name] if state == "stale" else []
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        why = f"  {', '.join(changed[:3])}{more}" if changed else ""
        click.echo(f"{state:8}{task.name}{why}")
    states += notebooks
    counts = Counter(state for _, state in states)
    click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))
    if left := [job for job, state in states if state != "done"]:
        click.echo(f"to go, on one worker: {measured.estimate(left)}")


@main.command("verify")
@click.argument("paths", nargs=-1, required=True, type=PATH)
@click.option("--retrain", is_flag=True, help="Train the models anew, too, in an empty cache.")
@place_options("data_dir")
def verify_results(paths: tuple[Path, ...], retrain: bool, place: Place) -> None:
    """Re-run finished notebooks and compare their numbers.

    PATHS are executed notebooks, the tables beside them, or folders of them. Every number must be
    equal, to the last bit; only times may differ. Exit code 1 says that some are not.
    """
    from mibench.apps.batch.verification import verify

    verdicts = verify(list(paths), place.data_dir, retrain)
    for verdict in verdicts:
        click.echo(f"{'differs' if verdict.differs else 'same':8}{verdict.notebook}")
        for column, text in verdict.differs.items():
            click.echo(f"        {column}: {text}")
        for name, (then, now) in verdict.versions.items():
            click.echo(f"        made with {name} {then}, now {now}")
    if any(verdict.differs for verdict in verdicts):
        sys.exit(1)
