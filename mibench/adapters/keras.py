"""Models of Keras 3, on any backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.adapters.base import ADAPTERS, Adapter, derives
from mibench.outputs import FloatArray


class Keras(Adapter):
    """A model whose ``predict`` returns logits or posteriors."""

    name = "keras"

    def takes(self, model: Any) -> bool:
        """Return whether it is a model of Keras."""
        return derives(model, "keras", "Model")

    def answer(self, model: Any, inputs: NDArray[Any], classes: int | None) -> FloatArray:
        """Let it predict."""
        return np.asarray(model.predict(inputs, verbose=0))


ADAPTERS.add(Keras.name, Keras())
