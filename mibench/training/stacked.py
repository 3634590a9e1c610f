"""K small networks, each on its own subset, trained as one stacked model.

Small networks spend most of their time on overhead, so the models of a stack share every
operation. The optimizers work elementwise, so a stacked model follows the same path as one trained
alone.

Of perceptrons the layers are batched matrix products with gradients written by hand, since they
and what the layers read then lie in the same arrays in every step; torch.func.vmap makes new arrays
of megabytes each time. Plain convolutional networks are stacked by it on CUDA, where that is twice
to five times as fast as one after the other; on a CPU it gains nothing (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from mibench.training.device import Device
from mibench.training.parts import optimizer
from mibench.training.recipe import Recipe
from mibench.training.recorded import recorded

# So many models' weights, gradients and moments stay in a processor's cache.
AT_ONCE = 16
Many = list[Tensor]
# The parameters, the same by their names, and what sets their gradients from the indices (K, batch)
# and returns the sum of all losses.
Stack = tuple[Many, dict[str, Tensor], Callable[[Tensor], Tensor]]
_PLAIN = (nn.Sequential, nn.Flatten, nn.Linear, nn.Conv2d, nn.ReLU, nn.MaxPool2d)


def is_perceptron(network: nn.Module) -> bool:
    """Return whether a network is nothing but dense layers with rectifiers between them."""
    kinds = [
        kind for m in network.modules() if (kind := type(m)) not in (nn.Sequential, nn.Flatten)
    ]
    return all(kind is (nn.ReLU if i % 2 else nn.Linear) for i, kind in enumerate(kinds))


def stacks(network: nn.Module, device: Device) -> bool:
    """Return whether such networks are trained several at once on a device."""
    plain = all(type(m) in _PLAIN for m in network.modules())
    return is_perceptron(network) or (device.type == "cuda" and plain)


@torch.no_grad()
def fit(
    recipe: Recipe,
    networks: Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    subsets: Tensor,
    seeds: Sequence[int],
    device: Device,
    bar: Any,
) -> dict[str, Tensor]:
    """Train K networks where `x` lies; return each parameter, stacked along a first axis."""
    make = _perceptrons if is_perceptron(networks[0]) else _vmapped
    parameters, named, set_gradients = make(recipe, networks, x, y, device)
    steps, schedule = optimizer(recipe, parameters)

    def step(index: Tensor) -> Tensor:
        loss = set_gradients(index)
        steps.step()
        return loss

    made = recorded(step, device)
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    for epoch in range(recipe.epochs):
        order = torch.stack([torch.randperm(subsets.shape[1], generator=g) for g in orders])
        for index in subsets.gather(1, order).to(x.device).split(recipe.batch_size, dim=1):
            loss = made(index)
            bar.update(index.numel())
        schedule.step()
        bar.set_postfix(epoch=epoch + 1, loss=loss.item() / index.numel(), refresh=False)
    return named


def _vmapped(
    recipe: Recipe, networks: Sequence[nn.Module], x: Tensor, y: Tensor, device: Device
) -> Stack:
    alike = zip(*(one.named_parameters() for one in networks), strict=True)
    named = {k[0][0]: torch.stack([p for _, p in k]).to(x.device) for k in alike}
    parameters = [p.requires_grad_() for p in named.values()]

    def answer(one: dict[str, Tensor], inputs: Tensor) -> Tensor:
        logits: Tensor = functional_call(networks[0], one, (inputs,))
        return logits

    @torch.enable_grad()
    def set_gradients(index: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=device.mixed_precision):
            logits = vmap(answer)(named, x[index])
            loss = _sum_of_losses(logits, y[index], recipe.label_smoothing)
        gradients = torch.autograd.grad(loss / index.shape[1], parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            # A fused optimizer reads both in the order in which they lie.
            parameter.grad = gradient.contiguous()
        return loss.detach()

    return parameters, {n: p.detach() for n, p in named.items()}, set_gradients


def _perceptrons(
    recipe: Recipe, networks: Sequence[nn.Module], x: Tensor, y: Tensor, _: Device
) -> Stack:
    x = x.flatten(1)
    layers = ([m for m in one.modules() if isinstance(m, nn.Linear)] for one in networks)
    alike = list(zip(*layers, strict=True))
    # (K, read, written) and (K, 1, written): as the batched products take them, without copies.
    weights = [torch.stack([m.weight.T for m in k]).contiguous().to(x.device) for k in alike]
    biases = [torch.stack([m.bias[None] for m in k]).to(x.device) for k in alike]
    parameters = [*weights, *biases]
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    read_by_size: dict[int, Many] = {}

    def set_gradients(index: Tensor) -> Tensor:
        size = index.shape[1]
        if size not in read_by_size:
            read_by_size[size] = [w.new_empty(len(w), size, w.shape[1]) for w in weights]
        read = read_by_size[size]
        torch.index_select(x, 0, index.flatten(), out=read[0].flatten(0, 1))
        return _loss(read, weights, biases, y[index], recipe.label_smoothing)

    each = [t for w, b in zip(weights, biases, strict=True) for t in (w.mT, b[:, 0])]
    names = (n for n, _ in networks[0].named_parameters())
    return parameters, dict(zip(names, each, strict=True)), set_gradients


def _loss(read: Many, weights: Many, biases: Many, y: Tensor, smoothing: float) -> Tensor:
    """Set the gradients of each model's mean loss on its batch, and return the sum of all losses.

    `read` holds what the first layer reads, and takes what the others do, (K, batch, read).
    """
    for i, written in enumerate(read[1:]):
        torch.baddbmm(biases[i], read[i], weights[i], out=written).relu_()
    logits = torch.baddbmm(biases[-1], read[-1], weights[-1]).requires_grad_()
    with torch.enable_grad():
        loss = _sum_of_losses(logits, y, smoothing)
        [error] = torch.autograd.grad(loss / y.shape[1], logits)
    for i in reversed(range(len(read))):
        torch.bmm(read[i].mT, error, out=weights[i].grad)
        torch.sum(error, 1, keepdim=True, out=biases[i].grad)
        if i:
            # What the layer read is not needed again; its error takes the place.
            alive = read[i].sign()
            error = torch.bmm(error, weights[i].mT, out=read[i]).mul_(alive)
    return loss


def _sum_of_losses(logits: Tensor, y: Tensor, smoothing: float) -> Tensor:
    # Summed over models, so that each model's gradient is that of its own mean loss.
    each = logits.flatten(0, 1), y.flatten(0, 1)
    return cross_entropy(*each, reduction="sum", label_smoothing=smoothing)
