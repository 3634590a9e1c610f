"""Loss threshold attack."""

from typing import Self

from mibench.attacks.base import Attack, Inference, Knowledge, register
from mibench.outputs import Outputs


@register
class LossThreshold(Attack):
    """A sample is a member where its loss is at most the mean loss of members.

    Score: minus cross entropy. Threshold: minus the shadow members' mean cross entropy, which
    stands for the target's training loss.

    References
    ----------
    Yeom et al. 2018, "Privacy Risk in Machine Learning", Adversary 2, with the
    mean training loss as threshold.
    """

    name = "loss_threshold"
    title = "Loss-Threshold"
    source = "Yeom et al. 2018"
    needs = frozenset({"shadow"})
    per_sample = True

    def fit(self, knowledge: Knowledge) -> Self:
        """Take the mean loss of the shadow's members."""
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        self.threshold_ = -float(shadow.loss[is_member].mean())
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by minus loss."""
        return Inference(-target.loss, self.threshold_)
