"""Every figure that results can fill, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from mibench import results as tables
from mibench.figures.cost import accuracy_against_cost
from mibench.figures.panels import six_panels
from mibench.figures.ranking import critical_difference, heat_map
from mibench.figures.rows import by_setting
from mibench.figures.style import Picture
from mibench.scenarios import RESEARCH_QUESTIONS


def published(results: pd.DataFrame, columns: int = 1) -> Iterator[tuple[str, Picture]]:
    """Yield the six panels of every research question of which two scenarios have values, named.

    One after the other for each dataset, model and defence; the name is good for a file.
    """
    for setting, rows in by_setting(results):
        for question in RESEARCH_QUESTIONS:
            panel = tables.panel(rows, str(rows["dataset"].iloc[0]), question)
            if panel.loc[panel["status"] == "ok", "scenario"].nunique() > 1:
                yield _name(setting, question), six_panels(panel, question, columns)


def album(results: pd.DataFrame, columns: int = 1) -> Iterator[tuple[str, Picture]]:
    """Yield the panels of :func:`published`, then ranking and cost of each setting, named.

    The ranking needs two scenarios and three attacks, the heat map two scenarios.
    """
    yield from published(results, columns)
    for setting, rows in by_setting(results):
        ok = rows[rows["status"] == "ok"]
        if ok.empty:
            continue
        if ok["scenario"].nunique() > 1:
            yield _name(setting, "heat_map_ma"), heat_map(rows, columns=columns)
            if ok["attack"].nunique() > 2:
                yield _name(setting, "ranking_ma"), critical_difference(rows, columns=columns)
        yield _name(setting, "cost"), accuracy_against_cost(rows, columns)


def _name(setting: str, figure: str) -> str:
    return "_".join([*setting.split(", "), figure])
