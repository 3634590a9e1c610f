"""How a dataset's samples are shared out among members, nonmembers and the attacker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mibench.data.base import Dataset, Published, SplitSizes
from mibench.errors import MIBenchError

ROLES = ("members", "nonmembers", "shadow_members", "shadow_nonmembers", "auxiliary")

_FEWEST_ROWS = 50
# Of members, and of nonmembers: fewer groups of ten than they make cannot meet all scenarios.
_FEWEST_FOR_TEN = 720


def sizes_of(
    name: str,
    rows: int,
    changed: Literal["published"] | Mapping[str, int] | None = None,
    known: Published | None = None,
) -> SplitSizes:
    """Return the sizes of a dataset's roles.

    A dataset of one's own, and a part of a published one that is too small for its sizes, gives
    each role a fifth of its rows. Pairs that are not given are at most three in ten of the
    smaller of members and nonmembers, and at most 1,000; groups hold 10 and 10, in small datasets
    without published levels 5 and 5.

    Parameters
    ----------
    name : str
    rows : int
    changed : "published" or mapping of str to int, optional
        Sizes as the public record tells them, or counts that differ, by role, `pairs` or `group`.
    known : Published, optional
        What is published of the dataset.

    Raises
    ------
    MIBenchError
        If a name or count is impossible, or the dataset has too few rows.
    """
    counts = dict(changed) if isinstance(changed, Mapping) else {}
    roles = [*ROLES, "pairs", "group"]
    if unknown := set(counts) - set(roles):
        raise MIBenchError(f"sizes: there is no {min(unknown)!r}; known are {', '.join(roles)}")
    if changed == "published":
        if known is None or known.published_sizes is None:
            raise MIBenchError(f"sizes: no published sizes of {name} can be had; give counts")
        sizes = known.published_sizes
    elif known is not None and _total(known.sizes) <= rows:
        sizes = known.sizes
    elif rows < _FEWEST_ROWS:
        raise MIBenchError(f"{name} has {rows} samples; at least {_FEWEST_ROWS} are needed")
    else:
        sizes = SplitSizes.equal(rows // len(ROLES))
    sizes = replace(sizes, **counts)
    if _total(sizes) > rows:
        stated = ", ".join(f"{role} {count}" for role, count in asdict(sizes).items())
        raise MIBenchError(
            f"{name} has {rows} samples but its splits ask for {_total(sizes)} ({stated}); lower "
            "some by the parameter sizes (--sizes ROLE=COUNT)"
        )
    smaller = min(sizes.members, sizes.nonmembers)
    if "group" not in counts and smaller < _FEWEST_FOR_TEN and not (known and known.levels):
        sizes = replace(sizes, group=5)
    if "pairs" not in counts:
        sizes = replace(sizes, pairs=max(2, min(sizes.pairs, 3 * smaller // 10)))
    if sizes.pairs > smaller:
        raise MIBenchError(
            f"sizes: {sizes.pairs} pairs cannot be drawn from {sizes.members} members and "
            f"{sizes.nonmembers} nonmembers"
        )
    return sizes


def split(dataset: Dataset, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Share out a dataset's samples among the roles of :data:`ROLES`, disjointly.

    Returns
    -------
    dict of str to int array
        Sample indices of each role: in an order drawn by `rng`, or in the published one.
    """
    counts = [getattr(dataset.sizes, role) for role in ROLES]
    if first := dataset.first_rows:
        parts = [np.arange(first[r], first[r] + n) for r, n in zip(ROLES, counts, strict=True)]
    else:
        parts = np.split(rng.permutation(len(dataset.labels)), np.cumsum(counts))
    return dict(zip(ROLES, parts, strict=False))


def _total(sizes: SplitSizes) -> int:
    return sum(getattr(sizes, role) for role in ROLES)
