"""Functions from inputs to posteriors: whatever no other adapter takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.adapters.base import ADAPTERS, Adapter
from mibench.outputs import FloatArray


class Function(Adapter):
    """Any function that returns posteriors (n, C) for inputs (n, ...)."""

    name = "function"
    posteriors = True

    def takes(self, model: Any) -> bool:
        """Return whether it can be called."""
        return callable(model)

    def answer(self, model: Any, inputs: NDArray[Any], classes: int | None) -> FloatArray:
        """Call it."""
        return np.asarray(model(inputs))


ADAPTERS.add(Function.name, Function())
