import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from tqdm import tqdm

from mibench import models, training
from mibench.errors import MIBenchError
from mibench.signals import memguard
from mibench.training import Recipe, predict, recipe, single, stacked, train, work
from mibench.training.device import Device
from mibench.training.memory import check_memory

DIGITS = load_digits()
X, Y = (DIGITS.images[:260, None] / 16).astype(np.float32), DIGITS.target[:260]
SUBSETS = np.stack([np.arange(60), np.arange(60, 120)])


def fitted(made: Recipe, **given: Any) -> training.Weights:
    return train(made, X, Y, SUBSETS[:1], 10, [7], **given)


def trained_alone(made: Recipe, x: Any, y: Any, subset: Any, seed: int) -> single.State:
    torch.manual_seed(seed)
    network = training.network(made, x.shape[1:], 10)
    given = map(torch.from_numpy, (x, y, subset))
    return single.fit(made, network, *given, seed, Device("cpu"), tqdm(disable=True))


def accuracy(made: Recipe, weights: training.Weights) -> tuple[float, float]:
    right = predict(made, weights, X, 10)[0].argmax(axis=1) == Y
    return right[SUBSETS[0]].mean(), right[60:].mean()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "sgd", "schedule": "cosine", "label_smoothing": 0.2},
    ],
)
def test_a_stack_equals_models_trained_alone(changes: dict[str, Any]) -> None:
    made = recipe("MLP", 4, changes)
    stack = train(made, X, Y, SUBSETS, 10, [3, 4])
    for k, seed in enumerate((3, 4)):
        alone = trained_alone(made, X, Y, SUBSETS[k], seed)
        for name, value in alone.items():
            np.testing.assert_allclose(stack[name][k], value, atol=2e-5)


def test_what_a_perceptron_is() -> None:
    assert stacked.is_perceptron(models.build("MLP", (3, 8, 8), 2))
    assert stacked.is_perceptron(models.build("StandDNN", (20,), 2))
    assert not stacked.is_perceptron(models.build("StandDNN", (1, 8, 8), 2))
    assert not stacked.is_perceptron(nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)))

    class Own(nn.Sequential):
        """What its `forward` does cannot be told from its layers."""

    layers = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)
    assert stacked.is_perceptron(nn.Sequential(*layers))
    assert not stacked.stacks(Own(*layers), Device("cuda"))


def test_many_deep_perceptrons_learn_from_a_teacher_as_each_would_alone() -> None:
    """More than are trained at once, with several hidden layers, from posteriors."""
    made = recipe("StandDNN", 2, {"optimizer": "adam", "batch_size": 25})
    records = X.reshape(len(X), -1)
    posteriors = np.random.default_rng(0).dirichlet(np.full(10, 0.2), len(X)).astype(np.float32)
    subsets = np.stack([np.random.default_rng(k).permutation(120)[:60] for k in range(35)])
    assert training.together(made, records.shape[1:], 10, Device("cpu")) == stacked.AT_ONCE < 31
    stack = train(made, records, posteriors, subsets, 10, range(35))
    for k in (0, 31, 32, 34):
        for name, value in trained_alone(made, records, posteriors, subsets[k], k).items():
            np.testing.assert_allclose(stack[name][k], value, atol=2e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 25},
        {"optimizer": "sgd", "schedule": "cosine", "label_smoothing": 0.2},
        {"optimizer": "adamw", "weight_decay": 0.1},
    ],
)
def test_convolutional_networks_in_a_stack_learn_as_each_would_alone(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on CUDA, where `train` stacks them; on a CPU it does not."""
    made = recipe("StandDNN", 2, changes)
    assert training.together(made, X.shape[1:], 10, Device("cpu")) == 1
    assert training.together(made, X.shape[1:], 10, Device("cuda")) == stacked.AT_ONCE
    assert training.together(recipe("VGG16", 2), X.shape[1:], 10, Device("cuda")) == 1
    monkeypatch.setattr(stacked, "stacks", lambda *_: True)
    stack = train(made, X, Y, SUBSETS, 10, [3, 4])
    for k, seed in enumerate((3, 4)):
        for name, value in trained_alone(made, X, Y, SUBSETS[k], seed).items():
            np.testing.assert_allclose(stack[name][k], value, atol=2e-5)


@pytest.mark.parametrize("model", ["MLP", "StandDNN"])
def test_weights_do_not_hang_on_how_many_threads_are_free(model: str) -> None:
    before = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            weights = fitted(recipe(model, 2))
            answers = predict(recipe(model, 2), weights, X, 10)
            found.append({**weights, "answers": answers})
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all((other[name] == value).all() for name, value in found[0].items())


def test_the_work_of_a_training_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_SECONDS", 0.01)
    made, device = recipe("MLP", 3), training.find("cpu")
    found = work.work_of(3, 1000, 500, made, (20,), 10, device)
    first, last = (m for m in models.build("MLP", (20,), 10).modules() if isinstance(m, nn.Linear))
    # A product forward, one for the weights' gradient, and for the last layer one for its input's.
    products = 2 * first.weight.numel() + 3 * last.weight.numel()
    query = first.weight.numel() + last.weight.numel()
    assert found.flops == 1000 * 2 * products + 500 * 2 * query
    parameters = sum(p.numel() for p in (*first.parameters(), *last.parameters()))
    assert found.bytes == 3 * 4 * parameters and found.seconds > 0
    start, step, asked = work._pace(made, (20,), 10, device)
    assert found.seconds == pytest.approx(3 * start + 1000 * step + 500 * asked) and start < 1


def test_the_pace_is_that_of_a_long_training() -> None:
    made, device = recipe("StandDNN", 40), training.find("cpu")
    start, step, asked = work._pace(made, X.shape[1:], 10, device)
    began = time.perf_counter()
    weights = train(made, X[:128], Y[:128], np.arange(128)[None], 10, [0])
    taken = time.perf_counter() - began
    assert 0.3 * taken < start + 40 * 128 * step < 3 * taken
    many = np.concatenate([X] * 20)
    began = time.perf_counter()
    predict(made, weights, many, 10)
    taken = time.perf_counter() - began
    assert 0.3 * taken < len(many) * asked < 3 * taken


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "made",
    [
        recipe("StandDNN", 4, {"augmentation": True, "dropout": 0.3}),
        recipe("DenseNet121", 3),
        recipe("MLP", 4, defence="early_stopping"),
        recipe("MLP", 3, defence="dp_sgd"),
    ],
    ids=lambda made: made.model,
)
def test_a_killed_training_ends_with_the_same_weights(
    made: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if made.dp_noise:
        pytest.importorskip("opacus")
    # Of few members the steps of a deep network are quick.
    given: Any = X, Y, SUBSETS[:1, :20], 10, [7]
    more: dict[str, Any] = {"validation": (X[120:160], Y[120:160])}
    whole = train(made, *given, **more)
    monkeypatch.setattr(single, "SECONDS", 0.0)
    save, pass_over = single._Run.save, single._Run.pass_over

    def killed_after_two(run: Any, path: Path) -> None:
        save(run, path)
        if run.epoch == 2:
            raise Killed

    file = tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(single._Run, "save", killed_after_two)
        train(made, *given, checkpoint=file, **more)
    [left] = tmp_path.iterdir()
    assert torch.load(left, weights_only=True)["epoch"] == 2
    epochs: list[int] = []

    def counted(run: Any, *given: Any) -> float:
        epochs.append(run.epoch)
        return pass_over(run, *given)

    monkeypatch.setattr(single._Run, "pass_over", counted)
    resumed = train(made, *given, checkpoint=file, **more)
    assert epochs[0] == 2 and not list(tmp_path.iterdir())
    assert all((resumed[name] == whole[name]).all() for name in whole)


def damaged(file: Path, how: str) -> None:
    """Damage a sound checkpoint in one way."""
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-100])
        return
    if how == "a byte":
        content = bytearray(file.read_bytes())
        with zipfile.ZipFile(file) as records:
            largest = max(records.infolist(), key=lambda record: record.file_size)
        content[largest.header_offset + 1000] ^= 1
        file.write_bytes(content)
        return
    state = torch.load(file, weights_only=True)
    if how == "of another seed":
        state["made"] = state["made"].replace(" 7", " 8")
    elif how == "other tensors":
        state["network"] = {n: torch.zeros(3) for n in state["network"]}
    elif how == "other moments":
        state["optimizer"]["param_groups"] = []
    elif how == "nothing but a number":
        state = 5
    torch.save(state, file)


@pytest.mark.parametrize(
    "how",
    ["cut", "a byte", "of another seed", "other tensors", "other moments", "nothing but a number"],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_line(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe("StandDNN", 2)
    whole, file = fitted(made), tmp_path / "c.0.pt"
    save = single._Run.save

    def killed(run: Any, path: Path) -> None:
        save(run, path)
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(single, "SECONDS", 0.0)
        patched.setattr(single._Run, "save", killed)
        fitted(made, checkpoint=tmp_path / "c")
    damaged(file, how)
    with pytest.warns(UserWarning, match=r"c\.0\.pt is damaged; training starts anew"):
        again = fitted(made, checkpoint=tmp_path / "c")
    assert all((again[name] == value).all() for name, value in whole.items())


def test_checkpoints_are_saved_by_the_minute_and_never_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, saved = [0.0], []

    def pass_over(run: Any, *_: Any) -> float:
        now[0] += 25.0
        return 0.0

    monkeypatch.setattr(single, "monotonic", lambda: now[0])
    monkeypatch.setattr(single._Run, "pass_over", pass_over)
    monkeypatch.setattr(single._Run, "save", lambda run, _: saved.append(run.epoch))
    fitted(recipe("StandDNN", 9), checkpoint=tmp_path / "c")
    assert saved == [3, 6]


def test_the_default_recipe_overfits() -> None:
    made = recipe("StandDNN", 60)
    on_members, on_others = accuracy(made, fitted(made))
    assert on_members > 0.98 > on_others


def test_lack_of_memory_is_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe("ResNet50", 1, {"batch_size": 64})
    check_memory(made, (3, 32, 32), 10, Device("cpu"), 0)
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10**9})()
    )
    with pytest.raises(MIBenchError, match=r"batches of 64 takes about .* lower .* batch_size"):
        check_memory(made, (3, 32, 32), 10, Device("cpu"), 0)
    check_memory(replace(made, batch_size=4), (3, 32, 32), 10, Device("cpu"), 0)
    # A stack of perceptrons takes as many times what one does.
    check_memory(recipe("MLP"), (600,), 100, Device("cpu"), 0, 64)
    inputs, classes = np.zeros((200, 10_000), np.float32), np.zeros(200, np.int64)
    subsets = np.zeros((64, 100), np.int64)
    with pytest.raises(MIBenchError, match=r"training 64 MLP at once .* takes about 1\.\d GB"):
        train(recipe("MLP", 1), inputs, classes, subsets, 10, range(64))


def test_devices() -> None:
    assert training.find("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert training.find("auto").type == "cpu"
        with pytest.raises(MIBenchError, match="no CUDA device"):
            training.find("cuda")
    with pytest.raises(MIBenchError, match="unknown device 'tpu'"):
        training.find("tpu")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimizer": "lion"}, "it must be 'adam', 'adamw' or 'sgd'"),
        ({"momentum": 0.5}, "a recipe has no 'momentum'"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"batch_size": "many"}, "batch_size is 'many'; it must be a whole number"),
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ({"batch_size": True}, "batch_size is True; it must be a whole number"),
        ({"learning_rate": "1e-3"}, "must be a number; YAML takes 1e-3 for a text, write 1.0e-3"),
        ({"learning_rate": None}, "learning_rate is None; it must be a number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a finite number"),
        ({"weight_decay": float("inf")}, "weight_decay is inf; it must be a finite number"),
        ({"augmentation": "no"}, "augmentation is 'no'; it must be true or false"),
        ({"optimizer": ["sgd"]}, "optimizer is .* it must be 'adam', 'adamw' or 'sgd'"),
        ({"patience": 0}, "patience is 0; it must be greater than or equal to 1"),
        ({"patience": 1.5}, "patience is 1.5; it must be a whole number"),
        ({"dropout": 1.0, "dp_clip": 0}, "dropout is 1.0; .*; dp_clip is 0; it must be greater"),
        ({"epochs": 3}, "a recipe has no 'epochs'"),
    ],
)
def test_mistaken_recipes_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(MIBenchError, match=says):
        recipe("MLP", 5, changes)


def test_augmentation_mirrors_and_shifts() -> None:
    images = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(400, 1, 1, 1)
    found = single._augment(images, torch.Generator().manual_seed(0))
    padded = nn.functional.pad(images[0, 0], [1] * 4)
    possible = [padded[i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    padded = padded.flip(1)
    possible += [padded[i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    seen = {next(k for k, p in enumerate(possible) if (p == f[0]).all()) for f in found}
    assert seen == set(range(18))
    with pytest.raises(MIBenchError, match="these are records"):
        training.network(recipe("MLP", 1, {"augmentation": True}), (20,), 2)


# --- defences ---------------------------------------------------------------------------------


def norm(weights: training.Weights) -> float:
    return float(sum((v.astype(np.float64) ** 2).sum() for v in weights.values()))


def test_l2_shrinks_weights() -> None:
    assert norm(fitted(recipe("MLP", 30, defence="l2"))) < 0.8 * norm(fitted(recipe("MLP", 30)))


def test_label_smoothing_is_the_mixture_of_targets() -> None:
    """Smoothed training equals training on (1 - a) onehot + a / C as soft targets."""
    smoothed = fitted(recipe("MLP", 3, defence="label_smoothing"))
    targets = (0.9 * np.eye(10)[Y] + 0.01).astype(np.float32)
    soft = train(recipe("MLP", 3), X, targets, SUBSETS[:1], 10, [7])
    for name, value in soft.items():
        np.testing.assert_allclose(smoothed[name], value, atol=2e-5)


def test_dropout_acts_in_training_only() -> None:
    made = recipe("MLP", 5, defence="dropout")
    network = training.network(made, X.shape[1:], 10)
    x = torch.from_numpy(X)
    assert (network.train()(x) != network(x)).any()
    assert (network.eval()(x) == network(x)).all()
    weights = fitted(made)
    assert (predict(made, weights, X, 10) == predict(made, weights, X, 10)).all()
    assert [type(m).__name__ for m in network][-1] == "Sequential"


def test_early_stopping_keeps_the_weights_of_the_lowest_validation_loss() -> None:
    made = recipe("MLP", 60, {"learning_rate": 0.01}, "early_stopping")
    # A third of the labels are wrong, so that confidence costs.
    held_out = (X[120:], np.where(np.arange(140) % 3, Y[120:], (Y[120:] + 1) % 10))
    losses = []
    for epochs in range(1, 31):
        plain = replace(made, epochs=epochs, patience=None)
        logits = torch.from_numpy(predict(plain, fitted(plain), held_out[0], 10)[0])
        losses.append(float(nn.functional.cross_entropy(logits, torch.from_numpy(held_out[1]))))
    rises = np.array([min(losses[e + 1 : e + 4]) >= losses[e] for e in range(27)])
    best = next(e for e in np.flatnonzero(rises) if losses[e] == min(losses[: e + 1]))
    expected = fitted(replace(made, epochs=int(best) + 1, patience=None))
    stopped = fitted(made, validation=held_out)
    for name, value in expected.items():
        np.testing.assert_allclose(stopped[name], value, atol=2e-4)


def test_memguard_keeps_the_answer_and_changes_the_entropy_within_its_budget() -> None:
    made = recipe("MLP", 40)
    logits = 10 * predict(made, fitted(made), X, 10)
    noised = memguard.noised(logits, 1.0, 0)
    before, after = (torch.from_numpy(v).softmax(-1).numpy()[0] for v in (logits, noised))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    distance = np.abs(after - before).sum(axis=1)
    changed = distance > 1e-5
    assert 0.3 < changed.mean() < 0.95
    # The expected distance is the budget wherever the noise lies farther away than that.
    assert distance[SUBSETS[0]].mean() == pytest.approx(1, abs=0.3)
    entropy = [-(p * np.log(np.maximum(p, 1e-12))).sum(axis=1) for p in (before, after)]
    assert entropy[1][changed].mean() > 2 * entropy[0][changed].mean()
    assert (memguard.noised(logits[:, ::-1], 1.0, 0)[:, ::-1] == noised).all()
    assert (memguard.noised(logits, 1.0, 1) != noised).any()
    untouched = memguard.noised(logits, 0.0, 0)
    np.testing.assert_allclose(np.exp(untouched)[0], before, atol=1e-6)


def test_dp_sgd_clips_and_accounts() -> None:
    pytest.importorskip("opacus")
    from mibench.training import private

    made = recipe("StandDNN", 2, {"batch_size": 30}, "dp_sgd")
    sgd = replace(made, optimizer="sgd", learning_rate=1.0, dp_noise=1e-9, epochs=1)
    torch.manual_seed(7)
    start = training.network(sgd, X.shape[1:], 10).state_dict()
    end = train(replace(sgd, batch_size=60), X, Y, SUBSETS[:1], 10, [7])
    moved = sum(float(((end[n][0] - v.numpy()) ** 2).sum()) for n, v in start.items()) ** 0.5
    # One step over all samples without noise: a mean of gradients clipped to 1.
    assert 0 < moved <= 1.0001
    # Everybody in every batch is the plain Gaussian mechanism: its epsilon falls with the noise.
    spent = [private.epsilon(replace(made, dp_noise=n), 1000) for n in (0.5, 1.0, 2.0)]
    assert spent[0] > spent[1] > spent[2] > 0
    networks = training.network(recipe("ResNet50", 1, defence="dp_sgd"), (3, 32, 32), 10)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in networks.modules())


def test_an_unknown_defence_is_refused() -> None:
    with pytest.raises(MIBenchError, match="unknown defence 'armour'; known are none, early"):
        recipe("MLP", 1, defence="armour")


def test_a_defence_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.DEFENCES, "_things", dict(training.DEFENCES))
    training.DEFENCES.add("both", {"weight_decay": 0.1, "patience": 2})
    made = recipe("MLP", 1, {"patience": 9}, "both")
    assert (made.weight_decay, made.patience) == (0.1, 2)
    training.DEFENCES.add("wrong", {"weight_decay": -1.0})
    with pytest.raises(MIBenchError, match=r"weight_decay is -1\.0; it must be greater than"):
        recipe("MLP", 1, defence="wrong")
