"""What an auditor gives: named arrays, checked, in the form that attacks take."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mibench.attacks.base import NEEDS, Attack, Knowledge
from mibench.errors import MIBenchError
from mibench.outputs import (
    Copies,
    FloatArray,
    IntArray,
    Labelled,
    Outputs,
    Shape,
    check_labels,
    check_mask,
    check_membership,
    check_numbering,
    check_numbers,
    check_outputs,
    check_values,
    cross_entropy,
)
from mibench.study import metrics

ArrayT = TypeVar("ArrayT", bound=NDArray[Any])

_OF_SHADOWS = ("perturbed", "noisy")
_COPIES = (*_OF_SHADOWS, "augmented")
# What an attack with the two needs that a name holds reads beside the arrays of each.
_OF_BOTH = (
    *("auxiliary_reference_*", "auxiliary_inputs", "shadow_auxiliary_*", "shadow_trajectory_*"),
    *("reference_augmented_*", "shadow_perturbed_*", "shadow_noisy_*"),
)
_NAME = re.compile(
    "(target|shadow|auxiliary|generated)_(logits|probs|labels)|(target|shadow)_is_member"
    "|(random|distilled|(auxiliary_)?reference|(shadow_)?trajectory|shadow_auxiliary)_(logits|probs)"
    "|((shadow_)?(perturbed|noisy)|(reference_)?augmented)_(logits|probs|loss|predicted)"
    "|reference_in|(auxiliary_)?inputs"
)
# An AUC of the loss that no model explains: labels or membership are wrong.
_INVERTED = 0.45


@dataclass(frozen=True)
class Given:
    """Arrays of an audit, checked.

    Attributes
    ----------
    target : Labelled
        The audited model's outputs; only metrics read their membership.
    knowledge : Knowledge
        What attacks have beside; its seed is still to be set.
    met : frozenset of str
        The needs that the arrays meet, and what of :data:`_OF_BOTH` and of the copies' losses is
        there.
    notes : tuple of str
        What was interpreted, left out, not read or seems wrong; one sentence each.
    sha256 : str
        Checksum of all arrays that were read.
    """

    target: Labelled
    knowledge: Knowledge
    met: frozenset[str]
    notes: tuple[str, ...]
    sha256: str

    def lacking(self, attack: Attack) -> str:
        """Return in words what an attack needs that was not given, or nothing."""
        if needs := sorted(attack.needs - self.met):
            return "lacks " + "; ".join(NEEDS[need] for need in needs)
        arrays = {name for name in _OF_BOTH if needs_of(name) <= attack.needs}
        if not attack.labels_only:
            stems = [name.removesuffix("_*") for name in attack.needs | arrays]
            arrays |= {f"{stem}_loss" for stem in stems if stem.endswith(_COPIES)}
        arrays -= self.met
        return f"lacks {', '.join(sorted(arrays))}" if arrays else ""


def needs_of(name: str) -> set[str]:
    """Return the needs that an array's name holds; ``auxiliary_reference_logits`` holds two."""
    return {need for need in NEEDS if need.removesuffix("s") in name}


def known(name: str) -> bool:
    """Return whether an audit reads an array of this name."""
    return _NAME.fullmatch(name) is not None


def check(arrays: Mapping[str, Any], probs: str | None = None, source: str = "the audit") -> Given:
    """Check arrays that came from outside.

    Parameters
    ----------
    arrays : mapping
        By the names that docs/attacks.md lists. Others are not read, and named in the notes.
    probs : str, optional
        Another array of the target's outputs; the shadow's is the one with ``shadow`` for
        ``target`` in its name.
    source : str
        What messages call the whole.

    Raises
    ------
    MIBenchError
        If an array is lacking or not what it should be; the sentence names it.
    """
    reader, twin = _Reader(source, arrays), probs and probs.replace("target", "shadow", 1)
    target = reader.labelled("target", probs)
    reader.classes, count = target.logits.shape[1], len(target)
    is_member = reader.checked("target_is_member", check_membership, (count,))
    if reader.has("trajectory"):
        target = replace(target, trajectory_logits=reader.outputs("trajectory", ("epochs", count)))
    shadows: tuple[Labelled, ...] = ()
    if reader.has("shadow", "is_member", "labels") or twin in reader.left:
        if probs is not None and twin == probs:
            raise MIBenchError(
                f"{source} holds a shadow's arrays, whose outputs are found by writing 'shadow' "
                f"for 'target' in the name; {probs!r} has no 'target' in it: rename the array"
            )
        path = target.trajectory_logits
        shadows = reader.shadows(twin, "epochs" if path is None else len(path))
    if reader.has("reference", "in"):
        target = reader.references(target)
    reader.drop_diverged("distilled_logits", "distilled_probs")
    if reader.has("distilled"):
        logits = reader.outputs("distilled", ("models", count))
        target = replace(target, distilled_logits=logits)
    if "inputs" in reader.left:
        target = replace(target, inputs=reader.inputs("inputs", count))
    [copies] = reader.copies("", target.labels[None], kinds=_COPIES)
    if "augmented" in copies and target.reference_logits is not None:
        copies["augmented"] = reader.augmented(copies["augmented"], target)
    random = reader.outputs("random", ("samples",)) if reader.has("random") else None
    generated = reader.labelled("generated") if reader.has("generated", "labels") else None
    auxiliary, of_shadows = reader.auxiliary(target, len(shadows))
    knowledge = Knowledge(
        shadows=shadows,
        random=None if random is None else Outputs(random, random.argmax(axis=1)),
        generated=generated,
        auxiliary=auxiliary,
        shadow_auxiliary=of_shadows,
    )
    labelled = Labelled(replace(target, copies=copies), is_member)
    unread = ["not read: " + ", ".join(reader.left)] if reader.left else []
    notes = (*reader.notes, *_cautions(labelled, shadows), *unread)
    return Given(labelled, knowledge, frozenset(reader.met), notes, reader.sha256.hexdigest())


class _Reader:
    """Takes arrays by name; `left` are those not taken, `met` the needs met so far."""

    def __init__(self, source: str, arrays: Mapping[str, Any]):
        self.source, self.names, self.left = source, list(arrays), dict(arrays)
        self.classes: int | None = None
        # Several shadows' arrays have one axis more.
        self.axis: Shape = ()
        self.met: set[str] = set()
        self.notes: list[str] = []
        self.sha256 = hashlib.sha256()

    def has(self, stem: str, *parts: str) -> bool:
        return any(f"{stem}_{part}" in self.left for part in ("logits", "probs", *parts))

    def take(self, name: str) -> Any:
        if name not in self.left:
            raise MIBenchError(
                f"{self.source} has no array {name!r}; it holds {', '.join(self.names)}"
            )
        return self.left.pop(name)

    def checked(self, name: str, by: Callable[..., ArrayT], *expected: Any) -> ArrayT:
        array = by(name, self.take(name), *expected)
        self.sha256.update(np.ascontiguousarray(array).data)
        return array

    def outputs(self, stem: str, lead: Shape, name: str | None = None) -> FloatArray:
        name = name or self._named(stem)
        logits = self.checked(name, check_outputs, lead, self.classes, self.notes.append)
        self.met |= {stem, f"{stem}s", f"{stem}_*"}
        return logits

    def _named(self, stem: str) -> str:
        return f"{stem}_logits" if f"{stem}_logits" in self.left else f"{stem}_probs"

    def labelled(self, owner: str, name: str | None = None) -> Outputs:
        logits = self.outputs(owner, ("samples",), name)
        labels = self.checked(f"{owner}_labels", check_labels, logits.shape[:1], logits.shape[1])
        return Outputs(logits, labels)

    def inputs(self, name: str, count: int, shape: Shape | None = None) -> FloatArray:
        array = check_numbers(name, self.left[name])
        self.met.add(name)
        rest = array.shape[1:] if shape is None else shape
        return self.checked(name, check_values, (count, *rest))

    def shadows(self, name: str | None, epochs: int | str) -> tuple[Labelled, ...]:
        name = name if name in self.left else self._named("shadow")
        several = name in self.left and check_numbers(name, self.left[name]).ndim == 3
        if several:
            own = [n for n in self.left if n == name or (n.startswith("shadow_") and known(n))]
            # One row of labels or membership is that of all shadows.
            self.drop_diverged(*(n for n in own if check_numbers(n, self.left[n]).ndim > 1))
            if name not in self.left:
                for n in own:
                    self.left.pop(n, None)
                return ()
        logits = self.outputs("shadow", ("shadows", "samples") if several else ("samples",), name)
        self.axis, count = logits.shape[:-2], logits.shape[-2]

        def each(part: str, by: Callable[..., ArrayT], *expected: Any) -> NDArray[Any]:
            alike = several and check_numbers(part, self.left.get(part, 0)).ndim == 1
            shape = (count,) if alike else logits.shape[:-1]
            array = self.checked(part, by, shape, *expected)
            return np.broadcast_to(array, logits.shape[:-1]).reshape(-1, count)

        labels = each("shadow_labels", check_labels, self.classes)
        is_member = each("shadow_is_member", check_membership)
        copies = self.copies("shadow_", labels, self.axis)
        logits = logits.reshape(-1, *logits.shape[-2:])
        paths: list[FloatArray | None] = [None] * len(labels)
        if self.has("shadow_trajectory"):
            stack = self.outputs("shadow_trajectory", (*self.axis, epochs, count))
            paths = list(stack.reshape(len(labels), -1, *stack.shape[-2:]))
        return tuple(
            Labelled(Outputs(own, y, trajectory_logits=path, copies=answers), mask)
            for own, y, path, answers, mask in zip(
                logits, labels, paths, copies, is_member, strict=True
            )
        )

    def references(self, target: Outputs) -> Outputs:
        self.drop_diverged(*(name for name in self.left if known(name) and "reference" in name))
        if not self.has("reference", "in"):
            return target
        logits = self.outputs("reference", ("models", len(target)))
        trained_on = self.checked("reference_in", check_mask, logits.shape[:2])
        for k, model in enumerate(logits):
            if np.array_equal(model, target.logits):
                raise MIBenchError(
                    f"reference model {k} answers just as the target does and so is the target "
                    "itself; leave it out of all reference arrays"
                )
        return replace(target, reference_logits=logits, reference_in=trained_on)

    def drop_diverged(self, *names: str) -> None:
        """Leave out the models that have NaN or infinity in one of the arrays, from all."""
        stacks = {n: check_numbers(n, self.left[n]) for n in names if n in self.left}
        self.left |= stacks
        if len(sizes := {stack.shape[:1] for stack in stacks.values()}) > 1 or () in sizes:
            return  # which is told where their shapes are checked
        bad = np.any([[not np.isfinite(m).all() for m in s] for s in stacks.values()], axis=0)
        if bad.any():
            for name, stack in stacks.items():
                self.left[name] = stack[~bad]
                if bad.all():
                    del self.left[name]
            first = next(name for name, stack in stacks.items() if not np.isfinite(stack).all())
            self.notes.append(
                f"{first} has NaN or infinity in {bad.sum()} of {len(bad)} models, left out"
            )

    def copies(
        self,
        owner: str,
        labels: IntArray,
        axis: Shape = (),
        kinds: tuple[str, ...] = _OF_SHADOWS,
    ) -> list[dict[str, Copies]]:
        """Return answers on copies of each model's samples (S, n), by kind."""
        found: list[dict[str, Copies]] = [{} for _ in labels]
        for kind in kinds:
            stem, lead = f"{owner}{kind}", (*axis, "copies", labels.shape[1])
            if self.has(stem):
                logits = self.outputs(stem, lead)
                logits = logits.reshape(len(labels), -1, *logits.shape[-2:])
                predicted, losses = logits.argmax(axis=-1), map(cross_entropy, logits, labels)
                loss = np.stack(list(losses))
            elif self.has(stem, "predicted", "loss"):
                predicted = self.checked(f"{stem}_predicted", check_labels, lead, self.classes)
                loss = np.full(predicted.shape, np.nan)
                if self.has(stem, "loss"):
                    loss = self.checked(f"{stem}_loss", check_values, predicted.shape)
            else:
                continue
            self.met |= {stem, f"{stem}_*"} | (
                {f"{stem}_loss"} if not np.isnan(loss).any() else set()
            )
            shape = (len(labels), -1, labels.shape[1])
            for own, *answers in zip(
                found, loss.reshape(shape), predicted.reshape(shape), strict=True
            ):
                own[kind] = Copies(*answers)
        return found

    def augmented(self, own: Copies, target: Outputs) -> Copies:
        """Return the target's answers on augmented copies with the references' losses."""
        assert target.reference_logits is not None
        shape = len(target.reference_logits), len(target)
        labels = np.broadcast_to(target.labels, shape)
        found = self.copies("reference_", labels, shape[:1], ("augmented",))
        if not found or not found[0]:
            return own
        others = np.stack([answers["augmented"].loss for answers in found])
        if others.shape[1:] != own.loss.shape:
            raise MIBenchError(
                f"reference models were asked for {others.shape[1]} augmented copies and the "
                f"target for {len(own.loss)}; give the answers on the same copies"
            )
        return replace(own, reference_loss=others)

    def auxiliary(
        self, target: Outputs, shadows: int
    ) -> tuple[Outputs | None, tuple[Outputs, ...]]:
        """Return what target, references and each shadow answer on the auxiliary samples."""
        if not self.has("auxiliary", "labels"):
            return None, ()
        own, of_shadows = self.labelled("auxiliary"), tuple[Outputs, ...]()
        if target.reference_logits is not None and self.has("auxiliary_reference"):
            lead = (len(target.reference_logits), len(own))
            logits = self.outputs("auxiliary_reference", lead)
            own = replace(own, reference_logits=logits, reference_in=np.zeros(lead, dtype=bool))
        if target.inputs is not None and "auxiliary_inputs" in self.left:
            shape = target.inputs.shape[1:]
            own = replace(own, inputs=self.inputs("auxiliary_inputs", len(own), shape))
        if shadows and self.has("shadow_auxiliary"):
            logits = self.outputs("shadow_auxiliary", (*self.axis, len(own)))
            stack = logits.reshape(shadows, *logits.shape[-2:])
            of_shadows = tuple(Outputs(one, own.labels) for one in stack)
        return own, of_shadows


def _cautions(target: Labelled, shadows: tuple[Labelled, ...]) -> Iterator[str]:
    """Yield what makes labels or membership doubtful."""
    outputs, shadow = target.outputs, Labelled.joined(shadows) if shadows else None
    members = target.is_member
    if said := check_numbering(outputs.logits[members], outputs.labels[members]):
        yield said
    alone = np.setxor1d(outputs.labels[members], outputs.labels[~members])
    if len(alone):
        of = int(np.isin(outputs.labels, alone).sum())
        more = f" and {len(alone) - 1} more" if alone[1:].size else ""
        yield (
            f"caution: class {alone[0]}{more}, {of:,} of {len(members):,} samples, has members "
            "alone or nonmembers alone, so that the label itself gives membership away"
        )
    sides = [("target_is_member", outputs.loss, target.is_member)]
    if shadow is not None:
        sides.append(("shadow_is_member", shadow.outputs.loss, shadow.is_member))
    if outputs.reference_logits is not None and outputs.reference_in is not None:
        losses = cross_entropy(outputs.reference_logits, outputs.labels)
        sides.append(("reference_in", losses.ravel(), outputs.reference_in.ravel()))
        if len(losses) > 1 and (losses == losses[0]).all():
            yield (
                "caution: all reference models answer alike, so that attacks by references find "
                "little; were they trained on samples, and with seeds, of their own?"
            )
    for name, loss, mask in sides:
        # Reference models may all be of one side.
        if 0 < mask.sum() < len(mask) and (auc := metrics.auc(-loss, mask)).high < _INVERTED:
            yield (
                f"caution: the loss is lower outside {name} (AUC {auc.value:.3f}): is {name} "
                "inverted, or are labels off by one?"
            )
