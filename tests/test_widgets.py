import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits

from mibench import scenarios
from mibench.apps.cli import main
from mibench.apps.explorer import Explorer, explore, tables
from mibench.apps.cli.settings import arguments, place_options, setting_options
from mibench.apps.explorer.controls import Controls
from mibench.apps.explorer.preparation import Training
from mibench.attacks import ATTACKS, named
from mibench.errors import MIBenchError, ScenarioInfeasible
from mibench.figures import attack_style
from mibench.outputs import Outputs
from mibench.setting import Place, Setting
from mibench.study.study import Study

ROOT = Path(__file__).parents[1]


@pytest.fixture
def explorer(digits: Study, cache_dir: Path) -> Iterator[Explorer]:
    """An explorer of what is in the cache already."""
    digits.prepare(["loss_threshold", "top1_threshold"])
    explorer = explore({}, {"cache_dir": cache_dir})
    explorer.wait()
    assert explorer.shown, explorer.status
    yield explorer
    explorer.stop()


def controls(scenario: str = "ES10", dataset: str = "digits") -> tuple[Controls, list[str]]:
    seen: list[str] = []
    made = Controls(
        Setting(dataset=dataset),
        Place(),
        scenarios.find(scenario, dataset),
        [named("gap")],
        lambda: seen.append(made.scenario.id),
    )
    return made, seen


def factors(chosen: Controls) -> tuple[object, ...]:
    names = ("distribution", "distance", "differential_distance", "withheld_ratio")
    return tuple(chosen[name].value for name in names)


def test_every_scenario_can_be_picked_by_id_and_by_its_factors() -> None:
    chosen, seen = controls("ES01")
    for scenario in scenarios.catalogue("digits"):
        chosen["scenario"].value = scenario.id
        assert factors(chosen) == tuple(list(scenario.to_dict().values())[3:])
        ratios = [s.withheld_ratio for s in scenarios.vary(scenario, "RQ4")]
        assert [value for _, value in chosen["withheld_ratio"].options] == ratios
    assert seen == [s.id for s in scenarios.catalogue("digits")[1:]]
    chosen["distribution"].value = "uniform"
    chosen["withheld_ratio"].value = 0.2
    assert chosen["scenario"].value == "ES55" and seen[-2:] == ["ES56", "ES55"]


def test_a_ratio_that_ceases_to_exist_gives_way_to_the_nearest() -> None:
    chosen, seen = controls("ES09")  # the second distance, the first differential, 5%
    assert chosen["withheld_ratio"].value == 0.05
    chosen["differential_distance"].value = 1.0
    assert chosen["withheld_ratio"].value == 0.05
    chosen["distance"].value = 0.2
    assert chosen["withheld_ratio"].value == 0.2 and len(seen) == 2


def test_a_change_of_dataset_keeps_the_id_where_there_is_one() -> None:
    chosen, _ = controls("ES24")
    chosen["dataset"].value = "Location30"
    assert chosen.scenario == scenarios.find("ES24", "Location30")


def test_numbers_are_those_of_the_command_line(explorer: Explorer, cache_dir: Path) -> None:
    for scenario in ("ES10", "ES44"):
        explorer.controls["scenario"].value = scenario
        arguments = ("attack", "loss_threshold", "--scenario", scenario, "--json")
        out = CliRunner().invoke(main, [*arguments, "--cache-dir", str(cache_dir)]).stdout
        [row] = json.loads(out)
        shown = explorer.panels[0].estimates
        for name in tables.SHOWN:
            values = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
            found = [shown[name].value, shown[name].low, shown[name].high]
            assert values == pytest.approx(found, abs=1e-9)


def test_counts_follow_the_threshold(explorer: Explorer) -> None:
    panel = explorer.panels[0]
    for position in (0, 250, 700, 1000):
        panel.slider.value = position
        scores, is_member = panel.result.inference.scores, panel.result.is_member
        doubt = np.argsort(np.abs(scores - panel.threshold), kind="stable")
        answered = np.ones(len(scores), dtype=bool)
        answered[doubt[:16]] = False
        tp = sum((scores >= panel.threshold) & is_member & answered)
        fn = sum((scores < panel.threshold) & is_member & answered)
        assert (panel.counts["TP"], panel.counts["FN"]) == (tp, fn)
        assert sum(panel.counts.values()) == 160
        assert panel.counts["WM"] + panel.counts["WN"] == 16
    panel.own.click()
    assert panel.threshold == panel.result.inference.threshold and panel.own.disabled


def test_only_what_a_control_changes_is_done_again(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[str] = []

    def watch(name: str) -> Callable[[object], None]:
        return lambda _: changed.append(name)

    panel = explorer.panels[0]
    for name, picture in (
        ("histogram", panel.histogram),
        ("map", panel.map),
        ("roc", explorer.roc),
        ("distances", explorer.distances),
    ):
        picture.widget.observe(watch(name), "value")
    attacked: list[str] = []
    assert explorer._ahead is not None
    explorer._ahead.join()
    run = Study.attack

    def attack(self: Study, name: str, scenario: scenarios.Scenario) -> object:
        attacked.append(name)
        return run(self, name, scenario)

    monkeypatch.setattr(Study, "attack", attack)
    panel.slider.value = 100
    assert (sorted(changed), attacked) == (["histogram", "map", "roc"], [])
    changed.clear()
    explorer.controls["withheld_ratio"].value = 0.4
    assert (sorted(changed), attacked) == (["histogram", "map"], [])
    assert panel.slider.value == 100 and panel.counts["WM"] + panel.counts["WN"] == 64
    changed.clear()
    explorer.controls["second_attack"].value = "top1_threshold"
    assert (changed, attacked) == (["roc"], ["top1_threshold"])
    for curve, name in zip(explorer.roc._curves, ("loss_threshold", "top1_threshold"), strict=True):
        drawn = attack_style(name)
        assert (curve.get_color(), curve.get_linestyle()) == (drawn.colour, drawn.line)
    explorer.controls["attack"].value = "top1_threshold"
    assert "distances" not in changed
    explorer.controls["distribution"].value = "bernoulli"
    assert "distances" in changed


def test_an_infeasible_scenario_is_explained(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def construct(self: Study, scenario: scenarios.Scenario) -> object:
        raise ScenarioInfeasible(scenario.label, "distance", 9.0, (1.0, 2.0))

    with monkeypatch.context() as patch:
        patch.setattr(Study, "construct", construct)
        explorer.controls["scenario"].value = "ES80"
        assert not explorer.shown and "distance 9 cannot be met" in explorer.status
    explorer.controls["scenario"].value = "ES81"
    assert explorer.shown and explorer.status.startswith("digits_Bernoulli")


def test_a_missing_file_is_explained(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIBENCH_DATA", str(tmp_path))
    explorer.controls["dataset"].value = "Location30"
    explorer.wait()
    assert not explorer.shown and "holds none of bangkok" in explorer.status
    explorer.controls["dataset"].value = "digits"
    assert explorer.shown


def test_training_is_followed_and_stopped_and_tried_again(tmp_path: Path) -> None:
    explorer = explore(epochs=1_000_000, cache_dir=tmp_path)
    trains = threading.Event()
    explorer._line.observe(
        lambda change: "training target" in change["new"] and trains.set(), "value"
    )
    assert trains.wait(60), explorer.status
    assert explorer.button.description == "Stop"
    job = explorer._job
    assert job is not None and job.training._process is not None
    explorer.button.click()
    job.thread.join()
    assert job.training._process.returncode not in (None, 0)
    assert "Stopped" in explorer.status and not explorer.shown
    assert list(tmp_path.glob("**/*.npz")) == []
    explorer._settings["epochs"] = 5
    explorer._experiments.clear()
    explorer.button.click()
    explorer.wait()
    assert explorer.shown, explorer.status


@pytest.mark.parametrize("wait", ["explorer.wait()", "explorer._job"])
def test_no_thread_outlives_the_interpreter(wait: str, digits: Study, cache_dir: Path) -> None:
    # One that does is cut off wherever it is, and within PyTorch takes the whole process down.
    digits.prepare(["loss_threshold"])
    script = f"""
import atexit, threading
atexit.register(lambda: print([t for t in threads if t.is_alive()]))
from mibench.apps.explorer import explore
explorer = explore(cache_dir={str(cache_dir)!r})
job = explorer._job
{wait}
threads = [t for t in (job and job.thread, explorer._ahead) if t is not None]
assert any(t.is_alive() for t in threads)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_an_explorer_that_is_shown_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    first = explore(epochs=1_000_000, cache_dir=tmp_path)
    while first._job is None or first._job.training._process is None:
        time.sleep(0.01)
    process = first._job.training._process
    second = explore(epochs=1_000_000, cache_dir=tmp_path)
    assert process.wait(10) != 0 and first._job is None and not first._experiments
    second.close()
    assert second._job is None


def test_a_training_that_fails_says_why() -> None:
    with pytest.raises(MIBenchError, match="unknown model"):
        Training().run(["gap", "--model", "VGG99"], lambda *_: None)
    stopped = Training()
    stopped.stop()
    with pytest.raises(MIBenchError, match="stopped"):
        stopped.run(["gap"], lambda *_: None)


def test_a_finished_store_makes_nothing(tmp_path: Path) -> None:
    key = {"seed": 0}
    with pytest.raises(NotMade):
        Finished(tmp_path).get("weights", key, lambda: {"a": np.zeros(1)})
    Store(tmp_path).get("weights", key, lambda: {"a": np.ones(1)})
    assert Finished(tmp_path).get("weights", key, dict)["a"] == 1
    [file] = tmp_path.glob("weights/*.npz")
    file.write_bytes(b"broken")
    with pytest.raises(NotMade):
        Finished(tmp_path).get("weights", key, dict)


def test_the_surest_samples() -> None:
    margin = np.array([3.0, 1.0, 9.0, 5.0, 7.0])
    right = np.array([True, False, True, False, True])
    keep = np.array([True, True, False, True, True])
    found = tables.extremes(margin, right, keep)
    assert [list(part) for part in found] == [[4, 0], [3, 1]]


def test_samples_as_images_and_as_rows() -> None:
    outputs = Outputs(np.log([[0.75, 0.25], [0.5, 0.5]]), np.array([0, 1]))
    for images in (None, np.zeros((2, 1, 8, 8), np.float32), np.zeros((2, 3, 8, 8), np.float32)):
        html = tables.samples(
            "<b>", np.array([0]), outputs, np.array([0.1, 0.2]), np.array([True, False]), images
        )
        assert (
            "&lt;b&gt;" in html
            and ("0.75" in html)
            and ("image/png" in html) == (images is not None)
        )


def test_every_attack_can_be_shown(digits: Study, cache_dir: Path) -> None:
    digits.prepare(list(REGISTRY))
    explorer = explore({}, {"cache_dir": cache_dir})
    explorer.wait()
    for name in REGISTRY:
        explorer.controls["attack"].value = name
        assert explorer.shown, explorer.status
        panel = explorer.panels[0]
        assert panel.result.attack.name == name and panel.own.disabled
        panel.slider.value = 0
        assert panel.counts["TP"] + panel.counts["FN"] + panel.counts["WM"] == 80


def test_under_papermill_the_first_state_is_a_picture(
    digits: Study, cache_dir: Path, tmp_path: Path
) -> None:
    digits.prepare(["lira_online"])
    output = tmp_path / "explore.ipynb"
    papermill.execute_notebook(
        ROOT / "notebooks" / "explore.ipynb",
        output,
        {"cache_dir": str(cache_dir)},
        progress_bar=False,
        kernel_name="python3",
    )
    cell = nbformat.read(output, as_version=4).cells[-1]
    [shown] = [o for o in cell.outputs if o.output_type == "execute_result"]
    assert "digits_Normal + 0.500 + 0.000 + 10%" in shown.data["text/plain"]
    assert 'data-metric="precision"' in shown.data["text/html"]
    assert len(shown.data["image/png"]) > 50_000


def test_a_users_own_data_are_shown(tmp_path: Path) -> None:
    data = load_digits()
    np.savez(tmp_path / "mine.npz", inputs=data.images / 16, labels=data.target)
    explorer = explore("mine.npz", data_dir=tmp_path, cache_dir=tmp_path / "cache", epochs=20)
    explorer.wait()
    assert ("mine", str(tmp_path / "mine.npz")) in explorer.controls["dataset"].options
    assert explorer.controls.scenario.dataset == "mine"
    assert 0 <= explorer.panels[0].estimates["recall"].value <= 1
    explorer.controls["dataset"].value = "digits"
    assert explorer.controls.scenario.dataset == "digits"
    explorer.stop()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"dataset": "digit"}, "did you mean digits"),
        ({"model": "VGG99"}, "unknown model"),
        ({"scenario": "ES99"}, "ES01 to ES84"),
        ({"attack": "gab"}, "did you mean gap"),
        ({"second_attack": "gab"}, "did you mean gap"),
    ],
)
def test_a_wrong_name_is_refused(wrong: dict[str, str], says: str) -> None:
    with pytest.raises(MIBenchError, match=says):
        explore(**wrong)  # type: ignore[arg-type]
