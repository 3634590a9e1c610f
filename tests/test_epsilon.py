"""Lower bounds on epsilon: published numbers, closed forms, and mechanisms of known epsilon."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta, binom

from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, IntArray
from mibench.study import epsilon

Mechanism = Callable[[np.random.Generator, int, float], tuple[FloatArray, BoolArray]]


def responded(rng: np.random.Generator, n: int, true: float) -> tuple[FloatArray, BoolArray]:
    """Return randomised response on the membership bit, and the bit."""
    is_member = rng.random(n) < 0.5
    lies = rng.random(n) < 1 / (1 + np.exp(true))
    return (is_member ^ lies).astype(float), is_member


def noisy(rng: np.random.Generator, n: int, true: float) -> tuple[FloatArray, BoolArray]:
    """Return the Laplace mechanism on the membership bit, and the bit."""
    is_member = rng.random(n) < 0.5
    return is_member + rng.laplace(scale=1 / true, size=n), is_member


def test_one_run_bounds_are_those_printed_in_the_paper() -> None:
    # Steinke et al. 2023, Appendix D and section 7; the second is printed cut, not rounded.
    assert epsilon.of_guesses(75, 100, 1000, 1e-4) == pytest.approx(0.673, abs=1e-3)
    assert epsilon.of_guesses(1439, 1510, 100_000, 1e-5) == pytest.approx(2.675, abs=1e-3)


def test_closed_forms() -> None:
    # All of n right: limits are roots of the chance left over.
    assert epsilon.of_guesses(20, 20, 50) == pytest.approx(-np.log(0.05 ** (-1 / 20) - 1))
    side = 0.025 ** (1 / 30)
    assert epsilon.of_rates(30, 0, 30, 30, 0.01) == pytest.approx(
        np.log((side - 0.01) / (1 - side))
    )
    # Answers for nonmembers alone count as much: nearly all false negatives are excluded.
    assert epsilon.of_rates(30, 20, 30, 30) == pytest.approx(
        np.log((1 - binom_high(20, 30)) / (1 - side))
    )
    for nothing in ((0, 0, 30, 30), (30, 30, 30, 30), (10, 20, 30, 30), (0, 0, 0, 0)):
        assert epsilon.of_rates(*nothing) == 0
    assert epsilon.of_guesses(0, 0, 10, 1e-5) == epsilon.of_guesses(5, 10, 10, 1e-5) == 0


def binom_high(found: int, n: int) -> float:
    """Return Clopper and Pearson's upper limit by bisection of the binomial tail."""
    low, high = found / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if binom.cdf(found, n, middle) > 0.025 else (low, middle)
    return low


@pytest.mark.parametrize("true", [0.1, 1.0, 3.0])
def test_of_all_outcomes_at_most_5_percent_bound_too_high(true: float) -> None:
    share = 1 / (1 + np.exp(-true))
    v, r = np.arange(201), 200
    high = np.array([epsilon.of_guesses(int(right), r, r) for right in v]) > true
    assert 0.02 < binom.pmf(v, r, share)[high].sum() <= 0.05
    # TPR and FPR of 60 members and 40 nonmembers.
    chance = np.outer(binom.pmf(np.arange(61), 60, share), binom.pmf(np.arange(41), 40, 1 - share))
    tp, fp = np.indices(chance.shape)
    assert chance[epsilon.of_rates(tp, fp, 60, 40) > true].sum() <= 0.05


@pytest.mark.parametrize("mechanism", [responded, noisy])
def test_bounds_hold_and_are_not_vacuous(mechanism: Mechanism) -> None:
    rng, true, repeats = np.random.default_rng(0), 1.0, 500
    drawn = [mechanism(rng, 400, true) for _ in range(repeats)]
    found = np.array([epsilon.bounds(*d, 0, seed=i) for i, d in enumerate(drawn)])
    assert ((found > true).mean(axis=0) <= 0.05).all()
    if mechanism is responded:
        large = [epsilon.bounds(*mechanism(rng, 4000, true), 0, seed=i) for i in range(50)]
        assert (np.median(large, axis=0) >= true / 2).all()
    else:
        # The test can fail: with the guesses chosen where they are judged it would.
        wrong = 0
        for scores, is_member in drawn[:200]:
            sure = np.argsort(-np.abs(scores - 0.5))
            right = ((scores > 0.5) == is_member)[sure].cumsum()
            count = np.arange(1, 401)
            wrong += log_odds(right, count).max() > true
        assert wrong > 0.1 * 200


def log_odds(right: IntArray, guesses: IntArray) -> FloatArray:
    """Return the log odds of Clopper and Pearson's lower limits."""
    limit = np.maximum(1e-9, beta.ppf(0.05, right, guesses - right + 1))
    return np.asarray(np.log(limit / (1 - limit)), dtype=float)


def test_delta_is_taken_off() -> None:
    # Private but for 20 of 1,000 samples, which are told: epsilon 0, delta .02.
    assert epsilon.of_guesses(20, 20, 1000) > 1.5
    assert epsilon.of_guesses(20, 20, 1000, 0.02) == 0
    assert 0 < epsilon.of_guesses(20, 20, 1000, 1e-5) < epsilon.of_guesses(20, 20, 1000)


def test_a_table_of_answers() -> None:
    rng = np.random.default_rng(1)
    parts = [
        pd.DataFrame({"score": scores, "is_member": truth}).assign(
            dataset="digits", scenario="ES01", attack=name, seed=seed
        )
        for (name, leak), seed in product({"gap": 3.0, "rmia": 0.01}.items(), (0, 1))
        for scores, truth in [responded(rng, 2000, leak)]
    ]
    table = epsilon.table(pd.concat(parts), delta=1e-6)
    assert len(table) == 4
    least, most = (
        table.groupby("attack")[["rates", "one_run"]].agg(side) for side in ("min", "max")
    )
    assert (least.loc["gap"] > 2).all() and (most.loc["rmia"] < 0.1).all()
    with pytest.raises(MIBenchError, match="confidence 2"):
        epsilon.table(pd.concat(parts), confidence=2)
