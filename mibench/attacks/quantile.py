"""Attacks that bound their false positive rate by a quantile of nonmembers' or models' losses."""

from collections.abc import Callable
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
# Of the network for images, and how many it is asked for at a time.
_EPOCHS, _AT_ONCE = 10, 1000


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
            mean, deviation = others.gaussian(inside=False)
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

    Records are regressed on by boosted trees, whose deviation follows from squared errors of means
    regressed without the sample; images by a small convolutional network.

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
        own = knowledge.given("auxiliary")
        regress = _by_network if _inputs(own).ndim == 4 else _by_trees
        quantile = 1 - self.fpr if self.form == "quantile" else None
        self.regressed_ = regress(own, quantile, knowledge.seed)
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by the distance above the regressed centre."""
        centre, deviation = self.regressed_(target)
        above = (scaled_logit(target.logits, target.labels) - centre) / deviation
        return Inference(
            above, 0.0 if self.form == "quantile" else float(scipy.special.ndtri(1 - self.fpr))
        )


# From outputs on samples to the regressed centre and deviation of their confidence, (n,) each.
Regressed = Callable[[Outputs], tuple[FloatArray, FloatArray]]


def _inputs(outputs: Outputs) -> FloatArray:
    if outputs.inputs is None:
        raise MIBenchError("Quantile regression needs the samples themselves, which were not given")
    return outputs.inputs


def _by_trees(own: Outputs, quantile: float | None, seed: int) -> Regressed:
    """Regress by boosted trees: a quantile, or mean and deviation."""
    # These take long to import, and attacks are listed without.
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import cross_val_predict

    def trees(loss: str, leaf: int = _GAUSSIAN_LEAF) -> Any:
        return HistGradientBoostingRegressor(
            loss=loss, quantile=quantile, max_iter=50, min_samples_leaf=leaf, random_state=seed
        )

    def features(outputs: Outputs) -> FloatArray:
        return np.column_stack([_inputs(outputs).reshape(len(outputs), -1), outputs.labels])

    known, confidence = features(own), scaled_logit(own.logits, own.labels)
    if quantile is not None:
        centre = trees("quantile", 20).fit(known, confidence)
        return lambda outputs: (centre.predict(features(outputs)), np.ones(len(outputs)))
    centre = trees("squared_error").fit(known, confidence)
    errors = confidence - cross_val_predict(trees("squared_error"), known, confidence)
    variance = trees("gamma").fit(known, np.maximum(errors**2, 1e-12))

    def regressed(outputs: Outputs) -> tuple[FloatArray, FloatArray]:
        seen = features(outputs)
        return centre.predict(seen), np.sqrt(variance.predict(seen))

    return regressed


def _by_network(own: Outputs, quantile: float | None, seed: int) -> Regressed:
    """Regress by a small network: by the pinball loss, or the likelihood of a Gaussian."""
    import torch  # which takes long to import, too
    from torch import Tensor, nn

    from mibench.attacks import networks

    confidence, classes = scaled_logit(own.logits, own.labels), own.logits.shape[1]
    mean, spread = confidence.mean(), confidence.std() + 1e-12

    def convolution(read: int, made: int) -> list[nn.Module]:
        return [nn.Conv2d(read, made, 3, padding=1), nn.ReLU()]

    def network() -> nn.Sequential:
        return nn.Sequential(
            *(*convolution(_inputs(own).shape[1], 16), nn.MaxPool2d(2)),
            *(*convolution(16, 32), nn.MaxPool2d(2), *convolution(32, 32)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2 * classes)),
        )

    def answers(made: nn.Module, outputs: Outputs, some: Any) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(np.asarray(_inputs(outputs)[some], np.float32))
        of_class = made(images).view(len(images), classes, 2)
        own_class = of_class[torch.arange(len(images)), torch.from_numpy(outputs.labels[some])]
        return own_class[:, 0], own_class[:, 1]

    def loss(made: nn.Module, batch: Tensor) -> Tensor:
        centre, log_deviation = answers(made, own, batch.numpy())
        error = torch.from_numpy((confidence[batch.numpy()] - mean) / spread).float() - centre
        if quantile is not None:
            return torch.maximum(quantile * error, (quantile - 1) * error).mean()
        return (log_deviation + (error * (-log_deviation).exp()) ** 2 / 2).mean()

    made = networks.trained(network, loss, len(own), _EPOCHS, rate=0.001, seed=seed)

    def regressed(outputs: Outputs) -> tuple[FloatArray, FloatArray]:
        starts = range(0, len(outputs), _AT_ONCE)
        parts = [answers(made, outputs, slice(i, i + _AT_ONCE)) for i in starts]
        centres, deviations = zip(*parts, strict=True)
        centre = torch.cat(centres).double().numpy() * spread + mean
        if quantile is not None:
            return centre, np.ones(len(outputs))
        return centre, torch.cat(deviations).double().exp().numpy() * spread

    return regressed
