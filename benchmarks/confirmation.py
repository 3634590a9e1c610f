"""Do new target models confirm what others showed? python benchmarks/confirmation.py DATA_DIR [OUT]

All 84 scenarios of Location30 (groups), every attack, seeds 0 to 7. Differences and conflicts are
found in seeds 0 to 4 and looked up in seeds 5 to 7, which had no part in finding them: confirmed
where the mean over the new seeds has the same sign, reversed where it has the other one and is
itself significant. Answers are kept in OUT, and what is there is not run again.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pandas as pd

from mibench import Place, Setting, Study
from mibench.compare import conflicts
from mibench.scenarios import catalogue

FOUND_IN, LOOKED_UP_IN = range(5), range(5, 8)


def answers(seed: int, data_dir: str, out: Path) -> Path:
    """Return the file of a seed's answers, made where it is not there."""
    path = out / f"answers_{seed}.parquet"
    if not path.exists():
        place = Place.read({"data_dir": Path(data_dir)})
        study = Study(Setting(dataset="Location30", seed=seed), place)
        results, table = study.run([s.id for s in catalogue("Location30")])
        results.to_parquet(out / f"results_{seed}.parquet")
        table.to_parquet(path)
    return path


def differences(files: list[Path]) -> pd.DataFrame:
    """Return the differences of all scenarios over some seeds, one scenario in memory at a time."""
    found = []
    for scenario in catalogue("Location30"):
        only = [("scenario", "==", scenario.id)]
        tables = [pd.read_parquet(file, filters=only) for file in files]
        # What some pool cannot reach is not compared over seeds.
        if all(map(len, tables)):
            found.append(conflicts.differences(pd.concat(tables), replicates=1))
    return pd.concat(found, ignore_index=True)


def main(data_dir: str, out: Path) -> None:
    """Print what was found in some seeds, and what of it others confirm."""
    warnings.filterwarnings("ignore")
    out.mkdir(parents=True, exist_ok=True)
    old, new = (
        differences([answers(seed, data_dir, out) for seed in seeds])
        for seeds in (FOUND_IN, LOOKED_UP_IN)
    )
    for correction in conflicts.CORRECTIONS:
        print(f"{correction}:")
        compare(*(conflicts.significant(each, correction) for each in (old, new)), correction)


def compare(old: pd.DataFrame, new: pd.DataFrame, correction: str) -> None:
    """Print how many differences and conflicts of the old seeds the new ones confirm."""
    print(conflicts.power_sentence(old))
    key = ["scenario", "attack", "other"]
    both = old.merge(new, on=key, suffixes=("", "_new")).query("significant")
    same = both["difference"] * both["difference_new"] > 0
    reversed_ = ~same & both["significant_new"]
    print(
        f"{len(both):,} significant differences in seeds {[*FOUND_IN]}: {int(same.sum()):,} keep "
        f"their sign in seeds {[*LOOKED_UP_IN]}, {int(reversed_.sum())} are significantly reversed"
    )
    there = new.set_index(key)["difference"]
    for what, found in (
        ("pairs of scenarios with opposite significant differences", conflicts.find(old)),
        ("conflicts", conflicts.find(old, correction)),
    ):
        confirmed = sum(
            there[row["scenario"], row["attack"], row["other"]]
            > 0
            > there[row["other_scenario"], row["attack"], row["other"]]
            for row in found.to_dict("records")
        )
        print(f"{len(found)} {what}, {confirmed} confirmed")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "executed/confirmation"))
