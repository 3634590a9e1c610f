"""Commands that run attacks: on one scenario, on outputs of a model trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mibench import scenarios
from mibench.apps.cli.base import cache_dir_option, data_dir_option, main
from mibench.errors import MIBenchError


@main.command("attack")
@click.argument("attack", metavar="ATTACK")
@click.option(
    "--dataset",
    default="digits",
    show_default=True,
    help="The dataset's name, or path of your own.",
)
@click.option("--scenario", default="ES01", show_default=True, help="A scenario's id or label.")
@click.option("--model", default="MLP", show_default=True, help="The attacked network.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--epochs", default=50, show_default=True, help="Passes of every training.")
@click.option("--references", default=16, show_default=True, help="Number of reference models.")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    metavar="ROLE=COUNT",
    help="Samples of a role, or pairs; repeatable.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--defence", default="none", show_default=True, help="How the model is defended.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
@data_dir_option
@cache_dir_option
def attack_scenario(
    attack: str,
    dataset: str,
    scenario: str,
    model: str,
    seed: int,
    epochs: int,
    references: int,
    sizes: tuple[str, ...],
    device: str,
    defence: str,
    as_json: bool,
    data_dir: Path | None,
    cache_dir: Path | None,
) -> None:
    """Run ATTACK (a name such as loss_threshold, or "all") on one scenario.

    What has to be trained first is trained, with progress, and kept for the next time.
    """
    from mibench import attacks
    from mibench.study import results
    from mibench.study.study import Experiment

    names = list(attacks.REGISTRY) if attack == "all" else [attacks.find(attack).name]
    experiment = Experiment(
        dataset,
        model,
        seed,
        references,
        epochs,
        device=device,
        defence=defence,
        data_dir=data_dir,
        cache_dir=cache_dir,
        sizes=_sizes(sizes),
    )
    chosen = scenarios.find(scenario, experiment.dataset.name)
    experiment.construct(chosen)
    table, _ = experiment.run([chosen], names)
    if as_json:
        click.echo(results.to_json(table))
        return
    click.echo(f"{chosen.id}  {chosen.label}  ({len(names)} of {len(attacks.REGISTRY)} attacks)")
    for row in table.to_dict("records"):
        click.echo(f"\n{row['title']}")
        _echo_metrics(row)


def _sizes(given: tuple[str, ...]) -> dict[str, int]:
    sizes = {}
    for text in given:
        role, _, count = text.partition("=")
        if not count.isdecimal():
            raise MIBenchError(f"--size {text!r} is not ROLE=COUNT, such as members=3000")
        sizes[role] = int(count)
    return sizes


def _echo_metrics(row: dict[Any, Any]) -> None:
    from mibench.study import metrics

    for name in metrics.METRICS:
        value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
        shown = "no positive predictions" if value != value else f"{value:8.4f}"
        interval = "" if value != value else f"   [{low:.4f}, {high:.4f}]"
        click.echo(f"  {name:18}{shown}{interval}")


@main.command("audit")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--probs",
    metavar="NAME",
    help="Another array of the target's outputs, such as target_probs_memguard.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--out", type=click.Path(path_type=Path), help="Write .parquet or .json as well.")
def audit_outputs(file: Path, probs: str | None, seed: int, out: Path | None) -> None:
    """Attack a model that was trained elsewhere, from its outputs in FILE (.npz).

    FILE holds target_probs or target_logits (n, C), target_labels (n,) and target_is_member (n,),
    which is used for scoring only; optionally the same of a shadow model with shadow_ for target_;
    optionally reference_logits (K, n, C) with reference_in (K, n). Every attack that these allow
    is run; the others are named with what they lack.
    """
    from mibench.study.audit import audit_file, check_out

    if out is not None:
        check_out(out)
    report = audit_file(file, probs, seed)
    click.echo(str(report))
    if out is not None:
        report.save(out)
        click.echo(f"written to {out}")
