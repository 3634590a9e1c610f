"""Handwritten digits of scikit-learn (Alpaydin and Kaynak 1998), which need no file."""

from __future__ import annotations

import numpy as np

from mibench.data.base import Parsed, Published, SplitSizes, register


def read() -> Parsed:
    """Read 8 x 8 pixels of 17 grey levels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    inputs = (data.images[:, None] / 16).astype(np.float32)
    return Parsed(inputs, data.target.astype(np.int64), "image")


register(
    Published(
        "digits",
        __name__,
        rows=1797,
        classes=10,
        shapes=((1, 8, 8),),
        sizes=SplitSizes(400, 400, 350, 350, 297, pairs=80),
        embedded=read,
    )
)
