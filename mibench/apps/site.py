"""A leaderboard of all results as a page: attacks by scenario and by what the attacker has.

It shares the report's template; a script in the page sorts and filters, so that nothing is loaded.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from mibench import scenarios
from mibench.apps.cli.advice import OWNED
from mibench.apps.cli.settings import arguments
from mibench.apps.report import made_with, render
from mibench.attacks import costs, kind_of
from mibench.compare import published
from mibench.compare.overview import SHOWN, gaps, overview
from mibench.data.base import DATASETS
from mibench.figures.rows import by_setting, titles
from mibench.models import MODELS
from mibench.setting import Setting
from mibench.study.metrics import METRICS
from mibench.training.recipe import DEFENCES, Recipe, recipe

ALL = "all scenarios"


def write(results: pd.DataFrame, folder: str | Path) -> Path:
    """Write the site of results, of any datasets, models, seeds and constructions.

    Parameters
    ----------
    results : DataFrame
        Of :func:`mibench.study.results.load`.
    folder : path

    Returns
    -------
    Path
        The page, ``index.html`` in the folder.

    Raises
    ------
    MIBenchError
        If the page cannot be written.
    """
    page = Path(folder) / "index.html"
    theirs = published.theirs()
    settings = [
        _setting(name, rows, theirs[theirs["dataset"] == rows["dataset"].iloc[0]])
        for name, rows in by_setting(results)
        if (rows["status"] == "ok").any()
    ]
    published_too = ("published MA", "published AUC", "queries", "needs", "source")
    board = {
        "settings": settings,
        "attacks": _attacks(results),
    }
    render(
        page,
        "site.html.jinja",
        title="MIBench: leaderboard of membership inference attacks",
        # No text can end the script that holds it.
        board=json.dumps(board).replace("<", "\\u003c"),
        columns=["attack", *(METRICS[metric].label for metric in SHOWN), *published_too],
        owned=OWNED,
        sections=[made_with(results)],
    )
    return page


def _attacks(results: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return what each attack needs and costs, by its label."""
    found: dict[str, dict[str, Any]] = {}
    for label, title in titles(results).items():
        found[label] = {"title": title, "needs": [], "source": ""}
        if (kind := kind_of(label)) is not None:
            found[label] |= {
                "needs": sorted(kind.needs & OWNED.keys()),
                "labels_only": kind.labels_only,
                "queries": costs.queries(kind),
                "source": kind.source,
            }
    return found


def _setting(name: str, rows: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, Any]:
    """Return a setting's numbers by scenario and attack, and what makes them again."""
    ok = rows[rows["status"] == "ok"]
    label = {title: attack for attack, title in titles(rows).items()}
    named = dict(zip(ok["scenario"], ok["label"], strict=True))
    scores = pd.concat([overview(ok).assign(scenario=ALL), overview(ok, by_scenario=True)])
    theirs = theirs[theirs["scenario"].isin(named)]
    by = theirs.groupby(["attack", "metric"])["theirs"]
    # A mean is beside ours only where it is over the same scenarios.
    means = by.mean()[by.size() == len(named)].reset_index().assign(scenario=ALL)
    said = pd.concat([means, theirs])
    columns = [c for c in map(str, ok.columns) if c.endswith("_version") or c == "data_sha256"]
    codes = ok.groupby("attack")["code"].unique().to_dict() if "code" in ok else {}
    return {
        "name": name,
        "seeds": sorted({int(seed) for seed in rows["seed"]}),
        "command": _command(rows.iloc[0].to_dict()),
        "made": {c: ", ".join(sorted({*ok[c].astype(str)})) for c in columns},
        "code": {attack: ", ".join(sorted(of)) for attack, of in codes.items()},
        "scenarios": {
            str(at): {
                "label": named.get(at, ALL),
                "gaps": " ".join(gaps(part)),
                "scores": {
                    label[row["title"]]: [
                        [_rounded(row[f"{metric}{end}"]) for end in ("", "_low", "_high")]
                        for metric in SHOWN
                    ]
                    for row in part.to_dict("records")
                },
                "published": _by_attack(said[said["scenario"] == at]),
            }
            for at, part in scores.groupby("scenario", sort=False)
        },
    }


def _by_attack(theirs: pd.DataFrame) -> dict[Any, dict[Any, float | None]]:
    """Return the published values of one scenario by attack and metric."""
    found: dict[Any, dict[Any, float | None]] = {}
    for row in theirs.to_dict("records"):
        found.setdefault(row["attack"], {})[row["metric"]] = _rounded(row["theirs"])
    return found


def _command(row: dict[Any, Any]) -> str:
    """Return the command that makes rows alike, with ATTACK, SCENARIO and SEED to be filled."""
    default = Setting()
    stated = {f: row[f] for f in Setting.model_fields if f in row and f not in ("seed", "device")}
    given = {f: value for f, value in stated.items() if value != getattr(default, f)}
    # A model of a plugin that is not loaded has no recipe to differ from.
    known = row["model"] in MODELS and row["defence"] in DEFENCES
    own = recipe(row["model"], int(row["epochs"]), None, row["defence"]) if known else None
    changes = {
        f.name: row[f"train_{f.name}"]
        for f in fields(Recipe)
        if f"train_{f.name}" in row
        and f.name not in ("model", "epochs")
        and pd.notna(row[f"train_{f.name}"])
        and row[f"train_{f.name}"] != getattr(own, f.name, None)
    }
    data = DATASETS.get(scenarios.spelled(str(row["dataset"])))
    usual = asdict(data.sizes) if data else {}
    sizes = {r: int(row[f"size_{r}"]) for r in usual if row.get(f"size_{r}", usual[r]) != usual[r]}
    further = {name: value for name, value in (("recipe", changes), ("sizes", sizes)) if value}
    said = shlex.join(arguments(given | further))
    return f"mibench attack ATTACK --scenario SCENARIO --seed SEED {said}".rstrip()


def _rounded(value: float) -> float | None:
    return None if value != value else round(float(value), 4)
