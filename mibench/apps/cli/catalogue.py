"""Commands that list what there is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from mibench import scenarios
from mibench.apps.cli.base import echo_table, echo_wrapped, main
from mibench.apps.cli.settings import place_options, setting_options
from mibench.data.base import DATASETS
from mibench.setting import Place, Setting


@main.command("scenarios")
@click.option("--rq", help="Only the published panel of RQ1, RQ2, RQ3 or RQ4.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
@click.option(
    "--check", is_flag=True, help="Construct them, and say what a factor moves beside its own."
)
@setting_options
@place_options("data_dir", "cache_dir", "plugins")
def list_scenarios(
    rq: str | None, as_json: bool, check: bool, setting: Setting, place: Place
) -> None:
    """List a dataset's 84 scenarios, or a research question's.

    With --check the target and reference models are trained, where they have not been, and each
    target dataset is described: accuracy and loss of members and of nonmembers, number of classes,
    and whether members are harder than nonmembers for models that saw neither (the AUC of
    difficulty, 0.5 where they are not).
    """
    from mibench.data.loading import name_of

    dataset = name_of(setting.dataset, place)
    chosen = scenarios.panel(dataset, rq) if rq else scenarios.catalogue(dataset)
    if check:
        _check(chosen, setting, place, as_json)
        return
    if as_json:
        click.echo(json.dumps([s.to_dict() for s in chosen], indent=1))
        return
    for scenario in chosen:
        click.echo(f"{scenario.id:6} {scenario.label}")


def _check(
    chosen: Sequence[scenarios.Scenario], setting: Setting, place: Place, as_json: bool
) -> None:
    from mibench.construction.described import warnings
    from mibench.study.study import Study

    rows, infeasible = Study(setting, place).describe(chosen)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(f"{'':6}{'members':>18}{'nonmembers':>18}")
    click.echo(f"{'':6}{2 * '     loss accuracy'}  classes  difficulty AUC")
    for row in rows:
        sides = (
            f"{row[f'{side}_loss']:9.3f}{row[f'{side}_accuracy']:9.3f}"
            for side in ("member", "nonmember")
        )
        click.echo(
            f"{row['id']:6}{''.join(sides)}{row['classes']:9.0f}{row['difficulty_auc']:16.3f}"
        )
    for sentence in infeasible:
        click.echo(f"infeasible: {sentence}")
    for sentence in warnings(rows):
        click.echo(f"warning: {sentence}")


@main.command("datasets")
@click.argument("path", required=False)
@place_options("data_dir", "cache_dir", "plugins")
def list_datasets(path: str | None, place: Place) -> None:
    """List the datasets, their split sizes and where their files are.

    With a PATH, or a dataset's name, say what is made of its files and what is left out.
    """
    from mibench.data import loading

    if path:
        for sentence in loading.describe(path, place):
            echo_wrapped(sentence)
        return
    for name, known in DATASETS.items():
        shapes = " or ".join(map(str, known.shapes))
        roles = ", ".join(f"{role} {count}" for role, count in asdict(known.sizes).items())
        what = f"{known.rows} of {shapes}, {known.classes} classes"
        # The longest address of a file leaves room for one space.
        echo_wrapped(f"{name}: {what}; {roles}; {loading.whereabouts(name, place)}", rest=" ")


@main.command("attacks")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
@setting_options
@place_options("plugins")
def list_attacks(as_json: bool, setting: Setting, place: Place) -> None:
    """List every attack: its source, what it needs, what it costs.

    models: extra models trained; queries: target queries per attacked sample, beside those that a
    need of its own takes.
    """
    from mibench import attacks
    from mibench.attacks import costs

    listed: list[dict[str, Any]] = []
    shown: list[tuple[str, ...]] = [("name", "queries", "models", "needs", "source")]
    for kind in attacks.parse("all"):
        price = {"queries": costs.queries(kind), "models": costs.models(kind, setting.model_dump())}
        about = {"needs": sorted(kind.needs), "source": kind.source}
        listed.append({"name": kind.name, "title": kind.title, **price, **about})
        needs = ", ".join(sorted(kind.needs)) or "nothing"
        shown.append((kind.name, *map(str, price.values()), needs, kind.source))
    if as_json:
        click.echo(json.dumps(listed, indent=1))
        return
    echo_table(shown, "<>><")
    click.echo()
    for need, meaning in attacks.NEEDS.items():
        echo_wrapped(meaning, f"{need:12}", " " * 12)
