"""What a model gave out on labelled samples: the only thing that attacks are made of.

Validation of arrays, whoever made them, is done here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from mibench.errors import MIBenchError

LOWEST_PROBABILITY = 1e-7
# What a posterior of zero is taken for: so little that all zeros of a row leave the others as they
# are, and a tie of two samples does not break by how many there are.
_ZERO = 1e-20
# Samples whose logits are worked on at a time, so that they stay in a processor's cache.
_AT_ONCE = 1024
# Arrays whose second axis is that of the samples.
_BY_MODEL = ("reference_logits", "reference_in", "distilled_logits", "trajectory_logits")

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
    reference_loss : float array, (K, P, n), optional
        The losses of K reference models on the same copies.
    """

    loss: FloatArray
    predicted: IntArray
    reference_loss: FloatArray | None = None

    def take(self, samples: IntArray) -> Copies:
        """Return the answers for a selection of the samples."""
        return self._each(lambda array: array[..., samples])

    def of_model(self, model: int) -> Copies:
        """Return the answers of one of several models, where all arrays have an axis before."""
        return self._each(lambda array: array[model])

    def _each(self, cut: Callable[[Any], Any]) -> Copies:
        others = self.reference_loss
        return Copies(cut(self.loss), cut(self.predicted), None if others is None else cut(others))


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
    trajectory_logits : float array, (E, n, C), optional
        Outputs of one model distilled from the model, after each of E numbers of epochs.
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
    trajectory_logits: FloatArray | None = None
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
        return scipy.special.softmax(self.logits.astype(np.float64), axis=1)

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

    def top_probs(self, count: int) -> FloatArray:
        """Return the largest posteriors of each sample in descending order, (n, count)."""
        return self.in_blocks(lambda some: -np.sort(-some.probs, axis=1)[:, :count])

    def in_blocks(self, measure: Callable[[Outputs], FloatArray]) -> FloatArray:
        """Return what is measured of each sample's own logits, some samples at a time.

        All posteriors, in double precision, would be twice as large as the logits or more.
        """
        starts = range(0, len(self), _AT_ONCE)
        blocks = [slice(start, start + _AT_ONCE) for start in starts]
        return np.concatenate([measure(Outputs(self.logits[b], self.labels[b])) for b in blocks])

    def take(self, samples: IntArray) -> Outputs:
        """Return the outputs on a selection of the samples."""
        optional: dict[str, Any] = {
            name: array[:, samples]
            for name in _BY_MODEL
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
        paths = [o.trajectory_logits for o in outputs if o.trajectory_logits is not None]
        return Labelled(
            Outputs(
                np.concatenate([o.logits for o in outputs]),
                np.concatenate([o.labels for o in outputs]),
                trajectory_logits=np.concatenate(paths, axis=1) if paths else None,
                copies=copies,
            ),
            np.concatenate([part.is_member for part in parts]),
        )


def log_probs(logits: FloatArray) -> FloatArray:
    """Return log softmax over the last axis, clipped below at log 1e-7."""
    unclipped = scipy.special.log_softmax(logits.astype(np.float64), axis=-1)
    return np.maximum(unclipped, np.log(LOWEST_PROBABILITY))


def cross_entropy(logits: FloatArray, labels: IntArray, temperature: float = 1.0) -> FloatArray:
    """Return the unclipped cross entropy, in nats, of (..., n, C) logits: (..., n)."""
    return np.logaddexp(0.0, -scaled_logit(logits, labels, temperature))


def scaled_logit(logits: FloatArray, labels: IntArray, temperature: float = 1.0) -> FloatArray:
    """Return log(p_y / (1 - p_y)) of (..., n, C) logits divided by a temperature: (..., n).

    Computed as the true logit less the log-sum-exp of the others, which is exact where p_y
    rounds to one (Carlini et al. 2022, the logit scaling of the model's confidence). Exponentials
    are as precise as the logits.
    """
    if logits.ndim > 2:
        return np.stack([scaled_logit(model, labels, temperature) for model in logits])
    found, classes = np.empty(len(labels)), logits.shape[1]
    # Samples side by side, so that sums over few classes are as quick as over many; and one block
    # of memory for all parts, since to be given a new one takes longer than to fill it.
    size = max(64, min(4096, 2**17 // classes))
    block = np.empty((classes, size), np.result_type(logits, np.float32))
    for start in range(0, len(labels), size):
        rows = slice(start, start + size)
        own = labels[rows], np.arange(len(labels[rows]))
        others = block[:, : len(own[1])]
        others[:] = logits[rows].T
        true = others[own].astype(np.float64)
        others[own] = -np.inf
        top = others.max(axis=0)
        others -= top
        if temperature != 1:
            others /= temperature
        total = np.exp(others, out=others).sum(axis=0, dtype=np.float64)
        found[rows] = (true - top) / temperature - np.log(total)
    # Equal posteriors of the label are to tie, whatever the others sum up to in the last digit.
    return np.round(found, 12, out=found)


# A size that is known, or in words what it counts.
Shape = tuple[int | str, ...]


def check_outputs(
    name: str,
    values: ArrayLike,
    lead: Shape,
    classes: int | None = None,
    say: Callable[[str], None] = lambda note: None,
) -> FloatArray:
    """Return the logits (*lead, C) of posteriors or logits that came from outside.

    One column, (*lead,) or (*lead, 1), is that of class 1 of two. Of posteriors the logarithm is
    returned. Single precision stays so.

    Parameters
    ----------
    name : str
        With "logits" in it where the values are logits.
    values : array
    lead : tuple
    classes : int, optional
    say : callable, optional
        Called with one sentence about whatever was interpreted.

    Raises
    ------
    MIBenchError
        If the array is not numeric, holds NaN or infinity or has the wrong shape, if rows of
        posteriors do not sum to one beyond what rounding to two digits or more explains, or those
        of logits do.
    """
    array, are_logits = check_numbers(name, values), "logits" in name
    column = array.shape[len(lead) :] in ((), (1,)) and classes in (None, 2)
    if column:
        array, classes = array.reshape((*array.shape[: len(lead)], 1)), 1
    array = check_values(name, array, (*lead, classes or "classes"))
    low, sums = array.min(), array.sum(axis=-1)
    if are_logits and are_posteriors(array):
        raise MIBenchError(
            f"{name} holds posteriors: no value is below 0 and "
            f"{'none above 1' if column else 'the rows sum to one'}; name the array "
            f"{name.replace('logits', 'probs')}"
        )
    if column:
        say(f"{name} is one column, which is taken for class 1 of two")
        other = np.zeros_like(array) if are_logits else 1 - array
        array, low = np.concatenate([other, array], axis=-1), min(low, other.min())
        sums = np.ones(array.shape[:-1])
    return array if are_logits else _log(name, array, low, sums, say)


def are_posteriors(array: FloatArray) -> bool:
    """Return whether outputs (..., C), or (..., 1) of two classes, look like posteriors."""
    sums = array.sum(axis=-1)
    # Logits sum to one by chance in single rows only.
    in_range = sums.max() <= 1 if array.shape[-1] == 1 else np.median(np.abs(sums - 1)) < 0.01
    return bool(array.min() >= 0 and in_range)


def _log(
    name: str, probs: FloatArray, low: float, sums: FloatArray, say: Callable[[str], None]
) -> FloatArray:
    off = np.abs(sums - 1)
    digits = _digits(probs[off > 1e-3]) if off.max() > 1e-3 else None
    # What rounding can add up to, but never so much that a row says nothing.
    most = 1e-3 if digits is None else min(0.5, probs.shape[-1] * 0.5 * 10**-digits + 1e-6)
    if low < 0 or off.max() > most:
        raise MIBenchError(
            f"the rows of {name} are not probabilities: row {int(off.argmax())} sums to "
            f"{sums.flat[off.argmax()]:.4g}, the smallest value is {low:.4g}; give posteriors"
            + (", or logits under a name that ends in _logits" if name.endswith("probs") else "")
        )
    if digits is not None:
        say(
            f"{name} is rounded to {digits} digits, with sums from {sums.min():.4g} to "
            f"{sums.max():.4g}: each row was divided by its sum"
        )
        probs = probs / sums[..., None]
    # A zero was rounded from something, which is taken to be less than all that were not.
    least = min(_ZERO, probs.min(where=probs > 0, initial=1.0))
    logits: FloatArray = np.maximum(probs, probs.dtype.type(least))
    return np.log(logits, out=logits)


def _digits(values: FloatArray) -> int | None:
    """Return to how many digits, 2 to 6, values are rounded; None where to more."""
    for digits in range(2, 7):
        scaled = values.astype(np.float64) * 10**digits
        if np.abs(scaled - np.round(scaled)).max() < 1e-7 * 10**digits:
            return digits
    return None


def check_labels(name: str, values: ArrayLike, shape: Shape, classes: int) -> IntArray:
    """Return labels that came from outside, or raise MIBenchError."""
    labels = check_values(name, values, shape)
    if (labels != np.floor(labels)).any() or labels.min() < 0 or labels.max() >= classes:
        from_one = labels.min() == 1 and labels.max() == classes
        raise MIBenchError(
            f"{name} must be whole numbers from 0 to {classes - 1}; found {labels.min():g} to "
            f"{labels.max():g}" + ("; they count from 1: subtract 1" if from_one else "")
        )
    return labels.astype(np.int64)


def check_numbering(logits: FloatArray, labels: IntArray) -> str:
    """Return a caution where labels seem to number classes otherwise than the model, or nothing.

    Parameters
    ----------
    logits : float array, (n, C)
        Of a model on samples that it was trained on.
    labels : int array, (n,)

    Raises
    ------
    MIBenchError
        If most of its answers are one class beside the label.
    """
    (count, classes), predicted = logits.shape, logits.argmax(axis=1)
    right, chance = (predicted == labels).mean(), 1 / classes
    # Two standard errors above chance, or more, no order but the model's own is.
    if right >= min(0.5, chance + 2 * np.sqrt(chance * (1 - chance) / count)):
        together = np.zeros((classes, classes))
        np.add.at(together, (predicted, labels), 1)
        told = together.max(axis=1).sum() / count
        # Fewer samples a class go together by chance.
        if count < 10 * classes or told < right + 0.3:
            return ""
        return (
            f"caution: the target's answer is the label for {right:.1%} of its members, while the "
            f"answer tells it for {told:.1%}: do labels number classes as it does?"
        )
    for step, word in ((1, "plus"), (-1, "less")):
        if (share := ((labels + step) % classes == predicted).mean()) > 0.5:
            raise MIBenchError(
                "the labels do not number classes as the model does: its answer is the label "
                f"{word} 1 for {share:.1%} of the members, the label for {right:.1%}; give labels "
                "as it was trained on"
            )
    return (
        f"caution: the target classifies {right:.1%} of its members rightly, no more than by "
        "chance: do labels number classes as it does?"
    )


def check_mask(name: str, values: ArrayLike, shape: Shape) -> BoolArray:
    """Return a mask of 0 and 1 that came from outside, or raise MIBenchError."""
    mask = check_values(name, values, shape)
    if not np.isin(mask, (0, 1)).all():
        raise MIBenchError(f"{name} must hold only 0 and 1 (or false and true)")
    return mask.astype(bool)


def check_membership(name: str, values: ArrayLike, shape: Shape) -> BoolArray:
    """Return a mask with members and nonmembers in each row, or raise MIBenchError."""
    mask = check_mask(name, values, shape)
    for missing, side in (("nonmembers", ~mask), ("members", mask)):
        if not side.any(axis=-1).all():
            raise MIBenchError(f"{name} marks no {missing}; an attack needs members and nonmembers")
    return mask


def check_values(name: str, values: ArrayLike, shape: Shape) -> FloatArray:
    """Return finite numbers that came from outside, or raise MIBenchError."""
    array = check_numbers(name, values)
    wrong = any(isinstance(w, int) and w != s for w, s in zip(shape, array.shape, strict=False))
    if array.ndim != len(shape) or wrong:
        expected = ", ".join(map(str, shape)) + "," * (len(shape) == 1)
        raise MIBenchError(f"{name} has shape {array.shape}; expected ({expected})")
    if array.size == 0:
        raise MIBenchError(f"{name} is empty")
    if not (finite := np.isfinite(array)).all():
        raise MIBenchError(f"{name} holds NaN or infinity ({(~finite).sum()} of {array.size})")
    return array


def check_numbers(name: str, values: ArrayLike) -> FloatArray:
    """Return an array of numbers in single precision, if it came so, or in double."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors with gradients
        raise MIBenchError(f"{name} is no array of numbers: {error}") from None
    if array.dtype.kind not in "biuf":
        raise MIBenchError(f"{name} holds {array.dtype} values; expected numbers")
    exact = 4 if array.dtype.kind == "f" else 2
    single = array.dtype.itemsize <= exact
    return np.asarray(array, np.float32 if single else np.float64, order="C")
