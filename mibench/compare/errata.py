"""What the published numbers need before they can be believed, each shown by a computation.

The first five need the record alone; :func:`as_printed` and :func:`conflicts_left` a reproduction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mibench.compare import conflicts, record
from mibench.compare.record import GROUP
from mibench.compare.reproduction import Reproduction


def follows_groups() -> pd.DataFrame:
    """Correlate published FPRs with BlindMI-Diff-w's on the same groups, over 84 scenarios.

    What makes nonmembers look like members, low loss, is the same for both. A share that falls
    where BlindMI's FPR rises is one of true negatives; one that does not follow at all was taken
    of other samples. `before` takes the groups one before the scenario's.

    Returns
    -------
    DataFrame
        `same` and `before`, by dataset and published attack.
    """
    found: dict[Any, dict[str, float]] = {}
    for dataset in ("CIFAR100", "CIFAR10", "CH_MNIST"):
        fpr = record.groups(dataset)["nonmembers_called_members"].to_numpy() / GROUP
        printed, chosen = record.table("results"), record.targets(dataset)
        for attack, rows in printed.query("dataset == @dataset").groupby("attack"):
            found[dataset, attack] = {}
            for name, step in (("same", 0), ("before", 1)):
                of_groups = [fpr[np.array(chosen[s]) - step].mean() for s in rows["scenario"]]
                found[dataset, attack][name] = np.corrcoef(of_groups, rows["fpr"])[0, 1]
    return pd.DataFrame.from_dict(found, orient="index").rename_axis(["dataset", "attack"])


def repeated_groups() -> pd.DataFrame:
    """Count the target datasets that hold a group twice, and how the printed FPR counts it.

    Returns
    -------
    DataFrame
        One row a dataset: `scenarios` that repeat a group, the `most` repeats in one, and by how
        much "Risk score"'s printed FPR is missed at most where repeats count (`twice`) and
        where they do not (`once`); NaN where the groups hold no counts of that attack.
    """
    found = {}
    for dataset in record.table("groups")["dataset"].unique():
        fp, chosen = record.groups(dataset)["fp"] / GROUP, record.targets(dataset)
        extra = pd.Series({s: len(g) - len(set(g)) for s, g in chosen.items()})
        printed = record.table("results").query("dataset == @dataset and attack == 'risk_score'")
        fpr = printed.set_index("scenario")["fpr"]
        twice = pd.Series({s: fp[g].mean() for s, g in chosen.items()})
        once = pd.Series({s: fp[sorted(set(g))].mean() for s, g in chosen.items()})
        found[dataset] = {
            "scenarios": (extra > 0).sum(),
            "most": extra.max(),
            "twice": (twice - fpr).abs().max(),
            "once": (once - fpr).abs().max(),
        }
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("dataset")


def units() -> pd.DataFrame:
    """Return ImageNet's MA as drawn in Figs. 11 and 12 beside the printed: a hundredth, or all."""
    drawn = pd.concat([record.figure("Fig. 11"), record.figure("Fig. 12")])
    drawn = drawn[(drawn["dataset"] == "ImageNet") & (drawn["value"] != 0)]
    names = {"Risk score": "risk_score", "Calibrated Score": "calibrated", "PPV": "ppv"}
    drawn = drawn.assign(attack=drawn["attack"].map(names)).dropna(subset="attack")
    printed = record.table("results")[["dataset", "scenario", "attack", "ma"]]
    both = drawn.merge(printed, on=["dataset", "scenario", "attack"])
    return both.assign(times=both["ma"] / both["value"])[
        ["attack", "scenario", "value", "ma", "times"]
    ].rename(columns={"value": "drawn", "ma": "printed"})


def no_curves() -> pd.DataFrame:
    """Return the curves of Fig. 7 that no scores can have.

    A ROC curve starts at the origin, never falls, and its area is the AUC.

    Returns
    -------
    DataFrame
        By scenario and curve: the first point, how often TPR `falls` (by more than the reading
        error), the `area` of the drawn curve and the printed `auc`.
    """
    figure = record.figure("Fig. 7").rename(columns={"attack": "curve"})
    known = figure.pivot(index=["scenario", "curve"], columns="metric", values="value")
    by = record.table("curves").groupby(["scenario", "curve"])
    table = by[["fpr", "tpr"]].first().add_prefix("first_")
    table["falls"] = by["tpr"].agg(lambda tpr: (tpr.diff() < -0.001).sum())
    table = table.join(known[["area", "auc"]])
    away = table[["first_fpr", "first_tpr"]].max(axis=1) > 0.1
    return table[away | (table["falls"] > 0)]


def samples_of_a_panel() -> pd.DataFrame:
    """Return of how many nonmembers and members each curve of Fig. 7 was made, where it tells."""
    drawn = record.figure("Fig. 7")
    counts = drawn[drawn["metric"].str.endswith("denominator")]
    return counts.pivot(index="attack", columns=["scenario", "metric"], values="value")


def as_printed(made: Reproduction) -> pd.DataFrame:
    """Say by how much each attack misses the results printed under the name "Risk score".

    Returns
    -------
    DataFrame
        One row an attack, the largest difference over scenarios: of `recall`, of the FPR (`fpr`),
        and of the true negative rate (`tnr`) from what is printed as FPR.
    """
    own = made.results.set_index(["attack", "scenario"])[["recall", "fpr"]]
    own["tnr"] = 1 - own["fpr"]
    printed = made.published("class_modified_entropy")[["recall", "fpr"]]
    missed = own.sub(printed.assign(tnr=printed["fpr"]), level="scenario").abs()
    return missed.groupby(level="attack", sort=False).max().sort_values("tnr")


def conflicts_left(made: Reproduction) -> pd.Series[int]:
    """Count conflicts on the published target datasets, before and after a correction."""
    compared = conflicts.differences(made.answers, "ma", replicates=1)
    # Without a test every difference counts.
    plain = compared.assign(adjusted=0.0, significant=compared["difference"] != 0)
    tested = conflicts.significant(compared)
    return pd.Series(
        {
            "compared": len(compared),
            "different": int(plain["significant"].sum()),
            "conflicts": len(conflicts.find(plain)),
            "different after Holm": int(tested["significant"].sum()),
            "conflicts after Holm": len(conflicts.find(tested)),
        }
    )
