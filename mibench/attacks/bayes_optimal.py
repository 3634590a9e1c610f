"""Bayes-optimal membership inference with the loss alone."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from mibench.attacks.base import register
from mibench.attacks.reference import Others, ReferenceAttack
from mibench.outputs import FloatArray, IntArray, cross_entropy


@register
@dataclass
class BASE(ReferenceAttack):
    """Loss against the log of the mean likelihood under all reference models.

    Score: log p(x|f) - log((1/K) sum over k of p(x|f_k)), p the true class's posterior. Where half
    of the references have seen the sample, the order of the samples is that of RMIA at the same
    temperature, which has further ties; no population is needed.

    References
    ----------
    Lassila et al. 2025, "Practical Bayes-Optimal Membership Inference Attacks", the online attack.

    Attributes
    ----------
    temperature : float
        The logits are divided by it.
    """

    name = "base"
    title = "BASE"
    source = "Lassila et al. 2025"

    temperature: Annotated[float, Field(gt=0)] = 1.0

    def signal(self, logits: FloatArray, labels: IntArray) -> FloatArray:
        """Return log likelihoods."""
        return -cross_entropy(logits, labels, self.temperature)

    def score(self, own: FloatArray, others: Others) -> FloatArray:
        """Return the log of the own likelihood over the mean."""
        count = len(others.values) - others.each
        return own - others.total(others.values, np.logaddexp) + np.log(count)
