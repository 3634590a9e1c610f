"""What is known of the published benchmark's pools of groups, onto which levels are mapped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from mibench.data.record import table
from mibench.outputs import FloatArray
from mibench.scenarios import levels

# Groups in a whole target dataset, before any are withheld, where they are not a hundred.
WHOLE = {"CH_MNIST": 40, "Location30": 25, "Texas100": 78}


@dataclass(frozen=True)
class PublishedGroups:
    """The groups of a published pool, in their order.

    Attributes
    ----------
    distances : float array, (G,)
    differential_distances : float array, (G,)
        NaN where a group has none.
    """

    distances: FloatArray
    differential_distances: FloatArray

    def quantile(self, distance: float) -> float:
        """Return the quantile of the pool's distances at which a distance lies.

        Of groups that have both distances: so the published quantiles of CIFAR100 agree.
        ``numpy.quantile`` of the same distances at it gives the distance again.
        """
        known = np.sort(self.distances[np.isfinite(self.differential_distances)])
        return float(np.interp(distance, known, np.linspace(0, 1, len(known))))


@cache
def published_groups(dataset: str) -> PublishedGroups | None:
    """Return a published pool's groups, None where they are not known.

    Of ImageNet's pool only ten quantiles of the distances are.
    """
    rows = table("groups").query("dataset == @dataset")
    columns = rows[["distance", "differential_distance"]].to_numpy().T
    return None if rows.empty else PublishedGroups(*columns)


def differential_ratio(dataset: str, nominal: float) -> float | None:
    """Return a differential distance in means of its published pool, None without such a pool.

    ImageNet's pool is not known; its middle level stands for the mean, which the middle level of
    four of the other six datasets is to three digits.
    """
    known = published_groups(dataset)
    if known is not None:
        return nominal / float(np.nanmean(known.differential_distances))
    return nominal / levels(dataset).differential_distance[1] if dataset == "ImageNet" else None
