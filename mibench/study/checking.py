"""Checks that every attack must pass, on simulated models, whoever wrote it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mibench.attacks.base import Attack, Inference, Knowledge
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, IntArray, Labelled
from mibench.signals.perturbations import COPIES
from mibench.study import given
from mibench.study.metrics import auc

_CLASSES, _BITS, _REFERENCES, _DISTILLED, _STAGES, _COPIED = 4, 12, 8, 6, 5, 10
_PULL, _NOISE = 2.5, 0.7
_SAMPLES, _NULLS, _MISSES = 240, 12, 3


class Simulated:
    """Simulated models for an attack, and no more of them than it says it needs.

    A model's logits on a sample are the sample's own, plus Gaussian noise, plus a pull to the label
    where it was trained on it. They are given by the names of an audit's arrays.

    Parameters
    ----------
    needs : frozenset of str
        As :class:`mibench.attacks.base.Attack` has them.
    """

    def __init__(self, needs: frozenset[str]):
        self.needs, self._rng = needs, np.random.default_rng(0)
        own, shadow = self._samples(120), self._samples(400)
        halves = np.stack([_alternating(400), ~_alternating(400)])
        nobody = np.zeros((_REFERENCES, 120), dtype=bool)
        self._known: dict[str, NDArray[np.generic]] = {
            "shadow_logits": self._answers(*shadow, halves),
            "shadow_labels": shadow[1],
            "shadow_is_member": halves,
            "shadow_perturbed_logits": self._answers(*shadow, _copied(halves)),
            "shadow_noisy_logits": self._answers(*shadow, _copied(halves)),
            "shadow_trajectory_logits": self._answers(*shadow, _copied(halves, _STAGES)),
            "random_logits": self._rng.normal(0, 1, (200, _CLASSES)),
            "generated_logits": self._answers(*own, nobody[0]),
            "generated_labels": own[1],
            "auxiliary_logits": self._answers(*own, nobody[0]),
            "auxiliary_labels": own[1],
            "auxiliary_inputs": self._inputs(120),
            "auxiliary_reference_logits": self._answers(*own, nobody),
            "shadow_auxiliary_logits": self._answers(*own, nobody[:2]),
        }

    def given(self, is_member: BoolArray, posing: bool = False) -> tuple[Knowledge, Labelled]:
        """Return what an attacker knows, the same each time, and a model's outputs on new samples.

        If `posing`, all of them are nonmembers.
        """
        samples, count = self._samples(len(is_member)), len(is_member)
        trained = is_member & (not posing)
        halves = np.argsort(self._rng.random((_REFERENCES, count)), axis=0) < _REFERENCES // 2
        logits = self._answers(*samples, trained)
        arrays = self._known | {
            "target_logits": logits,
            "target_labels": samples[1],
            "target_is_member": is_member,
            "reference_logits": self._answers(*samples, halves),
            "reference_in": halves,
            "reference_augmented_logits": self._answers(*samples, _copied(halves)),
            "distilled_logits": self._answers(*samples, np.zeros((_DISTILLED, count), dtype=bool)),
            "trajectory_logits": logits + self._rng.normal(0, 1, (_STAGES, *logits.shape)),
            "inputs": self._inputs(count),
            **{f"{kind}_logits": self._answers(*samples, _copied(trained)) for kind in COPIES},
        }
        found = given.check({n: a for n, a in arrays.items() if given.needs_of(n) <= self.needs})
        return replace(found.knowledge, seed=1), found.target

    def _samples(self, count: int) -> tuple[FloatArray, IntArray]:
        """Return what models in general answer on samples, (n, C), and labels."""
        labels = self._rng.integers(0, _CLASSES, count)
        return self._rng.normal(0, 1, (count, _CLASSES)) + np.eye(_CLASSES)[labels], labels

    def _inputs(self, count: int) -> FloatArray:
        return self._rng.integers(0, 2, (count, _BITS)).astype(np.float32)

    def _answers(self, centres: FloatArray, labels: IntArray, trained: BoolArray) -> FloatArray:
        """Return the logits (..., n, C) of models trained on some of the samples, (..., n)."""
        noise = self._rng.normal(0, _NOISE, (*trained.shape, _CLASSES))
        return centres + noise + _PULL * trained[..., None] * np.eye(_CLASSES)[labels]


def _copied(trained: BoolArray, count: int = _COPIED) -> BoolArray:
    """Return what models were trained on, (..., n), once for each copy, (..., P, n)."""
    return np.repeat(trained[..., None, :], count, axis=-2)


def check(kind: type[Attack]) -> list[str]:
    """Return what is wrong with an attack, one sentence each; nothing if it passes.

    On simulated models: it runs on what it says it needs; scores are finite, one a sample; they
    are the same in a second run, follow the samples where those are permuted, and, where the attack
    is `per_sample`, do not depend on which others are attacked, nor does the threshold. Nonmembers
    that pose as members are not told from others: of 12 such targets, the members first, at most 3
    have an AUC whose 95% interval misses 0.5, which by chance fails one attack in 500.
    """
    try:
        return _wrong(kind)
    except MIBenchError as error:
        return [f"it does not run on what it says it needs: {error}"]
    except Exception as error:  # an attack of one's own may raise anything
        return [f"it fails with {type(error).__name__}: {error}"]


def _wrong(kind: type[Attack]) -> list[str]:
    world, wrong = Simulated(kind.needs), []
    known, target = world.given(_alternating(_SAMPLES))
    attack = kind().fit(known)
    found = attack.infer(target.outputs)
    if np.shape(found.scores) != (_SAMPLES,) or not np.isfinite(found.scores).all():
        return ["its scores are not one finite number per sample"]
    if np.isnan(found.threshold):
        return ["its threshold is not a number"]
    # The truth cannot matter: outputs have no place for it.
    again = kind().fit(known).infer(target.outputs)
    if (again.scores != found.scores).any() or again.threshold != found.threshold:
        wrong.append(
            "a second run gives other scores; draw random numbers from the seed of its knowledge "
            "alone"
        )
    order = np.random.default_rng(2).permutation(_SAMPLES)
    if not _same(attack, found, target, order):
        wrong.append("its scores depend on the order of the samples")
    if kind.per_sample and not _same(attack, found, target, order[: _SAMPLES // 2]):
        wrong.append(
            "its scores or threshold depend on which other samples are attacked; it says per_sample"
        )
    first, missed = np.arange(_SAMPLES) < _SAMPLES // 2, 0
    for _ in range(_NULLS):
        _, posing = world.given(first, posing=True)
        area = auc(attack.infer(posing.outputs).scores, first)
        missed += not area.low <= 0.5 <= area.high
    if missed > _MISSES:
        wrong.append(
            f"it tells nonmembers that pose as members from other nonmembers on {missed} of "
            f"{_NULLS} simulated targets"
        )
    return wrong


def _same(attack: Attack, found: Inference, target: Labelled, chosen: IntArray) -> bool:
    part = attack.infer(target.outputs.take(chosen))
    now, before = [*part.scores, part.threshold], [*found.scores[chosen], found.threshold]
    return np.allclose(now, before, rtol=1e-9, atol=1e-9)


def _alternating(count: int) -> BoolArray:
    """Return members and nonmembers in turn."""
    return np.arange(count) % 2 == 0
