"""Audit of a model that was trained elsewhere, from its outputs alone."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from mibench import __version__, attacks, figures, metrics, results
from mibench.attacks import Attack, Inference, Knowledge
from mibench.errors import MIBenchError
from mibench.outputs import (
    BoolArray,
    Outputs,
    check_membership,
    check_outputs,
    check_references,
)
from mibench.store import replacing

_SHOWN = ("auc", "ma", "accuracy", "precision", "recall", "f1", "fpr", "tpr_at_fpr_1")
_USED = ("target_", "shadow_", "reference_")


@dataclass(frozen=True)
class Audited:
    """One attack's answer on the audited model, with what :mod:`mibench.figures` draws of it."""

    attack: type[Attack]
    inference: Inference
    is_member: BoolArray
    metrics: dict[str, metrics.Estimate]


@dataclass(frozen=True)
class AuditReport:
    """What every possible attack found, and which were not possible.

    Attributes
    ----------
    attacked : list of Audited
    left_out : dict of str to str
        Attacks that could not run, with what they lacked.
    seed : int
    """

    attacked: list[Audited]
    left_out: dict[str, str]
    seed: int

    @property
    def table(self) -> pd.DataFrame:
        """One row an attack, with those columns of an experiment's results that an audit has.

        They are `attack`, `title`, `seed`, `mibench_version`, `samples`, `threshold` and every
        metric with `_low` and `_high`.
        """
        rows: list[dict[str, Any]] = [
            {
                "attack": a.attack.name,
                "title": a.attack.title,
                "seed": self.seed,
                "mibench_version": __version__,
                "samples": len(a.is_member),
                "threshold": a.inference.threshold,
                **metrics.as_columns(a.metrics),
            }
            for a in self.attacked
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        rows = results.metrics_table(self.table)[list(_SHOWN)] if self.attacked else "no attacks"
        text = rows if isinstance(rows, str) else rows.to_string()
        lines = [f"left out: {name} ({reason})" for name, reason in self.left_out.items()]
        return "\n".join([text, *lines])

    def plot(self) -> Figure:
        """Draw the ROC curves of all attacks on log axes."""
        return figures.roc(self.attacked)

    def save(self, path: str | Path) -> None:
        """Write the table as Parquet or JSON, by the ending of `path`.

        Raises
        ------
        MIBenchError
            If the ending is neither.
        """
        path = check_ending(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            if path.suffix == ".json":
                temporary.write_text(results.to_json(self.table), encoding="utf-8")
            else:
                self.table.to_parquet(temporary, index=False)


def check_ending(path: str | Path) -> Path:
    """Return `path`, or raise MIBenchError where its ending names no format."""
    path = Path(path)
    if path.suffix not in (".json", ".parquet"):
        raise MIBenchError(f"{path} ends neither in .json nor in .parquet; choose one of the two")
    return path


def audit(
    target: Mapping[str, ArrayLike],
    shadow: Mapping[str, ArrayLike] | None = None,
    references: Mapping[str, ArrayLike] | None = None,
    seed: int = 0,
) -> AuditReport:
    """Run every attack that the given outputs allow.

    Parameters
    ----------
    target : mapping
        ``probs`` or ``logits`` (n, C), ``labels`` (n,) and ``is_member`` (n,), which only the
        metrics read.
    shadow : mapping, optional
        The same of a shadow model on samples of its own; here attacks read ``is_member``.
    references : mapping, optional
        ``logits`` (K, n, C) of reference models on the target's samples and ``in`` (K, n),
        whether each was trained on them.
    seed : int

    Raises
    ------
    MIBenchError
        If an array is lacking or not what it should be; the sentence names it.
    """
    outputs, is_member = _outputs("target", target)
    knowledge = Knowledge()
    given = set()
    if shadow is not None:
        own, own_members = _outputs("shadow", shadow)
        if own.logits.shape[1] != outputs.logits.shape[1]:
            raise MIBenchError(
                f"the target has {outputs.logits.shape[1]} classes but the shadow has "
                f"{own.logits.shape[1]}; both must be models of the same task"
            )
        knowledge = Knowledge(shadow=own, shadow_is_member=own_members)
        given.add("shadow")
    if references is not None:
        logits, trained_on = check_references(
            _part("reference", references, "logits"),
            _part("reference", references, "in"),
            (len(outputs), outputs.logits.shape[1]),
        )
        outputs = replace(outputs, reference_logits=logits, reference_in=trained_on)
        given.add("references")
    attacked, left_out = [], {}
    # Shown where it takes longer than a second.
    bar = tqdm(attacks.REGISTRY.items(), desc="attacks", unit="attack", leave=False, delay=1)
    for name, kind in bar:
        if lacking := sorted(kind.needs - given):
            left_out[name] = "lacks " + "; ".join(attacks.NEEDS[need] for need in lacking)
            continue
        try:
            inference = kind(seed).fit(knowledge).infer(outputs)
            measured = metrics.evaluate(inference, is_member, seed=seed)
        except MIBenchError as error:
            left_out[name] = str(error)
            continue
        attacked.append(Audited(kind, inference, is_member, measured))
    return AuditReport(attacked, left_out, seed)


def audit_file(path: str | Path, probs: str = "target_probs", seed: int = 0) -> AuditReport:
    """Run every attack that the contents of an NPZ file allow.

    The file holds ``target_probs`` or ``target_logits`` (n, C), ``target_labels`` (n,),
    ``target_is_member`` (n,), optionally the same with ``shadow_``, optionally
    ``reference_logits`` (K, n, C) with ``reference_in`` (K, n).

    Parameters
    ----------
    path : path
    probs : str
        Another array of the target's outputs, such as ``target_probs_memguard``; the shadow's is
        the one with ``shadow`` for ``target`` in its name.
    seed : int

    Raises
    ------
    MIBenchError
        If the file or an array is lacking or not what it should be.
    """
    arrays = _read(Path(path), probs)
    if probs == "target_probs" and "target_logits" in arrays:
        probs = "target_logits"
    _need(path, arrays, probs, "target_labels", "target_is_member")
    target = _named(arrays, "target", probs)
    shadow = references = None
    if any(name.startswith("shadow_") for name in arrays):
        twin = probs.replace("target", "shadow", 1)
        _need(path, arrays, twin, "shadow_labels", "shadow_is_member")
        shadow = _named(arrays, "shadow", twin)
    if "reference_logits" in arrays or "reference_in" in arrays:
        _need(path, arrays, "reference_logits", "reference_in")
        references = {"logits": arrays["reference_logits"], "in": arrays["reference_in"]}
    return audit(target, shadow, references, seed)


def _read(path: Path, probs: str) -> dict[str, Any]:
    """Return the arrays that an audit can use, and None for whatever else is in the file."""
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise MIBenchError(f"{path} holds a single array; an audit needs an NPZ file")
        with file, zipfile.ZipFile(path) as members:
            size = sum(member.file_size for member in members.infolist())
            if size > (most := _memory() // 2):
                raise MIBenchError(
                    f"{path} unpacks to {size / 2**30:.1f} GiB; this machine can take "
                    f"{most / 2**30:.1f} GiB, half its memory"
                )
            names = file.files
            return {n: file[n] if n == probs or n.startswith(_USED) else None for n in names}
    except MIBenchError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise MIBenchError(f"{path} cannot be read: {reason}") from None
    # A damaged file makes the readers of ZIP and NPY raise almost anything.
    except Exception as error:
        if "allow_pickle" in str(error):
            raise MIBenchError(
                f"{path} holds Python objects, which are not loaded: they could run code; save "
                "plain numeric arrays with numpy.savez"
            ) from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MIBenchError(
            f"{path} is not a complete NPZ file ({reason}); write it again with numpy.savez"
        ) from None


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _need(path: str | Path, arrays: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if name not in arrays:
            raise MIBenchError(f"{path} has no array {name!r}; it holds {', '.join(arrays)}")


def _named(arrays: Mapping[str, Any], owner: str, outputs: str) -> dict[str, Any]:
    kind = "logits" if "logits" in outputs else "probs"
    return {
        kind: arrays[outputs],
        "labels": arrays[f"{owner}_labels"],
        "is_member": arrays[f"{owner}_is_member"],
    }


def _outputs(owner: str, given: Mapping[str, ArrayLike]) -> tuple[Outputs, BoolArray]:
    kind = "logits" if "logits" in given else "probs"
    values = _part(owner, given, kind)
    labels = _part(owner, given, "labels")
    logits, labels = check_outputs(f"{owner}_{kind}", values, labels, are_probs=kind == "probs")
    members = _part(owner, given, "is_member")
    return Outputs(logits, labels), check_membership(f"{owner}_is_member", members, len(labels))


def _part(owner: str, given: Mapping[str, ArrayLike], name: str) -> ArrayLike:
    if name not in given:
        raise MIBenchError(f"the {owner} comes without {name!r}; it has {', '.join(given)}")
    return given[name]
