"""Commands that list what there is."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from mibench import scenarios
from mibench.apps.cli.base import main
from mibench.apps.cli.settings import place_options, setting_options
from mibench.setting import Place, Setting


@main.command("scenarios")
@click.option(
    "--dataset", required=True, help="Any dataset's name, such as CIFAR100, or path of your own."
)
@click.option("--rq", help="Only the published panel of RQ1, RQ2, RQ3 or RQ4.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
@place_options("data_dir", "plugins")
def list_scenarios(dataset: str, rq: str | None, as_json: bool, place: Place) -> None:
    """List a dataset's 84 scenarios, or one research question's panel."""
    place.load_plugins()
    dataset = _scenario_dataset(dataset, place)
    chosen = scenarios.panel(dataset, rq) if rq else scenarios.catalogue(dataset)
    if as_json:
        click.echo(json.dumps([s.to_dict() for s in chosen], indent=1))
        return
    for scenario in chosen:
        click.echo(f"{scenario.id:6} {scenario.label}")


def _scenario_dataset(name: str, place: Place) -> str:
    if (known := scenarios.spelled(name)) in scenarios.published():
        return known
    from mibench.data.loading import name_of

    return name_of(name, place)


@main.command("datasets")
@click.argument("path", required=False)
@place_options("data_dir", "cache_dir", "plugins")
def list_datasets(path: str | None, place: Place) -> None:
    """List the datasets: samples, shape, classes, split sizes, and where the files are.

    With a PATH, or a dataset's name, say what is made of its files and what is left out.
    """
    from mibench.data.base import DATASETS
    from mibench.data.loading import describe, whereabouts

    place.load_plugins()
    if path:
        click.echo("\n".join(describe(path, place)))
        return
    for name, known in DATASETS.items():
        shapes = " or ".join(map(str, known.shapes))
        roles = ", ".join(f"{role} {count}" for role, count in asdict(known.sizes).items())
        click.echo(f"{name:12}{known.rows} of {shapes}, {known.classes} classes")
        click.echo(f"{'':12}{roles}\n{'':12}{whereabouts(name, place)}")


@main.command("attacks")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
@setting_options
@place_options("plugins")
def list_attacks(as_json: bool, setting: Setting, place: Place) -> None:
    """List every attack: its source, what it needs, what it costs.

    Queries are those to the target for each attacked sample, beside those that a need of its own
    takes; models are those trained beside the target.
    """
    from mibench import attacks
    from mibench.study import costs

    place.load_plugins()

    listed: list[dict[str, Any]] = [
        {
            "name": kind.name,
            "title": kind.title,
            "queries": costs.queries(kind),
            "models": costs.models(kind, setting.model_dump()),
            "needs": sorted(kind.needs),
            "source": kind.source,
        }
        for kind in attacks.parse("all")
    ]
    if as_json:
        click.echo(json.dumps(listed, indent=1))
        return
    columns = ("name", "queries", "models", "needs", "source")
    shown = [item | {"needs": ", ".join(item["needs"]) or "nothing"} for item in listed]
    rows = [columns, *(tuple(str(item[c]) for c in columns) for item in shown)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[4]]))
    click.echo()
    for need, meaning in attacks.NEEDS.items():
        click.echo(f"{need:11} {meaning}")
