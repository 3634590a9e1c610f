import base64
import io
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_digits

from mibench import scenarios
from mibench.apps.cli import main
from mibench.apps.cli.settings import arguments, place_options, setting_options
from mibench.apps.explorer import Explorer, explore
from mibench.apps.explorer.controls import Controls
from mibench.apps.explorer.page import Part
from mibench.apps.explorer.panel import SHOWN, _thumbnail, extremes
from mibench.apps.explorer.preparation import Training
from mibench.attacks import ATTACKS, Attack, named
from mibench.errors import MIBenchError, ScenarioInfeasible
from mibench.figures import attack_style
from mibench.figures.scenario import ScoreAxis
from mibench.setting import Place, Setting
from mibench.study.study import Study


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
        for name in SHOWN:
            values = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
            found = [shown[name].value, shown[name].low, shown[name].high]
            assert values == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize("withholding", ["groups", "attack"])
def test_counts_follow_the_threshold(explorer: Explorer, withholding: str) -> None:
    explorer.controls["withholding"].value = withholding
    explorer.wait()
    panel = explorer.panels[0]
    scores, is_member = panel.result.inference.scores, panel.result.is_member
    withheld = len(scores) // 10 if withholding == "attack" else 0
    for position in (0, 250, 700, 1000):
        panel.slider.value = position
        doubt = np.argsort(np.abs(scores - panel.threshold), kind="stable")
        answered = np.ones(len(scores), dtype=bool)
        answered[doubt[:withheld]] = False
        tp = sum((scores >= panel.threshold) & is_member & answered)
        fn = sum((scores < panel.threshold) & is_member & answered)
        assert (panel.counts["TP"], panel.counts["FN"]) == (tp, fn)
        assert sum(panel.counts.values()) == len(scores)
        assert panel.counts["WM"] + panel.counts["WN"] == withheld
    panel.own.click()
    assert panel.threshold == panel.result.inference.threshold and panel.own.disabled


def test_only_what_a_control_changes_is_done_again(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[str] = []

    def watch(name: str) -> Callable[[object], None]:
        return lambda _: changed.append(name)

    panel = explorer.panels[0]
    for name, part in (
        ("scores", panel.scores),
        ("outcome", panel.outcome),
        ("curves", explorer.curves),
        ("distances", explorer.distances),
    ):
        part.widget.observe(watch(name), "value")
    attacked: list[str] = []
    assert explorer._ahead is not None
    explorer._ahead.join()
    run = Study.attack

    def attack(self: Study, spec: Attack, scenario: scenarios.Scenario) -> object:
        attacked.append(spec.label)
        return run(self, spec, scenario)

    monkeypatch.setattr(Study, "attack", attack)
    panel.slider.value = 100
    assert (sorted(changed), attacked) == (["curves", "outcome", "scores"], [])
    changed.clear()
    explorer.controls["second_attack"].value = "top1_threshold"
    assert attacked == ["top1_threshold"] and "distances" not in changed
    lines = {(line.get_color(), line.get_linestyle()) for line in explorer._roc.axes.lines}
    for name in ("loss_threshold", "top1_threshold"):
        assert (attack_style(name).colour, attack_style(name).line) in lines
    explorer.controls["attack"].value = "top1_threshold"
    assert "distances" not in changed
    explorer.controls["distribution"].value = "bernoulli"
    assert "distances" in changed


def test_pictures_say_their_values_where_the_pointer_is(explorer: Explorer) -> None:
    result = explorer.panels[0].result
    scores, is_member = result.inference.scores, result.is_member
    said = re.findall(r"members (\d+), nonmembers (\d+)", explorer.panels[0].scores.html)
    counts = np.array(said, dtype=int)
    assert len(counts) == ScoreAxis.bins
    assert counts.sum(axis=0).tolist() == [is_member.sum(), (~is_member).sum()]
    pattern = r">{} ([^<]*)</text><text[^>]*>{} ([^<]*): Loss-Threshold<"
    called = scores >= np.append(np.unique(scores), np.inf)[:, None]
    fpr, tpr = called[:, ~is_member].mean(axis=1), called[:, is_member].mean(axis=1)
    curve = re.findall(pattern.format("FPR", "TPR"), explorer.curves.html)
    assert len(curve) == ScoreAxis.bins
    for at, value in curve:
        assert float(value) == pytest.approx(tpr[fpr <= float(at)].max(), abs=1e-3)
    assert len(re.findall(pattern.format("recall", "precision"), explorer.curves.html)) == len(
        curve
    )


def test_all_attacks_over_the_levels_of_a_factor(explorer: Explorer, digits: Study) -> None:
    explorer.tabs.selected_index = 1
    explorer.wait()
    for scenario in ("ES10", "ES13"):
        explorer.controls["scenario"].value = scenario
        explorer.wait()
        rows = re.findall(r'scope="row">([^<]+)</th>(.*?)</tr>', explorer.levels.html, re.S)
        shown = {title: re.findall(r">([-–.\d]+)</td>", cells) for title, cells in rows}
        among = scenarios.vary(digits.scenario(scenario), "RQ4")
        values = [digits.attack("loss_threshold", s).metrics["ma"].value for s in among]
        assert shown["Loss-Threshold"] == [f"{value:.3f}" for value in values]
        [chosen] = re.findall(r'class="chosen" aria-current="true">([^<]+)<', explorer.levels.html)
        assert chosen.endswith(f"({scenario})")
        assert explorer.levels in explorer._parts
    explorer.question.value = "RQ1"
    assert explorer.levels not in explorer._parts
    explorer.wait()
    assert "uniform (ES41)" in explorer.levels.html
    explorer.question.value = "RQ3"
    explorer.stop()  # hides everything, and with it gives up the comparison
    explorer.wait()
    explorer.button.click()
    explorer.wait()
    assert explorer.shown and explorer.levels in explorer._parts


def test_pictures_are_saved_as_figures(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explorer._saves.click()
    assert explorer.status.endswith(str(tmp_path / "figures"))
    names = {f"digits_ES10_loss_threshold_{name}" for name in ("scores", "roc", "distances")}
    assert {file.stem for file in (tmp_path / "figures").iterdir()} == names
    again = "\n".join(re.findall(r"<pre>(.*?)</pre>", explorer.again.html, re.S))
    assert "explore({}, {" in again and "&#39;ES10&#39;, &#39;loss_threshold&#39;)" in again


def test_a_ratio_runs_no_attack_again_where_the_attack_withholds(
    cache_dir: Path, digits: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits.prepare(["loss_threshold"])
    explorer = explore({"withholding": "attack"}, {"cache_dir": cache_dir})
    explorer.wait()
    panel = explorer.panels[0]
    panel.slider.value = 100
    monkeypatch.setattr(Study, "attack", None)
    explorer.controls["withheld_ratio"].value = 0.4
    assert panel.slider.value == 100
    assert panel.counts["WM"] + panel.counts["WN"] == 0.4 * len(panel.result.is_member)
    explorer.stop()


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


def test_a_missing_file_is_explained(digits: Study, cache_dir: Path, tmp_path: Path) -> None:
    digits.prepare(["loss_threshold"])
    explorer = explore({}, {"cache_dir": cache_dir, "data_dir": tmp_path})
    explorer.wait()
    explorer.controls["dataset"].value = "Location30"
    explorer.wait()
    assert not explorer.shown and "holds none of bangkok" in explorer.status
    explorer.controls["dataset"].value = "digits"
    assert explorer.shown
    explorer.stop()


def test_training_is_followed_and_stopped_and_tried_again(tmp_path: Path) -> None:
    explorer = explore({"epochs": 1_000_000}, {"cache_dir": tmp_path})
    trains = threading.Event()
    explorer._head.widget.observe(
        lambda change: "training target" in change["new"] and trains.set(), "value"
    )
    assert trains.wait(600), explorer.status
    assert explorer.button.description == "Stop"
    job = explorer._job
    assert job is not None and job.training._process is not None
    explorer.button.click()
    job.thread.join()
    assert job.training._process.returncode not in (None, 0)
    assert "Stopped" in explorer.status and not explorer.shown
    assert list(tmp_path.glob("**/*.npz")) == []
    explorer.controls._first = Setting(epochs=5)
    explorer.button.click()
    explorer.wait()
    assert explorer.shown, explorer.status


def test_no_thread_outlives_the_interpreter(digits: Study, cache_dir: Path) -> None:
    # One that does is cut off wherever it is, and within PyTorch takes the whole process down.
    digits.prepare(["loss_threshold"])
    # What both cases import is imported once; each is a fork, whose interpreter ends as any other.
    script = f"""
import atexit, os, threading
threads = []
atexit.register(lambda: print([t for t in threads if t.is_alive()]))
from mibench.apps.explorer import explore
for waits in (True, False):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        continue
    explorer = explore(place={{"cache_dir": {str(cache_dir)!r}}})
    job = explorer._job
    if waits:
        explorer.wait()
    threads = [t for t in (job and job.thread, explorer._ahead) if t is not None]
    assert any(t.is_alive() for t in threads)
    break
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    # Of both cases, and of what forked them.
    assert done.stdout == 3 * "[]\n"


def test_an_explorer_that_is_shown_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    first = explore({"epochs": 1_000_000}, {"cache_dir": tmp_path})
    while first._job is None or first._job.training._process is None:
        time.sleep(0.01)
    process = first._job.training._process
    second = explore({"epochs": 1_000_000}, {"cache_dir": tmp_path})
    assert process.wait(10) != 0 and first._job is None and not first._studies
    second.close()
    assert second._job is None


def test_a_training_that_fails_says_why() -> None:
    with pytest.raises(MIBenchError, match=r"^seed is -1; it must be"):
        Training().run(["gap", "--seed", "-1"], lambda *_: None)
    stopped = Training()
    stopped.stop()
    with pytest.raises(MIBenchError, match="stopped"):
        stopped.run(["gap"], lambda *_: None)


def test_the_surest_samples() -> None:
    margin = np.array([3.0, 1.0, 9.0, 5.0, 7.0])
    right = np.array([True, False, True, False, True])
    keep = np.array([True, True, False, True, True])
    found = extremes(margin, right, keep)
    assert [list(part) for part in found] == [[4, 0], [3, 1]]


def test_a_part_shows_what_it_is_given_as_text() -> None:
    part = Part("samples")
    sample = {"truth": "<b>", "label": 3, "predicted": 4, "posterior": 0.75, "score": 0.1}
    for source in ("", "data:image/png;base64,AA"):
        part.show("key", [{**sample, "source": source}])
        assert (
            "&lt;b&gt;" in part.html
            and "0.75" in part.html
            and 'data-of="key"' in part.widget.value
        )
        assert ("<img" in part.html) == bool(source)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)])
def test_grey_and_coloured_samples_are_images(shape: tuple[int, int, int]) -> None:
    source = _thumbnail(np.zeros(shape, np.float32))
    assert Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).size == (8, 8)


def test_every_attack_can_be_shown(digits: Study, cache_dir: Path) -> None:
    digits.prepare("all")
    explorer = explore({}, {"cache_dir": cache_dir}, attack="rmia[gamma=3]")
    explorer.wait()
    for name in ("rmia[gamma=3]", *ATTACKS):
        explorer.controls["attack"].value = name
        assert explorer.shown, explorer.status
        panel = explorer.panels[0]
        assert panel.result.attack.label == name and panel.own.disabled
        panel.slider.value = 0
        assert panel.counts["TP"] + panel.counts["FN"] == panel.result.is_member.sum()


def test_a_users_own_data_are_shown(tmp_path: Path) -> None:
    data = load_digits()
    np.savez(tmp_path / "mine.npz", inputs=data.images / 16, labels=data.target)
    explorer = explore(
        {"dataset": "mine.npz", "construction": "pairs", "epochs": 20},
        {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"},
    )
    explorer.wait()
    assert explorer.shown, explorer.status
    assert ("mine", str(tmp_path / "mine.npz")) in explorer.controls["dataset"].options
    assert explorer.controls.scenario.dataset == "mine"
    assert 0 <= explorer.panels[0].estimates["recall"].value <= 1
    explorer.controls["dataset"].value = "digits"
    assert explorer.controls.scenario.dataset == "digits"
    explorer.stop()


def test_a_setting_is_said_whole_to_the_command_that_prepares_it(tmp_path: Path) -> None:
    setting = Setting.read(
        {
            "dataset": "my data.npz",
            "model": "VGG16",
            "defence": "dropout",
            "seed": 3,
            "epochs": 7,
            "references": 8,
            "shadows": 2,
            "distilled": 4,
            "recipe": {"learning_rate": 1e-05, "optimizer": "true", "augmentation": True},
            "sizes": {"members": 30},
            "construction": "pairs",
            "space": "logits",
            "levels": "absolute",
            "withholding": "attack",
            "device": "cpu",
        }
    )
    (tmp_path / "a.py").touch()  # a command loads its plugins as it reads them
    place = Place(data_dir=tmp_path, cache_dir=tmp_path / "c", plugins=(tmp_path / "a.py",) * 2)
    default = Setting().model_dump()
    assert all(value != default[name] for name, value in setting.model_dump().items())
    seen = []

    @click.command()
    @setting_options
    @place_options(*Place.model_fields)
    def command(**given: object) -> None:
        seen.append(given)

    for chosen, where in ((setting, place), (Setting(sizes="published"), Place())):
        fields = chosen.model_dump() | where.model_dump(exclude_none=True)
        command.main(arguments(fields), standalone_mode=False)
        assert seen.pop() == {"setting": chosen, "place": where}


def test_what_is_skewed_has_an_axis_that_can_be_used(digits: Study) -> None:
    scores = np.exp(np.random.default_rng(0).normal(0, 6, 300))
    axis = ScoreAxis(scores, 1.0)
    places = axis.place(scores)
    assert axis.by_rank and np.histogram(places, 10, (0, 1))[0].max() < 40
    assert np.allclose(axis.score(places), scores) and axis.score(axis.place(1.0)) == 1
    straight = ScoreAxis(np.linspace(0, 1, 300), 0.5)
    assert not straight.by_rank and straight.place(0.5) == pytest.approx(0.5)
    assert not ScoreAxis(np.repeat([0.0, 1.0], [290, 10]), 0.5).by_rank


def test_choices_of_a_setting_are_those_of_its_type() -> None:
    chosen, _ = controls()
    for field in ("construction", "withholding", "levels"):
        kind = Setting.model_fields[field].annotation
        assert chosen[field].options == tuple((name, name) for name in get_args(kind))
    chosen["construction"].value = "pairs"
    chosen["seed"].value = 3
    assert chosen.setting == Setting(construction="pairs", seed=3)


def test_a_plugin_is_offered(tmp_path: Path, digits: Study, cache_dir: Path) -> None:
    digits.prepare(["loss_threshold"])
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        """
from dataclasses import dataclass
from mibench.attacks.base import Attack, Inference, register

@register
@dataclass
class Mine(Attack):
    name, title, source, needs = "mine", "My attack", "nobody", frozenset()

    def infer(self, target):
        return Inference(-target.loss, -0.5)
"""
    )
    try:
        explorer = explore({}, {"cache_dir": cache_dir, "plugins": [str(plugin)]}, attack="mine")
        explorer.wait()
        assert explorer.shown and "My attack, ES10" in explorer.panels[0].scores.html
        assert ("My attack", "mine") in explorer.controls["second_attack"].options
        explorer.stop()
    finally:
        ATTACKS._things.pop("mine", None)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"setting": {"dataset": "digit"}}, "did you mean digits"),
        ({"setting": {"model": "VGG99"}}, "unknown model"),
        ({"setting": {"colour": "red"}}, "no setting 'colour'"),
        ({"scenario": "ES99"}, "ES01 to ES84"),
        ({"attack": "gab"}, "did you mean gap"),
        ({"second_attack": "gab"}, "did you mean gap"),
    ],
)
def test_a_wrong_name_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(MIBenchError, match=says):
        explore(**wrong)
