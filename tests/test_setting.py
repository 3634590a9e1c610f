"""Settings: read strictly, written once."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mibench.errors import MIBenchError
from mibench.setting import Place, Setting

ROOT = Path(__file__).parents[1]

# A field is added before anything else is imported; then all that knows settings is asked for it.
ADDED = """
import sys
from pydantic import Field
import mibench.setting

class Setting(mibench.setting.Setting):
    strength: float = Field(default=1.0, gt=0, description="How strong.")

mibench.setting.Setting = Setting

from click.testing import CliRunner
from mibench import Study
from mibench.apps.batch.plan import plan
from mibench.apps.cli import main
from mibench.study import results

root, cache = sys.argv[1:]
said = CliRunner().invoke(main, ["attack", "--help"]).output
assert "--strength" in said and "How strong." in said, said
wrong = CliRunner().invoke(main, ["attack", "gap", "--strength", "-1"])
assert wrong.exit_code == 2 and "strength is -1.0; it must be greater than 0" in wrong.output
[task] = plan(f"{root}/parameters/one.yaml")
assert task.parameters["setting"]["strength"] == 2.5, task.parameters
study = Study.read(task.parameters["setting"], {"cache_dir": cache})
table, _ = study.run(["ES10"], "gap")
assert table["strength"].tolist() == [2.5] and "strength" in results.identity(table)
"""


def test_a_field_that_is_added_is_an_option_a_key_and_a_column(tmp_path: Path) -> None:
    tmp_path.joinpath("notebooks").symlink_to(ROOT / "notebooks")
    tmp_path.joinpath("parameters").mkdir()
    tmp_path.joinpath("parameters", "one.yaml").write_text(
        "defaults: {dataset: digits, attacks: [gap], epochs: 1, strength: 2.5}\n"
        "notebooks: [scenario]\n"
    )
    made = subprocess.run(
        [sys.executable, "-c", ADDED, str(tmp_path), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        env=os.environ | {"MIBENCH_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seed": -1}, "f: seed is -1; it must be greater than or equal to 0"),
        ({"seed": True}, "seed is True; it must be a whole number"),
        ({"references": 7}, "references is 7; it must be even"),
        ({"recipe": 10}, "recipe is 10; give names with values"),
        ({"recipe": {"a": [1]}}, "recipe: a is \\[1\\]; it must be a number, a text"),
        ({"sizes": {"members": -1}}, "sizes: members is -1"),
        ({"device": "tpu"}, "device is 'tpu'; it must be 'auto', 'cpu' or 'cuda'"),
        ({"model": ["MLP"]}, "model is \\['MLP'\\]; it must be a text"),
        ({"dataset": ""}, "dataset is ''; it must not be empty"),
        ({1: 2}, "there is no setting '1'; known are dataset, model"),
    ],
)
def test_a_wrong_setting_is_one_sentence(given: dict[Any, Any], says: str) -> None:
    with pytest.raises(MIBenchError, match=says):
        Setting.read(given, "f")


def test_places_are_absolute_and_home_is_a_tilde(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MIBENCH_CACHE", "~/kept")
    monkeypatch.chdir(tmp_path)
    place = Place.read({"data_dir": "~/x", "plugins": ["a.py"]})
    assert place.data_dir == tmp_path / "x" and place.cache_dir == tmp_path / "kept"
    assert place.plugins == (tmp_path / "a.py",)


def test_pairs_have_no_groups_to_leave_out() -> None:
    assert Setting().withheld_by == "groups"
    assert Setting(withholding="attack").withheld_by == "attack"
    assert Setting(construction="pairs").withheld_by == "attack"
