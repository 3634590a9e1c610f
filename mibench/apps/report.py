"""One self-contained HTML page of results.

A template of our own: nbconvert's smallest page is 277 kB with scripts that load others from afar.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from mibench import attacks, figures
from mibench.compare import advice, conflicts, overview
from mibench.compare.overview import SHOWN
from mibench.errors import MIBenchError
from mibench.figures.rows import by_setting, pivot, titles
from mibench.figures.style import as_bytes
from mibench.look import many
from mibench.store import replacing
from mibench.study import results as tables
from mibench.study.metrics import METRICS

_ALONE = frozenset(attacks.NEEDS) - {"shadow", "references", "distilled", "trajectory"}
# What an auditor has: in words, the needs that it meets, whether the target gives labels only.
_AUDITORS = (
    ("shadow, reference and distilled models", frozenset(attacks.NEEDS), False),
    ("a shadow model", _ALONE | {"shadow"}, False),
    ("no model of one's own", _ALONE, False),
    ("labels in place of posteriors", frozenset(attacks.NEEDS), True),
)


@dataclass(frozen=True)
class Table:
    """A table's texts; a folded one is opened by a click."""

    caption: str
    head: list[str]
    rows: list[list[str]]
    folded: bool = False


@dataclass(frozen=True)
class Image:
    """A figure as base64 of its SVG, with its words."""

    data: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Image, ...] = ()


def write(
    results: pd.DataFrame, answers: pd.DataFrame, pools: pd.DataFrame, path: str | Path
) -> None:
    """Write the page of results: lead tables, then each setting's figures and tables.

    It loads nothing from elsewhere, and equal results make equal pages.

    Parameters
    ----------
    results, answers : DataFrame
        Of :func:`mibench.study.results.load`, of any datasets, models and seeds.
    pools : DataFrame
        Of :func:`mibench.study.results.load_all`.
    path : path

    Raises
    ------
    MIBenchError
        If the page cannot be written.
    """
    sections = _sections(results, answers, pools)
    title = "MIBench: results of membership inference attacks"
    render(Path(path), "report.html.jinja", title=title, sections=sections)


def render(path: Path, template: str, **values: Any) -> None:
    """Write a page by a template of this folder, or raise MIBenchError where it cannot be."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mibench", "apps"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template(template).render(values)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise MIBenchError(f"{path} cannot be written: {error.strerror}") from None


def _sections(results: pd.DataFrame, answers: pd.DataFrame, pools: pd.DataFrame) -> list[Section]:
    """Return the page's parts, in order."""
    settings = list(by_setting(results))
    leads = [(name, _lead(rows, name)) for name, rows in settings if _has_values(rows)]
    answers_first = [
        f"On {name}, {best} ranks best by MA: its mean rank is {rank}, and it leads in "
        f"{many(int(led), 'scenario')}."
        for name, table in leads
        for best, rank, led in (table.rows[0][:3],)
    ]
    bad = int((results["status"] != "ok").sum())
    intro = (
        f"{many(results['attack'].nunique(), 'attack')} on "
        f"{many(len(settings), 'combination')} of dataset, model and defence; "
        f"{len(results) - bad} results of an attack in a scenario"
        f"{f', {bad} without values (their scenarios cannot be reached)' if bad else ''}."
    )
    lead = Section(
        "Which attack leads?",
        (" ".join(answers_first), *_trust(results), intro),
        tuple(table for _, table in leads),
    )
    use = [_advised(results, answers)] if len(answers) else []
    parts = [
        _setting(name, rows, tables.of_setting(answers, rows) if len(answers) else answers)
        for name, rows in settings
    ]
    further = {"Whole pools": figures.of_pools(pools), "Defences": figures.defended(results)}
    drawn = [Section(head, pictures=tuple(images(made))) for head, made in further.items()]
    drawn = [section for section in drawn if section.pictures]
    return [lead, *use, *parts, *drawn, made_with(results)]


def _trust(results: pd.DataFrame) -> Iterator[str]:
    """Yield what the number of trained models allows to be said."""
    if results["seed"].nunique() == 1:
        yield f"One seed: what is said here is {conflicts.of_models([1])}; another can turn it."
    for row in conflicts.unstable(results).to_dict("records"):
        reason = f": {row['reason']}" if row["reason"] else ""
        yield (
            f"{row['title']} ({row['dataset']}) depends on the trained model: the variance of its "
            f"MA between seeds is {row['ratio']:.1f} times the sampling variance{reason}."
        )


def _advised(results: pd.DataFrame, answers: pd.DataFrame) -> Section:
    """Return what the results advise an auditor who has much or little."""
    body = []
    for has, needs, labels_only in _AUDITORS:
        try:
            advised = advice.sentence(advice.advise(results, answers, needs, labels_only))
        except MIBenchError:  # none of the attacks that were run is possible with that
            advised = "None of the attacks that were run."
        body.append([has, advised])
    caption = (
        "By MA. An attack is beaten in a scenario where another possible one is significantly "
        "better on the same samples (paired test, corrected by Holm for all comparisons). "
        "mibench advise answers for other means and limits of queries."
    )
    return Section("Which attack should I use?", (), (Table(caption, ["you have", "use"], body),))


def _lead(rows: pd.DataFrame, name: str) -> Table:
    """Return the attacks of a setting, the best first."""
    costs = figures.costed(rows).rename(index=titles(rows))[["models", "queries"]].astype(str)
    ma = pivot(rows, "ma").rename(columns=titles(rows))
    rank = ma.round(9).rank(axis=1, ascending=False).mean()
    leads = np.isclose(ma, np.nanmax(ma, axis=1, keepdims=True), atol=1e-9).sum(axis=0)
    places = pd.DataFrame({"mean rank": rank.map("{:.1f}".format), "leads in": leads.astype(str)})
    table = overview.overview(rows)
    said = overview.in_words(table, 3).set_index("attack")
    said = said[[METRICS[metric].label for metric in SHOWN]].join([places, costs]).fillna("")
    said = said.loc[rank.dropna().sort_values(kind="stable").index].reset_index()
    caption = (
        f"{name}: means over {len(ma)} scenario{'s' if len(ma) > 1 else ''}; rank and lead by MA, "
        "ties share both. models: extra models trained; queries: target queries per attacked "
        f"sample. {' '.join(overview.gaps(table))}"
    )
    return as_table(caption, said[["attack", *places, *said.columns[1:-4], *costs]])


def _setting(name: str, rows: pd.DataFrame, answers: pd.DataFrame) -> Section:
    pictures = images(figures.all_figures(rows, answers))
    return Section(name, (), tuple(_tables(name, rows)), tuple(pictures))


def _tables(name: str, rows: pd.DataFrame) -> Iterator[Table]:
    bad = rows.loc[rows["status"] != "ok", ["scenario", "status", "error"]].drop_duplicates()
    if len(bad):
        yield as_table(f"{name}: scenarios without values, and why", bad)
    if not _has_values(rows):
        return
    measured = tables.factors(rows[rows["status"] == "ok"]).reset_index()
    measured = measured.drop(columns=["status", "error"])
    yield as_table(
        f"{name}: scenarios as named, as wanted from this pool, and as measured",
        measured,
        folded=True,
    )
    for metric in SHOWN:
        values = pivot(rows, metric)
        values.columns = [titles(rows)[str(c)] for c in values.columns]
        caption = f"{name}: {METRICS[metric].label} of every attack in every scenario"
        yield as_table(caption, values.reset_index(), folded=True)


def images(drawn: Iterable[tuple[str, figures.Picture]]) -> Iterator[Image]:
    """Yield figures as they stand in a page."""
    for _, figure in drawn:
        data = base64.b64encode(as_bytes(figure, "svg", metadata={"Date": None})).decode()
        plt.close(figure)
        yield Image(data, figure.caption, figure.alt)


def made_with(results: pd.DataFrame) -> Section:
    """Return each setting's parameters and versions, which no scenario or attack changes."""
    known = {*tables.identity(results), "data_sha256"} - {"dataset", "scenario", "attack"}
    columns = [
        c for c in map(str, results.columns) if c in known or c.endswith(("_version", "_commit"))
    ]
    settings = dict(by_setting(results))
    body = [
        [
            c,
            *(", ".join(map(str, rows[c].astype(object).unique())) for rows in settings.values()),
        ]
        for c in columns
    ]
    caption = "What made these results; several values where rows differ"
    return Section("Parameters and versions", (), (Table(caption, ["name", *settings], body),))


def as_table(caption: str, frame: pd.DataFrame, folded: bool = False) -> Table:
    """Return a frame's rows as texts."""
    body = [[_number(v) for v in row] for row in frame.itertuples(index=False)]
    return Table(caption, [str(c).replace("_", " ") for c in frame.columns], body, folded)


def _number(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:z.3f}"
    return str(value)


def _has_values(rows: pd.DataFrame) -> bool:
    return bool((rows["status"] == "ok").any())
