"""Which attack to use: those never beaten among the attacks that what an auditor has allows."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from mibench import attacks
from mibench.attacks import costs
from mibench.compare import conflicts
from mibench.errors import MIBenchError
from mibench.study.metrics import METRICS
from mibench.study.results import setting_of


def allowed(
    given: Collection[str] = tuple(attacks.NEEDS),
    labels_only: bool = False,
    queries: int | None = None,
) -> list[str]:
    """Return the names of the attacks that an auditor can run.

    Parameters
    ----------
    given : collection of str
        What there is, keys of :data:`mibench.attacks.NEEDS`; all of it by default.
    labels_only : bool
        Whether the target answers with a label and no posterior.
    queries : int, optional
        The most queries to the target for each attacked sample: 1 is the sample itself, attacks
        on copies take more. None is no limit.

    Raises
    ------
    MIBenchError
        If something given is unknown, `queries` is not positive, or no attack is left.
    """
    if unknown := sorted(set(given) - attacks.NEEDS.keys()):
        raise MIBenchError(
            f"unknown need {unknown[0]!r}; an attack can need {', '.join(attacks.NEEDS)}"
        )
    if queries is not None and queries < 1:
        raise MIBenchError(f"queries is {queries}; each sample takes at least 1")
    names = [
        name
        for name, kind in attacks.ATTACKS.items()
        if kind.needs <= set(given)
        and (kind.labels_only or not labels_only)
        and (queries is None or costs.queries(kind) <= queries)
    ]
    if not names:
        raise MIBenchError("no attack runs on so little; allow more queries or give more")
    return names


def advise(
    results: pd.DataFrame,
    answers: pd.DataFrame,
    given: Collection[str] = tuple(attacks.NEEDS),
    labels_only: bool = False,
    queries: int | None = None,
    metric: str = "ma",
    correction: str = "holm",
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Judge the attacks that an auditor can run, by the results at hand.

    An attack is beaten in a scenario where another allowed one is significantly better on the
    same samples, after correction for all comparisons among the allowed (see
    :func:`mibench.compare.conflicts.differences` and
    :func:`~mibench.compare.conflicts.significant`). "Never beaten" is a statement about these
    scenarios and samples: with few of either, little can be told apart and much is never beaten.
    It is dominated where some other attack beats it
    somewhere and it beats that one nowhere.

    Parameters
    ----------
    results, answers : DataFrame
        Of :meth:`mibench.study.study.Study.run` or :func:`mibench.study.results.load`; of any
        datasets, models and seeds.
    given, labels_only, queries
        What the auditor has; see :func:`allowed`.
    metric, correction, alpha
        See :mod:`mibench.compare.conflicts`.

    Returns
    -------
    DataFrame
        One row per allowed attack that has results, best first: `attack`, `title`, `scenarios` (of
        all datasets and models), `mean` and `worst` value of the metric over them, `beaten`
        (number of scenarios), `beaten_by` (titles, those that do so most often first),
        `dominated_by` (titles), `never_beaten`, `seeds` (how many the scenarios have), `queries`
        and `needs`.

    Raises
    ------
    MIBenchError
        If no attack is allowed, or none of the allowed has results.
    """
    names = [n for n in allowed(given, labels_only, queries) if n in set(results["attack"])]
    if not names:
        raise MIBenchError("none of the attacks that this allows is among the results; run them")
    within = [*setting_of(answers), "scenario"]
    conflicts.check_metric(metric)
    rows = results[results["attack"].isin(names) & (results["status"] == "ok")]
    value = rows.groupby(["attack", *within], dropna=False)[metric].mean().groupby("attack")
    sign = METRICS[metric].better
    worst = value.min() if sign > 0 else value.max()
    wins = _wins(answers[answers["attack"].isin(names)], names, metric, correction, alpha)
    titles = {name: attacks.named(name).full_title for name in names}
    seeds = sorted(map(int, answers.groupby(within, dropna=False)["seed"].nunique().unique()))
    found = []
    for name in names:
        mine = wins[wins["loser"] == name]
        by = mine["winner"].value_counts()
        back = set(wins.loc[wins["winner"] == name, "loser"])
        found.append(
            {
                "attack": name,
                "title": titles[name],
                "scenarios": int(value.size().get(name, 0)),
                "mean": float(value.mean().get(name, np.nan)),
                "worst": float(worst.get(name, np.nan)),
                "beaten": len(mine[within].drop_duplicates()),
                "beaten_by": [titles[str(other)] for other in by.index],
                "dominated_by": [titles[str(other)] for other in by.index if other not in back],
                "never_beaten": mine.empty,
                "seeds": seeds,
                "queries": costs.queries(attacks.named(name)),
                "needs": sorted(attacks.named(name).needs),
            }
        )
    table = pd.DataFrame(found).assign(order=lambda t: -sign * t["mean"])
    table = table.sort_values(["beaten", "order"], ignore_index=True, kind="stable")
    return table.drop(columns="order")


def _wins(
    answers: pd.DataFrame, names: list[str], metric: str, correction: str, alpha: float
) -> pd.DataFrame:
    """Return one row per significant difference, with its winner and loser."""
    if len(names) < 2:
        columns = [*setting_of(answers), "scenario", "winner", "loser"]
        return pd.DataFrame(columns=columns)
    # The intervals are not used here, so the fewest replicates do.
    compared = conflicts.differences(answers, metric, replicates=1)
    sure = conflicts.significant(compared, correction, alpha).query("significant")
    ahead = sure["difference"] > 0
    return sure.assign(
        winner=sure["attack"].where(ahead, sure["other"]),
        loser=sure["other"].where(ahead, sure["attack"]),
    )


def sentence(advice: pd.DataFrame) -> str:
    """Tell the rows of :func:`advise` in one sentence."""
    best, of = advice[advice["never_beaten"]], conflicts.of_models(advice["seeds"].iloc[0])
    if len(best):
        # Who was run in fewer scenarios had fewer chances to be beaten.
        where = (
            f"in {count} scenario{'s' if count != 1 else ''} {of}: {', '.join(rows['title'])}"
            for count, rows in sorted(best.groupby("scenarios"), reverse=True)
        )
        return f"Never beaten {'; '.join(where)}."
    first, undominated = advice.iloc[0], advice[~advice["dominated_by"].astype(bool)]
    said = (
        f"Every attack is beaten somewhere. {first['title']} is beaten in the fewest scenarios, "
        f"{first['beaten']} of {first['scenarios']} {of}"
    )
    if len(undominated):
        titles = ", ".join(undominated["title"])
        said += f"; beaten only by attacks that they beat elsewhere: {titles}"
    return f"{said}."
