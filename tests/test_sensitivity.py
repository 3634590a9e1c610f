"""Which conclusions hold under two constructions, on tables made of known effects."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mibench import scenarios
from mibench.compare.sensitivity import in_words, sensitivity
from mibench.errors import MIBenchError
from mibench.figures.sensitivity import dumbbells

# MA's change with the distance, from its lowest level to its highest.
EFFECTS = {
    "gap": {"groups": 0.3, "pairs": 0.4},
    "ppv": {"groups": 0.3, "pairs": 0.0},
    "rmia": {"groups": 0.3, "pairs": -0.3},
    "shapley": {"groups": 0.0, "pairs": 0.0},
}
HOLDS = {
    "gap": "under both",
    "ppv": "under groups only",
    "rmia": "with opposite signs",
    "shapley": "under neither",
}


def made(spread: float = 0.01, seeds: int = 5) -> pd.DataFrame:
    """Return MA that hangs on the distance alone, by effects that vary from seed to seed."""
    grid = scenarios.catalogue("Location30")
    distances = sorted({s.distance for s in grid})
    rows = []
    for attack, sizes in EFFECTS.items():
        for construction, size in sizes.items():
            for seed in range(seeds):
                # About the size itself, whatever the number of seeds.
                own = size + spread * (seed - (seeds - 1) / 2)
                for s in grid:
                    fields = s.to_dict()
                    ma = 0.4 + own * distances.index(s.distance) / 2
                    row = {"scenario": fields.pop("id"), **fields, "seed": seed, "status": "ok"}
                    row |= {"attack": attack, "title": attack.upper(), "ma": ma, "samples": 400}
                    row |= {"ma_low": ma - 0.05, "ma_high": ma + 0.05, "model": "MLP"}
                    rows.append(row | {"construction": construction})
    return pd.DataFrame(rows)


def test_each_verdict_is_that_of_the_effects_put_in() -> None:
    table = sensitivity(made())
    distance = table[table["question"] == "RQ2"].set_index("attack")
    assert distance["holds"].to_dict() == HOLDS
    for way in ("groups", "pairs"):
        wanted = {attack: sizes[way] for attack, sizes in EFFECTS.items()}
        assert distance[f"size_{way}"].to_dict() == pytest.approx(wanted)
    assert (table.loc[table["question"] != "RQ2", "holds"] == "under neither").all()
    assert list(table["question"].unique()) == ["RQ1", "RQ2", "RQ3", "RQ4"]
    assert "of 5 trained models, 1 under both" in in_words(table)[1]
    assert "1 raise it" in in_words(table)[1]
    assert "of this trained model, " in in_words(sensitivity(made(0).query("seed == 0")))[1]


def test_errors_are_the_larger_of_sampling_and_seeds() -> None:
    by_sampling = sensitivity(made(0)).query("question == 'RQ2'")["error_groups"]
    # Of the half width 0.05, two levels and five seeds.
    assert by_sampling.to_numpy() == pytest.approx(0.05 / 1.96 * np.sqrt(2 / 5), rel=1e-3)
    by_seeds = sensitivity(made(0.5)).query("question == 'RQ2'")
    assert by_seeds["error_groups"].to_numpy() == pytest.approx(0.5 * np.sqrt(2.5 / 5))
    # What differs so much between seeds is no conclusion.
    assert (by_seeds["holds"] == "under neither").all()


def test_what_is_measured_in_one_way_only_is_said() -> None:
    rows = made()
    lacking = (rows["attack"] == "gap") & (rows["construction"] == "pairs")
    assert (
        sensitivity(rows[~lacking]).query("attack == 'gap'")["holds"] == "not measured under both"
    ).all()
    with pytest.raises(MIBenchError, match="two values of construction"):
        sensitivity(rows[rows["construction"] == "groups"])
    with pytest.raises(MIBenchError, match="two values of construction"):
        sensitivity(pd.concat([rows, rows.assign(model="VGG16")]))


def test_the_figure_shows_every_effect() -> None:
    rows = made().assign(dataset="Location30")
    table = sensitivity(rows)
    figure = dumbbells(table, rows)
    assert len(figure.axes) == 4
    for axes, (_, own) in zip(figure.axes, table.groupby("question"), strict=True):
        drawn = [c.get_offsets()[:, 0] for c in axes.collections if len(c.get_offsets()) == 4]
        for way, x in zip(("groups", "pairs"), drawn, strict=True):
            assert list(x) == pytest.approx(list(own[f"size_{way}"]))
    assert "1 hold under both" in figure.alt and "groups" in figure.caption
    plt.close(figure)
