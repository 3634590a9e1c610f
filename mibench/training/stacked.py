"""K perceptrons, each on its own subset, trained as one stacked model.

Small networks spend most of their time on overhead, so the models of a stack share every
operation: their layers are batched matrix products. The optimizers work elementwise, so a
stacked model follows the same path as one trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from mibench.training.device import Device
from mibench.training.recipe import Recipe, optimizer


def fit(
    recipe: Recipe,
    stack: Sequence[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    subsets: Tensor,
    seeds: Sequence[int],
    device: Device,
    describe: str,
) -> dict[str, Tensor]:
    """Train K perceptrons and return every parameter, stacked along a first axis of length K."""
    count, size = subsets.shape
    layers = [[m for m in one.modules() if isinstance(m, nn.Linear)] for one in stack]
    weights, biases = [], []
    for same in zip(*layers, strict=True):
        # Laid out as the batched products read and write them, which saves copies.
        weights.append(torch.stack([m.weight.detach().T for m in same]).contiguous())
        biases.append(torch.stack([m.bias.detach()[None] for m in same]))
    weights = [w.to(device.type).requires_grad_() for w in weights]
    biases = [b.to(device.type).requires_grad_() for b in biases]
    steps, schedule = optimizer(recipe, [*weights, *biases])
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    x, y = inputs.to(device.type), targets.to(device.type)
    bar = tqdm(total=recipe.epochs * size * count, desc=describe, unit="sample", leave=False)
    for epoch in range(recipe.epochs):
        order = torch.stack([torch.randperm(size, generator=g) for g in orders])
        for batch in order.split(recipe.batch_size, dim=1):
            index = subsets.gather(1, batch).to(device.type)
            # Summed over models, so that each model's gradient is that of its own mean loss.
            rows = x.index_select(0, index.flatten()).view(*index.shape, -1)
            logits = _forward(weights, biases, rows).flatten(0, 1)
            loss = (
                nn.functional.cross_entropy(
                    logits,
                    y[index].flatten(0, 1),
                    reduction="sum",
                    label_smoothing=recipe.label_smoothing,
                )
                / batch.shape[1]
            )
            steps.zero_grad()
            loss.backward()
            steps.step()
            bar.update(index.numel())
        schedule.step()
        bar.set_postfix(epoch=epoch + 1, loss=f"{loss.item() / count:.3f}", refresh=False)
    bar.close()
    trained = [v for pair in zip(weights, biases, strict=True) for v in (pair[0].mT, pair[1][:, 0])]
    names = [name for name, _ in stack[0].named_parameters()]
    return {n: v.detach() for n, v in zip(names, trained, strict=True)}


def _forward(weights: Sequence[Tensor], biases: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return the logits (K, b, C) of K perceptrons, each on a batch of its own (K, b, d)."""
    hidden = x
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden = torch.baddbmm(bias, hidden, weight).relu()
    return torch.baddbmm(biases[-1], hidden, weights[-1])
