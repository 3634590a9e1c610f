"""K perceptrons, each on its own subset, trained as one stacked model.

Small networks spend most of their time on overhead, so the models of a stack share every
operation: their layers are batched matrix products. The optimizers work elementwise, so a stacked
model follows the same path as one trained alone. The gradients are written by hand, since they
and what the layers read then lie in the same arrays in every step; torch.func.vmap makes new arrays
of megabytes each time (docs/performance.md has the ratio).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mibench.training.parts import optimizer
from mibench.training.recipe import Recipe

# So many models' weights, gradients and moments stay in a processor's cache.
AT_ONCE = 16
Many = list[Tensor]


@torch.no_grad()
def fit(
    recipe: Recipe,
    stack: Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    subsets: Tensor,
    seeds: Sequence[int],
    bar: Any,
) -> dict[str, Tensor]:
    """Train K perceptrons where `x` lies; return each parameter, stacked along a first axis."""
    layers = ([m for m in one.modules() if isinstance(m, nn.Linear)] for one in stack)
    alike = list(zip(*layers, strict=True))
    # (K, read, written) and (K, 1, written): as the batched products take them, without copies.
    weights = [torch.stack([m.weight.T for m in k]).contiguous().to(x.device) for k in alike]
    biases = [torch.stack([m.bias[None] for m in k]).to(x.device) for k in alike]
    for parameter in (*weights, *biases):
        parameter.grad = torch.empty_like(parameter)
    steps, schedule = optimizer(recipe, [*weights, *biases])
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    read_by_size: dict[int, Many] = {}
    for epoch in range(recipe.epochs):
        order = torch.stack([torch.randperm(subsets.shape[1], generator=g) for g in orders])
        for batch in order.split(recipe.batch_size, dim=1):
            index, size = subsets.gather(1, batch).to(x.device), batch.shape[1]
            if size not in read_by_size:
                read_by_size[size] = [w.new_empty(len(w), size, w.shape[1]) for w in weights]
            read = read_by_size[size]
            torch.index_select(x, 0, index.flatten(), out=read[0].flatten(0, 1))
            loss = _loss(read, weights, biases, y[index], recipe.label_smoothing)
            steps.step()
            bar.update(index.numel())
        schedule.step()
        bar.set_postfix(epoch=epoch + 1, loss=loss.item() / batch.numel(), refresh=False)
    trained = [t for w, b in zip(weights, biases, strict=True) for t in (w.mT, b[:, 0])]
    return {n: t for (n, _), t in zip(stack[0].named_parameters(), trained, strict=True)}


def _loss(read: Many, weights: Many, biases: Many, y: Tensor, smoothing: float) -> Tensor:
    """Set the gradients of each model's mean loss on its batch, and return the sum of all losses.

    `read` holds what the first layer reads, and takes what the others do, (K, batch, read).
    """
    for i, written in enumerate(read[1:]):
        torch.baddbmm(biases[i], read[i], weights[i], out=written).relu_()
    logits = torch.baddbmm(biases[-1], read[-1], weights[-1]).requires_grad_()
    with torch.enable_grad():
        # Summed over models, so that each model's gradient is that of its own mean loss.
        each = logits.flatten(0, 1), y.flatten(0, 1)
        loss = cross_entropy(*each, reduction="sum", label_smoothing=smoothing)
        [error] = torch.autograd.grad(loss / y.shape[1], logits)
    for i in reversed(range(len(read))):
        torch.bmm(read[i].mT, error, out=weights[i].grad)
        torch.sum(error, 1, keepdim=True, out=biases[i].grad)
        if i:
            # What the layer read is not needed again; its error takes the place.
            alive = read[i].sign()
            error = torch.bmm(error, weights[i].mT, out=read[i]).mul_(alive)
    return loss
