"""Likelihood ratio attack."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from mibench.attacks.base import register
from mibench.attacks.reference import Others, ReferenceAttack
from mibench.outputs import FloatArray, IntArray, Outputs, scaled_logit


@dataclass
class LiRA(ReferenceAttack):
    """The signal of both modes: c = log(p_y / (1 - p_y)).

    Attributes
    ----------
    pooled : float
        How many models' worth the variance of all samples together weighs in each sample's own.
        At 0 each sample has its own alone, as in the paper with 64 models or more; a large number
        shares one, as it does with fewer.
    augmented : bool
        Whether all models are asked for the augmented copies of each sample as well (section VI-D),
        whose scores are averaged with its own, as in the authors' code.
    """

    pooled: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 8.0
    augmented: bool = False

    def __post_init__(self) -> None:
        if self.augmented:
            # Of this attack alone, while the class keeps its own.
            vars(self)["needs"] = self.needs | {"augmented"}

    def asked(self, target: Outputs, logits: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Yield the signals of the samples and, if asked for, of each of their copies."""
        yield from super().asked(target, logits)
        if self.augmented:
            copies = target.copies["augmented"]
            assert copies.reference_loss is not None
            for own, others in zip(copies.loss, copies.reference_loss.swapaxes(0, 1), strict=True):
                yield _scaled(own), _scaled(others)

    def signal(self, logits: FloatArray, labels: IntArray) -> FloatArray:
        """Return scaled logits."""
        return scaled_logit(logits, labels)


def _scaled(loss: FloatArray) -> FloatArray:
    """Return log(p_y / (1 - p_y)) of -log(p_y)."""
    # A loss of zero was one too small for its type.
    some = np.maximum(loss.astype(np.float64), np.finfo(loss.dtype).tiny)
    return -some - np.log(-np.expm1(-some))


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

    def score(self, own: FloatArray, others: Others) -> FloatArray:
        """Return the log likelihood ratio."""
        return others.in_blocks(own, self._ratio)

    def _ratio(self, own: FloatArray, others: Others) -> FloatArray:
        ratio = np.zeros(own.shape)
        for sign, inside in ((1, True), (-1, False)):
            mean, deviation = others.gaussian(inside, self.pooled)
            apart = (own - mean) / deviation
            apart *= apart
            ratio -= sign * (apart / 2 + np.log(deviation))
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

    def score(self, own: FloatArray, others: Others) -> FloatArray:
        """Return the number of deviations above the out-models, monotone in the probability."""
        return others.in_blocks(own, self._above)

    def _above(self, own: FloatArray, others: Others) -> FloatArray:
        mean, deviation = others.gaussian(False, self.pooled)
        above: FloatArray = (own - mean) / deviation
        return above
