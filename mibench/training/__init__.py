"""Training: K models of one recipe, each on its own subset; and what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call

from mibench import models
from mibench.training import single, stacked
from mibench.training.device import Device, check_memory, find
from mibench.training.recipe import (
    DEFENCES,
    Recipe,
    network,
    recipe,
    trained_as,
    without_defence,
)

__all__ = [
    "DEFENCES",
    "Device",
    "Recipe",
    "Weights",
    "check",
    "find",
    "network",
    "predict",
    "recipe",
    "stacks",
    "train",
    "trained_as",
    "without_defence",
]

Weights = dict[str, NDArray[Any]]
_CPU = find("cpu")


def check(recipe: Recipe, input_shape: tuple[int, ...], num_classes: int) -> None:
    """Raise MIBenchError if a recipe's network cannot be built for such inputs."""
    with torch.device("meta"):
        network(recipe, input_shape, num_classes)


def stacks(recipe: Recipe, input_shape: tuple[int, ...], num_classes: int) -> bool:
    """Return whether models of this recipe are trained all at once, not one after the other."""
    alone = recipe.patience is not None or recipe.augmentation or recipe.dp_noise
    with torch.device("meta"):
        return not alone and models.is_perceptron(network(recipe, input_shape, num_classes))


def train(
    recipe: Recipe,
    inputs: NDArray[np.float32],
    targets: NDArray[np.generic],
    subsets: NDArray[np.int64],
    num_classes: int,
    seeds: Sequence[int],
    describe: str = "training",
    device: Device = _CPU,
    validation: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
    checkpoint: Path | None = None,
) -> Weights:
    """Train K models, model k on the samples `subsets[k]`.

    Parameters
    ----------
    recipe : Recipe
    inputs : float32 array, (N, ...)
    targets : (N,) int64 classes, or (N, C) float32 posteriors of a teacher
    subsets : int64 array, (K, m)
    num_classes : int
    seeds : sequence of K int
        Seed of each model's initial weights and order of batches; a model's result does not
        depend on the others of its stack.
    describe : str
        The progress bar's text.
    device : Device
    validation : inputs and classes, optional
        What a recipe with patience is stopped by.
    checkpoint : Path, optional
        The file that a stopped training goes on from, where models are trained one at a time.

    Returns
    -------
    dict of str to array
        Every parameter and buffer, stacked along a first axis of length K.

    Raises
    ------
    MIBenchError
        If the network does not take such inputs or the device lacks memory.
    """
    shape, stack = inputs.shape[1:], stacks(recipe, inputs.shape[1:], num_classes)
    held = inputs.nbytes if device.type == "cuda" else 0
    batch = replace(recipe, batch_size=min(recipe.batch_size, subsets.shape[1]))
    check_memory(batch, shape, num_classes, device, held, len(seeds) if stack else 1)
    networks = []
    with torch.random.fork_rng():
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(network(recipe, shape, num_classes))
    x, y, members = map(torch.from_numpy, (inputs, targets, subsets))
    if stack:
        found = stacked.fit(recipe, networks, x, y, members, seeds, device, describe)
        return {name: value.cpu().numpy().copy() for name, value in found.items()}
    held_out = None
    if validation is not None:
        held_out = torch.from_numpy(validation[0]), torch.from_numpy(validation[1])
    states = []
    for k, (one, seed) in enumerate(zip(networks, seeds, strict=True)):
        file = checkpoint.with_suffix(f".{k}.pt") if checkpoint else None
        states.append(
            single.fit(recipe, one, x, y, members[k], seed, device, describe, held_out, file)
        )
    return {name: np.stack([s[name].cpu().numpy() for s in states]) for name in states[0]}


def predict(
    recipe: Recipe,
    weights: Weights,
    inputs: NDArray[np.float32],
    num_classes: int,
    device: Device = _CPU,
) -> NDArray[np.float32]:
    """Return the logits of K stacked models on n inputs, (K, n, C), in single precision."""
    base = device.laid_out(network(recipe, inputs.shape[1:], num_classes)).eval()
    # On a CPU few images at once, whose hidden units fit its cache.
    size = 8192 if inputs.ndim == 2 else 64 if device.type == "cpu" else 256
    logits = []
    with torch.no_grad():
        for k in range(len(next(iter(weights.values())))):
            # A copy: single numbers, such as batch normalisation's counts, are no arrays.
            one = {n: torch.tensor(v[k], device=device.type) for n, v in weights.items()}
            chunks = torch.from_numpy(inputs).split(size)
            logits.append(
                torch.cat(
                    [
                        # Strict, lest a network of another form answer with its initial weights.
                        functional_call(base, one, (device.batch(c),), strict=True).cpu()
                        for c in chunks
                    ]
                )
            )
    return torch.stack(logits).numpy()
