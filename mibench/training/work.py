"""How much work a training is, and how long the device at hand takes for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TypeVar

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mibench.training.device import Device
from mibench.training.fitting import Weights, answering, together, train
from mibench.training.parts import network
from mibench.training.recipe import Recipe
from mibench.training.recorded import FIRST

T = TypeVar("T")
# So long is measured, at least.
_SECONDS = 0.5
# Bytes of inputs that are drawn to be asked about, about.
_MOST = 10**8


@dataclass(frozen=True)
class Work:
    """Models to train and to ask.

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
    queries: int,
    recipe: Recipe,
    input_shape: tuple[int, ...],
    num_classes: int,
    device: Device,
) -> Work:
    """Return the work of training models on so many samples in all, and of so many queries.

    Samples are counted once an epoch.
    """
    forward, step, size = _one(recipe, input_shape, num_classes)
    start, each, asked = _pace(recipe, input_shape, num_classes, device)
    seconds = models * start + samples * each + queries * asked
    return Work(samples * step + queries * forward, seconds, models * size)


@cache
def _one(
    recipe: Recipe, input_shape: tuple[int, ...], num_classes: int
) -> tuple[float, float, int]:
    """Return the operations of a query and of a step, per sample, and the weights' bytes."""
    count = 8
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        built = network(recipe, input_shape, num_classes)
        logits = built(torch.empty(count, *input_shape))
        forward = counter.get_total_flops()
        logits.sum().backward()
    size = sum(p.numel() * p.element_size() for p in built.state_dict().values())
    return forward / count, counter.get_total_flops() / count, size


@cache
def _pace(
    recipe: Recipe, input_shape: tuple[int, ...], num_classes: int, device: Device
) -> tuple[float, float, float]:
    """Return the seconds that it takes to begin with a model, to train on a sample, and to ask it.

    Measured on drawn samples, whose number is that of one step.
    """
    models, rng = together(recipe, input_shape, num_classes, device), np.random.default_rng(0)
    count = recipe.batch_size if device.type == "cuda" else min(64, recipe.batch_size)
    inputs = rng.random((count, *input_shape), dtype=np.float32)
    labels, everyone = np.arange(count) % num_classes, np.tile(np.arange(count), (models, 1))

    def trained(steps: int) -> tuple[Weights, float]:
        one = replace(recipe, epochs=steps, patience=None)
        given = one, inputs, labels, everyone, num_classes, range(models)
        return _timed(lambda: train(*given, device=device))

    # The first steps on CUDA are slower, and one that is recorded still more.
    few, steps = (FIRST + 1, 16) if device.type == "cuda" else (1, 1)
    weights, short = trained(few)
    if short < 1:  # what the first one loads counts beside quick steps
        weights, short = trained(few)
    # What is measured is a difference, so it has to be large beside what is not.
    while (difference := trained(few + steps)[1] - short) < _SECONDS:
        steps *= 4
    step = difference / steps
    answer = answering(recipe, weights, input_shape, num_classes, device)
    asked = inputs
    while (seconds := _timed(partial(answer, asked))[1]) < _SECONDS / 10 and asked.nbytes < _MOST:
        asked = np.concatenate([asked] * 4)
    start = max(0.0, short - few * step) / models
    return start, step / everyone.size, seconds / (models * len(asked))


def _timed(function: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return function(), time.perf_counter() - began
