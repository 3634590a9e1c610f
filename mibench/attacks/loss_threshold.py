"""Loss threshold attack."""

from mibench.attacks.base import Knowledge, register
from mibench.attacks.shadow import ShadowAttack
from mibench.outputs import FloatArray, Outputs


@register
class LossThreshold(ShadowAttack):
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

    def learn(self, knowledge: Knowledge) -> float:
        """Take the mean loss of the shadow's members."""
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        return -float(shadow.loss[is_member].mean())

    def score(self, outputs: Outputs) -> FloatArray:
        """Return minus loss."""
        return -outputs.loss
