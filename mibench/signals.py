"""Signals: every model output that scenarios and attacks read, made once and kept on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from mibench import __version__, perturbations, training
from mibench.datasets import Dataset, split
from mibench.outputs import Copies, IntArray, Outputs, cross_entropy
from mibench.store import Arrays, Store
from mibench.training import Recipe, Weights

COPIES = {"perturbed": 20, "noisy": 100}
RANDOM_POINTS = 1000
DISTILLED = 16


class Signals:
    """Outputs of the target model and of all models that attacks compare it with.

    One target model serves all scenarios of a dataset. The shadow model is trained on samples
    of its own; each reference model on a random half of the target's pool (members and
    nonmembers), drawn in complementary pairs so that every pool sample is in exactly half.

    Nothing is trained or queried before it is asked for; what has been is read from the store.

    Parameters
    ----------
    dataset : Dataset
    recipe : Recipe
        How every model is trained.
    seed : int
        Seed of the splits, the training and the perturbations.
    references : int
        Number of reference models, K; even.
    store : Store
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, seed: int, references: int, store: Store):
        self.dataset, self.recipe, self.seed = dataset, recipe, seed
        self.references, self.store = references, store
        self.roles = split(dataset, seed)
        self._key: dict[str, Any] = {
            "dataset": dataset.name,
            "data": dataset.checksum,
            "roles": {role: len(samples) for role, samples in self.roles.items()},
            "recipe": asdict(recipe),
            "seed": seed,
            "mibench": __version__,
            "torch": torch.__version__,
        }

    @property
    def pool(self) -> IntArray:
        """Indices of the target model's members, then its nonmembers."""
        return np.concatenate([self.roles["members"], self.roles["nonmembers"]])

    @cached_property
    def target_logits(self) -> NDArray[np.float32]:
        """The target model's logits on the whole dataset, (N, C)."""
        return self._logits("target")[0]

    @cached_property
    def shadow_logits(self) -> NDArray[np.float32]:
        """The shadow model's logits on the whole dataset, (N, C)."""
        return self._logits("shadow")[0]

    @cached_property
    def reference_logits(self) -> NDArray[np.float32]:
        """The reference models' logits on the whole dataset, (K, N, C)."""
        return self._logits("references")

    @cached_property
    def reference_in(self) -> NDArray[np.bool_]:
        """Whether reference model k was trained on a sample, (K, N)."""
        mask = np.zeros((self.references, len(self.dataset.labels)), dtype=bool)
        np.put_along_axis(mask, self._subsets("references"), True, axis=1)
        return mask

    @cached_property
    def distilled_logits(self) -> NDArray[np.float32]:
        """The logits of models distilled from the target on the whole dataset, (16, N, C).

        Each is trained on a random half of the attacker's own samples (shadow and auxiliary, none
        of them the target's members) with the target's posteriors as soft labels.
        """
        return self._logits("distilled")

    def generated(self) -> NDArray[np.float32]:
        """Return the target's logits on nonmembers generated from auxiliary samples, (g, C)."""
        source = self.dataset.take(self.roles["auxiliary"])
        inputs = perturbations.generated_nonmembers(source, self.dataset.kind, self.seed)
        return self._queried("generated", inputs)

    def random(self) -> NDArray[np.float32]:
        """Return the target's logits on uniformly random inputs, (1000, C)."""
        inputs = perturbations.random_points(
            self.dataset.inputs, self.dataset.kind, RANDOM_POINTS, self.seed
        )
        return self._queried("random", inputs)

    def outputs(
        self,
        owner: str,
        samples: IntArray,
        references: bool = False,
        distilled: bool = False,
        copies: tuple[str, ...] = (),
    ) -> Outputs:
        """Return what is known of `samples`, and no more than is asked for.

        Parameters
        ----------
        owner : {"target", "shadow"}
            The model whose outputs these are.
        samples : int array, (n,)
        references : bool
            Whether the reference models' outputs are added.
        distilled : bool
            Whether the distilled models' outputs are added.
        copies : tuple of {"perturbed", "noisy"}
            Perturbations whose answers are added; for the samples of the owner's pool.
        """
        logits = self.target_logits if owner == "target" else self.shadow_logits
        return Outputs(
            logits[samples],
            self.dataset.labels[samples],
            self.reference_logits[:, samples] if references else None,
            self.reference_in[:, samples] if references else None,
            self.distilled_logits[:, samples] if distilled else None,
            self.dataset.take(samples),
            copies={kind: self._copies(owner, kind, samples) for kind in copies},
        )

    def _copies(self, owner: str, kind: str, samples: IntArray) -> Copies:
        roles = ("members", "nonmembers")
        prefix = "" if owner == "target" else "shadow_"
        pool = np.concatenate([self.roles[prefix + role] for role in roles])
        inputs, labels = self.dataset.take(pool), self.dataset.labels[pool]

        def make() -> Arrays:
            losses, answers = [], []
            for copy in self._perturb(kind, inputs):
                logits = self._predict(owner, copy)[0]
                losses.append(cross_entropy(logits, labels).astype(np.float32))
                answers.append(logits.argmax(axis=1).astype(np.int16))
            return {"loss": np.stack(losses), "predicted": np.stack(answers)}

        key = {**self._key, "owner": owner, "kind": kind, "count": COPIES[kind]}
        stored = self.store.get("copies", key, make)
        place = np.full(len(self.dataset.labels), -1)
        place[pool] = np.arange(len(pool))
        return Copies(stored["loss"], stored["predicted"]).take(place[samples])

    def _perturb(self, kind: str, inputs: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        if kind == "noisy":
            return perturbations.noisy_copies(inputs, self.dataset.kind, COPIES[kind], self.seed)
        return perturbations.perturbed_copies(inputs, self.dataset.kind, COPIES[kind], self.seed)

    def _queried(self, kind: str, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        key = {**self._key, "owner": "target", "kind": kind}
        stored = self.store.get(
            "queries", key, lambda: {"logits": self._predict("target", inputs)[0]}
        )
        return stored["logits"]

    def _subsets(self, owner: str) -> NDArray[np.int64]:
        if owner == "target":
            return self.roles["members"][None]
        if owner == "shadow":
            return self.roles["shadow_members"][None]
        if owner == "distilled":
            own = ("shadow_members", "shadow_nonmembers", "auxiliary")
            samples = np.concatenate([self.roles[role] for role in own])
            return _halves(samples, DISTILLED, np.random.default_rng([self.seed, 13]))
        return _halves(self.pool, self.references, np.random.default_rng([self.seed, 6]))

    def _owner_key(self, owner: str) -> dict[str, Any]:
        extra = {"references": self.references} if owner == "references" else {}
        return {**self._key, "owner": owner, **extra}

    def _weights(self, owner: str) -> Weights:
        subsets = self._subsets(owner)
        first = {"target": 0, "shadow": 1, "references": 2, "distilled": 5_000}[owner]
        seeds = [10_000 * self.seed + first + k for k in range(len(subsets))]

        def make() -> Arrays:
            described = {
                "target": "training the target model",
                "shadow": "training the shadow model",
                "references": f"training {len(subsets)} reference models",
                "distilled": f"training {len(subsets)} distilled models",
            }[owner]
            data = self.dataset
            targets = softmax(self.target_logits, axis=1) if owner == "distilled" else data.labels
            return training.train(
                self.recipe,
                data.take(slice(None)),
                targets,
                subsets,
                data.num_classes,
                seeds,
                described,
            )

        return self.store.get("weights", self._owner_key(owner), make)

    def _predict(self, owner: str, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return training.predict(
            self.recipe.model, self._weights(owner), inputs, self.dataset.num_classes
        )

    def _logits(self, owner: str) -> NDArray[np.float32]:
        stored = self.store.get(
            "logits",
            self._owner_key(owner),
            lambda: {"logits": self._predict(owner, self.dataset.take(slice(None)))},
        )
        return stored["logits"]


def _halves(samples: IntArray, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `count` random halves of the samples, in complementary pairs."""
    half = len(samples) // 2
    halves: list[NDArray[np.int64]] = []
    for _ in range(count // 2):
        order = rng.permutation(samples)
        halves += [order[:half], order[half : 2 * half]]
    return np.stack(halves)
