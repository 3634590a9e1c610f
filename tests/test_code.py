"""Digests of source: what changes them, what they follow."""

from pathlib import Path

import pytest

from mibench import Study, catalogue, code
from mibench.attacks import ATTACKS, parse
from mibench.attacks.label_only import Gap
from mibench.errors import MIBenchError

PLUGIN = '''
"""{doc}"""
from dataclasses import dataclass

from mibench.attacks.base import Attack, Inference, register

# {comment}
@register
@dataclass
class Mine(Attack):
    name, title, source, needs = "mine", "Mine", "nobody", frozenset()
    per_sample = True
    power: float = 1.0

    def infer(self, target):
        return Inference(target.true_probs ** self.power{more}, 0.5)
'''


def loaded(file: Path, doc: str = "", comment: str = "", more: str = "") -> dict[str, str]:
    file.write_text(PLUGIN.format(doc=doc, comment=comment, more=more))
    catalogue.load_plugins([file])
    return code.digests(ATTACKS["mine"].__module__)


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ATTACKS, "_things", dict(ATTACKS._things))


def test_a_digest_knows_what_code_does_and_not_how_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    first = loaded(file)
    assert first == loaded(file, doc="said", comment="noted")
    other = loaded(file, more=" + 0")
    assert code.changed(first, other) == ["mine.py"]
    assert code.combined(first) != code.combined(other)


def test_a_digest_follows_imports_and_nothing_else() -> None:
    files = code.digests("mibench.attacks.rmia")
    assert {"mibench/attacks/rmia.py", "mibench/attacks/reference.py", "mibench/outputs.py"} <= {
        *files
    }
    assert not [f for f in files if "figures" in f or f == "mibench/attacks/lira.py"]
    made = code.digests("mibench.training.fitting")
    assert "mibench/training/single.py" in made and "mibench/study/study.py" not in made


def test_a_changed_attack_scores_the_pool_again_alone(digits: Study, tmp_path: Path) -> None:
    file, scores = tmp_path / "mine.py", []
    made: dict[str, list[bool]] = {"mine": [], "gap": []}
    digits.attack("gap", "ES10")
    for more in ("", "", " + 1"):
        loaded(file, more=more)
        digits._scored.clear()
        for name, again in made.items():
            digits.scores.made = False
            found = digits.attack(name, "ES10")
            again.append(digits.scores.made)
            if name == "mine":
                scores.append(found.inference.scores)
    assert made == {"mine": [True, False, True], "gap": [False] * 3}
    assert (scores[0] == scores[1]).all() and scores[2] == pytest.approx(scores[0] + 1)
    # One that has no file, and so no digest, is never kept.
    digits.scores.made = False
    digits.attack(type("Here", (Gap,), {"__module__": "__main__"})(), "ES10")
    assert not digits.scores.made


def test_a_plugin_brings_an_attack_with_parameters(tmp_path: Path) -> None:
    loaded(tmp_path / "mine.py")
    swept = parse([{"name": "mine", "power": [1, 2]}])
    assert [attack.label for attack in swept] == ["mine", "mine[power=2]"]
    with pytest.raises(MIBenchError, match="power is '2'; it must be a valid number"):
        parse([{"name": "mine", "power": "2"}])


@pytest.mark.parametrize(
    ("source", "says"),
    [("x = (", "SyntaxError"), ("1 / 0", "ZeroDivisionError"), (None, "cannot be read")],
)
def test_a_bad_plugin_is_one_sentence(tmp_path: Path, source: str | None, says: str) -> None:
    file = tmp_path / "bad.py"
    if source is not None:
        file.write_text(source)
    with pytest.raises(MIBenchError, match=says):
        catalogue.load_plugins([file])
