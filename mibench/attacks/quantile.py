"""Attacks that bound their false positive rate by a quantile of nonmembers' or models' losses."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import scipy

from mibench.attacks.base import Attack, Inference, Knowledge, Rate, register
from mibench.attacks.reference import Others, references_of
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, Outputs, cross_entropy, scaled_logit

# What the authors' script takes for the largest of all losses.
_HIGHEST_LOSS = 1000.0
# Of the library's 20 samples a leaf's variance is wrong by a third.
_GAUSSIAN_LEAF = 100


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
    per_sample = True

    fpr: Rate = 0.1

    def fit(self, knowledge: Knowledge) -> Self:
        """Take the quantile over the auxiliary nonmembers."""
        self.threshold_ = -float(np.quantile(knowledge.given("auxiliary").loss, self.fpr))
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by minus loss."""
        return Inference(-target.loss, self.threshold_)


@dataclass
class OtherModels(Attack):
    """Each sample's own quantile of losses over other models that have not seen it.

    Score and threshold by `smoothing`, with c = log(p_y / (1 - p_y)):

    * "gaussian": (c - mean of theirs) / their deviation, and the standard normal's quantile;
    * "linear": the share of losses above the target's, interpolated linearly between them, 0 and
      1000, and the share 1 - fpr;
    * "share": the share itself, uninterpolated, and 1 - fpr.

    References
    ----------
    Ye et al. 2022, "Enhanced Membership Inference Attacks against Machine Learning Models"; the
    first two are the smoothings of the authors' Privacy Meter.
    """

    fpr: Rate = 0.1
    smoothing: Literal["gaussian", "linear", "share"] = "gaussian"

    def compared(self, target: Outputs, logits: FloatArray, unseen: BoolArray) -> Inference:
        """Place the target among those of the models (K, n, C) that have not seen a sample."""
        labels, count = target.labels, unseen.sum(axis=0)
        if count.min() < 2:
            raise MIBenchError(f"{self.title} needs two models trained without each sample")
        if self.smoothing == "gaussian":
            others = Others(scaled_logit(logits, labels), ~unseen)
            mean, deviation = others.gaussian(unseen)
            own = scaled_logit(target.logits, labels)
            return Inference((own - mean) / deviation, float(scipy.special.ndtri(1 - self.fpr)))
        losses = np.where(unseen, cross_entropy(logits, labels), np.inf)
        if self.smoothing == "share":
            higher = (losses > target.loss) & unseen
            return Inference(higher.sum(axis=0) / count, 1 - self.fpr)
        ends = np.zeros((1, len(target))), np.full((1, len(target)), np.inf)
        known = np.concatenate([ends[0], np.sort(losses, axis=0), ends[1]])
        known = np.minimum(known, _HIGHEST_LOSS)
        below = (losses < target.loss).sum(axis=0)
        low, high = (np.take_along_axis(known, below[None] + i, axis=0)[0] for i in (0, 1))
        width = np.maximum(high - low, np.finfo(float).tiny)
        part = np.minimum((target.loss - low) / width, 1)
        return Inference(1 - (below + part) / (count + 1), 1 - self.fpr)


@register
@dataclass
class AttackR(OtherModels):
    """Each sample's quantile of losses over reference models trained without it.

    References
    ----------
    Ye et al. 2022, Attack R (threshold dependent on the sample).
    """

    name = "attack_r"
    title = "Attack-R"
    source = "Ye et al. 2022"
    needs = frozenset({"references"})
    per_sample = True

    def infer(self, target: Outputs) -> Inference:
        """Compare with the out-models."""
        logits, trained_on = references_of(self.title, target)
        return self.compared(target, logits, ~trained_on)


@register
@dataclass
class AttackD(OtherModels):
    """Each sample's quantile of losses over models distilled from the target.

    References
    ----------
    Ye et al. 2022, Attack D (threshold dependent on model and sample).
    """

    name = "distillation"
    title = "Distillation-based"
    source = "Ye et al. 2022"
    needs = frozenset({"distilled"})
    per_sample = True

    def infer(self, target: Outputs) -> Inference:
        """Compare with the distilled models."""
        logits = target.distilled_logits
        if logits is None:
            raise MIBenchError(f"{self.title} needs distilled models, which were not given")
        return self.compared(target, logits, np.ones(logits.shape[:2], dtype=bool))


@register
@dataclass
class QuantileRegression(Attack):
    """The distribution of nonmembers' confidence, regressed on the sample.

    Score and threshold by `form`, with c = log(p_y / (1 - p_y)):

    * "gaussian": (c - regressed mean) / regressed deviation, and the standard normal's quantile;
    * "quantile": c minus its regressed quantile, and 0; another `fpr` is another regression.

    The deviation is regressed on squared errors of means regressed without the sample.

    References
    ----------
    Bertran et al. 2023, "Scalable Membership Inference Attacks via Quantile Regression",
    algorithm 1, and the Gaussian score of its experiments on images.
    """

    name = "quantile_regression"
    title = "Quantile regression"
    source = "Bertran et al. 2023"
    needs = frozenset({"auxiliary", "inputs"})
    per_sample = True

    fpr: Rate = 0.1
    form: Literal["gaussian", "quantile"] = "gaussian"

    def fit(self, knowledge: Knowledge) -> Self:
        """Regress on inputs and labels of the auxiliary nonmembers."""
        # These take long to import, and attacks are listed without.
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.model_selection import cross_val_predict

        own = knowledge.given("auxiliary")
        known, confidence = self._features(own), scaled_logit(own.logits, own.labels)

        def trees(loss: str, leaf: int = _GAUSSIAN_LEAF) -> Any:
            return HistGradientBoostingRegressor(
                loss=loss,
                quantile=1 - self.fpr,
                max_iter=50,
                min_samples_leaf=leaf,
                random_state=knowledge.seed,
            )

        if self.form == "quantile":
            self.centre_ = trees("quantile", 20).fit(known, confidence)
            return self
        self.centre_ = trees("squared_error").fit(known, confidence)
        errors = confidence - cross_val_predict(trees("squared_error"), known, confidence)
        self.variance_ = trees("gamma").fit(known, np.maximum(errors**2, 1e-12))
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by the distance above the regressed centre."""
        known = self._features(target)
        above = scaled_logit(target.logits, target.labels) - self.centre_.predict(known)
        if self.form == "quantile":
            return Inference(above, 0.0)
        deviation = np.sqrt(self.variance_.predict(known))
        return Inference(above / deviation, float(scipy.special.ndtri(1 - self.fpr)))

    def _features(self, outputs: Outputs) -> FloatArray:
        if outputs.inputs is None:
            raise MIBenchError(f"{self.title} needs the samples themselves, which were not given")
        return np.column_stack([outputs.inputs.reshape(len(outputs), -1), outputs.labels])
