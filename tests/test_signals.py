"""Signals: what is trained, when, and what stored answers follow from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from mibench import training
from mibench.errors import MIBenchError
from mibench.outputs import cross_entropy
from mibench.signals import perturbations, signals
from tests.conftest import TINY, study

OWNERS = ("target", "shadows", "references", "distilled")


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return what is trained when target, shadow and references are asked for."""
    calls: list[str] = []
    train = training.train

    def counted(*given: Any) -> training.Weights:
        calls.append(given[6])
        return train(*given)

    monkeypatch.setattr(training, "train", counted)

    def run(owners: tuple[str, ...] = ("target",), **settings: Any) -> list[str]:
        calls.clear()
        settings = {"epochs": 1, "references": 6, "sizes": TINY} | settings
        made = study("digits", tmp_path, **settings).signals
        for name in owners:
            getattr(made, name).logits(made.samples)
        return list(calls)

    return run


def test_what_was_made_with_other_settings_is_never_served(
    trained: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained() == ["training target"]
    assert trained() == []
    for settings in (
        {"epochs": 2},
        {"seed": 1},
        {"model": "StandDNN"},
        {"recipe": {"batch_size": 16}},
        {"defence": "l2"},
        {"defence": "dropout"},
    ):
        assert trained(**settings) == ["training target"], settings
        assert trained(**settings) == []
    assert trained(sizes=TINY | {"members": 41}) == ["training target"]
    assert trained() == []
    monkeypatch.setattr(training, "source", lambda recipe: "another digest")
    assert trained() == ["training target"]


def test_a_device_has_models_of_its_own(
    trained: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = study("digits", tmp_path, epochs=1, sizes=TINY).signals.target.key
    monkeypatch.setattr(training, "find", lambda wanted: training.Device("cuda"))
    other = study("digits", tmp_path, epochs=1, sizes=TINY).signals.target.key
    assert {n for n in key if key[n] != other[n]} == {"device"}


def test_output_noise_shares_the_weights_but_not_the_answers(
    trained: Callable[..., list[str]], tmp_path: Path
) -> None:
    plain = study("digits", tmp_path, epochs=1, sizes=TINY).signals
    before = plain.target.logits(plain.samples)
    assert trained(defence="memguard") == []
    guarded = study("digits", tmp_path, epochs=1, sizes=TINY, defence="memguard").signals
    after = guarded.target.logits(guarded.samples)
    assert (before != after).any() and (before.argmax(-1) == after.argmax(-1)).all()


def test_more_references_keep_those_that_were_trained_alone(
    trained: Callable[..., list[str]],
) -> None:
    assert len(trained(("references",), model="StandDNN")) == 6
    again = trained(("references",), model="StandDNN", references=8)
    assert again == ["training references 7 of 8", "training references 8 of 8"]


def test_only_samples_with_a_role_are_answered(
    trained: Callable[..., list[str]], tmp_path: Path
) -> None:
    made = study("digits", tmp_path, epochs=1, references=6, sizes=TINY).signals
    assert len(made.samples) == 190 < len(made.dataset.labels)
    own = made.roles["auxiliary"][::-1]
    weights = next(made.references.weights())
    direct = training.predict(made.recipe, weights, made.dataset.take(own), 10)
    np.testing.assert_allclose(made.references.logits(own), direct, atol=1e-5)
    assert made.references.logits(own).shape == (6, 30, 10)


@pytest.mark.parametrize("defence", training.DEFENCES)
def test_answers_are_those_of_the_trained_weights_under_every_defence(
    trained: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    defence: str,
) -> None:
    """Models of a few epochs agree with their labels, or their teacher, more than chance does."""
    if defence == "dp_sgd":
        pytest.importorskip("opacus")
        # So few members learn nothing under the noise of the default.
        weak = {"dp_noise": 0.1, "learning_rate": 0.01}
        monkeypatch.setitem(training.DEFENCES._things, "dp_sgd", weak)
    made = study(
        "digits",
        tmp_path,
        epochs=30,
        references=6,
        distilled=2,
        defence=defence,
        recipe={"batch_size": 8},
        sizes=TINY,
    ).signals
    labels = made.dataset.labels[made.samples]
    for name in OWNERS:
        answers = getattr(made, name).logits(made.samples).argmax(axis=-1)
        assert ((answers == labels).mean(axis=1) > 0.3).all(), name


def test_outputs_of_samples_beyond_the_pool_are_theirs(tmp_path: Path) -> None:
    """The last sample of all is an auxiliary one, as it is in some seeds."""
    made = (
        study("digits", tmp_path, epochs=1, seed=seed, sizes=TINY).signals for seed in range(99)
    )
    last = next(s for s in made if s.roles["auxiliary"].max() > s.pool.max())
    own = last.roles["auxiliary"]
    seen = last.outputs(own, {"inputs"})
    assert (seen.logits == last.target.logits(own)[0]).all() and not seen.copies
    assert (seen.labels == last.dataset.labels[own]).all()


def test_copies_in_parts_are_copies_of_the_right_samples(
    trained: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "AT_ONCE", 32)
    monkeypatch.setitem(
        perturbations.MAKERS,
        "noisy",
        lambda inputs, kind, count, rng: (inputs + 0.0 for _ in range(count)),
    )
    made = study("digits", tmp_path, epochs=3, sizes=TINY).signals
    seen = made.outputs(made.pool[10:70], needs={"noisy"})
    np.testing.assert_allclose(seen.copies["noisy"].loss[5], seen.loss, atol=1e-4)


def test_augmented_queries_are_answers_of_each_model_on_the_same_copies(
    trained: Callable[..., list[str]], tmp_path: Path
) -> None:
    made = study("digits", tmp_path, epochs=3, sizes=TINY, references=6).signals
    samples = made.pool[5:25]
    images, labels = made.dataset.take(samples), made.dataset.labels[samples]
    rng = np.random.default_rng()
    copies = list(perturbations.augmented_copies(images, "image", 17, rng))
    np.testing.assert_array_equal(copies[8], images[..., ::-1])
    np.testing.assert_array_equal(copies[2][:, :, 1:], images[:, :, :-1])
    assert len({copy.tobytes() for copy in (images, *copies)}) == 18
    seen = made.outputs(samples, {"references", "augmented"}).copies["augmented"]
    for owner, losses in ((made.target, seen.loss[None]), (made.references, seen.reference_loss)):
        assert losses is not None
        [weights] = owner.weights()
        answer = owner.answering(weights)
        for i, copy in enumerate(copies):
            np.testing.assert_allclose(losses[:, i], cross_entropy(answer(copy), labels), rtol=1e-4)
    with pytest.raises(MIBenchError, match="records have none"):
        next(perturbations.augmented_copies(np.zeros((2, 3)), "binary", 17, rng))


def test_the_queries_that_are_left_are_those_that_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"epochs": 1, "sizes": TINY, "references": 6, "distilled": 2}
    made = study("digits", tmp_path, **given).signals
    needs = {"shadow", "references", "distilled", "perturbed", "noisy", "augmented"}
    real, made_queries = training.answering, [0]

    def counted(recipe: Any, weights: Any, *given: Any) -> Any:
        answer, models = real(recipe, weights, *given), len(next(iter(weights.values())))

        def asked(inputs: Any) -> Any:
            made_queries[0] += models * len(inputs)
            return answer(inputs)

        return asked

    monkeypatch.setattr(training, "answering", counted)
    *_, queries = made.left(needs)
    assert queries > made_queries[0] == 0
    made.outputs(made.pool, needs)
    made.shadow_outputs(needs)
    assert made_queries[0] == queries
    assert made.left(needs) == (0, 0, 0)


def test_rows_say_how_the_target_was_trained_and_how_good_it_is(cache_dir: Path) -> None:
    made = study("digits", cache_dir, defence="label_smoothing")
    table, answers = made.run(["ES01"], ["gap"])
    [row] = table.to_dict("records")
    assert row["defence"] == "label_smoothing" and row["device"] == made.signals.device.type
    assert row["train_label_smoothing"] == 0.1 and row["target_epsilon"] == np.inf
    for role, column in (("members", "train"), ("nonmembers", "test")):
        seen = made.signals.outputs(made.signals.roles[role])
        assert row[f"target_{column}_accuracy"] == (seen.predicted == seen.labels).mean()
    assert set(answers["defence"]) == {"label_smoothing"} and set(answers["model"]) == {"MLP"}


def test_what_another_process_trains_is_passed_over_and_the_rest_is_trained(
    trained: Callable[..., list[str]], tmp_path: Path
) -> None:
    trained()
    settings: dict[str, Any] = {"epochs": 1, "references": 6, "distilled": 2, "sizes": TINY}
    made = study("digits", tmp_path, model="StandDNN", **settings)
    owner = made.signals.references
    busy = made.store.file("weights", owner._key(owner.parts[2]), ".npz")
    target = made.store.file("weights", made.signals.target._key(slice(0, 1)), ".npz")
    with FileLock(f"{busy}.lock"), FileLock(f"{target}.lock"):
        made.train(["rmia", "distillation"])
    # Nor is what learns from the target, whose answers are not there.
    files = [*target.parent.glob("*.npz")]
    assert len(files) == 1 + 5 and not {busy, target} & {*files}
    made.train(["rmia", "distillation"])
    assert len([*target.parent.glob("*.npz")]) == 1 + 6 + 1 + 2 and made.store.waits
