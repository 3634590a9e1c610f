"""An audit as one HTML page, which can be mailed: its first sentence is the answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mibench import figures
from mibench.apps.report import Section, Table, as_table, images, render
from mibench.look import many
from mibench.study.audit import AuditReport

# Rows that are read at a glance; a longer table is folded, of samples no more are shown.
_FEW = 20


def write(report: AuditReport, path: str | Path) -> None:
    """Write the page of an audit.

    Raises
    ------
    MIBenchError
        If the page cannot be written.
    """
    title = "MIBench: audit of a model"
    render(Path(path), "report.html.jinja", title=title, sections=list(_sections(report)))


def _sections(report: AuditReport) -> Iterator[Section]:
    above, below = report.said
    shown = report.short.rename_axis("attack").reset_index()
    caption = (
        "MA, AUC and TPR at 1% FPR of every attack; epsilon is a lower bound by one run at a delta "
        "of 1e-5, with 95% confidence of all attacks at once."
    )
    yield Section("What an attacker finds", tuple(above), (as_table(caption, shown),))
    if report.attacked:
        best = report.ranked[0]
        drawn = {"roc": figures.roc(report.attacked), "scores": figures.scores(best)}
        yield Section("How surely", pictures=tuple(images(drawn.items())))
        yield Section("Who is found", tables=tuple(_found(report)))
    described = pd.DataFrame(report.described.items(), columns=["name", "value"])
    made = as_table("What made this audit.", described, folded=True)
    yield Section("What was done", tuple(below), (made,))


def _found(report: AuditReport) -> Iterator[Table]:
    title = report.ranked[0].attack.full_title
    classes = report.slices().rename(columns={"slice": "class"})
    caption = (
        f"Classes under {title}: share of members found, and of nonmembers called members, at the "
        "threshold of 1% false alarms among all; AUC within the class; 95% intervals."
    )
    yield as_table(caption, classes, folded=len(classes) > _FEW)
    risk = report.risk[report.risk["is_member"]].drop(columns=["is_member", "score"])
    most = risk.sort_values(["false_alarms", "found_by"], ascending=[True, False], kind="stable")
    caption = (
        f"The {min(_FEW, len(most))} members most at risk, counted from 0 in the order given: the "
        f"false alarms at which {title} finds each, and by how many of "
        f"{many(len(report.attacked), 'attack')} it is found at 1%."
    )
    yield as_table(caption, most.head(_FEW))
