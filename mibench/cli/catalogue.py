"""Commands that list what there is."""

from __future__ import annotations

import json

import click

from mibench import scenarios
from mibench.cli.base import main


@main.command("scenarios")
@click.option("--dataset", required=True, help="Any dataset's name, such as CIFAR100.")
@click.option("--rq", help="Only the published panel of RQ1, RQ2, RQ3 or RQ4.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
def list_scenarios(dataset: str, rq: str | None, as_json: bool) -> None:
    """List a dataset's 84 scenarios, or one research question's panel."""
    dataset = _scenario_dataset(dataset)
    chosen = scenarios.panel(dataset, rq) if rq else scenarios.catalogue(dataset)
    if as_json:
        click.echo(json.dumps([s.to_dict() for s in chosen], indent=1))
        return
    for scenario in chosen:
        click.echo(f"{scenario.id:6} {scenario.label}")


def _scenario_dataset(name: str) -> str:
    for known in scenarios.PUBLISHED:
        if known.lower() == name.lower():
            return known
    from mibench import datasets

    return datasets.check_name(name)


@main.command("attacks")
@click.option("--references", default=16, show_default=True, help="Number of reference models.")
def list_attacks(references: int) -> None:
    """List every attack: its source, what it needs, what it costs.

    Queries are those to the target for each attacked sample, beside those that a need of its own
    takes; models are those trained beside the target.
    """
    from mibench import attacks, costs

    rows = [("name", "queries", "models", "needs", "source")]
    for kind in attacks.REGISTRY.values():
        cost = str(costs.queries(kind)), str(costs.models(kind, references))
        needs = ", ".join(sorted(kind.needs)) or "nothing"
        rows.append((kind.name, *cost, needs, kind.source))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[4]]))
    click.echo()
    for need, meaning in attacks.NEEDS.items():
        click.echo(f"{need:11} {meaning}")
