"""Calibrated score attack."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mibench.attacks.base import register
from mibench.attacks.reference import Others, ReferenceAttack
from mibench.outputs import FloatArray, IntArray, cross_entropy, scaled_logit


@register
@dataclass
class CalibratedScore(ReferenceAttack):
    """A score relative to how hard the sample is for models that have not seen it.

    Score: the target's score less the mean over the reference models trained without the sample.

    References
    ----------
    Watson et al. 2022, "On the Importance of Difficulty Calibration in Membership Inference
    Attacks", the calibrated membership score.

    Attributes
    ----------
    of : str
        The score: "confidence" p_y, "logit" log(p_y / (1 - p_y)), or "loss", minus it, which is
        what the published benchmark ran.
    """

    name = "calibrated"
    title = "Calibrated Score"
    source = "Watson et al. 2022"
    reads_in: ClassVar[bool] = False

    of: Literal["confidence", "logit", "loss"] = "confidence"

    def signal(self, logits: FloatArray, labels: IntArray) -> FloatArray:
        """Return the score to be calibrated."""
        if self.of == "logit":
            return scaled_logit(logits, labels)
        loss = cross_entropy(logits, labels)
        return -loss if self.of == "loss" else np.exp(-loss)

    def score(self, own: FloatArray, others: Others) -> FloatArray:
        """Return the own score less the out-models' mean."""
        return others.in_blocks(own, lambda own, others: own - others.outside)
