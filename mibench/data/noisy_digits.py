"""Handwritten digits of which a fifth carry labels drawn at random: models memorise those.

The images are scikit-learn's (Alpaydin and Kaynak 1998) and real; the noise in their labels is
simulated. It makes a dataset that needs no file and leaks: a label that follows from nothing can
only be known by heart.
"""

from __future__ import annotations

import numpy as np

from mibench.data import digits
from mibench.data.base import Parsed, Published, SplitSizes, register

SHARE = 0.2


def read() -> Parsed:
    """Read the digits and draw a fifth of their labels anew, always the same ones."""
    clean = digits.read()
    rng = np.random.default_rng(0)
    drawn = rng.random(len(clean.labels)) < SHARE
    labels = np.where(drawn, rng.integers(0, 10, len(clean.labels)), clean.labels)
    return Parsed(clean.inputs, labels, clean.kind)


register(
    Published(
        "noisy_digits",
        __name__,
        rows=1797,
        classes=10,
        shapes=((1, 8, 8),),
        sizes=SplitSizes(400, 400, 350, 350, 297, pairs=80),
        embedded=read,
    )
)
