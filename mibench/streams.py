"""Random streams, drawn by name from one place.

A stream follows from all that an experiment is and from its role's name. What an attack is handed
is a number drawn from a stream of its own, from which no other stream can be told: neither the
order of a target dataset nor the splits.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np


class Streams:
    """The random streams of one experiment.

    Parameters
    ----------
    **entropy
        What the streams follow from, of values that JSON can hold; equal entropy gives equal
        streams. The checksum of the data belongs to it: no attack knows that.
    """

    def __init__(self, **entropy: Any):
        self._entropy = json.dumps(entropy, sort_keys=True, default=str)

    def __call__(self, role: str, *numbers: int) -> np.random.Generator:
        """Return the stream of a role, such as ``"splits"``, always from its beginning."""
        return np.random.default_rng(self._number(role, numbers))

    def seed(self, role: str, *numbers: int) -> int:
        """Return a seed of a role's own, 0 to 2**32 - 1, for libraries that take one."""
        return self._number(role, numbers) % 2**32

    def _number(self, role: str, numbers: tuple[int, ...]) -> int:
        said = json.dumps([self._entropy, role, *numbers])
        return int.from_bytes(hashlib.sha256(said.encode()).digest(), "big")
