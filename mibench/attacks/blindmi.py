"""Blind membership inference: no shadow model, only generated nonmembers."""

from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Self

import numpy as np
from sklearn.svm import OneClassSVM

from mibench.attacks.base import Attack, Count, Inference, Knowledge, Rate, register
from mibench.construction.kernels import blindmi_features, gaussians
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, Outputs

# Their kernel takes 3 GiB.
MOST_SAMPLES = 20_000


class Differential(Attack):
    """Moves samples between the target dataset T and a set of nonmembers G while the MMD rises.

    A sample whose move from T to G raises the MMD between them is a nonmember. Score: by how much
    the MMD^2 is higher with the sample in T than with it in G, in the final state; samples in G
    have it negative. Threshold: 0.

    References
    ----------
    Hui et al. 2021, "Practical Blind Membership Inference Attack via Differential Comparisons",
    BlindMI-Diff.
    """

    source = "Hui et al. 2021"

    def scores(
        self, features: FloatArray, generated: FloatArray, in_g: BoolArray, both_ways: bool
    ) -> FloatArray:
        """Move samples until no move raises the MMD, and score them, (n,)."""
        in_g, gain = differential_moves(features, generated, in_g, both_ways)
        size = np.maximum(np.abs(gain), np.finfo(float).tiny)
        return np.where(in_g, -size, size)


@register
@dataclass
class BlindMIDiffWith(Differential):
    """Differential comparison with generated nonmembers (BlindMI-Diff-w).

    As in the authors' published code, 20 generated nonmembers are drawn, and random batches of 20
    samples are compared with them one after the other.
    """

    name = "blindmi_diff_w"
    title = "BlindMI-Diff-w"
    needs = frozenset({"generated"})

    batch: Count = 20

    def fit(self, knowledge: Knowledge) -> Self:
        """Draw the generated nonmembers."""
        self.seed_ = knowledge.seed
        features = blindmi_features(knowledge.given("generated"))
        drawn = np.random.default_rng(self.seed_).permutation(len(features))[: self.batch]
        self.generated_ = features[drawn]
        return self

    def infer(self, target: Outputs) -> Inference:
        """Move samples of each batch to the generated nonmembers."""
        features, scores = blindmi_features(target), np.empty(len(target))
        order = np.random.default_rng(self.seed_).permutation(len(target))
        for batch in np.array_split(order, -(-len(target) // self.batch)):
            nobody = np.zeros(len(batch), dtype=bool)
            scores[batch] = self.scores(features[batch], self.generated_, nobody, False)
        return Inference(scores, 0.0)


@register
@dataclass
class BlindMIDiffWithoutSingle(Differential):
    """Differential comparison with the least confident fifth of the target dataset for G.

    That fifth stays in G; others move from T to G (single direction).
    """

    name = "blindmi_diff_wo_single"
    title = "BlindMI-Diff-w/o (single)"
    needs = frozenset[str]()

    share: Rate = 0.2
    both_ways: ClassVar[bool] = False

    def infer(self, target: Outputs) -> Inference:
        """Move samples between the more and the less confident part."""
        confidence = target.probs.max(axis=1)
        order = np.argsort(confidence, kind="stable")
        in_g = np.zeros(len(target), dtype=bool)
        in_g[order[: max(1, round(self.share * len(target)))]] = True
        features = blindmi_features(target)
        return Inference(self.scores(features, features[:0], in_g, self.both_ways), 0.0)


@register
@dataclass
class BlindMIDiffWithout(BlindMIDiffWithoutSingle):
    """Differential comparison with the less confident half for G, moving both ways."""

    name = "blindmi_diff_wo"
    title = "BlindMI-Diff-w/o"

    share: Rate = 0.5
    both_ways: ClassVar[bool] = True


@register
class BlindMIOneClass(Attack):
    """A sample is a nonmember where a one-class SVM takes it for one of the generated.

    Score: minus the decision function of the SVM. Threshold: 0.

    References
    ----------
    Hui et al. 2021, BlindMI-1Class.
    """

    name = "blindmi_1class"
    title = "BlindMI-1CLASS"
    source = "Hui et al. 2021"
    needs = frozenset({"generated"})

    def fit(self, knowledge: Knowledge) -> Self:
        """Train the SVM on the generated nonmembers."""
        self.svm_ = OneClassSVM().fit(blindmi_features(knowledge.given("generated")))
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by minus the decision function."""
        return Inference(-self.svm_.decision_function(blindmi_features(target)), 0.0)


def differential_moves(
    features: FloatArray, generated: FloatArray, in_g: BoolArray, both_ways: bool
) -> tuple[BoolArray, FloatArray]:
    """Move samples from T to G, and back if `both_ways`, while that raises their MMD.

    In a round those in G are visited in order, if they may move back, then those in T; rounds
    follow one another until one moves no sample. A move counts at once.
    Sums of kernel values are kept, so that trying a move costs O(1) and making it O(n).

    Parameters
    ----------
    features : float array, (n, d)
        The samples that may move.
    generated : float array, (g, d)
        Further members of G, which stay; possibly none.
    in_g : bool array, (n,)
        The samples that start in G.
    both_ways : bool

    Returns
    -------
    in_g : bool array, (n,)
        Where each sample ends.
    gain : float array, (n,)
        MMD^2 with the sample in T minus MMD^2 with it in G, all others as they end.

    Raises
    ------
    MIBenchError
        If n is above :data:`MOST_SAMPLES`.
    """
    if len(features) > MOST_SAMPLES:
        raise MIBenchError(
            f"BlindMI-Diff compares all pairs of samples and takes at most {MOST_SAMPLES:,}; these "
            f"are {len(features):,}: give a random part of them"
        )
    kernel = gaussians(features, features)
    in_g = in_g.copy()
    to_t = kernel[:, ~in_g].sum(axis=1)
    fixed = gaussians(features, generated).sum(axis=1)
    to_g = kernel[:, in_g].sum(axis=1) + fixed
    n_t, n_g = int((~in_g).sum()), int(in_g.sum()) + len(generated)
    within_t = float(to_t[~in_g].sum())
    across = float(to_g[~in_g].sum())
    within_g = float(to_g[in_g].sum() + fixed[in_g].sum())
    within_g += float(gaussians(generated, generated).sum())
    own = kernel.diagonal().tolist()

    def mmd(tt: float, tg: float, gg: float, t: int, g: int) -> float:
        return tt / t**2 - 2 * tg / (t * g) + gg / g**2 if t and g else -np.inf

    def moved(i: int) -> tuple[float, float, float, int, int]:
        a, b, k = float(to_t[i]), float(to_g[i]), own[i]
        if in_g[i]:
            return within_t + 2 * a + k, across - a + b - k, within_g - 2 * b + k, n_t + 1, n_g - 1
        return within_t - 2 * a + k, across - b + a - k, within_g + 2 * b + k, n_t - 1, n_g + 1

    now = mmd(within_t, across, within_g, n_t, n_g)
    changed, rounds = True, 0
    while changed and rounds < 1000:
        changed, rounds = False, rounds + 1
        for back, i in product((True, False) if both_ways else (False,), range(len(features))):
            if in_g[i] != back:
                continue
            state = moved(i)
            # Rounding must not make a pair of moves go on for ever.
            if (then := mmd(*state)) > now + 1e-12:
                within_t, across, within_g, n_t, n_g = state
                shift = kernel[i] if in_g[i] else -kernel[i]
                to_t += shift
                to_g -= shift
                in_g[i] = not in_g[i]
                now, changed = then, True
    gain = np.empty(len(features))
    for i in range(len(features)):
        then = mmd(*moved(i))
        gain[i] = then - now if in_g[i] else now - then
    return in_g, np.nan_to_num(gain, posinf=1.0, neginf=-1.0)
