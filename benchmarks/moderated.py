"""Would variances moderated over all comparisons do for few seeds? python benchmarks/moderated.py

Smyth's (2004) empirical Bayes t-test against the t-test of each comparison alone, both under Holm,
at least the sampling error, and with every seed of one sign, on simulated differences: attacks
that are equal, and one attack that is better by 20 sampling errors. The variance between models is
ten times the sampling variance; in some tables one attack's own is 25 times the others'. Models are
shared by all scenarios. Printed: tables with a false alarm, and the share of true differences
found, by each test. The degrees of freedom are capped by all comparisons (limma), or by the models.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import norm
from scipy.stats import t as t_distribution

from mibench.compare.conflicts import holm
from mibench.outputs import BoolArray, FloatArray

TABLES = {
    "4 attacks, 4 scenarios": (4, 4, 1.0, 500),
    "8 attacks, 10 scenarios": (8, 10, 1.0, 500),
    "8 attacks, 10 scenarios, one unstable": (8, 10, 5.0, 500),
    "29 attacks, 20 scenarios, one unstable": (29, 20, 5.0, 150),
}


def prior(variance: FloatArray, free: int) -> tuple[float, float]:
    """Return the prior's degrees of freedom and variance, by the moments of log variances."""
    spread = np.log(variance) - digamma(free / 2) + np.log(free / 2)
    excess = spread.var(ddof=1) - polygamma(1, free / 2)
    if excess <= 1e-6:
        return np.inf, float(np.exp(spread.mean()))
    half = brentq(lambda x: polygamma(1, x) - excess, 1e-6, 1e7)
    return 2 * half, float(np.exp(spread.mean() + digamma(half) - np.log(half)))


def differences(
    rng: np.random.Generator, attacks: int, scenarios: int, seeds: int, unstable: float, lead: float
) -> tuple[FloatArray, BoolArray]:
    """Return differences in sampling errors, (pairs x scenarios, seeds), and which are true."""
    spread = np.full((attacks, 1, 1), np.sqrt(5.0))
    spread[0] *= unstable
    value = spread * rng.standard_normal((attacks, 1, seeds))
    value = value + rng.standard_normal((attacks, scenarios, seeds)) / np.sqrt(2)
    value[1] += lead
    first, second = np.triu_indices(attacks, 1)
    true = np.repeat((first == 1) | (second == 1), scenarios)
    return (value[first] - value[second]).reshape(-1, seeds), true


def judged(each: FloatArray, attacks: int, by_models: bool) -> tuple[BoolArray, BoolArray]:
    """Return what both tests find."""
    seeds, mean, own = each.shape[1], each.mean(axis=1), each.var(axis=1, ddof=1)
    free = seeds - 1
    prior_free, prior_variance = prior(own, free)
    weight = 1.0 if np.isinf(prior_free) else prior_free / (prior_free + free)
    moderated = weight * prior_variance + (1 - weight) * own
    total = min(prior_free + free, (attacks - 1 if by_models else len(each)) * free)
    steady = (np.sign(each) == np.sign(mean)[:, None]).all(axis=1)
    sampling = 2 * norm.sf(np.abs(mean) * np.sqrt(seeds))
    plain, other = (
        np.maximum(2 * t_distribution.sf(np.abs(mean) / np.sqrt(v / seeds), f), sampling)
        for v, f in ((own, free), (moderated, total))
    )
    return (holm(plain) <= 0.05) & steady, (holm(other) <= 0.05) & steady


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    for name, (attacks, scenarios, unstable, repeats) in TABLES.items():
        for seeds in (3, 5):
            for by_models in (False, True):
                alarms, found = np.zeros(2), np.zeros(2)
                for _ in range(repeats):
                    each, _true = differences(rng, attacks, scenarios, seeds, unstable, 0)
                    alarms += [hit.any() for hit in judged(each, attacks, by_models)]
                    each, true = differences(rng, attacks, scenarios, seeds, unstable, 20)
                    found += [hit[true].mean() for hit in judged(each, attacks, by_models)]
                cap = "models" if by_models else "limma"
                print(f"{name}, {seeds} seeds, {cap}: {alarms / repeats} {found / repeats}")


if __name__ == "__main__":
    main()
