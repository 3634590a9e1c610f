"""Commands that read results: which attack to use, where papers' rankings conflict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mibench.apps.cli.base import (
    dataset_option,
    echo_table,
    echo_wrapped,
    main,
    results_option,
)
from mibench.look import many

# Needs that cost the auditor something; inputs made up by himself he always has.
OWNED = {
    "shadow": "You can train a shadow model: you have samples from the target's distribution.",
    "references": "You can train reference models on the samples to be attacked.",
    "distilled": "You can distil models from the target.",
    "trajectory": "You can distil models from target and shadow, and stop on the way.",
    "auxiliary": "You have labelled samples that are known nonmembers.",
}

metric_option = click.option(
    "--metric", default="ma", help="Metric computed on answered samples, such as ma or precision."
)
correction_option = click.option(
    "--correction",
    type=click.Choice(["holm", "bh"]),
    default="holm",
    help="Multiple-testing correction: no false one among all, or few among those found.",
)


def _owned_options(command: Any) -> Any:
    for name, meaning in reversed(OWNED.items()):
        command = click.option(f"--{name}", is_flag=True, help=meaning)(command)
    return command


@main.command("advise")
@_owned_options
@click.option("--labels-only", is_flag=True, help="The target answers with labels, not posteriors.")
@click.option("--queries", type=int, help="Most queries to the target for each attacked sample.")
@results_option
@dataset_option
@metric_option
@correction_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
def advise_attack(
    labels_only: bool,
    queries: int | None,
    folder: Path,
    dataset: str | None,
    metric: str,
    correction: str,
    as_json: bool,
    **owned: bool,
) -> None:
    """Tell which attack to use, given what you have.

    By the results at hand.
    An attack is beaten in a scenario where another that you can run is significantly better on
    the same samples, after multiple-testing correction.
    """
    from mibench import attacks
    from mibench.compare import advice
    from mibench.study import results

    given = [need for need in attacks.NEEDS if need not in OWNED or owned[need]]
    names = advice.allowed(given, labels_only, queries)
    table = advice.advise(
        *results.load(folder, dataset), given, labels_only, queries, metric, correction
    )
    if as_json:
        click.echo(results.to_json(table))
        return
    click.echo(f"{len(names)} of {len(attacks.ATTACKS)} attacks run on what you have")
    if absent := sorted(set(names) - set(table["attack"])):
        echo_wrapped(f"without results: {', '.join(absent)}")
    echo_wrapped(advice.sentence(table))
    click.echo()
    shown = [("attack", "beaten in", f"mean {metric}", "worst", "queries", "most often by")]
    for row in table.to_dict("records"):
        beaten, by = f"{row['beaten']} of {row['scenarios']}", (row["beaten_by"] or ["nobody"])[0]
        values = f"{row['mean']:z.3f}", f"{row['worst']:z.3f}", f"{row['queries']}"
        shown.append((row["title"], beaten, *values, by))
    echo_table(shown, "<>>>>")


@main.command("conflicts")
@results_option
@click.option("--dataset", required=True, help="The dataset's name.")
@click.option("--count", default=10, help="How many to tell of each type.")
@metric_option
@correction_option
@click.option("--json", "as_json", is_flag=True, help="Print all of them as a JSON list.")
def list_conflicts(
    folder: Path, dataset: str, count: int, metric: str, correction: str, as_json: bool
) -> None:
    """Tell which factor causes the order of two attacks to flip.

    And in which scenarios. Both differences are significant after multiple-testing correction.
    Type 1: the scenarios differ in one factor; type 2: in two.
    """
    from mibench.compare import conflicts
    from mibench.study import results

    _, answers = results.load(folder, dataset)
    compared = conflicts.differences(answers, metric)
    judged = conflicts.significant(compared, correction)
    found = conflicts.find(judged, correction)
    if as_json:
        click.echo(results.to_json(found))
        return
    among = many(compared["scenario"].nunique(), "scenario")
    click.echo(f"{many(len(found), 'conflict')} among {among}")
    echo_wrapped(conflicts.power_sentence(judged, metric))
    for row in conflicts.counts(found).reset_index().to_dict("records"):
        click.echo(f"  type {row['type']}  {row['factor']:44}{row['conflicts']:7}")
    for kind in (1, 2):
        for conflict in conflicts.strongest(found, count, kind).to_dict("records"):
            click.echo()
            echo_wrapped(conflicts.sentence(conflict, metric))
