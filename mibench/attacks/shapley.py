"""Shapley value attack."""

from typing import Self

import numpy as np
from scipy.spatial.distance import cdist

from mibench.attacks.base import Attack, Inference, Knowledge, given, register, shadow_of
from mibench.attacks.class_threshold import class_thresholds
from mibench.outputs import FloatArray, IntArray, Outputs


@register
class ShapleyValues(Attack):
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

    NEIGHBOURS = 5

    def fit(self, knowledge: Knowledge) -> Self:
        """Choose each class's threshold on the shadow model."""
        shadow, is_member = shadow_of(knowledge)
        self.auxiliary_ = given(knowledge.auxiliary, "auxiliary")
        values = self._values(shadow, given(knowledge.shadow_auxiliary, "auxiliary"))
        classes = shadow.logits.shape[1]
        self.thresholds_ = class_thresholds(values, shadow.labels, is_member, classes)
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by the value above the class's threshold."""
        values = self._values(target, self.auxiliary_)
        return Inference(values - self.thresholds_[target.labels], 0.0)

    def _values(self, outputs: Outputs, auxiliary: Outputs) -> FloatArray:
        values = knn_shapley(
            outputs.log_probs,
            outputs.labels,
            auxiliary.log_probs,
            auxiliary.labels,
            self.NEIGHBOURS,
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
    order = np.argsort(cdist(test_points, points), axis=1, kind="stable")
    match = (labels[order] == test_labels[:, None]).astype(np.float64)
    rank = np.arange(1, count)
    step = (match[:, :-1] - match[:, 1:]) * (np.minimum(neighbours, rank) / rank / neighbours)
    last = match[:, -1:] * min(neighbours, count) / (neighbours * count)
    ordered = np.concatenate([step, last], axis=1)[:, ::-1].cumsum(axis=1)[:, ::-1]
    values = np.empty_like(ordered)
    np.put_along_axis(values, order, ordered, axis=1)
    return values.mean(axis=0)
