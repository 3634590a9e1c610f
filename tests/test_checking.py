"""The checks of anybody's attack find what is wrong with it."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mibench.apps.cli import main
from mibench.attacks.base import ATTACKS, NEEDS, Attack, Inference
from mibench.outputs import Outputs
from mibench.study.checking import Simulated, check
from mibench.study.metrics import auc


class Loss(Attack):
    """An attack with nothing wrong; the others differ from it."""

    name = "loss"
    title = "Loss"
    source = "a test"
    needs = frozenset[str]()
    per_sample = True

    def infer(self, target: Outputs) -> Inference:
        return Inference(self.scores(target), -1.0)

    def scores(self, target: Outputs) -> np.ndarray:
        return -target.loss


class NotFinite(Loss):
    def scores(self, target: Outputs) -> np.ndarray:
        return np.where(target.loss > 1, -np.inf, -target.loss)


class OneTooFew(Loss):
    def scores(self, target: Outputs) -> np.ndarray:
        return -target.loss[1:]


class Unseeded(Loss):
    def scores(self, target: Outputs) -> np.ndarray:
        return -target.loss + np.random.default_rng().normal(0, 1e-6, len(target))


class ByPlace(Loss):
    """Files often hold members first."""

    per_sample = False

    def scores(self, target: Outputs) -> np.ndarray:
        return -target.loss - np.arange(len(target)) / 50


class OfAll(Loss):
    def scores(self, target: Outputs) -> np.ndarray:
        return -target.loss / target.loss.mean()


class ThresholdOfAll(Loss):
    def infer(self, target: Outputs) -> Inference:
        return Inference(-target.loss, -float(target.loss.mean()))


class Undeclared(Loss):
    def scores(self, target: Outputs) -> np.ndarray:
        assert target.reference_logits is not None
        return -target.loss


class NoThreshold(Loss):
    def infer(self, target: Outputs) -> Inference:
        return Inference(-target.loss, float("nan"))


def test_nothing_is_wrong_with_a_right_attack() -> None:
    assert check(Loss) == []


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (NotFinite, ["one finite number"]),
        (OneTooFew, ["one finite number"]),
        (Unseeded, ["second run", "order", "other samples"]),
        (ByPlace, ["order", "pose as members"]),
        (OfAll, ["it says per_sample"]),
        (ThresholdOfAll, ["threshold depend on which other samples"]),
        (Undeclared, ["it fails with AssertionError"]),
        (NoThreshold, ["threshold is not a number"]),
    ],
)
def test_what_is_wrong_is_said(kind: type[Attack], said: list[str]) -> None:
    found = check(kind)
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True)), found


def test_simulated_models_memorise_and_hold_no_more_than_is_needed() -> None:
    is_member = np.arange(400) % 2 == 0
    for needs in (frozenset[str](), frozenset({"references"}), frozenset(NEEDS)):
        world = Simulated(needs)
        known, target = world.knowledge(), world.target(is_member)
        assert auc(-target.outputs.loss, is_member).low > 0.6
        assert (target.outputs.reference_in is not None) == ("references" in needs)
        assert bool(known.shadows) == ("shadow" in needs)
        copies = target.outputs.copies
        assert set(copies) == needs & {"perturbed", "noisy", "augmented"}
        if "augmented" in needs:
            losses = copies["augmented"].reference_loss
            assert losses is not None and losses.shape[2] == len(is_member)
            seen = target.outputs.reference_in
            assert losses.mean(axis=1)[seen].mean() < losses.mean(axis=1)[~seen].mean()


def test_the_command_checks_the_attacks_of_a_file(tmp_path: Path) -> None:
    source = (
        "from mibench.attacks.base import Attack, Inference, register\n\n\n"
        "@register\n"
        "class Mine(Attack):\n"
        "    name = 'mine'\n    title = 'Mine'\n    source = 'a test'\n"
        "    needs = frozenset()\n\n"
        "    def infer(self, target):\n"
        "        return Inference(-target.loss {}, -1.0)\n"
    )
    file = tmp_path / "my_attack.py"
    try:
        for change, code, said in (("", 0, "passes every check"), ("/ 0 * 0", 1, "one finite")):
            file.write_text(source.format(change), encoding="utf-8")
            with np.errstate(all="ignore"):
                result = CliRunner().invoke(main, ["check", str(file)])
            assert result.exit_code == code
            [line] = result.stdout.splitlines()
            assert line.startswith("mine: ") and said in line
    finally:
        ATTACKS._things.pop("mine", None)
    file.write_text("", encoding="utf-8")
    result = CliRunner().invoke(main, ["check", str(file)])
    assert result.exit_code == 2 and "registers no attack" in result.stderr
