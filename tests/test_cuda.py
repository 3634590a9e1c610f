"""What only a CUDA device can show; elsewhere nothing here runs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mibench import training
from mibench.errors import MIBenchError
from mibench.training import predict, recipe, recorded, single, train
from mibench.training.device import Device
from tests.conftest import study

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

DIGITS = load_digits()
X, Y = (DIGITS.images[:300, None] / 16).astype(np.float32), DIGITS.target[:300]
# Of 90 samples in batches of 32 the last batch is smaller.
SUBSETS = np.random.default_rng(0).permutation(270).reshape(3, 90)
SINGLE = Device("cuda", mixed_precision=False, channels_last=True)
ADAM = recipe("StandDNN", 12, {"batch_size": 32})
SGD = {"batch_size": 32, "optimizer": "sgd", "learning_rate": 0.01, "schedule": "cosine"}


def largest_difference(some: training.Weights, others: training.Weights) -> float:
    assert some.keys() == others.keys()
    return float(max(np.abs(some[n] - others[n]).max() for n in some if some[n].size))


@pytest.mark.parametrize(
    "made",
    [
        ADAM,
        recipe("StandDNN", 12, SGD),
        recipe("StandDNN", 12, {**SGD, "optimizer": "adamw", "label_smoothing": 0.1}),
        recipe("StandDNN", 12, {**SGD, "augmentation": True, "dropout": 0.3}),
        recipe("VGG16", 5, {**SGD, "batch_size": 30}),
        recipe("MLP", 12, SGD),
        recipe("MLP", 12, {"batch_size": 32}),
    ],
    ids=lambda made: f"{made.model}-{made.optimizer}",
)
def test_recorded_steps_are_the_steps(
    made: training.Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
        found = train(made, X, Y, SUBSETS, 10, [1, 2, 3], device=SINGLE)
        monkeypatch.setattr(recorded, "FIRST", 10**9)
        plain = train(made, X, Y, SUBSETS, 10, [1, 2, 3], device=SINGLE)
        start = train(replace(made, epochs=1), X, Y, SUBSETS, 10, [1, 2, 3], device=SINGLE)
    assert largest_difference(found, plain) < 1e-3 * largest_difference(plain, start)


@pytest.mark.parametrize("model", ["StandDNN", "MLP"])
def test_cuda_comes_to_what_the_cpu_does(model: str) -> None:
    made = recipe(model, 3, {**SGD, "batch_size": 32})
    on_cpu = train(made, X, Y, SUBSETS, 10, [1, 2, 3])
    with torch.backends.cudnn.flags(allow_tf32=False):
        found = train(made, X, Y, SUBSETS, 10, [1, 2, 3], device=SINGLE)
        answers = predict(made, found, X, 10, SINGLE)
    assert largest_difference(found, on_cpu) < 1e-4
    np.testing.assert_allclose(answers, predict(made, found, X, 10), atol=1e-4)


def test_dropout_and_augmentation_are_drawn_anew_in_every_recorded_step() -> None:
    made = recipe("StandDNN", 30, {"batch_size": 30, "augmentation": True, "dropout": 0.5})
    # With a rate of next to nothing the network stays as it is: only draws change the loss.
    made = replace(made, learning_rate=1e-30, optimizer="sgd")
    device, losses = SINGLE, []
    x, y, subset = (torch.from_numpy(a).to("cuda") for a in (X, Y, SUBSETS[0, :30]))
    torch.manual_seed(1)
    network = training.network(made, X.shape[1:], 10)
    with recorded.own_stream(device):
        run = single._Run(made, network, 1, device, x, y, alike=True)
        run.called.train()
        for _ in range(12):
            losses.append(float(run._made(subset)))
    assert len(set(losses)) == len(losses)


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "changes", [{**SGD, "augmentation": True}, {"batch_size": 32, "dropout": 0.2}]
)
def test_a_killed_training_goes_on(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe("StandDNN", 12, changes)
    given: Any = X, Y, SUBSETS[:1], 10, [7]
    with torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
        whole = train(made, *given, device=SINGLE)
        monkeypatch.setattr(single, "SECONDS", 0.0)
        save = single._Run.save

        def killed(run: Any, path: Path) -> None:
            save(run, path)
            if run.epoch == 6:
                raise Killed

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(single._Run, "save", killed)
            train(made, *given, device=SINGLE, checkpoint=tmp_path / "c")
        resumed = train(made, *given, device=SINGLE, checkpoint=tmp_path / "c")
        other = train(made, *given[:-1], [8], device=SINGLE)
    assert largest_difference(resumed, whole) < 1e-2 * largest_difference(other, whole)


def test_lack_of_memory_on_the_device_is_told() -> None:
    made = recipe("MLP", 1)
    inputs = np.zeros((8, 4_000_000), np.float32)
    subsets = np.zeros((64, 8), np.int64)
    with pytest.raises(MIBenchError, match="lower the recipe's batch_size"):
        train(made, inputs, np.zeros(8, np.int64), subsets, 10, range(64), device=SINGLE)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_mixed_precision_learns_as_single_does(dropout: float) -> None:
    """In stacks, and with dropout one network alone."""
    made = recipe("StandDNN", 80, {"batch_size": 32, "dropout": dropout})
    for device in (Device("cpu"), SINGLE, Device("cuda", True, True)):
        weights = train(made, X, Y, SUBSETS[:1], 10, [1], device=device)
        answers = predict(made, weights, X, 10, device)[0].argmax(axis=1)
        assert (answers[SUBSETS[0]] == Y[SUBSETS[0]]).mean() > 0.95


def test_noise_is_drawn_on_the_device_alike_each_time() -> None:
    shape = (200, 3, 20, 20)
    for name, mean, deviation in (("standard_normal", 0.0, 1.0), ("random", 0.5, 12**-0.5)):
        drawn = [getattr(SINGLE.draws(np.random.default_rng(5)), name)(shape) for _ in range(2)]
        assert (drawn[0] == drawn[1]).all() and drawn[0].dtype == np.float32
        assert abs(drawn[0].mean() - mean) < 0.01 and abs(drawn[0].std() - deviation) < 0.01
        other = getattr(SINGLE.draws(np.random.default_rng(6)), name)(shape)
        assert abs(np.corrcoef(drawn[0].ravel(), other.ravel())[0, 1]) < 0.01
    assert Device("cpu").draws(rng := np.random.default_rng(5)) is rng


def test_a_study_runs_on_the_device(tmp_path: Path) -> None:
    given: Any = {"epochs": 20, "references": 6, "distilled": 2}
    made = study("digits", tmp_path, model="StandDNN", device="cuda", **given)
    table, _ = made.run(["ES01"], "all")
    assert set(table["device"]) == {"cuda"} and len(table) > 25
    assert table["accuracy"].between(0, 1).all()


def test_forks_of_the_preloaded_process_use_the_device() -> None:
    code = """
import os, torch
import mibench.apps.batch.preloaded
assert torch.cuda.is_available()
child = os.fork()
if not child:
    os._exit(0 if float(torch.ones(3, device="cuda").sum()) == 3 else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
