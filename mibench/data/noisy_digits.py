"""Handwritten digits of which a fifth carry labels drawn at random: models memorise those.

The images are scikit-learn's (Alpaydin and Kaynak 1998) and real; the noise in their labels is
simulated. It makes a dataset that needs no file and leaks: a label that follows from nothing can
only be known by heart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mibench.data import digits
from mibench.data.base import DATASETS, Parsed, register

SHARE = 0.2


def read() -> Parsed:
    """Read the digits and draw a fifth of their labels anew, always the same ones."""
    clean = digits.read()
    rng = np.random.default_rng(0)
    drawn = rng.random(len(clean.labels)) < SHARE
    labels = np.where(drawn, rng.integers(0, 10, len(clean.labels)), clean.labels)
    return Parsed(clean.inputs, labels, clean.kind)


register(replace(DATASETS["digits"], name="noisy_digits", module=__name__, embedded=read))
