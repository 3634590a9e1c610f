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
    METRICS,
    OF_ANSWERS,
    answered,
    as_columns,
    auc,
    difference,
    evaluate,
    max_ma_threshold,
    roc,
    tpr_at_fpr,
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
        assert tuple(found) == tuple(METRICS)
        for estimate in found.values():
            assert estimate.low <= estimate.value <= estimate.high or math.isnan(estimate.value)
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
        for bound in (0.01, 0.02, 0.1, 0.5):
            best = max(t for t, f in rates if f <= bound)
            assert tpr_at_fpr(scores, truth, bound).value == best or (~truth).sum() < 1 / bound
        if (~truth).sum() >= 100:
            assert found["tpr_at_fpr_1"].value == max(t for t, f in rates if f <= 0.01)
        cut = found["max_ma_threshold"].value
        reached = (scores >= cut)[truth].mean() - (scores >= cut)[~truth].mean()
        assert reached == pytest.approx(max(t - f for t, f in rates))


def test_a_false_positive_rate_at_its_bound_counts() -> None:
    """Of 300 nonmembers three are above half the members: FPR is exactly 1%."""
    scores = np.r_[np.full(150, 2.0), np.full(150, 0.0), np.full(3, 2.0), np.full(297, -1.0)]
    found = evaluate(Inference(scores, 1.0), np.arange(600) < 300)
    assert found["tpr_at_fpr_1"].value == 1.0 - 0.5 * (found["fpr"].value > 0.01)
    assert math.isnan(found["tpr_at_fpr_0.1"].value) and METRICS["tpr_at_fpr_0.1"].needed == 1000


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
    for name in METRICS.keys() - {*OF_ANSWERS}:
        assert vars(found[name]) == pytest.approx(vars(everything[name]), nan_ok=True)


def test_infinite_scores_and_thresholds() -> None:
    scores = np.array([np.inf, 3, 1, -np.inf, -np.inf, 2, np.inf, 0])
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
    found = evaluate(Inference(scores, 1.5), truth)
    finite = np.clip(scores, -99, 99)
    assert found["auc"].value == roc_auc_score(truth, finite)
    few = {name for name, e in found.items() if math.isnan(e.low) or math.isnan(e.high)}
    assert few == {name for name, metric in METRICS.items() if metric.needed > 4}
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


@pytest.mark.parametrize("n", [40, 80, 300])
@pytest.mark.parametrize("area", [0.5, 0.7, 0.9, 0.999])
def test_intervals_at_low_fpr_and_of_the_best_threshold_cover(n: int, area: float) -> None:
    """Of 150 simulations of two Gaussians; the long run is in benchmarks/simulations.py."""
    shift = math.sqrt(2) * norm.ppf(area)
    rng = np.random.default_rng([n, round(1000 * area)])
    truth, bound = np.arange(2 * n) < n, 1 / n
    exact = norm.sf(norm.isf(bound) - shift)
    hits = np.zeros(2, dtype=int)
    for _ in range(150):
        scores = rng.normal(shift * truth, 1)
        rate, best = tpr_at_fpr(scores, truth, bound), max_ma_threshold(scores, truth)
        hits += rate.low <= exact <= rate.high, best.low <= shift / 2 <= best.high
    # The standard error of a true coverage of 95% is 1.8%.
    assert (hits >= 0.91 * 150).all(), hits


def test_too_few_nonmembers_have_no_rate() -> None:
    truth = np.arange(199) < 100
    found = evaluate(Inference(np.arange(199.0), 5), truth)
    rates = [name for name, metric in METRICS.items() if metric.fpr]
    assert [METRICS[name].needed for name in rates] == [100, 1000, 10000]
    assert all(math.isnan(v) for name in rates for v in vars(found[name]).values())
    enough = evaluate(Inference(np.arange(200.0), 5), np.arange(200) < 100)["tpr_at_fpr_1"]
    assert enough.value == 0 and enough.low == 0 and 0 < enough.high < 0.2


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
