"""How models are trained: recipes, and what each defence changes in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from mibench.catalogue import Catalogue
from mibench.code import combined, digests
from mibench.errors import MIBenchError
from mibench.models import MODELS, taking
from mibench.setting import Setting, told

# They say what a recipe holds, which the recipe itself tells, or look at memory.
_TELL = ("mibench/training/recipe.py", "mibench/training/memory.py", "mibench/models/__init__.py")
_ROOMS = ("mibench/training/", "mibench/models/")


@dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False))
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
        Of the CPU, for a network that is trained alone. Sums are rounded otherwise with another
        number, so a model's weights would depend on how many cores are free if it were not set.

    Raises
    ------
    pydantic.ValidationError
        If a value is wrong; :func:`recipe` raises MIBenchError in one sentence.
    """

    model: str = "MLP"
    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = Field(default=0.0, ge=0)
    augmentation: bool = False
    label_smoothing: float = Field(default=0.0, ge=0, le=1)
    dropout: float = Field(default=0.0, ge=0, le=0.99)
    patience: int | None = Field(default=None, ge=1)
    dp_noise: float = Field(default=0.0, ge=0)
    dp_clip: float = Field(default=1.0, gt=0)
    output_noise: float = Field(default=0.0, ge=0, le=2)
    threads: int = Field(default=2, ge=1)


DEFENCES: Catalogue[Mapping[str, Any]] = Catalogue("defence")
"""What each defence changes in a recipe."""
DEFENCES.add("none", {})
DEFENCES.add("early_stopping", {"patience": 3})
DEFENCES.add("label_smoothing", {"label_smoothing": 0.1})
DEFENCES.add("dropout", {"dropout": 0.5})
DEFENCES.add("l2", {"weight_decay": 5e-3})
DEFENCES.add("memguard", {"output_noise": 1.0})
DEFENCES.add("dp_sgd", {"dp_noise": 1.0, "dp_clip": 1.0})


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
    model = MODELS.find(model)
    values = {**MODELS[model].recipe, **(changes or {}), **DEFENCES[DEFENCES.find(defence)]}
    known = [f.name for f in fields(Recipe) if f.name not in ("model", "epochs")]
    for name in values:
        if name not in known:
            raise MIBenchError(f"a recipe has no {name!r}; it has {', '.join(known)}")
    try:
        return Recipe(model, epochs, **values)
    except ValidationError as error:
        raise MIBenchError(told(error, known)) from None


def of_setting(setting: Setting) -> Recipe:
    """Return a setting's recipe, with all names checked that need no data.

    Raises
    ------
    MIBenchError
        If a name is unknown or a value of the recipe is wrong.
    """
    return recipe(setting.model, setting.epochs, setting.recipe, setting.defence)


def check(made: Recipe, input_shape: tuple[int, ...], num_classes: int) -> None:
    """Raise MIBenchError if a recipe's network cannot answer such inputs with logits."""
    check_inputs(made, input_shape)
    # PyTorch, which takes seconds to load, is needed only to try a network that is not known.
    if made.dp_noise or not MODELS[made.model].module.startswith("mibench."):
        import_module("mibench.training.fitting").try_out(made, input_shape, num_classes)


def check_inputs(made: Recipe, input_shape: tuple[int, ...]) -> None:
    """Raise MIBenchError if a recipe's network or augmentation does not take such inputs."""
    if made.augmentation and len(input_shape) != 3:
        raise MIBenchError("augmentation mirrors and shifts images; these are records")
    taking(made.model, input_shape)


def source(made: Recipe) -> str:
    """Return the digest of the files by which a recipe's weights and answers are made.

    The file of its network is among them, those of other networks are not.
    """
    found = digests("mibench.training.fitting", MODELS[made.model].module)
    files = [f for f in found if f.startswith(_ROOMS) or not f.startswith("mibench/")]
    return combined({file: found[file] for file in files if file not in _TELL})


def trained_as(made: Recipe) -> Recipe:
    """Return the recipe without what changes answers only, so that its weights are shared."""
    return replace(made, output_noise=0.0)


def without_defence(made: Recipe) -> Recipe:
    """Return the recipe by which an attacker distils a model: without what defends it."""
    return replace(made, label_smoothing=0.0, dropout=0.0, patience=None, dp_noise=0.0)


def checkpoints(epochs: int) -> list[int]:
    """Return after how many epochs, of all, a distilled model is asked: 1, 2, 4, ... and all."""
    return [*(2**i for i in range((epochs - 1).bit_length())), epochs]
