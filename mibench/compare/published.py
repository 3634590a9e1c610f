"""Ours beside the published: numbers by scenario and by level, the three best attacks.

A comparison, not a target: nothing is tuned toward it. How the published target datasets were made
is known (:mod:`mibench.compare.record`); the networks, their training and the samples differ.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, spearmanr

from mibench import scenarios
from mibench.catalogue import plain
from mibench.compare import errata, record
from mibench.errors import MIBenchError
from mibench.study.results import setting_of

# How the beginnings of the published names, spelt differently in every figure, stand for ours; the
# first that fits. "Risk score" is what was run under that name, not the privacy risk score.
_STEMS = {
    "blindmi1class": "blindmi_1class",
    "blindmidiffwo": "blindmi_diff_wo",
    "blindmiwithout": "blindmi_diff_wo",
    "blindmi": "blindmi_diff_w",
    "blinddiff": "blindmi_diff_w",
    "nnattack": "nn_attack",
    "top1": "top1_threshold",
    "top2": "top2_true",
    "top3": "top3_nn",
    "loss": "loss_threshold",
    "lab": "label_only",
    "lira": "lira_online",
    "likelihood": "lira_online",
    "risk": "class_modified_entropy",
    "shapley": "shapley",
    "ppv": "ppv",
    "calibrated": "calibrated",
    "distillation": "distillation",
}
ATTACKS = tuple(dict.fromkeys(_STEMS.values()))


def ours(published: str) -> str:
    """Return our name of an attack under any of its published names."""
    name = plain(published)
    return next(own for stem, own in _STEMS.items() if name.startswith(stem))


@cache
def theirs() -> pd.DataFrame:
    """Return the published values whose scenario is known.

    MA: in all 84 scenarios of "Risk score" (counted right), Calibrated, PPV and, counted from the
    groups, BlindMI-Diff-w; of six more attacks in the scenarios of Figs. 11 and 12. AUC: Fig. 7.

    Returns
    -------
    DataFrame
        `dataset`, `scenario`, `attack` (our name), `metric`, `theirs`, `source`, and `caveat`, what
        :mod:`mibench.compare.errata` shows against the value, or nothing.
    """
    printed = record.table("results")
    risk = printed["attack"] == "risk_score"
    results = pd.concat([record.counted(printed[risk]), printed[~risk]])
    results["caveat"] = results["attack"].map(lambda a: "" if a == "risk_score" else "samples")
    datasets = record.table("groups")["dataset"].unique()
    counts = [record.blindmi(d).reset_index().assign(dataset=d) for d in datasets]
    blindmi = pd.concat([c for c in counts if len(c)])
    drawn = record.table("figures").query("source in ('Fig. 7', 'Fig. 11', 'Fig. 12')")
    drawn = drawn[drawn["metric"].isin(["ma", "auc"])].rename(columns={"value": "ma"})
    at = pd.MultiIndex.from_frame(drawn[["scenario", "attack"]])
    flawed = (drawn["source"] == "Fig. 7") & at.isin(errata.no_curves().index)
    drawn["caveat"] = np.where(drawn["dataset"] == "ImageNet", "unit", "")
    drawn.loc[flawed, "caveat"] = "no curve"
    parts = [
        results.assign(source="results", metric="ma"),
        blindmi.assign(source="groups", metric="ma", attack="BlindMI-Diff-w", caveat=""),
        drawn,
    ]
    table = pd.concat(parts, ignore_index=True).rename(columns={"ma": "theirs"})
    table["attack"] = table["attack"].map(ours)
    columns = ["dataset", "scenario", "attack", "metric"]
    # Exact numbers come first, before what was read off a figure.
    return table.drop_duplicates(columns)[[*columns, "theirs", "source", "caveat"]]


def beside(results: pd.DataFrame) -> pd.DataFrame:
    """Return ours and theirs in every scenario and metric that both have.

    Returns
    -------
    DataFrame
        The columns of :func:`theirs`, `ours` (the mean over seeds), and the four factors.

    Raises
    ------
    MIBenchError
        If there are results of several models, or none that the record has too.
    """
    rows = _of_one_model(results)
    own = rows.groupby(["dataset", "scenario", "attack"])[["ma", "auc"]].mean()
    long = own.melt(var_name="metric", value_name="ours", ignore_index=False).reset_index()
    both = theirs().merge(long, on=["dataset", "scenario", "attack", "metric"])
    if both.empty:
        if others := {*theirs().merge(rows[["dataset", "scenario"]])["attack"]}:
            raise MIBenchError(
                f"the published record has no attack of these results in these scenarios; run one "
                f"of {', '.join(sorted(others))}"
            )
        known = ", ".join(theirs()["dataset"].unique())
        raise MIBenchError(
            f"no results that the published record has too; run scenarios of {known}"
        )
    return with_factors(both)


def with_factors(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the four factors of each row's scenario."""
    at = [scenarios.find(s, d) for s, d in zip(rows["scenario"], rows["dataset"], strict=True)]
    return rows.assign(**{f: [getattr(s, f) for s in at] for f in scenarios.FACTORS})


def correlations(compared: pd.DataFrame) -> pd.DataFrame:
    """Return Spearman's rank correlation of ours and theirs, by dataset and metric.

    Returns
    -------
    DataFrame
        Over `scenarios`, one row an attack with the mean of `ours` and `theirs`; and over attacks,
        by the means of those without a caveat, in the row "all attacks". NaN below four values, or
        where all are equal.
    """
    found: dict[Any, dict[str, Any]] = {}
    for (dataset, metric), rows in compared.groupby(["dataset", "metric"], sort=False):
        sound = rows[rows["caveat"] == ""].groupby("attack")[["ours", "theirs"]].mean()
        for attack, own in rows.groupby("attack", sort=False):
            caveat = ", ".join(sorted({*own["caveat"]} - {""}))
            found[dataset, metric, attack] = _correlated(own) | {"caveat": caveat}
        found[dataset, metric, "all attacks"] = _correlated(sound) | {"caveat": ""}
    table = pd.DataFrame.from_dict(found, orient="index")
    return table.rename_axis(["dataset", "metric", "attack"])


def by_level(results: pd.DataFrame) -> pd.DataFrame:
    """Return what is published by level, not by scenario, beside our means over scenarios.

    FNR by distribution (Fig. 14) and by distance (Fig. 15, whose older levels are taken in their
    order), MA of a whole pool (Table IX) beside all our scenarios.
    """
    rows = _of_one_model(results)
    tables = []
    for source, factor in (("Fig. 14", "distribution"), ("Fig. 15", "distance"), ("Table IX", "")):
        drawn = record.figure(source).rename(columns={"value": "theirs"})
        drawn["attack"] = drawn["attack"].map(ours)
        own, on = rows, ["dataset", "attack"]
        if factor == "distance":
            for table, column in ((drawn, "level"), (own := rows.copy(), "distance")):
                order = table[column].astype(float).groupby(table["dataset"])
                table["place"] = order.rank("dense").astype(int)
            on = [*on, "place"]
        elif factor:
            own = rows.rename(columns={factor: "level"})
            on = [*on, "level"]
        metric = drawn["metric"].iloc[0]
        mean = own.groupby(on)[metric].mean().rename("ours").reset_index()
        tables.append(drawn.merge(mean, on=on).assign(source=source))
    columns = ["source", "dataset", "attack", "level", "metric", "theirs", "ours"]
    return pd.concat(tables, ignore_index=True)[columns]


def top3() -> pd.DataFrame:
    """Return the published table: `dataset`, `scenario`, `first`, `second`, `third`, their names.

    Of the 588 scenarios 587 are listed; which metric orders the three is not said.
    """
    return record.table("top3_by_scenario")


def compare(results: pd.DataFrame, metric: str = "ma") -> pd.DataFrame:
    """Set our three best attacks of each scenario beside the published ones.

    Ours are ordered by the mean over seeds, among the attacks of the published list, so that an
    attack they did not run cannot make a difference.

    Returns
    -------
    DataFrame
        One row a scenario that both have: `dataset`, `scenario`, `label`, `ours` and `theirs`
        (tuples of our attacks' names, best first), `same_first`, `overlap` (0 to 3), `tau`
        (Kendall's tau-b between both orders of their three; NaN where all of ours are equal, or one
        attack alone was run),
        and `beyond`, whether an attack outside the published list leads ours.

    Raises
    ------
    MIBenchError
        If there are results of several models, or of no scenario of the published table.
    """
    rows = _of_one_model(results)
    values = rows.groupby(["dataset", "scenario", "attack"])[metric].mean()
    found: list[dict[str, Any]] = []
    for published in top3().to_dict("records"):
        at = (published["dataset"], published["scenario"])
        if at not in values.index:
            continue
        every = values.loc[at].sort_values(ascending=False, kind="stable")
        shared = every[every.index.isin(ATTACKS)]
        listed = tuple(ours(published[place]) for place in ("first", "second", "third"))
        own = tuple(str(name) for name in shared.index[:3])
        both = [name for name in listed if name in shared.index]
        found.append(
            {
                "dataset": at[0],
                "scenario": at[1],
                "label": scenarios.find(*reversed(at)).label,
                "ours": own,
                "theirs": listed,
                "same_first": own[0] == listed[0],
                "overlap": len({*own} & {*listed}),
                "tau": _tau(shared[both]),
                "beyond": every.index[0] not in ATTACKS,
            }
        )
    if not found:
        known = ", ".join(scenarios.published())
        raise MIBenchError(f"no results of a scenario of the published table; run one of {known}")
    return pd.DataFrame(found)


def agreement(compared: pd.DataFrame) -> pd.DataFrame:
    """Summarize :func:`compare` for each dataset.

    `overlap_by_chance` is the mean overlap of two triples drawn at random from the 15 attacks,
    9 / 15. `tau` is the mean over scenarios.
    """
    by = compared.groupby("dataset", sort=False)
    means = by[["same_first", "overlap", "tau", "beyond"]].mean()
    means.insert(0, "scenarios", by.size())
    means.insert(3, "overlap_by_chance", 9 / len(ATTACKS))
    return means


def _tau(of_theirs: pd.Series[float]) -> float:
    """Return Kendall's tau-b of our values, given in their order, and that order."""
    if len(of_theirs) < 2:
        return np.nan
    return float(kendalltau(range(len(of_theirs), 0, -1), of_theirs).statistic)


def _correlated(rows: pd.DataFrame) -> dict[str, float]:
    a, b = rows["ours"], rows["theirs"]
    # Of ties that differ by rounding alone there is no order.
    known = len(rows) >= 4 and min(a.round(9).nunique(), b.round(9).nunique()) > 1
    return {
        "values": len(rows),
        "ours": a.mean(),
        "theirs": b.mean(),
        "correlation": float(spearmanr(a, b).statistic) if known else np.nan,
    }


def _of_one_model(results: pd.DataFrame) -> pd.DataFrame:
    # Sizes, among others, differ from dataset to dataset.
    if results[setting_of(results)].drop_duplicates()["dataset"].duplicated().any():
        raise MIBenchError(
            "the comparison is of one model a dataset; choose among the results' settings"
        )
    return results[results["status"] == "ok"]
