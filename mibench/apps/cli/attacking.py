"""Commands that run attacks: on one scenario, on outputs of a model trained elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mibench.apps.cli.base import ATTACKS_HELP, PATH, main
from mibench.apps.cli.settings import place_options, setting_options
from mibench.setting import Place, Setting


@main.command("attack")
@click.argument("attack", metavar="ATTACK")
@click.option("--scenario", default="ES01", help="A scenario's id or label.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
@setting_options
@place_options("data_dir", "cache_dir", "plugins")
def attack_scenario(
    attack: str, scenario: str, as_json: bool, setting: Setting, place: Place
) -> None:
    """Run ATTACK on one scenario.

    ATTACK is "all", a name such as loss_threshold, or a name with parameters such as
    'rmia[gamma=1]'. What has to be trained first is trained, with progress, and kept for the next
    time.
    """
    from mibench.attacks import ATTACKS, parse
    from mibench.study import results
    from mibench.study.study import Study

    asked = parse(attack)
    study = Study(setting, place)
    chosen = study.scenario(scenario)
    study.construct(chosen)
    table, _ = study.run([chosen], asked)
    if as_json:
        click.echo(results.to_json(table))
        return
    click.echo(f"{chosen.id}  {chosen.label}  ({len(asked)} of {len(ATTACKS)} attacks)")
    made = study.setting
    click.echo(
        f"{made.model}, defence {made.defence}, seed {made.seed}; construction "
        f"{made.construction}, levels {made.levels}, withholding {made.withholding}"
    )
    for title, found in results.metrics_table(table).iterrows():
        click.echo(f"\n{title}\n{found.to_string()}")


@main.command("audit")
@click.argument("file", type=PATH)
@click.option(
    "--probs",
    metavar="NAME",
    help="Another array of the target's outputs, such as target_probs_memguard.",
)
@click.option("--attacks", default="all", help=ATTACKS_HELP)
@click.option("--seed", default=0, help="Seed of everything random.")
@click.option("--out", type=PATH, help="Write .parquet or .json as well.")
@click.option("--html", type=PATH, help="Write a page with figures as well.")
@place_options("plugins")
def audit_outputs(
    file: Path,
    probs: str | None,
    attacks: str,
    seed: int,
    out: Path | None,
    html: Path | None,
    place: Place,
) -> None:
    """Attack a model trained elsewhere, from its outputs in FILE.

    FILE holds target_probs or target_logits (n, C), target_labels (n,) and target_is_member (n,),
    which is used for scoring only. Outputs of shadow, reference and distilled models, on auxiliary
    samples, on generated and random inputs and on copies allow further attacks: docs/attacks.md
    lists their names. Every possible attack is run, or of those asked for; the others are named
    with what they lack, and so is every array that was not read.
    """
    from mibench.study.audit import audit_file, check_out

    if out is not None:
        check_out(out, ".json", ".parquet")
    if html is not None:
        check_out(html, ".html")
    report = audit_file(file, probs, seed, attacks)
    click.echo(str(report))
    if out is not None:
        report.save(out)
        click.echo(f"written to {out}")
    if html is not None:
        from mibench.apps import audit_page

        audit_page.write(report, html)
        click.echo(f"written to {html}")
    if not report.attacked:
        sys.exit(2)
