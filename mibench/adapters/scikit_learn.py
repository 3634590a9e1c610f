"""Classifiers of scikit-learn and those that keep to its interface: XGBoost's, LightGBM's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mibench.adapters.base import ADAPTERS, Adapter, version_of
from mibench.errors import MIBenchError
from mibench.outputs import FloatArray, IntArray


class ScikitLearn(Adapter):
    """A fitted classifier with ``predict_proba``; one like it is its clone, fitted."""

    name = "scikit-learn"
    posteriors = True

    def takes(self, model: Any) -> bool:
        """Return whether it tells posteriors and can be fitted, or has been."""
        fitted = hasattr(model, "fit") or hasattr(model, "classes_")
        return fitted and hasattr(model, "predict_proba")

    def answer(self, model: Any, inputs: NDArray[Any], classes: int | None) -> FloatArray:
        """Return the posteriors; 0 for a class that it was not fitted on."""
        if not hasattr(model, "classes_"):
            raise MIBenchError(f"this {type(model).__name__} has no classes_: fit it first")
        known = np.asarray(model.classes_)
        if known.dtype.kind not in "iu" or known.min() < 0:
            raise MIBenchError(
                f"the classes of this {type(model).__name__} are {known[:3].tolist()} ...; fit it "
                "on labels from 0 to C - 1"
            )
        posteriors = np.zeros((len(inputs), max(classes or 0, known.max() + 1)))
        posteriors[:, known] = model.predict_proba(inputs)
        return posteriors

    def like(self, model: Any, inputs: NDArray[Any], labels: IntArray, seed: int) -> Any:
        """Fit a clone, whose every ``random_state`` follows from the seed."""
        from sklearn.base import clone

        made = clone(model)
        random = [p for p in made.get_params() if p.split("__")[-1] == "random_state"]
        return made.set_params(**dict.fromkeys(random, seed)).fit(inputs, labels)

    def described(self, model: Any) -> str:
        """Return its class and parameters."""
        return f"{version_of(model)} {type(model).__qualname__} {model.get_params()}"


ADAPTERS.add(ScikitLearn.name, ScikitLearn())
