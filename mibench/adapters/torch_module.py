"""PyTorch modules that return logits or posteriors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mibench import code, progress
from mibench.adapters.base import ADAPTERS, Adapter, derives, version_of
from mibench.errors import MIBenchError
from mibench.outputs import FloatArray, IntArray
from mibench.training import single
from mibench.training.device import Device
from mibench.training.recipe import Recipe, checkpoints

_BATCH = 256
_FIT = Recipe()


class Torch(Adapter):
    """A module that maps a tensor (n, ...) to one (n, C), or to what has such `logits`.

    One like it has the same layers with new initial weights and is trained by Adam on the cross
    entropy of its logits, as :class:`mibench.training.recipe.Recipe` has it by default.
    """

    name = "torch"

    def takes(self, model: Any) -> bool:
        """Return whether it is a module."""
        return derives(model, "torch", "Module")

    def answer(self, model: Any, inputs: NDArray[Any], classes: int | None) -> FloatArray:
        """Ask it in batches, in evaluation mode; each part is left in the mode it was in."""
        modes = [(part, part.training) for part in model.modules()]
        asked, device = _Answering(model).eval(), _like(model).device
        try:
            with torch.inference_mode():
                parts = _tensor(model, inputs).split(_BATCH)
                answers = [asked(part.to(device)).float().cpu() for part in parts]
        finally:
            for part, training in modes:
                part.training = training
        return torch.cat(answers).numpy()

    def like(self, model: Any, inputs: NDArray[Any], labels: IntArray, seed: int) -> Any:
        """Train a copy from new initial weights."""
        return _trained(_FIT, model, inputs, labels, seed)

    def stages(self, model: Any) -> Callable[[NDArray[Any], IntArray, int], Iterator[Any]]:
        """Return what trains copies from the same initial weights for 1, 2, 4, ... epochs."""

        def train(inputs: NDArray[Any], labels: IntArray, seed: int) -> Iterator[Any]:
            for epochs in checkpoints(_FIT.epochs):
                yield _trained(replace(_FIT, epochs=epochs), model, inputs, labels, seed)

        return train

    def described(self, model: Any) -> str:
        """Return its layers and what its own classes do."""
        kinds = sorted({type(m) for m in model.modules()}, key=lambda kind: kind.__qualname__)
        own = [code.of(kind.forward) for kind in kinds if not kind.__module__.startswith("torch.")]
        return "\n".join([version_of(model), torch.__version__, repr(model), *own])


def _trained(
    recipe: Recipe, model: nn.Module, inputs: NDArray[Any], labels: IntArray, seed: int
) -> nn.Module:
    """Return a copy with new initial weights, trained."""
    made, device = copy.deepcopy(model), Device(_like(model).device.type)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in made.modules():
            _reset(part)
    x, y = _tensor(made, inputs).to(device.type), torch.from_numpy(labels).to(device.type)
    bar = progress.bar(total=recipe.epochs * len(y), desc="training", unit="sample", delay=1)
    with bar:
        asked = _Answering(made.train())
        weights = single.fit(recipe, asked, x, y, torch.arange(len(y)), seed, device, bar)
        asked.load_state_dict(weights)
    return made


class _Answering(nn.Module):
    """A module that gives out a tensor, whatever its answer comes in."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        answer = self.model(inputs)
        mapped = isinstance(answer, Mapping)
        found = answer.get("logits") if mapped else getattr(answer, "logits", answer)
        if isinstance(found, Tensor):
            return found
        raise MIBenchError(
            f"this {type(self.model).__name__} returns a {type(answer).__name__} without logits; "
            "wrap it in a module that returns a tensor (n, C)"
        )


def _like(module: nn.Module) -> Tensor:
    """Return a parameter, of the type and on the device that inputs must be."""
    return next(module.parameters(), torch.zeros(()))


def _tensor(module: nn.Module, inputs: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(inputs))
    return tensor.to(_like(module).dtype) if tensor.is_floating_point() else tensor


def _reset(part: nn.Module) -> None:
    reset = getattr(part, "reset_parameters", getattr(part, "_reset_parameters", None))
    if callable(reset):
        reset()
    elif any(True for _ in part.parameters(recurse=False)):
        # What stays as the target learnt it would tell of the target's members.
        raise MIBenchError(
            f"{type(part).__name__} has parameters but no reset_parameters, so there are no new "
            "initial weights; write that method, or give train a function"
        )


ADAPTERS.add(Torch.name, Torch())
