"""Attacks that bound their false positive rate by a quantile of nonmembers' or models' losses."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from mibench.attacks.base import Attack, Inference, Knowledge, Rate, register
from mibench.attacks.reference import references_of
from mibench.errors import MIBenchError
from mibench.outputs import FloatArray, Outputs, cross_entropy, scaled_logit


@register
@dataclass
class AttackP(Attack):
    """One quantile of the target's losses on a population of nonmembers.

    Score: minus loss. Threshold: minus the 10% quantile of the population's losses.

    References
    ----------
    Ye et al. 2022, "Enhanced Membership Inference Attacks against Machine Learning Models",
    Attack P (threshold dependent on the model).
    """

    name = "attack_p"
    title = "Attack-P"
    source = "Ye et al. 2022"
    needs = frozenset({"auxiliary"})

    fpr: Rate = 0.1

    def fit(self, knowledge: Knowledge) -> Self:
        """Take the quantile over the auxiliary nonmembers."""
        self.threshold_ = -float(np.quantile(knowledge.given("auxiliary").loss, self.fpr))
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by minus loss."""
        return Inference(-target.loss, self.threshold_)


@register
@dataclass
class AttackR(Attack):
    """Each sample's quantile of losses over reference models trained without it.

    Score: the share of those models with a higher loss than the target's. Threshold: 0.9.

    References
    ----------
    Ye et al. 2022, Attack R (threshold dependent on the sample).
    """

    name = "attack_r"
    title = "Attack-R"
    source = "Ye et al. 2022"
    needs = frozenset({"references"})

    fpr: Rate = 0.1

    def infer(self, target: Outputs) -> Inference:
        """Score by the share of out-models with a higher loss."""
        logits, trained_on = references_of(self.title, target)
        out = ~trained_on
        if out.sum(axis=0).min() < 1:
            raise MIBenchError(f"{self.title} needs a reference model without each sample")
        higher = out & (cross_entropy(logits, target.labels) > target.loss)
        return Inference(higher.sum(axis=0) / out.sum(axis=0), 1 - self.fpr)


@register
@dataclass
class AttackD(Attack):
    """Each sample's quantile of losses over models distilled from the target.

    Score: the share of distilled models with a higher loss than the target's. Threshold: 0.9.

    References
    ----------
    Ye et al. 2022, Attack D (threshold dependent on model and sample).
    """

    name = "distillation"
    title = "Distillation-based"
    source = "Ye et al. 2022"
    needs = frozenset({"distilled"})

    fpr: Rate = 0.1

    def infer(self, target: Outputs) -> Inference:
        """Score by the share of distilled models with a higher loss."""
        if target.distilled_logits is None:
            raise MIBenchError(f"{self.title} needs distilled models, which were not given")
        higher = cross_entropy(target.distilled_logits, target.labels) > target.loss
        return Inference(higher.mean(axis=0), 1 - self.fpr)


@register
@dataclass
class QuantileRegression(Attack):
    """The sample's own quantile of nonmembers' confidence, regressed on the sample.

    Score: log(p_y / (1 - p_y)) minus its regressed 90% quantile. Threshold: 0.

    References
    ----------
    Bertran et al. 2023, "Scalable Membership Inference Attacks via Quantile Regression",
    algorithm 1.
    """

    name = "quantile_regression"
    title = "Quantile regression"
    source = "Bertran et al. 2023"
    needs = frozenset({"auxiliary", "inputs"})

    fpr: Rate = 0.1

    def fit(self, knowledge: Knowledge) -> Self:
        """Regress the quantile on inputs and labels of the auxiliary nonmembers."""
        own = knowledge.given("auxiliary")
        self.model_ = HistGradientBoostingRegressor(
            loss="quantile", quantile=1 - self.fpr, max_iter=50, random_state=knowledge.seed
        )
        self.model_.fit(self._features(own), scaled_logit(own.logits, own.labels))
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by the distance above the regressed quantile."""
        confidence = scaled_logit(target.logits, target.labels)
        return Inference(confidence - self.model_.predict(self._features(target)), 0.0)

    def _features(self, outputs: Outputs) -> FloatArray:
        if outputs.inputs is None:
            raise MIBenchError(f"{self.title} needs the samples themselves, which were not given")
        return np.column_stack([outputs.inputs.reshape(len(outputs), -1), outputs.labels])
