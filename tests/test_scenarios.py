"""The catalogue against the published tables."""

import csv
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mibench import scenarios
from mibench.apps.cli import main
from mibench.errors import MIBenchError
from mibench.scenarios import by_id, catalogue, find, levels, panel, published, vary

PUBLISHED = published()

# The grid as the papers' table lists it: offset, then level of distance, differential, withheld.
GRID = [
    (1, 1, 1), (1, 1, 2), (1, 1, 3),
    (1, 2, 2), (1, 2, 3), (1, 2, 4),
    (1, 3, 3), (1, 3, 4),
    *((2, g, r) for g in (1, 2, 3) for r in (1, 2, 3, 4)),
    (3, 1, 1), (3, 1, 2), (3, 1, 3),
    (3, 2, 2), (3, 2, 3), (3, 2, 4),
    (3, 3, 3), (3, 3, 4),
]  # fmt: skip


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> Path:
    return shared_data.parent / "reference"


def test_all_588_scenarios_are_the_published_factor_levels(reference: Path) -> None:
    rows = list(csv.DictReader((reference / "factor_levels.csv").open()))
    assert [row["dataset"] for row in rows] == list(PUBLISHED)
    for row in rows:
        found = catalogue(row["dataset"])
        assert len(found) == len(set(found)) == 84
        shapes = ("normal", "uniform", "bernoulli")
        for i, (shape, (d, g, r)) in enumerate(product(shapes, GRID)):
            scenario = found[i]
            assert scenario.id == f"ES{i + 1:02d}"
            assert scenario.dataset == row["dataset"] and scenario.distribution == shape
            assert scenario.distance == float(row[f"distance_{d}"])
            assert scenario.differential_distance == float(row[f"differential_{g}"])
            assert scenario.withheld_ratio == float(row[f"withheld_{r}"])


def test_published_results_name_scenarios_of_the_catalogue(reference: Path) -> None:
    rows = csv.DictReader((reference / "published_top3_by_scenario.csv").open())
    published = {(row["dataset"], row["scenario"]) for row in rows}
    ours = {(s.dataset, s.id) for name in PUBLISHED for s in catalogue(name)}
    assert len(published) == 587 and published < ours
    assert {dataset for dataset, _ in ours - published} == {"Purchase100"}


def test_quantiles_interpolate_the_published_thresholds(reference: Path) -> None:
    rows = list(csv.DictReader((reference / "bernoulli_thresholds.csv").open()))
    for name in PUBLISHED:
        for scenario in catalogue(name):
            above = next(i for i, row in enumerate(rows) if float(row[name]) >= scenario.distance)
            low, high = rows[above - 1], rows[above]
            share = (scenario.distance - float(low[name])) / (float(high[name]) - float(low[name]))
            expected = float(low["p"]) + share * (float(high["p"]) - float(low["p"]))
            assert scenario.distance_quantile == pytest.approx(expected)
    assert find("ES01", "Location30").distance_quantile == pytest.approx(0.1 + 0.1 * 50 / 54)


def test_the_published_example() -> None:
    scenario = find("ES24", "CIFAR100")
    assert scenario.label == "CIFAR100_Normal + 4.325 + 0.119 + 40%"
    assert find(scenario.label) == scenario


@pytest.mark.parametrize("dataset", [*PUBLISHED, "digits", "my_own-data 2"])
def test_every_label_and_id_resolves_and_back(dataset: str) -> None:
    for scenario in by_id(dataset).values():
        assert find(scenario.id, dataset) == scenario
        assert find(scenario.label) == scenario
        assert find(scenario.label.replace(" ", "").upper(), dataset) == scenario
        unnamed = scenario.label.removeprefix(dataset + "_")
        assert find(unnamed, dataset) == scenario


@pytest.mark.parametrize(
    ("typed", "dataset", "wanted"),
    [
        ("cifar100_normal+4.325+0.119+40%", None, "ES24"),
        ("  CIFAR100 _ Normal  +4.3250 + .119+ 40 % ", None, "ES24"),
        ("CIFAR100 Normal + 4.325 + 0.119 + 0.40", None, "ES24"),
        ("CIFAR100_Normal + 4.325 + 0.119 + 40", None, "ES24"),
        ("CIFAR100\u00a0Normal\u00a0+ 4.325 + 0.119 + 40%", None, "ES24"),
        ("CIFAR100 ES24", None, "ES24"),
        ("cifar100_es024", None, "ES24"),
        ("es 24", "cifar100", "ES24"),
        ("CH_MNIST_Uniform + 1.720 + 0.108 + 40%", None, "ES52"),
        ("CH_MNIST_Uniform + 1.72 + 0.108 + 45%", None, "ES53"),
        ("ch-mnist uniform + 1.72 + 0.108 + 0.49", None, "ES54"),
        ("Location-30 ES1", None, "ES01"),
        ("Digits_normal + 0.2 + 0 + 5%", "digits", "ES01"),
    ],
)
def test_labels_as_people_type_them(typed: str, dataset: str | None, wanted: str) -> None:
    assert find(typed, dataset).id == wanted


def test_a_dataset_typed_in_lower_case_has_its_own_levels() -> None:
    assert find("ES24", "cifar100") is find("ES24", "CIFAR100")
    assert catalogue("ch_mnist") == catalogue("CH_MNIST")
    assert levels("imagenet") == levels("ImageNet")
    assert panel("location30", "rq2") == panel("Location30", "RQ2")


@pytest.mark.parametrize(
    ("typed", "dataset", "says"),
    [
        ("ES24", None, "names no dataset"),
        ("Normal + 4.325 + 0.119 + 40%", None, "names no dataset"),
        ("ES85", "CIFAR100", "run from ES01 to ES84"),
        ("ES0", "CIFAR100", "run from ES01 to ES84"),
        ("ES60x", "CIFAR100", "no scenario ES60x"),
        ("24", "CIFAR100", "neither a scenario id"),
        ("", None, "neither a scenario id"),
        ("CIFAR100_Normal + 4.325 + 0.119", None, "neither a scenario id"),
        ("CIFAR100_Normal + 4.3.25 + 0.119 + 40%", None, "number that cannot be read"),
        ("CIFAR100_Normal + 4.32 + 0.119 + 40%", None, "distances 2.893, 3.813, 4.325"),
        ("CIFAR100_Normal + 4.325 + 0.119 + 0.4%", None, "withheld ratios 20%, 40%, 45%, 49%"),
        ("CIFAR100_Normal + 4.325 + 0.157 + 20%", None, "no scenario"),
        ("CIFAR100_Gaussian + 4.325 + 0.119 + 40%", None, "normal, uniform, bernoulli"),
        ("CIFAR100_Normal + 4.325 + 0.119 + 40%", "CIFAR10", "belongs to CIFAR100"),
        ("CIFAR100 ES24", "digits", "belongs to CIFAR100"),
    ],
)
def test_what_names_no_scenario(typed: str, dataset: str | None, says: str) -> None:
    with pytest.raises(MIBenchError, match=says):
        find(typed, dataset)


# Panels as published, by dataset: RQ1, RQ2, RQ3, RQ4; numbers of scenarios.
PANELS = {
    "CIFAR100": ((1, 29, 57), (2, 10, 22), (3, 5, 7), (37, 38, 39, 40)),
    "CH_MNIST": ((21, 49, 77), (4, 14, 24), (3, 5, 7), (73, 74, 75, 76)),
    "ImageNet": ((2, 30, 58), (34, 44, 54), (79, 81, 83), (13, 14, 15, 16)),
    "Location30": ((1, 29, 57), (32, 42, 52), (23, 25, 27), (73, 74, 75, 76)),
    "Purchase100": ((1, 29, 57), (4, 14, 24), (51, 53, 55), (69, 70, 71, 72)),
    "Texas100": ((1, 29, 57), (4, 14, 24), (51, 53, 55), (69, 70, 71, 72)),
    "CIFAR10": ((13, 41, 69), (2, 10, 22), (51, 53, 55), (57, 58, 59, 60)),
}


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_published_panels(dataset: str) -> None:
    for i, numbers in enumerate(PANELS[dataset]):
        found = panel(dataset, f"RQ{i + 1}")
        ids = [f"ES{n:02d}" for n in numbers]
        if (dataset, i) == ("CIFAR10", 3):
            ids[3] = "ES60x"
        assert [s.id for s in found] == ids
        # Only the question's own factor varies over a panel.
        for j, factor in enumerate(
            ("distribution", "distance", "differential_distance", "withheld_ratio")
        ):
            assert len({getattr(s, factor) for s in found}) == (len(found) if i == j else 1)


def test_both_anomalies_of_the_published_panels() -> None:
    fourth = panel("CIFAR10", "RQ4")[3]
    assert fourth.label == "CIFAR10_Bernoulli + 1.908 + 0.155 + 49%"
    assert find(fourth.label) == fourth and fourth not in catalogue("CIFAR10")
    assert find("ES60", "CIFAR10").label == "CIFAR10_Bernoulli + 1.908 + 0.213 + 40%"
    assert {s.distribution for s in panel("CH_MNIST", "RQ2")} == {"normal"}
    uniform = [find(i, "CH_MNIST") for i in ("ES32", "ES42", "ES52")]
    assert [s.distance for s in uniform] == [s.distance for s in panel("CH_MNIST", "RQ2")]


def test_the_command_line_lists_the_odd_panel_with_fractions() -> None:
    arguments = ["scenarios", "--dataset", "CIFAR10", "--rq", "RQ4", "--json"]
    rows = json.loads(CliRunner().invoke(main, arguments).stdout)
    assert [row["withheld_ratio"] for row in rows] == [0.2, 0.4, 0.45, 0.49]
    keys = "id label dataset distribution distance differential_distance withheld_ratio"
    assert all(list(row) == keys.split() for row in rows)
    assert [row["label"].rpartition(" ")[2] for row in rows] == ["20%", "40%", "45%", "49%"]


def test_other_datasets_have_the_grid_with_quantile_levels() -> None:
    found = catalogue("digits")
    assert len(set(found)) == 84
    assert [s.distance_quantile for s in found] == [s.distance for s in found]
    assert {s.distance for s in found} == {0.2, 0.5, 0.75}
    assert {s.differential_position for s in found} == {0, 0.5, 1}
    positions = [find(i, "Location30").differential_position for i in ("ES01", "ES04", "ES07")]
    assert np.allclose(positions, [0, 35 / 53, 1])
    assert panel("digits", "RQ2")[1].id == "ES10"


@pytest.mark.parametrize("question", scenarios.RESEARCH_QUESTIONS)
def test_varying_a_base_keeps_the_other_factors(question: str) -> None:
    base = find("ES14", "Texas100")
    found = vary(base, question.lower())
    assert base in found and len(found) == (4 if question == "RQ4" else 3)


@pytest.mark.parametrize("choose", [panel, lambda d, q: vary(find("ES01", d), q)])
def test_an_unknown_question_is_named(choose) -> None:  # type: ignore[no-untyped-def]
    for question in ("RQ5", "", "RQ"):
        with pytest.raises(MIBenchError, match="unknown research question"):
            choose("CIFAR10", question)
