"""The networks that are attacked."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from torch import nn

from mibench.errors import MIBenchError


def mlp(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Return a perceptron with one hidden layer of 128 rectified units."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(prod(input_shape), 128), nn.ReLU(), nn.Linear(128, num_classes)
    )


MODELS: dict[str, Callable[[tuple[int, ...], int], nn.Module]] = {"MLP": mlp}


def build(name: str, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build a network that maps (n, *input_shape) to logits (n, num_classes).

    Raises
    ------
    MIBenchError
        If `name` is not in :data:`MODELS`.
    """
    if name not in MODELS:
        raise MIBenchError(f"unknown model {name!r}; known are {', '.join(MODELS)}")
    return MODELS[name](input_shape, num_classes)
