"""Likelihood ratio attack."""

import numpy as np
from scipy.stats import norm

from mibench.attacks.base import Attack, Inference, best_threshold, register
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, Outputs, scaled_logit

# Below this many models a side a variance of one's own is too noisy; the paper then shares one
# across samples (Carlini et al. 2022, section VI-C).
MODELS_FOR_OWN_VARIANCE = 32


class ReferenceAttack(Attack):
    """An attack that compares the target with reference models.

    Its threshold is found by attacking the reference models themselves, of which the auditor
    knows what they trained on: each in turn stands for the target and is scored against the
    others; the threshold of highest MA over all these scores is used.
    """

    needs = frozenset({"references"})

    def infer(self, target: Outputs) -> Inference:
        """Score the target against the references."""
        logits, trained_on = target.reference_logits, target.reference_in
        if logits is None or trained_on is None:
            raise MIBenchError(f"{self.title} needs reference models, which were not given")
        own = scaled_logit(target.logits, target.labels)
        references = scaled_logit(logits, target.labels)
        count = len(references)
        if trained_on.sum(axis=0).min() < 2 or (~trained_on).sum(axis=0).min() < 2:
            raise MIBenchError(
                f"{self.title} needs for every sample two reference models trained with it and "
                f"two without, beside one that stands for the target; use more than {count}"
            )
        scores = [
            self.score(references[k], np.delete(references, k, 0), np.delete(trained_on, k, 0))
            for k in range(count)
        ]
        threshold = best_threshold(np.concatenate(scores), trained_on.ravel())
        return Inference(self.score(own, references, trained_on), threshold)

    def score(self, own: FloatArray, references: FloatArray, trained_on: BoolArray) -> FloatArray:
        """Score n samples of one model, (n,), against K others, (K, n), in scaled logits."""
        raise NotImplementedError


@register
class OnlineLiRA(ReferenceAttack):
    """Log ratio of the likelihoods of the target's confidence among in- and out-models.

    Score: log N(c; mu_in, s_in) - log N(c; mu_out, s_out) with c = log(p_y / (1 - p_y)).

    References
    ----------
    Carlini et al. 2022, "Membership Inference Attacks From First Principles", algorithm 1.
    """

    name = "lira_online"
    title = "Likelihood ratio attack"
    source = "Carlini et al. 2022"

    def score(self, own: FloatArray, references: FloatArray, trained_on: BoolArray) -> FloatArray:
        """Return the log likelihood ratio."""
        likelihoods = [
            norm.logpdf(own, *gaussian(references, side)) for side in (trained_on, ~trained_on)
        ]
        ratio: FloatArray = likelihoods[0] - likelihoods[1]
        return ratio


@register
class OfflineLiRA(ReferenceAttack):
    """How improbable the target's confidence is among models trained without the sample.

    Score: Phi((c - mu_out) / s_out), one-sided.

    References
    ----------
    Carlini et al. 2022, "Membership Inference Attacks From First Principles", equation 4.
    """

    name = "lira_offline"
    title = "Likelihood ratio (offline)"
    source = "Carlini et al. 2022"

    def score(self, own: FloatArray, references: FloatArray, trained_on: BoolArray) -> FloatArray:
        """Return the number of deviations above the out-models, monotone in the probability."""
        mean, deviation = gaussian(references, ~trained_on)
        above: FloatArray = (own - mean) / deviation
        return above


def gaussian(values: FloatArray, side: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and deviation, each (n,), of the chosen entries of each column of (K, n).

    With fewer than 32 entries in some column all columns share the root mean square deviation.
    """
    count = side.sum(axis=0)
    mean = np.where(side, values, 0).sum(axis=0) / count
    squares = np.where(side, (values - mean) ** 2, 0).sum(axis=0)
    if count.min() < MODELS_FOR_OWN_VARIANCE:
        return mean, np.full_like(mean, np.sqrt(squares.sum() / count.sum()) + 1e-12)
    return mean, np.sqrt(squares / count) + 1e-12
