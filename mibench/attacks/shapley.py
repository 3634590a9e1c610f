"""Shapley value attack."""

from dataclasses import dataclass

import numpy as np
import scipy

from mibench.attacks.base import Count, Knowledge, register
from mibench.attacks.class_threshold import class_thresholds
from mibench.attacks.shadow import ShadowAttack
from mibench.outputs import FloatArray, IntArray, Outputs

_AT_ONCE = 16


@register
@dataclass
class ShapleyValues(ShadowAttack):
    """A sample is a member where it is worth much to a nearest-neighbour classifier.

    Score: n times the KNN-Shapley value of the sample among the n attacked ones, for classifying
    the auxiliary set in the space of log posteriors, minus the class's threshold: that of highest
    MA on the shadow model. Threshold: 0.

    References
    ----------
    Jia et al. 2019, "Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms",
    theorem 1; Duddu et al. 2021, "SHAPr: An Efficient and Versatile Membership Privacy Risk
    Metric for Machine Learning".
    """

    name = "shapley"
    title = "Shapley values"
    source = "Jia et al. 2019; Duddu et al. 2021"
    needs = frozenset({"shadow", "auxiliary"})
    per_sample = False

    neighbours: Count = 5

    def learn(self, knowledge: Knowledge) -> float:
        """Choose each class's threshold on the shadow model."""
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        self.auxiliary_ = knowledge.given("auxiliary")
        pairs = zip(knowledge.shadows, knowledge.shadow_auxiliary, strict=True)
        self.values_ = np.concatenate([self._values(own.outputs, other) for own, other in pairs])
        classes = shadow.logits.shape[1]
        self.thresholds_ = class_thresholds(self.values_, shadow.labels, is_member, classes)
        return 0.0

    def score(self, outputs: Outputs) -> FloatArray:
        """Return the value above the class's threshold."""
        values = self._values(outputs, self.auxiliary_)
        return values - self.thresholds_[outputs.labels]

    def known(self, knowledge: Knowledge) -> FloatArray:
        """Score each shadow model's samples by what they are worth to its answers."""
        return self.values_ - self.thresholds_[knowledge.shadow.outputs.labels]

    def _values(self, outputs: Outputs, auxiliary: Outputs) -> FloatArray:
        values = knn_shapley(
            outputs.log_probs,
            outputs.labels,
            auxiliary.log_probs,
            auxiliary.labels,
            self.neighbours,
        )
        # Values of n samples share out one accuracy, so they shrink as 1/n.
        return len(outputs) * values


def knn_shapley(
    points: FloatArray,
    labels: IntArray,
    test_points: FloatArray,
    test_labels: IntArray,
    neighbours: int,
) -> FloatArray:
    """Return the exact Shapley value of every point for a K-nearest-neighbour classifier.

    The utility of a set of points is the mean, over test points, of the share of the K nearest
    that have the test point's label (fewer than K points count as K). O(n log n) a test point.

    Parameters
    ----------
    points : float array, (n, d)
    labels : int array, (n,)
    test_points : float array, (m, d)
    test_labels : int array, (m,)
    neighbours : int
        K.

    Returns
    -------
    float array, (n,)

    References
    ----------
    Jia et al. 2019, theorem 1.
    """
    count = len(points)
    rank = np.arange(1, count)
    # Of theorem 1, from the nearest to the last but one, and then of the last itself.
    share = np.append(np.minimum(neighbours, rank) / rank, min(neighbours, count) / count)
    share /= neighbours
    total = np.zeros(count)
    # A few at once, so that what is computed stays in the processor's cache.
    for start in range(0, len(test_points), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        distance = scipy.spatial.distance.cdist(test_points[part], points)
        order = np.argsort(distance, axis=1)
        # Ties by index, whatever the processor's sort does; stable sorts of all rows take longer.
        tied = (np.diff(np.take_along_axis(distance, order, axis=1)) == 0).any(axis=1)
        order[tied] = np.argsort(distance[tied], axis=1, kind="stable")
        step = (labels[order] == test_labels[part, None]).astype(np.float64)
        step[:, :-1] -= step[:, 1:]
        step *= share
        values = step[:, ::-1].cumsum(axis=1)[:, ::-1]
        total += np.bincount(order.ravel(), values.ravel(), count)
    return total / len(test_points)
