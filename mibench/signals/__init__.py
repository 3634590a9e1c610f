"""Signals: every model output that scenarios and attacks read, made once and kept on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from tqdm.auto import tqdm

from mibench import __version__, training
from mibench.data import Dataset, split
from mibench.outputs import Copies, IntArray, Outputs, cross_entropy
from mibench.signals import memguard, perturbations
from mibench.store import Arrays, Store
from mibench.training import Device, Recipe, Weights

COPIES = {"perturbed": 20, "noisy": 100}
RANDOM_POINTS = 1000
DISTILLED = 16
_AT_ONCE = 4096

FloatArray = NDArray[np.float32]


class Signals:
    """Outputs of the target model and of all models that attacks compare it with.

    One target model serves all scenarios of a dataset. The shadow model is trained on samples
    of its own; each reference model on a random half of the target's pool (members and
    nonmembers), drawn in complementary pairs so that every pool sample is in exactly half.
    All of them are defended as the target is, since an attacker can find out how; distilled
    models learn what the defended target answers.

    Nothing is trained or queried before it is asked for; what has been is read from the store.
    Only samples that have a role are queried.

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
    device : Device
    distilled : int
        Number of models distilled from the target; even.
    """

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        seed: int,
        references: int,
        store: Store,
        device: Device,
        distilled: int = DISTILLED,
    ):
        self.dataset, self.recipe, self.seed = dataset, recipe, seed
        self.references, self.distilled = references, distilled
        self.store, self.device = store, device
        self.roles = split(dataset, seed)
        self._input_shape = dataset.inputs.shape[1:]
        self._training_key: dict[str, Any] = {
            "dataset": dataset.name,
            "data": dataset.checksum,
            "roles": {role: len(samples) for role, samples in self.roles.items()},
            "recipe": asdict(training.trained_as(recipe)),
            "seed": seed,
            "device": device.type,
            "mibench": __version__,
            "torch": torch.__version__,
        }
        self._key = {**self._training_key, "output_noise": recipe.output_noise}
        self._answers: dict[str, FloatArray] = {}

    @property
    def pool(self) -> IntArray:
        """Indices of the target model's members, then its nonmembers."""
        return np.concatenate([self.roles["members"], self.roles["nonmembers"]])

    @cached_property
    def samples(self) -> IntArray:
        """Indices of all samples that have a role, (S,)."""
        return np.concatenate(list(self.roles.values()))

    @cached_property
    def _row(self) -> IntArray:
        """The place of each sample of the dataset in :attr:`samples`, -1 without a role."""
        place = np.full(len(self.dataset.labels), -1)
        place[self.samples] = np.arange(len(self.samples))
        return place

    def logits(self, owner: str, samples: IntArray) -> FloatArray:
        """Return the logits of an owner's K models on samples that have a role, (K, n, C).

        The target and the shadow are one model each. Distilled models are each trained on a
        random half of the attacker's own samples (shadow and auxiliary, none of them the target's
        members) with the target's posteriors as soft labels.

        Parameters
        ----------
        owner : {"target", "shadow", "references", "distilled"}
        samples : int array, (n,)
        """
        if owner not in self._answers:
            parts = range(0, len(self.samples), _AT_ONCE)

            def make() -> Arrays:
                return {
                    "logits": np.concatenate(
                        [
                            self._answered(
                                owner,
                                weights,
                                (self.dataset.take(self.samples[i : i + _AT_ONCE]) for i in parts),
                            )
                            for weights in self._trained(owner)
                        ]
                    )
                }

            key = {**self._key, "owner": owner, **self._count(owner)}
            self._answers[owner] = self.store.get("logits", key, make)["logits"]
        return self._answers[owner][:, self._row[samples]]

    @cached_property
    def accuracy(self) -> tuple[float, float]:
        """The share of its members, and of its nonmembers, that the target classifies rightly."""
        shares = []
        for role in ("members", "nonmembers"):
            samples = self.roles[role]
            predicted = self.logits("target", samples)[0].argmax(axis=1)
            shares.append(float((predicted == self.dataset.labels[samples]).mean()))
        return shares[0], shares[1]

    @cached_property
    def reference_in(self) -> NDArray[np.bool_]:
        """Whether reference model k was trained on a sample, (K, N)."""
        mask = np.zeros((self.references, len(self.dataset.labels)), dtype=bool)
        np.put_along_axis(mask, self._subsets("references"), True, axis=1)
        return mask

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
        needs: Collection[str] = (),
    ) -> Outputs:
        """Return what is known of `samples`, and no more than is asked for.

        Parameters
        ----------
        owner : {"target", "shadow"}
            The model whose outputs these are.
        samples : int array, (n,)
        needs : collection of str
            What is added, of the needs that an attack can have: the outputs of "references" and
            "distilled" models, the "inputs", answers on "perturbed" and "noisy" copies (for the
            samples of the owner's pool only). Others add nothing.
        """
        compared = "references" in needs
        return Outputs(
            self.logits(owner, samples)[0],
            self.dataset.labels[samples],
            self.logits("references", samples) if compared else None,
            self.reference_in[:, samples] if compared else None,
            self.logits("distilled", samples) if "distilled" in needs else None,
            self.dataset.take(samples) if "inputs" in needs else None,
            copies={kind: self._copies(owner, kind, samples) for kind in COPIES if kind in needs},
        )

    def _copies(self, owner: str, kind: str, samples: IntArray) -> Copies:
        roles = ("members", "nonmembers")
        prefix = "" if owner == "target" else "shadow_"
        pool = np.concatenate([self.roles[prefix + role] for role in roles])

        def make() -> Arrays:
            [weights] = self._trained(owner)
            loss = np.empty((COPIES[kind], len(pool)), np.float32)
            predicted = np.empty(loss.shape, np.int16)
            what = f"querying {owner} on {kind} copies"
            bar = tqdm(total=loss.size, desc=what, unit="query", leave=False, delay=1)
            for start in range(0, len(pool), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                inputs, labels = self.dataset.take(pool[part]), self.dataset.labels[pool[part]]
                for i, copy in enumerate(self._perturb(kind, inputs, self.seed + start)):
                    logits = self._answered(owner, weights, [copy])[0]
                    loss[i, part] = cross_entropy(logits, labels)
                    predicted[i, part] = logits.argmax(axis=1)
                    bar.update(len(copy))
            bar.close()
            return {"loss": loss, "predicted": predicted}

        key = {**self._key, "owner": owner, "kind": kind, "count": COPIES[kind]}
        stored = self.store.get("copies", key, make)
        place = np.full(len(self.dataset.labels), -1)
        place[pool] = np.arange(len(pool))
        return Copies(stored["loss"], stored["predicted"]).take(place[samples])

    def _perturb(self, kind: str, inputs: FloatArray, seed: int) -> Iterator[FloatArray]:
        made = perturbations.noisy_copies if kind == "noisy" else perturbations.perturbed_copies
        return made(inputs, self.dataset.kind, COPIES[kind], seed)

    def _queried(self, kind: str, inputs: FloatArray) -> FloatArray:
        def make() -> Arrays:
            [weights] = self._trained("target")
            return {"logits": self._answered("target", weights, [inputs])[0]}

        return self.store.get("queries", {**self._key, "owner": "target", "kind": kind}, make)[
            "logits"
        ]

    def _recipe(self, owner: str) -> Recipe:
        return training.without_defence(self.recipe) if owner == "distilled" else self.recipe

    def _answered(self, owner: str, weights: Weights, parts: Iterable[FloatArray]) -> FloatArray:
        """Return what models answer on inputs given in parts, (K, n, C)."""
        recipe, classes = self._recipe(owner), self.dataset.num_classes
        logits = np.concatenate(
            [training.predict(recipe, weights, part, classes, self.device) for part in parts],
            axis=1,
        )
        if self.recipe.output_noise:
            return memguard.noised(logits, self.recipe.output_noise, self.seed)
        return logits

    def _subsets(self, owner: str) -> NDArray[np.int64]:
        if owner == "target":
            return self.roles["members"][None]
        if owner == "shadow":
            return self.roles["shadow_members"][None]
        if owner == "distilled":
            own = ("shadow_members", "shadow_nonmembers", "auxiliary")
            samples = np.concatenate([self.roles[role] for role in own])
            return _halves(samples, self.distilled, np.random.default_rng([self.seed, 13]))
        return _halves(self.pool, self.references, np.random.default_rng([self.seed, 6]))

    def _count(self, owner: str) -> dict[str, int]:
        return {owner: getattr(self, owner)} if owner in ("references", "distilled") else {}

    def _trained(self, owner: str) -> Iterator[Weights]:
        """Yield the weights of an owner's models: all at once, or one model after the other."""
        recipe, key = self._recipe(owner), {**self._training_key, "owner": owner}
        if owner == "distilled":
            # They learn from the target's answers, noise and all.
            key["output_noise"] = recipe.output_noise
        subsets = self._subsets(owner)
        first = {"target": 0, "shadow": 1, "references": 2, "distilled": 5_000}[owner]
        seeds = [10_000 * self.seed + first + k for k in range(len(subsets))]
        if training.stacks(recipe, self._input_shape, self.dataset.num_classes):
            yield self._fitted(owner, recipe, subsets, seeds, key | self._count(owner), owner)
            return
        for k, seed in enumerate(seeds):
            what = f"{owner} {k + 1} of {len(seeds)}" if len(seeds) > 1 else owner
            one = subsets[k : k + 1]
            yield self._fitted(owner, recipe, one, [seed], {**key, "model": k}, what)

    def _fitted(
        self,
        owner: str,
        recipe: Recipe,
        subsets: NDArray[np.int64],
        seeds: list[int],
        key: dict[str, Any],
        what: str,
    ) -> Weights:
        data = self.dataset

        def make() -> Arrays:
            samples = np.unique(subsets)
            targets = data.labels[samples]
            if owner == "distilled":
                targets = softmax(self.logits("target", samples)[0], axis=1)
            held_out = self.roles["auxiliary"]
            return training.train(
                recipe,
                data.take(samples),
                targets,
                np.searchsorted(samples, subsets),
                data.num_classes,
                seeds,
                f"training {what}",
                self.device,
                (data.take(held_out), data.labels[held_out]) if recipe.patience else None,
                self.store.file("checkpoints", key, ".pt"),
            )

        return self.store.get("weights", key, make)


def _halves(samples: IntArray, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `count` random halves of the samples, in complementary pairs."""
    half = len(samples) // 2
    halves: list[NDArray[np.int64]] = []
    for _ in range(count // 2):
        order = rng.permutation(samples)
        halves += [order[:half], order[half : 2 * half]]
    return np.stack(halves)
