"""The attacks' numerics against independent truth."""

import json
from contextlib import suppress
from dataclasses import replace
from itertools import combinations, product
from math import comb, factorial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import log_softmax, softmax
from scipy.stats import norm
from sklearn.svm import OneClassSVM

from mibench import attacks, scenarios
from mibench.apps.cli import main
from mibench.attacks import ATTACKS, Inference, Knowledge
from mibench.attacks.bayes_optimal import BASE
from mibench.attacks.blindmi import (
    BlindMIDiffWith,
    BlindMIDiffWithout,
    BlindMIDiffWithoutSingle,
    BlindMIOneClass,
    differential_moves,
)
from mibench.attacks.calibrated import CalibratedScore
from mibench.attacks.class_threshold import (
    ClassConfidence,
    ClassEntropy,
    class_thresholds,
    modified_entropy,
)
from mibench.attacks.lira import OfflineLiRA, OnlineLiRA
from mibench.attacks.loss_threshold import LossThreshold
from mibench.attacks.ppv import Merlin, Morgan
from mibench.attacks.quantile import AttackD, AttackP, AttackR, QuantileRegression
from mibench.attacks.reference import Others
from mibench.attacks.risk_score import RiskScore
from mibench.attacks.rmia import RMIA, OfflineRMIA
from mibench.attacks.shadow import ShadowAttack
from mibench.attacks.shapley import knn_shapley
from mibench.attacks.thresholds import best_threshold, precise_threshold, rate_threshold, sure_ppv
from mibench.construction.kernels import blindmi_features, mean_kernel
from mibench.construction.pool import pool
from mibench.construction.target import Candidates, TargetDataset
from mibench.errors import MIBenchError, ScenarioInfeasible
from mibench.outputs import Copies, Labelled, Outputs
from mibench.setting import Setting
from mibench.store import Store
from mibench.streams import Streams
from mibench.study.checking import Simulated, check
from mibench.study.metrics import auc
from mibench.study.study import Study


def outputs(seed: int, n: int = 40, classes: int = 4, references: int = 8) -> Outputs:
    rng = np.random.default_rng(seed)
    trained_on = np.argsort(rng.random((references, n)), axis=0) < references // 2
    return Outputs(
        rng.normal(0, 3, (n, classes)),
        rng.integers(0, classes, n),
        rng.normal(0, 3, (references, n, classes)),
        trained_on,
    )


def test_ties_of_knn_shapley_are_broken_by_index() -> None:
    rng = np.random.default_rng(1)
    points, labels = rng.integers(0, 3, (60, 2)), rng.integers(0, 3, 60)
    tests, wanted = rng.integers(0, 3, (40, 2)), rng.integers(0, 3, 40)
    # A little that grows with the index tells equal points apart and changes no other order.
    apart = 1e-7 * np.arange(60)
    expected = np.zeros(60)
    for point, label in zip(tests, wanted, strict=True):
        order = np.argsort(np.linalg.norm(points - point, axis=1) + apart)
        value = (labels[order[-1]] == label) / 60
        expected[order[-1]] += value
        for i in range(59, 0, -1):
            step = float(labels[order[i - 1]] == label) - float(labels[order[i]] == label)
            value += step / 5 * min(5, i) / i
            expected[order[i - 1]] += value
    assert knn_shapley(points, labels, tests, wanted, 5) == pytest.approx(expected / 40, abs=1e-12)


def loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.take_along_axis(log_softmax(logits, axis=-1), labels[:, None], axis=-1)[:, 0]


def test_knn_shapley_is_the_exponential_definition() -> None:
    rng = np.random.default_rng(0)
    for neighbours in (1, 3, 8):
        points, labels = rng.normal(size=(8, 2)), rng.integers(0, 3, 8)
        tests, wanted = rng.normal(size=(5, 2)), rng.integers(0, 3, 5)

        def utility(chosen: tuple[int, ...]) -> float:
            total = 0.0
            for point, label in zip(tests, wanted, strict=True):  # noqa: B023
                near = sorted(chosen, key=lambda i: np.linalg.norm(points[i] - point))  # noqa: B023
                total += sum(labels[i] == label for i in near[:neighbours]) / neighbours  # noqa: B023
            return total / len(tests)  # noqa: B023

        expected = [
            sum(
                (utility((*rest, i)) - utility(rest)) / (8 * comb(7, size))
                for size in range(8)
                for rest in combinations([j for j in range(8) if j != i], size)
            )
            for i in range(8)
        ]
        assert knn_shapley(points, labels, tests, wanted, neighbours) == pytest.approx(
            expected, abs=1e-12
        )


def blindmi_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the kernel of the authors' published code between points, (n, m)."""
    variances = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 5, 10, 15, 20, 25, 30, 35, 100]
    variances += [1e3, 1e4, 1e5, 1e6]
    squares = ((x[:, None] - y[None]) ** 2).sum(axis=2)
    return np.sum([np.exp(-squares / (2 * v)) for v in variances], axis=0)


def blindmi_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """Return the MMD^2 of points (n, d) and (m, d)."""
    within = blindmi_kernel(a, a).mean() + blindmi_kernel(b, b).mean()
    return float(within - 2 * blindmi_kernel(a, b).mean())


def transcribed(features, generated, in_g, both_ways):  # type: ignore[no-untyped-def]
    """The differential comparison of Hui et al. 2021, every MMD computed anew.

    In a round of the bi-directional one, those in G are tried first, then those in T.
    """
    in_g = np.append(in_g, np.ones(len(generated), dtype=bool))
    every = np.concatenate([features, generated])
    kernel = blindmi_kernel(every, every)

    def distance() -> float:
        if in_g.all() or not in_g.any():
            return -np.inf
        parts = ((~in_g, ~in_g), (in_g, in_g), (~in_g, in_g))
        t, g, between = (kernel[np.ix_(*part)].mean() for part in parts)
        return t + g - 2 * between

    changed = True
    while changed:
        changed, tried = False, 0
        for i in [*range(len(features))] * (2 if both_ways else 1):
            tried += 1
            if in_g[i] != (both_ways and tried <= len(features)):
                continue
            before = distance()
            in_g[i] = ~in_g[i]
            if distance() > before + 1e-12:
                changed = True
            else:
                in_g[i] = ~in_g[i]
    return in_g[: len(features)]


@pytest.mark.parametrize("both_ways", [False, True])
def test_blindmi_decides_as_every_mmd_computed_anew(both_ways: bool) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        features = rng.random((60, 3))
        # Members' posteriors lie close together, closer in every other round.
        features[:30] = 1 - features[:30] * (1e-2, 1e-3)[seed % 2]
        generated = rng.random((0 if both_ways else 20, 3)) ** 2
        start = (rng.random(60) < 0.4) & both_ways
        expected = transcribed(features, generated, start, both_ways)
        found, gain = differential_moves(features, generated, start, both_ways)
        assert (found == expected).all() and 0 < found.sum() < 60
        for i in (0, 17, 59):
            t, g = ~found, found.copy()
            if t.sum() - t[i] == 0 or g.sum() - g[i] + len(generated) == 0:
                continue
            t[i], g[i] = True, False
            in_t = blindmi_mmd(features[t], np.concatenate([features[g], generated]))
            t[i], g[i] = False, True
            in_g = blindmi_mmd(features[t], np.concatenate([features[g], generated]))
            assert gain[i] == pytest.approx(in_t - in_g, abs=1e-10)


def test_mean_kernel_is_five_gaussians() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    squares = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    expected = np.mean([np.exp(-squares / (2 * (0.7 * f) ** 2)) for f in (0.25, 0.5, 1, 2, 4)], 0)
    assert mean_kernel(a, b, 0.7) == pytest.approx(expected)


def test_thresholds_are_the_best_of_all_cuts() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        scores = rng.integers(0, 12, 40).astype(float)
        is_member = rng.random(40) < 0.3 + 0.04 * scores
        cuts = [*np.unique(scores), np.inf]

        def rates(cut: float) -> tuple[float, float]:
            called = scores >= cut  # noqa: B023
            return called[is_member].mean(), called[~is_member].mean()  # noqa: B023

        def accuracy(cut: float) -> float:
            return ((scores >= cut) == is_member).mean()  # noqa: B023

        found = rates(best_threshold(scores, is_member))
        assert found[0] - found[1] == pytest.approx(max(t - f for t, f in map(rates, cuts)))
        found_accuracy = accuracy(best_threshold(scores, is_member, balanced=False))
        assert found_accuracy == pytest.approx(max(map(accuracy, cuts)))

        def lower(cut: float) -> float:
            tpr, fpr = rates(cut)
            n = (scores >= cut).sum()  # noqa: B023
            if fpr > 0.2 or tpr == 0:
                return -1.0
            p, z = tpr / (tpr + fpr), norm.ppf(0.975)
            root = np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
            return (p + z**2 / (2 * n) - z * root) / (1 + z**2 / n)

        cut = precise_threshold(scores, is_member, 0.2)
        assert lower(cut) == pytest.approx(max(map(lower, cuts)), abs=1e-6)


def test_class_thresholds_and_their_fallback() -> None:
    scores = np.array([0.1, 0.9, 0.3, 0.5, 0.7, 0.8])
    labels = np.array([0, 0, 1, 1, 2, 2])
    is_member = np.array([False, True, False, True, True, True])
    found = class_thresholds(scores, labels, is_member, 4)
    overall = best_threshold(scores, is_member)
    assert found == pytest.approx([0.9, 0.5, overall, overall])


def test_modified_entropy_by_hand() -> None:
    p = np.array([0.7, 0.2, 0.1])
    found = modified_entropy(Outputs(np.log(p)[None], np.array([1])))
    expected = -0.8 * np.log(0.2) - 0.7 * np.log(0.3) - 0.1 * np.log(0.9)
    assert found == pytest.approx([expected])
    certain = modified_entropy(Outputs(np.array([[60.0, 0, 0]] * 2), np.array([0, 1])))
    assert certain[1] > 50
    # Of rows [a, 0, 0], exactly: p_y = 1 - 2q with q = 1 / (e^a + 2).
    for a in (5.0, 20.0, 40.0):
        q = 1 / (np.exp(a) + 2)
        [found] = modified_entropy(Outputs(np.array([[a, 0.0, 0.0]]), np.array([0])))
        assert found == pytest.approx(-2 * q * np.log1p(-2 * q) - 2 * q * np.log1p(-q), rel=1e-6)


def test_class_metrics_by_hand() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    given = Outputs(np.log(p), np.array([0, 2]))
    shadow = Outputs(np.log(p[[0, 1, 1]]), np.array([0, 2, 2]))
    knowledge = Knowledge(shadows=(Labelled(shadow, np.array([True, True, False])),))
    for kind, metric in (
        (ClassConfidence, [np.log(0.7 / 0.3), 0.0]),
        (ClassEntropy, -np.log(-(p * np.log(p)).sum(axis=1))),
    ):
        # Of equal scores none tells members from nonmembers, so that nobody is called one.
        fitted = kind().fit(knowledge)
        thresholds = [fitted.thresholds_[0], np.nextafter(metric[1], np.inf)]
        assert fitted.infer(given).scores == pytest.approx(np.subtract(metric, thresholds))
        assert fitted.infer(given).scores[1] < 0


def test_risk_score_by_counting() -> None:
    shadow, target = outputs(0, 300), outputs(1, 50)
    is_member = np.random.default_rng(2).random(300) < 0.5
    attack = RiskScore().fit(Knowledge(shadows=(Labelled(shadow, is_member),)))
    found = attack.infer(target).scores
    entropy = np.log10(np.maximum(modified_entropy(shadow), 1e-10))
    wanted = np.log10(np.maximum(modified_entropy(target), 1e-10))
    for i in range(50):
        own = shadow.labels == target.labels[i]
        edges = np.linspace(entropy[own].min(), entropy[own].max(), 6)
        place = np.clip(np.searchsorted(edges, wanted[i], side="right") - 1, 0, 4)
        bins = np.clip(np.searchsorted(edges, entropy[own], side="right") - 1, 0, 4)
        a = (bins[is_member[own]] == place).mean()
        b = (bins[~is_member[own]] == place).mean()
        assert found[i] == pytest.approx(a / (a + b) if a + b else 0.5)


@pytest.mark.parametrize("of", ["confidence", "logit", "loss"])
def test_calibrated_score_is_its_formula(of: str) -> None:
    target = outputs(3)
    assert target.reference_logits is not None and target.reference_in is not None

    def score(logits: np.ndarray, label: int) -> float:
        p = softmax(logits)[label]
        return {"confidence": p, "logit": np.log(p / (1 - p)), "loss": np.log(p)}[of]

    expected = []
    for i, label in enumerate(target.labels):
        out = [
            score(target.reference_logits[k, i], label)
            for k in range(8)
            if not target.reference_in[k, i]
        ]
        expected.append(score(target.logits[i], label) - np.mean(out))
    found = CalibratedScore(of=of).infer(target)  # type: ignore[arg-type]
    assert found.scores == pytest.approx(expected)


def binary(confidence: np.ndarray) -> np.ndarray:
    """Return two-class logits whose scaled logit of class 1 is given."""
    return np.stack([np.zeros_like(confidence), confidence], axis=-1)


def test_lira_against_closed_form_gaussians() -> None:
    rng = np.random.default_rng(0)
    n, half = 30, 32
    mean_in, mean_out = rng.normal(3, 1, n), rng.normal(0, 1, n)
    # Standardised columns, so that mean and deviation are known exactly.
    draws = rng.normal(size=(2, half, n))
    draws = (draws - draws.mean(1, keepdims=True)) / draws.std(1, keepdims=True)
    deviation = rng.uniform(0.5, 2, n)
    references = np.concatenate([mean_in + deviation * draws[0], mean_out + 0.7 * draws[1]])
    trained_on = np.repeat([True, False], half)[:, None] & np.ones(n, dtype=bool)
    own = rng.normal(1.5, 2, n)
    target = Outputs(binary(own), np.ones(n, dtype=int), binary(references), trained_on)
    expected = norm.logpdf(own, mean_in, deviation) - norm.logpdf(own, mean_out, 0.7)
    assert OnlineLiRA(pooled=0.0).infer(target).scores == pytest.approx(expected, rel=1e-6)
    found = OfflineLiRA(pooled=0.0).infer(target).scores
    assert found == pytest.approx((own - mean_out) / 0.7, rel=1e-6)


def test_lira_threshold_comes_from_the_references_alone() -> None:
    target = outputs(5)
    assert target.reference_logits is not None
    other = Outputs(
        target.logits[::-1] * 2, target.labels, target.reference_logits, target.reference_in
    )
    attack = OnlineLiRA()
    assert attack.infer(target).threshold == attack.infer(other).threshold


def test_too_few_references_are_refused() -> None:
    with pytest.raises(MIBenchError, match="three reference models"):
        OnlineLiRA().infer(outputs(0, references=4))


def test_references_that_saw_none_of_the_samples() -> None:
    target = outputs(6, 200, references=16)
    out_only = replace(target, reference_in=np.zeros((16, 200), dtype=bool))
    for kind in (OfflineLiRA, CalibratedScore):
        found = kind().infer(out_only)
        assert target.reference_logits is not None
        stand_ins = [
            kind().infer(
                Outputs(
                    target.reference_logits[k],
                    target.labels,
                    np.delete(target.reference_logits, k, 0),
                    np.zeros((15, 200), dtype=bool),
                )
            )
            for k in range(16)
        ]
        reached = np.mean([s.scores >= found.threshold for s in stand_ins])
        assert reached == pytest.approx(0.1, abs=1e-3)
    # Never more than that, even where many scores are equal.
    assert rate_threshold(np.array([1.0, 1, 1, 0, 0, 0, 0, 0, 0, 0]), 0.2) > 1
    assert 0 < rate_threshold(np.array([1.0, 1, 1, 0, 0, 0, 0, 0, 0, 0]), 0.3) <= 1
    with pytest.raises(MIBenchError, match="three with it"):
        OnlineLiRA().infer(out_only)


def likelihood(logits: np.ndarray, label: int, temperature: float, kind: str) -> float:
    """The softmax, or the soft-margin Taylor softmax of margin 0.6 and order 4."""
    scaled = logits / temperature
    if kind == "softmax":
        return float(softmax(scaled)[label])
    scaled = scaled.copy()
    scaled[label] -= 0.6
    terms = sum(scaled**i / factorial(i) for i in range(5))
    return float(terms[label] / terms.sum())


@pytest.mark.parametrize("kind", ["softmax", "taylor"])
@pytest.mark.parametrize(("gamma", "temperature"), [(1.0, 1.0), (2.0, 2.0)])
def test_rmia_is_its_definition(kind: str, gamma: float, temperature: float) -> None:
    target, population = outputs(7), outputs(8, 25)
    population = replace(population, reference_in=np.zeros((8, 25), dtype=bool))
    given = {"gamma": gamma, "temperature": temperature, "likelihood": kind}
    known = Knowledge(auxiliary=population)
    found = {
        None: RMIA(**given).fit(known).infer(target).scores,
        0.3: OfflineRMIA(a=0.3, **given).fit(known).infer(target).scores,
    }
    assert target.reference_logits is not None and target.reference_in is not None
    assert population.reference_logits is not None

    def p(logits: np.ndarray, label: int) -> float:
        return likelihood(logits, label, temperature, kind)

    for i, a in product((0, 11, 39), found):
        label = target.labels[i]
        refs = np.array([p(r, label) for r in target.reference_logits[:, i]])
        inside = target.reference_in[:, i]

        def prior(out: np.ndarray, both: float) -> float:
            return both if a is None else ((1 + a) * out.mean() + 1 - a) / 2  # noqa: B023

        ratio = p(target.logits[i], label) / prior(
            refs[~inside], (refs[inside].mean() + refs[~inside].mean()) / 2
        )
        wins = 0
        for z in range(25):
            label_z = population.labels[z]
            refs_z = np.array([p(r, label_z) for r in population.reference_logits[:, z]])
            own_z = p(population.logits[z], label_z) / prior(refs_z, refs_z.mean())
            wins += ratio / own_z >= gamma
        assert found[a][i] == pytest.approx(wins / 25)


def test_rmia_in_its_gaussian_limit() -> None:
    """p_x / E[p_x] with log p ~ N(m, s): the share of z below is Phi of the standardised log."""
    rng = np.random.default_rng(0)
    z = np.exp(rng.normal(-2, 0.4, 20_000))
    own = np.exp(np.array([-2.8, -2.0, -1.4]))
    priors = np.full((2, 3), np.exp(-2))
    mask = np.array([[True] * 3, [False] * 3])
    for gamma in (1.0, 2.0):
        attack = RMIA(gamma=gamma)
        unseen = Others(np.full((2, 20_000), np.exp(-2)), np.zeros((2, 20_000), dtype=bool))
        attack.population_ = {False: (z, unseen)}
        expected = norm.cdf(np.array([-2, 0, 1.5]) - np.log(gamma) / 0.4)
        assert attack.score(own, Others(priors, mask)) == pytest.approx(expected, abs=0.01)


def test_offline_rmia_takes_the_a_that_stand_ins_are_best_attacked_with() -> None:
    rng = np.random.default_rng(0)
    n, models = 300, 8
    mean, trained_on = rng.normal(0, 2, n), np.argsort(rng.random((models, n)), axis=0) < 4
    values = rng.normal(mean + 1.5 * trained_on, 1)
    own = rng.normal(mean + 1.5 * (rng.random(n) < 0.5), 1)
    ones = np.ones(n, dtype=int)
    target = Outputs(binary(own), ones, binary(values), trained_on)
    drawn = rng.normal(rng.normal(0, 2, 200), 1, (models + 1, 200))
    nowhere = np.zeros((models, 200), dtype=bool)
    population = Outputs(binary(drawn[0]), ones[:200], binary(drawn[1:]), nowhere)
    attack = OfflineRMIA().fit(Knowledge(auxiliary=population))
    found = attack.infer(target)
    areas = []
    for a in np.arange(11) / 10:
        scores = []
        for k in range(models):
            others = np.arange(models) != k
            alone = Outputs(binary(values[k]), ones, binary(values[others]), trained_on[others])
            known = Outputs(
                binary(drawn[1 + k]), ones[:200], binary(drawn[1:][others]), nowhere[others]
            )
            fitted = OfflineRMIA(a=a).fit(Knowledge(auxiliary=known))
            scores.append(fitted.infer(alone).scores)
        areas.append(auc(np.concatenate(scores), trained_on.ravel()).value)
    assert len(set(areas)) > 3 and attack.a_ == pytest.approx(np.argmax(areas) / 10)
    again = OfflineRMIA(a=attack.a_).fit(Knowledge(auxiliary=population)).infer(target)
    assert (again.scores == found.scores).all() and again.threshold == found.threshold
    unseen = replace(target, reference_in=np.zeros((models, n), dtype=bool))
    attack.infer(unseen)
    assert attack.a_ == 0.3


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_base_is_its_formula_and_orders_as_rmia(temperature: float) -> None:
    target, population = outputs(12, 300), outputs(13, 2000)
    nowhere = np.zeros((8, 2000), dtype=bool)
    known = Knowledge(auxiliary=replace(population, reference_in=nowhere))
    found = BASE(temperature=temperature).infer(target).scores
    assert target.reference_logits is not None
    for i, label in enumerate(target.labels):
        p = softmax(target.logits[i] / temperature)[label]
        others = softmax(target.reference_logits[:, i] / temperature, axis=1)[:, label]
        assert found[i] == pytest.approx(np.log(p / others.mean()))
    shares = RMIA(temperature=temperature).fit(known).infer(target).scores
    assert len(np.unique(shares)) > 100
    assert (np.diff(shares[np.argsort(found)]) >= 0).all()


def test_quantile_attacks_are_their_formulas() -> None:
    target, own = outputs(9), outputs(10, 500)
    fitted = AttackP().fit(Knowledge(auxiliary=own))
    assert fitted.infer(target).threshold == pytest.approx(-np.quantile(own.loss, 0.1))
    assert (own.loss <= -fitted.threshold_).mean() == pytest.approx(0.1, abs=0.01)
    assert target.reference_logits is not None and target.reference_in is not None
    distilled = Outputs(target.logits, target.labels, distilled_logits=target.reference_logits)
    losses = np.stack([loss(r, target.labels) for r in target.reference_logits])
    every = [losses[:, i] for i in range(len(target))]
    out = [losses[~target.reference_in[:, i], i] for i in range(len(target))]
    for seen, asked, columns in ((distilled, AttackD, every), (target, AttackR, out)):
        shares = [(c > own).mean() for c, own in zip(columns, target.loss, strict=True)]
        assert asked(smoothing="share").infer(seen).scores == pytest.approx(shares)
        # Of a Gaussian on log(p / (1 - p)): the loss's false positive rate is 1 - Phi(score).
        scaled = [-np.log(np.expm1(c)) for c in columns]
        ranks = norm.cdf(
            -np.log(np.expm1(target.loss)), [c.mean() for c in scaled], [c.std() for c in scaled]
        )
        found = asked(fpr=0.05).infer(seen)
        assert norm.cdf(found.scores) == pytest.approx(ranks, abs=1e-9)
        assert norm.cdf(found.threshold) == pytest.approx(0.95)
        # Of a linear interpolation: a member at a rate where the loss is at most the quantile.
        for rate in (0.02, 0.1, 0.3, 0.77):
            bounds = [np.quantile(np.append(c, [0, 1000]), rate) for c in columns]
            called = asked(fpr=rate, smoothing="linear").infer(seen)
            clear = np.abs(called.scores - called.threshold) > 1e-9
            agree = (called.scores >= called.threshold) == (target.loss <= bounds)
            assert agree[clear].all() and clear.sum() > 35


def test_merlin_counts_noisy_copies() -> None:
    base = outputs(11, 3)
    raised = base.loss + np.array([[1, -1, 1], [1, -1, -1], [1, 1, -1], [1, -1, -1]])
    copies = {"noisy": Copies(raised, np.zeros((4, 3), dtype=int))}
    found = Merlin().signal(Outputs(base.logits, base.labels, copies=copies))
    assert found == pytest.approx([1, 0.25, 0.25])


def test_morgan_against_every_interval() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        is_member = rng.random(200) < 0.5
        base = outputs(seed, 200)
        logits = base.logits.copy()
        logits[np.arange(200), base.labels] += np.where(is_member, 4.0, 0.0)
        shares = np.where(is_member, rng.binomial(10, 0.8, 200), rng.binomial(10, 0.5, 200)) / 10
        plain = Outputs(logits.round(1 if seed % 2 else 9), base.labels)
        raised = np.where(np.arange(10)[:, None] < shares * 10 - 0.5, np.inf, -np.inf)
        copies = {"noisy": Copies(raised, np.zeros((10, 200), dtype=int))}
        shadow = replace(plain, copies=copies)
        fitted = Morgan().fit(Knowledge(shadows=(Labelled(shadow, is_member),)))
        found = fitted.infer(shadow)
        called = found.scores >= found.threshold

        def sure(called: np.ndarray) -> float:
            tp, fp = (np.array([(called & s).sum()]) for s in (is_member, ~is_member))  # noqa: B023
            return float(sure_ppv(tp, fp, is_member, 0.1)[0])  # noqa: B023

        place = np.array([(plain.loss < own).mean() for own in plain.loss])
        levels = np.arange(21) / 20
        best = max(
            sure((place >= low) & (place <= high) & (shares >= bound))
            for low, high in combinations(levels, 2)
            for bound in np.unique(shares)
        )
        assert best > 0 and sure(called) == pytest.approx(best, abs=1e-9)


def test_a_model_that_tells_nothing_makes_morgan_call_nobody() -> None:
    copies = {"noisy": Copies(np.zeros((5, 40)), np.zeros((5, 40), dtype=int))}
    shadow = Outputs(np.zeros((40, 3)), np.zeros(40, dtype=int), copies=copies)
    is_member = np.arange(40) % 2 == 0
    for kind in (Merlin, Morgan):
        fitted = kind().fit(Knowledge(shadows=(Labelled(shadow, is_member),)))
        found = fitted.infer(shadow)
        assert (found.scores < found.threshold).all(), kind


def test_where_blindmi_without_generated_samples_starts() -> None:
    rng = np.random.default_rng(0)
    target = Outputs(rng.normal(0, 3, (50, 4)), rng.integers(0, 4, 50))
    top, features = softmax(target.logits, axis=1).max(axis=1), blindmi_features(target)
    attack = BlindMIDiffWithout().fit(Knowledge(seed=3))
    order, start = attack.order(features), top < np.sort(top)[25]
    expected = transcribed(features[order], np.zeros((0, 3)), start[order], True)
    found = attack.infer(target)
    assert ((found.scores < found.threshold)[order] == expected).all() and 0 < expected.sum() < 50


def by_round(batch: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The single direction of the authors' code, every MMD computed anew."""
    kept, changed = np.ones(len(batch), dtype=bool), True
    while changed:
        begun, changed = kept.copy(), False
        before = blindmi_mmd(fixed, batch[begun])
        for i in np.flatnonzero(begun):
            rest = begun.copy()
            rest[i] = False
            if rest.any() and blindmi_mmd(np.vstack([fixed, batch[i]]), batch[rest]) > before:
                kept[i], changed = False, True
    return ~kept


@pytest.mark.parametrize("seed", range(4))
def test_blindmi_in_one_direction_moves_by_round(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = Outputs(rng.normal(0, 3, (70, 5)), rng.integers(0, 5, 70))
    features = -np.sort(-softmax(target.logits, axis=1), axis=1)[:, :3]
    attack = BlindMIDiffWithoutSingle(nonmembers=12, batch=40).fit(Knowledge(seed=seed))
    found = attack.infer(target)
    fixed, order = features[np.argsort(features[:, 0])[:12]], attack.order(features)
    for batch in (order[:35], order[35:]):
        expected = by_round(features[batch], fixed)
        assert ((found.scores < 0)[batch] == expected).all() and 0 < expected.sum() < 35
        stay = batch[~expected]
        for place in (stay[0], stay[-1]):
            rest = features[stay[stay != place]]
            gain = blindmi_mmd(fixed, features[stay]) - blindmi_mmd(
                np.vstack([fixed, features[place]]), rest
            )
            assert found.scores[place] == pytest.approx(abs(gain), abs=1e-10)
        for place in batch[expected][:3]:
            gain = blindmi_mmd(fixed, features[np.append(stay, place)]) - blindmi_mmd(
                np.vstack([fixed, features[place]]), features[stay]
            )
            assert found.scores[place] == pytest.approx(-abs(gain), abs=1e-10)
    # Of few samples at most half are the nonmembers.
    few = target.take(np.arange(10))
    least = BlindMIDiffWithoutSingle().fit(Knowledge()).infer(few)
    own = features[:10]
    assert ((least.scores < 0) == by_round(own, own[np.argsort(own[:, 0])[:5]])).all()


def test_blindmi_with_generated_samples_compares_batches_of_20() -> None:
    target, generated = outputs(0, 50), outputs(1, 300)
    attack = BlindMIDiffWith().fit(Knowledge(seed=7, generated=generated))
    found = attack.infer(target)
    again = np.random.default_rng(7).permutation(300)[:20]
    drawn, features = blindmi_features(generated)[again], blindmi_features(target)
    order = attack.order(features)
    assert sorted(order) == list(range(50)) and (np.diff(order) < 0).any()
    for batch in (order[:17], order[17:34], order[34:]):
        expected = transcribed(features[batch], drawn, np.zeros(len(batch), bool), False)
        assert ((found.scores < found.threshold)[batch] == expected).all()


def test_blindmi_without_generated_samples_compares_batches_with_their_less_confident_part() -> (
    None
):
    target = outputs(0, 50)
    attack = BlindMIDiffWithout(share=0.25, batch=25).fit(Knowledge(seed=7))
    found, features = attack.infer(target), blindmi_features(target)
    order = attack.order(features)
    for batch in (order[:25], order[25:]):
        in_g = np.isin(np.arange(25), np.argsort(features[batch, 1])[:6])
        expected = transcribed(features[batch], features[:0], in_g, True)
        assert ((found.scores < found.threshold)[batch] == expected).all()


def test_one_class_svm_takes_in_what_is_surer_than_the_generated() -> None:
    generated, target = outputs(0, 400), outputs(1, 100)
    sure = np.zeros((100, 4))
    sure[np.arange(100), target.labels] = 30.0
    both = Outputs(np.concatenate([target.logits, sure]), np.tile(target.labels, 2))
    attack = BlindMIOneClass().fit(Knowledge(generated=generated))
    found = attack.infer(both)
    called = found.scores >= found.threshold
    # nu = 0.9 leaves about nine tenths of what is like the generated outside.
    assert called[:100].mean() == pytest.approx(0.1, abs=0.1) and called[100:].all()
    points = -np.sort(-softmax(generated.logits, axis=1), axis=1)[:, :3]
    # The decision function is a kernel sum over the support vectors, less an offset.
    svm = OneClassSVM(nu=0.9, kernel="sigmoid", gamma="scale").fit(points)
    kernel = np.tanh(points @ svm.support_vectors_.T / (3 * points.var()))
    expected = kernel @ svm.dual_coef_[0] + svm.intercept_[0]
    assert attack.infer(generated).scores == pytest.approx(expected)


@pytest.mark.parametrize(("shape", "near"), [((1,), 1), ((1, 4, 4), 2)])
def test_quantile_regression_passes_a_tenth_of_nonmembers_everywhere(
    shape: tuple[int, ...], near: int
) -> None:
    """The threshold follows the sample: here the confidence grows with an input, or brightness."""
    rng = np.random.default_rng(0)

    def drawn(n: int) -> Outputs:
        x = rng.random(n)
        confidence = 10 * x + rng.normal(0, 1 + x)
        inputs = np.broadcast_to(x.reshape(-1, *(1 for _ in shape)), (n, *shape))
        return Outputs(binary(confidence), np.ones(n, dtype=int), inputs=inputs)

    own, target = drawn(5000), drawn(5000)
    assert target.inputs is not None
    x, confidence = target.inputs.reshape(5000, -1)[:, 0], target.logits[:, 1]
    quantile = 10 * x + (1 + x) * norm.ppf(0.9)
    fitted = QuantileRegression(form="quantile").fit(Knowledge(auxiliary=own))
    found = fitted.infer(target)
    assert np.abs(found.scores - (confidence - quantile)).mean() < 0.3 * near
    gaussian = QuantileRegression().fit(Knowledge(auxiliary=own))
    standardised = (confidence - 10 * x) / (1 + x)
    assert np.abs(gaussian.infer(target).scores - standardised).mean() < 0.2 * near
    answers = [found]
    for fpr in (0.1, 0.02):
        # Any rate from one fit: the threshold alone moves.
        gaussian.fpr = fpr
        answers.append(gaussian.infer(target))
    for answer, fpr in zip(answers, (0.1, 0.1, 0.02), strict=True):
        for low in (0.0, 0.25, 0.5, 0.75):
            part = (low <= x) & (x < low + 0.25)
            reached = (answer.scores[part] >= answer.threshold).mean()
            assert reached == pytest.approx(fpr, abs=0.03 * near)


LEARNT_FROM_SHADOWS = [n for n, kind in ATTACKS.items() if issubclass(kind, ShadowAttack)]


@pytest.mark.parametrize("name", LEARNT_FROM_SHADOWS)
def test_a_wanted_fpr_is_kept_on_the_shadows_and_no_more_than_it_must(name: str) -> None:
    world = Simulated(ATTACKS[name].needs)
    known, target = world.knowledge(), world.target(np.arange(100) % 2 == 0).outputs
    plain = attacks.named(name).fit(known)
    wanted = attacks.named(f"{name}[fpr=0.05]").fit(known)
    assert isinstance(plain, ShadowAttack) and isinstance(wanted, ShadowAttack)
    scores = plain.known(known)[~known.shadow.is_member]
    passed = [(scores >= cut).sum() for cut in [*scores, np.inf]]
    most = max(count for count in passed if count <= 0.05 * len(scores))
    assert (scores >= wanted.threshold_).sum() == most
    assert (wanted.infer(target).scores == plain.infer(target).scores).all()


def test_a_wanted_fpr_of_a_shadow_is_that_of_a_target_alike() -> None:
    """Logits log(p / (1 - p)) of nonmembers are N(0, 1), so that a tenth exceeds Phi^-1(0.9)."""
    rng, ones = np.random.default_rng(0), np.ones(40_000, dtype=int)
    is_member = np.arange(40_000) % 2 == 0
    drawn = rng.normal(2.0 * is_member, 1)
    shadow = Labelled(Outputs(binary(drawn), ones), is_member)
    found = LossThreshold(fpr=0.1).fit(Knowledge(shadows=(shadow,)))
    assert found.threshold_ == pytest.approx(-np.log1p(np.exp(-norm.ppf(0.9))), abs=0.01)


def test_what_is_lacking_is_named() -> None:
    for kind in ATTACKS.values():
        if not kind.needs:
            continue
        with pytest.raises(MIBenchError, match=r"needs|without"):
            kind().fit(Knowledge()).infer(Outputs(np.zeros((4, 3)), np.zeros(4, dtype=int)))


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_passes_what_anybodys_must(name: str) -> None:
    assert check(ATTACKS[name]) == []


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_works_on_a_model_that_memorises(location30: Study, name: str) -> None:
    result = location30.attack(name, "ES10")
    assert result.metrics["auc"].low > 0.5, result.metrics["auc"]
    # However the study came by it, scored once or not, it is what the attack says of these samples.
    seen = location30.signals.outputs(result.target.samples, result.attack.needs)
    alone = location30.fitted(result.attack).infer(seen)
    assert result.inference.scores == pytest.approx(alone.scores, rel=1e-9, abs=1e-9)
    assert result.inference.threshold == pytest.approx(alone.threshold, rel=1e-12)


@pytest.fixture(scope="module")
def posing(location30: Study) -> list[TargetDataset]:
    """Target datasets of nonmembers, half of which pose as members, of both constructions."""
    nonmembers = location30.signals.roles["nonmembers"]
    outputs = location30.signals.outputs(nonmembers)
    scenario = scenarios.find("ES10", "Location30")
    rng, found = np.random.default_rng(0), []
    dataset = location30.dataset
    dataset = replace(dataset, sizes=replace(dataset.sizes, pairs=60))
    for seed in range(20):
        side = Labelled(outputs, rng.permutation(len(nonmembers)) < len(nonmembers) // 2)
        generated = location30.signals.generated()
        candidates = Candidates(side, generated, np.arange(len(nonmembers)))
        setting = Setting(construction=("groups", "pairs")[seed % 2])
        posed = pool(candidates, dataset, setting, Streams(seed=seed))
        with suppress(ScenarioInfeasible):  # half a pool does not reach every level
            found.append(posed.construct(scenario))
        if len(found) == 12:
            break
    made = [target.construction for target in found]
    assert min(made.count("groups"), made.count("pairs")) >= 3, made
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_tells_nonmembers_from_nonmembers(
    location30: Study, posing: list[TargetDataset], name: str
) -> None:
    """Nonmembers posing as members, from the construction on: a 95% interval misses 0.5 seldom.

    Of at most 12 random halves 3 may miss, which a leak of membership would far exceed (by chance
    4 or more happen with probability 0.002).
    """
    attack = attacks.named(name)
    seen = location30.signals.outputs(location30.signals.roles["nonmembers"], attack.needs)
    fitted = location30.fitted(attack)
    missed = 0
    for target in posing:
        area = auc(fitted.infer(seen.take(target.samples)).scores, target.is_member)
        missed += not area.low <= 0.5 <= area.high
    assert missed <= 3


@pytest.mark.parametrize("name", ATTACKS)
def test_another_truth_changes_no_attack(
    location30: Study, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the target dataset to scores and threshold, with the truth of T shuffled or not."""
    target = location30.construct("ES10")
    shuffled = np.random.default_rng(0).permutation(target.is_member)
    assert (shuffled != target.is_member).any()
    told = location30.attack(name, "ES10")
    other = replace(target, is_member=shuffled)
    monkeypatch.setattr(location30, "construct", lambda scenario: other)
    monkeypatch.setattr(location30, "scores", Store(tmp_path))
    location30._fitted.clear()
    location30._scored.clear()
    untold = location30.attack(name, "ES10")
    assert (untold.is_member == shuffled).all()
    assert (untold.inference.scores == told.inference.scores).all()
    assert untold.inference.threshold == told.inference.threshold


def test_every_attack_has_its_row_in_the_docs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "attacks.md").read_text(encoding="utf-8")
    table = page.split("## All attacks in a table")[1].split("\n## ")[0]
    rows = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            assert len(cells) == 7, line
            rows[cells[0].strip("`")] = cells
    listed = json.loads(CliRunner().invoke(main, ["attacks", "--json"]).stdout)
    # Other tests' plugins are no part of the page.
    shipped = {n for n, kind in ATTACKS.items() if kind.__module__.startswith("mibench.attacks.")}
    listed = [item for item in listed if item["name"] in shipped]
    assert {item["name"] for item in listed} == rows.keys() == shipped
    for item in listed:
        _, _, _, needs, queries, models, source = rows[item["name"]]
        assert set(needs.split(", ")) == set(item["needs"] or ["nothing"])
        trained = sum(16 if part == "K" else int(part) for part in models.split("+"))
        assert (int(queries), trained) == (item["queries"], item["models"])
        assert item["source"] in source or item["source"].split(";")[0] in source


def test_an_attack_receives_nothing_that_tells_membership(location30: Study) -> None:
    target = location30.construct("ES10")
    attack = attacks.named("rmia")
    seen = location30.signals.outputs(target.samples, attack.needs)
    assert not any("member" in name for name in vars(seen))
    assert isinstance(location30.fitted(attack).infer(seen), Inference)
    # Nor does the order of the samples: members are spread evenly over it.
    place = np.flatnonzero(target.is_member).mean() / len(target.samples)
    assert place == pytest.approx(0.5, abs=0.05)
