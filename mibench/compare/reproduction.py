"""The published target datasets, made again from the outputs of the model that they were made of.

Only the pools of records can be: how their distances were computed is known to seven digits. Of
images the outputs are not to be had, nor the generated nonmembers.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mibench.attacks.base import Attack, Inference, Knowledge, parse
from mibench.catalogue import plain
from mibench.compare import record
from mibench.compare.record import GROUP
from mibench.construction.groups import group_distances, published_differential
from mibench.construction.kernels import five_gaussians
from mibench.errors import MIBenchError
from mibench.outputs import IntArray, Labelled
from mibench.streams import Streams
from mibench.study import audit, metrics

RECORDS = ("Location30", "Purchase100", "Texas100")
PRINTED = ("precision", "recall", "f1", "fpr", "fnr", "ma", "accuracy")
# The published name, and ours, of the attacks whose results on records are known and can be run.
_RUN_AS = {"class_modified_entropy": "risk_score"}
_STREAMS = Streams(seed=0)
# The right outputs meet the published distances within 1.3e-6; in another order they miss by .3.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Reproduction:
    """What a file's outputs make of a published pool.

    Attributes
    ----------
    groups : DataFrame
        One row a group: `group`, `distance`, `differential_distance`, and both with `published_`.
    results : DataFrame
        One row per attack and scenario: `scenario`, `attack`, `title` and the metrics.
    answers : DataFrame
        What each attack said of each sample, as :mod:`mibench.compare.conflicts` takes it.
    left_out : dict of str to str
        Attacks that could not run, with the reason.
    """

    dataset: str
    groups: pd.DataFrame
    results: pd.DataFrame
    answers: pd.DataFrame
    left_out: dict[str, str]

    @property
    def largest_difference(self) -> tuple[float, float]:
        """By how much a distance and a differential distance miss the published, at most."""
        names = ["distance", "differential_distance"]
        printed = self.groups[[f"published_{name}" for name in names]].to_numpy()
        distance, differential = np.abs(self.groups[names].to_numpy() - printed).max(axis=0)
        return float(distance), float(differential)

    def published(self, attack: str) -> pd.DataFrame:
        """Return the published results of one of our attacks as printed, by scenario."""
        printed, name = record.table("results"), _RUN_AS.get(attack)
        own = printed[(printed["dataset"] == self.dataset) & (printed["attack"] == name)]
        return own.set_index("scenario")[list(PRINTED)]

    @property
    def overview(self) -> pd.DataFrame:
        """One row an attack: means over scenarios, and of the published MA as printed and right."""
        by, shown = self.results.groupby(["attack", "title"], sort=False), ["recall", "fpr", "ma"]
        means = by[[*shown, "auc"]].mean()
        printed = [self.published(name) for name, _ in means.index]
        means["printed"] = [table["ma"].mean() for table in printed]
        means["counted"] = [record.counted(table)["ma"].mean() for table in printed]
        return means.sort_values("ma", ascending=False)

    def to_json(self) -> str:
        """Return groups and results as JSON, NaN as null."""
        nothing = {v: None for v in (np.nan, np.inf, -np.inf)}
        rows = self.results.drop(columns="title").replace(nothing).to_dict("records")
        printed = {attack: self.published(attack) for attack in self.results["attack"].unique()}
        for name, read in (("published", lambda t: t), ("published_counted", record.counted)):
            known = {attack: read(table).to_dict("index") for attack, table in printed.items()}
            for row in rows:
                row[name] = known[row["attack"]].get(row["scenario"])
        return json.dumps({"groups": self.groups.to_dict("records"), "results": rows}, indent=1)


def reproduce(path: str | Path, dataset: str) -> Reproduction:
    """Make a published pool's groups and target datasets of a file's outputs, and attack them.

    Parameters
    ----------
    path : path
        As :func:`mibench.study.audit.audit_file` takes it, samples in the order of the pool.
    dataset : str
        One of :data:`RECORDS`.

    Raises
    ------
    MIBenchError
        If the pool is not known, the file is not what it should be or has not its samples.
    """
    dataset = next((known for known in RECORDS if plain(known) == plain(dataset)), dataset)
    if dataset not in RECORDS:
        raise MIBenchError(
            f"{dataset} cannot be reproduced; the published distances of {', '.join(RECORDS)} "
            "follow from a model's outputs alone"
        )
    given = audit.read(path)
    target = given.target
    known = record.groups(dataset)
    sides = [np.flatnonzero(target.is_member), np.flatnonzero(~target.is_member)]
    if any(len(side) // GROUP != len(known) for side in sides):
        raise MIBenchError(
            f"{path} holds {len(sides[0])} members and {len(sides[1])} nonmembers; the published "
            f"pool of {dataset} has {len(known)} groups of {GROUP} and {GROUP}"
        )
    members, nonmembers = (s[: GROUP * len(known)].reshape(-1, GROUP) for s in sides)
    groups, probs = pd.DataFrame({"group": known.index}), target.outputs.probs
    for name, values in (
        ("distance", group_distances(probs[members], probs[nonmembers], five_gaussians)),
        ("differential_distance", published_differential(probs[members], probs[nonmembers])),
    ):
        groups[name], groups[f"published_{name}"] = values, known[name].to_numpy()
        if (miss := np.abs(values - known[name].to_numpy()).max()) > _ROUNDING:
            raise MIBenchError(
                f"{path}: its groups are not the published ones, whose {name.replace('_', ' ')} "
                f"they miss by up to {miss:.2g}; give the outputs of the published model, in the "
                "order of its pool"
            )
    chosen = {
        scenario: np.concatenate([members[picked].ravel(), nonmembers[picked].ravel()])
        for scenario, picked in record.targets(dataset).items()
    }
    knowledge = replace(given.knowledge, seed=_STREAMS.seed("attacks"))
    asked = parse("all")
    left_out = {a.label: reason for a in asked if (reason := given.lacking(a))}
    possible = [attack for attack in asked if attack.label not in left_out]
    # NumPy computes without holding the interpreter, so that threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(partial(_attacked, knowledge, target, chosen), possible))
    for attack, made in zip(possible, found, strict=True):
        if isinstance(made, str):
            left_out[attack.label] = made
    tables = [made for made in found if not isinstance(made, str)]
    if not tables:
        raise MIBenchError(f"{path} allows no attack: it holds no shadow_ and no reference_ arrays")
    results, answers = (pd.concat(part, ignore_index=True) for part in zip(*tables, strict=True))
    return Reproduction(dataset, groups, results, answers.assign(dataset=dataset), left_out)


def _attacked(
    knowledge: Knowledge, target: Labelled, chosen: dict[str, IntArray], attack: Attack
) -> tuple[pd.DataFrame, pd.DataFrame] | str:
    """Return an attack's results and answers in all scenarios, or why it cannot run."""
    rows, answers = [], []
    try:
        attack.fit(knowledge)
        for scenario, samples in chosen.items():
            is_member = target.is_member[samples]
            # Shuffled, for members come first.
            order = _STREAMS("order").permutation(len(samples))
            found = attack.infer(target.outputs.take(samples[order]))
            inference = Inference(found.scores[np.argsort(order)], found.threshold)
            named = {"scenario": scenario, "attack": attack.label}
            values = metrics.as_columns(metrics.evaluate(inference, is_member))
            rows.append(named | {"title": attack.full_title} | values)
            said = {
                "seed": 0,
                # Places, not the pool's numbers: a group that stands twice counts twice.
                "sample": np.arange(len(samples)),
                "is_member": is_member,
                "answer": (inference.scores >= inference.threshold).astype(int),
            }
            answers.append(pd.DataFrame(named | said))
    except MIBenchError as error:
        return str(error)
    return pd.DataFrame(rows), pd.concat(answers)
