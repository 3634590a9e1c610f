"""Which members attacks find together, against sets counted by hand."""

from itertools import combinations, product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from mibench.compare import agreement
from mibench.errors import MIBenchError
from mibench.figures.agreement import images, jaccard_map, upset
from mibench.study import metrics

NAMES = ["gap", "rmia", "loss_threshold"]
TITLES = {"gap": "Gap attack", "rmia": "RMIA", "loss_threshold": "Loss-Threshold"}


def answered(seeds: int = 2, count: int = 60) -> pd.DataFrame:
    """Return simulated answers; with another seed some members are other samples."""
    rng = np.random.default_rng(0)
    parts = []
    for seed, name in product(range(seeds), NAMES):
        score = rng.normal(size=2 * count).round(1)
        row = {"dataset": "digits", "scenario": "ES01", "seed": seed, "attack": name}
        row |= {
            "sample": np.arange(2 * count) + 20 * seed,
            "is_member": np.arange(2 * count) < count,
        }
        withheld = rng.random(2 * count) < 0.1
        answer = np.where(withheld, -1, score >= 0.2)
        parts.append(pd.DataFrame(row | {"score": score, "answer": answer}))
    return pd.concat(parts, ignore_index=True)


def sets(answers: pd.DataFrame) -> dict[tuple[str, int], set[int]]:
    """Return the members that each attack calls members, with each seed."""
    called = answers[answers["is_member"] & (answers["answer"] == 1)]
    return {
        (str(name), int(str(seed))): set(rows["sample"])
        for (name, seed), rows in called.groupby(["attack", "seed"])
    }


def test_jaccard_and_coverage_are_those_of_sets() -> None:
    answers = answered(1)
    hits, by = agreement.found(answers), sets(answers)
    shares = agreement.jaccard(hits)
    for one, two in combinations(NAMES, 2):
        a, b = by[one, 0], by[two, 0]
        assert shares[one][two] == shares[two][one] == len(a & b) / len(a | b)
    a, b, c = (by[name, 0] for name in NAMES)
    wanted = {"any": a | b | c, "all": a & b & c, "one alone": (a ^ b ^ c) - (a & b & c)}
    assert agreement.coverage(hits).to_dict() == {n: len(s) / 60 for n, s in wanted.items()}


def test_stability_counts_members_of_both_seeds_alone() -> None:
    answers = answered()
    table, by = agreement.stability(agreement.found(answers)), sets(answers)
    common = set(range(20, 60))
    for name in NAMES:
        a, b = by[name, 0] & common, by[name, 1] & common
        either, both = len(a | b), len(a & b)
        wanted = [40, either / 40, both / 40, both / either]
        assert table.loc[[name]].to_numpy()[0].tolist() == wanted
    assert agreement.stability(agreement.found(answered(1)))["jaccard"].isna().all()


@pytest.mark.parametrize("fpr", [0.05, 0.07, 0.5])
def test_at_an_fpr_shares_are_the_metric(fpr: float) -> None:
    answers = answered()
    shares = agreement.found(answers, fpr).groupby(level="seed").mean()
    for seed, name in product((0, 1), NAMES):
        rows = answers.query("seed == @seed and attack == @name")
        truth = rows["is_member"].to_numpy()
        rate = metrics.tpr_at_fpr(rows["score"].to_numpy(), truth, fpr).value
        assert shares.loc[seed, name] == pytest.approx(rate)


def test_slices_by_class_loss_and_correctness() -> None:
    answers = answered(1)
    answers.loc[answers["attack"] == "gap", "score"] = answers["sample"] % 2
    hits, told = agreement.found(answers), agreement.described(answers)
    kinds = pd.Series(np.arange(200) % 3, name="class")
    table = agreement.slices(hits, kinds)
    calls = answers[answers["is_member"]].assign(hit=answers["answer"] == 1)
    own = calls[calls["attack"] == "rmia"]
    wanted = own.groupby(own["sample"] % 3)["hit"].mean()
    assert table["rmia"].tolist() == wanted.tolist() and table["members"].sum() == 60
    right = agreement.slices(hits, told["right"])
    assert right.loc[True, "rmia"] == own[own["sample"] % 2 == 1]["hit"].mean()
    losses = calls[calls["attack"] == "loss_threshold"].set_index("sample")["score"]
    quarter = told["loss"].droplevel(["scenario", "seed"])
    assert losses[quarter == 1].min() >= losses[quarter == 4].max()


def test_figures_show_the_counts() -> None:
    hits = agreement.found(answered(1))
    largest = hits.value_counts()
    figure = upset(hits, TITLES, "digits, ES01")
    heights = [bar.get_height() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    assert heights == largest.tolist() and sum(heights) == 60
    assert f"any {agreement.coverage(hits)['any']:.1%}" in figure.caption
    few = upset(hits, TITLES, "digits, ES01", shown=3)
    assert f"{len(largest) - 3} smaller columns with {largest[3:].sum()} members" in few.caption
    drawn = jaccard_map(hits, TITLES, "digits, ES01")
    shown = {t.get_text() for t in drawn.axes[0].texts}
    assert f"{agreement.jaccard(hits).to_numpy()[0, 1]:.2f}" in shown
    seen = images(np.random.default_rng(0).random((3, 1, 4, 4)), np.array([1, 1, 2]), "members")
    assert seen.caption == "3 of 3 members." and "class is 1" in seen.alt
    plt.close("all")


def test_mistakes_are_named() -> None:
    answers = answered(1)
    with pytest.raises(MIBenchError, match="needs at least 100 nonmembers; there are 60"):
        agreement.found(answers, 0.01)
    with pytest.raises(MIBenchError, match="within one setting"):
        agreement.found(pd.concat([answers, answers.assign(dataset="other")]))
    with pytest.raises(MIBenchError, match="some attacks answered"):
        agreement.found(answers[5:])
    wide = pd.DataFrame(np.eye(7, dtype=bool), columns=list("abcdefg"))
    with pytest.raises(MIBenchError, match="6 attacks at most"):
        upset(wide, {}, "nothing")
