"""Batches in parallel: trainings first, then notebooks, as tasks of a Dask cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, as_completed, get_worker

from mibench.apps.batch import plan as batch
from mibench.apps.batch.jobs import DiskFull, Job, Outcome, Task, Training
from mibench.errors import MIBenchError

_INTERRUPTIONS = (KeyboardInterrupt, DiskFull)
# Seconds for a scheduler to answer, and for its first worker.
_PATIENCE = 20


def run(
    tasks: list[Task],
    workers: int = 1,
    scheduler: str | None = None,
    on_event: Callable[[str, str], None] = lambda kind, name: None,
) -> Iterator[Outcome]:
    """Execute tasks, and what they need trained, and yield the outcomes as they come.

    What must be trained is a job of its own, done once however many notebooks need it, ahead
    of them; a notebook that reads results waits for all notebooks before it. Where workers
    offer the Dask resource GPU, trainings go to those and notebooks rather to the others.

    Parameters
    ----------
    tasks : list of Task
    workers : int
        Jobs at a time on this machine.
    scheduler : str, optional
        The address of a running Dask scheduler whose workers see the same folders.
    on_event : callable
        Told "start" or "retry" and the name of a job, in a thread of Dask's.

    Raises
    ------
    MIBenchError
        If the scheduler does not answer or has no workers.
    DiskFull
        If there is no space left; what runs is abandoned.
    """
    client = _client(workers, scheduler)
    try:
        yield from _Run(client, on_event).all(tasks)
    except _INTERRUPTIONS:
        # Closing would wait for the kernels, which end with this process.
        raise
    except BaseException:
        _close(client)
        raise
    _close(client)


class _Run:
    """One batch on one cluster."""

    def __init__(self, client: Client, on_event: Callable[[str, str], None]):
        self.client = client
        self.topic = f"mibench-{client.id}"
        started: set[str] = set()

        def event(message: tuple[float, dict[str, str]]) -> None:
            kind, name = message[1]["kind"], message[1]["name"]
            # A worker that is lost says nothing; its jobs start again on another.
            on_event("retry" if name in started else kind, name)
            started.add(name)

        client.subscribe_topic(self.topic, event)
        offered = client.scheduler_info(n_workers=-1)["workers"]
        on_host: Counter[str] = Counter()
        for worker in offered.values():
            on_host[worker["host"]] += worker["nthreads"]
        self.at_once = max(on_host.values(), default=1)
        gpu = [a for a, worker in offered.items() if "GPU" in worker.get("resources", {})]
        self.without_gpu = [address for address in offered if gpu and address not in gpu]
        self.has_gpu = bool(gpu)

    def all(self, tasks: list[Task]) -> Iterator[Outcome]:
        jobs: dict[Future[Any], Job] = {}
        over: set[str] = set()
        later: list[tuple[Task, set[str]]] = []
        wanted = []
        for i, task in enumerate(tasks):
            if task.reads is not None:
                later.append((task, {before.name for before in tasks[:i]}))
            elif task.is_done():
                over.add(task.name)
                yield task.skipped()
            else:
                wanted.append(task)
        trained: dict[str, Future[Any]] = {}
        needed = [training for training in batch.trainings(wanted) if not training.is_done()]
        for training in needed:
            # Most notebooks wait for them, so few trainings have the cores of many workers.
            share = min(self.at_once, len(needed))
            trained[training.name] = future = self._submit(training, at_once=share)
            jobs[future] = training
        for task in wanted:
            needs = batch.training_of(task, needed)
            jobs[self._submit(task, trained[needs.name] if needs else None)] = task
        finished = as_completed(list(jobs))
        while True:
            ready = [task for task, before in later if before <= over]
            later = [(task, before) for task, before in later if not before <= over]
            for task in ready:
                future = self._submit(task)
                jobs[future] = task
                finished.add(future)
            if finished.is_empty():
                return
            future = next(finished)
            job = jobs.pop(future)
            over.add(job.name)
            yield self._outcome(future, job)

    def _submit(
        self, job: Job, after: Future[Any] | None = None, at_once: int | None = None
    ) -> Future[Any]:
        training = isinstance(job, Training)
        return self.client.submit(
            _execute,
            job,
            at_once or self.at_once,
            self.topic,
            after,
            # Other batches on this cluster may have jobs of the same name.
            key=f"{job.name} {self.client.id}",
            resources={"GPU": 1} if self.has_gpu and training else None,
            workers=None if training else self.without_gpu or None,
            allow_other_workers=not training and bool(self.without_gpu),
        )

    def _outcome(self, future: Future[Any], job: Job) -> Outcome:
        error = future.exception()
        if error is None:
            outcome: Outcome | DiskFull = future.result()
            if isinstance(outcome, DiskFull):
                raise outcome
            return outcome
        tries = getattr(error, "allowed_failures", 0) + 1  # a KilledWorker's; else the first
        return Outcome(job, "failed", tries=tries, error=f"{type(error).__name__}: {error}")


def _execute(job: Job, at_once: int, topic: str, after: object) -> Outcome | DiskFull:
    """Do a job with its share of the cores; `after` is what had to come first."""

    def tell(kind: str, name: str) -> None:
        get_worker().log_event(topic, {"kind": kind, "name": name})

    try:
        return job.run(max(1, CPU_COUNT // at_once), tell)
    except DiskFull as error:
        # Raised here, Dask would print where it came from.
        return error


def _client(workers: int, scheduler: str | None) -> Client:
    if scheduler is None:
        # Threads suffice: each waits for a kernel or a training process of its own.
        cluster = LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=False, dashboard_address=None
        )
        return Client(cluster)
    try:
        client = Client(scheduler, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        raise MIBenchError(f"no Dask scheduler answers at {scheduler} ({error})") from None
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        client.close()
        raise MIBenchError(
            f"the Dask scheduler at {scheduler} has no workers; start one with: "
            f"dask worker {scheduler}"
        ) from None
    return client


def _close(client: Client) -> None:
    cluster = client.cluster
    client.close()
    if cluster is not None:
        cluster.close()
