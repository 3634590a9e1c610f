"""Robust membership inference attack."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from mibench.attacks.base import Knowledge, register
from mibench.attacks.reference import Others, ReferenceAttack, references_of
from mibench.outputs import FloatArray, IntArray, cross_entropy

_LOWEST = 1e-300
# The margin of the paper's soft-margin Taylor softmax; its order is 4, see `_taylor`.
_MARGIN = 0.6
# Where no reference has seen the samples, nothing can be tuned.
_UNTUNED_A = 0.3

Positive = Annotated[float, Field(gt=0)]


@register
@dataclass
class RMIA(ReferenceAttack):
    """How often a sample's likelihood ratio exceeds that of a population sample.

    Score: the share of population samples z with [p(x|f) / p(x)] / [p(z|f) / p(z)] >= gamma,
    where p(.|f) is the likelihood of the true class, p(x) the mean of its mean over in-models
    and its mean over out-models (online mode), and p(z) its mean over all reference models, none
    of which was trained on z. The population is the auxiliary set. The order of the samples is that
    of p(x|f) / p(x), up to ties.

    References
    ----------
    Zarifzadeh et al. 2024, "Low-Cost High-Power Membership Inference Attacks", the pairwise
    likelihood ratio and its online estimate of p(x); gamma, temperature, margin 0.6 and order 4
    are those of its experiments.

    Attributes
    ----------
    gamma : float
    temperature : float
        The logits are divided by it.
    likelihood : str
        "softmax", or "taylor": the soft-margin softmax with the exponential's Taylor polynomial,
        which depends on a constant added to the logits.
    """

    name = "rmia"
    title = "RMIA"
    source = "Zarifzadeh et al. 2024"
    needs = frozenset({"references", "auxiliary"})

    gamma: Positive = 2.0
    temperature: Positive = 2.0
    likelihood: Literal["softmax", "taylor"] = "softmax"

    def fit(self, knowledge: Knowledge) -> Self:
        """Take the population's likelihoods under the target and the references."""
        population = knowledge.given("auxiliary")
        logits, _ = references_of(self.title, population)
        values = self.signals(logits, population.labels)
        unseen = np.zeros(values.shape, dtype=bool)
        # The population's likelihoods under what is scored, and under what that is compared with.
        self.population_ = {
            False: (self.signal(population.logits, population.labels), Others(values, unseen)),
            True: (values, Others(values, unseen, each=True)),
        }
        return self

    def signal(self, logits: FloatArray, labels: IntArray) -> FloatArray:
        """Return the true class's likelihood."""
        if self.likelihood == "softmax":
            return np.exp(-cross_entropy(logits, labels, self.temperature))
        scaled = logits.astype(np.float64) / self.temperature
        true = np.take_along_axis(scaled, labels[:, None], axis=1)[:, 0]
        own, others = _taylor(true - _MARGIN), _taylor(scaled).sum(axis=-1) - _taylor(true)
        return own / (own + others)

    def evidence(self, others: Others) -> FloatArray:
        """Return p(.) of likelihoods under other models."""
        seen = others.trained_on.any()
        return (others.inside + others.outside) / 2 if seen else others.outside

    def score(self, own: FloatArray, others: Others) -> FloatArray:
        """Return the share of the population that the sample dominates."""
        own_z, others_z = self.population_[others.each]
        ratio_z = np.sort(own_z / np.maximum(self.evidence(others_z), _LOWEST))

        def share(own: FloatArray, others: Others) -> FloatArray:
            ratio_x = own / np.maximum(self.evidence(others), _LOWEST) / self.gamma
            # One binary search a sample in place of a comparison with every z.
            pairs = zip(np.atleast_2d(ratio_z), np.atleast_2d(ratio_x), strict=True)
            reached = np.stack([np.searchsorted(z, x, side="right") for z, x in pairs])
            return reached.reshape(own.shape) / ratio_z.shape[-1]

        return others.in_blocks(own, share)


@register
@dataclass
class OfflineRMIA(RMIA):
    """RMIA from models that have not seen the sample.

    p(x) = ((1 + a) m + 1 - a) / 2 with m the mean over out-models, and p(z) alike.

    References
    ----------
    Zarifzadeh et al. 2024, the offline estimate of p(x); a is tuned as in the authors' Privacy
    Meter, by attacking reference models, here each in turn.

    Attributes
    ----------
    a : float, optional
        None: of 0, 0.1, ..., 1 that with which stand-ins are attacked with the highest AUC, and 0.3
        where no reference was trained on any of the samples.
    """

    name = "rmia_offline"
    title = "RMIA (offline)"
    reads_in: ClassVar[bool] = False

    a: Annotated[float, Field(ge=0, le=1)] | None = None

    def tune(self, stand_ins: Others) -> None:
        """Choose a."""
        self.a_ = _UNTUNED_A if self.a is None else self.a
        if self.a is None and stand_ins.trained_on.any():
            _ = stand_ins.outside  # found once, not for each a
            tried = [i / 10 for i in range(11)]
            self.a_ = max(tried, key=lambda a: self._order(a, stand_ins))

    def _order(self, a: float, stand_ins: Others) -> float:
        """Return twice the pairs in which a stand-in's member scores above a nonmember.

        Which is what its AUC counts; of equal scores half.
        """
        self.a_ = a
        scores, seen = self.score(stand_ins.values, stand_ins), stand_ins.trained_on
        members, nonmembers = np.sort(scores[seen]), np.sort(scores[~seen])
        counts = [np.searchsorted(nonmembers, members, side).sum() for side in ("left", "right")]
        return float(sum(counts))

    def evidence(self, others: Others) -> FloatArray:
        """Return p(.) as estimated from the out-models alone."""
        return ((1 + self.a_) * others.outside + 1 - self.a_) / 2


def _taylor(x: FloatArray) -> FloatArray:
    """Return the fourth-order Taylor polynomial of exp at 0, which is positive everywhere."""
    return 1 + x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4)))
