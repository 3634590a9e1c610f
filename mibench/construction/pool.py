"""The one place where a pool is made by the name of its construction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mibench.construction.groups import GROUP_SIZE, Groups
from mibench.construction.pairs import Pairs
from mibench.construction.target import Candidates, Pool, Streams
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, IntArray, Labelled, Outputs


def pool(
    construction: str,
    labelled: Labelled,
    generated: Outputs,
    streams: Streams,
    *,
    samples: IntArray,
    kind: str,
    pairs: int,
    levels_of: str = "",
    levels: str = "quantile",
    space: str = "log_probs",
    withholding: str = "groups",
    group_size: int = GROUP_SIZE,
    inputs: NDArray[np.float32] | None = None,
) -> Pool:
    """Return the pool of one target model.

    Parameters
    ----------
    construction : {"groups", "pairs"}
    labelled : Labelled
        The target model's outputs on N samples, members and nonmembers.
    generated : Outputs
        Its outputs on generated nonmembers with the labels of their sources.
    streams : Streams
    samples : int array, (N,)
        Their indices in the dataset.
    kind, levels_of, withholding, group_size
        For groups; see :class:`mibench.construction.groups.Groups`.
    pairs, space, inputs
        For pairs; see :class:`mibench.construction.pairs.Pairs`.
    levels : {"quantile", "absolute"}

    Raises
    ------
    MIBenchError
        If the construction is unknown or the pool is too small for it.
    """
    candidates = Candidates(labelled, generated, samples)
    if construction == "groups":
        return Groups(candidates, kind, streams, levels, levels_of, withholding, group_size)
    if construction != "pairs":
        raise MIBenchError(f"unknown construction {construction!r}; use 'groups' or 'pairs'")
    kept = equal_halves(labelled.is_member, streams("equal halves"))
    inputs = None if inputs is None else inputs[kept]
    return Pairs(candidates.take(kept), pairs, streams, space, levels, inputs)


def equal_halves(is_member: BoolArray, rng: np.random.Generator) -> IntArray:
    """Return a draw of as many members as nonmembers, all of the smaller half: ascending."""
    halves = [rng.permutation(np.flatnonzero(is_member == side)) for side in (True, False)]
    count = min(map(len, halves))
    return np.sort(np.concatenate([half[:count] for half in halves]))
