"""The null test: nonmembers posing as members, from the construction on, for every attack.

    python benchmarks/null.py [SEEDS [DATA_DIR]]

For each seed a target model of Location30 is trained, and its 2,000 nonmembers are cut at random
into 1,000 that pose as members and 1,000 that do not. Target datasets are built from these by both
constructions, and every attack scores them: nothing is there to be found, so that an AUC apart
from 0.5 is told by the construction. Printed per construction: each attack's mean AUC over
scenarios and seeds, its deviation between seeds, and the p-value of a t-test over seeds, adjusted
by Holm for all attacks; and the deciles of all AUCs.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score

from mibench import Place, Setting, Study
from mibench.attacks import parse
from mibench.construction.pool import pool
from mibench.errors import ScenarioInfeasible
from mibench.outputs import Labelled
from mibench.scenarios import catalogue
from mibench.streams import Streams

SIZES = {
    "members": 800,
    "nonmembers": 2000,
    "shadow_members": 700,
    "shadow_nonmembers": 700,
    "auxiliary": 810,
}
# One for each distribution, distance and differential distance.
SCENARIOS = [s for s in catalogue("Location30") if s.withheld_ratio == 0.08]


def areas(seed: int, place: Place) -> list[dict[str, object]]:
    """Return the AUC of every attack on every target dataset of one seed."""
    study = Study(Setting(dataset="Location30", seed=seed, sizes=SIZES), place)
    signals = study.signals
    nonmembers = signals.roles["nonmembers"]
    order = np.random.default_rng([seed, 99]).permutation(len(nonmembers))
    posing = Labelled(signals.outputs(nonmembers), order < len(order) // 2)
    targets = []
    for construction in ("groups", "pairs"):
        made = pool(
            construction,
            posing,
            signals.generated(),
            Streams(seed=seed, null=True),
            samples=np.arange(len(nonmembers)),
            kind="binary",
            pairs=300,
            levels_of="Location30",
        )
        for scenario in SCENARIOS:
            try:
                targets.append((construction, made.construct(scenario)))
            except ScenarioInfeasible:
                continue
    rows = []
    for attack in parse("all"):
        fitted = study.fitted(attack)
        seen = signals.outputs(nonmembers, attack.needs)
        for construction, target in targets:
            scores = fitted.infer(seen.take(target.samples)).scores
            auc = roc_auc_score(target.is_member, scores)
            said = {"seed": seed, "construction": construction, "scenario": target.scenario.id}
            rows.append({**said, "attack": attack.label, "auc": auc})
    return rows


def main(seeds: int = 5, data_dir: str | None = None) -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    place = Place.read({"data_dir": data_dir and Path(data_dir)})
    found = pd.DataFrame([row for seed in range(seeds) for row in areas(seed, place)])
    for construction, rows in found.groupby("construction"):
        each = rows.groupby(["attack", "seed"])["auc"].mean().unstack()
        p = ttest_1samp(each, 0.5, axis=1).pvalue
        order = np.argsort(p)
        adjusted = np.empty(len(p))
        adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
        table = pd.DataFrame(
            {"mean": each.mean(axis=1), "between_seeds": each.std(axis=1), "holm": adjusted}
        )
        deciles = rows["auc"].quantile([0.1, 0.5, 0.9]).round(3).tolist()
        scenarios = rows.groupby("seed")["scenario"].nunique().tolist()
        print(f"\n{construction}: {seeds} seeds, {scenarios} scenarios")
        print(f"AUC of all attacks and scenarios: deciles .1, .5, .9 {deciles}")
        print(table.sort_values("mean").round(3).to_string())
        print(f"attacks apart from 0.5 after Holm: {int((adjusted <= 0.05).sum())} of {len(p)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2] if len(sys.argv) > 2 else None)
