"""Blind membership inference: no shadow model, only generated nonmembers."""

from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np

from mibench.attacks.base import Attack, Count, Inference, Knowledge, Rate, register
from mibench.construction.kernels import blindmi_features, gaussians, gaussians_within
from mibench.outputs import BoolArray, FloatArray, IntArray, Outputs


class Differential(Attack):
    """Moves samples between the target dataset T and a set of nonmembers G while the MMD rises.

    A sample whose move from T to G raises the MMD between them is a nonmember. Score: by how much
    the MMD^2 is higher with the sample in T than with it in G, in the final state; samples that
    left T have it negative. Threshold: 0. Samples are visited in a random order that does not
    depend on the one they come in.

    References
    ----------
    Hui et al. 2021, "Practical Blind Membership Inference Attack via Differential Comparisons",
    BlindMI-Diff.
    """

    source = "Hui et al. 2021"

    def fit(self, knowledge: Knowledge) -> Self:
        """Take the seed of the order."""
        self.seed_ = knowledge.seed
        return self

    def order(self, features: FloatArray) -> IntArray:
        """Return a random order of samples (n, d) that follows from their values."""
        return np.lexsort(features.T)[np.random.default_rng(self.seed_).permutation(len(features))]


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
        super().fit(knowledge)
        features = blindmi_features(knowledge.given("generated"))
        drawn = np.random.default_rng(self.seed_).permutation(len(features))[: self.batch]
        self.generated_ = features[drawn]
        return self

    def infer(self, target: Outputs) -> Inference:
        """Move samples of each batch to the generated nonmembers."""
        features, scores = blindmi_features(target), np.empty(len(target))
        for batch in np.array_split(self.order(features), -(-len(target) // self.batch)):
            nobody = np.zeros(len(batch), dtype=bool)
            moves = differential_moves(features[batch], self.generated_, nobody, False)
            scores[batch] = signed(*moves)
        return Inference(scores, 0.0)


@register
@dataclass
class BlindMIDiffWithoutSingle(Differential):
    """Differential comparison with the least confident samples for G, moves out of T only.

    As in the authors' published code: G is the least confident 1,000, at most half, of all
    samples; random batches of 1,000, of all samples, are T. In a round every sample is tried
    against the state at its beginning, and those whose move to G would raise the MMD leave T
    together; G stays as it was. Features: the three largest posteriors.
    """

    name = "blindmi_diff_wo_single"
    title = "BlindMI-Diff-w/o (single)"
    needs = frozenset[str]()

    nonmembers: Count = 1000
    batch: Count = 1000

    def infer(self, target: Outputs) -> Inference:
        """Move samples of each batch out of T."""
        features, scores = target.top_probs(3), np.empty(len(target))
        order, most = self.order(features), max(1, len(target) // 2)
        # Least confident first; of equals by the random order.
        least = order[np.argsort(features[order, 0], kind="stable")][: min(self.nonmembers, most)]
        for batch in np.array_split(order, -(-len(target) // self.batch)):
            scores[batch] = signed(*moves_by_round(features[batch], features[least]))
        return Inference(scores, 0.0)


@register
@dataclass
class BlindMIDiffWithout(Differential):
    """Differential comparison with the less confident half for G, moving both ways.

    Random batches of 1,000 samples, as in the authors' code of the single form, are compared one
    after the other, each with its own less confident half.
    """

    name = "blindmi_diff_wo"
    title = "BlindMI-Diff-w/o"
    needs = frozenset[str]()

    share: Rate = 0.5
    batch: Count = 1000

    def infer(self, target: Outputs) -> Inference:
        """Move samples between the more and the less confident part of each batch."""
        features, scores = blindmi_features(target), np.empty(len(target))
        for batch in np.array_split(self.order(features), -(-len(target) // self.batch)):
            least = np.argsort(features[batch, 1], kind="stable")
            in_g = np.zeros(len(batch), dtype=bool)
            in_g[least[: max(1, round(self.share * len(batch)))]] = True
            scores[batch] = signed(*differential_moves(features[batch], features[:0], in_g, True))
        return Inference(scores, 0.0)


@register
@dataclass
class BlindMIOneClass(Attack):
    """A sample is a member where a one-class SVM trained on generated nonmembers takes it in.

    Score: the decision function, as in the authors' published code. The sigmoid kernel of two
    posterior vectors, largest first, grows with their inner product, and so the decision function
    with the sample's confidence; with nu = 0.9 it is positive for those surer than about nine
    tenths of the generated. Threshold: 0.

    References
    ----------
    Hui et al. 2021, BlindMI-1Class.
    """

    name = "blindmi_1class"
    title = "BlindMI-1CLASS"
    source = "Hui et al. 2021"
    needs = frozenset({"generated"})
    per_sample = True

    nu: Rate = 0.9

    def fit(self, knowledge: Knowledge) -> Self:
        """Train the SVM on the generated nonmembers' three largest posteriors."""
        from sklearn.svm import OneClassSVM  # which takes long; attacks are listed without

        generated = knowledge.given("generated").top_probs(3)
        self.svm_ = OneClassSVM(nu=self.nu, kernel="sigmoid", gamma="scale").fit(generated)
        return self

    def infer(self, target: Outputs) -> Inference:
        """Score by the decision function."""
        return Inference(self.svm_.decision_function(target.top_probs(3)), 0.0)


def signed(left: BoolArray, gain: FloatArray) -> FloatArray:
    """Return the gains (n,), negative for the samples that left T and positive for the others."""
    size = np.maximum(np.abs(gain), np.finfo(float).tiny)
    return np.where(left, -size, size)


def moves_by_round(features: FloatArray, fixed: FloatArray) -> tuple[BoolArray, FloatArray]:
    """Move samples out of T, all of a round together, until no move to G would raise the MMD.

    Parameters
    ----------
    features : float array, (n, d)
        T at the beginning.
    fixed : float array, (g, d)
        G, which stays.

    Returns
    -------
    left : bool array, (n,)
    gain : float array, (n,)
        MMD^2 with the sample in T minus MMD^2 with it in G.
    """
    kernel, to_g = gaussians_within(features), gaussians(features, fixed).sum(axis=1)
    own, within_g, n_g = kernel.diagonal(), float(gaussians_within(fixed).sum()), len(fixed)
    in_t = np.ones(len(features), dtype=bool)
    while True:
        to_t, n_t = kernel[:, in_t].sum(axis=1), int(in_t.sum())
        within_t, across = float(to_t[in_t].sum()), float(to_g[in_t].sum())
        # Of each sample with it in T and with it in G; one that has left is put back to T first.
        back = np.where(in_t, 0, 1)
        size = n_t + back
        tt = within_t + back * (2 * to_t + own)
        with_t = to_t + back * own
        tg = across + back * to_g
        stays = tt / size**2 - 2 * tg / (size * n_g) + within_g / n_g**2
        with np.errstate(divide="ignore", invalid="ignore"):
            moves = (
                (tt - 2 * with_t + own) / (size - 1) ** 2
                - 2 * (tg - to_g + with_t - own) / ((size - 1) * (n_g + 1))
                + (within_g + 2 * to_g + own) / (n_g + 1) ** 2
            )
        gain = np.where(size > 1, stays - moves, 1.0)
        leaving = in_t & (gain < 0)
        if not leaving.any() or leaving.sum() == n_t:
            return ~in_t | leaving, gain
        in_t &= ~leaving


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
    """
    kernel = gaussians_within(features)
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
