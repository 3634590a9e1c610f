"""Target datasets made of pairs of a member and a nonmember of one class.

The pairs' distances follow the scenario's distribution; the target dataset's MMD to generated
nonmembers meets its level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from mibench.construction.kernels import blindmi_features, kernel_means, median_distance
from mibench.construction.shapes import Asked, shape_distance
from mibench.construction.target import Candidates, Choice, Pool, Streams, checked
from mibench.errors import MIBenchError, ScenarioInfeasible
from mibench.outputs import BoolArray, FloatArray, IntArray
from mibench.scenarios import Scenario

MEAN_TOLERANCE = 0.02
DEVIATION_TOLERANCE = 0.10
SHAPE_TOLERANCE = 0.10
MMD_TOLERANCE = 0.02

# A pair's distance may miss its drawn value by this share of the deviation s, which leaves the
# choice among pairs to the differential distance and keeps the mean well inside its tolerance.
_WINDOW = 0.1
_MOST_CANDIDATES = 4096
_STRONGEST_PREFERENCE = 4.0
_ORDERS = 5


@dataclass(frozen=True)
class _Match:
    """A choice of n pairs: positions in the pool's list of pairs, and the resulting MMD^2."""

    pairs: IntArray
    mmd: float


class Pairs(Pool):
    """A pool's pairs of a member and a nonmember of one class.

    Parameters
    ----------
    candidates : Candidates
    pairs : int
        Pairs in a target dataset, n.
    streams : Streams
    space : {"log_probs", "logits", "probs", "inputs"}
        Where distances are measured.
    levels : {"quantile", "absolute"}
        Whether nominal levels are positions in this pool's own range or the numbers themselves.
    inputs : float array, (N, ...), optional
        Needed by the space "inputs".
    """

    construction = "pairs"
    _shrinking = tuple(0.8**i for i in range(8))

    def __init__(
        self,
        candidates: Candidates,
        pairs: int,
        streams: Streams,
        space: str = "log_probs",
        levels: str = "quantile",
        inputs: NDArray[np.float32] | None = None,
    ):
        super().__init__(candidates, streams, levels)
        outputs, is_member = candidates.labelled.outputs, candidates.labelled.is_member
        if not 1 < pairs <= min(is_member.sum(), (~is_member).sum()):
            raise MIBenchError(
                f"{pairs} pairs cannot be drawn from {is_member.sum()} members and "
                f"{(~is_member).sum()} nonmembers"
            )
        self.size = pairs
        points = getattr(outputs, space) if inputs is None else inputs
        self._list_pairs(points.reshape(len(is_member), -1), outputs.labels, is_member)
        self._prepare_kernel(blindmi_features(outputs), blindmi_features(candidates.generated))
        self._found: dict[tuple[str, float, float], Choice] = {}

    def _list_pairs(self, points: FloatArray, labels: IntArray, is_member: BoolArray) -> None:
        found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
        most = 0
        for label in np.unique(labels):
            members = np.flatnonzero((labels == label) & is_member).astype(np.int32)
            nonmembers = np.flatnonzero((labels == label) & ~is_member).astype(np.int32)
            most += min(len(members), len(nonmembers))
            grid = scipy.spatial.distance.cdist(points[members], points[nonmembers])
            grid = grid.astype(np.float32)
            rows, columns = np.repeat(members, len(nonmembers)), np.tile(nonmembers, len(members))
            found.append((rows, columns, grid.ravel()))
        if most < self.size:
            raise MIBenchError(
                f"{self.size} pairs of one class each cannot be drawn: members and nonmembers "
                f"share classes for {most}; ask for fewer pairs or a larger pool"
            )
        members, nonmembers, distances = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.argsort(checked(distances), kind="stable")
        self._members = members[order]
        self._nonmembers = nonmembers[order]
        self.distances = distances[order].astype(np.float64)

    def _prepare_kernel(self, features: FloatArray, generated: FloatArray) -> None:
        typical = features[self._streams("typical").permutation(len(features))[:2000]]
        self._bandwidth = median_distance(
            np.concatenate([features, generated]), self._streams("bandwidth")
        )
        self._features = features
        self._to_generated = kernel_means(features, generated, self._bandwidth)
        self._within_generated = kernel_means(generated, generated, self._bandwidth).mean()
        # The witness function of the MMD: how much a sample, once chosen, raises it.
        witness = kernel_means(features, typical, self._bandwidth) - self._to_generated
        # Both halves of a pair weigh alike: were members chosen by another rule than nonmembers,
        # the choice would tell them apart where the model does not.
        self._pull = _standardised(witness[self._members])
        self._pull += _standardised(witness[self._nonmembers])

    def _choose(self, scenario: Scenario, asked: Asked) -> Choice:
        # Scenarios that differ in their withheld ratio alone have the same samples.
        factors = (asked.distribution, asked.mean, asked.differential)
        if factors not in self._found:
            match = self._meet_mmd(scenario, asked)
            # The pool's list of pairs is in the order of their distances.
            picked = np.sort(match.pairs)
            self._found[factors] = Choice(
                self._members[picked, None].astype(np.int64),
                self._nonmembers[picked, None].astype(np.int64),
                np.arange(self.size),
                self.distances[picked],
                match.mmd,
            )
        return self._found[factors]

    def _matches(self, asked: Asked) -> bool:
        wanted = asked.distances(self.size)
        return all(
            self._within_tolerances(self._match(wanted, asked.deviation, weight), asked)
            for weight in (-_STRONGEST_PREFERENCE, 0.0, _STRONGEST_PREFERENCE)
        )

    def _within_tolerances(self, pairs: IntArray, asked: Asked) -> bool:
        distances, mean, deviation = np.sort(self.distances[pairs]), asked.mean, asked.deviation
        return bool(
            abs(distances.mean() - mean) <= MEAN_TOLERANCE * mean
            and abs(distances.std() - deviation) <= DEVIATION_TOLERANCE * deviation
            and shape_distance(distances, asked) <= SHAPE_TOLERANCE
        )

    def _extremes(self, scenario: Scenario) -> tuple[float, float]:
        asked = self._asked(scenario)
        wanted = asked.distances(self.size)
        near, far = (
            self._matched(wanted, asked.deviation, weight).mmd
            for weight in (-_STRONGEST_PREFERENCE, _STRONGEST_PREFERENCE)
        )
        return near, far

    def _meet_mmd(self, scenario: Scenario, asked: Asked) -> _Match:
        best: _Match | None = None
        mmd = asked.differential
        for match in self._approach(asked.distances(self.size), asked.deviation, mmd):
            if best is None or abs(match.mmd - mmd) < abs(best.mmd - mmd):
                if not self._within_tolerances(match.pairs, asked):
                    continue
                best = match
            if abs(best.mmd - mmd) <= MMD_TOLERANCE * mmd / 2:
                return best
        if best is None or abs(best.mmd - mmd) > MMD_TOLERANCE * mmd:
            near, far = self._extremes(scenario)
            if best is not None and near < mmd < far:
                near, far = (near, best.mmd) if best.mmd < mmd else (best.mmd, far)
            raise ScenarioInfeasible(scenario.label, "differential distance", mmd, (near, far))
        return best

    def _approach(self, wanted: FloatArray, deviation: float, mmd: float) -> Iterator[_Match]:
        """Yield matches whose MMD^2 closes in on `mmd`.

        First one preference weight for all pairs is bisected. What remains, because a slightly
        different weight may choose quite different pairs, is closed by bisecting the number of
        pairs, in shuffled order, that have the higher of the last two weights; in another order
        where one does not do.
        """
        low, high = -_STRONGEST_PREFERENCE, _STRONGEST_PREFERENCE
        for _ in range(8):
            middle = (low + high) / 2
            match = self._matched(wanted, deviation, middle)
            yield match
            low, high = (middle, high) if match.mmd < mmd else (low, middle)
        rng = self._streams("preference")
        for _ in range(_ORDERS):
            shuffled = rng.permutation(len(wanted))
            fewest, most = 0, len(wanted)
            while most - fewest > 1:
                count = (fewest + most) // 2
                match = self._matched(wanted, deviation, np.where(shuffled < count, high, low))
                yield match
                fewest, most = (count, most) if match.mmd < mmd else (fewest, count)

    def _matched(self, wanted: FloatArray, deviation: float, weight: float | FloatArray) -> _Match:
        pairs = self._match(wanted, deviation, weight)
        chosen = np.concatenate([self._members[pairs], self._nonmembers[pairs]])
        points = self._features[chosen]
        within = kernel_means(points, points, self._bandwidth).mean()
        outside = self._to_generated[chosen].mean()
        return _Match(pairs, float(within - 2 * outside + self._within_generated))

    def _match(self, wanted: FloatArray, deviation: float, weight: float | FloatArray) -> IntArray:
        """Choose one pair for each wanted distance, each sample at most once.

        Among the free pairs within the window around a wanted distance the one with the least
        miss, less its weighted pull away from the generated nonmembers, is taken; a window
        without a free pair is doubled.
        """
        order = self._streams("matching").permutation(len(wanted))
        window = _WINDOW * deviation
        lows = np.searchsorted(self.distances, wanted - window)
        highs = np.searchsorted(self.distances, wanted + window)
        centres = np.searchsorted(self.distances, wanted)
        lows = np.maximum(lows, centres - _MOST_CANDIDATES // 2)
        highs = np.minimum(highs, centres + _MOST_CANDIDATES // 2)
        weights = np.broadcast_to(weight, wanted.shape)
        pulls = {weight: weight * self._pull for weight in np.unique(weights).tolist()}
        # Infinite for a sample that is taken, so that adding it is all that keeps it out.
        held = np.zeros(len(self._features))
        chosen = np.empty(len(wanted), dtype=np.int64)
        each = (lows.tolist(), highs.tolist(), wanted.tolist(), weights.tolist())
        asked = [*zip(*each, strict=True)]
        for i in order.tolist():
            low, high, distance, own = asked[i]
            reach = max(high - low, 8)
            while True:
                members, nonmembers = self._members[low:high], self._nonmembers[low:high]
                cost = np.abs(self.distances[low:high] - distance)
                cost /= window
                cost -= pulls[own][low:high]
                cost += held[members]
                cost += held[nonmembers]
                if low < high and cost[best := int(cost.argmin())] < np.inf:
                    break
                low, high = max(low - reach, 0), min(high + reach, len(self.distances))
                reach *= 2
            chosen[i] = low + best
            held[members[best]] = held[nonmembers[best]] = np.inf
        return chosen


def _standardised(values: FloatArray) -> FloatArray:
    return (values - values.mean()) / (values.std() or 1.0)
