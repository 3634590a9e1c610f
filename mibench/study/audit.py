"""Audit of a model that was trained elsewhere, from its outputs alone."""

from __future__ import annotations

import html
import textwrap
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mibench import code, progress
from mibench.attacks.base import Attack, Inference, Specs, parse
from mibench.data.npz import read_npz
from mibench.errors import MIBenchError
from mibench.outputs import BoolArray, IntArray, Labelled, Outputs
from mibench.setting import Place, Setting
from mibench.signals.own import Own, Train
from mibench.store import Store, check_folders, replacing
from mibench.streams import Streams
from mibench.study import epsilon, metrics, results, risk
from mibench.study.given import Given, check, known
from mibench.study.provenance import provenance

_SHOWN = {"ma": "ma", "tpr_at_fpr_1": "tpr@1%", "epsilon_one_run": "epsilon"}
_WIDTH = 80
# What an attacker must have, beside the model's answers on whatever it asks.
_MEANS = {
    "shadow": "shadow models",
    "references": "reference models",
    "distilled": "distilled models",
    "trajectory": "distilled models at several stages",
    "auxiliary": "nonmembers of its own",
    "generated": "nonmembers generated from its own",
}
_DEFAULT = Setting()


@dataclass(frozen=True)
class Audited:
    """One attack's answer on the audited model, with what :mod:`mibench.figures` draws of it.

    Attributes
    ----------
    attack : Attack
    samples : int array, (k,)
        The samples that the attack could score: not those with too few reference models.
    inference : Inference
        Of these samples, as is `is_member`.
    is_member : bool array, (k,)
    metrics : dict of str to Estimate
    epsilon : Bounds
        What the answer proves of the training's epsilon at a delta of 1e-5: with 95% confidence
        of all attacks at once.
    seconds : float
    """

    attack: Attack
    samples: IntArray
    inference: Inference
    is_member: BoolArray
    metrics: dict[str, metrics.Estimate]
    epsilon: epsilon.Bounds
    seconds: float


@dataclass(frozen=True, repr=False)
class AuditReport:
    """What every possible attack found, and which were not possible.

    Attributes
    ----------
    attacked : list of Audited
    left_out : dict of str to str
        Attacks that could not run, with what they lacked.
    described : dict
        The columns that all rows have alike: the target's accuracy on its members (train) and
        nonmembers (test), the models' numbers, the seed, a checksum of the arrays.
    labels, is_member : int and bool array, (n,)
        Of the audited samples, in the order in which they were given.
    notes : tuple of str
        What was interpreted, left out, not read or seems wrong.
    """

    attacked: list[Audited]
    left_out: dict[str, str]
    described: dict[str, Any]
    labels: IntArray
    is_member: BoolArray
    notes: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row per attack, with those columns of a study's results that an audit has.

        They are all but those of dataset, scenario and training; `samples_left_out` is further.
        """
        rows: list[dict[str, Any]] = [
            {
                "attack": a.attack.label,
                "title": a.attack.full_title,
                "status": "ok",
                "error": "",
                **self.described,
                "code": code.digest(__name__, type(a.attack).__module__),
                "samples": len(a.samples),
                "samples_left_out": len(self.labels) - len(a.samples),
                "threshold": a.inference.threshold,
                **metrics.as_columns(a.metrics),
                **{f"epsilon_{name}": bound for name, bound in a.epsilon._asdict().items()},
                "seconds": a.seconds,
            }
            for a in self.attacked
        ]
        return pd.DataFrame(rows)

    @cached_property
    def ranked(self) -> list[Audited]:
        """The attacks by TPR at 1% FPR, then AUC, the best first."""
        by = [self.table[name].fillna(-1) for name in ("tpr_at_fpr_1", "auc")]
        return [self.attacked[i] for i in np.lexsort([-values for values in reversed(by)])]

    @cached_property
    def risk(self) -> pd.DataFrame:
        """The risk of each sample, as :func:`mibench.study.risk.per_sample` has it."""
        rates = np.full((len(self.attacked), len(self.labels)), np.nan)
        for row, a in zip(rates, self.ranked, strict=True):
            row[a.samples] = risk.false_alarms(a.inference.scores, a.is_member)
        best = self.ranked[0]
        scores = np.full(len(self.labels), np.nan)
        scores[best.samples] = best.inference.scores
        return risk.per_sample(scores, rates, self.labels, self.is_member)

    def slices(self, by: ArrayLike | None = None) -> pd.DataFrame:
        """Return how exposed each class is, or each slice of :func:`mibench.study.risk.slices`."""
        return risk.slices(self.risk, by)

    @property
    def answer(self) -> str:
        """The share of members that the best attack finds, and what that says of epsilon.

        The share's interval and the bound hold for all attacks at once, since the best were chosen
        by the same samples.
        """
        if not self.attacked:
            return "No attack could be run."
        best = self.ranked[0]
        proven = (
            f"epsilon is at least {max(a.epsilon.one_run for a in self.attacked):.2f} (delta 1e-5, "
            "95% confidence; 0 proves nothing). Another model trained alike may tell more or less."
        )
        rate = metrics.METRICS["tpr_at_fpr_1"]
        if int((~best.is_member).sum()) < rate.needed:
            return f"What an attacker finds at 1% false alarms {rate.absent}; {proven}"
        found = metrics.tpr_at_fpr(
            best.inference.scores, best.is_member, risk.FPR, among=len(self.attacked)
        )
        among = f", the best of {count} attacks" if (count := len(self.attacked)) > 1 else ""
        means = [words for need, words in _MEANS.items() if need in best.attack.needs]
        return (
            f"An attacker with {' and '.join(means) or 'nothing but its answers'} finds "
            f"{found.value:.1%} of this model's members at 1% false alarms (95% interval "
            f"{found.low:.1%} to {found.high:.1%}; {best.attack.full_title}{among}; guessing finds "
            f"1%); {proven}"
        )

    @property
    def said(self) -> tuple[list[str], list[str]]:
        """The answer and what makes it doubtful; what else there is to say."""
        right = [f"{self.described[f'target_{side}_accuracy']:.1%}" for side in ("train", "test")]
        cautions = [note for note in self.notes if note.startswith("caution")]
        count = len(self.labels)
        return [self.answer, *cautions], [
            f"the target classifies {right[0]} of its members rightly and {right[1]} of its "
            "nonmembers",
            *(note for note in self.notes if note not in cautions),
            *(
                f"{a.attack.label}: on {len(a.samples):,} of {count:,} samples; the others lack "
                "reference models"
                for a in self.attacked
                if len(a.samples) < count
            ),
            *(f"left out: {name} ({reason})" for name, reason in self.left_out.items()),
        ]

    @property
    def short(self) -> pd.DataFrame:
        """The columns of the table that are shown, by title."""
        if not self.attacked:
            return pd.DataFrame({"no attacks": []})
        values = self.table.set_index("title")[list(_SHOWN)].rename(columns=_SHOWN).round(3)
        return results.metrics_table(self.table)[["auc"]].join(values)

    def __repr__(self) -> str:
        above, below = ("\n".join(textwrap.fill(s, _WIDTH) for s in part) for part in self.said)
        return f"{above}\n\n{self.short.to_string(na_rep='-', line_width=_WIDTH)}\n{below}"

    def _repr_html_(self) -> str:
        above, below = ("".join(f"<p>{html.escape(s)}</p>" for s in part) for part in self.said)
        return above + self.short.to_html(na_rep="-") + below

    def save(self, path: str | Path) -> None:
        """Write the table as Parquet or JSON, by the ending of `path`.

        Raises
        ------
        MIBenchError
            If the ending is neither, or `path` is a folder.
        """
        path = check_out(path, ".json", ".parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            if path.suffix == ".json":
                temporary.write_text(results.to_json(self.table), encoding="utf-8")
            else:
                self.table.to_parquet(temporary, index=False)


def check_out(path: str | Path, *endings: str) -> Path:
    """Return `path`, or raise MIBenchError where no file of these endings can be written there."""
    path = Path(path)
    if path.suffix not in endings:
        raise MIBenchError(f"{path} does not end in {' or '.join(endings)}; choose such a name")
    if path.is_dir():
        raise MIBenchError(f"{path} is a folder; give the name of a file")
    check_folders([path.parent])
    return path


def audit(
    target: Mapping[str, ArrayLike],
    shadow: Mapping[str, ArrayLike] | None = None,
    references: Mapping[str, ArrayLike] | None = None,
    seed: int = 0,
    attacks: Specs = "all",
    **arrays: ArrayLike,
) -> AuditReport:
    """Run every attack, or those that are asked for, that the given outputs allow.

    Parameters
    ----------
    target : mapping
        ``probs`` or ``logits`` (n, C), ``labels`` (n,) and ``is_member`` (n,), which only the
        metrics read.
    shadow : mapping, optional
        The same of a shadow model on samples of its own; here attacks read ``is_member``.
    references : mapping, optional
        ``logits`` or ``probs`` (K, n, C) of reference models on the target's samples and ``in``
        (K, n), whether each was trained on them.
    seed : int
    attacks : attacks
        As :func:`mibench.attacks.parse` takes them.
    **arrays
        Any other array that docs/attacks.md lists, by its name in a file, such as
        ``auxiliary_logits`` and ``auxiliary_labels``.

    Raises
    ------
    MIBenchError
        If an array is lacking or not what it should be; the sentence names it.
    """
    owners = {"target": target, "shadow": shadow or {}, "reference": references or {}}
    named = {f"{owner}_{name}": a for owner, own in owners.items() for name, a in own.items()}
    return _run(check(named | arrays), seed, attacks)


def audit_model(
    model: Any,
    members: tuple[Any, Any],
    nonmembers: tuple[Any, Any],
    population: tuple[Any, Any] | None = None,
    train: Train | str | None = None,
    cache_dir: str | Path | None = None,
    *,
    attacks: Specs = "all",
    seed: int = 0,
    shadows: int = _DEFAULT.shadows,
    references: int = _DEFAULT.references,
    distilled: int = _DEFAULT.distilled,
) -> AuditReport:
    """Ask a model, train others beside it, and run every attack that this allows.

    Parameters
    ----------
    model
        A torch module, a classifier with scikit-learn's interface, a model of Keras or of Hugging
        Face, or a function from inputs (n, ...) to posteriors (n, C); docs/audit.md has a recipe
        for each.
    members, nonmembers : (inputs, labels)
        Samples that the model was and was not trained on: arrays (n, ...) as it takes them, and
        classes 0 to C - 1. Which are which only the metrics read.
    population : (inputs, labels), optional
        Other nonmembers: what an attacker owns.
    train : callable or "like the target", optional
        From (inputs, labels, seed) to a model, by which shadow, reference and distilled models
        are trained; without it only attacks run that need none. A generator function yields the
        model as it is trained, at last whole, which the attacks on trajectories need. "like the
        target" does for scikit-learn's classifiers and torch modules.
    cache_dir : path, optional
        Where the answers of models once trained are kept, by default where a study keeps them: an
        audit that was stopped goes on from there.
    attacks : attacks
        As :func:`mibench.attacks.parse` takes them; what none of them needs is not trained.
    seed, shadows, references, distilled : int
        As :class:`mibench.setting.Setting` has them.

    Raises
    ------
    MIBenchError
        If anything is not what it should be; the sentence names it.
    """
    numbers = {"shadows": shadows, "references": references, "distilled": distilled, "seed": seed}
    samples = {"members": members, "nonmembers": nonmembers, "population": population}
    chosen = parse(attacks)
    return _run(asked(model, samples, train, cache_dir, chosen, **numbers), seed, chosen)


def asked(
    model: Any,
    samples: Mapping[str, tuple[Any, Any] | None],
    train: Train | str | None,
    cache_dir: str | Path | None,
    attacks: Specs,
    **numbers: int,
) -> Given:
    """Return what :func:`audit_model` has from a model before any attack."""
    needs = {need for attack in parse(attacks) for need in attack.needs}
    setting = Setting.read(numbers)
    store = Store(Place.read({"cache_dir": cache_dir}).cache_dir)
    given_samples = {name: pair for name, pair in samples.items() if pair is not None}
    own = Own(model, given_samples, train, setting, store, needs)
    given = check(own.arrays())
    return replace(given, notes=(*own.notes, *given.notes))


def audit_file(
    path: str | Path, probs: str | None = None, seed: int = 0, attacks: Specs = "all"
) -> AuditReport:
    """Run every attack, or those that are asked for, that the contents of an NPZ file allow.

    Parameters
    ----------
    path : path
        The file, with the arrays that docs/attacks.md lists.
    probs : str, optional
        Another array of the target's outputs, such as ``target_probs_memguard``; the shadow's is
        the one with ``shadow`` for ``target`` in its name. By default ``target_logits``, or
        ``target_probs`` where there are none.
    seed : int
    attacks : attacks
        As :func:`mibench.attacks.parse` takes them.

    Raises
    ------
    MIBenchError
        If the file or an array is lacking or not what it should be.
    """
    return _run(read(path, probs), seed, attacks)


def read(path: str | Path, probs: str | None = None) -> Given:
    """Return the checked contents of a file that :func:`audit_file` takes."""
    others = {probs, probs and probs.replace("target", "shadow", 1)}
    arrays = read_npz(Path(path), lambda name: known(name) or name in others)
    return check(arrays, probs, str(path))


def _run(given: Given, seed: int, specs: Specs) -> AuditReport:
    Setting.read({"seed": seed})
    about = {"seed": seed, **described(given), **provenance()}
    attacks, labels = parse(specs), given.target.outputs.labels
    streams = Streams(seed=seed, data=given.sha256)
    knowledge = replace(given.knowledge, seed=streams.seed("attacks"))
    # Files often hold members first, and an attack that breaks ties by order would learn of it.
    truth = given.target.is_member
    order = streams("order").permutation(len(truth))
    shuffled = given.target.outputs.take(order)
    # The reference models' outputs are large, and are not wanted twice.
    given = replace(given, target=Labelled(Outputs(shuffled.logits, shuffled.labels), truth[order]))
    attacked, left_out = [], {}
    # Shown where it takes longer than a second.
    for attack in progress.bar(attacks, desc="attacks", unit="attack", delay=1):
        if lacking := given.lacking(attack):
            left_out[attack.label] = lacking
            continue
        began = time.perf_counter()
        try:
            found, scored = _infer(attack.fit(knowledge), shuffled)
            back = np.argsort(order[scored])
            samples = order[scored][back]
            inference = replace(found, scores=found.scores[back])
            is_member = truth[samples]
            measured = metrics.evaluate(inference, is_member, seed=seed)
            proven = epsilon.bounds(
                inference.scores, is_member, confidence=1 - 0.05 / len(attacks), seed=seed
            )
        # Scikit-learn raises ValueError, such as where samples are too few for it.
        except (MIBenchError, ValueError) as error:
            left_out[attack.label] = " ".join(str(error).split())
            continue
        seconds = time.perf_counter() - began
        attacked.append(Audited(attack, samples, inference, is_member, measured, proven, seconds))
    return AuditReport(attacked, left_out, about, labels, truth, given.notes)


def described(given: Given) -> dict[str, Any]:
    """Return what a study's rows say of its models, by the same names."""
    outputs, is_member = given.target.outputs, given.target.is_member
    right = outputs.predicted == outputs.labels
    stacks = {"references": outputs.reference_logits, "distilled": outputs.distilled_logits}
    return {
        "shadows": len(given.knowledge.shadows),
        **{name: 0 if stack is None else len(stack) for name, stack in stacks.items()},
        "target_train_accuracy": float(right[is_member].mean()),
        "target_test_accuracy": float(right[~is_member].mean()),
        "data_sha256": given.sha256,
    }


def _infer(attack: Attack, target: Outputs) -> tuple[Inference, IntArray]:
    """Return the answer on all samples, or on those with enough reference models, and on which.

    How many are enough an attack tells only by refusing fewer.
    """
    try:
        return attack.infer(target), np.arange(len(target))
    except MIBenchError:
        if "references" not in attack.needs or target.reference_in is None:
            raise
        seen = target.reference_in.sum(axis=0)
        unseen = len(target.reference_in) - seen
        for enough in (unseen >= 2, unseen >= 3, np.minimum(seen, unseen) >= 3):
            scored = np.flatnonzero(enough)
            if 0 < len(scored) < len(target):
                with suppress(MIBenchError):
                    return attack.infer(target.take(scored)), scored
        raise
