"""Running a batch: each job when what it waits for is over, on this machine's workers or others."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pandas as pd
from joblib import cpu_count

from mibench.apps.batch.jobs import DiskFull, Job, Outcome, Tell, sentence
from mibench.apps.batch.notebooks import Task
from mibench.apps.batch.trainings import Training, training_of, trainings
from mibench.store import replacing


class Workers(Protocol):
    """Who does the jobs.

    Attributes
    ----------
    trainings, notebooks : Executor
        What the jobs of each kind are given to.
    at_once : int
        The most jobs at a time on one machine.
    in_all : int
        The jobs at a time on all machines.
    tell : Tell
        Is given to every job.
    """

    trainings: Executor
    notebooks: Executor
    at_once: int
    in_all: int
    tell: Tell

    def lost(self) -> NoReturn:
        """Raise the error of a job that was given up."""


class Threads:
    """Workers on this machine: each thread waits for a kernel or training process of its own."""

    def __init__(self, count: int, tell: Tell):
        self.trainings = self.notebooks = ThreadPoolExecutor(count)
        self.at_once = self.in_all = count
        self.tell = tell

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error what runs is left to itself; it ends with this process.
        self.notebooks.shutdown(wait=kind is None, cancel_futures=True)

    def lost(self) -> NoReturn:
        """Nobody else gives up a thread's jobs."""
        raise AssertionError


# The names of tasks that are done, and the trainings that the others need.
Seen = tuple[set[str], list[Training]]


def look(tasks: list[Task]) -> Seen:
    """Return what is done and needed; of what reads results to come nobody knows before it runs."""
    done = set[str]()
    for i, task in enumerate(tasks):
        before = tasks[:i] if task.reads else []
        if all(t.name in done for t in before if task.draws_from(t)) and task.is_done():
            done.add(task.name)
    wanted = trainings(task for task in tasks if task.name not in done)
    return done, [training for training in wanted if not training.is_done()]


def run(tasks: list[Task], workers: Workers, seen: Seen | None = None) -> Iterator[Outcome]:
    """Execute tasks, and what they need trained, and yield the outcomes as they come.

    What must be trained is a job of its own, done once however many notebooks need it, ahead
    of them; a notebook that reads results waits for all before it that make some.

    Raises
    ------
    DiskFull
        If there is no space left; what runs is abandoned.
    """
    wanted, (done, needed) = [], seen or look(tasks)
    for i, task in enumerate(tasks):
        if task.name in done:
            yield task.skipped()
        elif task.reads is None:
            before = training_of(task, needed)
            wanted.append((task, {before.name} if before else set()))
        else:
            wanted.append((task, {t.name for t in tasks[:i] if task.draws_from(t)}))
    waiting: list[tuple[Job, set[str]]] = [
        *((training, set[str]()) for training in needed),
        *wanted,
    ]
    running: dict[Future[Outcome], Job] = {}
    helpers: list[Future[None]] = []
    while waiting or running:
        left = {job.name for job, _ in waiting} | {job.name for job in running.values()}
        for job, after in waiting:
            if not after & left:
                if isinstance(job, Task):
                    future = workers.notebooks.submit(do, job, workers.at_once, workers.tell)
                else:
                    future = workers.trainings.submit(do, job, workers.at_once, workers.tell)
                running[future] = job
        # Behind all trainings: each other worker that is free has a share in every one of them.
        if not helpers:
            shared = needed * (workers.in_all - 1)
            helpers = [workers.trainings.submit(assist, t, workers.at_once) for t in shared]
        waiting = [(job, after) for job, after in waiting if after & left]
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job = running.pop(future)
            if future.cancelled():
                workers.lost()
            error = future.exception()
            if isinstance(error, DiskFull):
                raise error
            # A worker that was killed takes its job with it, as often as Dask forgives.
            tries = getattr(error, "allowed_failures", 0) + 1
            failed = Outcome(job.name, "failed", tries=tries, error=sentence(error or Exception()))
            yield failed if error else future.result()


def do(job: Job, at_once: int, tell: Tell) -> Outcome:
    """Do a job with its share of the cores of the machine that this runs on."""
    return job.run(_threads(at_once), tell)


def assist(training: Training, at_once: int) -> None:
    """Take a share in a training that another worker does."""
    training.help(_threads(at_once))


def _threads(at_once: int) -> int:
    return max(1, cpu_count() // at_once)


class Report:
    """A table of what became of every job of a batch, kept on disk from the first moment on.

    Parameters
    ----------
    file : path
        The parameter file; the report is ``executed/<its name>-report.csv``.
    jobs : list of Job
    """

    def __init__(self, file: Path, jobs: list[Job]):
        file = file.absolute()
        self.path = file.parent.parent / "executed" / f"{file.stem}-report.csv"
        self.outcomes: list[Outcome] = []
        empty = {"state": "waiting", "seconds": None, "tries": 0, "error": ""}
        self.rows: dict[str, dict[str, Any]] = {
            job.name: {"job": job.name, "kind": job.alike[0][0], **empty, "output": _output(job)}
            for job in jobs
        }

    def add(self, outcome: Outcome) -> None:
        """Note an outcome."""
        self.outcomes.append(outcome)
        found = vars(outcome)
        self.rows[outcome.name] |= {k: found[k] for k in ("state", "seconds", "tries", "error")}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            pd.DataFrame(self.rows.values()).to_csv(temporary, index=False)


def _output(job: Job) -> str:
    return str(job.output) if isinstance(job, Task) else ""
