"""Attack networks on posteriors."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from mibench.attacks.base import Count, Knowledge, register
from mibench.attacks.shadow import ShadowAttack
from mibench.outputs import BoolArray, FloatArray, Outputs


@dataclass
class AttackNetwork(ShadowAttack):
    """A network that tells the shadows' members from nonmembers by a view of their posteriors.

    One hidden layer of 64 rectified units (Salem et al. 2019). Score: the
    probability it gives to member. Threshold: 0.5.
    """

    hidden: Count = 64

    @abstractmethod
    def features(self, outputs: Outputs) -> FloatArray:
        """Return the network's view of each sample, (n, d)."""

    def learn(self, knowledge: Knowledge) -> float:
        """Train the network on the shadow models' outputs."""
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        self.network_ = self._trained(self.features(shadow), is_member, knowledge.seed)
        return 0.5

    def score(self, outputs: Outputs) -> FloatArray:
        """Return the network's probability of member."""
        probability: FloatArray = self.network_.predict_proba(self.features(outputs))[:, 1]
        return probability

    def _trained(self, features: FloatArray, is_member: BoolArray, seed: int) -> Any:
        # Scikit-learn is imported where attacks learn, so that they can be listed at once.
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        network = MLPClassifier((self.hidden,), max_iter=100, tol=1e-3, random_state=seed)
        return make_pipeline(StandardScaler(), network).fit(features, is_member)


@register
@dataclass
class NNAttack(AttackNetwork):
    """Attack network on the whole posterior vector, sorted.

    A class with enough shadow samples has a network of its own (Shokri et al.), which is given p_y
    as well; the others share that of all samples (Salem et al. 2019, adversary 2), since of few
    samples a network learns nothing.

    References
    ----------
    Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models", the
    attack model.

    Attributes
    ----------
    own_network_from : int
        Samples of all shadow models, members and nonmembers each, that are enough.
    """

    name = "nn_attack"
    title = "NN_attack"
    source = "Shokri et al. 2017"

    own_network_from: Count = 100

    def learn(self, knowledge: Knowledge) -> float:
        """Train the network of all classes and those of single classes."""
        threshold = super().learn(knowledge)
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        features, self.own_ = self.own_features(shadow), {}
        for label in np.unique(shadow.labels):
            own = shadow.labels == label
            if min((own & is_member).sum(), (own & ~is_member).sum()) >= self.own_network_from:
                self.own_[label] = self._trained(features[own], is_member[own], knowledge.seed)
        return threshold

    def score(self, outputs: Outputs) -> FloatArray:
        """Return the probability of member that the network of the sample's class gives."""
        features, scores = self.own_features(outputs), super().score(outputs)
        for label, network in self.own_.items():
            if (own := outputs.labels == label).any():
                scores[own] = network.predict_proba(features[own])[:, 1]
        return scores

    def features(self, outputs: Outputs) -> FloatArray:
        """Return the sorted posteriors, (n, C)."""
        return outputs.top_probs(outputs.logits.shape[1])

    def own_features(self, outputs: Outputs) -> FloatArray:
        """Return what a class's own network sees: p_y and the sorted posteriors, (n, 1 + C)."""
        # The paper's vector is unsorted, in which p_y has the same place in all samples of a class.
        return np.column_stack([outputs.true_probs, self.features(outputs)])


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
        return outputs.top_probs(3)


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
        return np.column_stack([outputs.true_probs, outputs.top_probs(2)])
