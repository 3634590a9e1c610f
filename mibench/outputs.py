"""What a model gave out on labelled samples: the only thing that attacks are made of.

Validation of arrays, whoever made them, is done here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, logsumexp, softmax

from mibench.errors import MIBenchError

LOWEST_PROBABILITY = 1e-7

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Copies:
    """A model's answers on P perturbed copies of each of n samples.

    Attributes
    ----------
    loss : float array, (P, n)
        Cross entropy of each copy against the sample's label, in nats.
    predicted : int array, (P, n)
        The class answered.
    """

    loss: FloatArray
    predicted: IntArray

    def take(self, samples: IntArray) -> Copies:
        """Return the answers for a selection of the samples."""
        return Copies(self.loss[:, samples], self.predicted[:, samples])


@dataclass(frozen=True)
class Outputs:
    """One model's outputs on n labelled samples, with other models' outputs on the same.

    Nothing here says which samples are members.

    Attributes
    ----------
    logits : float array, (n, C)
    labels : int array, (n,)
    reference_logits : float array, (K, n, C), optional
        Outputs of K reference models on the same samples.
    reference_in : bool array, (K, n), optional
        Whether reference model k was trained on the sample.
    distilled_logits : float array, (K, n, C), optional
        Outputs of K models distilled from the model on the same samples.
    inputs : float array, (n, ...), optional
        The samples themselves.
    copies : mapping of str to Copies
        Answers on perturbed copies, by kind of perturbation.
    """

    logits: FloatArray
    labels: IntArray
    reference_logits: FloatArray | None = None
    reference_in: BoolArray | None = None
    distilled_logits: FloatArray | None = None
    inputs: FloatArray | None = None
    copies: Mapping[str, Copies] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def log_probs(self) -> FloatArray:
        """Log softmax, (n, C)."""
        return log_probs(self.logits)

    @cached_property
    def probs(self) -> FloatArray:
        """The posterior vectors, (n, C)."""
        return softmax(self.logits.astype(np.float64), axis=1)

    @cached_property
    def sorted_probs(self) -> FloatArray:
        """The posteriors of each sample in descending order, (n, C)."""
        return -np.sort(-self.probs, axis=1)

    @cached_property
    def true_probs(self) -> FloatArray:
        """The posterior of the true class, (n,)."""
        return np.exp(-self.loss)

    @cached_property
    def loss(self) -> FloatArray:
        """Cross entropy against the label, in nats, (n,)."""
        return cross_entropy(self.logits, self.labels)

    @cached_property
    def predicted(self) -> IntArray:
        """The most probable class, (n,)."""
        return self.logits.argmax(axis=1)

    def take(self, samples: IntArray) -> Outputs:
        """Return the outputs on a selection of the samples."""
        optional: dict[str, Any] = {
            name: array[:, samples]
            for name in ("reference_logits", "reference_in", "distilled_logits")
            if (array := getattr(self, name)) is not None
        }
        if self.inputs is not None:
            optional["inputs"] = self.inputs[samples]
        copies = {kind: answers.take(samples) for kind, answers in self.copies.items()}
        return Outputs(self.logits[samples], self.labels[samples], copies=copies, **optional)


@dataclass(frozen=True)
class Labelled:
    """A model's outputs on n samples of which is known which are its members.

    Attributes
    ----------
    outputs : Outputs
    is_member : bool array, (n,)
    """

    outputs: Outputs
    is_member: BoolArray

    def __len__(self) -> int:
        return len(self.is_member)

    @staticmethod
    def joined(parts: Sequence[Labelled]) -> Labelled:
        """Return the outputs of several models on samples of their own as those of one."""
        if len(parts) == 1:
            return parts[0]
        outputs = [part.outputs for part in parts]
        copies = {
            kind: Copies(
                np.concatenate([o.copies[kind].loss for o in outputs], axis=1),
                np.concatenate([o.copies[kind].predicted for o in outputs], axis=1),
            )
            for kind in outputs[0].copies
        }
        return Labelled(
            Outputs(
                np.concatenate([o.logits for o in outputs]),
                np.concatenate([o.labels for o in outputs]),
                copies=copies,
            ),
            np.concatenate([part.is_member for part in parts]),
        )


def log_probs(logits: FloatArray) -> FloatArray:
    """Return log softmax over the last axis, clipped below at log 1e-7."""
    return np.maximum(log_softmax(logits.astype(np.float64), axis=-1), np.log(LOWEST_PROBABILITY))


def cross_entropy(logits: FloatArray, labels: IntArray) -> FloatArray:
    """Return the unclipped cross entropy, in nats, of (..., n, C) logits: (..., n)."""
    logits = logits.astype(np.float64)
    return logsumexp(logits, axis=-1) - true_logit(logits, labels)


def scaled_logit(logits: FloatArray, labels: IntArray) -> FloatArray:
    """Return log(p_y / (1 - p_y)) of (..., n, C) logits: (..., n).

    Computed as the true logit less the log-sum-exp of the others, which is exact where p_y
    rounds to one (Carlini et al. 2022, the logit scaling of the model's confidence).
    """
    logits = logits.astype(np.float64)
    others = logits.copy()
    np.put_along_axis(others, _index(logits, labels), -np.inf, axis=-1)
    return true_logit(logits, labels) - logsumexp(others, axis=-1)


def true_logit(logits: FloatArray, labels: IntArray) -> FloatArray:
    """Return the labels' entries of (..., n, C) logits: (..., n)."""
    return np.take_along_axis(logits, _index(logits, labels), axis=-1)[..., 0]


def _index(logits: FloatArray, labels: IntArray) -> IntArray:
    return np.broadcast_to(labels[:, None], (*logits.shape[:-1], 1))


def check_outputs(
    name: str, values: ArrayLike, labels: ArrayLike, are_probs: bool
) -> tuple[FloatArray, IntArray]:
    """Return logits (n, C) and labels (n,) of arrays that came from outside.

    Raises
    ------
    MIBenchError
        If an array is not numeric, holds NaN or infinity, has the wrong shape, a label lies
        outside the classes, or rows of probabilities do not sum to one.
    """
    array, classes = _numeric(name, values), _numeric(f"the labels of {name}", labels)
    if array.ndim != 2 or array.shape[1] < 2:
        raise MIBenchError(f"{name} has shape {array.shape}; expected (samples, classes)")
    if classes.shape != array.shape[:1]:
        raise MIBenchError(
            f"the labels of {name} have shape {classes.shape}; expected {array.shape[:1]}, "
            "one a row"
        )
    if len(array) == 0:
        raise MIBenchError(f"{name} holds no samples")
    if (classes != np.floor(classes)).any() or classes.min() < 0 or classes.max() >= array.shape[1]:
        from_one = classes.min() == 1 and classes.max() == array.shape[1]
        raise MIBenchError(
            f"the labels of {name} must be whole numbers from 0 to {array.shape[1] - 1}; "
            f"found {classes.min():g} to {classes.max():g}"
            + ("; they count from 1: subtract 1" if from_one else "")
        )
    if are_probs:
        sums = array.sum(axis=1)
        if array.min() < 0 or np.abs(sums - 1).max() > 1e-3:
            worst = int(np.abs(sums - 1).argmax())
            raise MIBenchError(
                f"the rows of {name} are not probabilities: row {worst} sums to {sums[worst]:.4g}, "
                f"the smallest value is {array.min():.4g}; give posteriors, or logits under a name "
                "that ends in _logits"
            )
        # A zero was rounded from something, which is taken to be less than all that were not.
        least = min(LOWEST_PROBABILITY, array[array > 0].min())
        array = np.log(np.maximum(array, least))
    return array, classes.astype(np.int64)


def check_membership(name: str, values: ArrayLike, length: int) -> BoolArray:
    """Return a membership mask (n,) that came from outside, or raise MIBenchError."""
    mask = _numeric(name, values)
    if mask.shape != (length,):
        raise MIBenchError(f"{name} has shape {mask.shape}; expected ({length},), one a sample")
    if not np.isin(mask, (0, 1)).all():
        raise MIBenchError(f"{name} must hold only 0 and 1 (or false and true)")
    if mask.all() or not mask.any():
        missing = "nonmembers" if mask.all() else "members"
        raise MIBenchError(f"{name} marks no {missing}; an attack needs members and nonmembers")
    return mask.astype(bool)


def check_references(
    logits: ArrayLike, trained_on: ArrayLike, shape: tuple[int, int]
) -> tuple[FloatArray, BoolArray]:
    """Return reference logits (K, n, C) and their mask (K, n) that came from outside."""
    array = _numeric("reference_logits", logits)
    mask = _numeric("reference_in", trained_on)
    if array.ndim != 3 or array.shape[1:] != shape:
        raise MIBenchError(
            f"reference_logits has shape {array.shape}; expected (models, {shape[0]}, {shape[1]})"
        )
    if mask.shape != array.shape[:2] or not np.isin(mask, (0, 1)).all():
        raise MIBenchError(
            f"reference_in must hold 0 and 1 with shape {array.shape[:2]}; it has {mask.shape}"
        )
    return array, mask.astype(bool)


def _numeric(name: str, values: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors with gradients
        raise MIBenchError(f"{name} is no array of numbers: {error}") from None
    if array.dtype.kind not in "biuf":
        raise MIBenchError(f"{name} holds {array.dtype} values; expected numbers")
    if not np.isfinite(array).all():
        raise MIBenchError(
            f"{name} holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite"
        )
    return array.astype(np.float64)
