"""Handwritten digits of scikit-learn (Alpaydin and Kaynak 1998), which need no file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mibench.data.base import Parsed, Published, SplitSizes, register


def read() -> Parsed:
    """Read 8 x 8 pixels of 17 grey levels."""
    # The file that sklearn.datasets.load_digits reads; to load that takes longer than all else.
    library = find_spec("sklearn")
    assert library is not None and library.origin is not None
    file = Path(library.origin).parent / "datasets" / "data" / "digits.csv.gz"
    *pixels, labels = np.loadtxt(file, delimiter=",", unpack=True)
    inputs = np.stack(pixels, axis=1).reshape(-1, 1, 8, 8) / 16
    return Parsed(inputs.astype(np.float32), labels.astype(np.int64), "image")


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
