"""Metrics against scikit-learn, brute force and simulation."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from mibench.attacks import Inference
from mibench.errors import MIBenchError
from mibench.study.metrics import (
    LOW_FPRS,
    METRICS,
    answered,
    as_columns,
    auc,
    difference,
    evaluate,
    roc,
)
from mibench.study.metrics import proportion as wilson


def drawn(seed: int, ties: bool, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    is_member = rng.random(n) < rng.uniform(0.2, 0.8)
    scores = rng.normal(is_member * rng.uniform(0, 2), 1)
    return (np.round(scores) if ties else scores), is_member


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_are_scikit_learns(ties: bool) -> None:
    for seed in range(20):
        scores, truth = drawn(seed, ties)
        found = evaluate(Inference(scores, 0.5 if ties else 0.7), truth)
        called = scores >= (0.5 if ties else 0.7)
        recall, fpr = recall_score(truth, called), 1 - recall_score(~truth, ~called)
        expected = {
            "precision": precision_score(truth, called),
            "recall": recall,
            "f1": f1_score(truth, called),
            "fpr": fpr,
            "fnr": 1 - recall,
            "ma": recall - fpr,
            "accuracy": accuracy_score(truth, called),
            "auc": roc_auc_score(truth, scores),
        }
        assert {m: found[m].value for m in expected} == pytest.approx(expected)
        assert tuple(found) == METRICS
        for estimate in found.values():
            assert estimate.low <= estimate.value <= estimate.high
        wanted = roc_curve(truth, scores, drop_intermediate=False)
        for ours, theirs in zip(roc(scores, truth), wanted, strict=True):
            assert ours == pytest.approx(theirs)


@pytest.mark.parametrize("ties", [False, True])
def test_threshold_free_metrics_are_brute_force(ties: bool) -> None:
    for seed in range(10):
        scores, truth = drawn(seed, ties, 400)
        found = evaluate(Inference(scores, 0.0), truth)
        cuts = [np.inf, *np.unique(scores)]
        rates = [((scores >= c)[truth].mean(), (scores >= c)[~truth].mean()) for c in cuts]
        for name, bound in LOW_FPRS.items():
            assert found[name].value == max(t for t, f in rates if f <= bound)
        cut = found["max_ma_threshold"].value
        reached = (scores >= cut)[truth].mean() - (scores >= cut)[~truth].mean()
        assert reached == pytest.approx(max(t - f for t, f in rates))


def test_a_false_positive_rate_at_its_bound_counts() -> None:
    """Of 300 nonmembers three are above half the members: FPR is exactly 1%."""
    scores = np.r_[np.full(150, 2.0), np.full(150, 0.0), np.full(3, 2.0), np.full(297, -1.0)]
    found = evaluate(Inference(scores, 1.0), np.arange(600) < 300)
    assert found["tpr_at_fpr_1"].value == 1.0 - 0.5 * (found["fpr"].value > 0.01)
    assert found["tpr_at_fpr_0.1"].value == 0


@pytest.mark.parametrize("ratio", [0, 0.02, 0.1, 0.45, 0.49, 0.5, 0.999])
@pytest.mark.parametrize("n", [7, 160, 600])
def test_the_least_certain_are_withheld(ratio: float, n: int) -> None:
    scores, _ = drawn(n, False, n)
    keep = answered(Inference(scores, 0.3), ratio, seed=1)
    exact = math.ceil(round(1000 * ratio) * n / 1000)
    assert (~keep).sum() == exact
    doubt = np.abs(scores - 0.3)
    assert set(np.flatnonzero(~keep)) == set(np.argsort(doubt)[:exact])


def test_withheld_ties_are_broken_by_the_seed() -> None:
    inference = Inference(np.zeros(100), 0.5)
    masks = [answered(inference, 0.3, seed) for seed in (0, 0, 1)]
    assert (masks[0] == masks[1]).all() and (masks[0] != masks[2]).any()
    assert [(~m).sum() for m in masks] == [30, 30, 30]
    counts = sum((~answered(inference, 0.3, seed)).astype(int) for seed in range(200))
    # Every place is withheld about as often, 60 of 200 times (deviation 6.5).
    assert counts.min() > 30 and counts.max() < 90


def test_metrics_of_the_answered_only() -> None:
    scores, truth = drawn(5, False)
    inference = Inference(scores, 0.2)
    found = evaluate(inference, truth, 0.4, seed=3)
    keep = np.argsort(np.abs(scores - 0.2))[80:]
    called = scores >= 0.2
    assert found["precision"].value == precision_score(truth[keep], called[keep])
    assert found["accuracy"].value == accuracy_score(truth[keep], called[keep])
    everything = evaluate(inference, truth, 0, seed=3)
    for name in ("auc", *LOW_FPRS, "max_ma_threshold"):
        assert found[name] == everything[name]


def test_infinite_scores_and_thresholds() -> None:
    scores = np.array([np.inf, 3, 1, -np.inf, -np.inf, 2, np.inf, 0])
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
    found = evaluate(Inference(scores, 1.5), truth)
    finite = np.clip(scores, -99, 99)
    assert found["auc"].value == roc_auc_score(truth, finite)
    assert all(not math.isnan(e.low) and not math.isnan(e.high) for e in found.values())
    assert found["ma"] == evaluate(Inference(finite, 1.5), truth)["ma"]
    # A score at its threshold, though both be infinite, is the least certain.
    keep = answered(Inference(scores, -np.inf), 0.25, seed=0)
    assert np.flatnonzero(~keep).tolist() == [3, 4]


def test_no_positive_predictions() -> None:
    truth = np.arange(10) < 5
    found = evaluate(Inference(np.arange(10.0), 99), truth)
    assert math.isnan(found["precision"].value) and math.isnan(found["precision"].low)
    # F1 = 2 TP / (2 TP + FP + FN) still has a denominator.
    assert (found["recall"].value, found["f1"].value, found["fpr"].value) == (0, 0, 0)
    assert found["fnr"].value == 1


def test_no_members_among_the_answered() -> None:
    truth = np.arange(10) < 5
    found = evaluate(Inference(np.where(truth, 0.0, -5.0), 0.1), truth, 0.5)
    for name in ("precision", "recall", "f1", "fnr", "ma"):
        assert math.isnan(found[name].value)
    assert found["fpr"].value == 0 and found["accuracy"].value == 1


def test_everything_withheld() -> None:
    found = evaluate(Inference(np.arange(10.0), 4), np.arange(10) > 4, 1.0)
    for name in ("precision", "recall", "f1", "fpr", "fnr", "ma", "accuracy"):
        assert all(math.isnan(v) for v in vars(found[name]).values())
    assert found["auc"].value == 1


def test_what_cannot_be_judged_is_said() -> None:
    for truth in (np.ones(5, dtype=bool), np.zeros(5, dtype=bool), np.zeros(0, dtype=bool)):
        with pytest.raises(MIBenchError, match="need members and nonmembers"):
            evaluate(Inference(np.zeros(len(truth)), 0), truth)
    with pytest.raises(MIBenchError, match="2 NaN scores"):
        evaluate(Inference(np.array([0, np.nan, np.nan]), 0), np.array([True, False, True]))


def test_wilson_by_hand() -> None:
    """Newcombe 1998, table I: 81 of 263 has 0.2553 to 0.3662; 0 of 20 has 0 to 0.1611."""
    assert vars(wilson(81, 263)) == pytest.approx(
        {"value": 81 / 263, "low": 0.2553, "high": 0.3662}, abs=5e-5
    )
    assert vars(wilson(0, 20)) == pytest.approx({"value": 0, "low": 0, "high": 0.1611}, abs=5e-5)


def test_newcombe_by_hand() -> None:
    """Newcombe 1998b, table II, method 10: 56/70 - 48/80 has 0.0524 to 0.3339."""
    found = difference(wilson(56, 70), wilson(48, 80))
    assert vars(found) == pytest.approx({"value": 0.2, "low": 0.0524, "high": 0.3339}, abs=5e-5)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 2,000 simulated cases 95% should hold the truth; the standard error is 0.5%."""
    rng = np.random.default_rng(0)
    hits = {"wilson": 0, "newcombe": 0, "delong": 0, "f1": 0}
    shift = 1.0
    area = norm.cdf(shift / math.sqrt(2))
    for _ in range(2000):
        # Of many proportions, since at a single one the coverage of counts jumps.
        p, q = rng.uniform(0.1, 0.9, 2)
        f1 = 2 * p / (p + q + 1)
        a, b = wilson(rng.binomial(80, p), 80), wilson(rng.binomial(80, q), 80)
        hits["wilson"] += a.low <= p <= a.high
        gap = difference(a, b)
        hits["newcombe"] += gap.low <= p - q <= gap.high
        scores = np.r_[rng.normal(shift, 1, 60), rng.normal(0, 1, 80)]
        found = auc(scores, np.arange(140) < 60)
        hits["delong"] += found.low <= area <= found.high
        tp, fp = round(a.value * 80), round(b.value * 80)
        jaccard = wilson(tp, 80 + fp)
        hits["f1"] += (
            2 * jaccard.low / (1 + jaccard.low) <= f1 <= (2 * jaccard.high / (1 + jaccard.high))
        )
    shares = {name: count / 2000 for name, count in hits.items()}
    for name in ("wilson", "newcombe", "delong"):
        assert shares[name] == pytest.approx(0.95, abs=0.02), shares
    # Conditional on the number of samples that are members or called so; never too narrow.
    assert shares["f1"] > 0.93, shares


def test_the_bootstrap_covers_too() -> None:
    """TPR at 1% FPR of two Gaussians two deviations apart."""
    rng = np.random.default_rng(1)
    truth = np.arange(1000) < 500
    exact = norm.sf(norm.isf(0.01) - 2)
    hits = 0
    for seed in range(60):
        scores = rng.normal(2.0 * truth, 1)
        found = evaluate(Inference(scores, 1), truth, seed=seed)["tpr_at_fpr_1"]
        hits += found.low <= exact <= found.high
    assert hits >= 50


def test_perfect_and_constant_scores() -> None:
    truth = np.arange(60) < 20
    perfect = auc(truth.astype(float), truth)
    assert perfect.value == perfect.high == 1 and 0.8 < perfect.low < 1
    worst = auc(-truth.astype(float), truth)
    assert worst.value == worst.low == 0
    assert auc(np.zeros(60), truth).value == 0.5


def test_columns() -> None:
    columns = as_columns({"auc": wilson(1, 2)})
    assert list(columns) == ["auc", "auc_low", "auc_high"] and columns["auc"] == 0.5
