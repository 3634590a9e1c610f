"""Privacy risk score."""

from dataclasses import dataclass

import numpy as np

from mibench.attacks.base import Count, Knowledge, register
from mibench.attacks.class_threshold import modified_entropy
from mibench.attacks.shadow import ShadowAttack
from mibench.outputs import FloatArray, IntArray, Outputs

_LOWEST = 1e-10


@register
@dataclass
class RiskScore(ShadowAttack):
    """The probability of being a member, given class and modified entropy.

    Score: P(bin | member) / (P(bin | member) + P(bin | nonmember)) with histograms of the shadow's
    modified entropies, `bins` for each class on a log scale. Threshold: 0.5.

    References
    ----------
    Song and Mittal 2021, "Systematic Evaluation of Privacy Risks of Machine Learning Models",
    the privacy risk score estimated from a shadow model.
    """

    name = "risk_score"
    title = "Risk score"
    source = "Song & Mittal 2021"

    bins: Count = 5

    def learn(self, knowledge: Knowledge) -> float:
        """Count the shadow's members and nonmembers in each class's bins."""
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        classes = shadow.logits.shape[1]
        values = self._log_entropy(shadow)
        self.edges_ = np.empty((classes, self.bins + 1))
        for label in range(classes):
            own = values[shadow.labels == label]
            self.edges_[label] = np.linspace(*_range(own if len(own) else values), self.bins + 1)
        bins = self._bins(shadow)
        counts = np.zeros((2, classes, self.bins))
        np.add.at(counts, (is_member.astype(int), shadow.labels, bins), 1)
        self.shares_ = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)
        return 0.5

    def score(self, outputs: Outputs) -> FloatArray:
        """Return the posterior probability of member; 0.5 in a bin that the shadow left empty."""
        out, members = self.shares_[:, outputs.labels, self._bins(outputs)]
        total = members + out
        return np.divide(members, total, out=np.full(len(total), 0.5), where=total > 0)

    def _log_entropy(self, outputs: Outputs) -> FloatArray:
        return np.log10(np.maximum(outputs.in_blocks(modified_entropy), _LOWEST))

    def _bins(self, outputs: Outputs) -> IntArray:
        inner = self.edges_[outputs.labels, 1:-1]
        return (self._log_entropy(outputs)[:, None] >= inner).sum(axis=1)


def _range(values: FloatArray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
