"""Thresholds on a metric of the posteriors, one for each class."""

from abc import abstractmethod

import numpy as np
import scipy

from mibench.attacks.base import Knowledge, register
from mibench.attacks.shadow import ShadowAttack
from mibench.attacks.thresholds import best_threshold
from mibench.outputs import BoolArray, FloatArray, IntArray, Outputs, scaled_logit


def class_thresholds(
    scores: FloatArray, labels: IntArray, is_member: BoolArray, classes: int
) -> FloatArray:
    """Return each class's threshold of highest MA, (C,).

    A class without members or without nonmembers gets the threshold of all classes together.
    """
    thresholds = np.full(classes, best_threshold(scores, is_member))
    for label in np.unique(labels):
        own = labels == label
        if is_member[own].any() and not is_member[own].all():
            thresholds[label] = best_threshold(scores[own], is_member[own])
    return thresholds


class ClassThreshold(ShadowAttack):
    """Compares a metric of the posteriors with the class's threshold.

    Score: the metric minus the threshold of highest MA among the shadow's samples of the class.
    Threshold: 0. The metrics are Song and Mittal's on a log or logit scale, which changes no answer
    and makes one class's scores comparable with another's.

    References
    ----------
    Song and Mittal 2021, "Systematic Evaluation of Privacy Risks of Machine Learning Models", the
    metric-based attacks with class-dependent thresholds. The fourth of them, correctness, needs no
    threshold: it is :class:`mibench.attacks.label_only.Gap`.
    """

    source = "Song & Mittal 2021"

    @abstractmethod
    def metric(self, outputs: Outputs) -> FloatArray:
        """Return the metric, higher for likelier members, (n,)."""

    def learn(self, knowledge: Knowledge) -> float:
        """Choose each class's threshold on the shadow model."""
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        classes = shadow.logits.shape[1]
        self.thresholds_ = class_thresholds(self.metric(shadow), shadow.labels, is_member, classes)
        return 0.0

    def score(self, outputs: Outputs) -> FloatArray:
        """Return the metric above the class's threshold."""
        return self.metric(outputs) - self.thresholds_[outputs.labels]


@register
class ClassConfidence(ClassThreshold):
    """Per-class threshold on the true class's posterior (prediction confidence), as a logit."""

    name = "class_confidence"
    title = "Class confidence"

    def metric(self, outputs: Outputs) -> FloatArray:
        """Return log(p_y / (1 - p_y))."""
        return scaled_logit(outputs.logits, outputs.labels)


@register
class ClassEntropy(ClassThreshold):
    """Per-class threshold on minus the log of the posterior's entropy (prediction entropy)."""

    name = "class_entropy"
    title = "Class entropy"

    def metric(self, outputs: Outputs) -> FloatArray:
        """Return minus the log of the entropy in nats."""
        return -_log(outputs.in_blocks(lambda some: scipy.special.entr(some.probs).sum(axis=1)))


@register
class ClassModifiedEntropy(ClassThreshold):
    """Per-class threshold on minus the log of the prediction's modified entropy.

    This is what the published benchmark ran under the name Risk score.
    """

    name = "class_modified_entropy"
    title = "Class mod. entropy"

    def metric(self, outputs: Outputs) -> FloatArray:
        """Return minus the log of the modified entropy in nats."""
        return -_log(outputs.in_blocks(modified_entropy))


def modified_entropy(outputs: Outputs) -> FloatArray:
    """Return -(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i), (n,), in nats.

    Zero where the label is given with certainty, and large where another class is (Song and
    Mittal 2021, the modified prediction entropy).
    """
    probs = outputs.probs
    rest, top = 1 - probs, probs.argmax(axis=1)[:, None]
    # Where p rounds to one, 1 - p keeps its digits only as the sum of the others.
    without = probs.copy()
    np.put_along_axis(without, top, 0, axis=1)
    np.put_along_axis(rest, top, without.sum(axis=1, keepdims=True), axis=1)
    others = -probs * np.log(np.maximum(rest, np.finfo(float).tiny))
    true = np.take_along_axis(others, outputs.labels[:, None], axis=1)[:, 0]
    wrong = np.take_along_axis(rest, outputs.labels[:, None], axis=1)[:, 0]
    return others.sum(axis=1) - true + wrong * outputs.loss


def _log(values: FloatArray) -> FloatArray:
    return np.log(np.maximum(values, np.finfo(float).tiny))
