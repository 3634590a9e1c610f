"""Construction of a scenario's target dataset from the pool of one target model.

A target dataset is a selection of member-nonmember pairs, each of one class, whose distances
follow the scenario's distribution and whose MMD to generated nonmembers meets its level.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist
from scipy.stats import norm

from mibench import scenarios
from mibench.errors import MIBenchError, ScenarioInfeasible
from mibench.outputs import BoolArray, FloatArray, IntArray, Outputs
from mibench.scenarios import DISTRIBUTIONS, Scenario

MEAN_TOLERANCE = 0.02
DEVIATION_TOLERANCE = 0.10
SHAPE_TOLERANCE = 0.10
MMD_TOLERANCE = 0.02

SPACES = ("log_probs", "logits", "probs", "inputs")

# A pair's distance may miss its drawn value by this share of the deviation s, which leaves the
# choice among pairs to the differential distance and keeps the mean well inside its tolerance.
_WINDOW = 0.1
_MOST_CANDIDATES = 4096
_STRONGEST_PREFERENCE = 4.0
_ORDERS = 5
_BANDWIDTHS = np.array([0.25, 0.5, 1.0, 2.0, 4.0])
# Level positions 0 and 1 keep this distance from the ends of the reachable interval.
_MARGIN = 0.05


@dataclass(frozen=True)
class TargetDataset:
    """A constructed target dataset T with what was wanted of it and what was measured.

    Attributes
    ----------
    scenario : Scenario
    samples : int array, (2n,)
        Indices into the dataset, members and nonmembers in shuffled order.
    is_member : bool array, (2n,)
        The truth, which no attack receives.
    pairs : int array, (n, 2)
        The chosen pairs, a member's and a nonmember's index each, by ascending distance.
    distances : float array, (n,)
        Distances of the chosen pairs, ascending.
    wanted : float array, (n,)
        The distances drawn from the scenario's distribution, ascending.
    distance, deviation, differential_distance : tuple of float
        (wanted, measured) values.
    shape_distance : float
        Kolmogorov-Smirnov distance of the distances to the scenario's distribution.
    """

    scenario: Scenario
    samples: IntArray
    is_member: BoolArray
    pairs: IntArray
    distances: FloatArray
    wanted: FloatArray
    distance: tuple[float, float]
    deviation: tuple[float, float]
    differential_distance: tuple[float, float]
    shape_distance: float


@dataclass(frozen=True)
class _Match:
    """A choice of n pairs: positions in the pool's list of pairs, and the resulting MMD^2."""

    pairs: IntArray
    mmd: float


def check_measures(space: str, levels: str) -> None:
    """Raise MIBenchError if there is no such space or no such kind of levels; see :class:`Pool`."""
    if space not in SPACES:
        raise MIBenchError(f"unknown space {space!r}; use one of {', '.join(SPACES)}")
    if levels not in ("quantile", "absolute"):
        raise MIBenchError(f"unknown levels {levels!r}; use 'quantile' or 'absolute'")


class Pool:
    """The members and nonmembers of one target model, from which scenarios select.

    Parameters
    ----------
    outputs : Outputs
        The target model's outputs on the pool's N samples.
    is_member : bool array, (N,)
    generated : Outputs
        The target model's outputs on generated nonmembers with the labels of their sources.
    pairs : int
        Pairs in a target dataset, n.
    samples : int array, (N,), optional
        The pool's indices in its dataset; 0 to N-1 by default.
    space : {"log_probs", "logits", "probs", "inputs"}
        Where distances are measured.
    levels : {"quantile", "absolute"}
        Whether nominal levels are positions in this pool's own range or the numbers themselves.
    inputs : float array, (N, ...), optional
        Needed by the space "inputs".
    seed : int
    """

    def __init__(
        self,
        outputs: Outputs,
        is_member: BoolArray,
        generated: Outputs,
        pairs: int,
        samples: IntArray | None = None,
        space: str = "log_probs",
        levels: str = "quantile",
        inputs: NDArray[np.float32] | None = None,
        seed: int = 0,
    ):
        check_measures(space, levels)
        if not 1 < pairs <= min(is_member.sum(), (~is_member).sum()):
            raise MIBenchError(
                f"{pairs} pairs cannot be drawn from {is_member.sum()} members and "
                f"{(~is_member).sum()} nonmembers"
            )
        self.pairs, self.levels, self.seed = pairs, levels, seed
        self.samples = np.arange(len(is_member)) if samples is None else samples
        points = inputs if space == "inputs" else getattr(outputs, space)
        if points is None:
            raise MIBenchError("the space 'inputs' needs the pool's inputs")
        self._list_pairs(points.reshape(len(is_member), -1), outputs.labels, is_member)
        self._prepare_kernel(blindmi_features(outputs), blindmi_features(generated))
        self._deviations: dict[float, float | None] = {}
        self._common: dict[str, tuple[float, float]] = {}
        self._found: dict[tuple[str, float, float], TargetDataset] = {}

    def _list_pairs(self, points: FloatArray, labels: IntArray, is_member: BoolArray) -> None:
        found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
        most = 0
        for label in np.unique(labels):
            members = np.flatnonzero((labels == label) & is_member).astype(np.int32)
            nonmembers = np.flatnonzero((labels == label) & ~is_member).astype(np.int32)
            most += min(len(members), len(nonmembers))
            grid = cdist(points[members], points[nonmembers]).astype(np.float32)
            rows, columns = np.repeat(members, len(nonmembers)), np.tile(nonmembers, len(members))
            found.append((rows, columns, grid.ravel()))
        if most < self.pairs:
            raise MIBenchError(
                f"{self.pairs} pairs of one class each cannot be drawn: members and nonmembers "
                f"share classes for {most}; ask for fewer pairs or a larger pool"
            )
        members, nonmembers, distances = (np.concatenate(part) for part in zip(*found, strict=True))
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
        order = np.argsort(distances, kind="stable")
        self._members = members[order]
        self._nonmembers = nonmembers[order]
        self._distances = distances[order].astype(np.float64)

    def _prepare_kernel(self, features: FloatArray, generated: FloatArray) -> None:
        rng = np.random.default_rng([self.seed, 7])
        typical = features[rng.permutation(len(features))[:2000]]
        self._bandwidth = median_distance(np.concatenate([features, generated]), self.seed)
        self._features = features
        self._to_generated = kernel_means(features, generated, self._bandwidth)
        self._within_generated = kernel_means(generated, generated, self._bandwidth).mean()
        # The witness function of the MMD: how much a sample, once chosen, raises it.
        witness = kernel_means(features, typical, self._bandwidth) - self._to_generated
        # Both halves of a pair weigh alike: were members chosen by another rule than nonmembers,
        # the choice would tell them apart where the model does not.
        self._pull = _standardised(witness[self._members])
        self._pull += _standardised(witness[self._nonmembers])

    def construct(self, scenario: Scenario) -> TargetDataset:
        """Choose the target dataset of a scenario.

        Raises
        ------
        ScenarioInfeasible
            If this pool cannot meet the distance or the differential distance.
        """
        mean = self.distance_of(scenario)
        deviation = self.deviation_at(mean, scenario)
        mmd = self.differential_distance_of(scenario)
        # Scenarios that differ in their withheld ratio alone have the same samples.
        factors = (scenario.distribution, mean, mmd)
        if factors not in self._found:
            self._found[factors] = self._construct(scenario, mean, deviation, mmd)
        return replace(self._found[factors], scenario=scenario)

    def _construct(
        self, scenario: Scenario, mean: float, deviation: float, mmd: float
    ) -> TargetDataset:
        wanted = draw_distances(scenario.distribution, mean, deviation, self.pairs)
        match = self._meet_mmd(scenario, wanted, deviation, mmd)
        # The pool's list of pairs is in the order of their distances.
        picked = np.sort(match.pairs)
        distances = self._distances[picked]
        chosen = np.concatenate([self._members[picked], self._nonmembers[picked]])
        is_member = np.arange(len(chosen)) < self.pairs
        order = np.random.default_rng([self.seed, 8]).permutation(len(chosen))
        return TargetDataset(
            scenario,
            self.samples[chosen[order]],
            is_member[order],
            self.samples[chosen.reshape(2, -1).T],
            distances,
            wanted,
            (mean, float(distances.mean())),
            (deviation, float(distances.std())),
            (mmd, match.mmd),
            shape_distance(distances, scenario.distribution, mean, deviation),
        )

    def distance_of(self, scenario: Scenario) -> float:
        """Return the mean distance, in the pool's space, that a scenario asks for."""
        if self.levels == "absolute":
            return scenario.distance
        return self._quantile(scenario.distance_quantile)

    def differential_distance_of(self, scenario: Scenario) -> float:
        """Return the MMD^2 that a scenario asks for.

        By its position in the interval reachable at every distribution and distance level that
        this pool can match, so that scenarios which differ only in those share one value.

        Raises
        ------
        ScenarioInfeasible
            If there is no such interval.
        """
        if self.levels == "absolute":
            return scenario.differential_distance
        if scenario.dataset not in self._common:
            self._common[scenario.dataset] = self._common_interval(scenario)
        low, high = self._common[scenario.dataset]
        return low + scenario.differential_position * (high - low)

    def _common_interval(self, scenario: Scenario) -> tuple[float, float]:
        ends: dict[Scenario, tuple[float, float]] = {}
        for corner in _corner_scenarios(scenario.dataset):
            # Scenarios of a distance that cannot be matched fail by themselves.
            with suppress(ScenarioInfeasible):
                ends[corner] = self._extremes(corner)
        low = max(near for near, _ in ends.values())
        lowest = min(ends, key=lambda corner: ends[corner][1])
        high = ends[lowest][1]
        if low >= high:
            what = (
                f"{scenario.label} needs a differential distance that all distances can have; at "
                f"{lowest.distribution} distances of level {lowest.distance:g}"
            )
            raise ScenarioInfeasible(what, "differential distance", low, ends[lowest])
        margin = _MARGIN * (high - low)
        return low + margin, high - margin

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
            room = min(mean - self._distances[0], self._distances[-1] - mean)
            farthest = max(abs(draw_distances(s, 0, 1, self.pairs)).max() for s in DISTRIBUTIONS)
            widest = float(min(self._distances.std() / 2, room / farthest))
            tried = (widest * 0.8**i for i in range(8)) if room > 0 else ()
            self._deviations[mean] = next(
                (s for s in tried if all(self._matches_at(d, mean, s) for d in DISTRIBUTIONS)), None
            )
        return self._deviations[mean]

    def _reachable(self, mean: float) -> tuple[float, float]:
        """Return the interval of matched means, by quantiles of 5%, that is next to an unmatched.

        NaN where no mean can be matched.
        """
        means = [self._quantile(q) for q in np.linspace(0, 1, 21)]
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

    def _quantile(self, q: float) -> float:
        return float(np.quantile(self._distances, q))

    def _matches_at(self, shape: str, mean: float, deviation: float) -> bool:
        wanted = draw_distances(shape, mean, deviation, self.pairs)
        return all(
            self._within_tolerances(self._match(wanted, deviation, weight), shape, mean, deviation)
            for weight in (-_STRONGEST_PREFERENCE, 0.0, _STRONGEST_PREFERENCE)
        )

    def _within_tolerances(
        self, pairs: IntArray, shape: str, mean: float, deviation: float
    ) -> bool:
        distances = np.sort(self._distances[pairs])
        return bool(
            abs(distances.mean() - mean) <= MEAN_TOLERANCE * mean
            and abs(distances.std() - deviation) <= DEVIATION_TOLERANCE * deviation
            and shape_distance(distances, shape, mean, deviation) <= SHAPE_TOLERANCE
        )

    def _extremes(self, scenario: Scenario) -> tuple[float, float]:
        mean = self.distance_of(scenario)
        deviation = self.deviation_at(mean, scenario)
        wanted = draw_distances(scenario.distribution, mean, deviation, self.pairs)
        near, far = (
            self._matched(wanted, deviation, weight).mmd
            for weight in (-_STRONGEST_PREFERENCE, _STRONGEST_PREFERENCE)
        )
        return near, far

    def _meet_mmd(
        self, scenario: Scenario, wanted: FloatArray, deviation: float, mmd: float
    ) -> _Match:
        best: _Match | None = None
        for match in self._approach(wanted, deviation, mmd):
            if best is None or abs(match.mmd - mmd) < abs(best.mmd - mmd):
                if not self._within_tolerances(
                    match.pairs, scenario.distribution, wanted.mean(), deviation
                ):
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
        rng = np.random.default_rng([self.seed, 10])
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
        order = np.random.default_rng([self.seed, 9]).permutation(len(wanted))
        window = _WINDOW * deviation
        lows = np.searchsorted(self._distances, wanted - window)
        highs = np.searchsorted(self._distances, wanted + window)
        centres = np.searchsorted(self._distances, wanted)
        lows = np.maximum(lows, centres - _MOST_CANDIDATES // 2)
        highs = np.minimum(highs, centres + _MOST_CANDIDATES // 2)
        weights = np.broadcast_to(weight, wanted.shape)
        taken = np.zeros(len(self._features), dtype=bool)
        chosen = np.empty(len(wanted), dtype=np.int64)
        for i in order:
            low, high, reach = lows[i], highs[i], max(int(highs[i] - lows[i]), 8)
            while True:
                members, nonmembers = self._members[low:high], self._nonmembers[low:high]
                busy = taken[members] | taken[nonmembers]
                if not busy.all():
                    break
                low, high = max(low - reach, 0), min(high + reach, len(self._distances))
                reach *= 2
            cost = np.abs(self._distances[low:high] - wanted[i]) / window
            cost -= weights[i] * self._pull[low:high]
            cost[busy] = np.inf
            best = int(cost.argmin())
            chosen[i] = low + best
            taken[members[best]] = taken[nonmembers[best]] = True
        return chosen


def _standardised(values: FloatArray) -> FloatArray:
    return (values - values.mean()) / (values.std() or 1.0)


def _corner_scenarios(dataset: str) -> list[Scenario]:
    """Return one scenario for each distribution and distance level of a dataset."""
    found = {(s.distribution, s.distance): s for s in scenarios.catalogue(dataset)}
    return list(found.values())


def draw_distances(distribution: str, mean: float, deviation: float, count: int) -> FloatArray:
    """Return `count` stratified quantiles of a distribution, ascending.

    Quantiles at (i + 1/2) / count carry no sampling noise; they are scaled so that all three
    distributions have exactly the given mean and standard deviation.
    """
    p = (np.arange(count) + 0.5) / count
    if distribution == "normal":
        unit = norm.ppf(p)
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
        cdf = norm.cdf(unit)
    else:
        cdf = np.clip((unit / np.sqrt(3) + 1) / 2, 0, 1)
    steps = np.arange(count + 1) / count
    return float(max(np.abs(cdf - steps[1:]).max(), np.abs(cdf - steps[:-1]).max()))


def blindmi_features(outputs: Outputs) -> FloatArray:
    """Return true-class probability and the two largest, (n, 3) (Hui et al. 2021, III-B)."""
    return np.column_stack([outputs.true_probs, outputs.sorted_probs[:, :2]])


def median_distance(points: FloatArray, seed: int) -> float:
    """Return the median distance between points (n, d), of at most 1,000 of them."""
    some = points[np.random.default_rng([seed, 7]).permutation(len(points))[:1000]]
    return float(np.median(pdist(some))) or 1.0


def mmd_squared(a: FloatArray, b: FloatArray, bandwidth: float) -> float:
    """Return the squared maximum mean discrepancy (biased) between samples (n, d) and (m, d).

    The kernel is the mean of Gaussians with deviations `bandwidth` x 1/4, 1/2, 1, 2 and 4
    (Gretton et al. 2012, equation 5).
    """
    return float(
        mean_kernel(a, a, bandwidth).mean()
        - 2 * mean_kernel(a, b, bandwidth).mean()
        + mean_kernel(b, b, bandwidth).mean()
    )


def kernel_means(points: FloatArray, others: FloatArray, bandwidth: float) -> FloatArray:
    """Return the mean over `others` (m, d) of :func:`mean_kernel` of each point (n, d): (n,)."""
    # In blocks that stay in the processor's cache, however many points there are.
    size = max(1, 2**17 // len(others))
    blocks = (points[i : i + size] for i in range(0, len(points), size))
    return np.concatenate([mean_kernel(b, others, bandwidth).mean(axis=1) for b in blocks])


def mean_kernel(a: FloatArray, b: FloatArray, bandwidth: float) -> FloatArray:
    """Return the mean of five Gaussian kernels between samples (n, d) and (m, d): (n, m)."""
    # Each narrower Gaussian is the fourth power of the next wider one, so one exponential does.
    kernel = cdist(a, b, "sqeuclidean")
    kernel *= -0.5 / (bandwidth * _BANDWIDTHS[-1]) ** 2
    np.exp(kernel, out=kernel)
    total = kernel.copy()
    for _ in _BANDWIDTHS[1:]:
        kernel *= kernel
        kernel *= kernel
        total += kernel
    total /= len(_BANDWIDTHS)
    return total
