"""K models of one recipe, each trained on its own subset; and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call

from mibench import progress
from mibench.errors import MIBenchError
from mibench.models import MODELS
from mibench.training import single, stacked
from mibench.training.device import Device, cpu_threads, find
from mibench.training.memory import check_memory, enough_memory
from mibench.training.parts import network
from mibench.training.recipe import Recipe
from mibench.training.recorded import own_stream

Weights = dict[str, NDArray[Any]]
Answering = Callable[[NDArray[np.float32]], NDArray[np.float32]]
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


def stacks(recipe: Recipe, input_shape: tuple[int, ...], num_classes: int, device: Device) -> bool:
    """Return whether models of this recipe are trained several at once, not one by one."""
    alone = recipe.patience is not None or recipe.augmentation or recipe.dp_noise
    with torch.device("meta"):
        return not alone and stacked.stacks(network(recipe, input_shape, num_classes), device)


def together(recipe: Recipe, input_shape: tuple[int, ...], num_classes: int, device: Device) -> int:
    """Return how many models of this recipe are trained as one piece of work on a device."""
    return stacked.AT_ONCE if stacks(recipe, input_shape, num_classes, device) else 1


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
    shape, stack = inputs.shape[1:], stacks(recipe, inputs.shape[1:], num_classes, device)
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
    with enough_memory(recipe, device), bar, own_stream(device):
        x, y = x.to(device.type), y.to(device.type)
        if stack:
            size = stacked.AT_ONCE if device.type == "cpu" else k
            parts = [slice(first, first + size) for first in range(0, k, size)]
            given = [(networks[p], x, y, members[p], seeds[p]) for p in parts]
            states = [stacked.fit(recipe, *part, device, bar) for part in given]
        else:
            files = [checkpoint and checkpoint.with_suffix(f".{i}.pt") for i in range(k)]
            each = zip(networks, members, seeds, files, strict=True)
            # Others may decide anew in every step, which a recorded one would not.
            ours = MODELS[recipe.model].module.startswith("mibench.")
            states = [
                single.fit(recipe, one, x, y, subset, seed, device, bar, held_out, file, ours)
                for one, subset, seed, file in each
            ]
    join = np.concatenate if stack else np.stack
    return {name: join([s[name].cpu().numpy() for s in states]) for name in states[0]}


def answering(
    recipe: Recipe,
    weights: Weights,
    input_shape: tuple[int, ...],
    num_classes: int,
    device: Device = _CPU,
) -> Answering:
    """Return what K stacked models answer: from inputs (n, ...) their logits, (K, n, C).

    Logits are in single precision; where the network has convolutions, CUDA rounds what they read
    to TF32.
    """
    base = device.laid_out(network(recipe, input_shape, num_classes)).eval()
    # A copy: single numbers, such as batch normalisation's counts, are no arrays.
    models = [
        {n: torch.tensor(v[k], device=device.type) for n, v in weights.items()}
        for k in range(len(next(iter(weights.values()))))
    ]
    # On a CPU few images at once, whose hidden units fit its cache.
    size = 8192 if len(input_shape) == 1 else 64 if device.type == "cpu" else 1024

    def answer(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        # Rounded as in training, however many threads are free: others learn from these answers.
        with torch.no_grad(), cpu_threads(recipe.threads):
            chunks = torch.from_numpy(inputs).to(device.type).split(size)
            # Strict, lest a network of another form answer with its initial weights.
            logits = [
                torch.cat(
                    [functional_call(base, one, (device.batch(c),), strict=True) for c in chunks]
                )
                for one in models
            ]
            return torch.stack(logits).cpu().numpy()

    return answer


def predict(
    recipe: Recipe,
    weights: Weights,
    inputs: NDArray[np.float32],
    num_classes: int,
    device: Device = _CPU,
) -> NDArray[np.float32]:
    """Return the logits of K stacked models on n inputs, (K, n, C), in single precision."""
    return answering(recipe, weights, inputs.shape[1:], num_classes, device)(inputs)
