"""The published three best attacks of every scenario, and ours beside them.

A comparison, not a target: nothing is tuned toward it. The published code was never released, and
its models, training and samples differ from ours; which metric orders the three is not said.
Of the 588 scenarios 587 are listed; :func:`missing` names the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from mibench import scenarios
from mibench.errors import MIBenchError
from mibench.study.results import setting_of

# The published list of 15 attacks, each with ours. Those that the published table never places
# among three best, and so never names, have our titles.
NAMES = {
    "NN_attack": "nn_attack",
    "Top3_NN": "top3_nn",
    "Top2+True": "top2_true",
    "Top1-Threshold": "top1_threshold",
    "Loss-Threshold": "loss_threshold",
    "Label-only": "label_only",
    "BlindMI-Diff-w": "blindmi_diff_w",
    "BlindMI-Diff-w/o": "blindmi_diff_wo",
    "BlindMI-1CLASS": "blindmi_1class",
    "Risk score": "risk_score",
    "Shapley values": "shapley",
    "PPV": "ppv",
    "Calibrated Score": "calibrated",
    "Distillation-based": "distillation",
    "Likelihood ratio attack": "lira_online",
}
_PLACES = ("first", "second", "third")


@cache
def top3() -> pd.DataFrame:
    """Return the published table: `dataset`, `scenario`, `first`, `second`, `third`, their names.

    Source: the published results of the evaluation framework whose scenarios the catalogue holds,
    the three best attacks of each, as transcribed in ``published_top3_by_scenario.csv``.
    """
    with (
        files("mibench").joinpath("data", "facts", "published_top3_by_scenario.csv").open() as lines
    ):
        return pd.read_csv(lines)


def missing() -> list[str]:
    """Return the labels of the catalogue's scenarios that the published table lacks."""
    listed = set(top3()[["dataset", "scenario"]].itertuples(index=False, name=None))
    return [
        f"{s.id} {s.label}"
        for dataset in scenarios.published()
        for s in scenarios.catalogue(dataset)
        if (dataset, s.id) not in listed
    ]


def unmapped(results: pd.DataFrame) -> dict[str, list[str]]:
    """Return which names have no counterpart: theirs among our attacks, ours among theirs."""
    theirs = pd.unique(top3()[list(_PLACES)].to_numpy().ravel())
    return {
        "published, without an attack of ours": [str(n) for n in theirs if n not in NAMES],
        "ours, not on the published list": [
            str(n) for n in results["attack"].unique() if n not in NAMES.values()
        ],
    }


def compare(results: pd.DataFrame, metric: str = "ma") -> pd.DataFrame:
    """Set our three best attacks of each scenario beside the published ones.

    Ours are ordered by the mean over seeds, among the attacks of the published list, so that an
    attack they did not run cannot make a difference.

    Returns
    -------
    DataFrame
        One row a scenario that both have: `dataset`, `scenario`, `label`, `ours` and `theirs`
        (tuples of our attacks' names, best first), `same_first`, `overlap` (0 to 3), `tau`
        (Kendall's tau-b between both orders of their three; NaN where all of ours are equal),
        and `beyond`, whether an attack outside the published list leads ours.

    Raises
    ------
    MIBenchError
        If there are results of several models, or of no scenario of the published table.
    """
    setting = [c for c in setting_of(results) if c != "dataset"]
    if len(results[setting].drop_duplicates()) > 1:
        raise MIBenchError("the comparison is of one model; choose among the results' settings")
    rows = results[results["status"] == "ok"]
    values = rows.groupby(["dataset", "scenario", "attack"])[metric].mean()
    found: list[dict[str, Any]] = []
    for published in top3().to_dict("records"):
        at = (published["dataset"], published["scenario"])
        if at not in values.index:
            continue
        every = values.loc[at].sort_values(ascending=False, kind="stable")
        shared = every[every.index.isin(NAMES.values())]
        theirs = tuple(NAMES[published[p]] for p in _PLACES)
        ours = tuple(str(name) for name in shared.index[:3])
        both = [name for name in theirs if name in shared.index]
        found.append(
            {
                "dataset": at[0],
                "scenario": at[1],
                "label": scenarios.find(*reversed(at)).label,
                "ours": ours,
                "theirs": theirs,
                "same_first": ours[0] == theirs[0],
                "overlap": len({*ours} & {*theirs}),
                "tau": _tau(range(len(both), 0, -1), shared[both]),
                "beyond": every.index[0] not in NAMES.values(),
            }
        )
    if not found:
        raise MIBenchError(
            "no results of a scenario of the published table; run one of "
            + ", ".join(scenarios.published())
        )
    return pd.DataFrame(found)


def agreement(compared: pd.DataFrame) -> pd.DataFrame:
    """Summarize :func:`compare` for each dataset.

    `overlap_by_chance` is the mean overlap of two triples drawn at random from the 15 attacks,
    9 / 15. `tau` is the mean over scenarios, `tau_of_points` Kendall's tau-b of the attacks that
    stand among anybody's three at least once, by points over all scenarios (3, 2, 1).
    """
    by = compared.groupby("dataset", sort=False)
    table = pd.DataFrame(
        {
            "scenarios": by.size(),
            "same_first": by["same_first"].mean(),
            "overlap": by["overlap"].mean(),
            "overlap_by_chance": 9 / len(NAMES),
            "tau": by["tau"].mean(),
            "beyond": by["beyond"].mean(),
        }
    )
    table["tau_of_points"] = [
        _tau(*(points(part)[c] for c in ("ours", "theirs"))) for _, part in by
    ]
    return table


def points(compared: pd.DataFrame) -> pd.DataFrame:
    """Return the points of each attack, 3 for a first place, 2, 1, in `ours` and in `theirs`."""
    count = {
        column: pd.DataFrame(compared[column].tolist(), columns=_PLACES)
        .melt(var_name="place", value_name="attack")
        .assign(points=lambda t: 3 - t["place"].map(_PLACES.index))
        .groupby("attack")["points"]
        .sum()
        for column in ("ours", "theirs")
    }
    return pd.DataFrame(count).fillna(0).astype(int).sort_values("theirs", ascending=False)


def _tau(a: Sequence[int] | pd.Series[Any], b: pd.Series[Any]) -> float:
    return float(kendalltau(np.asarray(a), np.asarray(b)).statistic)
