"""The workers of a running Dask scheduler; the only file that needs Dask."""

from __future__ import annotations

import logging
import multiprocessing
from collections import Counter
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import urlsplit

from distributed import Client, get_worker

from mibench.apps.batch.jobs import Tell
from mibench.errors import MIBenchError

# Seconds for a scheduler to answer, for its first worker, and to come back when it is lost.
_PATIENCE = 20
_WORKER = "DASK_DISTRIBUTED__WORKER__DAEMON=False dask worker"


class Cluster:
    """Workers on any number of machines that see the same folders.

    Where workers offer the Dask resource GPU, trainings go to those and notebooks rather to the
    others.

    Raises
    ------
    MIBenchError
        If the scheduler does not answer or has no workers.
    """

    def __init__(self, address: str, tell: Tell):
        self.address = address
        # What they say is told in one sentence instead.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self.client = _client(address)
        self.tell = _Tell(f"mibench-{self.client.id}")
        started: set[str] = set()

        def event(message: tuple[float, dict[str, str]]) -> None:
            kind, name = message[1]["kind"], message[1]["name"]
            # A worker that is lost says nothing; its jobs start again on another.
            tell("retry" if name in started else kind, name)
            started.add(name)

        self.client.subscribe_topic(self.tell.topic, event)
        offered = self.client.scheduler_info(n_workers=-1)["workers"]
        on_host: Counter[str] = Counter()
        for worker in offered.values():
            on_host[worker["host"]] += worker["nthreads"]
        self.at_once, self.in_all = max(on_host.values(), default=1), on_host.total()
        gpu = {a for a, worker in offered.items() if "GPU" in worker.get("resources", {})}
        self.trainings = self.client.get_executor(pure=False, resources={"GPU": 1} if gpu else None)
        self.notebooks = self.client.get_executor(
            pure=False, workers=[*(offered.keys() - gpu)] or None, allow_other_workers=True
        )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def lost(self) -> NoReturn:
        """Raise the error of a scheduler that is gone: Dask gives up all its jobs."""
        raise MIBenchError(
            f"the Dask scheduler at {self.address} is gone; start it and its workers again, then "
            "run the same command to resume"
        )


@dataclass(frozen=True)
class _Tell:
    """Tells the batch, from a worker, what becomes of a job."""

    topic: str

    def __call__(self, kind: str, name: str) -> None:
        get_worker().log_event(self.topic, {"kind": kind, "name": name})


def risk(address: str) -> str:
    """Return a warning of an address at which others may run what they like, else nothing."""
    found = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        local = ip_address(found.hostname or "").is_loopback
    except ValueError:
        local = found.hostname == "localhost"
    if local or found.scheme == "tls":
        return ""
    return (
        f"{address} is neither encrypted nor asks who calls: whoever reaches it can run anything "
        "on its workers; use tls:// or a private network"
    )


def _is_daemonic() -> bool:
    return multiprocessing.current_process().daemon


def _client(address: str) -> Client:
    try:
        client = Client(address, timeout=_PATIENCE)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        keys = "; tls:// needs the keys distributed.comm.tls of Dask's configuration"
        hint = keys if address.startswith("tls") else ""
        raise MIBenchError(f"no Dask scheduler answers at {address} ({error}){hint}") from None
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        client.close()
        raise MIBenchError(
            f"the Dask scheduler at {address} has no workers; start one with: {_WORKER} {address}"
        ) from None
    if any(client.run(_is_daemonic).values()):
        client.close()
        raise MIBenchError(
            f"the workers of the Dask scheduler at {address} may start no processes, which kernels "
            f"are; start them with: {_WORKER} {address}"
        )
    return client
