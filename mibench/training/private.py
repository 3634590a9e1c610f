"""DP-SGD (Abadi et al. 2016) through Opacus (Yousefpour et al. 2021)."""

from __future__ import annotations

import torch
from torch import nn

from mibench.errors import MIBenchError
from mibench.training.recipe import Recipe

try:
    from opacus import GradSampleModule
    from opacus.accountants import RDPAccountant
    from opacus.optimizers import DPOptimizer
    from opacus.validators import ModuleValidator
except ImportError:
    raise MIBenchError(
        "the defence dp_sgd needs Opacus, which is not installed; run pip install '.[dp]' in "
        "MIBench's folder or choose another defence"
    ) from None

DELTA = 1e-5


def prepared(network: nn.Module) -> nn.Module:
    """Return the network with group for batch normalisation, which mixes samples."""
    return ModuleValidator.fix(network)


def wrap(
    recipe: Recipe,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator | None,
) -> tuple[nn.Module, DPOptimizer]:
    """Return a network that keeps a gradient for each sample, and an optimizer that clips them."""
    private = DPOptimizer(
        optimizer,
        noise_multiplier=recipe.dp_noise,
        max_grad_norm=recipe.dp_clip,
        expected_batch_size=recipe.batch_size,
        generator=generator,
    )
    return GradSampleModule(network), private


def epsilon(recipe: Recipe, size: int) -> float:
    """Return the epsilon that training on `size` samples spends at delta 1e-5.

    Rényi accounting of the subsampled Gaussian mechanism (Mironov et al. 2019).
    """
    accountant = RDPAccountant()
    steps = recipe.epochs * -(-size // recipe.batch_size)
    accountant.history = [(recipe.dp_noise, min(1.0, recipe.batch_size / size), steps)]
    return float(accountant.get_epsilon(DELTA))
