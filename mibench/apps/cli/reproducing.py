"""The command that makes the published target datasets again."""

from __future__ import annotations

from pathlib import Path

import click

from mibench.apps.cli.base import main


@main.command("reproduce")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dataset", required=True, help="Location30, Purchase100 or Texas100.")
@click.option("--json", "as_json", is_flag=True, help="Print groups and results as JSON.")
def reproduce_published(file: Path, dataset: str, as_json: bool) -> None:
    """Compare FILE (.npz) with the published benchmark: its groups, its 84 target datasets.

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
        f"Mean of {made.results['scenario'].nunique()} scenarios, and the published results\n"
        "as printed and counted right:\n\n"
        f"{'attack':26}{'recall':>8}{'FPR':>8}{'MA':>8}{'AUC':>8}{'MA, printed':>13}{'counted':>9}"
    )
    for row in made.overview.reset_index().to_dict("records"):
        known = [f"{row[c]:.3f}" if row[c] == row[c] else "" for c in ("printed", "counted")]
        click.echo(
            f"{row['title']:26}{row['recall']:8.3f}{row['fpr']:8.3f}{row['ma']:8.3f}"
            f"{row['auc']:8.3f}{known[0]:>13}{known[1]:>9}".rstrip()
        )
    click.echo("\n" + click.wrap_text("left out: " + ", ".join(made.left_out), 80), err=True)
