"""A training step recorded on CUDA as a graph, and played again.

A step launches hundreds of small operations, which takes the host longer than they take
the device (docs/performance.md has the ratio). A graph launches them all at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mibench.training.device import Device

Step = Callable[[Tensor], Tensor]
# Of one size, so many steps run first as they are: libraries choose their kernels in them and
# optimizers make their moments.
FIRST = 3


def recorded(step: Step, device: Device) -> Step:
    """Return a step of training, on CUDA one that is recorded for every shape of its indices."""
    return _Recorded(step) if device.type == "cuda" else step


class _Recorded:
    """A step of training from the indices of a batch, recorded for every shape of them.

    Parameters
    ----------
    step : callable
        Takes indices on the device and returns a tensor. All else that it reads or changes has to
        stay where it is in memory.
    """

    def __init__(self, step: Step):
        self._step = step
        self._seen: Counter[torch.Size] = Counter()
        self._graphs: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        # One graph at a time runs, so all may use the same memory.
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, index: Tensor) -> Tensor:
        """Make one step; what is returned holds until the next."""
        shape = index.shape
        if shape not in self._graphs:
            self._seen[shape] += 1
            if self._seen[shape] <= FIRST:
                return self._step(index)
            self._record(index)
        graph, read, returned = self._graphs[shape]
        read.copy_(index)
        graph.replay()
        return returned

    def _record(self, index: Tensor) -> None:
        read, graph = index.clone(), torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        with torch.cuda.graph(graph, self._pool, stream, capture_error_mode="thread_local"):
            returned = self._step(read)
        self._graphs[index.shape] = graph, read, returned


@contextmanager
def own_stream(device: Device) -> Iterator[None]:
    """On CUDA, work on a stream of one's own for a while: the default one cannot be recorded."""
    if device.type == "cpu":
        yield
        return
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)
