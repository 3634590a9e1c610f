import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image
from scipy.stats import chi2

from mibench import figures, scenarios
from mibench.attacks import ATTACKS, Inference
from mibench.attacks.base import named
from mibench.compare import groups
from mibench.compare.sensitivity import sensitivity
from mibench.errors import MIBenchError
from mibench.figures.agreement import jaccard_map, upset
from mibench.figures.published import scatter
from mibench.figures.sensitivity import dumbbells
from mibench.figures.style import WIDTHS
from mibench.look import Look
from mibench.study.metrics import METRICS
from mibench.study.study import Study


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def table(digits: Study) -> pd.DataFrame:
    names = ["gap", "loss_threshold", "top1_threshold"]
    return digits.run(scenarios.panel("digits", "RQ4"), names)[0]


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Return what is written on a figure and can be seen, and where."""
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if not axis.get_label_text():  # as where figures are written
            axis.set_label_coords(0, 0)
    figure.draw_without_rendering()
    hidden = {t for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for t in beyond(axis)}
    written = [
        (text, text.get_window_extent())
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and text not in hidden
    ]
    return [(text, box) for text, box in written if box.width > 0]


def beyond(axis: Axis) -> list[Text]:
    """Return the labels of ticks outside an axis' limits, which are not drawn."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [
        label
        for tick in ticks
        for label in (tick.label1, tick.label2)
        if not low - 1e-9 <= tick.get_loc() <= high + 1e-9
    ]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Return pairs of texts on the page that cover each other."""
    return covering(texts(figure))


def covering(written: list[tuple[Text, Bbox]]) -> list[tuple[str, str]]:
    said = np.array([text.get_text() for text, _ in written])
    # Words that all but touch in one line read as one.
    boxes = [box.padded(text.get_rotation() == 0, 0) for text, box in written]
    x0, y0, x1, y1 = np.reshape([box.extents for box in boxes], (-1, 4)).T
    beside = (x0[:, None] <= x1) & (x1[:, None] >= x0) & (y0[:, None] <= y1) & (y1[:, None] >= y0)
    first, other = np.nonzero(np.triu(beside, 1) & (said[:, None] != said))
    return list(zip(said[first], said[other], strict=True))


def test_six_panels_show_every_value(table: pd.DataFrame) -> None:
    figure = figures.six_panels(table, "RQ4")
    for axes, metric in zip(figure.axes, figures.PANELS, strict=True):
        drawn = np.concatenate([c.lines[0].get_ydata() for c in axes.containers])
        assert sorted(drawn) == pytest.approx(sorted(table[metric]))


def test_no_text_covers_another_with_every_attack(table: pd.DataFrame) -> None:
    one = table[table["attack"] == "gap"]
    many = pd.concat([one.assign(title=a.title) for a in ATTACKS.values()])
    for rows in (table, many, pd.concat([many, many.assign(title=many["title"] + " II")])):
        figure = figures.six_panels(rows, "RQ4")
        assert overlaps(figure) == []
        box = figure.get_tightbbox()
        assert box.x0 >= -0.01 and box.x1 <= figure.get_figwidth() + 0.01


def test_a_ratio_without_denominator_is_named(table: pd.DataFrame) -> None:
    rows = table.assign(precision=np.nan, precision_low=np.nan, precision_high=np.nan)
    figure = figures.six_panels(rows, "RQ4")
    titled = [axes.get_title(loc="left") for axes in figure.axes]
    assert [("no positive predictions" in title) for title in titled] == [True] + 5 * [False]


def test_mixed_models_and_empty_tables_are_refused(table: pd.DataFrame) -> None:
    mixed = pd.concat([table, table.assign(model="VGG16")])
    with pytest.raises(MIBenchError, match="digits, VGG16"):
        figures.six_panels(mixed, "RQ4")
    with pytest.raises(MIBenchError, match="no results"):
        figures.six_panels(table.iloc[:0], "RQ4")


def test_figures_of_one_scenario(digits: Study, tmp_path: Path) -> None:
    results = [digits.attack(name, "ES10") for name in ("gap", "loss_threshold")]
    for i, figure in enumerate(
        [figures.distances(results[0].target), *map(figures.scores, results), figures.roc(results)]
    ):
        files = figures.save(figure, tmp_path / f"{i}")
        assert [f.suffix for f in files] == [".png", ".pdf", ".svg", ".txt"]
    assert len(list(tmp_path.iterdir())) == 16


def test_equal_figures_are_equal_files_whatever_the_users_settings(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    one, other = (tmp_path / name / "panels" for name in "ab")
    figures.save(figures.six_panels(table, "RQ4"), one)
    with mpl.rc_context({"font.size": 20, "savefig.dpi": 50, "svg.hashsalt": None}):
        figures.save(figures.six_panels(table, "RQ4"), other)
    for ending in (".png", ".pdf", ".svg", ".txt"):
        assert one.with_suffix(ending).read_bytes() == other.with_suffix(ending).read_bytes()


def test_files_say_what_is_seen(table: pd.DataFrame, tmp_path: Path) -> None:
    figure = figures.six_panels(table, "RQ4")
    png, _, svg, text = figures.save(figure, tmp_path / "panels")
    assert Image.open(png).info["Description"] == figure.alt
    described = ElementTree.parse(svg).getroot().find("{http://www.w3.org/2000/svg}desc")
    assert described is not None and described.text == figure.alt
    assert figure.caption in text.read_text() and figure.alt in text.read_text()
    # Groups left out make target datasets smaller with the ratio.
    sizes = table["samples"]
    assert f"n = {sizes.min()} to {sizes.max()} samples" in figure.caption
    assert "95% intervals" in figure.caption
    top = table.loc[table["withheld_ratio"] == 0.4].sort_values("ma").iloc[-1]
    assert f"{top['ma']:.2f} ({top['title']})" in figure.alt


def test_no_two_attacks_look_alike() -> None:
    looks = [figures.attack_style(name) for name in ATTACKS]
    assert len({(x.colour, x.marker, x.filled) for x in looks}) == len(ATTACKS)
    assert figures.attack_style("not registered").colour == "0.5"


@pytest.mark.parametrize(
    ("attacks", "quantile"),
    [
        (3, 2.343),
        (4, 2.569),
        (5, 2.728),
        (6, 2.850),
        (7, 2.949),
        (8, 3.031),
        (9, 3.102),
        (10, 3.164),
    ],
)
def test_critical_difference_of_the_published_table(attacks: int, quantile: float) -> None:
    """Demsar 2006, table 5(a): critical values of the two-tailed Nemenyi test at 5%."""
    rng = np.random.default_rng(attacks)
    ranking = figures.rank(pd.DataFrame(rng.normal(size=(14, attacks))))
    expected = quantile * (attacks * (attacks + 1) / (6 * 14)) ** 0.5
    assert ranking.critical_difference == pytest.approx(expected, rel=5e-4)


def test_ranks_and_friedman_by_hand() -> None:
    """Against counting, and Friedman's statistic with the ties' correction (Conover 1999)."""
    values = np.random.default_rng(0).integers(0, 5, (14, 4)) / 4
    ranking = figures.rank(pd.DataFrame(values, columns=list("abcd")))
    above = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    ties = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    ranks = above + (ties + 1) / 2
    mean = dict(zip("abcd", ranks.mean(axis=0), strict=True))
    assert ranking.ranks.to_dict() == pytest.approx(mean)
    assert list(ranking.ranks) == sorted(ranking.ranks)
    spread = 14**2 * ((ranks.mean(axis=0) - 2.5) ** 2).sum()
    expected = 3 * spread / ((ranks**2).sum() - 14 * 4 * 5**2 / 4)
    assert ranking.statistic == pytest.approx(expected)
    assert ranking.p == pytest.approx(chi2.sf(expected, 3))


def test_ranking_of_equal_attacks() -> None:
    ranking = figures.rank(pd.DataFrame(np.ones((5, 4))))
    assert (ranking.statistic, ranking.p, ranking.groups) == (0, 1, [(0, 3)])


def test_groups_are_the_largest_runs_within_the_critical_difference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = pd.DataFrame(rng.normal(size=(12, 8)) + np.linspace(0, 3, 8))
        ranking = figures.rank(values)
        ranks, difference = ranking.ranks.to_numpy(), ranking.critical_difference
        runs = [
            (i, j) for i in range(8) for j in range(i + 1, 8) if ranks[j] - ranks[i] <= difference
        ]
        largest = [
            (i, j)
            for i, j in runs
            if not any(a <= i and j <= b and (a, b) != (i, j) for a, b in runs)
        ]
        assert ranking.groups == largest


def test_scenarios_with_the_same_scores_are_ranked_once(table: pd.DataFrame) -> None:
    assert len(figures.ranked_values(table, "ma")) == 4
    # Groups that are left out leave other samples.
    assert len(figures.ranked_values(table, "auc")) == 4
    by_attack = table.assign(withholding="attack")
    assert len(figures.ranked_values(by_attack, "auc")) == 1
    with pytest.raises(MIBenchError, match="same two scenarios"):
        figures.critical_difference(by_attack, look=Look(metric="auc"))
    with pytest.raises(MIBenchError, match="no ranking by 'mma'"):
        figures.critical_difference(table, look=Look(metric="mma"))


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    """Made-up values of every attack in all 84 scenarios, the last of which is infeasible."""
    rng = np.random.default_rng(1)
    rows = []
    for scenario in scenarios.catalogue("Location30"):
        for kind in ATTACKS.values():
            fields = {"scenario": scenario.id, **scenario.to_dict(), "attack": kind.name}
            fields |= {
                "title": kind.title,
                "model": "MLP",
                "seed": 0,
                "references": 16,
                "shadows": 1,
                "distilled": 16,
            }
            fields |= {"construction": "groups", "withholding": "groups"}
            fields |= {"samples": 600, "status": "ok", "error": "", "torch_version": "<2>"}
            for metric in METRICS:
                value = rng.uniform()
                fields |= {metric: value, f"{metric}_low": value - 0.1, f"{metric}_high": value}
            rows.append(fields)
    made = pd.DataFrame(rows).drop(columns="id")
    made.loc[made["scenario"] == "ES84", [*METRICS]] = np.nan
    made.loc[made["scenario"] == "ES84", ["status", "error"]] = ["infeasible", "too < far"]
    return made


def drawn(whole: pd.DataFrame, study: Study, look: Look) -> Iterator[figures.Picture]:
    """Yield every figure that there is, of results of every attack."""
    judged = [study.attack(kind(), "ES10") for kind in ATTACKS.values() if kind.needs <= {"shadow"}]
    target = judged[0].target
    answers = study.run(["ES10"], ["gap"])[1]
    yield figures.distances(target, look=look)
    yield figures.scores(*judged[:1], look=look)
    yield figures.scores(*judged, look=look)
    yield figures.roc(judged, look=look)
    yield figures.pool_distances(study.pool, "digits", look=look)
    yield figures.over_groups(answers, "gap", look=look)
    yield figures.against_differential(answers, study.pool, "gap", look=look)
    yield figures.by_change(groups.measured(answers, study.pool, "gap"), "gap", look=look)
    yield figures.class_thresholds(judged[0], study.dataset.labels[target.samples], look=look)
    pool = whole[whole["scenario"] == "ES01"].assign(scenario="pool")
    yield figures.two_views(pool, look=look)
    # Two that lead side by side, one by each metric.
    ahead = {m: np.linspace(*ends, len(pool)) for m, ends in (("ma", (0.9, 0)), ("auc", (0.89, 0)))}
    ahead["auc"][1] = 0.9
    ahead["ma"][1] = 0.89
    ahead |= {"tpr_at_fpr_0.1": ahead["auc"], "tpr_at_fpr_0.1_low": 0, "tpr_at_fpr_0.1_high": 1}
    yield figures.two_views(pool.assign(**ahead), look=look)
    hits = pd.DataFrame(np.random.default_rng(0).random((99, 6)) < 0.5, columns=[*ATTACKS][:6])
    titles = {name: ATTACKS[name].title for name in hits}
    for draw_hits in (upset, jaccard_map):
        yield draw_hits(hits, titles, "digits, ES10", look=look)
    found = pd.DataFrame(
        [
            {"attack": a, "other": b, "type": 1 + i % 2}
            for i, (a, b) in enumerate(combinations(ATTACKS, 2))
        ]
    )
    yield figures.conflict_matrix(found, whole, look=look)
    yield figures.conflict_matrix(found[found["attack"] == "gap"].head(3), whole, look=look)
    datasets = whole["dataset"].unique()
    several = pd.concat([whole, *(whole.assign(dataset=f"{datasets[0]} {i}") for i in range(2))])
    # Of one dataset they are among all figures.
    yield figures.by_factor(several, "ma", "withheld_ratio", look=look)
    yield figures.four_metrics(several, look=look)
    defended = [whole.query("scenario == 'ES01'").assign(defence=f"defence {i}") for i in range(7)]
    extra = {"target_train_accuracy": 1.0, "target_test_accuracy": 0.5, "seed": 0}
    yield figures.defences(pd.concat(defended).assign(**extra), look=look)
    pairs = [whole.assign(construction=way, seed=s) for way in ("groups", "pairs") for s in (0, 1)]
    both = pd.concat(pairs, ignore_index=True)
    yield dumbbells(sensitivity(both), both, look=look)
    compared = several[["dataset", "scenario", "attack"]].assign(metric="ma", caveat="")
    compared = compared.assign(ours=several["ma"], theirs=several["auc"])
    yield scatter(compared, look=look)
    for _, figure in figures.all_figures(whole, pd.DataFrame(), look=look):
        yield figure
    few = whole[whole["scenario"].isin(["ES01", "ES02"])]
    for draw in (figures.heat_map, figures.critical_difference):
        yield draw(few, look=look)
    # Values near zero have long numbers at their ticks.
    small = few[[*METRICS]] / 50 - 0.01
    yield figures.accuracy_against_cost(few.assign(**small), look=look)


@pytest.mark.parametrize(("columns", "font"), [(1, "sans"), (2, "serif")])
def test_every_figure_has_the_asked_width_and_text_that_can_be_read(
    whole: pd.DataFrame, digits: Study, columns: int, font: Any
) -> None:
    """No text covers another or leaves the page, and none is smaller than printers allow."""
    wrong = []
    ids = {s.id for s in scenarios.panel("Location30", "RQ4")}
    whole = whole[whole["scenario"].isin({*ids, "ES01", "ES02", "ES84"})]
    for figure in drawn(whole, digits, Look(columns=columns, font=font)):
        written = texts(figure)
        said = figure.caption[:40]
        if figure.get_figwidth() != WIDTHS[columns]:
            wrong.append((said, figure.get_figwidth()))
        wrong += [(said, *pair) for pair in covering(written)]
        wrong += [
            (said, t.get_text(), t.get_fontsize()) for t, _ in written if t.get_fontsize() < 6
        ]
        page = figure.bbox
        for text, box in written:
            if min(box.x0, box.y0, page.x1 - box.x1, page.y1 - box.y1) < -1:
                wrong.append((said, text.get_text(), "leaves the page"))
        plt.close(figure)
    assert wrong == []


def test_one_of_a_kind_is_said_in_the_singular(whole: pd.DataFrame, digits: Study) -> None:
    one = whole[(whole["attack"] == "gap") & whole["scenario"].isin(["ES01", "ES02"])]
    alone = one[one["scenario"] == "ES01"]
    result, answers = digits.attack(named("gap"), "ES10"), digits.run(["ES10"], ["gap"])[1]
    shown = [figure for _, figure in figures.all_figures(one, pd.DataFrame())]
    shown += [figures.heat_map(alone), figures.accuracy_against_cost(alone), figures.roc([result])]
    shown += [figures.two_views(whole[whole["scenario"] == "ES01"].assign(scenario="pool"))]
    shown += [figures.over_groups(answers, "gap")]
    several = re.compile(
        r"(?<![\d.,])1 (target )?(attack|scenario|model|group|level|member|pair|other)s\b"
    )
    said = [" ".join([f.caption, f.alt, *(t.get_text() for t in f.findobj(Text))]) for f in shown]
    assert [found[0] for text in said if (found := several.search(text))] == []
    for singular in ("1 attack in 1 scenario", "1 target model,", "1 attack on", "1 scenario, "):
        assert any(singular in text for text in said), singular


def test_heat_map_shows_every_value_and_leader(whole: pd.DataFrame) -> None:
    figure = figures.heat_map(whole)
    [image] = figure.axes[0].images
    shown = np.asarray(image.get_array())
    values = whole[whole["status"] == "ok"].pivot(index="attack", columns="scenario", values="ma")
    order = values.mean(axis=1).sort_values(ascending=False).index
    assert np.array_equal(shown, values.loc[order].to_numpy())
    dots = figure.axes[0].lines[0].get_xydata()
    assert sorted(map(tuple, dots)) == [(i, v) for i, v in enumerate(shown.argmax(axis=0))]
    assert "Not reachable in this pool: ES84" in figure.caption
    # Made-up intervals reach 0.1 below each value.
    close = int((np.sort(shown, axis=0)[-2] >= shown.max(axis=0) - 0.1).sum())
    assert f"In {close} of 83 scenarios" in figure.caption


def test_cost_shows_means_ranges_and_who_is_unbeaten(whole: pd.DataFrame) -> None:
    table = figures.costed(whole)
    means = whole.groupby("attack")[["ma", "auc"]].mean()
    assert table["auc"].sort_index().to_numpy() == pytest.approx(means["auc"].to_numpy())
    assert (table.loc["merlin", "queries"], table.loc["merlin", "models"]) == (101, 1)
    assert (table.loc["lira_online", "queries"], table.loc["lira_online", "models"]) == (1, 16)
    for name, own in table.iterrows():
        cheaper = table[(table["models"] <= own["models"]) & (table["queries"] <= own["queries"])]
        assert own["unbeaten_ma"] == (cheaper["ma"].max() == own["ma"]), name
    axes = figures.accuracy_against_cost(whole).axes[1]
    marks = [
        line for line in axes.lines if len(line.get_xdata()) == 1 and line.get_markersize() < 5
    ]
    assert [m.get_xdata()[0] for m in marks] == pytest.approx(list(table["auc"]))
    few = whole[whole["attack"].isin(["gap", "lira_online"])]
    [legend] = figures.accuracy_against_cost(few).legends
    assert [t.get_text() for t in legend.get_texts()] == ["nothing", "reference models"]


def test_a_metric_by_factor_is_the_mean_within_cells(table: pd.DataFrame) -> None:
    both = pd.concat([table, table.assign(dataset="other", ma=table["ma"] / 2)])
    figure = figures.by_factor(both, "ma", "withheld_ratio")
    assert len(figure.axes) == 2 and "other" in figure.alt
    assert figure.get_suptitle() == "MA by withheld ratio: MLP, groups"
    assert "(MLP, groups)" in figure.caption
    for axes, (_, rows) in zip(figure.axes, both.groupby("dataset", sort=False), strict=True):
        levels = sorted(rows["withheld_ratio"].unique())
        for line, at in zip(axes.lines, levels, strict=True):
            wanted = rows[rows["withheld_ratio"] == at].groupby("title")["ma"].mean()
            assert sorted(line.get_xdata()) == pytest.approx(sorted(wanted))
    with pytest.raises(MIBenchError, match="nothing differs in distance alone"):
        figures.by_factor(table.assign(distance=np.arange(len(table))), "ma", "distance")
    never = figures.by_factor(table.assign(fnr=0.0), "fnr", "withheld_ratio")
    assert never.axes[0].get_xlim()[0] > -0.002
    tiny = figures.by_factor(table.assign(ma=-1e-5), "ma", "withheld_ratio")
    assert tiny.axes[0].get_xlim()[0] < -1e-5 and " 0.00" in tiny.alt and "-0.00" not in tiny.alt
    drawn = figures.four_metrics(table).axes[0].lines
    assert sorted(drawn[3].get_xdata()) == pytest.approx(
        sorted(table.groupby("title")["fpr"].mean())
    )


def test_rates_group_by_group_are_counted(digits: Study) -> None:
    target, pool = digits.construct("ES10"), digits.pool
    # One group is called members, and nothing else.
    first = target.part == target.part[0]
    answers = digits.run(["ES10"], ["gap"])[1].assign(answer=first.astype(int))
    assert (answers["part"] == target.part).all()
    [axes] = figures.over_groups(answers, "gap").axes
    [bars] = axes.containers
    groups = len(set(target.part))
    assert axes.get_xlim() == (-0.05, 1.05)
    few = answers[answers["part"].isin(target.part[:1])]
    assert all(t == int(t) for t in figures.over_groups(few, "gap").axes[0].get_yticks())
    assert [(b.get_center()[0], b.get_height()) for b in bars] == [(0, groups - 1), (1, 1)]
    [points] = figures.against_differential(answers, pool, "gap").axes[0].collections
    found = dict(points.get_offsets())
    assert found[pool.differential_distances[target.part[0]]] == 0 and sum(found.values()) == (
        groups - 1
    )
    with pytest.raises(MIBenchError, match="no answers of rmia"):
        figures.over_groups(answers, "rmia")
    assert "published" not in figures.pool_distances(pool, "digits").caption
    assert "published" in figures.pool_distances(pool, "Location30").caption


def test_a_class_threshold_has_the_highest_ma_of_its_class() -> None:
    rng = np.random.default_rng(0)
    labels, is_member = rng.integers(0, 4, 60), rng.random(60) < 0.5
    is_member[labels == 3] = True  # a class without nonmembers has none
    scores = rng.standard_normal(60) + is_member
    judged = SimpleNamespace(
        attack=named("shapley"), inference=Inference(scores, 0.3), is_member=is_member, metrics={}
    )
    marks = figures.class_thresholds(judged, labels).axes[0].lines[0]
    assert list(marks.get_xdata()) == [0, 1, 2]
    for label, threshold in zip(*marks.get_data(), strict=True):
        own, member = scores[labels == label], is_member[labels == label]
        ma = [(own[member] >= t).mean() - (own[~member] >= t).mean() for t in own]
        got = (own[member] >= threshold).mean() - (own[~member] >= threshold).mean()
        assert got == pytest.approx(max(ma))
