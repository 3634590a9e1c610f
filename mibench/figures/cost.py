"""What an attack finds against what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mibench.attacks import costs, kind_of
from mibench.compare.overview import SHOWN, gaps, overview
from mibench.figures import rows
from mibench.figures.style import Picture, attack_style, begin, drawn, list_down, picture
from mibench.look import PLAIN, Look, many
from mibench.study.metrics import METRICS


@drawn
def accuracy_against_cost(results: pd.DataFrame, *, look: Look = PLAIN) -> Picture:
    """Draw MA, AUC and TPR at 1% FPR of attacks grouped by trained models and queries.

    Parameters
    ----------
    results : DataFrame
        Rows of one dataset, model and defence, of any number of scenarios.
    look : Look

    Raises
    ------
    MIBenchError
        If there are no rows, or rows of more than one setting.
    """
    setting = rows.only_setting(results, "to draw")
    table, title = costed(results), rows.titles(results)
    shown = [metric for metric in SHOWN if table[metric].notna().any()]
    bands = table.groupby(["models", "queries"])
    # A line for the name of each band above its attacks.
    names: list[str] = []
    for band, own in bands:
        names += [_band(band), *map(str, own.index)]
    figure, grid = picture(look, 1.6 + 0.135 * len(names), 1, len(shown), sharey=True)
    for axes, metric in zip(np.atleast_1d(grid), shown, strict=True):
        values = rows.pivot(results, metric)
        for name in map(str, table.index):
            place, found, look_of = names.index(name), values[name].dropna(), attack_style(name)
            axes.plot([found.min(), found.max()], [place, place], color=look_of.colour, lw=0.7)
            axes.plot(found.mean(), place, **look_of.mark, ms=3.5)
            if table.loc[name, f"unbeaten_{metric}"]:
                axes.plot(found.mean(), place, "o", color="black", mfc="none", mew=0.6, ms=7)
        axes.margins(x=0.1)
        begin(axes, "x", metric)
        axes.locator_params(axis="x", nbins=look.columns + 1, min_n_ticks=1)
        axes.set_xlabel(METRICS[metric].label.replace(" at ", "\nat "))
    list_down(figure.axes[0], [title.get(name, name) for name in names])
    for label, name in zip(figure.axes[0].get_yticklabels(), names, strict=True):
        label.set_fontweight("normal" if name in table.index else "bold")
    figure.head(f"{setting}\nwhat attacks find and what they cost")
    figure.explain_colours(table.index)
    count = results.loc[results["status"] == "ok", "scenario"].nunique()
    figure.caption = (
        f"{', '.join(METRICS[m].label for m in shown)} of {many(len(table), 'attack')} on "
        f"{setting}, in groups of what they cost beside the target: trained models, and queries "
        "to the target for each attacked sample. "
        + (
            f"Marks are means over {count} scenarios, bars reach from the lowest to the highest "
            f"scenario; the scenarios share {rows.shared_models(results)}, so bars are no "
            "confidence intervals."
            if count > 1
            else "Marks are values in one scenario."
        )
        + " A ring marks attacks whose mean no attack of at most the same cost exceeds. "
        f"{rows.counted(results)}.{rows.unreachable(results)} {' '.join(gaps(overview(results)))}"
    ).rstrip()
    figure.alt = "Highest mean MA: " + "; ".join(
        f"{_band(band)}: {ma.max():z.2f} ({title[str(ma.idxmax())]})" for band, ma in bands["ma"]
    )
    return figure


def costed(results: pd.DataFrame) -> pd.DataFrame:
    """Return each attack's cost and mean metrics, cheapest first, then by mean AUC.

    `models` and `queries` are those of :mod:`mibench.attacks.costs`; `unbeaten_<metric>` says
    whether no attack that costs at most as much has a higher mean. Attacks that are no longer
    registered have no known cost and are left out.
    """
    counts = {role: int(results[role].max()) for role in ("shadows", "references", "distilled")}
    kinds = {name: kind for name in rows.titles(results) if (kind := kind_of(name)) is not None}
    table = pd.DataFrame(index=pd.Index(kinds, name="attack"))
    table["models"] = [costs.models(kind, counts) for kind in kinds.values()]
    table["queries"] = [costs.queries(kind) for kind in kinds.values()]
    for metric in SHOWN:
        table[metric] = rows.pivot(results, metric)[[*kinds]].mean()
    # MA and AUC every sample allows; a rate at a low FPR takes more nonmembers than some have.
    table = table.dropna(subset=["ma", "auc"])
    table = table.sort_values(
        ["models", "queries", "auc"], ascending=[True, True, False], kind="stable"
    )
    for metric in SHOWN:
        table[f"unbeaten_{metric}"] = [
            not ((table["models"] <= m) & (table["queries"] <= q) & (table[metric] > v)).any()
            for m, q, v in zip(table["models"], table["queries"], table[metric], strict=True)
        ]
    return table


def _band(cost: tuple[Any, ...]) -> str:
    models, queries = cost
    return f"{many(models, 'model')}, {many(queries, 'query', 'queries')}"
