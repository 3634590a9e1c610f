"""The three distributions that distances in a target dataset are to follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from mibench.outputs import FloatArray


@dataclass(frozen=True)
class Asked:
    """What a scenario asks for on a pool's own scales; of the whole pool, nothing."""

    distribution: str = ""
    mean: float = np.nan
    deviation: float = np.nan
    differential: float = np.nan

    def distances(self, count: int) -> FloatArray:
        """Return the wanted distances of `count` groups or pairs, ascending."""
        if not self.distribution:
            return np.empty(0)
        return draw_distances(self.distribution, self.mean, self.deviation, count)


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


def shape_distance(distances: FloatArray, asked: Asked) -> float:
    """Return the Kolmogorov-Smirnov distance of ascending distances to the distribution asked for.

    The bernoulli distribution's two atoms would turn any miss, however small, into a distance of
    one half; a distance counts there as the atom's own within a quarter of the deviation.
    """
    unit = (distances - asked.mean) / asked.deviation
    if asked.distribution == "bernoulli":
        shares = [float((np.abs(unit - atom) <= 0.25).mean()) for atom in (-1, 1)]
        return max(abs(0.5 - share) for share in shares)
    if asked.distribution == "normal":
        cdf = scipy.special.ndtr(unit)
    else:
        cdf = np.clip((unit / np.sqrt(3) + 1) / 2, 0, 1)
    steps = np.arange(len(unit) + 1) / len(unit)
    return float(max(np.abs(cdf - steps[1:]).max(), np.abs(cdf - steps[:-1]).max()))
