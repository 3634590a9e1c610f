"""Signals: every model output that scenarios and attacks read, made once and kept on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from mibench import code, progress, training
from mibench.data.base import Dataset
from mibench.data.splits import split
from mibench.outputs import BoolArray, Copies, IntArray, Labelled, Outputs, cross_entropy
from mibench.setting import Setting
from mibench.signals import perturbations
from mibench.signals.owner import AT_ONCE, Owner, sha256
from mibench.signals.perturbations import COPIES
from mibench.store import Arrays, Store
from mibench.streams import Streams
from mibench.training import Device, Recipe
from mibench.training.recipe import checkpoints

RANDOM_POINTS = 1000

FloatArray = NDArray[np.float32]


class Signals:
    """Outputs of the target model and of all models that attacks compare it with.

    One target model serves all scenarios of a dataset. Each shadow model is trained on half of
    the attacker's own samples; each reference model on a random half of the target's pool (members
    and nonmembers), drawn in complementary pairs so that every pool sample is in exactly half. All
    of them are defended as the target is, since an attacker can find out how. Each distilled model
    learns the target's answers on a random half of the attacker's samples (shadow and auxiliary,
    none of them the target's members), without a defence.

    Nothing is trained or queried before it is asked for; what has been is read from the store.
    Only samples that have a role are queried.

    Parameters
    ----------
    dataset : Dataset
    recipe : Recipe
        How the target is trained.
    setting : Setting
    store : Store
    device : Device

    Attributes
    ----------
    roles : dict of str to int array
        The samples of each role.
    streams : Streams
    target, shadows, references, distilled : Owner
    """

    def __init__(
        self, dataset: Dataset, recipe: Recipe, setting: Setting, store: Store, device: Device
    ):
        self.dataset, self.recipe, self.store, self.device = dataset, recipe, store, device
        self._answered: dict[tuple[str, str], Copies] = {}
        self._students: dict[tuple[str, int], list[Owner]] = {}
        self.streams = Streams(seed=setting.seed, data=dataset.checksum)
        self.roles = split(dataset, self.streams("splits"))
        self.target = self._owner("target", self.roles["members"][None], recipe)
        self.shadows = self._owner("shadow", self._shadow_subsets(setting.shadows), recipe)
        subsets = halves(self.pool, setting.references, self.streams("references"))
        self.references = self._owner("references", subsets, recipe)
        self.distilled = self._distilled(setting.distilled)

    def _owner(self, name: str, subsets: IntArray, recipe: Recipe, **taught: Any) -> Owner:
        seeds = [self.streams.seed(f"training {name}", k) for k in range(len(subsets))]
        return Owner(
            name,
            subsets,
            seeds,
            recipe,
            self.dataset,
            self.samples,
            self.roles["auxiliary"],
            self.streams.seed("answers' noise"),
            self.store,
            self.device,
            **taught,
        )

    def _shadow_subsets(self, count: int) -> IntArray:
        own = self.roles["shadow_members"]
        everything = np.concatenate([own, self.roles["shadow_nonmembers"]])
        stream = self.streams("further shadows")
        further = [stream.permutation(everything)[: len(own)] for _ in range(count - 1)]
        return np.stack([own, *further])

    def _distilled(self, count: int) -> Owner:
        own = ("shadow_members", "shadow_nonmembers", "auxiliary")
        samples = np.concatenate([self.roles[role] for role in own])

        def teach(samples: IntArray) -> FloatArray:
            posteriors: FloatArray = scipy.special.softmax(self.target.logits(samples)[0], axis=1)
            return posteriors

        return self._owner(
            "distilled",
            halves(samples, count, self.streams("distilled")),
            training.without_defence(self.recipe),
            teach=teach,
            taught_by=self.target.answers_key,
        )

    def _trajectory(self, teacher: Owner, model: int, samples: IntArray) -> FloatArray:
        """Return what a model distilled from a teacher's model answers after e epochs, (E, n, C).

        It is trained on the auxiliary samples, once for each e: with a constant learning rate that
        is the model as it stood after e epochs.
        """
        return np.concatenate([s.logits(samples) for s in self._students_of(teacher, model)])

    def _students_of(self, teacher: Owner, model: int) -> list[Owner]:
        held = teacher.name, model
        if held not in self._students:

            def teach(samples: IntArray) -> FloatArray:
                logits = teacher.logits(samples)[model]
                posteriors: FloatArray = scipy.special.softmax(logits, axis=1)
                return posteriors

            recipe = training.without_defence(self.recipe)
            self._students[held] = [
                self._owner(
                    "student",
                    self.roles["auxiliary"][None],
                    replace(recipe, epochs=epochs),
                    teach=teach,
                    taught_by={**teacher.answers_key, "model": model},
                )
                for epochs in checkpoints(recipe.epochs)
            ]
        return self._students[held]

    def owners(self, needs: Collection[str]) -> list[Owner]:
        """Return whose models attacks of such needs have trained, teachers before the taught."""
        named = {"shadow": self.shadows, "references": self.references}
        found = [self.target, *(owner for need, owner in named.items() if need in needs)]
        if "distilled" in needs:
            found.append(self.distilled)
        if "trajectory" in needs:
            teachers = [(self.shadows, k) for k in range(len(self.shadows.seeds))]
            for teacher, k in ((self.target, 0), *teachers):
                found += self._students_of(teacher, k)
        return found

    def train(self, needs: Collection[str]) -> None:
        """Train what attacks of such needs have trained, but for what other processes train now.

        So several processes share out the models of one study, none waiting for another.
        """
        left = [(owner, part) for owner in self.owners(needs) for part in owner.parts]
        before, self.store.waits = len(left) + 1, False
        try:
            while 0 < len(left) < before:
                before, left = len(left), [(o, part) for o, part in left if not o.trains(part)]
        finally:
            self.store.waits = True

    def left(self, needs: Collection[str]) -> tuple[int, int, int]:
        """Return how many models are still to be trained, on how many samples, and the queries.

        Samples are those of all models together, counted once in every epoch; a query is that of
        one model on one sample or copy of it.
        """
        owners = self.owners(needs)
        left = [
            (owner.recipe.epochs, owner.subsets[part])
            for owner in owners
            for part in owner.parts
            if not owner.is_trained(part)
        ]
        queries = sum(owner.unanswered for owner in owners)
        for kind in COPIES:
            asked = [self.target, self.shadows] if kind in needs else []
            asked += [self.references] if kind == "augmented" and asked else []
            for owner in (own for own in asked if own in owners):
                pool = self.pool if owner is not self.shadows else self._shadow_pool
                made = self.store.file("copies", self._copies_key(owner, pool, kind), ".npz")
                queries += 0 if made.exists() else len(owner.seeds) * COPIES[kind] * len(pool)
        return sum(len(own) for _, own in left), sum(e * own.size for e, own in left), queries

    @cached_property
    def pool(self) -> IntArray:
        """Indices of the target model's members, then its nonmembers."""
        return np.concatenate([self.roles["members"], self.roles["nonmembers"]])

    @cached_property
    def samples(self) -> IntArray:
        """Indices of all samples that have a role, (S,)."""
        return np.concatenate(list(self.roles.values()))

    @property
    def labelled(self) -> Labelled:
        """The target's outputs on its pool, with the pool's membership."""
        is_member = np.isin(self.pool, self.roles["members"])
        return Labelled(self.outputs(self.pool), is_member)

    @cached_property
    def accuracy(self) -> tuple[float, float]:
        """The share of its members, and of its nonmembers, that the target classifies rightly."""
        known = self.labelled
        right = known.outputs.predicted == known.outputs.labels
        return float(right[known.is_member].mean()), float(right[~known.is_member].mean())

    def reference_in(self, samples: IntArray) -> BoolArray:
        """Return whether each reference model was trained on each sample, (K, n)."""
        return self._trained_on[:, samples]

    @cached_property
    def _trained_on(self) -> BoolArray:
        subsets = self.references.subsets
        mask = np.zeros((len(subsets), len(self.dataset.labels)), dtype=bool)
        np.put_along_axis(mask, subsets, True, axis=1)
        return mask

    def difficulty(self, samples: IntArray) -> NDArray[np.float64]:
        """Return the mean loss of the reference models that did not see a sample, in nats, (n,)."""
        return self._difficulty[samples]

    @cached_property
    def _difficulty(self) -> NDArray[np.float64]:
        """The same of all samples of the dataset, NaN of those outside the pool."""
        pool, found = self.pool, np.full(len(self.dataset.labels), np.nan)
        losses = cross_entropy(self.references.logits(pool), self.dataset.labels[pool])
        found[pool] = mean_unseen(losses, self.reference_in(pool))
        return found

    def outputs(self, samples: IntArray, needs: Collection[str] = ()) -> Outputs:
        """Return what the target answers on samples, and no more than is asked for.

        Parameters
        ----------
        samples : int array, (n,)
            With a role.
        needs : collection of str
            What is added, of the needs that an attack can have: the outputs of "references" and
            "distilled" models, the "inputs", answers on "perturbed", "noisy" and "augmented" copies
            (for the samples of the pool only; on the last also those of the references). Others add
            nothing.
        """
        compared, asked = "references" in needs, [kind for kind in COPIES if kind in needs]
        # Others than the pool's have no place in it.
        place = _place(self.pool, samples) if asked else samples
        return Outputs(
            self.target.logits(samples)[0],
            self.dataset.labels[samples],
            self.references.logits(samples) if compared else None,
            self.reference_in(samples) if compared else None,
            self.distilled.logits(samples) if "distilled" in needs else None,
            self._trajectory(self.target, 0, samples) if "trajectory" in needs else None,
            self.dataset.take(samples) if "inputs" in needs else None,
            copies={kind: self._pool_copies(kind).take(place) for kind in asked},
        )

    def _pool_copies(self, kind: str) -> Copies:
        """Return the target's answers on copies of the pool, and the references' losses."""
        answers = self._copies(self.target, self.pool, kind).of_model(0)
        if kind != "augmented":
            return answers
        return replace(answers, reference_loss=self._copies(self.references, self.pool, kind).loss)

    def shadow_outputs(self, needs: Collection[str] = ()) -> tuple[Labelled, ...]:
        """Return each shadow model's outputs on its members and nonmembers; needs as above."""
        own = self._shadow_pool
        logits = self.shadows.logits(own)
        return tuple(
            Labelled(
                Outputs(
                    logits[k],
                    self.dataset.labels[own],
                    trajectory_logits=(
                        self._trajectory(self.shadows, k, own) if "trajectory" in needs else None
                    ),
                    copies={
                        kind: self._copies(self.shadows, own, kind).of_model(k)
                        for kind in COPIES
                        if kind in needs
                    },
                ),
                np.isin(own, self.shadows.subsets[k]),
            )
            for k in range(len(logits))
        )

    @property
    def _shadow_pool(self) -> IntArray:
        return np.concatenate([self.roles[r] for r in ("shadow_members", "shadow_nonmembers")])

    def shadow_auxiliary(self) -> tuple[Outputs, ...]:
        """Return each shadow model's outputs on the auxiliary samples."""
        own = self.roles["auxiliary"]
        return tuple(Outputs(one, self.dataset.labels[own]) for one in self.shadows.logits(own))

    def generated(self) -> Outputs:
        """Return the target's outputs on nonmembers generated from the auxiliary samples."""
        own = self.roles["auxiliary"]

        def inputs() -> FloatArray:
            source = self.dataset.take(own)
            return perturbations.generated_nonmembers(
                source, self.dataset.kind, self.streams("generated")
            )

        return Outputs(self._queried("generated", inputs), self.dataset.labels[own])

    def random(self) -> Outputs:
        """Return the target's outputs on uniformly random inputs, labelled as it answers."""

        def inputs() -> FloatArray:
            return perturbations.random_points(
                self.dataset.inputs, self.dataset.kind, RANDOM_POINTS, self.streams("random")
            )

        logits = self._queried("random", inputs)
        return Outputs(logits, logits.argmax(axis=1))

    def _queried(self, kind: str, inputs: Any) -> FloatArray:
        def make() -> Arrays:
            [weights] = self.target.weights()
            return {"logits": self.target.answering(weights)(inputs())[0]}

        key = self._asked(self.target, kind, self.roles["auxiliary"])
        return self.store.get("queries", key, make)["logits"]

    def _asked(self, owner: Owner, kind: str, samples: IntArray) -> dict[str, Any]:
        """Return the key of answers on inputs that are made from samples."""
        return {
            **owner.answers_key,
            "kind": kind,
            "stream": self.streams.seed(kind),
            "samples": sha256(samples),
            "made_by": code.digest("mibench.signals.perturbations"),
        }

    def _copies(self, owner: Owner, pool: IntArray, kind: str) -> Copies:
        """Return what an owner's models answer on copies of its pool's samples, (K, P, n)."""

        def make() -> Arrays:
            loss = np.empty((len(owner.seeds), COPIES[kind], len(pool)), np.float32)
            predicted, first = np.empty(loss.shape, np.int16), 0
            what = f"querying {owner.name} on {kind} copies"
            bar = progress.bar(total=loss.size, desc=what, unit="query", delay=1)
            for weights in owner.weights():
                answer = owner.answering(weights)
                for start in range(0, len(pool), AT_ONCE):
                    part = slice(start, start + AT_ONCE)
                    inputs, labels = self.dataset.take(pool[part]), self.dataset.labels[pool[part]]
                    for i, copy in enumerate(self._perturb(kind, inputs, start)):
                        logits = answer(copy)
                        models = slice(first, first + len(logits))
                        loss[models, i, part] = cross_entropy(logits, labels)
                        predicted[models, i, part] = logits.argmax(axis=2)
                        bar.update(logits.shape[0] * logits.shape[1])
                first = models.stop
            bar.close()
            return {"loss": loss, "predicted": predicted}

        if (held := (owner.name, kind)) not in self._answered:
            key = self._copies_key(owner, pool, kind)
            self._answered[held] = Copies(**self.store.get("copies", key, make))
        return self._answered[held]

    def _copies_key(self, owner: Owner, pool: IntArray, kind: str) -> dict[str, Any]:
        return {**self._asked(owner, kind, pool), "count": COPIES[kind]}

    def _perturb(self, kind: str, inputs: FloatArray, start: int) -> Iterator[FloatArray]:
        made = perturbations.MAKERS[kind]
        draws = self.device.draws(self.streams(kind, start))
        return made(inputs, self.dataset.kind, COPIES[kind], draws)


def _place(pool: IntArray, samples: IntArray) -> IntArray:
    order = np.argsort(pool)
    place: IntArray = order[np.searchsorted(pool, samples, sorter=order)]
    return place


def mean_unseen(losses: NDArray[np.floating[Any]], seen: BoolArray) -> NDArray[np.float64]:
    """Return the mean of losses (K, n) over models that did not see a sample, NaN without any."""
    count = (~seen).sum(axis=0)
    none = np.full(count.shape, np.nan)
    return np.divide(np.where(seen, 0, losses).sum(axis=0), count, out=none, where=count > 0)


def halves(samples: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Return `count` random halves of the samples, in complementary pairs."""
    half = len(samples) // 2
    found: list[IntArray] = []
    for _ in range(count // 2):
        order = rng.permutation(samples)
        found += [order[:half], order[half : 2 * half]]
    return np.stack(found)
