"""Every figure that results can fill, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from mibench.compare import conflicts
from mibench.figures.conflicts import conflict_matrix, ranks, two_views
from mibench.figures.cost import accuracy_against_cost
from mibench.figures.defences import defences
from mibench.figures.panels import six_panels
from mibench.figures.ranking import critical_difference, heat_map
from mibench.figures.rows import by_setting, only_setting
from mibench.figures.style import Picture
from mibench.scenarios import RESEARCH_QUESTIONS
from mibench.study import results as tables


def published(results: pd.DataFrame, columns: int = 1) -> Iterator[tuple[str, Picture]]:
    """Yield the six panels of every research question of which two scenarios have values, named.

    One after the other for each dataset, model and defence; the name is good for a file.
    """
    for _, rows in by_setting(results):
        for question in RESEARCH_QUESTIONS:
            panel = tables.panel(rows, str(rows["dataset"].iloc[0]), question)
            if panel.loc[panel["status"] == "ok", "scenario"].nunique() > 1:
                yield file_name(rows, question), six_panels(panel, question, columns)


def all_figures(
    results: pd.DataFrame, answers: pd.DataFrame, columns: int = 1
) -> Iterator[tuple[str, Picture]]:
    """Yield the panels of :func:`published` and what else the results fill, named.

    Of each dataset, model and defence the cost; of two scenarios also heat map, ranks, leaders by
    two metrics and conflicts; of three attacks in them their ranking. Then :func:`defended`.
    """
    yield from published(results, columns)
    answered = dict(by_setting(answers)) if len(answers) else {}
    for setting, rows in by_setting(results):
        ok = rows[rows["status"] == "ok"]
        if ok.empty:
            continue
        if ok["scenario"].nunique() > 1:
            yield file_name(rows, "heat_map_ma"), heat_map(rows, columns=columns)
            if ok["attack"].nunique() > 2:
                yield file_name(rows, "ranking_ma"), critical_difference(rows, columns=columns)
            yield file_name(rows, "ranks"), ranks(conflicts.ranking(rows), rows)
            yield file_name(rows, "two_views"), two_views(conflicts.leaders(rows), rows)
            if setting in answered and ok["attack"].nunique() > 1:
                judged = conflicts.significant(conflicts.differences(answered[setting]))
                if len(found := conflicts.find(judged)):
                    yield file_name(rows, "conflicts"), conflict_matrix(found, rows)
        yield file_name(rows, "cost"), accuracy_against_cost(rows, columns)
    yield from defended(results)


def defended(results: pd.DataFrame) -> Iterator[tuple[str, Picture]]:
    """Yield the defences' figure of each scenario and seed that was run under several, named."""
    if "defence" not in results:
        return
    for names, rows in results.groupby(["dataset", "model", "scenario", "seed"], sort=False):
        if rows["defence"].nunique() > 1:
            dataset, model, scenario, seed = names
            yield f"{dataset}_{model}_{scenario}_seed{seed}_defences", defences(rows)


def file_name(results: pd.DataFrame, figure: str) -> str:
    """Return a figure's file name without ending, by the one setting of the rows it shows."""
    return "_".join([*only_setting(results, "to draw").split(", "), figure])
