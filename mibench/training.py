"""Training: K models of one architecture, each on its own subset, as one stacked model.

Small networks spend most of their time on overhead, so the K models of a stack share every
operation: their layers are batched matrix products. Adam works elementwise, so a stacked model
follows the same path as one trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from tqdm.auto import tqdm

from mibench import models

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: Adam on cross entropy, no early stopping."""

    model: str = "MLP"
    epochs: int = 50
    batch_size: int = 64
    learning_rate: float = 1e-3


def train(
    recipe: Recipe,
    inputs: NDArray[np.float32],
    targets: NDArray[np.generic],
    subsets: NDArray[np.int64],
    num_classes: int,
    seeds: Sequence[int],
    describe: str = "training",
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

    Returns
    -------
    dict of str to float32 array
        Every parameter, stacked along a first axis of length K.
    """
    count, size = subsets.shape
    stack = []
    with torch.random.fork_rng():
        for seed in seeds:
            torch.manual_seed(seed)
            stack.append(models.build(recipe.model, inputs.shape[1:], num_classes))
    base = stack[0]
    weights, biases = _stacked_layers(stack)
    optimizer = torch.optim.Adam([*weights, *biases], lr=recipe.learning_rate, fused=True)
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    x, y = torch.from_numpy(inputs), torch.from_numpy(targets)
    members = torch.from_numpy(subsets)
    bar = tqdm(range(recipe.epochs), desc=describe, unit="epoch", leave=False, mininterval=0.5)
    for _ in bar:
        order = torch.stack([torch.randperm(size, generator=g) for g in orders])
        for batch in order.split(recipe.batch_size, dim=1):
            index = members.gather(1, batch)
            target = y[index]
            # Summed over models, so that each model's gradient is that of its own mean loss.
            loss = (
                nn.functional.cross_entropy(
                    _forward(weights, biases, x[index]).flatten(0, 1),
                    target.flatten(0, 1),
                    reduction="sum",
                )
                / batch.shape[1]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        bar.set_postfix(loss=f"{loss.item() / count:.3f}", refresh=False)
    trained = [v for pair in zip(weights, biases, strict=True) for v in (pair[0].mT, pair[1][:, 0])]
    names = [name for name, _ in base.named_parameters()]
    return {n: v.detach().numpy().copy() for n, v in zip(names, trained, strict=True)}


def _stacked_layers(stack: Sequence[nn.Module]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights (K, in, out) and biases (K, 1, out) of every layer of K perceptrons."""
    layers = [[m for m in one.modules() if isinstance(m, nn.Linear)] for one in stack]
    weights, biases = [], []
    for same in zip(*layers, strict=True):
        # Laid out as the batched products read and write them, which saves copies.
        weights.append(torch.stack([m.weight.detach().T for m in same]).contiguous())
        biases.append(torch.stack([m.bias.detach()[None] for m in same]))
    return [w.requires_grad_() for w in weights], [b.requires_grad_() for b in biases]


def _forward(weights: Sequence[Tensor], biases: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return the logits (K, b, C) of K perceptrons, each on a batch of its own (K, b, ...)."""
    hidden = x.flatten(2)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden = torch.baddbmm(bias, hidden, weight).relu()
    return torch.baddbmm(biases[-1], hidden, weights[-1])


def predict(
    model: str, weights: Weights, inputs: NDArray[np.float32], num_classes: int
) -> NDArray[np.float32]:
    """Return the logits of K stacked models on n inputs, (K, n, C)."""
    base = models.build(model, inputs.shape[1:], num_classes).eval()
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    count = len(next(iter(weights.values())))
    logits: list[Tensor] = []
    with torch.no_grad():
        for k in range(count):
            one = {name: value[k] for name, value in tensors.items()}
            chunks = torch.from_numpy(inputs).split(8192)
            logits.append(torch.cat([functional_call(base, one, (chunk,)) for chunk in chunks]))
    return torch.stack(logits).numpy()
