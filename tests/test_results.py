"""Tables on disk: who owns them, what became of damaged ones, and averages all else equal."""

import errno
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mibench.errors import MIBenchError
from mibench.setting import Setting
from mibench.store import Store, check_folders, safe
from mibench.study import parquet, results


def made(dataset: str, ma: float = 0.5, **setting: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    row = {"dataset": dataset, "model": "MLP", "seed": 0, "scenario": "ES01", "attack": "gap"}
    row |= {"status": "ok", "ma": ma, **setting}
    sample = {**row, "sample": [0, 1], "is_member": [True, False], "answer": [1, 0]}
    return pd.DataFrame([row]), pd.DataFrame(sample).drop(columns=["ma", "status"])


@pytest.mark.parametrize("dataset", ["digits", "results", "answers", 'a/"><b', "dataset=x", ".."])
def test_names_never_collide(tmp_path: Path, dataset: str) -> None:
    names = ["v1", "v1.2", "v1.answers", "my.answers", "my", "a b", "a_b", "../up"]
    places = [parquet.place(tmp_path, dataset, name) for name in names]
    for i, output in enumerate(places):
        results.save(output, *made(dataset, seed=i))
    assert {p.parent.parent for p in places} == {tmp_path}
    for output in places:
        assert not parquet.wrong(output)
        for file in (parquet.results_of(output), parquet.answers_of(output)):
            assert parquet.belongs_to(file) == output
            assert re.fullmatch(r"[\w.+-]+", file.name, re.ASCII)
    assert sorted(parquet.files(tmp_path, dataset)) == sorted(map(parquet.results_of, places))
    table, answers = results.load(tmp_path, dataset)
    assert sorted(table["seed"]) == list(range(8)) and set(table["dataset"]) == {dataset}
    assert len(answers) == 16 and set(answers["dataset"]) == {dataset}
    assert set(pd.read_parquet(tmp_path / "results")["dataset"]) == {dataset}
    assert len(pd.read_parquet(tmp_path / "answers")) == 16


def test_a_damaged_table_is_left_out_and_said(tmp_path: Path) -> None:
    good, bad = (parquet.place(tmp_path, "digits", name) for name in ("good", "bad"))
    results.save(good, *made("digits"))
    for file in (parquet.results_of, parquet.answers_of):
        results.save(bad, *made("digits", seed=1))
        file(bad).write_bytes(file(bad).read_bytes()[:-20])
        assert not parquet.wrong(good) and parquet.wrong(bad)
        assert parquet.belongs_to(file(bad)) == bad
        for _ in range(2):
            with pytest.warns(
                UserWarning, match=r"bad\.parquet is damaged or .*, and left out; run"
            ):
                table, answers = results.load(tmp_path)
            assert list(table["seed"]) == [0] and len(answers) == 2
    parquet.answers_of(good).unlink()
    assert parquet.wrong(good) == "answers/good.parquet is missing"
    parquet.results_of(good).write_bytes(b"")
    said = pytest.raises(MIBenchError, match=r"no table in .* can be read; run its parameter file")
    with (
        pytest.warns(UserWarning, match=r"bad\.parquet is damaged .* left out with 1 more; run"),
        said,
    ):
        results.load(tmp_path)
    results.save(bad, *made("digits", seed=1))
    results.save(good, *made("digits"))
    assert sorted(results.load(tmp_path)[0]["seed"]) == [0, 1]
    shutil.rmtree(tmp_path / "answers")
    (tmp_path / "answers").write_text("")
    with pytest.raises(MIBenchError, match="answers is a file where a folder belongs; remove it"):
        results.collect(tmp_path)
    assert sorted(results.load(tmp_path)[0]["seed"]) == [0, 1]


@pytest.mark.parametrize("gathered", ["before", "never", "of an older state", "damaged"])
def test_a_folder_that_cannot_be_written_is_read_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gathered: str
) -> None:
    for seed in range(2):
        results.save(parquet.place(tmp_path, "digits", f"s{seed}"), *made("digits", seed=seed))
        if (seed, gathered) in ((0, "of an older state"), (1, "before"), (1, "damaged")):
            results.load(tmp_path)
    if gathered == "damaged":
        part = tmp_path / "results" / "dataset=digits" / "part.parquet"
        part.write_bytes(bytes(80) + part.read_bytes()[80:])

    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.rglob("*"))}

    def read_only(dir: Path) -> Any:
        if dir.is_relative_to(tmp_path):
            raise OSError(errno.EROFS, "as a disk that can only be read")
        return nullcontext()

    before = state()
    monkeypatch.setattr("mibench.store.tempfile.TemporaryFile", read_only)
    table, answers, whole = results.load_all(tmp_path)
    assert state() == before
    assert sorted(table["seed"]) == [0, 1] and len(answers) == 4 and whole.empty
    with pytest.raises(MIBenchError, match=r"cannot be written .*Read-only file system"):
        check_folders([tmp_path / "figures"])


def test_a_folder_that_cannot_be_written_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(dir: Path) -> Any:
        raise OSError(errno.EROFS, "as a disk that can only be read")

    monkeypatch.setattr("mibench.store.tempfile.TemporaryFile", read_only)
    monkeypatch.chdir(tmp_path)
    (there := Path("there")).mkdir()
    for folder, cause in ((there, ""), (tmp_path, ""), (there / "new", f"{tmp_path / 'there'}: ")):
        said = re.escape(f"{folder} cannot be written ({cause}Read-only file system); ")
        with pytest.raises(MIBenchError, match=f"^{said}"):
            check_folders([folder])
        with pytest.raises(MIBenchError, match=f"^the cache {said}"):
            Store(folder).check()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """By the same path, also where it is none of a folder of executed notebooks."""
    table, answers = made("digits")
    results.save(tmp_path / "out", table, answers)
    before = sorted(tmp_path.rglob("*"))
    found, given = results.load(tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before
    pd.testing.assert_frame_equal(found, table, check_like=True)
    assert len(given) == len(answers)
    results.save(tmp_path / "again", found, given)
    pd.testing.assert_frame_equal(results.load(tmp_path / "again")[0], found)


def test_answers_are_small_in_memory_and_read_again_only_where_a_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dataset in ("digits", "results"):
        for seed in range(2):
            output = parquet.place(tmp_path, dataset, f"s{seed}")
            results.save(output, *made(dataset, seed=seed))
    results.save(parquet.place(tmp_path, "digits", "pool"), *made("digits", scenario="pool"))
    first = results.load(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(parquet, "wrong", lambda output: pytest.fail(f"{output} is read again"))
        table, answers = results.load(tmp_path)
    pd.testing.assert_frame_equal(table, first[0])
    pd.testing.assert_frame_equal(answers, first[1])
    assert not len(answers.select_dtypes(["object", "str"]).columns)
    assert list(answers["dataset"].cat.categories) == ["digits", "results"]
    assert list(answers["scenario"].cat.categories) == ["ES01"]
    again = parquet.place(tmp_path, "digits", "again")
    results.save(again, table, answers)
    assert not parquet.wrong(again)
    own = results.of_setting(answers, table[table["dataset"] == "results"])
    assert set(own["dataset"]) == {"results"} and len(own) == len(answers) / 2


def test_no_changed_byte_is_another_value(tmp_path: Path) -> None:
    output = parquet.place(tmp_path, "digits", "a")
    rows, answers = made("digits")
    # A column of each type: of few columns a file has few bytes.
    results.save(output, rows, answers[["attack", "sample", "is_member", "answer"]])
    file = parquet.answers_of(output)
    whole, told = file.read_bytes(), pd.read_parquet(file)
    noticed = 0
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        if not parquet.wrong(output):
            pd.testing.assert_frame_equal(pd.read_parquet(file), told)
        else:
            noticed += 1
    assert noticed > 50


@pytest.mark.parametrize("kind", ["results", "answers"])
@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone"])
def test_collections_are_rebuilt(tmp_path: Path, kind: str, damage: str) -> None:
    results.save(parquet.place(tmp_path, "digits", "a"), *made("digits"))
    results.load(tmp_path)
    part = tmp_path / kind / "dataset=digits" / "part.parquet"
    whole = part.read_bytes()
    if damage == "gone":
        part.unlink()
    else:
        cut = whole[:-9] if damage == "cut" else bytes(80) + whole[80:]
        part.write_bytes(cut)
    table, answers = results.load(tmp_path)
    assert list(table["ma"]) == [0.5] and len(answers) == 2


def test_a_row_is_about_scenario_attack_and_every_setting(tmp_path: Path) -> None:
    other = {"construction": "pairs", "withholding": "attack", "levels": "absolute", "shadows": 2}
    assert set(other) <= set(Setting.model_fields)
    own = {name: Setting.model_fields[name].default for name in other} | {"train_lr": 0.1}
    ways = [own, *({**own, name: value} for name, value in {**other, "train_lr": 0.2}.items())]
    for i, way in enumerate(ways):
        results.save(parquet.place(tmp_path, "digits", f"n{i}"), *made("digits", ma=i, **way))
    table, answers = results.load(tmp_path)
    assert len(table) == len(ways) and len(answers) == 2 * len(ways)
    for _, way in table.iterrows():
        assert len(results.of_setting(answers, way.to_frame().T.infer_objects())) == 2
    results.save(parquet.place(tmp_path, "digits", "again"), *made("digits", ma=99, **ways[0]))
    found = results.load(tmp_path)[0]
    assert len(found) == len(ways) and 99 in set(found["ma"]) and 0 not in set(found["ma"])


def test_within_gives_the_sign_that_each_cell_has() -> None:
    """Withheld ratio lowers MA by .1 in every cell, though its plain mean rises (Simpson)."""
    rows = []
    for distance, base in ((1.0, 0.2), (2.0, 0.8)):
        for ratio, effect in ((0.1, 0.0), (0.4, -0.1)):
            # The high ratio was mostly run where MA is high anyhow.
            for g in range(9 if (distance == 2.0) == (ratio == 0.4) else 1):
                row = {"scenario": f"{distance}{ratio}{g}", "attack": "gap", "status": "ok"}
                row |= {"distribution": "normal", "differential_distance": g, "seed": 0}
                row |= {"distance": distance, "withheld_ratio": ratio, "ma": base + effect}
                rows.append(row)
    table = pd.DataFrame(rows)
    plain = table.groupby("withheld_ratio")["ma"].mean()
    assert plain[0.4] > plain[0.1] + 0.3
    [found] = results.within(table, "withheld_ratio").to_dict("records")
    assert found == pytest.approx({0.1: 0.5, 0.4: 0.4, "cells": 2})
    # A cell without a value at one level is left out at all of them.
    table.loc[(table["distance"] == 1.0) & (table["withheld_ratio"] == 0.4), "ma"] = np.nan
    [found] = results.within(table, "withheld_ratio").to_dict("records")
    assert found == pytest.approx({0.1: 0.8, 0.4: 0.7, "cells": 1})
    with pytest.raises(MIBenchError, match="nothing differs in distance alone"):
        results.within(table[table["scenario"].isin(["1.00.10", "2.00.48"])], "distance")


def test_safe_names() -> None:
    names = ["a b", "a_b", "a/b", "a\\b", "", ".hidden", "x" * 300, "x" * 301, "é", "v1.2"]
    made = [safe(name) for name in names]
    assert len(set(made)) == len(names) and all(re.fullmatch(r"[\w.+-]+", m, re.A) for m in made)
    assert max(map(len, made)) < 100 and made[-1] == "v1.2"
