"""The networks that are attacked.

Convolutional ones come with a stem for small images, and with the published stem of 224 x 224
pixels, by whose parameter counts they are tested.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from mibench.errors import MIBenchError
from mibench.models.dense import mlp, standdnn
from mibench.models.densenet import densenet121
from mibench.models.resnet import resnet
from mibench.models.vgg import vgg

MODELS: dict[str, Callable[..., nn.Module]] = {
    "MLP": mlp,
    "StandDNN": standdnn,
    "VGG16": partial(vgg, (2, 2, 3, 3, 3)),
    "VGG19": partial(vgg, (2, 2, 4, 4, 4)),
    "ResNet50": partial(resnet, (3, 4, 6, 3)),
    "ResNet101": partial(resnet, (3, 4, 23, 3)),
    "DenseNet121": densenet121,
}
_OF_VECTORS = ("MLP", "StandDNN")
_SMALLEST = 8


def build(name: str, input_shape: tuple[int, ...], num_classes: int, **form: Any) -> nn.Module:
    """Build a network that maps (n, *input_shape) to logits (n, num_classes).

    Parameters
    ----------
    name : str
        One of :data:`MODELS`.
    input_shape : tuple of int
        (features,) of a record or (channels, height, width) of an image.
    num_classes : int
    **form
        ``imagenet_stem=True`` gives the VGGs, ResNets and DenseNet121 as published.

    Raises
    ------
    MIBenchError
        If `name` is not known or does not take such inputs.
    """
    check_name(name)
    images = len(input_shape) == 3
    if not images and name not in _OF_VECTORS:
        shape = " x ".join(map(str, input_shape))
        raise MIBenchError(
            f"{name} takes images, but a sample here is a record of {shape} values; use "
            f"{' or '.join(_OF_VECTORS)}"
        )
    if images and name != "MLP" and min(input_shape[1:]) < _SMALLEST:
        raise MIBenchError(
            f"{name} takes images of {_SMALLEST} x {_SMALLEST} pixels and more, but these have "
            f"{input_shape[1]} x {input_shape[2]}; use MLP"
        )
    network = MODELS[name](input_shape, num_classes, **form)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # He et al. 2015
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def check_name(name: str) -> None:
    """Raise MIBenchError if no network has this name."""
    if name not in MODELS:
        raise MIBenchError(f"unknown model {name!r}; known are {', '.join(MODELS)}")


def is_perceptron(network: nn.Module) -> bool:
    """Return whether a network is nothing but dense layers with rectifiers between them."""
    layers = [m for m in network.modules() if not isinstance(m, (nn.Sequential, nn.Flatten))]
    return all(isinstance(layer, nn.ReLU if i % 2 else nn.Linear) for i, layer in enumerate(layers))
