"""Which effects of the factors hold in whichever of two ways the target datasets are made."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, norm
from scipy.stats import t as t_distribution

from mibench.compare.conflicts import of_models
from mibench.compare.effects import change
from mibench.errors import MIBenchError
from mibench.scenarios import FACTORS, RESEARCH_QUESTIONS
from mibench.study.results import setting_of, within

_Z = float(norm.ppf(0.975))


def sensitivity(
    results: pd.DataFrame, way: str = "construction", alpha: float = 0.05
) -> pd.DataFrame:
    """Compare what each factor does to each attack's MA in two ways.

    An effect is the change of MA from a factor's first level to its last within cells that differ
    in the factor alone (:func:`mibench.compare.effects.change`), the mean over seeds. It is sure
    where its p-value is below `alpha` after Benjamini and Hochberg's (1995) correction for the
    whole table. The p-value is that of a z-test with the sampling error of one cell, as all cells
    share a model and its samples; of several seeds, the larger of it and of a t-test of the seeds'
    effects. With one seed it is about this trained model alone.

    Parameters
    ----------
    results : DataFrame
        Of one setting but for `way`.
    way : str
        A column with two values, such as ``construction`` or ``withholding``.
    alpha : float

    Returns
    -------
    DataFrame
        One row per factor and attack: `question`, `factor`, `attack`, `title`; of each value of
        `way` the columns `size_`, `error_` (standard error) and `sure_` with its name; `seeds`, how
        many the scenarios have; and `holds`: "under both", "under groups only", "under neither",
        "with opposite signs", or "not measured under both". Factors of one level are left out.

    Raises
    ------
    MIBenchError
        If there are not two ways, or results of several settings.
    """
    rows = results[results["status"] == "ok"]
    others = [c for c in setting_of(rows) if c != way]
    ways = list(dict.fromkeys(rows[way]))
    if len(ways) != 2 or len(rows[others].drop_duplicates()) > 1:
        raise MIBenchError(
            f"two values of {way} are compared, all other settings equal; choose among the "
            f"results of {', '.join(map(str, ways)) or 'none'}"
        )
    found = pd.concat(
        [_effects(own).assign(way=value) for value, own in rows.groupby(way)], ignore_index=True
    )
    if found.empty:
        raise MIBenchError("no factor has two levels among the results; run RQ1 to RQ4")
    found["sure"] = false_discovery_control(found["p"]) < alpha
    titles = dict(zip(rows["attack"], rows["title"], strict=True))
    seeds = sorted(map(int, rows.groupby([way, "scenario"])["seed"].nunique().unique()))
    named, values = ["factor", "attack"], ["size", "error", "sure"]
    wide = found.pivot(index=named, columns="way", values=values).infer_objects()
    wide.columns = wide.columns.map("{0[0]}_{0[1]}".format)
    table = wide.reindex(pd.MultiIndex.from_product([FACTORS, titles], names=named))
    table = table.reindex(columns=[f"{value}_{w}" for w in ways for value in values])
    table = table.dropna(how="all").reset_index()
    signs = {w: np.sign(table[f"size_{w}"]) * table[f"sure_{w}"].astype(float) for w in ways}
    questions = dict(zip(FACTORS, RESEARCH_QUESTIONS, strict=True))
    table.insert(0, "question", table["factor"].map(questions))
    table.insert(3, "title", table["attack"].map(titles))
    table["seeds"] = [seeds] * len(table)
    return table.assign(holds=pd.DataFrame(signs).agg(_verdict, axis=1))


def in_words(table: pd.DataFrame) -> list[str]:
    """Return one sentence a question: of how many attacks MA surely changes, and under what."""
    said = []
    for (question, factor), rows in table.groupby(["question", "factor"], sort=False):
        counts = rows["holds"].value_counts()
        listed = ", ".join(f"{count} {holds}" for holds, count in counts.items())
        size = rows.loc[rows["holds"] == "under both"].filter(like="size_").iloc[:, 0]
        up = f"; of those under both {(size > 0).sum()} raise it" if len(size) else ""
        said.append(
            f"{question}, {str(factor).replace('_', ' ')}: sure effects on the MA of {len(rows)} "
            f"attacks {of_models(rows['seeds'].iloc[0])}, {listed}{up}."
        )
    return said


def _effects(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each attack's effect of each factor with standard error and p-value."""
    rows = rows.assign(variance=((rows["ma_high"] - rows["ma_low"]) / (2 * _Z)) ** 2)
    found = []
    for factor in FACTORS:
        if rows[factor].nunique() < 2:
            continue
        try:
            sizes, first, last = change(rows, factor, by=("attack", "seed"))
        except MIBenchError:  # nothing differs in this factor alone
            continue
        sampling = within(rows, factor, "variance")
        for attack, own in sizes.groupby("attack", sort=False):
            size, seeds = float(own.mean()), len(own)
            error = float(np.sqrt(sampling.loc[attack, [first, last]].sum() / seeds))
            p = 2 * norm.sf(abs(size) / error) if error else float(size == 0)
            if seeds > 1 and (between := float(own.std() / np.sqrt(seeds))):
                p = max(p, 2 * t_distribution.sf(abs(size) / between, seeds - 1))
                error = max(error, between)
            found.append({"factor": factor, "attack": attack, "size": size, "error": error, "p": p})
    return pd.DataFrame(found)


def _verdict(signs: pd.Series[float]) -> str:
    """Say what the signs of an effect in both ways mean, zero where it is not sure."""
    if signs.isna().any():
        return "not measured under both"
    sure = signs[signs != 0]
    if len(sure) == 2:
        return "under both" if sure.nunique() == 1 else "with opposite signs"
    return f"under {sure.index[0]} only" if len(sure) else "under neither"
