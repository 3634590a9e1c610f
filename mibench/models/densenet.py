"""DenseNet121 (Huang et al. 2017, table 1), growth rate 32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mibench.models.initial import he

GROWTH = 32
BLOCKS = (6, 12, 24, 16)


def _normalised(read: int, written: int, size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(read, written, size, padding=size // 2, bias=False)
    return [nn.BatchNorm2d(read), nn.ReLU(), convolution]


class DenseLayer(nn.Module):
    """A bottleneck whose output is appended to its input."""

    def __init__(self, read: int):
        super().__init__()
        self.added = nn.Sequential(
            *_normalised(read, 4 * GROWTH, 1), *_normalised(4 * GROWTH, GROWTH, 3)
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.cat([x, self.added(x)], dim=1)


def densenet121(
    input_shape: tuple[int, ...], num_classes: int, imagenet_stem: bool = False
) -> nn.Module:
    """Return a DenseNet121; its stems are those of :func:`mibench.models.resnet.resnet`."""
    channels = 2 * GROWTH
    stride = 2 if imagenet_stem or min(input_shape[1:]) > 32 else 1
    size = 7 if imagenet_stem else 3
    layers: list[nn.Module] = [
        nn.Conv2d(input_shape[0], channels, size, stride, size // 2, bias=False),
    ]
    if imagenet_stem:
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for i, count in enumerate(BLOCKS):
        if i > 0:
            layers += [*_normalised(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
        for _ in range(count):
            layers.append(DenseLayer(channels))
            channels += GROWTH
    layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return he(nn.Sequential(*layers, nn.Linear(channels, num_classes)))
