"""Attack networks on posteriors."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mibench.attacks.base import Attack, Count, Inference, Knowledge, register
from mibench.outputs import FloatArray, Outputs


@dataclass
class AttackNetwork(Attack):
    """A network told apart the shadow's members and nonmembers by a view of their posteriors.

    One hidden layer of 64 rectified units (Salem et al. 2019). Score: the
    probability it gives to member. Threshold: 0.5.
    """

    needs = frozenset({"shadow"})

    hidden: Count = 64

    @abstractmethod
    def features(self, outputs: Outputs) -> FloatArray:
        """Return the network's view of each sample, (n, d)."""

    def fit(self, knowledge: Knowledge) -> Self:
        """Train the network on the shadow model's outputs."""
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        network = MLPClassifier((self.hidden,), max_iter=100, tol=1e-3, random_state=knowledge.seed)
        self.network_ = make_pipeline(StandardScaler(), network)
        self.network_.fit(self.features(shadow), is_member)
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by the network's probability of member."""
        return Inference(self.network_.predict_proba(self.features(target))[:, 1], 0.5)


@register
class NNAttack(AttackNetwork):
    """Attack network on the whole posterior vector, sorted.

    One network for all classes, on sorted posteriors, in place of one for each class: with few
    shadow samples a class, the many networks learn nothing (Salem et al. 2019, adversary 2).

    References
    ----------
    Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models", the
    attack model.
    """

    name = "nn_attack"
    title = "NN_attack"
    source = "Shokri et al. 2017"

    def features(self, outputs: Outputs) -> FloatArray:
        """Return the sorted posteriors, (n, C)."""
        return outputs.sorted_probs


@register
class Top3NN(AttackNetwork):
    """Attack network on the three largest posteriors.

    References
    ----------
    Salem et al. 2019, "ML-Leaks", adversary 1.
    """

    name = "top3_nn"
    title = "Top3-NN"
    source = "Salem et al. 2019"

    def features(self, outputs: Outputs) -> FloatArray:
        """Return the three largest posteriors, (n, 3); of two classes, both."""
        return outputs.sorted_probs[:, :3]


@register
class Top2True(AttackNetwork):
    """Attack network on the true class's posterior and the two largest.

    References
    ----------
    Hui et al. 2021, "Practical Blind Membership Inference Attack", the
    baseline Top2+True.
    """

    name = "top2_true"
    title = "Top2+True"
    source = "Hui et al. 2021"

    def features(self, outputs: Outputs) -> FloatArray:
        """Return p_y and the two largest posteriors, (n, 3)."""
        return np.column_stack([outputs.true_probs, outputs.sorted_probs[:, :2]])
