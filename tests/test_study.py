"""Experiments as tables, and tables on disk."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics import precision_score, roc_auc_score

from mibench.apps.cli import main
from mibench.errors import MIBenchError
from mibench.scenarios import find
from mibench.study import results
from mibench.study.metrics import METRICS
from mibench.study.study import Study
from tests.conftest import study

ATTACKS = ["loss_threshold", "gap"]


@pytest.fixture(scope="module")
def digits(cache_dir: Path) -> Study:
    """Pairs, of which the attack withholds."""
    return study("digits", cache_dir, construction="pairs")


@pytest.fixture(scope="module")
def tables(digits: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    return digits.run(["ES01", find("ES02", "digits"), "ES03"], ATTACKS)


def test_a_row_holds_what_was_asked_measured_and_used(
    digits: Study, tables: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    table, _ = tables
    assert list(zip(table["scenario"], table["attack"], strict=True)) == [
        (s, a) for s in ("ES01", "ES02", "ES03") for a in ATTACKS
    ]
    assert (table["status"] == "ok").all() and (table["error"] == "").all()
    row = table.iloc[2]
    target = digits.construct("ES02")
    assert row["label"] == "digits_Normal + 0.200 + 0.000 + 10%"
    assert (row["distance_wanted"], row["distance_measured"]) == target.distance
    assert row["differential_distance_measured"] == target.differential_distance[1]
    assert row["shape_distance"] == target.shape_distance
    assert row["samples"] == len(target.samples) == 160
    for column in ("model", "data_sha256", "git_commit", "device", "space", "levels"):
        assert isinstance(row[column], str)
    for column in ("mibench", "python", "torch", "numpy", "scipy", "sklearn"):
        assert row[f"{column}_version"]
    assert (row["seed"], row["references"], row["train_epochs"]) == (0, 16, 50)
    for name in METRICS:
        for column in (name, f"{name}_low", f"{name}_high"):
            assert table[column].dtype == np.float64
    assert table["seed"].dtype.kind == table["samples"].dtype.kind == "i"


def test_metrics_follow_from_the_answers(
    digits: Study, tables: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    table, answers = tables
    assert len(answers) == 6 * 160 and set(answers["answer"]) == {-1, 0, 1}
    for row in table.to_dict("records"):
        own = answers[
            (answers["scenario"] == row["scenario"]) & (answers["attack"] == row["attack"])
        ]
        assert (own["answer"] == -1).sum() == math.ceil(row["withheld_ratio"] * 160)
        given = own[own["answer"] >= 0]
        assert row["precision"] == precision_score(given["is_member"], given["answer"])
        called = own["score"] >= own["threshold"]
        assert (called[given.index] == (given["answer"] == 1)).all()
        truth = np.isin(own["sample"], digits.signals.roles["members"])
        assert (truth == own["is_member"]).all()


def test_the_same_seed_gives_the_same_tables(
    tables: tuple[pd.DataFrame, pd.DataFrame], cache_dir: Path, tmp_path: Path
) -> None:
    for directory in (cache_dir, tmp_path):  # from the cache, and trained anew
        again = study("digits", directory, construction="pairs")
        found = again.run(["ES01", "ES02", "ES03"], ATTACKS)
        for ours, theirs in zip(found, tables, strict=True):
            pd.testing.assert_frame_equal(
                *(t.drop(columns="seconds", errors="ignore") for t in (ours, theirs)),
                check_exact=True,
            )


def test_a_label_is_as_good_as_its_id(
    digits: Study, tables: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    found, _ = digits.run(["digits_normal+0.2+0+0.1"], "loss_threshold")
    pd.testing.assert_series_equal(
        found.iloc[0].drop("seconds"), tables[0].iloc[2].drop("seconds"), check_names=False
    )


def test_infeasible_scenarios_have_rows_without_numbers(cache_dir: Path, tmp_path: Path) -> None:
    experiment = study("digits", cache_dir, construction="pairs", levels="absolute")
    table, answers = experiment.run(["ES01"], ATTACKS)
    assert table["status"].tolist() == ["infeasible"] * 2 and answers.empty
    assert table["error"].str.contains("distance 0.2 cannot be met; this pool reaches").all()
    assert table[list(METRICS)].isna().all(axis=None)
    results.save(tmp_path / "digits" / "rq", table, answers)
    loaded, none = results.load(tmp_path)
    assert len(loaded) == 2 and none.empty
    assert results.compare(loaded, "ma").isna().all(axis=None)


def test_the_whole_pool_is_a_scenario_without_factors(digits: Study, tmp_path: Path) -> None:
    table, answers = digits.run(["Pool", "ES01", "es1", "ES10"], ["gap", "loss_threshold"])
    assert len(table) == 6
    whole, own = table[table["scenario"] == "pool"], answers[answers["scenario"] == "pool"]
    assert (whole["label"] == "digits_pool").all() and (whole["distribution"] == "").all()
    assert whole[["distance", "differential_distance", "withheld_ratio"]].isna().all(axis=None)
    for name, rows in own.groupby("attack"):
        assert sorted(rows["sample"]) == sorted(digits.signals.pool) and (rows["answer"] >= 0).all()
        assert (rows["is_member"] == np.isin(rows["sample"], digits.signals.roles["members"])).all()
        assert not rows["is_member"].iloc[: len(rows) // 2].all()
        area = roc_auc_score(rows["is_member"], rows["score"])
        assert whole.set_index("attack")["auc"][name] == pytest.approx(area)
    results.save(tmp_path / "digits" / "a", table, answers)
    loaded, given = results.load(tmp_path)
    assert {*loaded["scenario"]} == {*given["scenario"]} == {"ES01", "ES10"}
    assert len(results.load_all(tmp_path)[2]) == 2
    pd.testing.assert_frame_equal(
        results.within(table, "seed"), results.within(loaded, "seed"), check_like=True
    )
    with pytest.raises(MIBenchError, match="no factor to vary"):
        digits.panel("RQ1", "pool")


def test_scenarios_of_another_dataset_are_refused(digits: Study) -> None:
    with pytest.raises(MIBenchError, match="CIFAR100"):
        digits.run([find("ES01", "CIFAR100")], ATTACKS)
    with pytest.raises(MIBenchError, match="belongs to CIFAR100"):
        digits.construct("CIFAR100 ES01")


def test_unknown_attacks_are_refused_before_anything_runs(digits: Study) -> None:
    with pytest.raises(MIBenchError, match="unknown attack 'gupp'"):
        digits.run(["ES01"], "gupp")


def test_tables_survive_the_disk_and_repeated_rows_are_kept_once(
    tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    table, answers = tables
    results.save(tmp_path / "digits" / "rq4", table, answers)
    first = table["scenario"] == "ES01"
    results.save(
        tmp_path / "digits" / "scenario", table[first], answers[answers["scenario"] == "ES01"]
    )
    assert len(list(tmp_path.rglob("*"))) == 6  # no temporary files
    found, given = results.load(tmp_path)
    by = ["scenario", "attack"]
    pd.testing.assert_frame_equal(
        found.sort_values(by, ignore_index=True),
        table.sort_values(by, ignore_index=True),
        check_like=True,
    )
    assert len(given) == len(answers)
    with pytest.raises(MIBenchError, match="no results of CIFAR10"):
        results.load(tmp_path, "CIFAR10")
    with pytest.raises(MIBenchError, match=r"no results of digist in .* did you mean digits\?"):
        results.load(tmp_path, "digist")


def test_tables_to_look_at(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table, _ = tables
    compared = results.compare(table, "auc")
    assert compared.loc["Gap attack", "ES03"] == table.iloc[5]["auc"]
    assert results.factors(table).shape[0] == 3
    # digits has CIFAR100's panels: ES02, ES10 and ES22 in RQ2.
    assert results.panel(table, "digits", "RQ2")["scenario"].tolist() == ["ES02", "ES02"]


def test_one_attack_as_json(cache_dir: Path) -> None:
    arguments = ["attack", "loss_threshold", "--cache-dir", str(cache_dir), "--json"]
    run = CliRunner().invoke(main, [*arguments, "--scenario", "es 3"])
    assert run.exit_code == 0
    [row] = json.loads(run.stdout)
    keys = "attack precision recall f1 fpr fnr ma accuracy auc"
    assert set(keys.split()) <= row.keys()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"dataset": "digit"}, "did you mean digits"),
        ({"model": "VGG99"}, "unknown model"),
        ({"references": 7}, "references is 7; it must be even"),
        ({"epochs": 0}, "epochs is 0; it must be greater than or equal to 1"),
        ({"seed": -1}, "seed is -1; it must be greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_named(setting: dict[str, object], says: str) -> None:
    with pytest.raises(MIBenchError, match=says):
        Study.read(setting)
