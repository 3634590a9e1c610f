"""Who beats whom: against constructed tables, simulations with known truth, and the raw rows."""

import re
from collections.abc import Callable, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from scipy.stats import binom, norm, ttest_1samp

from mibench import figures, scenarios
from mibench.compare import conflicts
from mibench.errors import MIBenchError
from mibench.study import metrics, parquet, results
from mibench.study.study import Study
from tests.conftest import study

Rates = Callable[[scenarios.Scenario], tuple[float, float]]
GRID = scenarios.catalogue("digits")


def constructed(
    rates: dict[str, Rates],
    half: int = 200,
    seed: int = 0,
    where: Sequence[scenarios.Scenario] = GRID[:6],
) -> pd.DataFrame:
    """Return answers with exactly the given (TPR, FPR); which samples are hit is by chance."""
    rng = np.random.default_rng([seed, 1])
    parts = []
    for scenario, (name, rate) in product(where, rates.items()):
        hits = [rng.permutation(np.arange(half) < round(share * half)) for share in rate(scenario)]
        parts.append(
            pd.DataFrame(
                {
                    "dataset": "digits",
                    "scenario": scenario.id,
                    "attack": name,
                    "seed": seed,
                    "sample": np.arange(2 * half),
                    "is_member": np.arange(2 * half) < half,
                    "answer": np.concatenate(hits).astype(np.int8),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def simulated(
    rng: np.random.Generator,
    names: list[str],
    where: list[str],
    half: int,
    rates: dict[str, tuple[float, float]],
    withheld: float,
) -> pd.DataFrame:
    """Return simulated answers: attacks of given (TPR, FPR) that mostly hit the same samples."""
    count = len(where) * 2 * half
    sample = np.tile(np.arange(2 * half), len(where))
    is_member = sample < half
    shared = rng.random(count)
    parts = []
    for name in names:
        own = np.where(rng.random(count) < 0.5, shared, rng.random(count))
        called = own < np.where(is_member, *rates[name])
        answer = np.where(rng.random(count) < withheld, -1, called)
        parts.append(
            pd.DataFrame(
                {
                    "dataset": "digits",
                    "scenario": np.repeat(where, 2 * half),
                    "attack": name,
                    "seed": 0,
                    "sample": sample,
                    "is_member": is_member,
                    "answer": answer,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_exactly_the_constructed_flips_are_found() -> None:
    low, _, high = sorted({s.distance for s in GRID})

    def turning(s: scenarios.Scenario) -> tuple[float, float]:
        return {low: 0.9, high: 0.5}.get(s.distance, 0.7), 0.2

    answers = constructed(
        {
            "nn_attack": turning,
            "label_only": lambda s: (0.7, 0.2),
            "gap": lambda s: (0.3, 0.25),
            "rmia": lambda s: (0.95, 0.05),
        },
        half=600,
        where=GRID,
    )
    # No word of the bootstrap's, whose intervals are not looked at.
    found = conflicts.find(conflicts.significant(conflicts.differences(answers, replicates=1)))
    wanted = set()
    for a, b in product(GRID, GRID):
        others = sum(getattr(a, f) != getattr(b, f) for f in scenarios.FACTORS[::2]) + (
            a.withheld_ratio != b.withheld_ratio
        )
        if a.distance == high and b.distance == low and others <= 1:
            wanted.add((a.id, b.id, 1 + others))
    rows = found[["scenario", "other_scenario", "type"]].itertuples(index=False, name=None)
    assert set(rows) == wanted and len(found) == len(wanted) > 100
    # label_only leads nn_attack in the first scenario: its name comes first.
    assert set(found["attack"]) == {"label_only"} and set(found["other"]) == {"nn_attack"}
    assert found["factor"].str.contains("distance").all()
    assert (found.loc[found["type"] == 1, "factor"] == "distance").all()
    assert found["strength"].to_numpy() == pytest.approx(0.2)
    table = conflicts.counts(found)
    assert table["conflicts"].sum() == len(wanted)
    said = conflicts.sentence(conflicts.strongest(found, 1).iloc[0])
    assert re.fullmatch(
        rf"Label-only leads NN_attack by 0\.200 \[.*\] MA at distance {high:.3f} \(ES\d+\); "
        rf"NN_attack leads by 0\.200 \[.*\] MA at distance {low:.3f} \(ES\d+\), all else equal\.",
        said,
    )


def corrected(tables: pd.DataFrame, correction: str = "holm") -> pd.DataFrame:
    """Return what :func:`conflicts.significant` says of each table, which a model's name tells."""
    each = tables.groupby("model", sort=False)
    return pd.concat([conflicts.significant(table, correction) for _, table in each])


def test_noise_gives_a_false_alarm_in_at_most_5_percent_of_200_simulated_tables() -> None:
    rng = np.random.default_rng(0)
    names, where = ["gap", "rmia", "ppv", "shapley"], [s.id for s in GRID[:8]]
    tables = []
    for i in range(200):
        withheld = rng.choice([0.0, 0.1, 0.4])
        rate = rng.choice([0.5, 0.8, 0.97]), rng.choice([0.02, 0.3, 0.5])
        answers = simulated(rng, names, where, 150, dict.fromkeys(names, rate), withheld)
        tables.append(answers.assign(model=f"simulation {i}"))
    judged = corrected(conflicts.differences(pd.concat(tables), replicates=1))
    assert judged["model"].nunique() == 200
    assert conflicts.find(judged)["model"].nunique() <= 10
    # A single false difference is an alarm only for half a conflict; Holm bounds its chance too.
    different = judged.loc[judged["significant"], "model"].nunique()
    assert different <= binom.ppf(0.99, 200, 0.05)


def test_many_true_differences_let_no_false_conflict_through() -> None:
    """One attack leads in most scenarios and in none the other; of 200 simulated tables."""
    rng = np.random.default_rng(1)
    where = [s.id for s in GRID[:40]]
    true = np.where(np.arange(40) < 30, 5.0, 0.0)
    tables = []
    for i in range(200):
        z = true + rng.standard_normal(40)
        table = {"dataset": "digits", "model": i, "attack": "gap", "other": "rmia"}
        table |= {"scenario": where, "difference": z, "low": z - 2, "high": z + 2}
        table |= {"p": 2 * norm.sf(np.abs(z)), "seeds": 1, "steady": True}
        tables.append(pd.DataFrame(table))
    judged = corrected(pd.concat(tables), "bh")
    by_difference = conflicts.find(judged, "holm")["model"].nunique()
    # Without one that passes as a difference there is none that passes as a conflict.
    passed = judged[judged["difference"] < 0].groupby("model")["significant"].any()
    some = judged[judged["model"].isin(passed.index[passed])]
    alarms = sum(len(conflicts.find(table, "bh")) > 0 for _, table in some.groupby("model"))
    assert alarms <= binom.ppf(0.99, 200, 0.05) < by_difference


@pytest.mark.parametrize("withheld", [0.0, 0.3])
def test_intervals_cover_the_truth_in_93_to_97_percent_of_500_simulations(withheld: float) -> None:
    rng = np.random.default_rng(1)
    where = [f"simulation {i}" for i in range(500)]
    rates = {"gap": (0.7, 0.3), "rmia": (0.8, 0.25)}
    compared = conflicts.differences(simulated(rng, list(rates), where, 200, rates, withheld))
    covered = (compared["low"] <= -0.15) & (compared["high"] >= -0.15)
    assert len(compared) == 500 and 0.93 <= covered.mean() <= 0.97
    # The closed-form standard error agrees with how the differences really scatter.
    assert compared["error"].mean() == pytest.approx(compared["difference"].std(), rel=0.1)


@pytest.mark.parametrize("metric", metrics.OF_ANSWERS)
def test_standard_error_is_that_of_a_plain_bootstrap(metric: str) -> None:
    rng = np.random.default_rng(2)
    rates = {"gap": (0.7, 0.3), "rmia": (0.8, 0.25)}
    answers = simulated(rng, list(rates), ["ES01"], 300, rates, 0.2)
    [row] = conflicts.differences(answers, metric, 5000).to_dict("records")
    wide = answers.pivot(index="sample", columns="attack", values="answer")
    member = np.arange(600) < 300

    def plain(answer: Any, is_member: Any) -> float:
        called, kept = answer == 1, answer >= 0
        tp, fp = (called & is_member).sum(), (called & ~is_member).sum()
        fn, tn = (kept & ~called & is_member).sum(), (kept & ~called & ~is_member).sum()
        values = {
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "fpr": fp / (fp + tn),
            "fnr": fn / (tp + fn),
            "ma": tp / (tp + fn) - fp / (fp + tn),
            "accuracy": (tp + tn) / (tp + fp + fn + tn),
        }
        return float(values[metric])

    sign = -1 if metric in ("fpr", "fnr") else 1
    drawn = []
    for _ in range(2000):
        picked = np.concatenate([rng.integers(0, 300, 300), rng.integers(300, 600, 300)])
        gap, rmia = (plain(wide[name].to_numpy()[picked], member[picked]) for name in rates)
        drawn.append(sign * (gap - rmia))
    assert row["error"] == pytest.approx(np.std(drawn), rel=0.07)
    assert [row["low"], row["high"]] == pytest.approx(
        np.quantile(drawn, [0.025, 0.975]), abs=0.2 * row["error"]
    )
    values = [plain(wide[name].to_numpy(), member) for name in rates]
    assert [row["value"], row["other_value"]] == pytest.approx(values)


def test_metrics_are_those_of_the_result_rows(digits: Study) -> None:
    names = ["gap", "loss_threshold", "top1_threshold"]
    table, answers = digits.run(["ES12", "ES84"], names)
    for metric in metrics.OF_ANSWERS:
        compared = conflicts.differences(answers, metric, replicates=1)
        joined = compared.merge(table, on=["scenario", "attack"])
        assert len(joined) == 6
        assert joined["value"].to_numpy() == pytest.approx(joined[metric], nan_ok=True)


def test_a_flawless_attack_beats_one_that_calls_nobody() -> None:
    answers = constructed({"gap": lambda s: (1.0, 0.0), "rmia": lambda s: (0.0, 0.0)})
    judged = conflicts.significant(conflicts.differences(answers))
    assert judged["significant"].all() and (judged["error"] == 0).all()
    same = constructed({"gap": lambda s: (1.0, 0.0), "rmia": lambda s: (1.0, 0.0)})
    judged = conflicts.significant(conflicts.differences(same))
    assert (judged["p"] == 1).all() and not judged["significant"].any()
    without = conflicts.significant(conflicts.differences(answers, "precision"))
    assert without["difference"].isna().all() and not without["significant"].any()


def test_holm_and_benjamini_hochberg_by_their_definitions() -> None:
    p = np.random.default_rng(3).random(40) ** 4
    rows = pd.DataFrame({"p": [*p, np.nan], "steady": True})
    ordered, count = np.sort(p), len(p)
    rejected = 0
    while rejected < count and ordered[rejected] <= 0.05 / (count - rejected):
        rejected += 1
    assert 0 < conflicts.significant(rows)["significant"].sum() == rejected
    passed = [i for i in range(count) if ordered[i] <= 0.05 * (i + 1) / count]
    assert conflicts.significant(rows, "bh")["significant"].sum() == passed[-1] + 1 > rejected


def test_seeds_are_the_unit_and_each_must_agree() -> None:
    """With exact rates every scenario's differences over seeds are the same three numbers."""
    rates = (0.9, 0.8, 0.7)
    seeds = [
        constructed({"gap": lambda s, r=rate: (r, 0.1), "rmia": lambda s: (0.5, 0.1)}, seed=i)
        for i, rate in enumerate(rates)
    ]
    compared = conflicts.differences(pd.concat(seeds))
    assert compared["difference"].to_numpy() == pytest.approx(0.3) and compared["steady"].all()
    wanted = ttest_1samp(np.array(rates) - 0.5, 0)
    assert compared["p"].to_numpy() == pytest.approx(wanted.pvalue)
    low, high = wanted.confidence_interval()
    assert compared[["low", "high"]].to_numpy() == pytest.approx(np.tile([low, high], (6, 1)))
    assert compared["error"].to_numpy() == pytest.approx(np.std(rates, ddof=1) / np.sqrt(3))
    # Seeds that agree by luck do not make the samples many: the sampling error is the floor.
    alike = pd.concat(
        constructed({"gap": lambda s: (0.8, 0.1), "rmia": lambda s: (0.5, 0.1)}, seed=i)
        for i in range(3)
    )
    alone = [conflicts.differences(rows) for _, rows in alike.groupby("seed")]
    pooled = np.sqrt(sum(rows["error"] ** 2 for rows in alone)) / 3
    compared = conflicts.differences(alike)
    assert compared["error"].to_numpy() == pytest.approx(pooled)
    assert (compared["p"] > 1e-30).all() and (compared["p"] < 1e-6).all()
    against = constructed({"gap": lambda s: (0.4, 0.1), "rmia": lambda s: (0.5, 0.1)}, seed=2)
    judged = conflicts.significant(conflicts.differences(pd.concat([*seeds[:2], against])))
    assert not judged["significant"].any() and not judged["steady"].any()


def test_two_attacks_are_compared_over_the_seeds_that_both_have() -> None:
    rates = {"gap": (0.8, 0.1), "rmia": (0.5, 0.1), "label_only": (0.6, 0.2)}
    first, other = (
        constructed({name: lambda s, r=rate: r for name, rate in rates.items()}, seed=seed)
        for seed in range(2)
    )
    told = ["scenario", "attack", "other", "difference", "error", "p", "seeds", "steady"]
    compared = conflicts.differences(pd.concat([first, other.query("attack != 'label_only'")]))
    both = conflicts.differences(pd.concat([first, other]).query("attack != 'label_only'"))
    one = conflicts.differences(first).query("attack == 'label_only' or other == 'label_only'")
    expected = pd.concat([both, one])[told].sort_values(told[:3], ignore_index=True)
    found = compared[told].sort_values(told[:3], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected)
    assert set(found["seeds"]) == {1, 2} and len(found) == 3 * found["scenario"].nunique()


def test_models_that_differ_give_few_false_alarms() -> None:
    """Equal attacks whose variance between models is ten times the sampling variance.

    The long run is in benchmarks/simulations.py; sampling variance alone gives false alarms in a
    quarter of the tables.
    """
    rng = np.random.default_rng(0)
    tables = []
    for i in range(60):
        for seed in range(3):
            rates = {n: (np.clip(0.6 + rng.normal(0, 0.17), 0, 1), 0.3) for n in ("gap", "rmia")}
            answers = simulated(rng, [*rates], ["ES01", "ES02"], 150, rates, 0)
            tables.append(answers.assign(seed=seed, model=f"simulation {i}"))
    compared = conflicts.differences(pd.concat(tables), replicates=1)
    z = compared["effect"].abs() * np.sqrt(3 * 300)
    alarms, by_sampling_alone = (
        judged.loc[judged["significant"], "model"].nunique()
        for judged in (corrected(compared), corrected(compared.assign(p=2 * norm.sf(z))))
    )
    assert compared["model"].nunique() == 60
    assert alarms <= binom.ppf(0.99, 60, 0.05) and by_sampling_alone > 10


def test_what_could_have_been_found() -> None:
    """The smallest difference is found in 80% of 200 simulations, more or less."""
    rng = np.random.default_rng(4)
    where = [f"simulation {i}" for i in range(200)]
    first = conflicts.differences(
        simulated(rng, ["gap", "rmia"], where, 200, dict.fromkeys(["gap", "rmia"], (0.6, 0.3)), 0),
        replicates=1,
    )
    has = conflicts.power(conflicts.significant(first))
    assert (has["possible"], has["tested"]) == (200, 200) and has["found"] <= 1
    rates = {"gap": (0.6 + has["smallest"], 0.3), "rmia": (0.6, 0.3)}
    second = conflicts.significant(
        conflicts.differences(simulated(rng, [*rates], where, 200, rates, 0), replicates=1)
    )
    # Each as if it were the only one, at Holm's first and strictest step.
    assert 0.7 < (second["p"] <= 0.05 / 200).mean() < 0.9
    assert "of this trained model could be tested" in conflicts.power_sentence(second)
    few = constructed({"gap": lambda s: (0.5, 0.5), "rmia": lambda s: (0.5, 0.25)}, half=4)
    several = pd.concat([few, few.assign(seed=1)])
    judged = conflicts.significant(conflicts.differences(several))
    said = conflicts.power_sentence(judged)
    assert "of 2 trained models" in said
    some = several[(several["seed"] == 0) | (several["scenario"] != several["scenario"].iloc[0])]
    uneven = conflicts.power_sentence(conflicts.significant(conflicts.differences(some)))
    assert "comparisons of 1 to 2 trained models could be tested" in uneven
    assert "none is significant; none, however large, would have been" in said
    judged.loc[0, "error"] = 1e-4
    said = conflicts.power_sentence(judged)
    assert "in half of them no difference, however large, would have been found" in said


def test_unstable_attacks_are_named() -> None:
    rng = np.random.default_rng(5)
    rows = [
        {"dataset": "digits", "model": "MLP", "scenario": s.id, "seed": seed, "status": "ok"}
        | {"attack": name, "title": name, "ma": 0.3 + rng.normal(0, spread)}
        for s in GRID
        for seed in range(4)
        for name, spread in (("gap", 0.05), ("rmia", 0.09), ("top1_threshold", 0.25))
    ]
    table = pd.DataFrame(rows)
    # An interval of 1.96 standard errors of .05 either way.
    table = table.assign(ma_low=table["ma"] - 0.098, ma_high=table["ma"] + 0.098)
    [found] = conflicts.unstable(table).to_dict("records")
    assert found["attack"] == "top1_threshold" and "random inputs" in found["reason"]
    assert found["ratio"] == pytest.approx(25, rel=0.25)
    assert found["sampling"] == pytest.approx(0.05, rel=1e-3)
    assert set(conflicts.unstable(table, times=2)["attack"]) == {"rmia", "top1_threshold"}
    assert conflicts.unstable(table[table["seed"] == 0]).empty


def test_mistakes_are_named() -> None:
    answers = constructed({"gap": lambda s: (0.9, 0.1), "rmia": lambda s: (0.5, 0.1)}, half=5)
    with pytest.raises(MIBenchError, match="unknown metric 'auc'"):
        conflicts.differences(answers, "auc")
    with pytest.raises(MIBenchError, match="digits, scenario ES01, seed 0 did not answer"):
        conflicts.differences(answers.iloc[1:])
    with pytest.raises(MIBenchError, match="did not answer about the same samples"):
        conflicts.differences(pd.concat([answers, answers]))
    with pytest.raises(MIBenchError, match="needs two"):
        conflicts.differences(answers[answers["attack"] == "gap"])
    with pytest.raises(MIBenchError, match="no answers"):
        conflicts.differences(answers.iloc[:0])
    compared = conflicts.differences(answers)
    with pytest.raises(MIBenchError, match="unknown correction 'none'"):
        conflicts.significant(compared, "none")
    with pytest.raises(MIBenchError, match="between 0 and 1"):
        conflicts.significant(compared, alpha=5)
    with pytest.raises(MIBenchError, match="no results of model VGG16"):
        results.select(answers.assign(model="MLP"), model="VGG16")


def test_ranks_and_leaders() -> None:
    row = {"dataset": "digits", "model": "MLP", "scenario": "ES01", "status": "ok"}
    values = {"A": (0.9, 0.0, 0), "B": (0.5, 0.4, 0), "C": (0.5, 0.1, 0)}
    values2 = {"A": (0.7, 0.1, 1), "B": (0.6, 0.6, 1), "C": (0.2, 0.1, 1)}
    table = pd.DataFrame(
        {
            **row,
            "attack": title.lower(),
            "title": title,
            "seed": seed,
            "ma": ma,
            "fpr": 1 - ma,
            "tpr_at_fpr_0.1": tpr,
            "tpr_at_fpr_0.1_low": tpr - 0.05,
            "tpr_at_fpr_0.1_high": tpr + 0.05,
            "samples": 2000,
        }
        for rows in (values, values2)
        for title, (ma, tpr, seed) in rows.items()
    )
    assert list(conflicts.ranking(table)["rank"]) == [1, 2.5, 2.5, 1, 2, 3]
    assert list(conflicts.ranking(table, "fpr")["rank"]) == [1, 2.5, 2.5, 1, 2, 3]
    with pytest.raises(MIBenchError, match="run scenario pool"):
        figures.two_views(table)
    whole = table.assign(scenario="pool")
    [found] = conflicts.leaders(pd.concat([table.assign(ma=1 - table["ma"]), whole])).to_dict(
        "records"
    )
    assert (found["leader"], found["other_leader"], found["same"]) == ("A", "B", False)
    assert found["clear"] and found["ma"] == pytest.approx(0.8)
    assert found["other_tpr_at_fpr_0.1"] == pytest.approx(0.5)
    tied = whole.assign(**{"tpr_at_fpr_0.1": 0.3})
    assert conflicts.leaders(tied)["same"].all()
    [axes] = (drawn := figures.two_views(whole)).axes
    assert sorted(axes.lines[0].get_xdata()) == pytest.approx([0.35, 0.55, 0.8])
    assert [text.get_text() for text in axes.texts] == [
        "A",
        "B",
    ] and "2000 samples" in drawn.caption
    with pytest.raises(MIBenchError, match="at least 1,000 nonmembers"):
        conflicts.leaders(whole.assign(**{"tpr_at_fpr_0.1": np.nan}))
    with pytest.raises(MIBenchError, match="no metric"):
        conflicts.ranking(table, "nonsense")


FEW = ["loss_threshold", "gap", "top1_threshold", "class_confidence", "ppv", "blindmi_1class"]


@pytest.fixture(scope="module")
def executed(shared_data: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of all 84 scenarios of Location30, by pairs, which hold conflicts."""
    folder = tmp_path_factory.mktemp("executed")
    pairs = study("Location30", cache_dir, shared_data, construction="pairs")
    run = pairs.run(scenarios.catalogue("Location30"), FEW)
    results.save(folder / "Location30" / "all", *run)
    return folder


@pytest.mark.usefixtures("forked_kernels")
def test_five_statements_of_the_notebook_follow_from_the_raw_rows(
    executed: Path, tmp_path: Path
) -> None:
    notebook = Path(__file__).parents[1] / "notebooks" / "conflicts.ipynb"
    given = {"dataset": "Location30", "results": str(executed), "figures": str(tmp_path)}
    made = tmp_path / "made.ipynb"
    papermill.execute_notebook(notebook, made, given, progress_bar=False)
    said = "".join(
        output.get("text", "")
        for cell in nbformat.read(made, as_version=4).cells
        for output in cell.get("outputs", [])
    )
    rows = pd.read_parquet(executed / "Location30" / "all.parquet")
    answers = pd.read_parquet(parquet.answers_of(executed / "Location30" / "all"))
    of = dict(iter(answers.groupby(["attack", "scenario"])))

    def ma(title: str, scenario: str) -> float:
        name = rows.loc[rows["title"] == title, "attack"].iloc[0]
        own = of[name, scenario]
        own = own[own["answer"] >= 0]
        share = own.groupby("is_member")["answer"].mean()
        return float(share[True] - share[False])

    # One: how many comparisons there are.
    [compared] = re.findall(r"(\d+) comparisons, \d+ significant", said)
    assert int(compared) == 84 * 15 == rows["scenario"].nunique() * len([*combinations(FEW, 2)])
    # Two: both leads of every conflict told. Three: what differs between its scenarios.
    told = re.findall(
        r"type (\d): (.+) leads (.+) by (\S+) \[.*?\] MA at (.+?) \((ES\d+)\); "
        r".+ leads by (\S+) \[.*?\] MA at (.+?) \((ES\d+)\), all else equal",
        said,
    )
    assert len(told) >= 5 and {kind for kind, *_ in told} == {"1", "2"}
    factors = rows.drop_duplicates("scenario").set_index("scenario")
    for kind, one, two, lead, here, at, other_lead, there, other_at in told:
        assert ma(one, at) - ma(two, at) == pytest.approx(float(lead), abs=6e-4)
        assert ma(two, other_at) - ma(one, other_at) == pytest.approx(float(other_lead), abs=6e-4)
        differing = [
            f.replace("_", " ")
            for f in scenarios.FACTORS
            if factors.loc[at, f] != factors.loc[other_at, f]
        ]
        assert len(differing) == int(kind)
        for text in (here, there):
            assert [part.rsplit(" ", 1)[0] for part in text.split(" and ")] == differing
    # Four: who leads at a low FPR is read on the whole pool, which is not here.
    assert "run scenario pool" in said
    # Five: whom nobody beats, or who is beaten least, by a paired test of its own.
    [(first, times)] = re.findall(
        r"\neverything: .*?\. (.+) is beaten in the fewest scenarios, (\d+) of 84", said
    ) or [
        (
            *re.findall(
                r"\neverything: Never beaten in 84 scenarios of this trained model: (.+)\.", said
            ),
            "0",
        )
    ]
    assert beaten(answers, rows, first) == int(times)
    assert {p.suffix for p in tmp_path.glob("Location30_MLP_*")} >= {".png", ".pdf"}


def beaten(answers: pd.DataFrame, rows: pd.DataFrame, title: str) -> int:
    """Return in how many scenarios an attack is beaten, by plain loops and Holm's definition."""
    name = rows.loc[rows["title"] == title, "attack"].iloc[0]
    tests = []
    for scenario, part in answers.groupby("scenario"):
        wide = part.pivot(index="sample", columns="attack", values="answer")
        told = part.drop_duplicates("sample").set_index("sample")["is_member"]
        member, given = told.loc[wide.index].to_numpy(), wide.to_numpy().T
        for a, b in combinations(range(len(given)), 2):
            difference, variance = 0.0, 0.0
            for side, sign in ((member, 1), (~member, -1)):
                influence = []
                for attack in (a, b):
                    own = given[attack, side]
                    kept = own >= 0
                    rate = (own == 1).sum() / kept.sum()
                    influence.append(((own == 1) - rate * kept) / kept.sum())
                    difference += sign * rate * (1 if attack == a else -1)
                variance += ((influence[0] - influence[1]) ** 2).sum()
            variance += (difference / 2) ** 2 * (1 / member.sum() + 1 / (~member).sum())
            z = abs(difference) / variance**0.5 if variance else 0.0
            tests.append((-z, scenario, wide.columns[b if difference > 0 else a]))
    lost = set()
    for i, (z, scenario, loser) in enumerate(sorted(tests)):
        if 2 * norm.cdf(z) > 0.05 / (len(tests) - i):
            break
        if loser == name:
            lost.add(scenario)
    return len(lost)


def test_figures_show_the_numbers(executed: Path, tmp_path: Path) -> None:
    table, answers = results.load(executed, "Location30")
    found = conflicts.find(conflicts.significant(conflicts.differences(answers)))
    drawn = figures.conflict_matrix(found, table)
    shown = [int(t.get_text()) for t in drawn.axes[0].texts if t.get_text()]
    assert sum(shown) == len(found)
    ranked = figures.ranks(conflicts.ranking(table), table)
    [mean] = [line for line in ranked.axes[0].lines if line.get_label() == "mean, seed 0"]
    wanted = conflicts.ranking(table).groupby("title")["rank"].mean().sort_values()
    assert sorted(mean.get_xdata()) == pytest.approx(list(wanted))
    names = [t.get_text() for t in ranked.axes[0].get_yticklabels()]
    assert names == list(wanted.index)
    for i, figure in enumerate((drawn, ranked)):
        figures.save(figure, tmp_path / str(i))
        assert figure.caption in (tmp_path / f"{i}.txt").read_text()
        box = figure.get_tightbbox()
        assert box.x0 >= -0.01 and box.x1 <= figure.get_figwidth() + 0.01
    most = found.groupby(["attack", "other"]).size().max()
    assert f"in {most} pairs of scenarios" in drawn.alt
    assert "over 84 scenarios" in ranked.caption and names[0] in ranked.alt
    plt.close("all")
    with pytest.raises(MIBenchError, match="no conflicts"):
        figures.conflict_matrix(found.iloc[:0], table)
