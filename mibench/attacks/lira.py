"""Likelihood ratio attack."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from mibench.attacks.base import Count, register
from mibench.attacks.reference import ReferenceAttack
from mibench.outputs import BoolArray, FloatArray, IntArray, scaled_logit

# With fewer models a variance of each sample's own is too noisy; the paper then shares one across
# samples (Carlini et al. 2022, ablation of the number of shadow models).
MODELS_FOR_OWN_VARIANCE = 64


@dataclass
class LiRA(ReferenceAttack):
    """The signal of both modes: c = log(p_y / (1 - p_y)).

    Attributes
    ----------
    own_variance_from : int
        Reference models from which on each sample has variances of its own.
    """

    own_variance_from: Count = MODELS_FOR_OWN_VARIANCE

    def signal(self, logits: FloatArray, labels: IntArray) -> FloatArray:
        """Return scaled logits."""
        return scaled_logit(logits, labels)

    def gaussian(
        self, values: FloatArray, side: BoolArray, stand_in: int | None
    ) -> tuple[FloatArray, FloatArray]:
        """Fit the models of one side; with few in all they share one deviation.

        A stand-in is one of them, so that its scores are made as the target's are.
        """
        models = len(values) + (stand_in is not None)
        return gaussian(values, side, shared=models < self.own_variance_from)


@register
class OnlineLiRA(LiRA):
    """Log ratio of the likelihoods of the target's confidence among in- and out-models.

    Score: log N(c; mu_in, s_in) - log N(c; mu_out, s_out) with c = log(p_y / (1 - p_y)).

    References
    ----------
    Carlini et al. 2022, "Membership Inference Attacks From First Principles", algorithm 1.
    """

    name = "lira_online"
    title = "Likelihood ratio attack"
    source = "Carlini et al. 2022"

    def score(
        self,
        own: FloatArray,
        references: FloatArray,
        trained_on: BoolArray,
        stand_in: int | None = None,
    ) -> FloatArray:
        """Return the log likelihood ratio."""
        likelihoods = [
            norm.logpdf(own, *self.gaussian(references, side, stand_in))
            for side in (trained_on, ~trained_on)
        ]
        ratio: FloatArray = likelihoods[0] - likelihoods[1]
        return ratio


@register
class OfflineLiRA(LiRA):
    """How improbable the target's confidence is among models trained without the sample.

    Score: Phi((c - mu_out) / s_out), one-sided.

    References
    ----------
    Carlini et al. 2022, "Membership Inference Attacks From First Principles", the offline attack
    at the end of algorithm 1.
    """

    name = "lira_offline"
    title = "Likelihood ratio (offline)"
    source = "Carlini et al. 2022"
    reads_in = False

    def score(
        self,
        own: FloatArray,
        references: FloatArray,
        trained_on: BoolArray,
        stand_in: int | None = None,
    ) -> FloatArray:
        """Return the number of deviations above the out-models, monotone in the probability."""
        mean, deviation = self.gaussian(references, ~trained_on, stand_in)
        above: FloatArray = (own - mean) / deviation
        return above


def gaussian(values: FloatArray, side: BoolArray, shared: bool) -> tuple[FloatArray, FloatArray]:
    """Return mean and deviation, each (n,), of the chosen entries of each column of (K, n).

    If `shared`, all columns have the root of the mean squared deviation of all.
    """
    count = side.sum(axis=0)
    mean = np.where(side, values, 0).sum(axis=0) / count
    squares = np.where(side, (values - mean) ** 2, 0).sum(axis=0)
    # A deviation of zero would make every other value impossible.
    if shared:
        return mean, np.full_like(mean, np.sqrt(squares.sum() / count.sum()) + 1e-12)
    return mean, np.sqrt(squares / count) + 1e-12
