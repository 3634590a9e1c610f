"""One network trained alone, with a checkpoint every minute."""

from __future__ import annotations

import copy
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mibench.store import replacing
from mibench.training.device import Device, cpu_threads
from mibench.training.parts import optimizer
from mibench.training.recipe import Recipe
from mibench.training.recorded import recorded

State = dict[str, Tensor]
# Between two checkpoints: one of every epoch would be hundreds of gigabytes.
SECONDS = 60.0
_PARTS = ("network", "optimizer", "schedule")
_NUMBERS = ("epoch", "best", "best_loss", "waited")


def fit(
    recipe: Recipe,
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    subset: Tensor,
    seed: int,
    device: Device,
    bar: Any,
    validation: tuple[Tensor, Tensor] | None = None,
    checkpoint: Path | None = None,
    alike: bool = False,
) -> State:
    """Train a network on `subset` and return its parameters and buffers.

    Only where the network is known to do the same operations in every step, which is `alike`, are
    they recorded on CUDA.

    Where `checkpoint` is a file left by a training that was stopped, training goes on from it;
    on the CPU it ends with the very weights that it would have had. The file is removed at the
    end.
    """
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), cpu_threads(recipe.threads):
        run = _Run(recipe, network, seed, device, x, y, alike)
        if checkpoint is not None and checkpoint.exists():
            run.resume(checkpoint)
        bar.update(run.epoch * len(subset))
        saved = monotonic()
        while not run.finished:
            loss = run.pass_over(subset, bar)
            run.close_epoch(validation)
            if checkpoint and not run.finished and monotonic() - saved >= SECONDS:
                run.save(checkpoint)
                saved = monotonic()
            bar.set_postfix(epoch=run.epoch, loss=loss)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return run.weights()


class _Run:
    """A training as it stands after some epochs."""

    def __init__(
        self,
        recipe: Recipe,
        network: nn.Module,
        seed: int,
        device: Device,
        x: Tensor,
        y: Tensor,
        alike: bool = False,
    ):
        torch.manual_seed(seed)
        self._random: Any = torch.cuda if device.type == "cuda" else torch
        self.recipe, self.seed, self.device, self.x, self.y = recipe, seed, device, x, y
        self.order = torch.Generator().manual_seed(seed)
        # What is drawn within a step is drawn on the device.
        self.draws = self.order if device.type == "cpu" else None
        self.network = self.called = device.laid_out(network)
        self.optimizer: Optimizer
        self.schedule: LRScheduler
        self.optimizer, self.schedule = optimizer(recipe, network.parameters())
        if recipe.dp_noise:
            from mibench.training import private

            self.called, self.optimizer = private.wrap(recipe, network, self.optimizer, self.draws)
        # Batches of DP-SGD have a size of their own each.
        alike = alike and not recipe.dp_noise
        self._made = recorded(self._step, device) if alike else self._step
        self.epoch = 0
        self.best: State | None = None
        self.best_loss, self.waited = float("inf"), 0

    @property
    def finished(self) -> bool:
        patience = self.recipe.patience
        stopped = patience is not None and self.waited >= patience
        return stopped or self.epoch >= self.recipe.epochs

    def pass_over(self, subset: Tensor, bar: Any) -> float:
        """Train one epoch and return its mean loss."""
        self.called.train()
        loss_sum, seen = torch.zeros((), device=self.x.device), 0
        for index in self._batches(subset):
            loss_sum += self._made(index) * len(index)
            seen += len(index)
            bar.update(len(index))
        return float(loss_sum) / seen

    def _step(self, index: Tensor) -> Tensor:
        """Make the step of one batch and return its mean loss before."""
        recipe, inputs = self.recipe, self.device.batch(self.x[index])
        if recipe.augmentation:
            inputs = _augment(inputs, self.draws)
        kind, mixed = self.x.device.type, self.device.mixed_precision
        with torch.autocast(kind, torch.bfloat16, enabled=mixed):
            logits = self.called(inputs)
            loss = cross_entropy(logits, self.y[index], label_smoothing=recipe.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _batches(self, subset: Tensor) -> Iterable[Tensor]:
        """Return the indices of an epoch's batches, on the device."""
        most, size, place = self.recipe.batch_size, len(subset), self.x.device
        if self.recipe.dp_noise:
            # Drawn one by one, since the noise of the steps between comes from the same stream.
            draws = (torch.rand(size, generator=self.order) for _ in range(-(-size // most)))
            return (subset[drawn < most / size].to(place) for drawn in draws)
        order = torch.randperm(size, generator=self.order)
        batches = list(subset[order].to(place).split(most))
        if len(batches[-1]) == 1 and len(batches) > 1:
            # Batch normalisation has no deviation over one sample.
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    def close_epoch(self, validation: tuple[Tensor, Tensor] | None) -> None:
        self.epoch += 1
        self.schedule.step()
        if self.recipe.patience is None or validation is None:
            return
        self.network.eval()
        loss = 0.0
        with torch.no_grad():
            for x, y in zip(*(v.split(256) for v in validation), strict=True):
                logits = self.network(self.device.batch(x))
                loss += cross_entropy(logits, y.to(self.device.type), reduction="sum").item()
        if loss < self.best_loss:
            self.best_loss, self.waited = loss, 0
            self.best = {n: v.clone() for n, v in self.network.state_dict().items()}
        else:
            self.waited += 1

    def weights(self) -> State:
        return self.network.state_dict() if self.best is None else self.best

    def save(self, path: Path) -> None:
        with replacing(path) as temporary:
            torch.save(self._state(), temporary)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint; one that is damaged is passed over with a warning."""
        before = copy.deepcopy(self._state())
        try:
            # PyTorch does not compare the checksums that it writes.
            with zipfile.ZipFile(path) as records:
                if records.testzip():
                    raise zipfile.BadZipFile
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["made"] != before["made"]:
                raise ValueError
            self._set(state)
        except Exception:  # a damaged file may hold anything
            self._set(before)
            warnings.warn(f"{path} is damaged; training starts anew", stacklevel=2)

    def _state(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in _PARTS}
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        random = self._random.get_rng_state()
        made = f"{self.recipe} {self.seed}"
        return {"made": made, "order": self.order.get_state(), "random": random} | parts | numbers

    def _set(self, state: dict[str, Any]) -> None:
        for name in _PARTS:
            getattr(self, name).load_state_dict(state[name])
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"] = group["lr"].to(self.x.device)
        for name in _NUMBERS:
            setattr(self, name, state[name])
        self.order.set_state(state["order"])
        self._random.set_rng_state(state["random"])


def _augment(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Mirror half of the images and shift each by up to one pixel in eight."""
    count, _, height, width = images.shape
    drawn: Any = {"generator": generator, "device": images.device}
    reach = max(1, height // 8)
    mirrored = torch.rand(count, **drawn) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    windows = nn.functional.pad(images, [reach] * 4).unfold(2, height, 1).unfold(3, width, 1)
    down, across = torch.randint(2 * reach + 1, (2, count), **drawn)
    return windows[torch.arange(count, device=images.device), :, down, across]
