"""The plain deep network."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import nn

from mibench.models.initial import he


def standdnn(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Return the plain deep network of its input's kind.

    Images: three blocks of a 3 x 3 convolution (32, 64, 128 channels), rectifier and pooling to
    half the size, then 256 dense units. Vectors: three hidden layers of 512, 256 and 128 units.
    """
    if len(input_shape) == 1:
        widths = [*input_shape, 512, 256, 128]
        dense: list[nn.Module] = [nn.Flatten()]
        for read, written in pairwise(widths):
            dense += [nn.Linear(read, written), nn.ReLU()]
        return nn.Sequential(*dense, nn.Linear(widths[-1], num_classes))
    channels = [input_shape[0], 32, 64, 128]
    blocks: list[nn.Module] = []
    for read, written in pairwise(channels):
        blocks += [nn.Conv2d(read, written, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    features = channels[-1] * prod(side // 8 for side in input_shape[1:])
    head = [nn.Flatten(), nn.Linear(features, 256), nn.ReLU(), nn.Linear(256, num_classes)]
    return he(nn.Sequential(*blocks, *head))
