"""Audit of a model that was trained elsewhere, from its outputs alone."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from mibench.attacks.base import NEEDS, Attack, Inference, Knowledge, parse
from mibench.errors import MIBenchError
from mibench.outputs import (
    BoolArray,
    Labelled,
    Outputs,
    check_membership,
    check_outputs,
    check_references,
)
from mibench.setting import Setting
from mibench.store import replacing
from mibench.streams import Streams
from mibench.study import metrics, results
from mibench.study.provenance import provenance

_SHOWN = ("auc", "ma", "accuracy", "precision", "recall", "f1", "fpr", "tpr_at_fpr_1")
_OF_A_MODEL = ("probs", "logits", "labels", "is_member")
_USED = {
    *(f"{owner}_{part}" for owner in ("target", "shadow") for part in _OF_A_MODEL),
    *("reference_logits", "reference_in"),
}


@dataclass(frozen=True)
class Audited:
    """One attack's answer on the audited model, with what :mod:`mibench.figures` draws of it."""

    attack: Attack
    inference: Inference
    is_member: BoolArray
    metrics: dict[str, metrics.Estimate]
    seconds: float


@dataclass(frozen=True)
class AuditReport:
    """What every possible attack found, and which were not possible.

    Attributes
    ----------
    attacked : list of Audited
    left_out : dict of str to str
        Attacks that could not run, with what they lacked.
    seed : int
    data_sha256 : str
        Checksum of the arrays that were audited.
    """

    attacked: list[Audited]
    left_out: dict[str, str]
    seed: int
    data_sha256: str

    @property
    def table(self) -> pd.DataFrame:
        """One row an attack, with those columns of an experiment's results that an audit has.

        They are all but those of dataset, scenario and training.
        """
        rows: list[dict[str, Any]] = [
            {
                "attack": a.attack.label,
                "title": a.attack.full_title,
                "status": "ok",
                "error": "",
                "seed": self.seed,
                "data_sha256": self.data_sha256,
                **provenance(),
                "samples": len(a.is_member),
                "threshold": a.inference.threshold,
                **metrics.as_columns(a.metrics),
                "seconds": a.seconds,
            }
            for a in self.attacked
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        rows = results.metrics_table(self.table)[list(_SHOWN)] if self.attacked else "no attacks"
        text = rows if isinstance(rows, str) else rows.to_string()
        lines = [f"left out: {name} ({reason})" for name, reason in self.left_out.items()]
        return "\n".join([text, *lines])

    def save(self, path: str | Path) -> None:
        """Write the table as Parquet or JSON, by the ending of `path`.

        Raises
        ------
        MIBenchError
            If the ending is neither, or `path` is a folder.
        """
        path = check_out(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            if path.suffix == ".json":
                temporary.write_text(results.to_json(self.table), encoding="utf-8")
            else:
                self.table.to_parquet(temporary, index=False)


def check_out(path: str | Path) -> Path:
    """Return `path`, or raise MIBenchError where no table can be written there."""
    path = Path(path)
    if path.suffix not in (".json", ".parquet"):
        raise MIBenchError(f"{path} ends neither in .json nor in .parquet; choose one of the two")
    if path.is_dir():
        raise MIBenchError(f"{path} is a folder; give the name of a file")
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
    own = None if shadow is None else _outputs("shadow", shadow)
    return _run(_outputs("target", target), own, references, seed)


def _run(
    target: Labelled,
    shadow: Labelled | None,
    references: Mapping[str, ArrayLike] | None,
    seed: int,
) -> AuditReport:
    Setting.read({"seed": seed})
    outputs, is_member = target.outputs, target.is_member
    checksum = hashlib.sha256()
    for known in filter(None, (target, shadow)):
        for array in (known.outputs.logits, known.outputs.labels, known.is_member):
            checksum.update(array.tobytes())
    given = set()
    if shadow is not None:
        classes = [known.outputs.logits.shape[1] for known in (target, shadow)]
        if classes[0] != classes[1]:
            raise MIBenchError(
                f"the target has {classes[0]} classes but the shadow has {classes[1]}; both must "
                "be models of the same task"
            )
        given.add("shadow")
    if references is not None:
        logits, trained_on = check_references(
            _part("reference", references, "logits"),
            _part("reference", references, "in"),
            (len(outputs), outputs.logits.shape[1]),
        )
        outputs = replace(outputs, reference_logits=logits, reference_in=trained_on)
        given.add("references")
        for array in (logits, trained_on):
            checksum.update(array.tobytes())
    streams = Streams(seed=seed, data=checksum.hexdigest())
    knowledge = Knowledge(streams.seed("attacks"), () if shadow is None else (shadow,))
    # Files often hold members first, and an attack that breaks ties by order would learn of it.
    order = streams("order").permutation(len(outputs))
    shuffled, place = outputs.take(order), np.argsort(order)
    attacked, left_out = [], {}
    # Shown where it takes longer than a second.
    for attack in tqdm(parse("all"), desc="attacks", unit="attack", leave=False, delay=1):
        if lacking := sorted(attack.needs - given):
            left_out[attack.label] = "lacks " + "; ".join(NEEDS[need] for need in lacking)
            continue
        began = time.perf_counter()
        try:
            found = attack.fit(knowledge).infer(shuffled)
            inference = replace(found, scores=found.scores[place])
            measured = metrics.evaluate(inference, is_member, seed=seed)
        except MIBenchError as error:
            left_out[attack.label] = str(error)
            continue
        seconds = time.perf_counter() - began
        attacked.append(Audited(attack, inference, is_member, measured, seconds))
    return AuditReport(attacked, left_out, seed, checksum.hexdigest())


def audit_file(path: str | Path, probs: str | None = None, seed: int = 0) -> AuditReport:
    """Run every attack that the contents of an NPZ file allow.

    The file holds ``target_probs`` or ``target_logits`` (n, C), ``target_labels`` (n,),
    ``target_is_member`` (n,), optionally the same with ``shadow_``, optionally
    ``reference_logits`` (K, n, C) with ``reference_in`` (K, n).

    Parameters
    ----------
    path : path
    probs : str, optional
        Another array of the target's outputs, such as ``target_probs_memguard``; the shadow's is
        the one with ``shadow`` for ``target`` in its name. By default ``target_logits``, or
        ``target_probs`` where there are none.
    seed : int

    Raises
    ------
    MIBenchError
        If the file or an array is lacking or not what it should be.
    """
    target, shadow, references = read(path, probs)
    return _run(target, shadow, references, seed)


def read(
    path: str | Path, probs: str | None = None
) -> tuple[Labelled, Labelled | None, Mapping[str, ArrayLike] | None]:
    """Return target, shadow and references of a file that :func:`audit_file` takes."""
    twin = probs and probs.replace("target", "shadow", 1)
    arrays = _read(Path(path), {*_USED, probs, twin})
    target = _of_model(path, arrays, "target", probs)
    shadow = references = None
    of_shadow = {*(f"shadow_{part}" for part in _OF_A_MODEL), twin} - {probs}
    if of_shadow & arrays.keys():
        if probs is not None and twin == probs:
            raise MIBenchError(
                f"{path} holds a shadow's arrays, whose outputs are found by writing 'shadow' for "
                f"'target' in the name; {probs!r} has no 'target' in it: rename the array"
            )
        shadow = _of_model(path, arrays, "shadow", twin)
    if "reference_logits" in arrays or "reference_in" in arrays:
        _need(path, arrays, "reference_logits", "reference_in")
        references = {"logits": arrays["reference_logits"], "in": arrays["reference_in"]}
    return target, shadow, references


def _read(path: Path, used: set[str | None]) -> dict[str, Any]:
    """Return the arrays that are used, and None for whatever else is in the file."""
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
            return {n: file[n] if n in used else None for n in names}
    except MIBenchError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise MIBenchError(f"{path} cannot be read: {reason}") from None
    # A damaged file makes the readers of ZIP and NPY raise almost anything.
    except Exception as error:
        if "Object arrays" in str(error):
            raise MIBenchError(
                f"{path} holds Python objects, which are not loaded: they could run code; save "
                "plain numeric arrays with numpy.savez"
            ) from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if "pickled" in reason:  # NumPy's guess at whatever is neither ZIP nor NPY
            reason = "it is no ZIP archive"
        raise MIBenchError(
            f"{path} is not a complete NPZ file ({reason}); write it again with numpy.savez"
        ) from None


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _need(path: str | Path, arrays: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if name not in arrays:
            raise MIBenchError(f"{path} has no array {name!r}; it holds {', '.join(arrays)}")


def _of_model(
    path: str | Path, arrays: Mapping[str, Any], owner: str, outputs: str | None
) -> Labelled:
    """Return a model's outputs of a name, by default its logits or its posteriors."""
    kinds = [kind for kind in ("logits", "probs") if f"{owner}_{kind}" in arrays]
    name = outputs or f"{owner}_{kinds[0] if kinds else 'probs'}"
    _need(path, arrays, name, f"{owner}_labels", f"{owner}_is_member")
    given = {part: arrays[f"{owner}_{part}"] for part in ("labels", "is_member")}
    return _outputs(owner, given | {"logits" if "logits" in name else "probs": arrays[name]}, name)


def _outputs(owner: str, given: Mapping[str, ArrayLike], name: str = "") -> Labelled:
    kind = "logits" if "logits" in given else "probs"
    values, labels = _part(owner, given, kind), _part(owner, given, "labels")
    logits, labels = check_outputs(name or f"{owner}_{kind}", values, labels, kind == "probs")
    members = _part(owner, given, "is_member")
    return Labelled(
        Outputs(logits, labels), check_membership(f"{owner}_is_member", members, len(labels))
    )


def _part(owner: str, given: Mapping[str, ArrayLike], name: str) -> ArrayLike:
    if name not in given:
        raise MIBenchError(f"the {owner} comes without {name!r}; it has {', '.join(given)}")
    return given[name]
