"""Kernels forked from a process that has imported everything.

Starting a kernel and importing torch, pandas and matplotlib takes longer than most notebooks'
own work. Python's fork server imports them once; each kernel is a fork of it, with a memory of
its own. Kernels talk over sockets that are files in a folder that only this user may enter:
nothing listens on a network.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext, ForkServerContext, ForkServerProcess
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from mibench.catalogue import load_plugins

_NAME = "mibench-fork"
# A socket's name has at most 107 bytes (92 on some systems), of which what we add takes 50.
_LONGEST = 40


@cache
def private_folder() -> Path:
    """Return this process's folder for sockets and connection files, gone when it ends.

    Folders of processes that were killed are removed: no other holds the lock in its own.
    """
    base = Path(tempfile.gettempdir())
    if os.name == "posix" and len(os.fsencode(base)) > _LONGEST:
        base = Path("/tmp")
    for left in base.glob("mibench-*"):
        with suppress(OSError, Timeout), FileLock(left / "lock", timeout=0):
            shutil.rmtree(left)
    made = Path(tempfile.mkdtemp(prefix=".mibench-", dir=base))
    lock = FileLock(made / "lock")
    lock.acquire()
    # Under its name only once it is locked, lest another process sweep it.
    folder = made.rename(base / made.name.removeprefix("."))
    # The fork server's socket lies here as well, and its own finalizer comes before.
    tempfile.tempdir = str(folder)
    Finalize(None, _remove, (folder, lock), exitpriority=-200)
    return folder


def _remove(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()


def use_forked_kernels(threads: int, plugins: Iterable[Path] = ()) -> None:
    """Let this process start its kernels as forks of `threads` threads, where the system can.

    Kernels load `plugins` before anything else, so that a notebook that draws knows them too.
    """
    os.environ["MIBENCH_THREADS"] = str(threads)
    os.environ["MIBENCH_PLUGINS"] = json.dumps([str(file) for file in plugins])
    if "forkserver" in multiprocessing.get_all_start_methods():
        KernelProvisionerFactory.instance().default_provisioner_name = _NAME


def context() -> BaseContext:
    """Return where processes come from: forks of one that has imported everything."""
    private_folder()
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forks = multiprocessing.get_context("forkserver")
    # Heard only before the server starts, hence in the one place that hands it out.
    forks.set_forkserver_preload(["mibench.apps.batch.preloaded"])
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
    from ipykernel import kernelapp

    kernelapp.IOPubThread = _without_pipe  # type: ignore[attr-defined, assignment]
    os.setsid()
    begin_fork(int(environment["MIBENCH_THREADS"]), environment)
    load_plugins(json.loads(environment["MIBENCH_PLUGINS"]))
    # Without a parent it prints how to stop it from a terminal.
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    kernelapp.IPKernelApp.launch_instance(argv=["-f", connection, parent])


def _without_pipe(socket: Any, pipe: bool, **rest: Any) -> Any:
    """Return a kernel's thread for output; with its pipe for forks it would listen on a port."""
    from ipykernel.iostream import IOPubThread

    return IOPubThread(socket, **rest)  # type: ignore[no-untyped-call]


def begin_fork(threads: int, environment: Mapping[str, str]) -> None:
    """Let this process use so many threads, and end when the one that asked for it is gone.

    Its parent by the system's count is the fork server, whose environment is that of the first
    fork. A fork whose server was killed counts as dead, so it ends as well.
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
    parent, server = multiprocessing.parent_process(), os.getppid()
    if parent is None:
        return

    def end_with_them() -> None:
        while os.getppid() == server and not wait([parent.sentinel], timeout=1):
            pass
        os._exit(1)

    threading.Thread(target=end_with_them, daemon=True).start()
