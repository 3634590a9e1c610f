"""Attacks that see labels only."""

from typing import ClassVar

from mibench.attacks.base import Attack, Inference, Knowledge, register
from mibench.attacks.shadow import ShadowAttack
from mibench.attacks.thresholds import best_threshold
from mibench.outputs import FloatArray, Outputs


@register
class LabelOnly(ShadowAttack):
    """A sample is a member where the model keeps answering its label under perturbation.

    Score: the share of the sample and its perturbed copies that are given the label y.
    Threshold: that of highest accuracy on the shadow model.

    References
    ----------
    Choquette-Choo et al. 2021, "Label-Only Membership Inference Attacks", the attacks by
    data augmentation and by random noise.
    """

    name = "label_only"
    title = "Label-only"
    source = "Choquette-Choo et al. 2021"
    needs = frozenset({"shadow", "perturbed"})
    labels_only = True

    def learn(self, knowledge: Knowledge) -> float:
        """Choose the threshold on the shadow model."""
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        return best_threshold(self.score(shadow), is_member, balanced=False)

    def score(self, outputs: Outputs) -> FloatArray:
        """Return the share of the sample and its copies that are given the label."""
        answers = outputs.copies["perturbed"].predicted
        kept = (answers == outputs.labels).sum(axis=0) + (outputs.predicted == outputs.labels)
        share: FloatArray = kept / (len(answers) + 1)
        return share


@register
class Gap(Attack):
    """A sample is a member where the model answers its label: Label-only without queries.

    Score: 1 where the answer is y, else 0. Threshold: 0.5.

    References
    ----------
    Yeom et al. 2018, "Privacy Risk in Machine Learning", Adversary 1 with the 0-1 loss; named the
    gap attack by Choquette-Choo et al. 2021, and the correctness attack by Song and Mittal 2021.
    """

    name = "gap"
    title = "Gap attack"
    source = "Yeom et al. 2018"
    needs: ClassVar[frozenset[str]] = frozenset()
    per_sample = True
    labels_only = True

    def infer(self, target: Outputs) -> Inference:
        """Score by correctness."""
        return Inference((target.predicted == target.labels).astype(float), 0.5)
