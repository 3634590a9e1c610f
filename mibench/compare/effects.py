"""How much each factor of the target dataset moves an attack, and which way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mibench.compare import published
from mibench.errors import MIBenchError
from mibench.scenarios import DISTRIBUTIONS, FACTORS, POOL
from mibench.study.results import setting_of, within


def effects(results: pd.DataFrame, metric: str = "ma") -> pd.DataFrame:
    """Return each factor's share of an attack's variance and its signed size.

    Returns
    -------
    DataFrame
        One row per setting, attack and factor (the four of a scenario, and the seed where there
        are several): `eta_squared`, the sum of squares that a model of all main effects loses
        without the factor, over the total (type II, as the catalogue is unbalanced); `size`, the
        metric at the factor's last level less that at its first, averaged over what differs in
        the factor alone (:func:`mibench.study.results.within`; NaN for the seed, which has no
        order, and where no such scenarios were run); `first` and `last`, those levels; and
        `published_eta_squared`, `published_size` and `caveat`, those of the published results
        (:func:`mibench.compare.published.theirs`) of attacks with 20 scenarios or more. The
        distributions are in the order normal, uniform, bernoulli. Without the attacks that have
        no more results than the levels explain.

    Raises
    ------
    MIBenchError
        If no attack is left.
    """
    ok = results[(results["status"] == "ok") & results[metric].notna()]
    table = _effects(ok[ok["scenario"] != POOL], metric)
    if table.empty:
        raise MIBenchError(
            "no attack has more results than its factors' levels explain; run more scenarios"
        )
    told = ["eta_squared", "size"]
    record = _published(set(table.get("dataset", [])), metric).rename(
        columns={name: f"published_{name}" for name in told}
    )
    if record.empty:
        return table.assign(published_eta_squared=np.nan, published_size=np.nan, caveat="")
    on = ["dataset", "attack", "factor"]
    table = table.merge(record.drop(columns=["title", "first", "last"]), how="left", on=on)
    return table.fillna({"caveat": ""})


def _published(datasets: Collection[str], metric: str) -> pd.DataFrame:
    """Return the effects in the published results of some datasets."""
    theirs = published.theirs().query("dataset in @datasets and metric == @metric")
    counts = theirs.groupby(["dataset", "attack"])["scenario"].transform("size")
    theirs = theirs[counts >= 20]
    if theirs.empty:
        return theirs
    rows = published.with_factors(theirs)
    rows = rows.assign(title=rows["attack"], status="ok", seed=0, **{metric: rows["theirs"]})
    caveats = rows[["dataset", "attack", "caveat"]].drop_duplicates(["dataset", "attack"])
    return _effects(rows, metric).merge(caveats, on=["dataset", "attack"])


def _effects(ok: pd.DataFrame, metric: str) -> pd.DataFrame:
    setting, found = setting_of(ok), []
    for key, rows in ok.groupby(setting, sort=False, dropna=False):
        named = dict(zip(setting, key, strict=True))
        varied = [f for f in (*FACTORS, "seed") if rows[f].nunique() > 1]
        sizes = {f: _sizes(rows, f, metric) for f in varied if f != "seed"}
        for (attack, title), own in rows.groupby(["attack", "title"], sort=False):
            named |= {"attack": attack, "title": title}
            for factor, share in _shares(own, varied, metric).items():
                size, first, last = sizes.get(factor, {}).get(attack, (np.nan, None, None))
                row = {**named, "factor": factor, "eta_squared": share, "size": size}
                found.append(row | {"first": first, "last": last})
    return pd.DataFrame(found)


def change(
    results: pd.DataFrame, factor: str, metric: str = "ma", by: Sequence[str] = ("attack",)
) -> tuple[pd.Series[float], Any, Any]:
    """Return a metric's change from a factor's first level to its last, and both levels.

    Of means within cells that differ in the factor alone; parameters and errors are those of
    :func:`mibench.study.results.within`.
    """
    means = within(results, factor, metric, by).drop(columns="cells")
    first, *_, last = [d for d in DISTRIBUTIONS if d in means] or sorted(means.columns)
    return means[last] - means[first], first, last


def _sizes(rows: pd.DataFrame, factor: str, metric: str) -> dict[Any, tuple[float, Any, Any]]:
    try:
        sizes, first, last = change(rows, factor, metric)
    except MIBenchError:  # nothing differs in this factor alone
        return {}
    return {attack: (size, first, last) for attack, size in sizes.items()}


def _shares(rows: pd.DataFrame, varied: list[str], metric: str) -> dict[str, float]:
    """Return the type II sum of squares of each factor over the total; none where all is fitted."""
    value, constant = rows[metric].to_numpy(float), np.ones((len(rows), 1))
    design = {f: pd.get_dummies(rows[f].astype(str)).to_numpy(float)[:, 1:] for f in varied}
    # With as many effects as results they explain all of it, whatever was found.
    if np.linalg.matrix_rank(np.hstack([constant, *design.values()])) == len(rows):
        return {}

    def residual(without: str) -> float:
        matrix = np.hstack([constant, *(own for f, own in design.items() if f != without)])
        fitted = matrix @ np.linalg.lstsq(matrix, value, rcond=None)[0]
        return float(((value - fitted) ** 2).sum())

    total, least = ((value - value.mean()) ** 2).sum(), residual("")
    return {f: float((residual(f) - least) / total) if total else 0.0 for f in varied}
