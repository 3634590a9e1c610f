"""What an adapter is: how the models of one library are asked, and trained anew."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from numpy.typing import NDArray

from mibench.catalogue import Catalogue
from mibench.errors import MIBenchError
from mibench.outputs import FloatArray, IntArray


class Adapter(ABC):
    """How models of one kind are asked, and one like them is trained.

    Subclasses are made known with :data:`ADAPTERS`, and import their library where they need it.

    Attributes
    ----------
    name : str
    posteriors : bool
        Whether all models answer with posteriors. If not, answers are taken for posteriors where
        none is below 0 and the rows sum to one, else for logits.
    """

    name: ClassVar[str]
    posteriors: ClassVar[bool] = False

    @abstractmethod
    def takes(self, model: Any) -> bool:
        """Return whether a model is of this kind, without importing its library."""

    @abstractmethod
    def answer(self, model: Any, inputs: NDArray[Any], classes: int | None) -> FloatArray:
        """Return the posteriors or logits (n, C) of inputs (n, ...).

        Of the target the number of classes is not known yet.
        """

    def like(self, model: Any, inputs: NDArray[Any], labels: IntArray, seed: int) -> Any:
        """Return a model like another, trained on other samples, and nothing of the other's.

        Raises
        ------
        MIBenchError
            If there is no telling how.
        """
        raise MIBenchError(
            f"there is no telling how this {type(model).__name__} was trained; give as train a "
            "function of inputs, labels and seed that returns a model"
        )

    def stages(self, model: Any) -> Callable[[NDArray[Any], IntArray, int], Iterator[Any]] | None:
        """Return what :meth:`like` trains, after fewer epochs and at last after all.

        None, the default, where there are no such models.
        """
        return None

    def described(self, model: Any) -> str:
        """Return what a model like another follows from beside samples and seed."""
        return repr(model)


ADAPTERS: Catalogue[Adapter] = Catalogue("adapter")
"""Adapters by name; what is added later is asked first."""


def adapter_of(model: Any, name: str = "the model") -> Adapter:
    """Return the adapter that takes a model, or raise MIBenchError where none does."""
    if isinstance(model, type):
        raise MIBenchError(f"{name} is the class {model.__name__}; give a trained model of it")
    for adapter in reversed(list(ADAPTERS.values())):
        if adapter.takes(model):
            return adapter
    raise MIBenchError(
        f"{name} is of type {type(model).__name__}, which no adapter takes; known are "
        f"{', '.join(ADAPTERS)}; give a function from inputs to posteriors"
    )


def derives(model: Any, library: str, name: str) -> bool:
    """Return whether a model's class derives from one of a library, by name."""
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0] == library
        for kind in type(model).__mro__
    )


def version_of(model: Any) -> str:
    """Return the version of the library that a model's class is of, where it tells."""
    library = type(model).__module__.partition(".")[0]
    return f"{library} {getattr(sys.modules.get(library), '__version__', '')}"
