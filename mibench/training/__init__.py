"""Training: K models of one recipe, each on its own subset; and what they answer.

Recipes, defences and devices are named without PyTorch, which is loaded when the first other name
is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mibench.training.device import Device, find
from mibench.training.recipe import (
    DEFENCES,
    Recipe,
    check,
    recipe,
    source,
    trained_as,
    without_defence,
)

if TYPE_CHECKING:
    from mibench.training.fitting import Answering, Weights, answering, predict, together, train
    from mibench.training.parts import network

__all__ = ["DEFENCES", "Device", "Recipe", "Weights", "check", "find", "network", "predict"]
__all__ += ["Answering", "answering"]
__all__ += ["recipe", "source", "together", "train", "trained_as", "without_defence"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mibench.training' has no attribute {name!r}")
    return getattr(import_module("mibench.training.fitting"), name)
