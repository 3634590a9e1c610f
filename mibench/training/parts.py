"""What a recipe's words stand for in PyTorch: its network, optimizer and schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler

from mibench import models
from mibench.training.recipe import Recipe, check_inputs

_OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}


def optimizer(made: Recipe, parameters: Iterable[Tensor]) -> tuple[Optimizer, LRScheduler]:
    """Return a recipe's optimizer of some parameters and its schedule, stepped each epoch."""
    given, (kind, settings) = list(parameters), _OPTIMIZERS[made.optimizer]
    settings = {"weight_decay": made.weight_decay, "fused": True, **settings}
    rate: float | Tensor = made.learning_rate
    if given[0].is_cuda:
        # A graph of the step reads where the rate lies; a number would stay what it was.
        rate = torch.tensor(rate, device=given[0].device)
        settings |= {} if made.optimizer == "sgd" else {"capturable": True}
    found = kind(given, lr=rate, **settings)  # type: ignore[call-arg]
    if made.schedule == "cosine":
        return found, CosineAnnealingLR(found, made.epochs)
    return found, ConstantLR(found, 1.0)


def network(made: Recipe, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build a recipe's network, with the layers that its defence adds.

    Raises
    ------
    MIBenchError
        If the network does not take such inputs, or the recipe cannot be applied to them.
    """
    check_inputs(made, input_shape)
    built = models.build(made.model, input_shape, num_classes)
    if made.dropout:
        _add_dropout(built, made.dropout)
    if made.dp_noise:
        # Opacus is asked for only where it is needed; it need not be installed.
        from mibench.training import private

        built = private.prepared(built)
    return built


def _add_dropout(built: nn.Module, chance: float) -> None:
    """Put dropout before every dense layer that reads hidden units."""
    layers = [m for m in built.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    for parent in list(built.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and child is not layers[0]:
                setattr(parent, name, nn.Sequential(nn.Dropout(chance), child))
