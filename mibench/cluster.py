"""Batches in parallel: trainings first, then notebooks, as tasks of a Dask cluster."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from distributed import Client, Future, LocalCluster, as_completed

from mibench import batch, kernels
from mibench.batch import Outcome, Task
from mibench.errors import MIBenchError


def run(
    tasks: list[Task],
    workers: int = 1,
    scheduler: str | None = None,
    on_training: Callable[[str, str | None], None] = lambda name, error: None,
) -> Iterator[Outcome]:
    """Execute tasks and yield their outcomes as they come.

    What must be trained is a task of its own, done once however many notebooks need it, ahead
    of them; a notebook that reads results waits for all notebooks before it. Where workers
    offer the Dask resource GPU, trainings go to those.

    Parameters
    ----------
    tasks : list of Task
    workers : int
        Tasks at a time on this machine.
    scheduler : str, optional
        The address of a running Dask scheduler whose workers see the same folders.
    on_training : callable
        Told the name of each finished training and its error or None.

    Raises
    ------
    MIBenchError
        If the scheduler does not answer.
    """
    client = _client(workers, scheduler)
    try:
        yield from _run(client, tasks, workers, on_training)
    except KeyboardInterrupt:
        # Closing would wait for the kernels, which end with this process.
        raise
    except BaseException:
        _close(client)
        raise
    _close(client)


def _run(
    client: Client,
    tasks: list[Task],
    workers: int,
    on_training: Callable[[str, str | None], None],
) -> Iterator[Outcome]:
    offered = client.scheduler_info(n_workers=-1)["workers"].values()
    gpu = {"GPU": 1} if any("GPU" in w.get("resources", {}) for w in offered) else None
    trainings = _trainings(tasks)
    trained: dict[str, Future[Any]] = {
        key: client.submit(
            _apart, batch.train, settings, names, key=f"train {key}", resources=gpu, retries=2
        )
        for key, (settings, names) in trainings.items()
    }
    executed: dict[Future[Any], Task] = {}
    for task in tasks:
        if task.reads is not None:
            after = list(executed)
        else:
            after = [trained[key] for key in (_key(task),) if key in trained]
        key = f"notebook {task.name}"
        future = client.submit(_execute, task, _threads(workers), after, key=key, retries=2)
        executed[future] = task
    names = {future: key for key, future in trained.items()}
    for future in as_completed([*trained.values(), *executed]):
        error = future.exception()
        if future in names:
            on_training(names[future], str(error) if error else future.result())
        else:
            yield Outcome(executed[future], repr(error)) if error else future.result()


def _close(client: Client) -> None:
    cluster = client.cluster
    client.close()
    if cluster is not None:
        cluster.close()


def _client(workers: int, scheduler: str | None) -> Client:
    if scheduler is None:
        # Threads suffice: each waits for a kernel or a training process of its own.
        cluster = LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=False, dashboard_address=None
        )
        return Client(cluster)
    try:
        return Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise MIBenchError(f"no Dask scheduler answers at {scheduler} ({error})") from None


def _key(task: Task) -> str:
    return json.dumps(task.training, sort_keys=True)


def _trainings(tasks: list[Task]) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Return settings and attacks of each different training that is needed."""
    found: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for task in tasks:
        if task.training is None or task.is_done():
            continue
        _, names = found.setdefault(_key(task), (task.training, []))
        names += [name for name in batch.attacks_of(task) if name not in names]
    return found


def _threads(workers: int) -> int:
    return max(1, (os.cpu_count() or 1) // workers)


def _execute(task: Task, threads: int, after: list[object]) -> Outcome:
    """Execute a notebook in a kernel of `threads` threads; `after` is what had to come first."""
    kernels.use_forked_kernels(threads)
    return batch.execute(task)


def _apart(function: Callable[..., str | None], *arguments: Any) -> str | None:
    """Call a function in a process of its own, so that it cannot hold up this one."""
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("forkserver"), kernels.end_with_parent
    ) as pool:
        return pool.submit(function, *arguments).result()
