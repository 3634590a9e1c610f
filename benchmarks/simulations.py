"""Simulations of known truth behind docs/statistics.md: python benchmarks/simulations.py [REPEATS].

All data here is simulated: scores are drawn from Gaussians, answers with given rates. `REPEATS`
(default 1000) is how often each case is drawn; the tables of equal attacks are half as many.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import norm

from mibench.compare import conflicts
from mibench.study import epsilon, metrics

SIZES = (40, 80, 300, 1000)
AREAS = (0.5, 0.55, 0.7, 0.9, 0.99, 0.999)


def equal_attacks(
    rng: np.random.Generator, seeds: int, times: float, attacks: int = 4, half: int = 150
) -> pd.DataFrame:
    """Return answers of attacks of one expected MA, which differs by trained model.

    The variance of a difference between models is `times` its sampling variance; it is the same
    in all four scenarios, as these select from the samples of one model.
    """
    tpr, fpr = 0.6, 0.3
    spread = np.sqrt(times * (tpr * (1 - tpr) + fpr * (1 - fpr)) / half)
    is_member = np.arange(2 * half) < half
    parts = []
    for seed, attack in product(range(seeds), range(attacks)):
        rate = np.where(is_member, np.clip(tpr + spread * rng.standard_normal(), 0.02, 0.98), fpr)
        for scenario in ("ES01", "ES02", "ES03", "ES04"):
            row = {"dataset": "simulated", "scenario": scenario, "attack": f"a{attack}"}
            row |= {"seed": seed, "sample": np.arange(2 * half), "is_member": is_member}
            parts.append(pd.DataFrame(row | {"answer": (rng.random(2 * half) < rate).astype(int)}))
    return pd.concat(parts, ignore_index=True)


def false_alarms(seeds: int, times: float, tables: int) -> tuple[float, float]:
    """Return the share of tables with a significant difference, and by sampling variance alone."""
    rng = np.random.default_rng([seeds, round(10 * times)])
    alarms = np.zeros(2)
    for _ in range(tables):
        compared = conflicts.differences(equal_attacks(rng, seeds, times), replicates=1)
        z = compared["effect"].abs() * np.sqrt(seeds * 300)
        for i, p in enumerate((compared["p"], 2 * norm.sf(z))):
            alarms[i] += conflicts.significant(compared.assign(p=p))["significant"].any()
    return float(alarms[0] / tables), float(alarms[1] / tables)


def coverage(n: int, area: float, fpr: float, repeats: int) -> tuple[float, float, float]:
    """Return how often the intervals of TPR at an FPR and of the best threshold hold the truth.

    Scores are those of n members and n nonmembers, Gaussians of one width. The third number is
    the mean width of the TPR's interval.
    """
    shift = np.sqrt(2) * norm.ppf(area)
    rng = np.random.default_rng([n, round(1000 * area), round(1 / fpr)])
    truth = np.arange(2 * n) < n
    exact, hits, width = norm.sf(norm.isf(fpr) - shift), np.zeros(2), 0.0
    for _ in range(repeats):
        scores = rng.normal(shift * truth, 1)
        rate = metrics.tpr_at_fpr(scores, truth, fpr)
        best = metrics.max_ma_threshold(scores, truth)
        hits += rate.low <= exact <= rate.high, best.low <= shift / 2 <= best.high
        width += (rate.high - rate.low) / repeats
    return float(hits[0] / repeats), float(hits[1] / repeats), width


def too_high(true: float, n: int, repeats: int) -> tuple[float, ...]:
    """Return how often both bounds exceed a known epsilon, and their medians.

    Of randomised response on n membership bits, each true with probability one half.
    """
    rng = np.random.default_rng([n, round(10 * true)])
    found = np.empty((repeats, 2))
    for i in range(repeats):
        truth = rng.random(n) < 0.5
        lies = rng.random(n) < 1 / (1 + np.exp(true))
        found[i] = epsilon.bounds((truth ^ lies).astype(float), truth, delta=0, seed=i)
    return *(found > true).mean(axis=0), *np.median(found, axis=0)


def main() -> None:
    """Print every simulation's numbers."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("tables of equal attacks: seeds, variance between models, false alarms, without it")
    for seeds, times in product((2, 3, 5), (0.0, 1.0, 10.0)):
        now, before = false_alarms(seeds, times, repeats // 2)
        print(f"{seeds} {times:5.1f} {now:7.3f} {before:7.3f}")
    print("n, AUC, FPR: coverage of its TPR and of the best threshold, width of the former")
    for n, area in product(SIZES, AREAS):
        for fpr in (1 / n, *(f for f in (0.1, 0.01, 0.001) if f > 1 / n)):
            rate, best, width = coverage(n, area, fpr, repeats)
            print(f"{n:5} {area:6.3f} {fpr:6.4f} {rate:7.3f} {best:7.3f} {width:7.3f}")
    print("epsilon, n: share of bounds above it (rates, one run), median bounds")
    for true, n in product((0.5, 1.0, 2.0, 4.0), (200, 1000, 4000)):
        print(f"{true:4.1f} {n:5}", *(f"{value:7.3f}" for value in too_high(true, n, repeats)))


if __name__ == "__main__":
    main()
