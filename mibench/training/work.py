"""How much work a training is, and how long the device at hand takes for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mibench.training.device import Device
from mibench.training.fitting import together, train
from mibench.training.parts import network
from mibench.training.recipe import Recipe

# So long is measured, at least.
_SECONDS = 0.5


@dataclass(frozen=True)
class Work:
    """Models to train.

    Attributes
    ----------
    flops : float
        Floating point operations.
    seconds : float
        That they take one worker.
    bytes : int
        Of the weights.
    """

    flops: float
    seconds: float
    bytes: int


def work_of(
    models: int,
    samples: int,
    recipe: Recipe,
    input_shape: tuple[int, ...],
    num_classes: int,
    device: Device,
) -> Work:
    """Return the work of training models on so many samples in all, counted once an epoch."""
    step, size = _one(recipe, input_shape, num_classes)
    seconds = samples / _speed(recipe, input_shape, num_classes, device)
    return Work(samples * step, seconds, models * size)


@cache
def _one(recipe: Recipe, input_shape: tuple[int, ...], num_classes: int) -> tuple[float, int]:
    """Return the operations of a training step, per sample, and the bytes of a model's weights."""
    count = 8
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        built = network(recipe, input_shape, num_classes)
        built(torch.empty(count, *input_shape)).sum().backward()
    size = sum(p.numel() * p.element_size() for p in built.state_dict().values())
    return counter.get_total_flops() / count, size


@cache
def _speed(recipe: Recipe, input_shape: tuple[int, ...], num_classes: int, device: Device) -> float:
    """Return how many samples a second are trained on, measured on drawn ones."""
    models, rng = together(recipe, input_shape, num_classes, device), np.random.default_rng(0)
    one, count, runs = replace(recipe, epochs=1, patience=None), min(64, recipe.batch_size), 0
    while True:
        inputs = rng.random((count, *input_shape), dtype=np.float32)
        labels, everyone = np.arange(count) % num_classes, np.tile(np.arange(count), (models, 1))
        began = time.perf_counter()
        train(one, inputs, labels, everyone, num_classes, range(models), device=device)
        seconds, runs = time.perf_counter() - began, runs + 1
        # The first run warms up.
        if runs > 1 and seconds > _SECONDS:
            return everyone.size / seconds
        count *= 1 if seconds > _SECONDS else 4
