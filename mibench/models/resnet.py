"""ResNet50 and ResNet101 (He et al. 2016, table 1), the stride in the 3 x 3 convolution."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from mibench.models.initial import he

EXPANSION = 4


def _convolution(read: int, written: int, size: int, stride: int = 1) -> list[nn.Module]:
    padding = size // 2
    return [
        nn.Conv2d(read, written, size, stride, padding, bias=False),
        nn.BatchNorm2d(written),
    ]


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut."""

    def __init__(self, read: int, width: int, stride: int):
        super().__init__()
        written = EXPANSION * width
        self.residual = nn.Sequential(
            *_convolution(read, width, 1),
            nn.ReLU(),
            *_convolution(width, width, 3, stride),
            nn.ReLU(),
            *_convolution(width, written, 1),
        )
        same = read == written and stride == 1
        self.shortcut = nn.Sequential(*([] if same else _convolution(read, written, 1, stride)))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return nn.functional.relu(self.residual(x) + self.shortcut(x))


def resnet(
    blocks: Sequence[int],
    input_shape: tuple[int, ...],
    num_classes: int,
    imagenet_stem: bool = False,
) -> nn.Module:
    """Return a ResNet whose four stages have so many bottlenecks each.

    The stem of small images is one 3 x 3 convolution (He et al. 2016, section 4.2), of stride 2
    above 32 x 32; that of `imagenet_stem` a 7 x 7 convolution of stride 2 with pooling.
    """
    if imagenet_stem:
        stem = [*_convolution(input_shape[0], 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    else:
        stride = 2 if min(input_shape[1:]) > 32 else 1
        stem = [*_convolution(input_shape[0], 64, 3, stride), nn.ReLU()]
    layers = [*stem]
    channels = 64
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        for i in range(count):
            layers.append(Bottleneck(channels, width, 2 if i == 0 and stage > 0 else 1))
            channels = EXPANSION * width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
    return he(nn.Sequential(*layers, *head))


resnet50 = partial(resnet, (3, 4, 6, 3))
resnet101 = partial(resnet, (3, 4, 23, 3))
