"""Every attack under each defence, and what the defence costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mibench.errors import MIBenchError
from mibench.figures.style import MEMBER, NONMEMBER, Picture, drawn, list_down, picture, series
from mibench.look import PLAIN, Look


@drawn
def defences(results: pd.DataFrame, *, look: Look = PLAIN) -> Picture:
    """Draw every attack's MA under each defence, and the target's accuracies beside it.

    Parameters
    ----------
    results : DataFrame
        Rows of :meth:`mibench.study.study.Study.run` for one scenario, dataset and model under
        several defences.

    Raises
    ------
    MIBenchError
        If there are no rows, or rows of more than one scenario, dataset, model or seed.
    """
    fixed = ["dataset", "model", "scenario", "seed"]
    settings = results[fixed].drop_duplicates()
    if len(settings) != 1:
        found = "; ".join(" ".join(map(str, row)) for row in settings.to_numpy()) or "none"
        raise MIBenchError(
            f"a figure of defences shows one dataset, model, scenario and seed; found {found}"
        )
    names = list(dict.fromkeys(results["defence"]))
    titles = list(dict.fromkeys(results["title"]))
    height = 1.8 + 0.22 * len(titles)
    if look.columns == 2:
        figure, grid = picture(look, height, 1, 2, width_ratios=[3, 1])
    else:
        figure, grid = picture(look, height + 1.6, 2, 1, height_ratios=[height, 1.4])
    attacked, price = grid
    for i, name in enumerate(names):
        rows = results[(results["defence"] == name) & (results["status"] == "ok")]
        at = rows["title"].map(titles.index) + 0.8 * ((i + 0.5) / len(names) - 0.5)
        error = np.stack([rows["ma"] - rows["ma_low"], rows["ma_high"] - rows["ma"]]).clip(0)
        mark = {**series(i), "ms": 2.5, "elinewidth": 0.7, "label": name}
        attacked.errorbar(rows["ma"], at, xerr=error, **mark)
    attacked.axvline(0, color="0.6", lw=0.8)
    list_down(attacked, titles)
    attacked.set(xlabel="membership advantage (MA)")
    attacked.set_title("(a) What the attacks find", loc="left")
    of = results.groupby("defence", sort=False).first().loc[names]
    places = range(len(names))
    price.plot(of["target_train_accuracy"], places, "o", color=MEMBER, label="members")
    price.plot(of["target_test_accuracy"], places, "s", color=NONMEMBER, label="nonmembers")
    list_down(price, names)
    price.set(xlabel="the target's accuracy", xlim=(-0.03, 1.03))
    price.set_title("(b) What it costs", loc="left")
    dataset, model, scenario, _ = settings.iloc[0]
    figure.head(f"Defences: {dataset}, {model}, {scenario}")
    handles = [h for axes in grid for h in axes.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=3 * look.columns)
    infeasible = results.loc[results["status"] != "ok", "defence"].unique()
    if len(infeasible):
        figure.supxlabel(f"scenario not reachable under: {', '.join(infeasible)}", fontsize=7)
    best = results.loc[results.groupby("defence", sort=False)["ma"].idxmax().dropna()]
    figure.caption = (
        f"Every attack under each defence in {scenario} of {dataset} with {model}: membership "
        f"advantage of {results['samples'].max():.0f} samples with 95% intervals, and the target's "
        "accuracy on all its members and nonmembers."
    )
    figure.alt = " ".join(
        f"{row['defence']}: {row['title']} finds most, MA {row['ma']:z.3f}; accuracy on members "
        f"{row['target_train_accuracy']:.3f}, on nonmembers {row['target_test_accuracy']:.3f}."
        for row in best.to_dict("records")
    )
    return figure
