"""The device that models are trained on, and whether its memory will do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psutil
import torch
from torch import Tensor, nn

from mibench.errors import MIBenchError
from mibench.training.recipe import Recipe, network


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
            return torch.cuda.mem_get_info()[0]
        return int(psutil.virtual_memory().available)

    def laid_out(self, module: nn.Module) -> nn.Module:
        """Move a network to the device, in its memory format."""
        if self.channels_last:
            return module.to(self.type, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module.to(self.type)

    def batch(self, inputs: Tensor) -> Tensor:
        """Return inputs on the device, in its memory format."""
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
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise MIBenchError(
            "there is no CUDA device that this PyTorch can use; install a CUDA build of PyTorch "
            "(see pytorch.org) or use device cpu"
        )
    if wanted == "cpu" or not there:
        return Device("cpu", channels_last=True)
    return Device("cuda", torch.cuda.is_bf16_supported(including_emulation=False), True)


def check_memory(
    recipe: Recipe,
    input_shape: tuple[int, ...],
    num_classes: int,
    device: Device,
    held: int,
    models: int = 1,
) -> None:
    """Raise MIBenchError if training would take more memory than the device has free.

    The network is run once without data, counting what its backward pass would keep.

    Parameters
    ----------
    held : int
        Bytes of the training data where they are held on the device.
    models : int
        How many are trained at once.
    """
    with torch.device("meta"):
        shape = (recipe.batch_size, *input_shape)
        built = network(replace(recipe, dp_noise=0.0), input_shape, num_classes)
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            built(torch.empty(shape))
    parameters = sum(4 * p.numel() for p in built.parameters())
    # Weights, gradients, two moments of the optimizer; DP-SGD has a gradient for each sample.
    copies = 4 + (recipe.batch_size if recipe.dp_noise else 0)
    needed = models * (sum(s.nbytes() for s in kept.values()) + copies * parameters) + held
    if needed > device.free_memory():
        raise _lacking(recipe, device, f"about {needed / 1e9:.1f} GB", models)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def enough_memory(recipe: Recipe, device: Device) -> Iterator[None]:
    """Turn the device's running out of memory into a MIBenchError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise _lacking(recipe, device, "more memory than there is") from None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise _lacking(recipe, device, "more memory than there is") from None


def _lacking(recipe: Recipe, device: Device, needed: str, models: int = 1) -> MIBenchError:
    what, mend = (
        (recipe.model, "batch_size")
        if models == 1
        else (f"{models} {recipe.model} at once", "batch_size or the number of models")
    )
    return MIBenchError(
        f"training {what} with batches of {recipe.batch_size} takes {needed}, but the device "
        f"{device.type} has {device.free_memory() / 1e9:.1f} GB free; lower the recipe's {mend}"
    )
