"""The models of one purpose, trained and queried once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mibench import code, training
from mibench.data.base import Dataset
from mibench.outputs import IntArray
from mibench.signals import memguard
from mibench.store import Arrays, NotMade, Store
from mibench.training import Device, Recipe

if TYPE_CHECKING:
    from mibench.training import Answering, Weights

FloatArray = NDArray[np.float32]
# Samples that are queried at a time, so that their copies and answers fit the memory.
AT_ONCE = 4096


@dataclass(eq=False)
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

    @cached_property
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
            "torch": version("torch"),
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
                answers = []
                for weights in self.weights():
                    answer = self.answering(weights)
                    parts = (self.dataset.take(self.samples[i : i + AT_ONCE]) for i in starts)
                    answers.append(np.concatenate([answer(part) for part in parts], axis=1))
                return {"logits": np.concatenate(answers)}

            self._logits = self.store.get("logits", self._logits_key, make)["logits"]
        place = np.full(len(self.dataset.labels), -1)
        place[self.samples] = np.arange(len(self.samples))
        return self._logits[:, place[samples]]

    @property
    def _logits_key(self) -> dict[str, Any]:
        return {**self.answers_key, "samples": sha256(self.samples)}

    @property
    def unanswered(self) -> int:
        """How many queries are still to be made for :meth:`logits`."""
        made = self.store.file("logits", self._logits_key, ".npz").exists()
        return 0 if made else len(self.seeds) * len(self.samples)

    def answering(self, weights: Weights) -> Answering:
        """Return what gives the answers (k, n, C) of models of these weights to inputs."""
        shape, classes = self.dataset.inputs.shape[1:], self.dataset.num_classes
        answer = training.answering(self.recipe, weights, shape, classes, self.device)
        noise = self.recipe.output_noise
        if not noise:
            return answer
        return lambda inputs: memguard.noised(answer(inputs), noise, self.noise_seed)

    @cached_property
    def parts(self) -> list[slice]:
        """The models that are trained, and kept, together."""
        shape, classes = self.dataset.inputs.shape[1:], self.dataset.num_classes
        size = training.together(self.recipe, shape, classes, self.device)
        return [slice(k, k + size) for k in range(0, len(self.seeds), size)]

    def weights(self) -> Iterator[Weights]:
        """Yield the models' weights, of one part after the other."""
        return map(self._weights, self.parts)

    def is_trained(self, part: slice) -> bool:
        """Return whether the store holds a part."""
        return self.store.file("weights", self._key(part), ".npz").exists()

    def trains(self, part: slice) -> bool:
        """Train a part, unless it is there or another process does; return whether it is there."""
        try:
            if not self.is_trained(part):
                self._weights(part)
        except NotMade:
            return False
        return True

    def _key(self, part: slice) -> dict[str, Any]:
        return {**self.key, "subsets": sha256(self.subsets[part]), "seeds": self.seeds[part]}

    def _weights(self, part: slice) -> Weights:
        data, subsets, key = self.dataset, self.subsets[part], self._key(part)
        first, last = part.start + 1, part.start + len(subsets)
        which = f"{first} to {last}" if last > first else f"{first}"
        several = len(self.seeds) > len(subsets)
        what = f"{self.name} {which} of {len(self.seeds)}" if several else self.name

        def make() -> Arrays:
            checkpoint = self.store.file("checkpoints", key, ".pt")
            checkpoint.parent.mkdir(exist_ok=True)
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
                checkpoint,
            )

        return self.store.get("weights", key, make)


def sha256(array: NDArray[Any]) -> str:
    """Return the digest of an array's values, for keys."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:20]
