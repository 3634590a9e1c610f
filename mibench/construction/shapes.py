"""The three distributions that distances in a target dataset are to follow."""

from __future__ import annotations

import numpy as np
import scipy

from mibench.outputs import FloatArray


def draw_distances(distribution: str, mean: float, deviation: float, count: int) -> FloatArray:
    """Return `count` stratified quantiles of a distribution, ascending.

    Quantiles at (i + 1/2) / count carry no sampling noise; they are scaled so that all three
    distributions have exactly the given mean and standard deviation.
    """
    p = (np.arange(count) + 0.5) / count
    if distribution == "normal":
        unit = scipy.special.ndtri(p)
    elif distribution == "uniform":
        unit = np.sqrt(3) * (2 * p - 1)
    else:
        unit = np.where(p < 0.5, -1.0, 1.0)
    values: FloatArray = mean + deviation * (unit - unit.mean()) / unit.std()
    return values


def shape_distance(
    distances: FloatArray, distribution: str, mean: float, deviation: float
) -> float:
    """Return the Kolmogorov-Smirnov distance of ascending distances to a distribution.

    The bernoulli distribution's two atoms would turn any miss, however small, into a distance of
    one half; a distance counts there as the atom's own within a quarter of the deviation.
    """
    unit = (distances - mean) / deviation
    count = len(unit)
    if distribution == "bernoulli":
        shares = [float((np.abs(unit - atom) <= 0.25).mean()) for atom in (-1, 1)]
        return max(abs(0.5 - share) for share in shares)
    if distribution == "normal":
        cdf = scipy.special.ndtr(unit)
    else:
        cdf = np.clip((unit / np.sqrt(3) + 1) / 2, 0, 1)
    steps = np.arange(count + 1) / count
    return float(max(np.abs(cdf - steps[1:]).max(), np.abs(cdf - steps[:-1]).max()))
