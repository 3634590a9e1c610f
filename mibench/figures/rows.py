"""What rows of results a figure is drawn from, and how its caption names them."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from mibench.compare.conflicts import of_models
from mibench.errors import MIBenchError
from mibench.study.results import setting_of

_NAMED = ("dataset", "model", "defence", "construction")


def by_setting(results: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows of each setting with its name, such as "digits, MLP, groups".

    The name holds dataset, model, defence and construction and, where these were run in several
    ways, what tells the ways apart, such as "digits, MLP, groups, references 64".
    """
    named = [c for c in _NAMED if c in results]
    for key, rows in results.groupby(named, sort=False, dropna=False):
        names = [str(n) for n in key if n == n and n not in ("", "none")]
        varied = [c for c in setting_of(rows) if rows[c].nunique(dropna=False) > 1]
        ways = rows.groupby(varied, sort=False, dropna=False) if varied else [((), rows)]
        for values, part in ways:
            said = (f"{c.removeprefix('train_')} {v}" for c, v in zip(varied, values, strict=True))
            # Epochs, among others, stand in a setting and in its recipe.
            yield ", ".join(dict.fromkeys([*names, *said])), part


def only_setting(results: pd.DataFrame, purpose: str) -> str:
    """Return the name of the one setting of all rows.

    Raises
    ------
    MIBenchError
        If there are no rows, or several settings.
    """
    if results.empty:
        raise MIBenchError(f"there are no results {purpose}")
    names = [name for name, _ in by_setting(results)]
    if len(names) > 1:
        raise MIBenchError(
            "a figure shows one dataset, model and setting; choose among " + "; ".join(names)
        )
    return names[0]


def counted(results: pd.DataFrame) -> str:
    """Return how many samples a scenario has and which seeds were run, as part of a caption."""
    sizes = sorted(results.loc[results["status"] == "ok", "samples"].dropna().astype(int).unique())
    seeds = sorted(results["seed"].unique())
    n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else "0"
    named = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    return f"n = {n} samples per scenario, half of them members; {named}"


def shared_models(results: pd.DataFrame) -> str:
    """Return what all scenarios have in common, as part of a caption."""
    if (seeds := results["seed"].nunique()) == 1:
        return "one target model and its samples"
    return f"{seeds} target models, one per seed, and their samples"


def over_models(results: pd.DataFrame) -> str:
    """Return of how many trained models sure differences are, as part of a caption."""
    return of_models([*results.groupby("scenario")["seed"].nunique()])


def unreachable(results: pd.DataFrame) -> str:
    """Return the sentence of a caption that names the scenarios without values, or nothing."""
    missing = results.loc[results["status"] != "ok", "scenario"].unique()
    return f" Not reachable in this pool: {', '.join(missing)}." if len(missing) else ""


def pivot(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a metric, scenarios down and attacks' names across, the mean of several seeds.

    Scenarios and attacks are in the order of their ids and of the rows.
    """
    names = list(dict.fromkeys(results["attack"]))
    values = results[results["status"] == "ok"].pivot_table(
        index="scenario", columns="attack", values=metric, dropna=False
    )
    return values.reindex(columns=names).sort_index().dropna(how="all")


def titles(results: pd.DataFrame) -> dict[str, str]:
    """Return each attack's title by its name, in the order of the rows."""
    return dict(zip(results["attack"], results["title"], strict=True))
