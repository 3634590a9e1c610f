"""Checks that every attack must pass, on simulated models, whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mibench.attacks.base import Attack, Inference, Knowledge
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, Copies, FloatArray, IntArray, Labelled, Outputs
from mibench.signals.perturbations import COPIES
from mibench.study.metrics import auc

_CLASSES, _BITS, _REFERENCES, _DISTILLED, _STAGES = 4, 12, 8, 6, 5
_PULL, _NOISE = 2.5, 0.7
_SAMPLES, _NULLS, _MISSES = 240, 12, 3


@dataclass(frozen=True)
class _Samples:
    """Simulated samples: what models in general answer on them, labels and binary records."""

    centres: FloatArray
    labels: IntArray
    inputs: FloatArray

    def __len__(self) -> int:
        return len(self.labels)


class Simulated:
    """Simulated models for an attack, and no more of them than it says it needs.

    A model's logits on a sample are the sample's own, plus Gaussian noise, plus a pull to the label
    where it was trained on it.

    Parameters
    ----------
    needs : frozenset of str
        As :class:`mibench.attacks.base.Attack` has them.
    """

    def __init__(self, needs: frozenset[str]):
        self.needs, self._rng = needs, np.random.default_rng(0)

    def knowledge(self) -> Knowledge:
        """Return what the attacker knows."""
        known: dict[str, Any] = {"seed": 1}
        own, nobody = self._samples(120), np.zeros(120, dtype=bool)
        if "shadow" in self.needs:
            known["shadows"] = tuple(self.target(_alternating(400), others=False) for _ in range(2))
        if "random" in self.needs:
            logits = self._rng.normal(0, 1, (200, _CLASSES))
            known["random"] = Outputs(logits, logits.argmax(axis=1))
        if "generated" in self.needs:
            known["generated"] = Outputs(self._answers(own, nobody), own.labels)
        if "auxiliary" in self.needs:
            known["auxiliary"] = self._outputs(own, nobody, self.needs & {"references", "inputs"})
            if "shadow" in self.needs:
                known["shadow_auxiliary"] = tuple(
                    Outputs(self._answers(own, nobody), own.labels) for _ in range(2)
                )
        return Knowledge(**known)

    def target(self, is_member: BoolArray, posing: bool = False, others: bool = True) -> Labelled:
        """Return a model's outputs on new samples; if `posing`, all of them are nonmembers."""
        copies = self.needs & {*COPIES, "trajectory"}
        wanted = self.needs & {"references", "distilled", "inputs"} if others else frozenset()
        samples, trained = self._samples(len(is_member)), is_member & (not posing)
        return Labelled(self._outputs(samples, trained, copies | wanted, True), is_member)

    def _samples(self, count: int) -> _Samples:
        labels = self._rng.integers(0, _CLASSES, count)
        centres = self._rng.normal(0, 1, (count, _CLASSES))
        centres[np.arange(count), labels] += 1
        inputs = self._rng.integers(0, 2, (count, _BITS)).astype(np.float32)
        return _Samples(centres, labels, inputs)

    def _answers(self, samples: _Samples, trained: BoolArray) -> FloatArray:
        logits = samples.centres + _NOISE * self._rng.standard_normal(samples.centres.shape)
        logits[np.arange(len(samples)), samples.labels] += _PULL * trained
        return logits

    def _outputs(
        self, samples: _Samples, trained: BoolArray, wanted: frozenset[str], in_pool: bool = False
    ) -> Outputs:
        given: dict[str, Any] = {}
        if "references" in wanted:
            halves = np.argsort(self._rng.random((_REFERENCES, len(samples))), axis=0)
            seen = (halves < _REFERENCES // 2) & in_pool
            given["reference_in"] = seen
            given["reference_logits"] = np.stack([self._answers(samples, one) for one in seen])
        if "distilled" in wanted:
            nobody = np.zeros(len(samples), dtype=bool)
            given["distilled_logits"] = np.stack(
                [self._answers(samples, nobody) for _ in range(_DISTILLED)]
            )
        if "inputs" in wanted:
            given["inputs"] = samples.inputs
        kinds = sorted(wanted & COPIES.keys())
        copies = {kind: self._copies(samples, trained) for kind in kinds}
        if "augmented" in copies and "references" in wanted:
            losses = np.stack([self._copies(samples, seen).loss for seen in given["reference_in"]])
            copies["augmented"] = replace(copies["augmented"], reference_loss=losses)
        logits = self._answers(samples, trained)
        if "trajectory" in wanted:
            given["trajectory_logits"] = logits + self._rng.normal(0, 1, (_STAGES, *logits.shape))
        return Outputs(logits, samples.labels, copies=copies, **given)

    def _copies(self, samples: _Samples, trained: BoolArray) -> Copies:
        answers = [Outputs(self._answers(samples, trained), samples.labels) for _ in range(10)]
        return Copies(np.stack([a.loss for a in answers]), np.stack([a.predicted for a in answers]))


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
    known, target = world.knowledge(), world.target(_alternating(_SAMPLES))
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
        posing = world.target(first, posing=True)
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
