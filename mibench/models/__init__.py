"""The networks that are attacked: their catalogue, and how one is built.

Convolutional ones come with a stem for small images, and with the published stem of 224 x 224
pixels, by whose parameter counts they are tested. PyTorch is loaded when the first is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from mibench.catalogue import Catalogue
from mibench.errors import MIBenchError

if TYPE_CHECKING:
    from torch import nn

    Builder = Callable[..., nn.Module]


@dataclass(frozen=True)
class Network:
    """A network that can be attacked, and what is known of it before it is built.

    Attributes
    ----------
    builder : callable or str
        Takes an input shape and a number of classes and returns a network that maps
        (n, *input_shape) to logits (n, classes); as text "module:function", to be loaded late.
    recipe : mapping
        What its training changes in the defaults of :class:`mibench.training.Recipe`.
    takes_records : bool
        Whether it takes records, (features,), beside images, (channels, height, width).
    smallest : int
        The least height and width in pixels of images that it takes.
    """

    builder: Builder | str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    takes_records: bool = False
    smallest: int = 1

    @property
    def module(self) -> str:
        """The module that defines it, for digests of source."""
        if isinstance(self.builder, str):
            return self.builder.partition(":")[0]
        return self.builder.__module__


MODELS: Catalogue[Network] = Catalogue("model")


def register_model(name: str, **known: Any) -> Callable[[Builder], Builder]:
    """Make a network known by its name; decorates its builder.

    Parameters
    ----------
    name : str
    **known
        Attributes of :class:`Network`: recipe, takes_records, smallest.
    """

    def register(builder: Builder) -> Builder:
        MODELS.add(name, Network(builder, **known))
        return builder

    return register


_DEEP = {
    "batch_size": 128,
    "learning_rate": 0.05,
    "optimizer": "sgd",
    "schedule": "cosine",
    "weight_decay": 5e-4,
}
MODELS.add("MLP", Network("mibench.models.mlp:mlp", takes_records=True))
MODELS.add("StandDNN", Network("mibench.models.standdnn:standdnn", {}, True, smallest=8))
MODELS.add("VGG16", Network("mibench.models.vgg:vgg16", _DEEP, smallest=8))
MODELS.add("VGG19", Network("mibench.models.vgg:vgg19", _DEEP, smallest=8))
MODELS.add("ResNet50", Network("mibench.models.resnet:resnet50", _DEEP, smallest=8))
MODELS.add("ResNet101", Network("mibench.models.resnet:resnet101", _DEEP, smallest=8))
MODELS.add("DenseNet121", Network("mibench.models.densenet:densenet121", _DEEP, smallest=8))


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
    builder = taking(name, input_shape).builder
    made: Builder = resolve_name(builder) if isinstance(builder, str) else builder
    return made(input_shape, num_classes, **form)


def taking(name: str, input_shape: tuple[int, ...]) -> Network:
    """Return a network that takes such inputs; parameters and errors are those of :func:`build`."""
    network, images = MODELS[MODELS.find(name)], len(input_shape) == 3
    if not images and not network.takes_records:
        shape = " x ".join(map(str, input_shape))
        raise MIBenchError(
            f"{name} takes images, but a sample here is a record of {shape} values; use "
            f"{' or '.join(n for n, other in MODELS.items() if other.takes_records)}"
        )
    if images and min(input_shape[1:]) < network.smallest:
        raise MIBenchError(
            f"{name} takes images of {network.smallest} x {network.smallest} pixels and more, "
            f"but these have {input_shape[1]} x {input_shape[2]}; use MLP"
        )
    return network
