"""A target dataset, and what every pool from which such are constructed has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mibench.construction.described import describe
from mibench.construction.shapes import Asked, draw_distances, shape_distance
from mibench.errors import MIBenchError, ScenarioInfeasible
from mibench.outputs import BoolArray, FloatArray, IntArray, Labelled, Outputs
from mibench.scenarios import DISTRIBUTIONS, POOL, Scenario, catalogue

# A random stream by its role's name: a mibench.streams.Streams, of which construction needs no
# more.
Streams = Callable[[str], np.random.Generator]

# Level positions 0 and 1 keep this distance from the ends of the reachable interval.
_MARGIN = 0.05


@dataclass(frozen=True)
class TargetDataset:
    """A constructed target dataset T with what was wanted of it and what was measured.

    Attributes
    ----------
    scenario : Scenario
    construction : {"groups", "pairs"}
    samples : int array, (2n,)
        Indices into the dataset, members and nonmembers in shuffled order.
    is_member : bool array, (2n,)
        The truth, which no attack receives.
    part : int array, (2n,)
        Which group (an index of the pool's groups) or which pair (0 is the nearest) each sample
        belongs to, -1 in the whole pool; no attack receives it.
    distances : float array, (k,)
        Distances of the chosen groups or pairs, ascending.
    wanted : float array, (k,)
        The distances drawn from the scenario's distribution, ascending.
    distance, deviation, differential_distance : tuple of float
        (wanted, measured) values.
    shape_distance : float
        Kolmogorov-Smirnov distance of the distances to the scenario's distribution.
    described : dict of str to float
        What is not controlled; see :func:`mibench.construction.described.describe`.
    """

    scenario: Scenario
    construction: str
    samples: IntArray
    is_member: BoolArray
    part: IntArray
    distances: FloatArray
    wanted: FloatArray
    distance: tuple[float, float]
    deviation: tuple[float, float]
    differential_distance: tuple[float, float]
    shape_distance: float
    described: dict[str, float]


@dataclass(frozen=True)
class Candidates:
    """What target datasets are chosen from.

    Attributes
    ----------
    labelled : Labelled
        The target model's outputs on the pool's N samples, with membership.
    generated : Outputs
        The target model's outputs on generated nonmembers with the labels of their sources.
    samples : int array, (N,)
        The pool's indices in its dataset.
    """

    labelled: Labelled
    generated: Outputs
    samples: IntArray

    def take(self, kept: IntArray) -> Candidates:
        """Return a selection of the pool's samples."""
        labelled = Labelled(self.labelled.outputs.take(kept), self.labelled.is_member[kept])
        return Candidates(labelled, self.generated, self.samples[kept])


@dataclass(frozen=True)
class Choice:
    """The chosen parts.

    Attributes
    ----------
    members, nonmembers : int array, (k, size)
        Each part's samples, as positions in the pool.
    part : int array, (k,)
    distances : float array, (k,)
    differential_distance : float
    """

    members: IntArray
    nonmembers: IntArray
    part: IntArray
    distances: FloatArray
    differential_distance: float


class Pool(ABC):
    """The members and nonmembers of one target model, from which scenarios select.

    Attributes
    ----------
    size : int
        Groups or pairs in a whole target dataset.
    distances : float array
        Distances of all groups or pairs that the pool holds.
    """

    construction: ClassVar[str]
    # What is tried of half the pool's deviation, widest first.
    _shrinking: ClassVar[tuple[float, ...]]
    size: int
    distances: FloatArray

    def __init__(self, candidates: Candidates, streams: Streams, levels: str):
        self.candidates, self.levels, self._streams = candidates, levels, streams
        self._deviations: dict[float, float | None] = {}
        self._common: dict[str, tuple[float, float]] = {}

    @abstractmethod
    def _choose(self, scenario: Scenario, asked: Asked) -> Choice:
        """Choose the parts of a target dataset, or raise ScenarioInfeasible."""

    @abstractmethod
    def _matches(self, asked: Asked) -> bool:
        """Return whether such distances can be had, whatever the differential distance."""

    @abstractmethod
    def _extremes(self, scenario: Scenario) -> tuple[float, float]:
        """Return the interval of differential distances that a scenario's distances leave."""

    def construct(self, scenario: Scenario) -> TargetDataset:
        """Choose the target dataset of a scenario; that of the whole pool is the pool.

        Of pairs the pool is equal halves, and of groups every member and nonmember.

        Raises
        ------
        ScenarioInfeasible
            If this pool cannot meet the distance or the differential distance.
        """
        if scenario.id == POOL:
            asked, differential, distances = Asked(), np.nan, np.sort(self.distances)
            chosen = np.arange(len(self.candidates.samples))
            part = np.full(len(chosen), -1)
        else:
            asked = self._asked(scenario)
            asked = replace(asked, differential=self.differential_distance_of(scenario))
            choice = self._choose(scenario, asked)
            differential, distances = choice.differential_distance, np.sort(choice.distances)
            chosen = np.concatenate([choice.members.ravel(), choice.nonmembers.ravel()])
            part = np.tile(np.repeat(choice.part, choice.members.shape[1]), 2)
        order = self._streams("order").permutation(len(chosen))
        taken = self.candidates.take(chosen[order])
        return TargetDataset(
            scenario,
            self.construction,
            taken.samples,
            taken.labelled.is_member,
            part[order],
            distances,
            asked.distances(len(distances)),
            (asked.mean, float(distances.mean())),
            (asked.deviation, float(distances.std())),
            (asked.differential, differential),
            shape_distance(distances, asked),
            describe(taken.labelled),
        )

    def _asked(self, scenario: Scenario) -> Asked:
        """Return what a scenario asks for of the distances."""
        mean = self.distance_of(scenario)
        return Asked(scenario.distribution, mean, self.deviation_at(mean, scenario))

    def distance_of(self, scenario: Scenario) -> float:
        """Return the mean distance, in the pool's own distances, that a scenario asks for."""
        if self.levels == "absolute":
            return scenario.distance
        return float(np.quantile(self.distances, self._quantile_of(scenario)))

    def _quantile_of(self, scenario: Scenario) -> float:
        return scenario.distance_quantile

    def differential_distance_of(self, scenario: Scenario) -> float:
        """Return the differential distance that a scenario asks for.

        The same at every distribution and distance level that this pool can match.

        Raises
        ------
        ScenarioInfeasible
            If no differential distance is reachable at all of them.
        """
        if self.levels == "absolute":
            return scenario.differential_distance
        if scenario.dataset not in self._common:
            self._common[scenario.dataset] = self._common_interval(scenario)
        return self._mapped(scenario, *self._common[scenario.dataset])

    def _mapped(self, scenario: Scenario, low: float, high: float) -> float:
        margin = _MARGIN * (high - low)
        low, high = low + margin, high - margin
        return low + scenario.differential_position * (high - low)

    def _reached(self, dataset: str) -> dict[Scenario, tuple[float, float]]:
        """Return what one scenario of each distribution and distance level can reach."""
        corners = {(s.distribution, s.distance): s for s in catalogue(dataset)}
        ends: dict[Scenario, tuple[float, float]] = {}
        for corner in corners.values():
            # Scenarios of a distance that cannot be matched fail by themselves.
            with suppress(ScenarioInfeasible):
                ends[corner] = self._extremes(corner)
        return ends

    def _common_interval(self, scenario: Scenario) -> tuple[float, float]:
        ends = self._reached(scenario.dataset)
        low = max(near for near, _ in ends.values())
        lowest = min(ends, key=lambda corner: ends[corner][1])
        high = ends[lowest][1]
        if low >= high:
            what = (
                f"{scenario.label} needs a differential distance that all distances can have; at "
                f"{lowest.distribution} distances of level {lowest.distance:g}"
            )
            raise ScenarioInfeasible(what, "differential distance", low, ends[lowest])
        return low, high

    def deviation_at(self, mean: float, scenario: Scenario) -> float:
        """Return the standard deviation s of all three distributions around a mean distance.

        Half the pool's own deviation, shrunk until every distribution can be matched at it.

        Raises
        ------
        ScenarioInfeasible
            If no deviation can be matched at this mean.
        """
        deviation = self._matched_deviation(mean)
        if deviation is None:
            raise ScenarioInfeasible(scenario.label, "distance", mean, self._reachable(mean))
        return deviation

    def _matched_deviation(self, mean: float) -> float | None:
        if mean not in self._deviations:
            room = min(mean - self.distances.min(), self.distances.max() - mean)
            farthest = max(abs(draw_distances(s, 0, 1, self.size)).max() for s in DISTRIBUTIONS)
            widest = float(min(self.distances.std() / 2, room / farthest))
            tried = (widest * share for share in self._shrinking) if room > 0 else ()
            self._deviations[mean] = next(
                (s for s in tried if all(self._matches(Asked(d, mean, s)) for d in DISTRIBUTIONS)),
                None,
            )
        return self._deviations[mean]

    def _reachable(self, mean: float) -> tuple[float, float]:
        """Return the interval of matched means, by quantiles of 5%, that is next to an unmatched.

        NaN where no mean can be matched.
        """
        means = [float(np.quantile(self.distances, q)) for q in np.linspace(0, 1, 21)]
        matched = [self._matched_deviation(m) is not None for m in means]
        if not any(matched):
            return np.nan, np.nan
        nearest = min(np.flatnonzero(matched), key=lambda i: abs(means[i] - mean))
        step = 1 if means[nearest] > mean else -1
        end = nearest
        while 0 <= end + step < len(means) and matched[end + step]:
            end += step
        low, high = sorted((means[nearest], means[end]))
        return low, high


def checked(distances: FloatArray) -> FloatArray:
    """Return a pool's distances, or raise MIBenchError where they follow no distribution."""
    if not np.isfinite(distances).all():
        raise MIBenchError(
            "the pool's outputs hold values that are NaN or infinite; train the target model "
            "anew, for instance for fewer epochs"
        )
    if distances.min() == distances.max():
        raise MIBenchError(
            "all distances between the pool's members and nonmembers are equal, so that they "
            "follow no distribution; train the target model for more epochs"
        )
    return distances
