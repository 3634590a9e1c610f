"""Whether a device's memory will do; nothing here changes what is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from mibench.errors import MIBenchError
from mibench.training.device import Device
from mibench.training.parts import network
from mibench.training.recipe import Recipe


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
def enough_memory(recipe: Recipe, device: Device) -> Iterator[None]:
    """Turn the device's running out of memory into a MIBenchError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and "can't allocate memory" not in str(error):
            raise
        raise _lacking(recipe, device, "more memory than there is") from None


def _lacking(recipe: Recipe, device: Device, needed: str, models: int = 1) -> MIBenchError:
    several = models > 1
    what = f"{models} {recipe.model} at once" if several else recipe.model
    mend = "batch_size or the number of models" if several else "batch_size"
    return MIBenchError(
        f"training {what} with batches of {recipe.batch_size} takes {needed}, but the device "
        f"{device.type} has {device.free_memory() / 1e9:.1f} GB free; lower the recipe's {mend}"
    )
