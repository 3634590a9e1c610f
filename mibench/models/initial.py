"""Initial weights of convolutions (He et al. 2015)."""

from __future__ import annotations

from torch import nn


def he(network: nn.Module) -> nn.Module:
    """Draw a network's convolutions anew, by the deviation of what they write; return it."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
