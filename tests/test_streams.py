"""Random streams: equal where they should be, and of no use to who is handed another."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mibench.streams import Streams
from mibench.study.study import Study


def test_streams_follow_from_entropy_and_role() -> None:
    one, same, other = Streams(seed=0, data="x"), Streams(data="x", seed=0), Streams(seed=1)
    assert one("order").random() == same("order").random() == one("order").random()
    drawn = {
        one("order").random(),
        one("splits").random(),
        one("order", 1).random(),
        other("order").random(),
    }
    assert len(drawn) == 4
    assert 0 <= one.seed("training", 3) < 2**32 and one.seed("a") != one.seed("b")


@pytest.mark.parametrize("scenario", ["ES01", "ES42"])
def test_no_guess_from_what_an_attack_is_handed_finds_the_members(
    digits: Study, scenario: str
) -> None:
    """The seed and the number of samples: a hundred ways of shuffling by them."""
    target = digits.construct(scenario)
    count, seed = len(target.samples), digits.signals.streams.seed("attacks")
    generators = [np.random.default_rng([seed, k]) for k in range(40)]
    generators += [np.random.default_rng([k, seed]) for k in range(20)]
    generators += [np.random.default_rng(seed + k) for k in range(20)]
    generators += [Streams(seed=seed)(role) for role in ("order", "splits", "groups")]
    generators += [Streams(seed=k)("order") for k in range(10)]
    generators += [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(10)]
    areas = [
        roc_auc_score(target.is_member, guess)
        for generator in generators
        for order in [generator.permutation(count)]
        for guess in (order < count // 2, np.argsort(order) < count // 2)
    ]
    assert len(areas) >= 200
    # An AUC's standard error where nothing can be told (Mann-Whitney): chance never takes five.
    error = np.sqrt((count + 1) / (3 * count**2))
    assert np.abs(np.array(areas) - 0.5).max() < 5 * error
