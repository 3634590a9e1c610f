"""Commands that draw and report results without Jupyter."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import click

from mibench.apps.cli.base import PATH, dataset_option, echo_wrapped, main, results_option
from mibench.apps.cli.settings import look_options, place_options
from mibench.look import Look, many
from mibench.setting import Place


@main.command("figures")
@results_option
@click.option("--out", default="figures", type=PATH, help="Folder.")
@dataset_option
@look_options
@place_options("plugins")
def draw_figures(folder: Path, out: Path, dataset: str | None, look: Look, place: Place) -> None:
    """Draw every figure that the results fill.

    Each has its caption and alternative text in a text file beside it. Equal results make equal
    files. Groups of attacks are published13, published15, shadow-only (a shadow model is enough)
    and labels-only (the target's labels are).
    """
    import matplotlib.pyplot as plt

    from mibench import figures
    from mibench.store import check_folders
    from mibench.study import results

    check_folders([out])
    plt.switch_backend("agg")
    table, answers, whole = results.load_all(folder, dataset)
    _say_absent(look.attacks, {*table["attack"], *whole["attack"]})
    pools = figures.of_pools(whole, look=look)
    drawn = 0
    for name, figure in chain(figures.all_figures(table, answers, look=look), pools):
        figures.save(figure, out / name)
        plt.close(figure)
        click.echo(name)
        drawn += 1
    click.echo(f"{many(drawn, 'figure')} in {out}")


@main.command("report")
@results_option
@click.option(
    "--out",
    default="report.html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write.",
)
@click.option(
    "--site",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a leaderboard to sort and filter there instead.",
)
@dataset_option
def write_report(folder: Path, out: Path, site: Path | None, dataset: str | None) -> None:
    """Write one HTML page of all results, which can be mailed.

    It needs nothing beside it. Tables, figures with captions and alternative texts, parameters
    and versions. With --site a leaderboard: attacks by scenario and by what the attacker has, the
    published numbers beside ours, and the command that makes each number again.
    """
    import matplotlib.pyplot as plt

    from mibench.apps import report
    from mibench.store import check_folders
    from mibench.study import results

    check_folders([site or out.parent])
    if site is not None:
        from mibench.apps.site import write

        click.echo(f"the site is {write(results.load(folder, dataset)[0], site)}")
        return
    plt.switch_backend("agg")
    report.write(*results.load_all(folder, dataset), out)
    click.echo(f"the report is {out}")


def _say_absent(attacks: str, there: set[str]) -> None:
    """Name the attacks that are asked for and have no results, where others of them have some."""
    from mibench.attacks import parse

    asked = [] if attacks == "all" else parse(attacks)
    absent = [attack.label for attack in asked if attack.label not in there]
    if 0 < len(absent) < len(asked):
        echo_wrapped(f"without results: {', '.join(absent)}", err=True)


_FORMATS = click.Choice(["markdown", "latex", "csv", "json"])


@main.command("table")
@results_option
@dataset_option
@click.option("--attacks", default="all", help="As of mibench figures.")
@click.option("--format", "kind", default="markdown", type=_FORMATS)
@place_options("plugins")
def write_table(folder: Path, dataset: str | None, attacks: str, kind: str, place: Place) -> None:
    """Print MA, AUC and TPR at 1% FPR of every attack.

    The highest MA first.
    Means over the scenarios run; of how many, where it is not all, a line below says. With
    several seeds each has the 95% interval of the mean over the trained models; with one it has
    none.
    """
    from mibench import figures
    from mibench.compare import overview
    from mibench.study import results

    rows = figures.chosen(results.load(folder, dataset)[0], Look(attacks=attacks))
    _say_absent(attacks, {*rows["attack"]})
    table = overview.overview(rows)
    notes = overview.gaps(table)
    if (table["seeds"] == 1).any():
        notes.append("Intervals are over models trained anew; what has one seed has none.")
    if kind == "csv":
        click.echo(table.to_csv(index=False), nl=False)
    elif kind == "json":
        click.echo(results.to_json(table))
    elif kind == "latex":
        click.echo(overview.in_words(table).to_latex(index=False, escape=True), nl=False)
        click.echo("".join(f"% {note}\n" for note in notes), nl=False)
    else:
        said = overview.in_words(table)
        # Pandas needs one more library for it.
        for row in ([*said], ["---"] * len(said.columns), *said.to_numpy()):
            click.echo(f"| {' | '.join(map(str, row))} |")
        for note in notes:
            click.echo()
            echo_wrapped(note)
