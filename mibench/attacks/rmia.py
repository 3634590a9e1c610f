"""Robust membership inference attack."""

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import Field

from mibench.attacks.base import Knowledge, register
from mibench.attacks.reference import ReferenceAttack, references_of
from mibench.outputs import BoolArray, FloatArray, IntArray, cross_entropy


@register
@dataclass
class RMIA(ReferenceAttack):
    """How often a sample's likelihood ratio exceeds that of a population sample.

    Score: the share of population samples z with [p(x|f) / p(x)] / [p(z|f) / p(z)] >= gamma,
    where p(.|f) is the posterior of the true class, p(x) the mean of its mean over in-models
    and its mean over out-models (online mode), and p(z) its mean over all reference models, none
    of which was trained on z. The population is the auxiliary set.

    References
    ----------
    Zarifzadeh et al. 2024, "Low-Cost High-Power Membership Inference Attacks", the pairwise
    likelihood ratio and its online estimate of p(x).
    """

    name = "rmia"
    title = "RMIA"
    source = "Zarifzadeh et al. 2024"
    needs = frozenset({"references", "auxiliary"})

    gamma: Annotated[float, Field(gt=0)] = 1.0

    def fit(self, knowledge: Knowledge) -> Self:
        """Take the population's likelihoods under the target and the references."""
        population = knowledge.given("auxiliary")
        logits, _ = references_of(self.title, population)
        self.target_ = self.signal(population.logits, population.labels)
        self.references_ = self.signal(logits, population.labels)
        return self

    def signal(self, logits: FloatArray, labels: IntArray) -> FloatArray:
        """Return the true class's posterior."""
        return np.exp(-cross_entropy(logits, labels))

    def score(
        self,
        own: FloatArray,
        references: FloatArray,
        trained_on: BoolArray,
        stand_in: int | None = None,
    ) -> FloatArray:
        """Return the share of the population that the sample dominates."""
        own_z = self.target_ if stand_in is None else self.references_[stand_in]
        others_z = self.references_
        if stand_in is not None:
            others_z = np.delete(others_z, stand_in, 0)
        sides = [
            np.where(side, references, 0).sum(axis=0) / side.sum(axis=0)
            for side in (trained_on, ~trained_on)
        ]
        ratio_x = own / np.maximum((sides[0] + sides[1]) / 2, 1e-300)
        ratio_z = np.sort(own_z / np.maximum(others_z.mean(axis=0), 1e-300))
        # One binary search a sample in place of a comparison with every z.
        return np.searchsorted(ratio_z, ratio_x / self.gamma, side="right") / len(ratio_z)
