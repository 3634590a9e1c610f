"""VGG16 and VGG19 (Simonyan & Zisserman 2015, configurations D and E)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from mibench.models.initial import he


def vgg(
    convolutions: Sequence[int],
    input_shape: tuple[int, ...],
    num_classes: int,
    imagenet_stem: bool = False,
) -> nn.Module:
    """Return a VGG whose five stages have so many convolutions each.

    For small images every convolution is batch-normalised and one dense layer classifies, without
    which a network this deep hardly trains on 32 x 32 pixels; pooling stops at one pixel. With
    `imagenet_stem` it is the published network: no normalisation, two dense layers of 4,096.
    """
    layers: list[nn.Module] = []
    channels = input_shape[0]
    for count, width in zip(convolutions, (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=imagenet_stem))
            layers += [nn.ReLU()] if imagenet_stem else [nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    if not imagenet_stem:
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes)]
        return he(nn.Sequential(*layers, *head))
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten()]
    for width in (512 * 7 * 7, 4096):
        layers += [nn.Linear(width, 4096), nn.ReLU(), nn.Dropout()]
    return he(nn.Sequential(*layers, nn.Linear(4096, num_classes)))


vgg16 = partial(vgg, (2, 2, 3, 3, 3))
vgg19 = partial(vgg, (2, 2, 4, 4, 4))
