"""Kernels forked from a process that has imported everything.

Starting a kernel and importing torch, pandas and matplotlib takes longer than most notebooks'
own work. Python's fork server imports them once; each kernel is a fork of it, with a memory of
its own.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import threading
from collections.abc import Mapping
from multiprocessing.context import BaseContext, ForkServerContext, ForkServerProcess
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

_NAME = "mibench-fork"
_PRELOADED = [
    "ipykernel.kernelapp",
    "mibench.study.study",
    "mibench.figures",
    "mibench.study.results",
]


def use_forked_kernels(threads: int) -> None:
    """Let this process start its kernels as forks of `threads` threads, where the system can."""
    os.environ["MIBENCH_THREADS"] = str(threads)
    if "forkserver" in multiprocessing.get_all_start_methods():
        KernelProvisionerFactory.instance().default_provisioner_name = _NAME


def context() -> BaseContext:
    """Return where processes come from: forks of one that has imported everything."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forks = multiprocessing.get_context("forkserver")
    # Heard only before the server starts, hence in the one place that hands it out.
    forks.set_forkserver_preload(_PRELOADED)
    return forks


class ForkProvisioner(LocalProvisioner):
    """Starts a kernel as a fork; jupyter_client finds it by its entry point."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork a kernel in place of running `cmd`."""
        connection = cmd[cmd.index("-f") + 1]
        fork = cast("ForkServerContext", context())
        process = fork.Process(target=_serve, args=(connection, kwargs["env"]))
        process.start()
        self.process = cast("subprocess.Popen[bytes]", _Popen(process))
        self.pid = process.pid
        self.pgid = None
        return self.connection_info


class _Popen:
    """The part of subprocess.Popen that LocalProvisioner uses, for a forked process."""

    stdin = stdout = stderr = None

    def __init__(self, process: ForkServerProcess):
        self._process = process
        self.pid = process.pid
        self.kill, self.terminate = process.kill, process.terminate

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, signum: int) -> None:
        if self.pid is not None and self.poll() is None:
            os.kill(self.pid, signum)


def _serve(connection: str, environment: dict[str, str]) -> None:
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    begin_fork(int(environment["MIBENCH_THREADS"]), environment)
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    IPKernelApp.launch_instance(argv=["-f", connection, parent])


def begin_fork(threads: int, environment: Mapping[str, str]) -> None:
    """Let this process use so many threads, and end when the one that asked for it is gone.

    Its parent by the system's count is the fork server, which lives as long as its forks do and
    whose environment is that of the first fork.
    """
    os.environ.update(environment)
    import torch
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm

    # Its own is shared with other processes, and is never given back by one that is killed.
    tqdm.set_lock(threading.RLock())

    # What OMP_NUM_THREADS would say, but the libraries are loaded already.
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
