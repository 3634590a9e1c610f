"""Who is right: in which scenarios one attack beats another, how sure that is, what turns it.

Two attacks on one target dataset answer about the same samples, so they are compared sample by
sample. A *conflict* is a pair of scenarios in which the order of two attacks flips and both
differences are significant after correction for the number of comparisons.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, norm
from scipy.stats import t as t_distribution

from mibench import attacks, scenarios
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, FloatArray, IntArray
from mibench.study.metrics import METRICS, OF_ANSWERS, confusion
from mibench.study.results import setting_of

CORRECTIONS = ("holm", "bh")
_PLACES = ("dataset", "scenario", "scenario_there")
_BOUNDS = (0.025, 0.975)
# Why an attack's answers hang on the trained model, where that is known.
_REASONS = {"top1_threshold": "its threshold follows the target's answers on random inputs"}


def differences(
    answers: pd.DataFrame, metric: str = "ma", replicates: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Compare every two attacks in every scenario, on the same samples.

    The metric counts the answered samples only, as :func:`mibench.study.metrics.evaluate` does. The
    95% interval is a percentile bootstrap (Efron 1979): members and nonmembers are resampled
    within themselves, the same resample for all attacks of a scenario.

    The p-value is not the bootstrap's, whose floor of 1 / (replicates + 1) no correction for
    tens of thousands of comparisons would let through, but a z-test's. Each metric is a smooth
    function of counts, so that its difference D has the closed-form paired variance V of its
    influence values (the delta method; for MA with every sample answered, that of a difference of
    paired proportions). V is zero where one attack is right throughout and another never, so the
    test takes the variance about a difference of zero, V + (D / 2)^2 (1 / m + 1 / n) for m
    members and n nonmembers, as McNemar's test (1947) does where Wald's does not. The statistic
    is then a self-normalized sum, whose tails are no heavier than the normal's where the single
    differences are symmetric (Efron 1969), also as far out as a correction looks.

    All of that is about this trained model. Of several seeds, the models are the sample: D is the
    mean over seeds, and the test a t-test of the seeds' differences with seeds - 1 degrees of
    freedom, which is valid however much models differ. Two attacks are compared over the seeds that
    both have. By luck few seeds can agree closer than their samples allow, so that the p-value is
    the larger of this test's and of the one above for the mean; interval and standard error, too,
    are the wider of both. `steady` tells whether every seed has the sign.

    Parameters
    ----------
    answers : DataFrame
        The answers of :meth:`mibench.study.study.Study.run`, of any datasets and seeds.
    metric : str
        One of :data:`mibench.study.metrics.OF_ANSWERS`.
    replicates : int
        Of the bootstrap.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row per pair of attacks and scenario: `attack`, `other`, `value`, `other_value`,
        `difference` (positive where `attack` is better: of FPR and FNR the lower is), its `low`
        and `high`, `error` (its standard error), `effect` (the difference in standard deviations
        of a single sample's, Cohen's d), `p`, `seeds` and `steady`. NaN where a metric has no
        denominator.

    Raises
    ------
    MIBenchError
        If the metric is unknown, no two attacks share a scenario and a seed, or attacks of one
        scenario did not answer about the same samples.
    """
    check_metric(metric)
    if answers.empty:
        raise MIBenchError("there are no answers to compare attacks by")
    rng = np.random.default_rng([seed, 21])
    by, places, tables = [*setting_of(answers), "scenario"], [], []
    # Texts take most of the time to be taken apart.
    numbered = answers.assign(attack=answers["attack"].astype("category"))
    grouped = numbered.groupby(by, sort=False, dropna=False)
    for key, rows in grouped[["seed", "attack", "sample", "is_member", "answer"]]:
        where = dict(zip(by, key, strict=True))
        runs = {
            seed: _matrix(part, {**where, "seed": seed})
            for seed, part in rows.groupby("seed", sort=True)
        }
        had = {n: frozenset(s for s in runs if n in runs[s][0]) for n in rows["attack"].unique()}
        # Of two attacks the seeds that both have, which for most are all.
        for some in dict.fromkeys(a & b for a in had.values() for b in had.values() if a & b):
            names = sorted(name for name, own in had.items() if some <= own)
            compared = [
                _compared(answer[np.isin(order, names)], is_member, metric, replicates, rng)
                for seed, (order, answer, is_member) in runs.items()
                if seed in some
            ]
            table = _pooled(np.array(names, dtype=object), compared)
            own = [had[a] & had[b] == some for a, b in combinations(names, 2)]
            places.append(where)
            tables.append({name: values[own] for name, values in table.items()})
    lengths = [len(table["attack"]) for table in tables]
    found = pd.DataFrame(places).loc[np.repeat(np.arange(len(places)), lengths)]
    found = found.reset_index(drop=True).assign(
        **{name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    )
    if found.empty:
        raise MIBenchError(
            "no two attacks were run in one scenario with one seed; a comparison needs two"
        )
    return found


def check_metric(metric: str) -> None:
    """Raise MIBenchError where a metric cannot be had from answers."""
    if metric not in OF_ANSWERS:
        raise MIBenchError(f"unknown metric {metric!r} of answers; use {', '.join(OF_ANSWERS)}")


def _compared(
    answer: IntArray, is_member: BoolArray, metric: str, replicates: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Return one target dataset's values of all pairs of attacks, with each attack's replicates.

    Parameters
    ----------
    answer : int array, (attacks, n)
    is_member : bool array, (n,)
    """
    cells = confusion(answer == 1, is_member, answer >= 0).astype(float)
    sign, of = METRICS[metric].better, METRICS[metric].of
    value, influence = of(cells.sum(axis=2)), np.zeros(answer.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        for plus, above, below in METRICS[metric].ratios:
            top, bottom = np.tensordot(above, cells, 1), np.tensordot(below, cells, 1)
            total = bottom.sum(axis=1, keepdims=True)
            ratio = top.sum(axis=1, keepdims=True) / total
            influence += plus * (top - ratio * bottom) / total
    first, second = np.triu_indices(len(answer), 1)
    variance = np.zeros(len(first))
    counts = np.zeros((4, len(answer), replicates))
    for side in (is_member, ~is_member):
        own = influence[:, side] - influence[:, side].mean(axis=1, keepdims=True)
        products = own @ own.T
        power = np.diag(products)
        variance += power[first] + power[second] - 2 * products[first, second]
        # The other two cells of the table hold nobody of this side.
        here = cells[:, :, side].any(axis=(1, 2))
        resampled = _resampled(int(side.sum()), replicates, rng)
        counts[here] += cells[here][:, :, side].astype(np.float32) @ resampled.T
    difference = sign * (value[first] - value[second])
    shrunk = 1 / is_member.sum() + 1 / (~is_member).sum()
    return {
        "value": value[first],
        "other_value": value[second],
        "difference": difference,
        "variance": np.maximum(variance, 0),
        "samples": np.full(len(first), len(is_member)),
        "tested": np.maximum(variance, 0) + difference**2 / 4 * shrunk,
        "replicates": sign * of(counts),
    }


def _resampled(size: int, replicates: int, rng: np.random.Generator) -> FloatArray:
    """Return how often each of `size` samples stands in each resample, (replicates, size).

    In single precision, which holds whole numbers below 2^24, and so their sums, exactly.
    """
    drawn = rng.integers(0, size, (replicates, size)) + size * np.arange(replicates)[:, None]
    counted = np.bincount(drawn.ravel(), minlength=replicates * size)
    return counted.reshape(replicates, size).astype(np.float32)


def _matrix(rows: pd.DataFrame, where: dict[str, Any]) -> tuple[list[str], IntArray, BoolArray]:
    """Return the attacks, their answers, one row per attack, and the samples' membership."""
    attack, names = pd.factorize(rows["attack"], sort=True)
    sample, samples = pd.factorize(rows["sample"], sort=True)
    answers = np.full((len(names), len(samples)), -2)
    answers[attack, sample] = rows["answer"]
    if len(rows) != answers.size or (answers == -2).any():
        said = ", ".join(f"{name} {where[name]}" for name in ("dataset", "scenario", "seed"))
        raise MIBenchError(
            f"attacks on {said} did not answer about the same samples: results of different "
            "settings lie in one folder; run them again or keep them apart"
        )
    is_member = np.zeros(len(samples), dtype=bool)
    is_member[sample] = rows["is_member"]
    return [*names], answers, is_member


def _pooled(names: Any, runs: list[dict[str, FloatArray]]) -> dict[str, Any]:
    """Return the columns of the means over seeds, one value per pair of attacks."""
    count, run = len(runs), {name: np.stack([r[name] for r in runs]) for name in runs[0]}
    first, second = np.triu_indices(len(names), 1)
    mean = run["replicates"].mean(axis=0)
    replicates = mean[first] - mean[second]
    each, difference = run["difference"], run["difference"].mean(axis=0)
    low, high = bounds = np.quantile(replicates, _BOUNDS, axis=1)
    # Resamples without a denominator are left out where the samples themselves have one.
    partly = np.isnan(low) & ~np.isnan(difference)
    if partly.any():
        bounds[:, partly] = np.nanquantile(replicates[partly], _BOUNDS, axis=1)
    tested = np.sqrt(run["tested"].sum(axis=0)) / count
    sampling = np.sqrt(run["variance"].sum(axis=0)) / count
    error, p = sampling, _two_sided(norm, difference, tested)
    if count > 1:
        between = each.std(axis=0, ddof=1) / np.sqrt(count)
        p = np.maximum(p, _two_sided(t_distribution(count - 1), difference, between))
        half = t_distribution.ppf(_BOUNDS[1], count - 1) * between
        low, high = np.minimum(low, difference - half), np.maximum(high, difference + half)
        error = np.maximum(sampling, between)
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = difference / (sampling * np.sqrt(run["samples"].sum(axis=0)))
    return {
        "attack": names[first],
        "other": names[second],
        "value": run["value"].mean(axis=0),
        "other_value": run["other_value"].mean(axis=0),
        "difference": difference,
        "low": np.minimum(low, difference),
        "high": np.maximum(high, difference),
        "error": error,
        "effect": np.where(difference == 0, 0.0, effect),
        "p": p,
        "seeds": np.full(len(first), count),
        "steady": (np.sign(each) == np.sign(difference)).all(axis=0),
    }


def _two_sided(distribution: Any, difference: FloatArray, error: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        tail = 2 * distribution.sf(np.abs(difference) / error)
    return np.where(difference == 0, 1.0, tail)


def significant(
    compared: pd.DataFrame, correction: str = "holm", alpha: float = 0.05
) -> pd.DataFrame:
    """Add `adjusted`, the corrected p-value, and `significant` to the rows of differences.

    All rows are one family. ``"holm"`` (Holm 1979) keeps the chance of a single false one among
    all of them at `alpha`, whatever their dependence; ``"bh"`` (Benjamini & Hochberg 1995) keeps
    the expected share of false ones among those found at `alpha`, and finds more. Of several
    seeds, each must have the pooled difference's sign as well: to ask significance of each would
    take a lack of samples for a lack of agreement.

    Raises
    ------
    MIBenchError
        If the correction is unknown or `alpha` is not between 0 and 1.
    """
    if correction not in CORRECTIONS:
        raise MIBenchError(f"unknown correction {correction!r}; use {' or '.join(CORRECTIONS)}")
    if not 0 < alpha < 1:
        raise MIBenchError(f"alpha is {alpha}; use a number between 0 and 1, such as 0.05")
    p = compared["p"].to_numpy()
    known = ~np.isnan(p)
    adjusted = np.full(len(p), np.nan)
    adjusted[known] = holm(p[known]) if correction == "holm" else false_discovery_control(p[known])
    return compared.assign(
        adjusted=adjusted, significant=(adjusted <= alpha) & compared["steady"].to_numpy()
    )


def holm(p: FloatArray) -> FloatArray:
    """Return p-values corrected for their number (Holm 1979), in their order."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def power(judged: pd.DataFrame, alpha: float = 0.05, chance: float = 0.8) -> dict[str, float]:
    """Return what the rows of :func:`significant` could have found.

    Returns
    -------
    dict
        `possible`, `tested` and `found` comparisons; and `smallest`, the difference that would
        have been found with the given chance by half of those tested, if it were the only one:
        its p-value must pass `alpha` divided by the number of tests. Of several seeds it is that
        of the t-test or of the sampling error, whichever is larger. `least` is the same of the
        comparison that needs the smallest.
    """
    tested = judged[judged["p"].notna()]
    found = int(judged["significant"].sum())
    level = alpha / (2 * max(len(tested), 1))
    factor = np.full(len(tested), norm.isf(level) + norm.ppf(chance))
    for seeds in tested.loc[tested["seeds"] > 1, "seeds"].unique():
        own = t_distribution(seeds - 1)
        factor[tested["seeds"] == seeds] = own.isf(level) + own.ppf(chance)
    needed = factor * tested["error"]
    smallest = {"smallest": float(needed.median()), "least": float(needed.min())}
    return {"possible": len(judged), "tested": len(tested), "found": found} | smallest


def of_models(seeds: Collection[int]) -> str:
    """Return what sure differences are about, by each one's number of seeds, in words."""
    few, most = min(seeds), max(seeds)
    if most == 1:
        return "of this trained model"
    return f"of {few if few == most else f'{few} to {most}'} trained models"


def power_sentence(judged: pd.DataFrame, metric: str = "ma", alpha: float = 0.05) -> str:
    """Tell in words how many differences there could have been, and how large one had to be."""
    has, of = power(judged, alpha), METRICS[metric]
    # Each ratio of a metric lies between 0 and 1.
    tested = (
        f"{has['tested']:,} of {has['possible']:,} comparisons "
        f"{of_models([*judged['seeds']])} could be tested, "
    )
    if not has["found"] and not has["least"] <= len(of.ratios):
        return f"{tested}none is significant; none, however large, would have been with 80% chance."
    smallest = (
        f"half of them would have shown a lone difference of {has['smallest']:.3f} {of.label}"
        if has["smallest"] <= len(of.ratios)
        else "in half of them no difference, however large, would have been found"
    )
    return f"{tested}{has['found']:,} are significant; {smallest} with 80% chance."


def unstable(results: pd.DataFrame, metric: str = "ma", times: float = 5) -> pd.DataFrame:
    """Return the attacks whose metric differs more between seeds than sampling explains.

    Parameters
    ----------
    results : DataFrame
        Rows of several seeds.
    metric : str
    times : float
        How often the variance between seeds must exceed the sampling variance, which is that of
        the metric's own interval; both are means over scenarios.

    Returns
    -------
    DataFrame
        One row per setting and attack, the most unstable first: `title`, `between` and `sampling`
        (standard deviations), `ratio` (of the variances) and `reason`, where it is known.
    """
    rows = results[results["status"] == "ok"]
    by = [*setting_of(rows), "attack", "title"]
    width = (rows[f"{metric}_high"] - rows[f"{metric}_low"]) / (2 * norm.ppf(_BOUNDS[1]))
    cells = rows.assign(sampling=width**2).groupby([*by, "scenario"], sort=False, dropna=False)
    spread = pd.DataFrame(
        {"between": cells[metric].var(ddof=1), "sampling": cells["sampling"].mean()}
    )
    table = spread.dropna().groupby(level=by, sort=False, dropna=False).mean().reset_index()
    table["ratio"] = table["between"] / table["sampling"]
    table[["between", "sampling"]] **= 0.5
    table["reason"] = table["attack"].map(_REASONS).fillna("")
    table = table[table["ratio"] > times]
    return table.sort_values("ratio", ascending=False, ignore_index=True)


def find(judged: pd.DataFrame, correction: str = "holm", alpha: float = 0.05) -> pd.DataFrame:
    """Find the pairs of scenarios, alike but for one or two factors, in which an order flips.

    A conflict needs both differences, so that its p-value is the larger of theirs (Berger 1982).
    Where no difference is false no conflict is, so with ``"holm"`` the differences' correction is
    the conflicts' too. With ``"bh"`` it is not: few of the differences found are false, but
    nearly every conflict would be if the order never turned. There the conflicts are a family of
    their own, of all pairs of attacks and of scenarios that could have shown one.

    Parameters
    ----------
    judged : DataFrame
        Rows of :func:`significant`.
    correction : str
    alpha : float
        What they were judged by.

    Returns
    -------
    DataFrame
        One row per conflict: `attack` leads `other` in `scenario` and `other` leads `attack` in
        `other_scenario`; `type` 1 where the scenarios differ in one factor, 2 where in two;
        `factor` (two joined by " and "); `lead` and `other_lead` with `_low` and `_high`;
        `strength`, the smaller of both leads; and `p`. The strongest come first.
    """
    pairs = [*setting_of(judged), "attack", "other"]
    sure = judged[judged["significant"]]
    sure = sure.assign(pair=sure.groupby(pairs, sort=False, dropna=False).ngroup())
    ahead = sure[sure["difference"] > 0].sort_values("pair", kind="stable")
    there = sure.loc[sure["difference"] < 0, ["pair", "scenario", "difference", "low", "high", "p"]]
    both = ahead.merge(there, on="pair", suffixes=("", "_there"))
    changed = [_changed(*at) for at in zip(*(both[c] for c in _PLACES), strict=True)]
    found = both[pairs].assign(
        scenario=both["scenario"],
        other_scenario=both["scenario_there"],
        type=[len(factors) for factors in changed],
        factor=[" and ".join(factors) for factors in changed],
        lead=both["difference"],
        lead_low=both["low"],
        lead_high=both["high"],
        other_lead=-both["difference_there"],
        other_lead_low=-both["high_there"],
        other_lead_high=-both["low_there"],
        strength=np.minimum(both["difference"], -both["difference_there"]),
        p=both[["p", "p_there"]].max(axis=1),
    )
    found = found[found["type"].isin([1, 2])]
    if correction == "bh" and len(found):
        each = judged.groupby(pairs, dropna=False)
        possible = sum(_near(str(p["dataset"].iloc[0]), tuple(p["scenario"])) for _, p in each)
        p = np.ones(possible)
        p[: len(found)] = found["p"]
        found = found[false_discovery_control(p)[: len(found)] <= alpha]
    return found.sort_values("strength", ascending=False, ignore_index=True, kind="stable")


@cache
def _changed(dataset: str, a: str, b: str) -> list[str]:
    """Return the factors in which two scenarios of a dataset differ."""
    one, two = scenarios.find(a, dataset), scenarios.find(b, dataset)
    return [factor for factor in scenarios.FACTORS if getattr(one, factor) != getattr(two, factor)]


@cache
def _near(dataset: str, among: tuple[str, ...]) -> int:
    """Return how many pairs of scenarios differ in one factor or two."""
    return sum(len(_changed(dataset, a, b)) in (1, 2) for a, b in combinations(among, 2))


def counts(found: pd.DataFrame) -> pd.DataFrame:
    """Count conflicts by type and factor: pairs of scenarios, pairs of attacks, the strongest."""
    by = found.assign(pair=found["attack"] + " / " + found["other"]).groupby(["type", "factor"])
    table = pd.DataFrame({"conflicts": by.size(), "pairs of attacks": by["pair"].nunique()})
    table["strongest"] = by["strength"].max()
    return table.sort_values(["type", "conflicts"], ascending=[True, False])


def strongest(found: pd.DataFrame, count: int = 10, type: int = 1) -> pd.DataFrame:
    """Return the strongest conflict of each pair of attacks, the strongest pairs first."""
    rows = found[found["type"] == type]
    return rows.drop_duplicates(["attack", "other"]).head(count).reset_index(drop=True)


def sentence(conflict: Mapping[Any, Any], metric: str = "ma") -> str:
    """Tell a conflict, a row of :func:`find`, in words."""
    first, second = (attacks.named(str(conflict[c])).full_title for c in ("attack", "other"))
    dataset = str(conflict["dataset"])
    one, two = (scenarios.find(str(conflict[c]), dataset) for c in ("scenario", "other_scenario"))
    factors = str(conflict["factor"]).split(" and ")
    here, there = (
        " and ".join(f"{f.replace('_', ' ')} {scenarios.level(f, getattr(s, f))}" for f in factors)
        for s in (one, two)
    )
    leads = [
        f"by {conflict[c]:z.3f} [{conflict[c + '_low']:z.3f}, {conflict[c + '_high']:z.3f}] "
        f"{METRICS[metric].label}"
        for c in ("lead", "other_lead")
    ]
    return (
        f"{first} leads {second} {leads[0]} at {here} ({one.id}); {second} leads {leads[1]} at "
        f"{there} ({two.id}), all else equal."
    )


def ranking(results: pd.DataFrame, metric: str = "ma") -> pd.DataFrame:
    """Rank the attacks of every scenario and seed by a metric; equals share their mean rank.

    Returns
    -------
    DataFrame
        `attack`, `title`, `scenario`, `seed`, `value` and `rank` (1 is best), with the columns
        that say what was attacked.

    Raises
    ------
    MIBenchError
        If the results hold no such metric.
    """
    if metric not in results:
        raise MIBenchError(f"the results hold no metric {metric!r}")
    rows = results[results["status"] == "ok"].rename(columns={metric: "value"})
    within = [*setting_of(rows), "scenario", "seed"]
    rank = rows.groupby(within, dropna=False)["value"].rank(
        ascending=METRICS[metric].better < 0, na_option="bottom"
    )
    return rows.assign(rank=rank)[[*within, "attack", "title", "value", "rank"]]


def leaders(
    results: pd.DataFrame, metric: str = "ma", other: str = "tpr_at_fpr_0.1"
) -> pd.DataFrame:
    """Set each whole pool's leader by one metric beside its leader by another, at a low FPR.

    Of rows of the whole pool alone, since target datasets hold too few nonmembers. Values are means
    over seeds. Of several leaders with one value, those that lead by both metrics come first, then
    those that stand first in the results.

    Returns
    -------
    DataFrame
        One row per setting: `leader` and `other_leader` (titles), `same`; the leader's value of
        both metrics and the other leader's of both; and `clear`, whether the other leader's
        interval of `other` lies above the leader's in every seed.

    Raises
    ------
    MIBenchError
        If there are no such rows, or too few nonmembers in them.
    """
    rows = results[results["scenario"] == scenarios.POOL]
    if rows.empty:
        raise MIBenchError(f"{METRICS[other].label} is read on the whole pool: run scenario pool")
    rows = rows[rows[metric].notna() & rows[other].notna()]
    if rows.empty:
        raise MIBenchError(f"{METRICS[other].label} {METRICS[other].absent}, this pool has fewer")
    within, found = [*setting_of(rows), "scenario"], []
    for key, part in rows.groupby(within, sort=False, dropna=False):
        by = part.groupby("title", sort=False)
        values, low, high = by[[metric, other]].mean(), by[f"{other}_low"], by[f"{other}_high"]
        best = values.index[np.isclose(values[metric], values[metric].max())]
        best_other = values.index[np.isclose(values[other], values[other].max())]
        both = [title for title in best if title in best_other]
        leader, second = (both[0], both[0]) if both else (best[0], best_other[0])
        found.append(
            {
                **dict(zip(within, key, strict=True)),
                "leader": leader,
                "other_leader": second,
                "same": leader == second,
                metric: values[metric][leader],
                other: values[other][leader],
                f"other_{metric}": values[metric][second],
                f"other_{other}": values[other][second],
                "clear": low.min()[second] > high.max()[leader],
            }
        )
    return pd.DataFrame(found)
