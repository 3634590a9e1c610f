"""The perceptron."""

from __future__ import annotations

from math import prod

from torch import nn


def mlp(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Return a perceptron with one hidden layer of 128 rectified units."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(prod(input_shape), 128), nn.ReLU(), nn.Linear(128, num_classes)
    )
