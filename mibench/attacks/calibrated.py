"""Calibrated score attack."""

import numpy as np

from mibench.attacks.base import register
from mibench.attacks.reference import ReferenceAttack
from mibench.outputs import BoolArray, FloatArray, IntArray, cross_entropy


@register
class CalibratedScore(ReferenceAttack):
    """Loss relative to how hard the sample is for models that have not seen it.

    Score: mean loss over the reference models trained without the sample, minus the target's.

    References
    ----------
    Watson et al. 2022, "On the Importance of Difficulty Calibration in Membership Inference
    Attacks", the calibrated membership score with the loss as score.
    """

    name = "calibrated"
    title = "Calibrated Score"
    source = "Watson et al. 2022"
    reads_in = False

    def signal(self, logits: FloatArray, labels: IntArray) -> FloatArray:
        """Return losses."""
        return cross_entropy(logits, labels)

    def score(
        self,
        own: FloatArray,
        references: FloatArray,
        trained_on: BoolArray,
        stand_in: int | None = None,
    ) -> FloatArray:
        """Return the mean loss of the out-models less the own."""
        out = ~trained_on
        return np.where(out, references, 0).sum(axis=0) / out.sum(axis=0) - own
