"""How models are trained: a recipe for each network, and what each defence changes in it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from mibench import models
from mibench.errors import MIBenchError


@dataclass(frozen=True)
class Recipe:
    """How a model is trained on cross entropy.

    Attributes
    ----------
    model : str
        A name of :data:`mibench.models.MODELS`.
    epochs, batch_size : int
    learning_rate : float
        At the start, where the schedule is "cosine".
    optimizer : {"adam", "adamw", "sgd"}
        SGD has a momentum of 0.9.
    schedule : {"constant", "cosine"}
        "cosine" lets the learning rate fall to zero, epoch by epoch.
    weight_decay : float
        Of AdamW decoupled from the gradient, else an L2 penalty in it.
    augmentation : bool
        Whether images are mirrored and shifted by up to one pixel in eight.
    label_smoothing : float
        Share of the target that goes to all classes alike (Szegedy et al. 2016, section 7).
    dropout : float
        Chance that a hidden unit read by a dense layer is left out (Srivastava et al. 2014).
    patience : int or None
        Epochs without a lower validation loss after which training stops; the weights of the
        lowest are kept. None trains to the end.
    dp_noise, dp_clip : float
        Noise multiplier and clipping norm of DP-SGD (Abadi et al. 2016, algorithm 1), which draws
        its batches by Poisson sampling; a noise of 0 trains without.
    output_noise : float
        Expected L1 distance by which :mod:`mibench.signals.memguard` may change a posterior.
    threads : int
        Of the CPU, for a network that is trained alone: another number rounds sums otherwise, so
        that it is not left to how many cores are free.
    """

    model: str = "MLP"
    epochs: int = 50
    batch_size: int = 64
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    schedule: str = "constant"
    weight_decay: float = 0.0
    augmentation: bool = False
    label_smoothing: float = 0.0
    dropout: float = 0.0
    patience: int | None = None
    dp_noise: float = 0.0
    dp_clip: float = 1.0
    output_noise: float = 0.0
    threads: int = 2


_DEEP: dict[str, Any] = {
    "batch_size": 128,
    "learning_rate": 0.05,
    "optimizer": "sgd",
    "schedule": "cosine",
    "weight_decay": 5e-4,
}
_RECIPES: dict[str, dict[str, Any]] = {
    "MLP": {},
    "StandDNN": {},
    "VGG16": _DEEP,
    "VGG19": _DEEP,
    "ResNet50": _DEEP,
    "ResNet101": _DEEP,
    "DenseNet121": _DEEP,
}

DEFENCES: dict[str, dict[str, Any]] = {
    "none": {},
    "early_stopping": {"patience": 3},
    "label_smoothing": {"label_smoothing": 0.1},
    "dropout": {"dropout": 0.5},
    "l2": {"weight_decay": 5e-3},
    "memguard": {"output_noise": 1.0},
    "dp_sgd": {"dp_noise": 1.0, "dp_clip": 1.0},
}
"""What each defence changes in a recipe."""


def recipe(
    model: str, epochs: int = 50, changes: Mapping[str, Any] | None = None, defence: str = "none"
) -> Recipe:
    """Return a network's recipe with changes, and then those of a defence.

    Parameters
    ----------
    model : str
    epochs : int
    changes : mapping, optional
        Values of other attributes of :class:`Recipe`.
    defence : str
        A name of :data:`DEFENCES`.

    Raises
    ------
    MIBenchError
        If a name is unknown or a value out of its range.
    """
    models.check_name(model)
    if defence not in DEFENCES:
        raise MIBenchError(f"unknown defence {defence!r}; known are {', '.join(DEFENCES)}")
    known = [f.name for f in fields(Recipe) if f.name not in ("model", "epochs")]
    for name in changes or {}:
        if name not in known:
            raise MIBenchError(f"a recipe has no {name!r}; it has {', '.join(known)}")
    made = Recipe(model, epochs, **(_RECIPES[model] | dict(changes or {}) | DEFENCES[defence]))
    _check(made)
    return made


def _check(made: Recipe) -> None:
    for name, allowed in (("optimizer", tuple(_OPTIMIZERS)), ("schedule", ("constant", "cosine"))):
        if getattr(made, name) not in allowed:
            raise MIBenchError(f"{name} is {getattr(made, name)!r}; use {' or '.join(allowed)}")
    for name, low, high in (
        ("epochs", 1, None),
        ("batch_size", 2, None),
        ("learning_rate", 1e-12, None),
        ("weight_decay", 0, None),
        ("label_smoothing", 0, 1),
        ("dropout", 0, 0.99),
        ("dp_noise", 0, None),
        ("dp_clip", 1e-12, None),
        ("output_noise", 0, 2),
        ("threads", 1, None),
    ):
        value, whole = getattr(made, name), isinstance(getattr(Recipe(), name), int)
        if not _is_number(value, whole):
            wanted = "a whole number" if whole else "a number"
            as_text = isinstance(value, str) and value[:1].isdigit()
            hint = "; YAML takes 1e-3 for a text, write 1.0e-3" if as_text else ""
            raise MIBenchError(f"{name} is {value!r}; it must be {wanted}{hint}")
        if not low <= value <= (high or sys.float_info.max):
            most = "" if high is None else f" and at most {high}"
            raise MIBenchError(f"{name} is {value!r}; it must be at least {low}{most}")
    if not isinstance(made.augmentation, bool):
        raise MIBenchError(f"augmentation is {made.augmentation!r}; use true or false")
    patience = made.patience
    if patience is not None and not (_is_number(patience, True) and patience >= 1):
        raise MIBenchError(f"patience is {patience!r}; give epochs, at least 1, or none")


def _is_number(value: object, whole: bool) -> bool:
    return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)


def trained_as(made: Recipe) -> Recipe:
    """Return the recipe without what changes answers only, so that its weights are shared."""
    return replace(made, output_noise=0.0)


def without_defence(made: Recipe) -> Recipe:
    """Return the recipe by which an attacker distils a model: without what defends it."""
    return replace(made, label_smoothing=0.0, dropout=0.0, patience=None, dp_noise=0.0)


_OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}


def optimizer(
    made: Recipe, parameters: Iterable[Tensor]
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return a recipe's optimizer of some parameters and its schedule, stepped each epoch."""
    kind, settings = _OPTIMIZERS[made.optimizer]
    found = kind(
        parameters,
        lr=made.learning_rate,  # type: ignore[call-arg]
        weight_decay=made.weight_decay,
        fused=True,
        **settings,
    )
    if made.schedule == "cosine":
        return found, torch.optim.lr_scheduler.CosineAnnealingLR(found, made.epochs)
    return found, torch.optim.lr_scheduler.ConstantLR(found, 1.0)


def network(made: Recipe, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build a recipe's network, with the layers that its defence adds.

    Raises
    ------
    MIBenchError
        If the network does not take such inputs, or the recipe cannot be applied to them.
    """
    if made.augmentation and len(input_shape) != 3:
        raise MIBenchError("augmentation mirrors and shifts images; these are records")
    built = models.build(made.model, input_shape, num_classes)
    if made.dropout:
        _add_dropout(built, made.dropout)
    if made.dp_noise:
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
