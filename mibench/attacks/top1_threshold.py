"""Highest-posterior threshold attack."""

from typing import Self

import numpy as np

from mibench.attacks.base import Attack, Inference, Knowledge, register
from mibench.outputs import Outputs


@register
class Top1Threshold(Attack):
    """A sample is a member where its largest posterior exceeds that of most random points.

    Score: the largest posterior. Threshold: its 90th percentile over the target's answers on
    random inputs, so that no shadow model is needed.

    References
    ----------
    Salem et al. 2019, "ML-Leaks", adversary 3.
    """

    name = "top1_threshold"
    title = "Top1-Threshold"
    source = "Salem et al. 2019"
    needs = frozenset({"random"})
    per_sample = True

    def fit(self, knowledge: Knowledge) -> Self:
        """Take the 90th percentile over random inputs."""
        random = knowledge.given("random")
        self.threshold_ = float(np.percentile(random.top_probs(1), 90))
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by the largest posterior."""
        return Inference(target.top_probs(1)[:, 0], self.threshold_)
