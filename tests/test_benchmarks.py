"""What the benchmarks compare agrees, and is kept; times are not looked at."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from mibench.attacks.base import parse
from mibench.outputs import Outputs

RUN = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "run.py"))


def test_attacks_by_references_are_their_plain_definitions() -> None:
    said = RUN["references"](400, 8, 5, runs=1)
    worst = [float(line.rpartition(" ")[2]) for line in said.splitlines()]
    assert len(worst) == 2 and max(worst) < 1e-5


def test_what_is_measured_is_kept_in_one_file_a_machine_and_version(tmp_path: Path) -> None:
    for said in ("slow", "fast\n    and small"):
        RUN["keep"]("shapley", said, tmp_path)
    RUN["keep"]("blindmi", "equal", tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 1
    rows = [line for line in RUN["tables"](tmp_path).splitlines() if line.startswith("| `")]
    assert rows == ["| `shapley` | fast |", "| `shapley` | and small |", "| `blindmi` | equal |"]


@pytest.mark.parametrize("name", ["lira_online", "lira_offline", "rmia", "base", "calibrated"])
def test_attacks_by_references_hold_little_beside_the_references(name: str) -> None:
    target, known = RUN["simulated"](3000, 32, 100)
    assert target.reference_logits is not None
    [attack] = parse([name])
    peak = RUN["_peak"](lambda: attack.fit(known).infer(target))
    assert peak < target.reference_logits.nbytes / 2


def test_posteriors_of_many_classes_are_read_in_blocks() -> None:
    rng = np.random.default_rng(0)
    outputs = Outputs(rng.standard_normal((20_000, 100), np.float32), rng.integers(0, 100, 20_000))
    whole = -np.sort(-outputs.probs, axis=1)[:, :3]
    assert (outputs.top_probs(3) == whole).all()
    assert RUN["_peak"](lambda: outputs.top_probs(3)) < outputs.logits.nbytes / 2
