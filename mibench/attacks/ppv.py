"""Attacks tuned for positive predictive value."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from mibench.attacks.base import Attack, Count, Inference, Knowledge, Rate, register
from mibench.attacks.thresholds import precise_threshold, sure_ppv
from mibench.outputs import FloatArray, Outputs


@register
@dataclass
class PositivePredictiveValue(Attack):
    """Loss threshold of the highest PPV at a bounded false positive rate.

    Score: minus loss. Threshold: that of the highest PPV on the shadow model among those with an
    FPR of at most `fpr`, the PPV judged by the lower end of its interval.

    References
    ----------
    Jayaraman et al. 2021, "Revisiting Membership Inference Under Realistic Assumptions", Yeom's
    attack with the threshold selection procedure.
    """

    name = "ppv"
    title = "PPV"
    source = "Jayaraman et al. 2021"
    needs = frozenset({"shadow"})
    per_sample = True

    fpr: Rate = 0.1

    def signal(self, outputs: Outputs) -> FloatArray:
        """Return the score, (n,)."""
        return -outputs.loss

    def fit(self, knowledge: Knowledge) -> Self:
        """Choose the threshold on the shadow model."""
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        self.threshold_ = precise_threshold(self.signal(shadow), is_member, self.fpr)
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score the samples."""
        return Inference(self.signal(target), self.threshold_)


@register
class Merlin(PositivePredictiveValue):
    """Members lie in minima of the loss: noise raises it.

    Score: the share of noisy copies with a higher loss than the sample. Threshold: as PPV's.

    References
    ----------
    Jayaraman et al. 2021, the Merlin attack.
    """

    name = "merlin"
    title = "Merlin"
    needs = frozenset({"shadow", "noisy"})

    def signal(self, outputs: Outputs) -> FloatArray:
        """Return the share of noisy copies with a higher loss."""
        return (outputs.copies["noisy"].loss > outputs.loss).mean(axis=0)


@register
@dataclass
class Morgan(Merlin):
    """Merlin for samples whose loss lies between two bounds.

    A sample is called a member where its loss lies between a lower and an upper bound and
    Merlin's share reaches a threshold; the three are those of the highest PPV on the shadow model
    with an FPR of at most `fpr`, from a grid of 20 quantiles each. Score: the smallest of the three
    margins, the loss's in quantiles of the shadow's losses. Threshold: 0.

    References
    ----------
    Jayaraman et al. 2021, the Morgan attack.
    """

    name = "morgan"
    title = "Morgan"

    grid: Count = 20

    def fit(self, knowledge: Knowledge) -> Self:
        """Choose the two bounds and the share on the shadow model."""
        shadow, is_member = knowledge.shadow.outputs, knowledge.shadow.is_member
        self.losses_ = np.sort(shadow.loss)
        place, share = self._place(shadow), self.signal(shadow)
        levels = np.linspace(0, 1, self.grid + 1)
        best = (-1.0, np.inf)
        # Reached by nobody, for where no bounds keep the FPR.
        self.bounds_ = (0.0, 1.0, float(np.nextafter(1, 2)))
        for bound in np.unique(np.quantile(share, levels)):
            passed = share >= bound
            places = [np.sort(place[passed & side]) for side in (is_member, ~is_member)]
            for low in range(self.grid):
                tp, fp = (
                    np.searchsorted(p, levels[low + 1 :], "right") - np.searchsorted(p, levels[low])
                    for p in places
                )
                ppv = sure_ppv(tp, fp, is_member, self.fpr)
                top = int(np.lexsort((tp, ppv))[-1])
                found = (float(ppv[top]), float(tp[top]))
                if found > best:
                    best = found
                    self.bounds_ = (levels[low], levels[low + 1 + top], float(bound))
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by the smallest margin."""
        low, high, bound = self.bounds_
        place = self._place(target)
        margins = np.stack([place - low, high - place, self.signal(target) - bound])
        return Inference(margins.min(axis=0), 0.0)

    def _place(self, outputs: Outputs) -> FloatArray:
        return np.searchsorted(self.losses_, outputs.loss) / len(self.losses_)
