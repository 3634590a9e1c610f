"""Every figure that results can fill, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pandas as pd

from mibench.compare import conflicts
from mibench.compare.effects import effects
from mibench.errors import MIBenchError
from mibench.figures.conflicts import conflict_matrix, ranks, two_views
from mibench.figures.cost import accuracy_against_cost
from mibench.figures.defences import defences
from mibench.figures.effects import effect_table
from mibench.figures.factors import LEVELS, by_factor, four_metrics
from mibench.figures.groups import over_groups
from mibench.figures.panels import six_panels
from mibench.figures.ranking import critical_difference, heat_map
from mibench.figures.rows import by_setting, only_setting
from mibench.figures.style import Picture, chosen
from mibench.look import PLAIN, Look
from mibench.scenarios import RESEARCH_QUESTIONS
from mibench.store import safe
from mibench.study import results as tables
from mibench.study.metrics import OF_ANSWERS, ORDERED


def published(results: pd.DataFrame, *, look: Look = PLAIN) -> Iterator[tuple[str, Picture]]:
    """Yield the six panels of every research question of which two scenarios have values, named.

    One after the other for each setting; the name is good for a file.
    """
    for setting, rows in by_setting(chosen(results, look)):
        for question in RESEARCH_QUESTIONS:
            panel = tables.panel(rows, str(rows["dataset"].iloc[0]), question)
            if panel.loc[panel["status"] == "ok", "scenario"].nunique() > 1:
                yield _named(setting, question), six_panels(panel, question, look=look)


def all_figures(
    results: pd.DataFrame, answers: pd.DataFrame, *, look: Look = PLAIN
) -> Iterator[tuple[str, Picture]]:
    """Yield the panels of :func:`published` and what else the results fill, named.

    Of each setting the cost and BlindMI-Diff-w's FPR over groups; of two scenarios also heat map,
    effects, four metrics and :data:`LEVELS`; of two attacks in them their ranks and conflicts, of
    three their ranking. Then :func:`defended`.
    """
    if (metric := look.metric) not in ORDERED:
        raise MIBenchError(f"no figures of metric {metric!r}; use one of {', '.join(ORDERED)}")
    results = chosen(results, look)
    if len(answers):
        answers = answers[answers["attack"].isin(results["attack"])]
    yield from published(results, look=look)
    for setting, rows in by_setting(results):
        ok = rows[rows["status"] == "ok"]
        if ok.empty:
            continue
        if ok["scenario"].nunique() > 1:
            yield _named(setting, f"heat_map_{metric}"), heat_map(rows, look=look)
            if ok["attack"].nunique() > 2:
                yield _named(setting, f"ranking_{metric}"), critical_difference(rows, look=look)
            with suppress(MIBenchError):  # no more scenarios than the factors' levels explain
                moved = effects(rows, metric)
                yield _named(setting, f"effects_{metric}"), effect_table(moved, rows, look=look)
            yield _named(setting, "four_metrics"), four_metrics(rows, look=look)
            for of, factor in LEVELS:
                with suppress(MIBenchError):  # no scenarios differ in this factor alone
                    figure = by_factor(rows, of, factor, look=look)
                    yield _named(setting, f"{of}_by_{factor}"), figure
            if ok["attack"].nunique() > 1:
                ranking = conflicts.ranking(rows, metric)
                yield _named(setting, f"ranks_{metric}"), ranks(ranking, rows, look=look)
            answered = tables.of_setting(answers, rows) if len(answers) else answers
            if len(answered) and ok["attack"].nunique() > 1 and metric in OF_ANSWERS:
                judged = conflicts.significant(conflicts.differences(answered, metric))
                if len(found := conflicts.find(judged)):
                    figure = conflict_matrix(found, rows, look=look)
                    yield _named(setting, f"conflicts_{metric}"), figure
        if "part" in answers and {*rows["construction"]} == {"groups"}:
            own = tables.of_setting(answers, rows).query("attack == 'blindmi_diff_w'")
            # Of each seed, as the groups are those of one pool.
            for seed, part in own.groupby("seed"):
                figure = over_groups(part, "blindmi_diff_w", look=look)
                yield _named(setting, f"fpr_groups_seed{seed}"), figure
        yield _named(setting, "cost"), accuracy_against_cost(rows, look=look)
    yield from defended(results, look=look)


def of_pools(results: pd.DataFrame, *, look: Look = PLAIN) -> Iterator[tuple[str, Picture]]:
    """Yield two views of each setting's whole pool that has nonmembers enough, named."""
    if results.empty:
        return
    for setting, rows in by_setting(results):
        with suppress(MIBenchError):
            figure = two_views(chosen(rows, look), look=look)
            yield _named(setting, f"two_views_{look.metric}"), figure


def defended(results: pd.DataFrame, *, look: Look = PLAIN) -> Iterator[tuple[str, Picture]]:
    """Yield the defences' figure of each scenario and seed that was run under several, named."""
    if "defence" not in results:
        return
    for names, rows in results.groupby(["dataset", "model", "scenario", "seed"], sort=False):
        if rows["defence"].nunique() > 1:
            dataset, model, scenario, seed = names
            setting = f"{dataset}, {model}, {scenario}, seed{seed}"
            yield _named(setting, "defences"), defences(rows, look=look)


def file_name(results: pd.DataFrame, figure: str) -> str:
    """Return a figure's file name without ending, by the one setting of the rows it shows."""
    return _named(only_setting(results, "to draw"), figure)


def _named(setting: str, figure: str) -> str:
    return "_".join(safe(part.replace(" ", "-")) for part in [*setting.split(", "), figure])
