"""Which members the attacks find: the same ones or others, and again when all is trained anew."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd

from mibench.errors import MIBenchError
from mibench.study.results import setting_of


def found(answers: pd.DataFrame, fpr: float | None = None) -> pd.DataFrame:
    """Return which members each attack finds.

    Parameters
    ----------
    answers : DataFrame
        Of :meth:`mibench.study.study.Study.run`: one setting, any scenarios and seeds.
    fpr : float, optional
        Found is who scores above the threshold that lets this share of nonmembers through at most,
        so that attacks with unlike thresholds are compared alike. By default each attack's own
        answers count, and whom it withholds it does not find.

    Returns
    -------
    DataFrame of bool
        Members down, by `scenario`, `seed` and `sample`; attacks across.

    Raises
    ------
    MIBenchError
        If there are several settings, attacks that did not answer about the same members, or too
        few nonmembers for the FPR.
    """
    setting = setting_of(answers)
    if len(answers[setting].drop_duplicates()) != 1:
        raise MIBenchError(
            f"samples are compared within one setting; choose one by {', '.join(setting)}"
        )
    target = ["scenario", "seed", "attack"]
    hit = answers["answer"] == 1
    if fpr is not None:
        outside = answers[~answers["is_member"]].groupby(target)["score"]
        fewest = int(outside.size().min())
        if fewest * fpr < 1:
            raise MIBenchError(
                f"an FPR of {fpr:g} needs at least {math.ceil(round(1 / fpr, 6)):,} nonmembers; "
                f"there are {fewest:,}"
            )
        # The rounding error of .07 * 100 must not let one less through.
        limit = outside.agg(lambda s: s.nlargest(math.floor(round(fpr * len(s), 9)) + 1).iloc[-1])
        hit = answers["score"] > limit.reindex(pd.MultiIndex.from_frame(answers[target])).to_numpy()
    members = answers.assign(hit=hit)[answers["is_member"]]
    wide = members.pivot(index=["scenario", "seed", "sample"], columns="attack", values="hit")
    if wide.isna().any(axis=None):
        raise MIBenchError("some attacks answered about members that others did not; choose others")
    return wide[list(dict.fromkeys(members["attack"]))].astype(bool)


def jaccard(hits: pd.DataFrame) -> pd.DataFrame:
    """Return for every two attacks how much of what either finds both find.

    Parameters
    ----------
    hits : DataFrame of bool
        Of :func:`found`.

    Returns
    -------
    DataFrame, (attacks, attacks)
        NaN where neither finds anybody.
    """
    one = hits.to_numpy(float)
    both = one.T @ one
    size = np.diag(both)
    with np.errstate(invalid="ignore"):
        share = both / (size[:, None] + size - both)
    return pd.DataFrame(share, hits.columns, hits.columns)


def coverage(hits: pd.DataFrame) -> pd.Series[float]:
    """Return which share of the members `any` attack finds, `all` find, and none but one."""
    count = hits.sum(axis=1)
    shares = {"any": count > 0, "all": count == hits.shape[1], "one alone": count == 1}
    return pd.Series({name: float(members.mean()) for name, members in shares.items()})


def stability(hits: pd.DataFrame) -> pd.DataFrame:
    """Return how far each attack finds the same members with another seed.

    A seed draws the splits anew and trains every model anew, so that two seeds are compared on
    the samples that are members of the same scenario in both; counts are over all pairs of seeds.

    Returns
    -------
    DataFrame
        One row per attack: `common` (members compared), `either` (the share found with one seed
        or the other), `both`, and `jaccard`, the ratio of both. NaN with one seed.
    """
    parts = [part.droplevel("seed") for _, part in hits.groupby(level="seed")]
    total = pd.DataFrame(0.0, hits.columns, ["common", "either", "both"])
    for first, second in combinations(parts, 2):
        one, two = first.align(second, join="inner", axis=0)
        total += np.column_stack([[len(one)] * one.shape[1], (one | two).sum(), (one & two).sum()])
    table = total[["either", "both"]].div(total["common"], axis=0)
    return table.assign(
        common=total["common"].astype(int), jaccard=total["both"] / total["either"]
    )[["common", "either", "both", "jaccard"]]


def slices(hits: pd.DataFrame, by: pd.Series[float]) -> pd.DataFrame:
    """Return the share of members that each attack finds, by what they are.

    Parameters
    ----------
    hits : DataFrame of bool
        Of :func:`found`.
    by : Series
        Indexed as `hits` (or by `sample`): a class, or one of :func:`described`.

    Returns
    -------
    DataFrame
        One row per value of `by`: `members`, and each attack's share.
    """
    key = by.reindex(hits.index.get_level_values("sample") if by.index.nlevels == 1 else hits.index)
    groups = hits.groupby(np.asarray(key))
    return groups.mean().assign(members=groups.size())


def described(answers: pd.DataFrame, parts: int = 4) -> pd.DataFrame:
    """Return what the answers themselves tell of members: the quantile of their loss, correctness.

    Loss-Threshold's score is the negative loss, the gap attack's whether the target is right; a
    column is there where its attack ran.

    Returns
    -------
    DataFrame
        Members as in :func:`found`: `loss` (1 the lowest of `parts` equal parts) and `right`.
    """
    members = answers[answers["is_member"]]
    index = ["scenario", "seed", "sample"]
    score = members.set_index([*index, "attack"])["score"].unstack()
    table = pd.DataFrame(index=score.index)
    if "loss_threshold" in score:
        rank = (-score["loss_threshold"]).groupby(level=["scenario", "seed"]).rank(pct=True)
        table["loss"] = np.ceil(rank * parts).astype(int)
    if "gap" in score:
        table["right"] = score["gap"] > 0.5
    return table
