from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mibench import figures, scenarios
from mibench.attacks import REGISTRY
from mibench.errors import MIBenchError
from mibench.experiment import Experiment


@pytest.fixture(scope="module")
def table(digits: Experiment) -> pd.DataFrame:
    names = ["gap", "loss_threshold", "top1_threshold"]
    return digits.run(scenarios.panel("digits", "RQ4"), names)[0]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Return pairs of texts on the page that cover each other."""
    figure.canvas.draw()
    texts = [t for axes in figure.axes for t in (*axes.get_xticklabels(), axes.title)]
    texts += [axes._left_title for axes in figure.axes]  # type: ignore[attr-defined]
    texts += [t for legend in figure.legends for t in legend.get_texts()]
    boxes = [
        (t.get_text(), t.get_window_extent()) for t in texts if t.get_text() and t.get_visible()
    ]
    return [
        (a, b)
        for i, (a, box) in enumerate(boxes)
        for b, other in boxes[i + 1 :]
        if box.overlaps(other) and a != b
    ]


def test_six_panels_show_every_value(table: pd.DataFrame) -> None:
    figure = figures.six_panels(table, "RQ4")
    for axes, metric in zip(figure.axes, figures.PANELS, strict=True):
        drawn = np.concatenate([c.lines[0].get_ydata() for c in axes.containers])
        assert sorted(drawn) == pytest.approx(sorted(table[metric]))


def test_no_text_covers_another_with_every_attack(table: pd.DataFrame) -> None:
    one = table[table["attack"] == "gap"]
    many = pd.concat([one.assign(title=a.title) for a in REGISTRY.values()])
    for rows in (table, many, pd.concat([many, many.assign(title=many["title"] + " II")])):
        figure = figures.six_panels(rows, "RQ4")
        assert overlaps(figure) == []
        box = figure.get_tightbbox()
        assert box.x0 >= -0.01 and box.x1 <= figure.get_figwidth() + 0.01


def test_a_ratio_without_denominator_is_named(table: pd.DataFrame) -> None:
    rows = table.assign(precision=np.nan, precision_low=np.nan, precision_high=np.nan)
    figure = figures.six_panels(rows, "RQ4")
    assert "no positive predictions" in {t.get_text() for t in figure.axes[0].texts}
    assert not figure.axes[1].texts


def test_mixed_models_and_empty_tables_are_refused(table: pd.DataFrame) -> None:
    mixed = pd.concat([table, table.assign(model="VGG16")])
    with pytest.raises(MIBenchError, match="digits with VGG16"):
        figures.six_panels(mixed, "RQ4")
    with pytest.raises(MIBenchError, match="no results"):
        figures.six_panels(table.iloc[:0], "RQ4")


def test_figures_of_one_scenario(digits: Experiment, tmp_path: Path) -> None:
    results = [digits.attack(name, "ES10") for name in ("gap", "loss_threshold")]
    for i, figure in enumerate(
        [figures.distances(results[0].target), *map(figures.scores, results), figures.roc(results)]
    ):
        files = figures.save(figure, tmp_path / f"{i}")
        assert [f.suffix for f in files] == [".png", ".pdf"]
    assert len(list(tmp_path.iterdir())) == 8


def test_equal_figures_are_equal_files(table: pd.DataFrame, tmp_path: Path) -> None:
    for name in ("a", "b"):
        figures.save(figures.six_panels(table, "RQ4"), tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
