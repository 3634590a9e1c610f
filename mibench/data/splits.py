"""How a dataset's samples are shared out among members, nonmembers and the attacker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mibench.errors import MIBenchError

if TYPE_CHECKING:
    from mibench.data.base import Dataset

ROLES = ("members", "nonmembers", "shadow_members", "shadow_nonmembers", "auxiliary")

_OWN_SHARE = 5
_FEWEST_ROWS = 50
_MOST_PAIRS = 1000


@dataclass(frozen=True)
class SplitSizes:
    """How many samples each role gets; `pairs` is the number of member-nonmember pairs drawn."""

    members: int
    nonmembers: int
    shadow_members: int
    shadow_nonmembers: int
    auxiliary: int
    pairs: int


# Numbers of members and shadow members are the published ones where there are such. Nonmembers
# are as many as members, so that a reference model, trained on half of both, is trained on as
# many samples as the target; small datasets have more of them, from which to select.
SPLIT_SIZES = {
    "digits": SplitSizes(300, 700, 250, 250, 297, pairs=80),
    "Location30": SplitSizes(1000, 2000, 700, 700, 610, pairs=300),
    "CIFAR100": SplitSizes(10_000, 10_000, 10_000, 10_000, 10_000, pairs=1000),
    "CIFAR10": SplitSizes(10_000, 10_000, 10_000, 10_000, 10_000, pairs=1000),
    "CH_MNIST": SplitSizes(1250, 1250, 1000, 1000, 500, pairs=300),
    "ImageNet": SplitSizes(10_000, 10_000, 10_000, 10_000, 10_000, pairs=1000),
    "Purchase100": SplitSizes(19_732, 19_732, 19_732, 19_732, 19_732, pairs=1000),
    "Texas100": SplitSizes(10_000, 10_000, 10_000, 10_000, 10_000, pairs=1000),
}


def sizes_of(name: str, rows: int, changed: Mapping[str, int] | None = None) -> SplitSizes:
    """Return the sizes of a dataset's roles.

    A dataset that :data:`SPLIT_SIZES` does not hold gives each role a fifth of its rows. Pairs
    that are not given are at most three in ten of the smaller of members and nonmembers, and
    of a user's own dataset at most 1,000.

    Parameters
    ----------
    name : str
    rows : int
    changed : mapping of str to int, optional
        Counts that differ, by role or `pairs`.

    Raises
    ------
    MIBenchError
        If a name or count is impossible, or the dataset has too few rows.
    """
    if not isinstance(changed, Mapping | None):
        raise MIBenchError(f"sizes is {changed!r}; give roles with counts")
    changed = dict(changed or {})
    known = [field.name for field in fields(SplitSizes)]
    for role, count in changed.items():
        if role not in known:
            raise MIBenchError(f"sizes: there is no {role!r}; known are {', '.join(known)}")
        if not isinstance(count, int) or isinstance(count, bool) or count < 2:
            raise MIBenchError(f"sizes: {role} is {count!r}; give a whole number of at least 2")
    if name in SPLIT_SIZES:
        sizes = SPLIT_SIZES[name]
    elif rows < _FEWEST_ROWS:
        raise MIBenchError(f"{name} has {rows} samples; at least {_FEWEST_ROWS} are needed")
    else:
        sizes = SplitSizes(**dict.fromkeys(ROLES, rows // _OWN_SHARE), pairs=_MOST_PAIRS)
    sizes = replace(sizes, **changed)
    wanted = sum(getattr(sizes, role) for role in ROLES)
    if wanted > rows:
        stated = ", ".join(f"{role} {count}" for role, count in asdict(sizes).items())
        raise MIBenchError(
            f"{name} has {rows} samples but its splits ask for {wanted} ({stated}); lower some by "
            "the parameter sizes (--size ROLE=COUNT)"
        )
    smaller = min(sizes.members, sizes.nonmembers)
    if "pairs" not in changed:
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
        Sample indices of each role, in shuffled order.
    """
    counts = [getattr(dataset.sizes, role) for role in ROLES]
    order = rng.permutation(len(dataset.labels))
    parts = np.split(order, np.cumsum(counts))
    return dict(zip(ROLES, parts, strict=False))
