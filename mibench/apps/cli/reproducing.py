"""The command that makes the published target datasets again."""

from __future__ import annotations

from pathlib import Path

import click

from mibench.apps.cli.base import PATH, echo_table, echo_wrapped, main
from mibench.look import many


@main.command("reproduce")
@click.argument("file", type=PATH)
@click.option("--dataset", required=True, help="Location30, Purchase100 or Texas100.")
@click.option("--json", "as_json", is_flag=True, help="Print groups and results as JSON.")
def reproduce_published(file: Path, dataset: str, as_json: bool) -> None:
    """Make the published target datasets again from FILE (.npz).

    Compares its groups and its 84 target datasets with the published benchmark's.
    FILE holds the outputs of the published target model as `mibench audit` takes them, in the
    order of the pool (docs/published.md says where from).
    """
    from mibench.compare.reproduction import reproduce

    made = reproduce(file, dataset)
    if as_json:
        click.echo(made.to_json())
        return
    distance, differential = made.largest_difference
    click.echo(
        f"{len(made.groups)} groups of {made.dataset}, largest difference from the published:\n"
        f"  distance {distance:.1e}, differential distance {differential:.1e}\n\n"
        f"Mean of {many(made.results['scenario'].nunique(), 'scenario')}, and the published\n"
        "results as printed and counted right:\n"
    )
    columns = ["recall", "fpr", "ma", "auc", "printed", "counted"]
    table = made.overview.reset_index("title").set_index("title")[columns]
    numbers = table.map("{:z.3f}".format).replace("nan", "-")
    head = ("attack", "recall", "FPR", "MA", "AUC", "MA, printed", "counted")
    echo_table([head, *numbers.itertuples()], "<>>>>>")
    click.echo()
    echo_wrapped(f"left out: {', '.join(made.left_out)}", err=True)
