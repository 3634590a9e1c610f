"""The models of one purpose, trained and queried once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mibench import code, training
from mibench.data.base import Dataset
from mibench.outputs import IntArray
from mibench.signals import memguard
from mibench.store import Arrays, Store
from mibench.training import Device, Recipe, Weights

FloatArray = NDArray[np.float32]
# Samples that are queried at a time, so that their copies and answers fit the memory.
AT_ONCE = 4096


@dataclass
class Owner:
    """K models of one purpose and what they answer.

    Attributes
    ----------
    name : str
    subsets : int array, (K, m)
        The samples that each model is trained on.
    seeds : list of K int
    recipe : Recipe
        How each is trained, and how its answers are defended.
    dataset : Dataset
    samples : int array, (S,)
        All samples that are ever queried.
    held_out : int array, (h,)
        What a recipe with patience is stopped by.
    noise_seed : int
        Of the defence that adds noise to answers.
    teach : callable, optional
        Gives the posteriors (n, C) that samples are learnt from, in place of their labels.
    taught_by : dict
        What those follow from; part of the key.
    """

    name: str
    subsets: IntArray
    seeds: list[int]
    recipe: Recipe
    dataset: Dataset
    samples: IntArray
    held_out: IntArray
    noise_seed: int
    store: Store
    device: Device
    teach: Callable[[IntArray], FloatArray] | None = None
    taught_by: dict[str, Any] = field(default_factory=dict)
    _logits: FloatArray | None = None

    @property
    def key(self) -> dict[str, Any]:
        """All that the models' weights follow from."""
        return {
            "owner": self.name,
            "data": self.dataset.checksum,
            "subsets": sha256(self.subsets),
            "seeds": self.seeds,
            "recipe": asdict(training.trained_as(self.recipe)),
            "held_out": sha256(self.held_out) if self.recipe.patience else None,
            "taught_by": self.taught_by,
            "device": self.device.type,
            "torch": torch.__version__,
            "code": training.source(self.recipe),
        }

    @property
    def answers_key(self) -> dict[str, Any]:
        """All that the models' answers follow from, beside what they are asked."""
        noise = self.recipe.output_noise
        if not noise:
            return self.key
        defended = {"noise": noise, "noise_seed": self.noise_seed}
        return {**self.key, **defended, "noise_code": code.digest("mibench.signals.memguard")}

    def logits(self, samples: IntArray) -> FloatArray:
        """Return what the models answer on samples that may be queried, (K, n, C)."""
        if self._logits is None:

            def make() -> Arrays:
                starts = range(0, len(self.samples), AT_ONCE)
                answers = [
                    self.answer(
                        weights,
                        (self.dataset.take(self.samples[i : i + AT_ONCE]) for i in starts),
                    )
                    for weights in self.weights()
                ]
                return {"logits": np.concatenate(answers)}

            key = {**self.answers_key, "samples": sha256(self.samples)}
            self._logits = self.store.get("logits", key, make)["logits"]
        place = np.full(len(self.dataset.labels), -1)
        place[self.samples] = np.arange(len(self.samples))
        return self._logits[:, place[samples]]

    def answer(self, weights: Weights, parts: Iterable[FloatArray]) -> FloatArray:
        """Return what models of these weights answer on inputs given in parts, (k, n, C)."""
        classes = self.dataset.num_classes
        logits = np.concatenate(
            [training.predict(self.recipe, weights, part, classes, self.device) for part in parts],
            axis=1,
        )
        if self.recipe.output_noise:
            return memguard.noised(logits, self.recipe.output_noise, self.noise_seed)
        return logits

    def weights(self) -> Iterator[Weights]:
        """Yield the models' weights: of all at once, or of one model after the other."""
        shape, classes = self.dataset.inputs.shape[1:], self.dataset.num_classes
        if training.stacks(self.recipe, shape, classes):
            yield self._trained(slice(None), self.name, self.key)
            return
        for k in range(len(self.seeds)):
            what = f"{self.name} {k + 1} of {len(self.seeds)}" if len(self.seeds) > 1 else self.name
            part = slice(k, k + 1)
            key = {**self.key, "subsets": sha256(self.subsets[part]), "seeds": self.seeds[part]}
            yield self._trained(part, what, key)

    def _trained(self, part: slice, what: str, key: dict[str, Any]) -> Weights:
        data, subsets = self.dataset, self.subsets[part]

        def make() -> Arrays:
            samples = np.unique(subsets)
            held_out = data.take(self.held_out), data.labels[self.held_out]
            return training.train(
                self.recipe,
                data.take(samples),
                data.labels[samples] if self.teach is None else self.teach(samples),
                np.searchsorted(samples, subsets),
                data.num_classes,
                self.seeds[part],
                f"training {what}",
                self.device,
                held_out if self.recipe.patience else None,
                self.store.file("checkpoints", key, ".pt"),
            )

        return self.store.get("weights", key, make)


def sha256(array: NDArray[Any]) -> str:
    """Return the digest of an array's values, for keys."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:20]
