"""Target datasets made of groups of members and nonmembers, as the published benchmark made them.

The construction was recovered from the benchmark's public record; records' distances agree with
the record to seven digits, images' features and kernel are inferred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mibench.construction import choice
from mibench.construction.kernels import (
    blindmi_features,
    five_gaussians,
    mmd_squared,
    nineteen_gaussians,
    squared_distances,
)
from mibench.construction.published import WHOLE, differential_ratio, published_groups
from mibench.construction.shapes import Asked
from mibench.construction.target import Candidates, Choice, Pool, Streams, checked
from mibench.errors import MIBenchError, ScenarioInfeasible
from mibench.outputs import BoolArray, FloatArray, IntArray, Outputs
from mibench.scenarios import Scenario

GROUP_SIZE = 10
_SMALLEST_GROUP = 5
_FEWEST_GROUPS, _FEWEST_CHOSEN, _MOST_CHOSEN = 36, 12, 100
# As many as BlindMI-Diff-w draws.
_GENERATED = 20
# A differential level may lie beyond what a scenario reaches by this share, half its tolerance.
_SLACK = choice.DIFFERENTIAL_TOLERANCE / 2
# Groups whose kernels are held at once.
_BATCH = 256

T = TypeVar("T", bound=np.generic)
Kernel = Callable[[FloatArray], FloatArray]


class Groups(Pool):
    """A pool cut into groups of as many members as nonmembers, in an order drawn by the seed.

    Parameters
    ----------
    candidates : Candidates
    kind : {"image", "binary", "real"}
        Of the dataset: it decides features and kernel.
    streams : Streams
    levels : {"quantile", "absolute"}
        Whether nominal levels are mapped onto this pool or are the numbers themselves.
    levels_of : str
        The published dataset onto whose pool the levels refer; of any other name, none.
    withholding : {"groups", "attack"}
        Whether the withheld ratio leaves out groups, or an attack withholds answers on all.
    group_size : int
        Members, and nonmembers, in a group.

    Attributes
    ----------
    distances, differential_distances : float array, (G,)
        Of the pool's groups.

    Raises
    ------
    MIBenchError
        If the pool makes fewer than 36 groups.
    """

    construction = "groups"
    # Few groups make the mean of those nearest to what is wanted jump from one to the next.
    _shrinking = tuple(0.95**i for i in range(24))

    def __init__(
        self,
        candidates: Candidates,
        kind: str,
        streams: Streams,
        levels: str = "quantile",
        levels_of: str = "",
        withholding: str = "groups",
        group_size: int = GROUP_SIZE,
    ):
        super().__init__(candidates, streams, levels)
        self.withholding, self._levels_of = withholding, levels_of
        outputs, is_member = candidates.labelled.outputs, candidates.labelled.is_member
        self._members, self._nonmembers = _cut(is_member, streams("groups"), group_size)
        made = len(self._members)
        self.size = min(WHOLE.get(levels_of, _MOST_CHOSEN), max(_FEWEST_CHOSEN, made // 3))
        points, kernel = features(outputs, kind)
        generated, _ = features(candidates.generated, kind)
        drawn = streams("compared").permutation(len(generated))[:_GENERATED]
        self.distances = checked(
            group_distances(points[self._members], points[self._nonmembers], kernel)
        )
        self.differential_distances = differential_distances(
            points[self._members],
            points[self._nonmembers],
            (outputs.predicted == outputs.labels)[self._nonmembers],
            generated[drawn],
            kernel,
        )
        self._found: dict[Asked, IntArray] = {}

    def _quantile_of(self, scenario: Scenario) -> float:
        known = published_groups(self._levels_of)
        return scenario.distance_quantile if known is None else known.quantile(scenario.distance)

    def _mapped(self, scenario: Scenario, low: float, high: float) -> float:
        ratio = differential_ratio(self._levels_of, scenario.differential_distance)
        if ratio is None:
            return super()._mapped(scenario, low, high)
        level = ratio * float(self.differential_distances.mean())
        return float(np.clip(level, low / (1 + _SLACK), high / (1 - _SLACK)))

    def _matches(self, asked: Asked) -> bool:
        return choice.aim(self.distances, asked, self.size) is not None

    def _extremes(self, scenario: Scenario) -> tuple[float, float]:
        asked, g = self._asked(scenario), self.differential_distances
        levels = (replace(asked, differential=level) for level in (-np.inf, np.inf))
        near, far = (float(g[self._chosen(level)].mean()) for level in levels)
        return near, far

    def _reached(self, dataset: str) -> dict[Scenario, tuple[float, float]]:
        """Return those intervals that have something in common.

        Of small pools not all have; scenarios whose interval lies farthest off fail by themselves.
        """
        ends = super()._reached(dataset)
        while len(ends) > 1 and max(n for n, _ in ends.values()) >= min(
            f for _, f in ends.values()
        ):
            middle = np.median([sum(interval) / 2 for interval in ends.values()])
            del ends[max(ends, key=lambda corner: abs(sum(ends[corner]) / 2 - middle))]
        return ends

    def _chosen(self, asked: Asked) -> IntArray:
        found = choice.choose(self.distances, self.differential_distances, asked, self.size)
        # deviation_at has seen that there is one.
        assert found is not None, asked
        return found

    def _choose(self, scenario: Scenario, asked: Asked) -> Choice:
        d, g = self.distances, self.differential_distances
        if asked not in self._found:
            self._found[asked] = choice.leaving_order(d, g, self._chosen(asked), asked)
        kept = self.size
        if self.withholding == "groups":
            kept = max(2, round((1 - scenario.withheld_ratio) * self.size))
        chosen = self._found[asked][-kept:]
        members, nonmembers = self._members[chosen], self._nonmembers[chosen]
        found = Choice(members, nonmembers, chosen, d[chosen], float(g[chosen].mean()))
        self._check(scenario, asked, found)
        return found

    def _check(self, scenario: Scenario, asked: Asked, found: Choice) -> None:
        """Raise ScenarioInfeasible if a level is not met."""
        level, differential = asked.differential, found.differential_distance
        if abs(differential - level) > choice.DIFFERENTIAL_TOLERANCE * level:
            near, far = self._extremes(scenario)
            if near < level < far:
                near, far = (near, differential) if differential < level else (differential, far)
            raise ScenarioInfeasible(scenario.label, "differential distance", level, (near, far))
        of_mean, of_deviation = choice.misses(found.distances, asked)
        if of_mean or of_deviation:
            factor = "distance" if of_mean else "deviation of the distances"
            wanted = asked.mean if of_mean else asked.deviation
            measured = found.distances.mean() if of_mean else found.distances.std()
            raise ScenarioInfeasible(scenario.label, factor, wanted, (float(measured),) * 2)


def _cut(is_member: BoolArray, rng: np.random.Generator, size: int) -> tuple[IntArray, IntArray]:
    """Return the groups' members and their nonmembers, (G, size) each."""
    if size < _SMALLEST_GROUP:
        raise MIBenchError(f"sizes: group is {size}; use at least {_SMALLEST_GROUP}")
    halves = [rng.permutation(np.flatnonzero(is_member == side)) for side in (True, False)]
    made = min(map(len, halves)) // size
    if made < _FEWEST_GROUPS:
        fewer = f"a group of {_SMALLEST_GROUP}, or " if size > _SMALLEST_GROUP else ""
        raise MIBenchError(
            f"{len(halves[0])} members and {len(halves[1])} nonmembers make {made} groups of "
            f"{size} and {size}, too few to choose from; at least {_FEWEST_GROUPS * size} of each "
            f"are needed, or {fewer}construction pairs"
        )
    members, nonmembers = (half[: made * size].reshape(made, size) for half in halves)
    return members, nonmembers


def features(outputs: Outputs, kind: str) -> tuple[FloatArray, Kernel]:
    """Return what distances of a kind of data are measured on, (n, d), and by which kernel."""
    if kind == "image":
        return blindmi_features(outputs), nineteen_gaussians
    return outputs.probs, five_gaussians


def group_distances(members: FloatArray, nonmembers: FloatArray, kernel: Kernel) -> FloatArray:
    """Return the MMD^2 between members and nonmembers of each group, (G,).

    Parameters
    ----------
    members, nonmembers : float array, (G, m, d) and (G, n, d)
    kernel : callable
        From squared distances (..., i, i) to kernel values (..., i, i).
    """
    first = np.arange(members.shape[1] + nonmembers.shape[1]) < members.shape[1]
    return np.concatenate(
        [
            mmd_squared(kernel(squared_distances(np.concatenate([m, n], axis=1))), first)
            for m, n in zip(_batches(members), _batches(nonmembers), strict=True)
        ]
    )


def differential_distances(
    members: FloatArray,
    nonmembers: FloatArray,
    correct: BoolArray,
    generated: FloatArray,
    kernel: Kernel,
) -> FloatArray:
    """Return each group's differential distance to generated nonmembers, (G,).

    |D(T without C, G with C) - D(T without M, G with M)|: by how much more moving the members M
    of the group T to the generated nonmembers G changes than moving C, its correctly classified
    nonmembers (the comparison of Hui et al. 2021).

    Parameters
    ----------
    members, nonmembers : float array, (G, n, d)
    correct : bool array, (G, n)
        Which nonmembers are C.
    generated : float array, (g, d)
    kernel : callable
        As for :func:`group_distances`.
    """
    parts = zip(_batches(members), _batches(nonmembers), _batches(correct), strict=True)
    found = []
    for m, n, c in parts:
        g = np.broadcast_to(generated, (len(m), *generated.shape))
        # Both comparisons are of the same samples, cut otherwise.
        values = kernel(squared_distances(np.concatenate([m, n, g], axis=1)))
        stay, moved = (np.full(m.shape[:2], side) for side in (True, False))
        fixed = np.zeros(g.shape[:2], dtype=bool)
        without_correct = np.concatenate([stay, ~c, fixed], axis=1)
        without_members = np.concatenate([moved, stay, fixed], axis=1)
        found.append(
            np.abs(mmd_squared(values, without_correct) - mmd_squared(values, without_members))
        )
    return np.concatenate(found)


def _batches(groups: NDArray[T]) -> list[NDArray[T]]:
    return np.array_split(groups, -(-len(groups) // _BATCH))


def published_differential(members: FloatArray, nonmembers: FloatArray) -> FloatArray:
    """Return the differential distances of the published target datasets of records, (G,).

    |D(M_i + M_0, M_0) - D(M_i + M_0, N_i + N_0)|, where + adds the posteriors of group i and of
    group 0 element by element. A joining of the groups was likely meant; this serves only to
    compare with the published numbers.

    Parameters
    ----------
    members, nonmembers : float array, (G, n, C)
        Posteriors.
    """
    added, others = members + members[0], nonmembers + nonmembers[0]
    alone = np.broadcast_to(members[0], added.shape)
    to_first = group_distances(added, alone, five_gaussians)
    return np.abs(to_first - group_distances(added, others, five_gaussians))
