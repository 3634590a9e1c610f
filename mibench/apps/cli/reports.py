"""Commands that draw and report results without Jupyter."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import click

from mibench.apps.cli.base import main

results_option = click.option(
    "--results",
    "folder",
    default="executed",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of executed notebooks and their result tables.",
)
dataset_option = click.option("--dataset", help="Only this dataset's (default: all).")


@main.command("figures")
@results_option
@click.option(
    "--out", default="figures", show_default=True, type=click.Path(path_type=Path), help="Folder."
)
@dataset_option
@click.option(
    "--columns",
    default="1",
    show_default=True,
    type=click.Choice(["1", "2"]),
    help="Width of the figures in columns of a printed page.",
)
def draw_figures(folder: Path, out: Path, dataset: str | None, columns: str) -> None:
    """Draw every figure that the results fill, from panels to defences.

    Each is written as PNG, PDF and SVG, with its caption and alternative text in a text file
    beside it. Equal results make equal files.
    """
    import matplotlib.pyplot as plt

    from mibench import figures
    from mibench.study import results

    plt.switch_backend("agg")
    table, answers = results.load(folder, dataset)
    pools = figures.of_pools(results.load_pool(folder, dataset))
    drawn = 0
    for name, figure in chain(figures.all_figures(table, answers, int(columns)), pools):
        figures.save(figure, out / name)
        plt.close(figure)
        click.echo(name)
        drawn += 1
    click.echo(f"{drawn} figures are in {out}")


@main.command("report")
@results_option
@click.option(
    "--out",
    default="report.html",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write.",
)
@dataset_option
def write_report(folder: Path, out: Path, dataset: str | None) -> None:
    """Write one HTML page of all results that needs nothing beside it and can be mailed.

    Tables, figures with captions and alternative texts, parameters and versions.
    """
    import matplotlib.pyplot as plt

    from mibench.apps import report
    from mibench.study import results

    plt.switch_backend("agg")
    report.write(*results.load(folder, dataset), results.load_pool(folder, dataset), out)
    click.echo(f"the report is {out}")
