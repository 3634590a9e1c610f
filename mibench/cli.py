"""The command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mibench import __version__, scenarios
from mibench.errors import MIBenchError

if TYPE_CHECKING:
    from mibench.batch import Task

# Torch, pandas and matplotlib are imported by the commands that need them: the others answer
# at once.


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MIBenchError as error:
            click.echo(f"mibench: {error}", err=True)
            sys.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """MIBench: which membership inference attack really is stronger, and why papers disagree."""


_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of the published data files (default: MIBENCH_DATA; without it they are "
    "downloaded).",
)
_cache_dir = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path),
    help="Where trained models and their outputs are kept (default: MIBENCH_CACHE, then the "
    "user's cache).",
)


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


@main.command("attack")
@click.argument("attack", metavar="ATTACK")
@click.option("--dataset", default="digits", show_default=True, help="The dataset's name.")
@click.option("--scenario", default="ES01", show_default=True, help="A scenario's id or label.")
@click.option("--model", default="MLP", show_default=True, help="The attacked network.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--epochs", default=50, show_default=True, help="Passes of every training.")
@click.option("--references", default=16, show_default=True, help="Number of reference models.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
@_data_dir
@_cache_dir
def attack_scenario(
    attack: str,
    dataset: str,
    scenario: str,
    model: str,
    seed: int,
    epochs: int,
    references: int,
    as_json: bool,
    data_dir: Path | None,
    cache_dir: Path | None,
) -> None:
    """Run ATTACK (a name such as loss_threshold, or "all") on one scenario.

    What has to be trained first is trained, with progress, and kept for the next time.
    """
    from mibench import attacks, results
    from mibench.experiment import Experiment

    names = list(attacks.REGISTRY) if attack == "all" else [attacks.find(attack).name]
    experiment = Experiment(
        dataset, model, seed, references, epochs, data_dir=data_dir, cache_dir=cache_dir
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


def _echo_metrics(row: dict[Any, Any]) -> None:
    from mibench import metrics

    for name in metrics.METRICS:
        value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
        shown = "no positive predictions" if value != value else f"{value:8.4f}"
        interval = "" if value != value else f"   [{low:.4f}, {high:.4f}]"
        click.echo(f"  {name:18}{shown}{interval}")


@main.command("attacks")
def list_attacks() -> None:
    """List every attack: its source, what it needs, what it costs.

    Queries are those to the target for each attacked sample, beside those that a need of its own
    takes; models are those trained beside the target (K: as many as --references).
    """
    from mibench import attacks
    from mibench.signals import COPIES, DISTILLED

    trained = {"shadow": "1", "references": "K", "distilled": str(DISTILLED)}
    rows = [("name", "queries", "models", "needs", "source")]
    for kind in attacks.REGISTRY.values():
        queries = 1 + sum(COPIES.get(need, 0) for need in kind.needs)
        models = "+".join(trained[n] for n in sorted(kind.needs) if n in trained)
        needs = ", ".join(sorted(kind.needs))
        rows.append((kind.name, str(queries), models or "0", needs or "nothing", kind.source))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[4]]))
    click.echo()
    for need, meaning in attacks.NEEDS.items():
        click.echo(f"{need:11} {meaning}")


@main.command("audit")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--probs", default="target_probs", show_default=True, help="Which of the target's outputs."
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--out", type=click.Path(path_type=Path), help="Write .parquet or .json as well.")
def audit_outputs(file: Path, probs: str, seed: int, out: Path | None) -> None:
    """Attack a model that was trained elsewhere, from its outputs in FILE (.npz).

    FILE holds target_probs or target_logits (n, C), target_labels (n,) and target_is_member (n,),
    which is used for scoring only; optionally the same of a shadow model with shadow_ for target_;
    optionally reference_logits (K, n, C) with reference_in (K, n). Every attack that these allow
    is run; the others are named with what they lack.
    """
    from mibench.auditing import audit_file, check_ending

    if out is not None:
        check_ending(out)
    report = audit_file(file, probs, seed)
    click.echo(str(report))
    if out is not None:
        report.save(out)
        click.echo(f"written to {out}")


@main.command("run")
@click.argument("parameters", type=click.Path(path_type=Path))
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1), help="Tasks at a time."
)
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler to use instead.")
@click.option("--dry-run", is_flag=True, help="Only show what is done, what will run, how long.")
@_data_dir
def run_batch(
    parameters: Path, workers: int, scheduler: str | None, dry_run: bool, data_dir: Path | None
) -> None:
    """Execute the notebooks named in PARAMETERS (a YAML file) through papermill.

    What must be trained is trained first, once. Executed notebooks and their results go to
    executed/DATASET/, figures to figures/. What is done already with the same parameters is
    skipped; a failing notebook is kept with its error and the others go on. Exit code 1 says
    that some failed. Stopped in whatever way, the same command continues.
    """
    from tqdm import tqdm

    from mibench import batch, cluster

    tasks = batch.plan(parameters, data_dir.resolve() if data_dir else None)
    if dry_run:
        _echo_states(tasks)
        return
    failed, skipped = [], 0
    bar = tqdm(total=len(tasks), unit="notebook", disable=not sys.stderr.isatty())

    def say(line: str) -> None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def trained(name: str, error: str | None) -> None:
        say(f"trained {name}" if error is None else f"failed  training {name}: {error}")

    try:
        for outcome in cluster.run(tasks, workers, scheduler, trained):
            bar.update()
            skipped += outcome.skipped
            if outcome.error:
                failed.append(outcome)
            if not outcome.skipped:
                say(f"{'failed' if outcome.error else 'done'}    {outcome.task.name}")
    except KeyboardInterrupt:
        click.echo("stopped; the same command continues", err=True)
        # Workers' threads wait for kernels, which end with this process.
        os._exit(130)
    bar.close()
    ran = len(tasks) - skipped
    click.echo(f"{ran} notebooks run, {skipped} already done, {len(failed)} failed")
    for outcome in failed:
        click.echo(f"failed: {outcome.task.output}\n        {outcome.error}", err=True)
    for folder in sorted({t.parameters["figures"] for t in tasks if "figures" in t.parameters}):
        click.echo(f"figures are in {folder}")
    if failed:
        sys.exit(1)


@main.command("status")
@click.argument("parameters", type=click.Path(path_type=Path))
@_data_dir
def batch_status(parameters: Path, data_dir: Path | None) -> None:
    """Show what of a batch is done, running, failed and waiting, also from another shell.

    The options must be those of the run: other parameters are another batch.
    """
    from mibench import batch

    _echo_states(batch.plan(parameters, data_dir.resolve() if data_dir else None))


def _echo_states(tasks: Sequence[Task]) -> None:
    from collections import Counter, defaultdict

    states: Counter[str] = Counter()
    measured: defaultdict[Path, list[float]] = defaultdict(list)
    waiting = []
    for task in tasks:
        state = task.state()
        states[state] += 1
        click.echo(f"{state:8}{task.name}")
        if (seconds := task.seconds()) is not None:
            measured[task.notebook].append(seconds)
        if state != "done":
            waiting.append(task.notebook)
    click.echo(", ".join(f"{count} {state}" for state, count in states.items()))
    known = [sum(measured[n]) / len(measured[n]) for n in waiting if measured[n]]
    if waiting and known:
        unknown = len(waiting) - len(known)
        note = f", {unknown} of a kind that has not been timed yet" if unknown else ""
        click.echo(f"about {sum(known):.0f} s of notebooks to go on one worker{note}")
