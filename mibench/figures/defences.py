"""Every attack under each defence, and what the defence costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mibench.errors import MIBenchError
from mibench.figures.style import COLOURS, MARKERS, MEMBER, NONMEMBER, Picture, picture, style


def defences(results: pd.DataFrame) -> Picture:
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
        found = "; ".join(" ".join(map(str, row)) for row in settings.itertuples(index=False))
        raise MIBenchError(
            "a figure of defences shows one dataset, model, scenario and seed; found "
            + (found or "none")
        )
    names = list(dict.fromkeys(results["defence"]))
    titles = list(dict.fromkeys(results["title"]))
    with style():
        figure, (attacked, price) = picture(
            1, 2, figsize=(7.16, 1.6 + 0.22 * len(titles)), width_ratios=[3, 1]
        )
        for i, name in enumerate(names):
            rows = results[(results["defence"] == name) & (results["status"] == "ok")]
            offset = 0.8 * ((i + 0.5) / len(names) - 0.5)
            attacked.errorbar(
                rows["ma"],
                rows["title"].map(titles.index) + offset,
                xerr=np.stack([rows["ma"] - rows["ma_low"], rows["ma_high"] - rows["ma"]]).clip(0),
                fmt=MARKERS[i % len(MARKERS)],
                color=COLOURS[i % len(COLOURS)],
                markersize=2.5,
                elinewidth=0.7,
                label=name,
            )
        attacked.axvline(0, color="0.6", lw=0.8)
        attacked.set_yticks(range(len(titles)), titles)
        attacked.set_ylim(len(titles) - 0.5, -0.5)
        attacked.set(xlabel="membership advantage (MA)")
        attacked.set_title("(a) What the attacks find", loc="left")
        by = results.groupby("defence", sort=False)
        for column, label, marker, colour in (
            ("target_train_accuracy", "members", "o", MEMBER),
            ("target_test_accuracy", "nonmembers", "s", NONMEMBER),
        ):
            price.plot(by[column].first()[names], range(len(names)), marker, color=colour)
            price.plot([], [], marker, color=colour, label=label)
        price.set_yticks(range(len(names)), names)
        price.set_ylim(len(names) - 0.5, -0.5)
        price.set(xlabel="the target's accuracy", xlim=(-0.03, 1.03))
        price.set_title("(b) What it costs", loc="left")
        price.legend(loc="lower left")
        dataset, model, scenario, _ = settings.iloc[0]
        figure.suptitle(f"Defences: {dataset}, {model}, {scenario}")
        handles, labels = attacked.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(names), 7))
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
        f"{row['defence']}: {row['title']} finds most, MA {row['ma']:.3f}; accuracy on members "
        f"{row['target_train_accuracy']:.3f}, on nonmembers {row['target_test_accuracy']:.3f}."
        for row in best.to_dict("records")
    )
    return figure
