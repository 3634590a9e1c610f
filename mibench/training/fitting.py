"""K models of one recipe, each trained on its own subset; and what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call

from mibench import progress
from mibench.errors import MIBenchError
from mibench.training import single, stacked
from mibench.training.device import Device, cpu_threads, find
from mibench.training.memory import check_memory, enough_memory
from mibench.training.parts import network
from mibench.training.recipe import Recipe

Weights = dict[str, NDArray[Any]]
_CPU = find("cpu")


def try_out(recipe: Recipe, input_shape: tuple[int, ...], num_classes: int) -> None:
    """Raise MIBenchError if a network that is not of this package does not answer with logits."""
    try:
        with torch.device("meta"):
            answered = network(recipe, input_shape, num_classes)(torch.empty(2, *input_shape))
        if answered.shape != (2, num_classes):
            raise ValueError(f"it answers {tuple(answered.shape)}, not {(2, num_classes)}")
    except MIBenchError:
        raise
    except Exception as error:  # a user's own network may raise anything
        given = f"{recipe.model} cannot be used on 2 samples of shape {input_shape}"
        raise MIBenchError(f"{given}: {type(error).__name__}: {error}") from error


def stacks(recipe: Recipe, input_shape: tuple[int, ...], num_classes: int) -> bool:
    """Return whether models of this recipe are trained several at once, not one by one."""
    alone = recipe.patience is not None or recipe.augmentation or recipe.dp_noise
    with torch.device("meta"):
        return not alone and is_perceptron(network(recipe, input_shape, num_classes))


def together(recipe: Recipe, input_shape: tuple[int, ...], num_classes: int) -> int:
    """Return how many models of this recipe are trained as one piece of work."""
    return stacked.AT_ONCE if stacks(recipe, input_shape, num_classes) else 1


def is_perceptron(network: nn.Module) -> bool:
    """Return whether a network is nothing but dense layers with rectifiers between them."""
    layers = [m for m in network.modules() if not isinstance(m, (nn.Sequential, nn.Flatten))]
    return all(isinstance(layer, nn.ReLU if i % 2 else nn.Linear) for i, layer in enumerate(layers))


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
    batch = replace(recipe, batch_size=min(recipe.batch_size, max(2, subsets.shape[1])))
    check_memory(batch, shape, num_classes, device, held, len(seeds) if stack else 1)
    held_out = None
    if validation is not None:
        held_out = torch.from_numpy(validation[0]), torch.from_numpy(validation[1])
    networks = []
    with torch.random.fork_rng():
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(network(recipe, shape, num_classes))
    x, y, members = (torch.from_numpy(given) for given in (inputs, targets, subsets))
    total, k = recipe.epochs * subsets.size, len(seeds)
    bar = progress.bar(total=total, desc=describe, unit="sample")
    with enough_memory(recipe, device), bar:
        x, y = x.to(device.type), y.to(device.type)
        if stack:
            size = stacked.AT_ONCE if device.type == "cpu" else k
            parts = [slice(first, first + size) for first in range(0, k, size)]
            given = [(networks[p], x.flatten(1), y, members[p], seeds[p]) for p in parts]
            states = [stacked.fit(recipe, *part, bar) for part in given]
        else:
            files = [checkpoint and checkpoint.with_suffix(f".{i}.pt") for i in range(k)]
            each = zip(networks, members, seeds, files, strict=True)
            states = [
                single.fit(recipe, one, x, y, subset, seed, device, bar, held_out, file)
                for one, subset, seed, file in each
            ]
    join = np.concatenate if stack else np.stack
    return {name: join([s[name].cpu().numpy() for s in states]) for name in states[0]}


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
    # Rounded as in training, however many threads are free: others learn from these answers.
    with torch.no_grad(), cpu_threads(recipe.threads):
        for k in range(len(next(iter(weights.values())))):
            # A copy: single numbers, such as batch normalisation's counts, are no arrays.
            one = {n: torch.tensor(v[k], device=device.type) for n, v in weights.items()}
            # Strict, lest a network of another form answer with its initial weights.
            answers = [
                functional_call(base, one, (device.batch(chunk),), strict=True).cpu()
                for chunk in torch.from_numpy(inputs).split(size)
            ]
            logits.append(torch.cat(answers))
    return torch.stack(logits).numpy()
