"""Attacks that learn score and threshold from shadow models."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

from mibench.attacks.base import Attack, Inference, Knowledge, Rate
from mibench.attacks.thresholds import rate_threshold
from mibench.outputs import FloatArray, Outputs


@dataclass
class ShadowAttack(Attack):
    """An attack that learns from the shadow models' members and nonmembers.

    Attributes
    ----------
    fpr : float, optional
        If given, the threshold is the one that this share of the shadow models' nonmembers reaches
        at most, in place of the attack's own.
    """

    needs = frozenset({"shadow"})
    per_sample = True

    fpr: Rate | None = None

    def fit(self, knowledge: Knowledge) -> Self:
        """Learn the score, and the threshold."""
        self.threshold_ = self.learn(knowledge)
        if self.fpr is not None:
            nonmembers = self.known(knowledge)[~knowledge.shadow.is_member]
            self.threshold_ = rate_threshold(nonmembers, self.fpr)
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score the samples."""
        return Inference(self.score(target), self.threshold_)

    @abstractmethod
    def learn(self, knowledge: Knowledge) -> float:
        """Learn the score from the shadow models, and return the attack's own threshold."""

    @abstractmethod
    def score(self, outputs: Outputs) -> FloatArray:
        """Score samples, (n,), once learnt."""

    def known(self, knowledge: Knowledge) -> FloatArray:
        """Score the shadow models' own samples."""
        return self.score(knowledge.shadow.outputs)
