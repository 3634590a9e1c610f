"""The device that models are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mibench.errors import MIBenchError

if TYPE_CHECKING:
    from torch import Tensor, nn


class Draws(Protocol):
    """What copies of inputs are drawn by; NumPy's generators are such."""

    def standard_normal(self, size: tuple[int, ...], /) -> NDArray[np.floating[Any]]: ...  # noqa: D102

    def random(self, size: tuple[int, ...], /) -> NDArray[np.floating[Any]]: ...  # noqa: D102

    def integers(self, low: int, high: int, size: int, /) -> NDArray[np.int64]: ...  # noqa: D102


class _Drawn:
    """A generator that draws large arrays on a device, in single precision."""

    def __init__(self, rng: np.random.Generator, device: str):
        import torch

        generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
        self._place: Any = {"generator": generator, "device": device}
        self.integers = rng.integers

    def standard_normal(self, size: tuple[int, ...], /) -> NDArray[np.float32]:
        import torch

        return torch.randn(size, **self._place).cpu().numpy()

    def random(self, size: tuple[int, ...], /) -> NDArray[np.float32]:
        import torch

        return torch.rand(size, **self._place).cpu().numpy()


@dataclass(frozen=True)
class Device:
    """A device and how convolutional networks are trained on it.

    Attributes
    ----------
    type : {"cpu", "cuda"}
    mixed_precision : bool
        Whether forward passes of training run in bfloat16 where PyTorch holds that safe.
    channels_last : bool
        Whether images lie in memory pixel by pixel.
    """

    type: str
    mixed_precision: bool = False
    channels_last: bool = False

    def free_memory(self) -> int:
        """Return the bytes that are free on the device."""
        if self.type == "cuda":
            import torch

            return torch.cuda.mem_get_info()[0]
        import psutil

        return int(psutil.virtual_memory().available)

    def draws(self, rng: np.random.Generator) -> Draws:
        """Return what draws large arrays on the device: on the CPU `rng` itself."""
        return _Drawn(rng, self.type) if self.type == "cuda" else rng

    def laid_out(self, module: nn.Module) -> nn.Module:
        """Move a network to the device, in its memory format."""
        import torch

        if self.channels_last:
            return module.to(self.type, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module.to(self.type)

    def batch(self, inputs: Tensor) -> Tensor:
        """Return inputs on the device, in its memory format."""
        import torch

        if self.channels_last and inputs.ndim == 4:
            return inputs.to(self.type, memory_format=torch.channels_last)
        return inputs.to(self.type)


def find(wanted: str = "auto") -> Device:
    """Return the device "cpu" or "cuda"; "auto" takes CUDA where there is a device.

    Images lie channels-last on both, which pays on both (docs/performance.md has the ratio on the
    CPU); on CUDA, training uses mixed precision where the device computes in bfloat16.

    Raises
    ------
    MIBenchError
        If `wanted` is another name, or there is no CUDA device.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise MIBenchError(f"unknown device {wanted!r}; use auto, cpu or cuda")
    if wanted == "cpu":
        return Device("cpu", channels_last=True)
    # A build for CPUs says so, and PyTorch takes two seconds to load.
    there = not version("torch").endswith("+cpu")
    if there:
        import torch

        there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise MIBenchError(
            "there is no CUDA device that this PyTorch can use; install a CUDA build of PyTorch "
            "(see pytorch.org) or use device cpu"
        )
    if not there:
        return Device("cpu", channels_last=True)
    return Device("cuda", torch.cuda.is_bf16_supported(including_emulation=False), True)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
