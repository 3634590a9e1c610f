"""K perceptrons, each on its own subset, trained as one stacked model.

Small networks spend most of their time on overhead, so the models of a stack share every
operation: their layers are batched matrix products. The optimizers work elementwise, so a
stacked model follows the same path as one trained alone. The layers' gradients are written by
hand; they and what the layers read lie in the same arrays in every step, where automatic ones would
be new arrays of megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from mibench.training.device import Device
from mibench.training.recipe import Recipe, optimizer

# So many models' weights, gradients and moments stay in a processor's cache.
_AT_ONCE = 16


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
    x, y = inputs.flatten(1).to(device.type), targets.to(device.type)
    count = _AT_ONCE if device.type == "cpu" else len(stack)
    total = recipe.epochs * subsets.numel()
    with torch.no_grad(), tqdm(total=total, desc=describe, unit="sample", leave=False) as bar:
        trained = []
        for start in range(0, len(stack), count):
            part = slice(start, start + count)
            some = _Perceptrons(stack[part], device)
            some.train(recipe, x, y, subsets[part], seeds[part], bar)
            trained.append(some.parameters())
    names = [name for name, _ in stack[0].named_parameters()]
    return {n: torch.cat(same) for n, same in zip(names, zip(*trained, strict=True), strict=True)}


class _Perceptrons:
    """The layers of K perceptrons: weights (K, read, written) and biases (K, 1, written)."""

    def __init__(self, stack: Sequence[nn.Module], device: Device):
        layers = [[m for m in one.modules() if isinstance(m, nn.Linear)] for one in stack]
        self.weights, self.biases = [], []
        self._rooms: dict[int, list[Tensor]] = {}
        for same in zip(*layers, strict=True):
            # Laid out as the batched products read and write them, which saves copies.
            weight = torch.stack([m.weight.T for m in same]).contiguous().to(device.type)
            bias = torch.stack([m.bias[None] for m in same]).to(device.type)
            weight.grad, bias.grad = torch.empty_like(weight), torch.empty_like(bias)
            self.weights.append(weight)
            self.biases.append(bias)

    def train(
        self, recipe: Recipe, x: Tensor, y: Tensor, subsets: Tensor, seeds: Sequence[int], bar: Any
    ) -> None:
        """Train each perceptron on its own subset, in its own order."""
        steps, schedule = optimizer(recipe, [*self.weights, *self.biases])
        orders = [torch.Generator().manual_seed(seed) for seed in seeds]
        for epoch in range(recipe.epochs):
            order = torch.stack([torch.randperm(subsets.shape[1], generator=g) for g in orders])
            for batch in order.split(recipe.batch_size, dim=1):
                index = subsets.gather(1, batch).to(x.device)
                room = self._room(batch.shape[1])
                torch.index_select(x, 0, index.flatten(), out=room[0].flatten(0, 1))
                loss = self._differentiate(room, y[index], recipe.label_smoothing)
                steps.step()
                bar.update(index.numel())
            schedule.step()
            shown = f"{epoch + 1}/{recipe.epochs}"
            mean = loss.item() / len(subsets)
            bar.set_postfix(epoch=shown, loss=f"{mean:.3f}", refresh=False)

    def parameters(self) -> list[Tensor]:
        """Return weights and biases as PyTorch's own layers hold them, layer by layer."""
        pairs = zip(self.weights, self.biases, strict=True)
        return [t for weight, bias in pairs for t in (weight.mT, bias[:, 0])]

    def _room(self, size: int) -> list[Tensor]:
        """Return arrays for what each layer reads of a batch, (K, size, read), always the same."""
        if size not in self._rooms:
            self._rooms[size] = [w.new_empty(len(w), size, w.shape[1]) for w in self.weights]
        return self._rooms[size]

    def _differentiate(self, read: list[Tensor], y: Tensor, label_smoothing: float) -> Tensor:
        """Set the gradients of each model's mean loss on its batch, and return the losses' sum.

        `read` holds what the first layer reads, and takes what the others do.
        """
        layers = list(zip(read, self.biases, self.weights, strict=True))
        for (x, bias, weight), written in zip(layers, read[1:], strict=False):
            torch.baddbmm(bias, x, weight, out=written).relu_()
        x, bias, weight = layers[-1]
        logits = torch.baddbmm(bias, x, weight)
        with torch.enable_grad():
            logits.requires_grad_()
            # Summed over models, so that each model's gradient is that of its own mean loss.
            loss = nn.functional.cross_entropy(
                logits.flatten(0, 1),
                y.flatten(0, 1),
                reduction="sum",
                label_smoothing=label_smoothing,
            )
            loss = loss / x.shape[1]
            [error] = torch.autograd.grad(loss, logits)
        for x, bias, weight in reversed(layers):
            torch.bmm(x.mT, error, out=weight.grad)
            torch.sum(error, 1, keepdim=True, out=bias.grad)
            if x is not read[0]:
                # What the layer read is not needed again; its error takes the place.
                alive = x.sign()
                error = torch.bmm(error, weight.mT, out=x).mul_(alive)
        return loss
