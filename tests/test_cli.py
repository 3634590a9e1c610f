import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score

from mibench import scenarios
from mibench.apps.batch import notebooks
from mibench.apps.cli import main
from mibench.attacks.base import ATTACKS, parse
from mibench.compare import published
from mibench.study import parquet, results
from mibench.study.metrics import METRICS
from mibench.study.study import Study


def mibench(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_scenarios_as_json() -> None:
    code, out, _ = mibench("scenarios", "--dataset", "CIFAR100", "--rq", "RQ2", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [r["id"] for r in rows] == ["ES02", "ES10", "ES22"]
    assert rows[0] == {
        "id": "ES02",
        "label": "CIFAR100_Normal + 2.893 + 0.085 + 40%",
        "dataset": "CIFAR100",
        "distribution": "normal",
        "distance": 2.893,
        "differential_distance": 0.085,
        "withheld_ratio": 0.4,
    }


def test_scenarios_as_text() -> None:
    code, out, _ = mibench("scenarios", "--dataset", "location30")
    assert code == 0 and len(out.splitlines()) == 84 and out.startswith("ES01   Location30_Normal")


def test_attack_as_json_agrees_with_scikit_learn(digits: Study, cache_dir: Path) -> None:
    label = scenarios.find("ES05", "digits").label
    arguments = ("attack", "Loss-Threshold", "--cache-dir", str(cache_dir), "--json")
    code, out, _ = mibench(*arguments, "--scenario", label)
    assert code == 0
    [row] = json.loads(out)
    assert row["attack"] == "loss_threshold" and set(METRICS) <= row.keys()
    target = digits.construct("ES05")
    loss = digits.signals.outputs(target.samples).loss
    assert row["auc"] == pytest.approx(roc_auc_score(target.is_member, -loss), abs=1e-9)


def test_attack_as_text(cache_dir: Path) -> None:
    code, out, _ = mibench("attack", "gap", "--cache-dir", str(cache_dir))
    assert code == 0 and "tpr_at_fpr_0.1" in out and "Gap attack" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("scenarios", "--dataset", "CIFR100"), "unknown dataset 'CIFR100'"),
        (("scenarios", "--dataset", "CIFAR100", "--rq", "RQ9"), "unknown research question"),
        (("attack", "los_threshold"), "did you mean loss_threshold"),
        (("attack", "gap", "--dataset", "digit"), "did you mean digits"),
        (("attack", "gap", "--scenario", "ES99"), "run from ES01 to ES84"),
        (("attack", "gap", "--scenario", "digits_Normal + 9 + 0 + 5%"), "no scenario"),
        (("attack", "gap", "--dataset", "Location30", "--data-dir", "nowhere"), "holds none of"),
        (("attack", "gap", "--model", "VGG99"), "unknown model 'VGG99'"),
        (("attack", "gap", "--references", "5"), "it must be even"),
        (("attack", "gap", "--epochs", "0"), "epochs is 0; it must be greater than or equal to 1"),
        (("attack", "gap", "--dataset", ""), "dataset is ''; it must not be empty"),
        (("scenarios", "--dataset", ""), "dataset is ''; it must not be empty"),
        (("scenarios", "--dataset", "a.csv", "--data-dir", "nowhere"), "does not exist"),
        (("attack", "gap", "--cache-dir", __file__), "is a file; name a folder"),
        (("run", "nowhere.yaml"), "nowhere.yaml is no file"),
        (("attack", "gap", "--recipe", "a=["), "--recipe 'a=[' is not valid YAML"),
        (("attack", "gap", "--sizes", "members=010"), "010 is no plain number"),
        (("attack", "rmia[gamma={]"), "gamma has no value that can be read"),
        (("attack", "rmia[gamma=1"), "is not written as name[parameter=value]"),
        (("attack", "rmia[gamma=1]]"), "is not written as name[parameter=value]"),
        (("attack", "rmia[gamma=1,gamma=2]"), "gamma is given twice"),
        (("attack", "rmia[gamma]"), "gamma has no value"),
        (("figures", "--columns", "3"), "columns is 3; it must be less than or equal to 2"),
        (("conflicts",), "missing option '--dataset'"),
        (("status",), "missing argument 'PARAMETERS'; main status --help says what it is"),
        (("advise", "--qeries", "3"), "no such option"),
    ],
)
def test_mistakes_end_with_one_sentence_and_code_2(arguments: tuple[str, ...], says: str) -> None:
    code, out, err = mibench(*arguments)
    assert code == 2 and says in err
    assert out == "" and len(err.strip().splitlines()) == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (("attacks",), {"pandas", "pooch", "pyarrow", "scipy.special", "IPython"}),
        (("status", "parameters/demo.yaml"), {"IPython", "jupyter_client", "nbformat"}),
    ],
)
def test_commands_that_list_answer_at_once(arguments: tuple[str, ...], heavy: set[str]) -> None:
    script = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        "from mibench.apps.cli import main; main()"
    )
    command, root = [sys.executable, "-c", script, *arguments], Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    loaded = set(done.stderr.split())
    heavy |= {"torch", "sklearn", "matplotlib", "scipy.stats", "papermill"}
    assert done.stdout and "mibench.attacks.rmia" in loaded and not heavy & loaded


def test_a_batch_builds_no_grammars() -> None:
    """Nor do these tests, which import it first."""
    importlib.import_module("mibench.apps.batch.execution")
    assert "nbformat" in sys.modules and "lark" not in sys.modules


def test_a_cache_that_is_a_file_is_refused_at_once_and_in_one_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("notebooks").symlink_to(Path(__file__).parents[1] / "notebooks")
    tmp_path.joinpath("parameters").mkdir()
    tmp_path.joinpath("cache").write_text("no folder")
    pd.DataFrame({"a": [0, 1], "label": [0, 1]}).to_csv(tmp_path / "own.csv", index=False)
    monkeypatch.setenv("MIBENCH_CACHE", str(tmp_path / "cache"))
    file, own = str(tmp_path / "parameters" / "p.yaml"), str(tmp_path / "own.csv")
    Path(file).write_text("notebooks: [scenario]")
    said = f"mibench: the cache {tmp_path / 'cache'} is a file; name a folder with cache_dir or "
    for command in (
        ("run", file),
        ("run", file, "--dry-run", "--set", f"dataset={own}"),
        ("status", file),
        ("datasets", own),
        ("attack", "gap"),
    ):
        code, out, err = mibench(*command)
        assert code == 2 and err.startswith(said) and not out, command
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "place", ["executed", "executed/results", "executed/digits", "executed/digits/answers"]
)
def test_a_batch_that_cannot_be_written_is_refused_at_once(tmp_path: Path, place: str) -> None:
    tmp_path.joinpath("notebooks").symlink_to(Path(__file__).parents[1] / "notebooks")
    tmp_path.joinpath("parameters").mkdir()
    tmp_path.joinpath(place).parent.mkdir(parents=True, exist_ok=True)
    tmp_path.joinpath(place).write_text("no folder")
    file = tmp_path / "parameters" / "p.yaml"
    file.write_text(f"defaults: {{cache_dir: {tmp_path / 'cache'}}}\nnotebooks: [scenario]")
    code, out, err = mibench("run", str(file))
    assert code == 2 and f"{place} is a file where a folder belongs; remove it" in err
    assert out == "" and not (tmp_path / "cache").exists()


def test_a_batch_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[1]
    monkeypatch.setenv("MIBENCH_CACHE", str(tmp_path / "cache"))
    tmp_path.joinpath("notebooks").symlink_to(root / "notebooks")
    tmp_path.joinpath("parameters").mkdir()
    file = tmp_path / "parameters" / "small.yaml"
    file.write_text(
        "defaults: {dataset: digits, attacks: [gap]}\nseeds: [0, 1]\n"
        "notebooks: [rq1_distribution, results]"
    )
    code, out, err = mibench("run", str(file), "--dry-run")
    assert code == 0, err
    assert out.count("waiting training digits MLP") == 2
    for name in ("rq1_distribution-0", "rq1_distribution-1", "results"):
        assert f"waiting digits/{name}\n" in out
    assert "MFLOP, about " in out and "without 3 jobs unlike anything measured yet" in out
    assert not (tmp_path / "executed").exists() and not (tmp_path / "cache").exists()
    code, out, err = mibench("run", str(file))
    assert code == 0, err
    assert "3 notebooks run, 0 already done, 0 failed; 2 trainings" in out
    assert (tmp_path / "figures" / "digits_MLP_groups_RQ1.png").stat().st_size > 10_000
    assert f"figures are in {tmp_path / 'figures'}\n" in out
    made = tmp_path / "executed" / "digits" / "rq1_distribution-1.ipynb"
    assert "digits scenarios" not in made.read_text()  # a progress bar's text
    table, _ = results.load(tmp_path / "executed")
    assert table.groupby("seed").size().to_dict() == {0: 3, 1: 3}
    assert table["threshold"].notna().all() and table["data_sha256"].nunique() == 1
    shutil.rmtree(tmp_path / "figures")
    asked, is_done = [], notebooks.Task.is_done
    monkeypatch.setattr(
        notebooks.Task, "is_done", lambda task: (asked.append(task.name), is_done(task))[1]
    )
    out = mibench("run", str(file))[1]
    assert "0 notebooks run, 3 already done" in out and "figures are in" not in out
    assert sorted(asked) == [
        f"digits/{n}" for n in ("results", *(f"rq1_distribution-{i}" for i in (0, 1)))
    ]
    assert mibench("status", str(file))[1].endswith("\n5 done\n")
    executed = tmp_path / "executed" / "digits" / "rq1_distribution-1"
    code, out, err = mibench("verify", "--retrain", f"{executed}.ipynb")
    assert (code, out) == (0, f"same    {executed}.ipynb\n"), err
    broken = pd.read_parquet(f"{executed}.parquet")
    broken.assign(ma=broken["ma"] + 0.25).to_parquet(f"{executed}.parquet")
    code, out, err = mibench("verify", f"{executed}.ipynb")
    assert code == 1 and "differs" in out and "ma: by up to 0.25" in out
    # What the notebook of figures has read is no longer what is there.
    said = mibench("status", str(file))[1]
    assert "stale   digits/results  results changed" in said
    assert "stale   digits/rq1_distribution-1  rq1_distribution-1.parquet is damaged" in said


def test_answers_fit_80_columns(
    digits: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table, answers = digits.run(["ES01", "ES29"], ["gap", "class_modified_entropy"])
    # Gap is always right in ES01 and never in ES29, so that there are conflicts to be told.
    right = (answers["attack"] == "gap") == (answers["scenario"] == "ES01")
    flipped = answers.assign(answer=(right == answers["is_member"]).astype("int8"))
    results.save(parquet.place(tmp_path, "digits", "some"), table, flipped)
    rng = np.random.default_rng(0)
    arrays = {
        f"{owner}_{name}": values
        for owner in ("target", "shadow")
        for name, values in {
            "probs": rng.dirichlet(np.ones(5), 60),
            "labels": rng.integers(0, 5, 60),
            "is_member": np.arange(60) % 2,
        }.items()
    }
    np.savez(tmp_path / "outputs.npz", **arrays)
    of = ("--results", str(tmp_path), "--dataset", "digits")
    commands = [
        ("attacks",),
        ("datasets",),
        ("scenarios",),
        ("datasets", "digits"),
        ("advise", *of),
    ]
    commands += [("conflicts", *of), ("audit", str(tmp_path / "outputs.npz")), ("--help",)]
    for command in commands:
        code, out, err = mibench(*command)
        assert code == 0, err
        assert [line for line in out.splitlines() if len(line) > 80] == []
    # Of each command a whole sentence; dots only after [ARGS].
    assert out.count("...") == 1 and out.count(".\n") >= len(main.commands)
    assert mibench(*commands[5])[1].startswith("1 conflict among 2 scenarios\n")


def test_progress_does_not_fill_a_file() -> None:
    """Unless it is asked for, as the explorer asks, which reads it."""
    script = """
import ipykernel.zmqshell
from mibench.progress import bar
list(bar(range(3), mininterval=0))
"""
    unset = {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"}
    said = [
        subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
        ).stderr
        for env in (unset, unset | {"TQDM_DISABLE": ""})
    ]
    assert said[0] == "" and "2/3" in said[1]


def test_what_is_shown_says_which_attacks_have_no_rows(digits: Study, tmp_path: Path) -> None:
    table, answers = digits.run(["ES01"], ["gap"])
    whole, _ = digits.run(["pool"], ["base"])
    results.save(parquet.place(tmp_path, "digits", "some"), table, answers)
    of = ("--results", str(tmp_path), "--attacks")
    code, out, err = mibench("table", *of, "gap,rmia,base")
    assert code == 0 and "Gap attack" in out and err == "without results: rmia, base\n"
    drawn = ("figures", "--out", str(tmp_path / "figures"), "--format", "png", *of)
    code, out, err = mibench(*drawn, "gap,rmia,base")
    assert code == 0 and "figure" in out and err == "without results: rmia, base\n"
    for command in (("table", *of), drawn):
        code, out, err = mibench(*command, "rmia,base")
        assert (code, err) == (2, "mibench: there are no results of rmia,base\n")
    # An attack that only scenarios have does not stop those of the whole pool.
    results.save(parquet.place(tmp_path, "digits", "whole"), whole, pd.DataFrame())
    code, out, err = mibench(*drawn, "gap,rmia")
    assert code == 0 and err == "without results: rmia\n"


def test_results_of_a_plugins_attack_are_named_by_it(
    digits: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ATTACKS, "_things", dict(ATTACKS))
    table, answers = digits.run(["ES01"], ["gap"])
    table["attack"], table["title"] = "mine", "My attack"
    results.save(parquet.place(tmp_path, "digits", "some"), table, answers)
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from mibench.attacks import register\nfrom mibench.attacks.label_only import Gap\n"
        "@register\nclass Mine(Gap):\n    name, title = 'mine', 'My attack'\n"
    )
    asked = ("--results", str(tmp_path), "--attacks", "mine")
    for command in ("table", "figures"):
        code, out, err = mibench(command, *asked)
        assert code == 2 and "unknown attack 'mine'" in err and not out
    code, out, err = mibench("table", *asked, "--plugin", str(plugin))
    assert code == 0 and "My attack" in out and not err


def test_a_table_says_each_setting_once(tmp_path: Path) -> None:
    row = {"dataset": "digits", "scenario": "ES01", "seed": 0, "attack": "a", "title": "A"}
    row |= {"status": "ok", "ma": 0.5, "auc": 0.5, "tpr_at_fpr_1": 0.5}
    ways = (("MLP", 5, 0.01, 40, 40), ("VGG", 9, 0.1, 60, 60))
    named = ["model", "epochs", "train_learning_rate", "size_members", "size_nonmembers"]
    rows = pd.DataFrame([row | dict(zip(named, way, strict=True)) for way in ways])
    rows["train_model"], rows["train_epochs"] = rows["model"], rows["epochs"].astype(float)
    for other, more in ((rows, []), (rows.assign(train_epochs=[5, 7]), ["train_epochs"])):
        results.save(parquet.place(tmp_path, "digits", "some"), other, pd.DataFrame())
        header = mibench("table", "--results", str(tmp_path))[1].splitlines()[0]
        shown = header.strip("| ").split(" | ")
        assert shown == [*named, *more, "attack", "MA", "AUC", "TPR at 1% FPR"]


def test_a_table_in_every_format(tmp_path: Path) -> None:
    """Means and Student's intervals over seeds, against SciPy's own."""
    values = {"a": (0.2, 0.4, 0.3), "b": (0.5, 0.6, 0.4)}
    metrics = ("ma", "auc", "tpr_at_fpr_1")
    rows = pd.DataFrame(
        [
            {"dataset": "digits", "model": "MLP", "scenario": scenario, "seed": seed}
            | {"attack": name, "title": f"Attack {name}", "status": "ok"}
            | {metric: values[name][seed] + shift for metric in metrics}
            for name in values
            for seed in range(3)
            for scenario, shift in (("ES01", -0.1), ("ES02", 0.1))
        ]
    )
    rows.loc[rows["scenario"] == "ES01", "tpr_at_fpr_1"] = np.nan
    results.save(parquet.place(tmp_path, "digits", "some"), rows, pd.DataFrame())
    arguments = ("table", "--results", str(tmp_path), "--format")
    found = json.loads(mibench(*arguments, "json")[1])
    assert [row["title"] for row in found] == ["Attack b", "Attack a"]
    for row, own in zip(found, ("b", "a"), strict=True):
        expected = ttest_1samp(values[own], 0).confidence_interval()
        assert row["ma"] == pytest.approx(sum(values[own]) / 3)
        assert [row["ma_low"], row["ma_high"]] == pytest.approx([*expected], abs=1e-9)
        assert (row["ma_scenarios"], row["tpr_at_fpr_1_scenarios"], row["scenarios"]) == (2, 1, 2)
        assert row["tpr_at_fpr_1"] == pytest.approx(sum(values[own]) / 3 + 0.1)
    said = f"{found[0]['ma']:.2f} [{found[0]['ma_low']:.2f}, {found[0]['ma_high']:.2f}]"
    lines = mibench(*arguments, "markdown")[1].splitlines()
    assert lines[2].startswith(f"| Attack b | {said} |")
    note = "TPR at 1% FPR is the mean over 1 of 2 scenarios: it needs at least 100 nonmembers."
    assert " ".join(lines[4:]).strip() == note
    latex = mibench(*arguments, "latex")[1]
    assert f"Attack b & {said} &" in latex and latex.endswith(f"% {note}\n")
    one = rows[rows["seed"] == 0].assign(tpr_at_fpr_1=np.nan)
    results.save(parquet.place(tmp_path, "digits", "some"), one, pd.DataFrame())
    alone = " ".join(mibench(*arguments, "markdown")[1].split())
    assert "| – | TPR at 1% FPR is absent: it needs at least 100 nonmembers." in alone
    assert alone.endswith("Intervals are over models trained anew; what has one seed has none.")
    assert mibench(*arguments, "csv")[1].splitlines()[0].startswith("dataset,model,title,seeds,ma")


def test_groups_of_attacks_are_those_that_they_say() -> None:
    def names(group: str) -> set[str]:
        return {attack.name for attack in parse(group)}

    assert names("published15") == {*published.ATTACKS}
    assert names("published15") - names("published13") == {"blindmi_diff_wo", "blindmi_1class"}
    assert {"gap", "loss_threshold"} <= names("shadow-only") and "rmia" not in names("shadow-only")
    assert {"gap", "label_only"} <= names("labels-only") and "ppv" not in names("labels-only")
    assert len(names("published13")) == 13
    # An attack's title, and so no name of a group.
    assert names("label-only") == {"label_only"}
