"""Effects of factors against tables made of known effects."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mibench import figures, scenarios
from mibench.compare import published
from mibench.compare.effects import effects
from mibench.errors import MIBenchError

GRID = scenarios.catalogue("Location30")


def made(noise: float) -> pd.DataFrame:
    """Return MA that rises with distance by .3, falls with the ratio by .1 and hangs on the seed.

    The catalogue's unbalance stays: large ratios go with large differential distances.
    """
    rng = np.random.default_rng(0)
    distances = sorted({s.distance for s in GRID})
    ratios = sorted({s.withheld_ratio for s in GRID})
    rows = []
    for s in GRID:
        for seed in (0, 1):
            ma = 0.4 + 0.15 * distances.index(s.distance) + 0.05 * seed
            ma += -0.1 / 3 * ratios.index(s.withheld_ratio) + noise * rng.normal()
            fields = s.to_dict()
            row = {"scenario": fields.pop("id"), **fields, "model": "MLP", "seed": seed}
            row |= {"attack": "gap", "title": "Gap attack", "status": "ok", "ma": ma}
            rows.append(row | {"samples": 600})
    return pd.DataFrame(rows)


def test_sizes_and_shares_are_those_put_in() -> None:
    table = effects(made(0)).set_index("factor")
    assert table["size"].drop("seed").to_dict() == pytest.approx(
        {"distribution": 0, "distance": 0.3, "differential_distance": 0, "withheld_ratio": -0.1}
    )
    assert np.isnan(table.loc["seed", "size"])
    assert table.loc["distribution", ["first", "last"]].tolist() == ["normal", "bernoulli"]
    shares = table["eta_squared"]
    assert shares[["distribution", "differential_distance"]].to_numpy() == pytest.approx(0)
    # Balanced factors' shares are their plain between-group sums of squares.
    rows = made(0)
    total = ((rows["ma"] - rows["ma"].mean()) ** 2).sum()
    by_seed = ((rows.groupby("seed")["ma"].transform("mean") - rows["ma"].mean()) ** 2).sum()
    assert shares["seed"] == pytest.approx(by_seed / total)
    # The plain mean, which the catalogue's unbalance confounds, has another size.
    plain = rows.groupby("differential_distance")["ma"].mean()
    assert abs(plain.iloc[-1] - plain.iloc[0]) > 0.02


def test_what_is_explained_whatever_was_found_is_left_out() -> None:
    rows = made(0.01).query("seed == 0")
    one = rows.query("distribution == 'normal' and distance == distance.min()")
    few = one.drop_duplicates("withheld_ratio").drop_duplicates("differential_distance")
    assert len(few) > 1
    with pytest.raises(MIBenchError, match=r"no attack has more results than .*; run more"):
        effects(few)
    other = rows.assign(attack="rmia", title="RMIA")
    assert {*effects(pd.concat([few, other]))["attack"]} == {"rmia"}
    assert np.isfinite(effects(pd.concat([few, few.assign(seed=1, ma=0.5)]))["eta_squared"]).all()


def test_the_figure_shows_sizes() -> None:
    rows = made(0.01)
    both = pd.concat([rows, rows.assign(attack="rmia", title="RMIA", ma=1 - rows["ma"])])
    table = effects(both)
    figure = figures.effect_table(table, both)
    shown = {t.get_text() for t in figure.axes[0].texts}
    assert {f"{size:+z.2f}" for size in table["size"].dropna()} <= shown and "-0.00" not in shown
    assert "the distance explains most" in figure.alt and "from normal to" in figure.caption
    plt.close(figure)


def test_the_published_effects_stand_beside_ours() -> None:
    ours = made(0.01).assign(dataset="Location30", attack="class_modified_entropy", title="Class")
    table = effects(ours).set_index("factor")
    theirs = published.theirs().query("dataset == 'Location30' and metric == 'ma'")
    value = theirs.set_index("scenario")["theirs"]
    # Distance: both ends of every cell that holds the other factors, by hand.
    low, high = (sorted({s.distance for s in GRID})[i] for i in (0, -1))
    cells: dict[object, dict[float, float]] = {}
    for s in GRID:
        rest = (s.distribution, s.differential_distance, s.withheld_ratio)
        cells.setdefault(rest, {})[s.distance] = value[s.id]
    whole = [cell[high] - cell[low] for cell in cells.values() if len(cell) == 3]
    assert table.loc["distance", "published_size"] == pytest.approx(np.mean(whole))
    assert table["published_eta_squared"].drop("seed").between(0, 1).all()
    assert table["published_size"].isna().tolist() == [False] * 4 + [True]
    figure = figures.effect_table(table.reset_index(), ours)
    shown = {t.get_text() for t in figure.axes[0].texts}
    row = table.loc["distance"]
    assert {f"{row[size]:+.2f}" for size in ("size", "published_size")} <= shown
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["Class", "Class, published"]
    assert "the same of the published results" in figure.caption
    plt.close(figure)
