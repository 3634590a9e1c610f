"""The training of small networks that attacks are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

NetworkType = TypeVar("NetworkType", bound="nn.Module")


def trained(
    make: Callable[[], NetworkType],
    loss: Callable[[NetworkType, Tensor], Tensor],
    count: int,
    epochs: int,
    rate: float,
    seed: int,
) -> NetworkType:
    """Return a network trained by Adam in batches of 100.

    Parameters
    ----------
    make : callable
        Returns it with its initial weights.
    loss : callable
        From the network and the places (b,) of a batch's samples to their mean loss.
    count : int
        How many samples there are.
    epochs : int
    rate : float
        The learning rate.
    seed : int
    """
    import torch  # which takes long to load, and attacks are listed without

    from mibench.training.device import cpu_threads

    with torch.random.fork_rng([]), cpu_threads(1):
        torch.manual_seed(seed)
        network = make()
        steps = torch.optim.Adam(network.parameters(), lr=rate)
        for _ in range(epochs):
            for batch in torch.randperm(count).split(100):
                steps.zero_grad()
                loss(network, batch).backward()
                steps.step()
    return network.requires_grad_(False).eval()
