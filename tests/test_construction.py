"""Constructed target datasets, measured anew from the models' raw outputs."""

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import kstest, norm, uniform
from sklearn.metrics import roc_auc_score

from mibench import scenarios
from mibench.construction.kernels import kernel_means, mean_kernel, median_distance
from mibench.construction.pairs import Pairs
from mibench.construction.pool import equal_halves
from mibench.construction.pool import pool as pool_of
from mibench.construction.shapes import draw_distances
from mibench.construction.target import Candidates, TargetDataset
from mibench.data.base import Dataset, SplitSizes
from mibench.errors import MIBenchError, ScenarioInfeasible
from mibench.outputs import Labelled, Outputs
from mibench.scenarios import DISTRIBUTIONS, catalogue, find
from mibench.setting import Setting
from mibench.signals.signals import Signals
from mibench.streams import Streams
from mibench.study.study import Study
from tests.conftest import study


@pytest.fixture(scope="module")
def digits(cache_dir: Path) -> Study:
    return study("digits", cache_dir, construction="pairs")


@pytest.fixture(scope="module")
def location30(shared_data: Path, cache_dir: Path) -> Study:
    return study("Location30", cache_dir, shared_data, construction="pairs")


@cache
def answers_of(signals: Signals) -> np.ndarray:
    """The target's logits by index of the dataset, (N, C), NaN where a sample has no role."""
    logits = np.full((len(signals.dataset.labels), signals.dataset.num_classes), np.nan)
    logits[signals.samples] = signals.outputs(signals.samples).logits
    return logits


def log_posteriors(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(float)
    return np.maximum(logits - logsumexp(logits, axis=1, keepdims=True), np.log(1e-7))


def pairs_of(target: TargetDataset) -> np.ndarray:
    """The samples of each pair, a member's and a nonmember's, by ascending distance: (n, 2)."""
    sides = (target.is_member, ~target.is_member)
    return np.column_stack([target.samples[s][target.part[s].argsort()] for s in sides])


@cache
def points_of(experiment: Study, space: str) -> np.ndarray:
    logits, inputs = answers_of(experiment.signals), experiment.dataset.inputs
    if space == "inputs":
        return inputs.reshape(len(inputs), -1)
    if space == "logits":
        return logits
    logs = log_posteriors(logits)
    return logs if space == "log_probs" else np.exp(logs)


def plain_kernel(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    widths = bandwidth * np.array([0.25, 0.5, 1, 2, 4])
    return np.mean([np.exp(-squares / (2 * w**2)).mean() for w in widths])


def check(experiment: Study, target: TargetDataset) -> None:
    """Assert everything that design promises of a target dataset, from raw outputs."""
    labels = experiment.dataset.labels
    members, nonmembers = pairs_of(target).T
    n = len(members)
    assert len(np.unique(pairs_of(target))) == 2 * n == len(target.samples)
    assert set(target.samples[target.is_member]) == set(members)
    assert set(target.samples[~target.is_member]) == set(nonmembers)
    assert target.is_member.sum() == n == experiment.pool.size
    assert set(members) <= set(experiment.signals.roles["members"])
    assert set(nonmembers) <= set(experiment.signals.roles["nonmembers"])
    assert (labels[members] == labels[nonmembers]).all()

    points = points_of(experiment, experiment.setting.space)
    distances = np.linalg.norm(points[members] - points[nonmembers], axis=1)
    assert target.distances == pytest.approx(distances, rel=1e-4, abs=1e-5)
    mean, deviation = target.distance[0], target.deviation[0]
    assert target.distance[1] == pytest.approx(distances.mean(), rel=1e-4)
    assert target.deviation[1] == pytest.approx(distances.std(), rel=1e-3)
    assert distances.mean() == pytest.approx(mean, rel=0.02)
    assert distances.std() == pytest.approx(deviation, rel=0.10)
    shape = target.scenario.distribution
    if shape == "bernoulli":
        at_atoms = np.abs(np.abs(distances - mean) - deviation) <= deviation / 4
        miss = max(abs(0.5 - (at_atoms & (distances > mean)).mean()), 1 - at_atoms.mean())
    elif shape == "normal":
        miss = kstest(distances, norm(mean, deviation).cdf).statistic
    else:
        width = np.sqrt(3) * deviation
        miss = kstest(distances, uniform(mean - width, 2 * width).cdf).statistic
    assert miss <= 0.1


def features(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    posteriors = np.exp(log_posteriors(logits))
    largest = np.sort(posteriors, axis=1)[:, :-3:-1]
    return np.column_stack([posteriors[np.arange(len(labels)), labels], largest])


@cache
def generated_of(experiment: Study) -> tuple[np.ndarray, float]:
    """Return the generated nonmembers' features and their mean kernel among themselves."""
    made = experiment.signals.generated()
    generated = features(made.logits, made.labels)
    return generated, plain_kernel(generated, generated, experiment.pool._bandwidth)


def check_mmd(experiment: Study, target: TargetDataset) -> None:
    logits, labels = answers_of(experiment.signals), experiment.dataset.labels
    own = features(logits[target.samples], labels[target.samples])
    (generated, within), width = generated_of(experiment), experiment.pool._bandwidth
    between = plain_kernel(own, generated, width)
    found = plain_kernel(own, own, width) - 2 * between + within
    wanted, measured = target.differential_distance
    assert found == pytest.approx(wanted, rel=0.02)
    assert found == pytest.approx(measured, rel=1e-4)


@pytest.mark.parametrize("name", ["digits", "location30"])
def test_all_84_scenarios_meet_their_levels(name: str, request: pytest.FixtureRequest) -> None:
    experiment: Study = request.getfixturevalue(name)
    dataset = experiment.dataset
    members, nonmembers = (experiment.signals.roles[r] for r in ("members", "nonmembers"))
    logs = log_posteriors(answers_of(experiment.signals))
    every = np.concatenate(
        [
            np.linalg.norm(logs[m] - logs[nonmembers[dataset.labels[nonmembers] == label]], axis=1)
            for m in members
            for label in dataset.labels[[m]]
        ]
    )
    found = [experiment.pool.construct(s) for s in catalogue(dataset.name)]
    checked = set()
    for target in found:
        scenario = target.scenario
        wanted = np.quantile(every, scenario.distance_quantile)
        assert target.distance[0] == pytest.approx(wanted, rel=1e-3)
        check(experiment, target)
        factors = (scenario.distribution, scenario.distance, scenario.differential_distance)
        if factors not in checked:
            checked.add(factors)
            check_mmd(experiment, target)
    assert len(checked) == 27
    # Shapes share mean and deviation, scenarios of one differential level share its MMD^2.
    for nominal in {s.distance for s in catalogue(dataset.name)}:
        same = [t for t in found if t.scenario.distance == nominal]
        assert len({(t.distance[0], t.deviation[0]) for t in same}) == 1
        assert max(t.distance[1] for t in same) / min(t.distance[1] for t in same) < 1.01
        assert max(t.deviation[1] for t in same) / min(t.deviation[1] for t in same) < 1.05
    levels = {t.scenario.differential_distance: t.differential_distance[0] for t in found}
    assert [levels[g] for g in sorted(levels)] == sorted(set(levels.values()))
    assert len({t.differential_distance[0] for t in found}) == 3


def test_the_target_model_overfits_as_published(location30: Study) -> None:
    signals, labels = location30.signals, location30.dataset.labels
    right = answers_of(signals).argmax(axis=1) == labels
    assert right[signals.roles["members"]].mean() >= 0.99
    assert 0.55 <= right[signals.roles["nonmembers"]].mean() <= 0.68


def test_the_loss_attack_gains_with_distance(location30: Study) -> None:
    logits, labels = answers_of(location30.signals).astype(float), location30.dataset.labels
    loss = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    areas = []
    for scenario in scenarios.panel("Location30", "RQ2"):
        target = location30.construct(scenario)
        areas.append(roc_auc_score(target.is_member, -loss[target.samples]))
    assert 0.7 < areas[0] < areas[1] < areas[2]


def test_the_same_pool_constructs_the_same(digits: Study, cache_dir) -> None:  # type: ignore[no-untyped-def]
    again = study("digits", cache_dir, construction="pairs")
    for name in ("ES84", "ES05", "ES40"):
        first, second = digits.construct(name), again.construct(name)
        assert (first.samples == second.samples).all()
        assert (first.part == second.part).all()
        assert first.differential_distance == second.differential_distance


@pytest.mark.parametrize("seed", [1, 2])
def test_other_seeds_meet_their_levels(seed: int, cache_dir) -> None:  # type: ignore[no-untyped-def]
    experiment = study("digits", cache_dir, construction="pairs", seed=seed)
    for scenario in catalogue("digits")[::2]:
        target = experiment.construct(scenario)
        check(experiment, target)
        check_mmd(experiment, target)


@pytest.mark.parametrize("space", ["logits", "inputs", "probs"])
def test_other_spaces_meet_their_levels_or_say_why(space: str, cache_dir) -> None:  # type: ignore[no-untyped-def]
    experiment = study("digits", cache_dir, construction="pairs", space=space)
    met = 0
    for scenario in catalogue("digits")[::9]:
        try:
            check(experiment, experiment.construct(scenario))
            met += 1
        except ScenarioInfeasible as error:
            low, high = error.reachable
            assert not low <= error.wanted <= high
    assert space == "probs" or met == 10


def test_the_stated_reachable_distances_are_reachable(cache_dir) -> None:  # type: ignore[no-untyped-def]
    experiment = study("digits", cache_dir, construction="pairs", levels="absolute")
    scenario = find("ES01", "digits")
    for wanted in (scenario.distance, 1e3):
        asked = replace(scenario, distance=wanted)
        with pytest.raises(ScenarioInfeasible, match="this pool reaches") as caught:
            experiment.construct(asked)
        low, high = caught.value.reachable
        assert caught.value.factor == "distance" and caught.value.wanted == wanted
        assert low < high and not low <= wanted <= high
        for mean in (low, (low + high) / 2, high):
            assert experiment.pool.deviation_at(mean, asked) > 0
        for mean in (low / 2, high * 2):
            with pytest.raises(ScenarioInfeasible):
                experiment.pool.deviation_at(mean, asked)


def test_absolute_levels_are_the_numbers_themselves(digits: Study, cache_dir) -> None:  # type: ignore[no-untyped-def]
    experiment = study("digits", cache_dir, construction="pairs", levels="absolute")
    mean = digits.construct("ES40").distance[0]
    asked = replace(find("ES40", "digits"), distance=mean, differential_distance=9.0)
    with pytest.raises(ScenarioInfeasible) as caught:
        experiment.construct(asked)
    assert caught.value.factor == "differential distance" and caught.value.wanted == 9
    low, high = caught.value.reachable
    assert high < 9
    for share in (0.1, 0.5, 0.9):
        level = low + share * (high - low)
        target = experiment.construct(replace(asked, differential_distance=level))
        assert target.distance[0] == mean and target.differential_distance[0] == level
        check(experiment, target)
        check_mmd(experiment, target)


@pytest.mark.parametrize("count", [2, 3, 80, 301])
def test_drawn_distances_share_mean_and_deviation(count: int) -> None:
    for shape in DISTRIBUTIONS:
        drawn = draw_distances(shape, 5, 2, count)
        assert (np.diff(drawn) >= 0).all() and len(drawn) == count
        assert (drawn.mean(), drawn.std()) == pytest.approx((5, 2))
    if count > 50:
        normal = draw_distances("normal", 5, 2, count)
        assert kstest(normal, norm(5, 2).cdf).statistic < 1.5 / count + 0.01
        assert len(np.unique(draw_distances("bernoulli", 5, 2, count))) == 2


def test_kernel_means_in_blocks_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    points, others = rng.normal(size=(700, 3)), rng.normal(size=(900, 3))
    whole = mean_kernel(points, others, 1.3).mean(axis=1)
    assert kernel_means(points, others, 1.3) == pytest.approx(whole)


def test_the_bandwidth_is_the_median_distance() -> None:
    points = np.random.default_rng(0).normal(size=(300, 3))
    apart = np.linalg.norm(points[:, None] - points, axis=2)[np.triu_indices(300, 1)]
    assert median_distance(points, np.random.default_rng(0)) == pytest.approx(np.median(apart))
    assert median_distance(np.zeros((5, 3)), np.random.default_rng(0)) == 1


def pool(labels: np.ndarray, is_member: np.ndarray, pairs: int, scale: float = 3.0) -> Pairs:
    rng = np.random.default_rng(0)
    classes = int(labels.max()) + 1
    logits = scale * rng.normal(size=(len(labels), classes))
    generated = Outputs(scale * rng.normal(size=(50, classes)), rng.integers(0, classes, 50))
    own = Labelled(Outputs(logits, labels), is_member)
    return Pairs(Candidates(own, generated, np.arange(len(labels))), pairs, Streams(seed=0))


@pytest.fixture
def patchy() -> Pairs:
    """Classes with both, with nonmembers only, with one sample, with both."""
    labels = np.repeat([0, 1, 2, 3], [100, 50, 1, 200])
    is_member = np.arange(351) % 2 == 0
    is_member[100:150] = False
    return pool(labels, is_member, 20)


def test_classes_without_members_or_with_one_sample_are_left_out(patchy: Pairs) -> None:
    patchy.levels = "absolute"
    asked = replace(find("ES40", "any"), distance=8.0, differential_distance=0.15)
    members, nonmembers = pairs_of(patchy.construct(asked)).T
    assert ((members < 100) == (nonmembers < 100)).all()
    assert ((members < 100) | (members >= 151)).all()
    assert ((nonmembers < 100) | (nonmembers >= 151)).all()


def test_levels_that_have_no_interval_in_common_are_explained(patchy: Pairs) -> None:
    with pytest.raises(ScenarioInfeasible, match="needs a differential distance that") as caught:
        patchy.construct(find("ES40", "any"))
    low, high = caught.value.reachable
    assert low < high <= caught.value.wanted


def test_too_few_pairs_of_one_class_are_refused() -> None:
    """Two members and 1,000 nonmembers of class 0 have 2,000 distances but two pairs."""
    labels = np.repeat([0, 1], [1002, 300])
    is_member = (np.arange(1302) < 2) | (np.arange(1302) >= 1002)
    with pytest.raises(MIBenchError, match="share classes for 2;"):
        pool(labels, is_member, 3)
    with pytest.raises(MIBenchError, match="share classes for 0;"):
        pool(is_member.astype(int), is_member, 3)


@pytest.mark.parametrize("pairs", [0, 1, 51])
def test_a_number_of_pairs_out_of_range_is_refused(pairs: int) -> None:
    with pytest.raises(MIBenchError, match="pairs cannot be drawn from 50 members"):
        pool(np.zeros(120, dtype=int), np.arange(120) < 50, pairs)


@pytest.mark.parametrize(("scale", "says"), [(0, "are equal"), (np.nan, "NaN or infinite")])
def test_outputs_without_distances_are_refused(scale: float, says: str) -> None:
    with pytest.raises(MIBenchError, match=says):
        pool(np.arange(200) % 2, np.arange(200) < 100, 20, scale)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells peak memory there")
def test_a_pool_of_19732_pairs_fits_in_two_gigabytes() -> None:
    """Purchase100's size, simulated, in a process of its own that reports its peak memory."""
    script = """
import re, numpy as np
from mibench.construction.pairs import Pairs
from mibench.construction.target import Candidates
from mibench.outputs import Labelled, Outputs
from mibench.scenarios import find
from mibench.streams import Streams
n, rng = 19_732, np.random.default_rng(0)
labels = rng.integers(0, 100, 2 * n + n // 4)
logits = rng.normal(0, 2, (len(labels), 100)).astype(np.float32)
logits[np.arange(len(labels)), labels] += rng.normal(np.repeat([14, 9, 4], [n, n, n // 4]), 3)
own = Labelled(Outputs(logits[: 2 * n], labels[: 2 * n]), np.arange(2 * n) < n)
generated = Outputs(logits[2 * n :], labels[2 * n :])
made = Pairs(Candidates(own, generated, np.arange(2 * n)), 300, Streams(seed=0))
made.construct(find("ES40", "Purchase100"))
# Of this program alone: ru_maxrss would count what started it.
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 2_000_000


def test_named_streams_draw_pairs_from_equal_halves() -> None:
    rng = np.random.default_rng(0)
    labels, is_member = rng.integers(0, 3, 900), np.arange(900) < 300
    own = Labelled(Outputs(3 * rng.normal(size=(900, 3)), labels), is_member)
    generated = Outputs(rng.normal(size=(50, 3)), labels[:50])
    sizes = replace(SplitSizes.equal(300), pairs=60)
    dataset = Dataset("mine", np.empty((7900, 1)), np.arange(7900) % 3, "real", "", sizes)
    candidates = Candidates(own, generated, 7000 + np.arange(900))
    setting = Setting(construction="pairs")
    held = pool_of(candidates, dataset, setting, Streams(seed=0)).candidates
    assert held.labelled.is_member.sum() == (~held.labelled.is_member).sum() == 300
    assert (held.labelled.outputs.labels == labels[held.samples - 7000]).all()
    kept = equal_halves(is_member, Streams(seed=0)("equal halves"))
    other = equal_halves(is_member, Streams(seed=1)("equal halves"))
    assert (kept == held.samples - 7000).all() and set(kept) != set(other)
