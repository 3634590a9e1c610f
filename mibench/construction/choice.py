"""Which groups make a target dataset: a pure function of their distances.

A choice is wanted whose distances have a distribution's shape, mean and deviation and whose mean
differential distance meets a level. Wanted distances get a group each by linear assignment, in
whose costs the differential distance has one weight; the weight is bisected.
"""

from __future__ import annotations

import numpy as np
import scipy

from mibench.construction.shapes import Asked
from mibench.outputs import FloatArray, IntArray

DIFFERENTIAL_TOLERANCE = 0.12
# Halving and doubling of the weight stop when the level is met this well.
_NEAR = 0.005
# The choice nearest to wanted distances may take this share of the tolerances: the rest is for
# the differential distance and for the groups left out.
_ROOM = 0.7
_CORRECTIONS = 4
_FIRST_WEIGHT, _STRONGEST_WEIGHT, _STEPS = 0.25, 16.0, 16


def tolerances(distribution: str) -> tuple[float, float]:
    """Return the shares by which mean and deviation of the distances may miss."""
    # Nothing lies exactly at the two atoms of the bernoulli distribution.
    return (0.05, 0.25) if distribution == "bernoulli" else (0.02, 0.15)


def misses(distances: FloatArray, asked: Asked, share: float = 1.0) -> tuple[bool, bool]:
    """Return whether mean and whether deviation miss by more than a share of the tolerance."""
    of_mean, of_deviation = tolerances(asked.distribution)
    return (
        bool(abs(distances.mean() - asked.mean) > share * of_mean * asked.mean),
        bool(abs(distances.std() - asked.deviation) > share * of_deviation * asked.deviation),
    )


def aim(distances: FloatArray, asked: Asked, count: int) -> tuple[FloatArray, IntArray] | None:
    """Choose the groups whose distances are nearest to those wanted, whatever else they are.

    Parameters
    ----------
    distances : float array, (G,)
        Of each group of the pool.
    asked : Asked
        The differential distance does not matter.
    count : int

    Returns
    -------
    cost : float array, (count, G)
        Of each group for each wanted distance.
    chosen : int array, (count,)
        Different groups. None where they leave no room to the tolerances of mean and deviation.
    """
    aimed = asked
    for _ in range(_CORRECTIONS):
        cost = np.abs(distances - aimed.distances(count)[:, None]) / asked.deviation
        chosen = _assigned(cost)
        found = distances[chosen]
        if not any(misses(found, asked, _ROOM)):
            return cost, chosen
        # A pool thinner on one side gives too much on the other: aim off by as much.
        mean = aimed.mean + asked.mean - found.mean()
        deviation = aimed.deviation * asked.deviation / (found.std() or asked.deviation)
        aimed = Asked(asked.distribution, mean, deviation)
    return None


def choose(
    distances: FloatArray, differential: FloatArray, asked: Asked, count: int
) -> IntArray | None:
    """Choose the groups of a whole target dataset.

    Parameters
    ----------
    distances, differential : float array, (G,)
        Of each group of the pool.
    asked : Asked
        An infinite differential distance asks for the farthest reachable.
    count : int

    Returns
    -------
    int array, (count,), or None
        Of the choices tried that meet mean and deviation the one nearest to the level; None where
        :func:`aim` finds none.
    """
    aimed = aim(distances, asked, count)
    if aimed is None:
        return None
    cost, best = aimed
    level = float(np.clip(asked.differential, differential.min(), differential.max()))
    side = np.sign(differential[best].mean() - level)
    pull = side * (differential - differential.mean()) / (differential.std() or 1.0)
    # The stronger the weight, the farther the mean differential distance moves.
    low, high, weight = 0.0, np.inf, _FIRST_WEIGHT
    for _ in range(_STEPS):
        if abs(differential[best].mean() - level) <= _NEAR * level:
            break
        if low >= _STRONGEST_WEIGHT or high - low < 0.02 * high < np.inf:
            break
        tried = _assigned(cost + weight * pull)
        matched = not any(misses(distances[tried], asked))
        if matched:
            best = min(best, tried, key=lambda chosen: abs(differential[chosen].mean() - level))
        if matched and side * (differential[tried].mean() - level) > 0:
            low = weight
        else:
            high = weight
        weight = 2 * weight if np.isinf(high) else (low + high) / 2
    return best


def _assigned(cost: FloatArray) -> IntArray:
    """Return a column for each row, each column once, of the least total cost."""
    # A row's best column that no other row has is among its n cheapest: the rest can go, which
    # makes large pools ten times as fast.
    count = len(cost)
    if count < cost.shape[1]:
        near = np.unique(np.argpartition(cost, count, axis=1)[:, :count])
        return near[scipy.optimize.linear_sum_assignment(cost[:, near])[1]]
    return scipy.optimize.linear_sum_assignment(cost)[1]


def leaving_order(
    distances: FloatArray, differential: FloatArray, chosen: IntArray, asked: Asked
) -> IntArray:
    """Return a choice's groups in the order in which they are left out, (count,).

    The last k are those that stay when all but k are withheld, so that a larger ratio's groups
    are among a smaller one's. The next to leave is the one without which those that stay are
    nearest to what is wanted.
    """
    stay = chosen[np.argsort(distances[chosen], kind="stable")]
    gone: list[int] = []
    mean, deviation, level = asked.mean, asked.deviation, asked.differential
    of_mean, of_deviation = tolerances(asked.distribution)
    while len(stay) > 2:
        count = len(stay) - 1
        d, g = distances[stay], differential[stay]
        means = (d.sum() - d) / count
        deviations = np.sqrt(np.maximum(((d**2).sum() - d**2) / count - means**2, 0))
        levels = (g.sum() - g) / count
        # Those below the one that leaves keep their rank, those above lose one.
        wanted = asked.distances(count)
        below = np.concatenate([[0], np.abs(d[:-1] - wanted).cumsum()])
        above = np.concatenate([[0], np.abs(d[1:] - wanted)[::-1].cumsum()])[::-1]
        # Squares, so that no one of the four is bought with another; the differential distance
        # counts at less than half its tolerance, for it is what is least near.
        cost = (
            ((means - mean) / (of_mean * mean)) ** 2
            + ((deviations - deviation) / (of_deviation * deviation)) ** 2
            + ((levels - level) / (0.05 * level)) ** 2
            + ((below + above) / count / (0.1 * deviation)) ** 2
        )
        leaves = int(cost.argmin())
        gone.append(int(stay[leaves]))
        stay = np.delete(stay, leaves)
    return np.concatenate([np.array(gone, dtype=np.int64), stay])
