import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mibench import attacks, scenarios
from mibench.apps.cli import main
from mibench.compare import advice, published
from mibench.errors import MIBenchError
from mibench.outputs import Outputs
from mibench.signals.perturbations import COPIES
from mibench.study import results
from mibench.study.study import Study

NAMES = ["gap", "nn_attack", "lira_online"]


def made(ma: dict[str, float], half: int = 200) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return results and answers in which each attack has an MA of its own, its FPR zero."""
    rows, answers = [], []
    for scenario in ("ES01", "ES02"):
        for name, value in ma.items():
            common = {"dataset": "digits", "model": "MLP", "seed": 0, "attack": name}
            common |= {"scenario": scenario}
            rows.append(common | {"title": name, "status": "ok", "ma": value, "fpr": 0.0})
            sample = np.arange(2 * half)
            columns = {"sample": sample, "is_member": sample < half}
            answer = (sample < value * half).astype(np.int8)
            answers.append(pd.DataFrame({**common, **columns, "answer": answer}))
    return pd.DataFrame(rows), pd.concat(answers, ignore_index=True)


def test_what_is_allowed_by_needs_queries_and_labels() -> None:
    assert advice.allowed() == list(attacks.ATTACKS)
    for name in advice.allowed(["shadow"]):
        assert attacks.named(name).needs <= {"shadow"}
    assert set(advice.allowed([])) == {n for n, a in attacks.ATTACKS.items() if not a.needs}
    assert "label_only" in advice.allowed(queries=1 + COPIES["perturbed"])
    assert "label_only" not in advice.allowed(queries=COPIES["perturbed"])
    assert set(advice.allowed(labels_only=True)) == {"gap", "label_only"}
    for wrong, says in (({"given": ["shadows"]}, "unknown need"), ({"queries": 0}, "at least 1")):
        with pytest.raises(MIBenchError, match=says):
            advice.allowed(**wrong)


def test_labels_only_attacks_read_labels_only(digits: Study) -> None:
    samples = digits.construct("ES10").samples
    seen = digits.signals.outputs(samples, {"perturbed"})
    # The same answers, each with another posterior.
    rng = np.random.default_rng(0)
    logits = rng.random(seen.logits.shape)
    logits[np.arange(len(samples)), seen.predicted] = 2.0
    other = Outputs(logits, seen.labels, copies=seen.copies)
    flags = {}
    for name in ("gap", "label_only", "loss_threshold", "class_confidence", "top1_threshold"):
        attack = digits.fitted(attacks.named(name))
        flags[name] = np.array_equal(attack.infer(seen).scores, attack.infer(other).scores)
    assert flags == {name: attacks.named(name).labels_only for name in flags}


def test_never_beaten_beaten_and_dominated() -> None:
    ma = {"gap": 0.2, "nn_attack": 0.6, "lira_online": 0.9}
    table = advice.advise(*made(ma)).set_index("attack")
    assert list(table.index) == ["lira_online", "nn_attack", "gap"]
    assert list(table["never_beaten"]) == [True, False, False]
    assert list(table["beaten"]) == [0, 2, 2] and (table["scenarios"] == 2).all()
    assert table.loc["gap", "beaten_by"] == ["Likelihood ratio attack", "NN_attack"] or table.loc[
        "gap", "beaten_by"
    ] == ["NN_attack", "Likelihood ratio attack"]
    assert table.loc["nn_attack", "dominated_by"] == ["Likelihood ratio attack"]
    assert list(table["mean"]) == pytest.approx([0.9, 0.6, 0.2])
    without = advice.advise(*made(ma), given=["shadow"])
    assert list(without["attack"]) == ["nn_attack", "gap"]
    assert (
        advice.sentence(without) == "Never beaten in 2 scenarios of this trained model: NN_attack."
    )
    one = advice.advise(*made(ma), given=[])
    assert list(one["attack"]) == ["gap"] and one["never_beaten"].all()


def test_attacks_that_beat_each_other_are_undominated() -> None:
    first, second = made({"gap": 0.2, "nn_attack": 0.6}), made({"gap": 0.6, "nn_attack": 0.2})
    rows, answers = (
        pd.concat([a[a["scenario"] == "ES01"], b[b["scenario"] == "ES02"]])
        for a, b in zip(first, second, strict=True)
    )
    table = advice.advise(rows, answers)
    assert not table["never_beaten"].any() and not table["dominated_by"].astype(bool).any()
    assert "beaten only by attacks that they beat elsewhere" in advice.sentence(table)


def mibench(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> str:
    results.save(tmp_path / "digits" / "made", *made({"gap": 0.2, "nn_attack": 0.6, "rmia": 0.9}))
    return str(tmp_path)


def test_commands(folder: str) -> None:
    code, out, _ = mibench("advise", "--results", folder, "--shadow")
    assert code == 0 and "Never beaten in 2 scenarios of this trained model: NN_attack." in out
    assert "RMIA" not in out and "without results" in out
    code, out, _ = mibench("advise", "--results", folder, "--shadow", "--json")
    assert [r["attack"] for r in json.loads(out)] == ["nn_attack", "gap"]
    owned = ("--references", "--auxiliary", "--shadow")
    code, out, _ = mibench("advise", "--results", folder, *owned, "--json")
    assert json.loads(out)[0]["attack"] == "rmia"
    code, out, _ = mibench("conflicts", "--results", folder, "--dataset", "digits")
    assert code == 0 and out.startswith("0 conflicts among 2 scenarios")
    code, out, _ = mibench("conflicts", "--results", folder, "--dataset", "digits", "--json")
    assert json.loads(out) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("advise", "--queries", "0"), "at least 1"),
        (("advise", "--metric", "auc"), "unknown metric 'auc'"),
        (("advise", "--dataset", "CIFAR10"), "no results of CIFAR10"),
        (("conflicts", "--dataset", "digits", "--metric", "none"), "unknown metric 'none'"),
    ],
)
def test_mistakes(folder: str, arguments: tuple[str, ...], says: str) -> None:
    code, out, err = mibench(*arguments, "--results", folder)
    assert (code, out) == (2, "") and says in err and len(err.strip().splitlines()) == 1


def test_the_published_table_is_whole_but_for_one_scenario() -> None:
    table = published.top3()
    assert len(table) == 587 == len(table.drop_duplicates(["dataset", "scenario"]))
    ids = {(d, s.id) for d in scenarios.published() for s in scenarios.catalogue(d)}
    listed = {*table[["dataset", "scenario"]].itertuples(index=False, name=None)}
    assert ids - listed == {("Purchase100", "ES54")} and not listed - ids
    names = {*table[["first", "second", "third"]].to_numpy().ravel()}
    assert {published.ours(name) for name in names} <= {*published.ATTACKS}
    assert len(published.ATTACKS) == 15 and {*published.ATTACKS} <= attacks.ATTACKS.keys()
    assert table["first"].value_counts().to_dict() == {
        "Loss-Threshold": 409,
        "Risk score": 177,
        "Top3_NN": 1,
    }


def ours(order: str) -> pd.DataFrame:
    """Return made-up results of Location30 in which their three stand in an order of their own."""
    rows = []
    for row in published.top3().query("dataset == 'Location30'").to_dict("records"):
        three = [published.ours(row[p]) for p in ("first", "second", "third")]
        names = {"same": three, "reversed": three[::-1], "none": []}[order]
        others = [n for n in attacks.ATTACKS if n not in three]
        rows += [
            {"dataset": "Location30", "model": "MLP", "scenario": row["scenario"], "seed": 0}
            | {"attack": name, "status": "ok", "ma": 1 - 0.01 * i}
            for i, name in enumerate([*names, *others, *(three if not names else [])])
        ]
    return pd.DataFrame(rows)


def test_agreement_with_the_published_table() -> None:
    [same] = published.agreement(published.compare(ours("same"))).to_dict("records")
    assert (same["same_first"], same["overlap"], same["tau"], same["beyond"]) == (1, 3, 1, 0)
    assert same["scenarios"] == 84
    [flipped] = published.agreement(published.compare(ours("reversed"))).to_dict("records")
    assert (flipped["same_first"], flipped["overlap"], flipped["tau"]) == (0, 3, -1)
    [none] = published.agreement(published.compare(ours("none"))).to_dict("records")
    assert (none["overlap"], none["tau"]) == (0, 1)
    beaten = ours("same").assign(ma=lambda t: t["ma"].where(t["attack"] != "rmia", 2.0))
    assert published.compare(beaten)["beyond"].all()
    with pytest.raises(MIBenchError, match="no results of a scenario"):
        published.compare(ours("same").assign(dataset="digits"))
    with pytest.raises(MIBenchError, match="one model"):
        published.compare(pd.concat([ours("same"), ours("same").assign(model="VGG16")]))
    assert len(scenarios.published()) == 7
