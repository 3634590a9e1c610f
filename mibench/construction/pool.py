"""The one place where a pool is made by what a setting asks for."""

from __future__ import annotations

import numpy as np

from mibench.construction.groups import Groups
from mibench.construction.pairs import Pairs
from mibench.construction.target import Candidates, Pool, Streams
from mibench.data.base import Dataset
from mibench.outputs import BoolArray, IntArray
from mibench.setting import Setting


def pool(candidates: Candidates, dataset: Dataset, setting: Setting, streams: Streams) -> Pool:
    """Return the pool of one target model, whose levels are those of its dataset.

    Raises
    ------
    MIBenchError
        If the pool is too small for the construction.
    """
    levels, sizes = setting.levels, dataset.sizes
    if setting.construction == "groups":
        own = dataset.kind, streams, levels, dataset.name, setting.withheld_by, sizes.group
        return Groups(candidates, *own)
    kept = candidates.take(equal_halves(candidates.labelled.is_member, streams("equal halves")))
    inputs = dataset.take(kept.samples) if setting.space == "inputs" else None
    return Pairs(kept, sizes.pairs, streams, setting.space, levels, inputs)


def equal_halves(is_member: BoolArray, rng: np.random.Generator) -> IntArray:
    """Return a draw of as many members as nonmembers, all of the smaller half: ascending."""
    halves = [rng.permutation(np.flatnonzero(is_member == side)) for side in (True, False)]
    count = min(map(len, halves))
    return np.sort(np.concatenate([half[:count] for half in halves]))
