"""A study: attacks run on scenarios of one dataset, model and seed, as a table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mibench import code, progress, scenarios, training
from mibench.attacks.base import Attack, Inference, Knowledge, Specs, parse
from mibench.construction.described import DESCRIBED, difficulty_auc
from mibench.construction.pool import pool
from mibench.construction.target import Candidates, Pool, TargetDataset
from mibench.data.loading import load
from mibench.errors import MIBenchError, ScenarioInfeasible
from mibench.outputs import BoolArray, IntArray
from mibench.scenarios import Scenario
from mibench.setting import Place, Setting
from mibench.signals.owner import sha256
from mibench.signals.signals import Signals
from mibench.store import Arrays, Store
from mibench.study import metrics
from mibench.study.provenance import provenance, sources
from mibench.training.recipe import of_setting


@dataclass(frozen=True)
class Attacked:
    """One attack's answer on one target dataset."""

    attack: Attack
    target: TargetDataset
    inference: Inference
    metrics: dict[str, metrics.Estimate]

    @property
    def is_member(self) -> BoolArray:
        """The truth about the target dataset's samples, (2n,)."""
        return self.target.is_member


class Study:
    """Attacks and scenarios under one setting.

    Nothing is trained before a scenario is constructed or an attack asks for it, and what has
    been trained with the same setting and code is read from the cache.

    Parameters
    ----------
    setting : Setting
    place : Place, optional

    Attributes
    ----------
    dataset : mibench.data.base.Dataset
    signals : Signals
    latest : list of Attacked
        The attacks on the last scenario of :meth:`run`; empty where that was infeasible.

    Raises
    ------
    MIBenchError
        If a name is unknown, a file is missing or a number is out of range.
    """

    def __init__(self, setting: Setting | None = None, place: Place | None = None):
        self.setting, self.place = setting or Setting(), place or Place()
        self.place.load_plugins()
        recipe = of_setting(self.setting)
        self.store = Store(self.place.cache_dir)
        self.dataset = load(self.setting.dataset, self.place, self.setting.sizes)
        training.check(recipe, self.dataset.inputs.shape[1:], self.dataset.num_classes)
        device = training.find(self.setting.device)
        self.signals = Signals(self.dataset, recipe, self.setting, self.store, device)
        # Scoring is quick, so it is done even where the signals' store makes nothing.
        self.scores = Store(self.place.cache_dir)
        self._fitted: dict[tuple[type[Attack], str], Attack] = {}
        self._scored: dict[tuple[type[Attack], str], Inference] = {}
        self.latest: list[Attacked] = []

    @classmethod
    def read(cls, setting: Mapping[str, Any], place: Mapping[str, Any] | None = None) -> Study:
        """Return the study of a notebook's or file's names and values, checked."""
        return cls(Setting.read(setting), Place.read(place or {}))

    @cached_property
    def pool(self) -> Pool:
        """The target model's pool, from which scenarios select."""
        signals = self.signals
        candidates = Candidates(signals.labelled, signals.generated(), signals.pool)
        return pool(candidates, self.dataset, self.setting, signals.streams)

    def scenario(self, named: Scenario | str) -> Scenario:
        """Return a scenario of this dataset, given itself or by id or label.

        Raises
        ------
        MIBenchError
            If there is none, or it is one of another dataset.
        """
        found = scenarios.find(named, self.dataset.name) if isinstance(named, str) else named
        if found.dataset != self.dataset.name:
            raise MIBenchError(
                f"{found.label} is a scenario of {found.dataset}; this study is on "
                f"{self.dataset.name}"
            )
        return found

    def panel(self, question: str, base: str | None = None) -> tuple[Scenario, ...]:
        """Return the scenarios of a research question: the published, or those around a base."""
        if base is None:
            return scenarios.panel(self.dataset.name, question)
        return scenarios.vary(self.scenario(base), question)

    def construct(self, scenario: Scenario | str) -> TargetDataset:
        """Construct the target dataset of a scenario.

        Raises
        ------
        ScenarioInfeasible
            If the pool cannot meet its levels.
        MIBenchError
            If it is a scenario of another dataset.
        """
        return self.pool.construct(self.scenario(scenario))

    def describe(self, chosen: Iterable[Scenario | str]) -> tuple[list[dict[str, Any]], list[str]]:
        """Construct target datasets and return what no factor of them controls.

        Returns
        -------
        rows : list of dict
            One per scenario: id, label, factors, and what
            :func:`mibench.construction.described.describe` says.
        infeasible : list of str
            Why the others have none.
        """
        rows, infeasible = [], []
        for scenario in map(self.scenario, chosen):
            try:
                target = self._with_difficulty(self.construct(scenario))
            except ScenarioInfeasible as error:
                infeasible.append(str(error))
            else:
                rows.append({**scenario.to_dict(), **target.described})
        return rows, infeasible

    def _with_difficulty(self, target: TargetDataset) -> TargetDataset:
        """Add how much harder members are than nonmembers for models that saw neither."""
        auc = difficulty_auc(target.is_member, self.signals.difficulty(target.samples))
        return replace(target, described={**target.described, "difficulty_auc": auc})

    def attack(self, spec: str | Mapping[str, Any] | Attack, scenario: Scenario | str) -> Attacked:
        """Run one attack on one scenario.

        Raises
        ------
        MIBenchError
            If the attack or the scenario is unknown or infeasible.
        """
        [attack] = parse([spec])
        return self._attacked(attack, self.construct(scenario))

    def _attacked(self, attack: Attack, target: TargetDataset) -> Attacked:
        inference = self.infer(attack, target.samples)
        found = metrics.evaluate(
            inference, target.is_member, self.withheld(target.scenario), self.metrics_seed
        )
        return Attacked(attack, target, inference, found)

    def infer(self, attack: Attack, samples: IntArray) -> Inference:
        """Return an attack's answer on samples of the pool, read from the cache where it is there.

        One that is `per_sample` scores the whole pool, once for all target datasets.
        """
        # A source that no digest knows may be another one the next time.
        if not code.digests(type(attack).__module__):
            return self.fitted(attack).infer(self.signals.outputs(samples, attack.needs))
        if not attack.per_sample:
            return self._kept(attack, samples)
        held = type(attack), attack.label
        if held not in self._scored:
            # The pool's own order is members first.
            order = self.signals.streams("order of scoring").permutation(self.signals.pool)
            found = self._kept(attack, order)
            scores = np.full(
                len(self.dataset.labels), np.nan, np.result_type(found.scores, np.float32)
            )
            scores[order] = found.scores
            self._scored[held] = Inference(scores, found.threshold)
        everywhere = self._scored[held]
        return Inference(everywhere.scores[samples], everywhere.threshold)

    def _kept(self, attack: Attack, samples: IntArray) -> Inference:
        """Return an attack's answer on samples, made once however many notebooks ask for it."""

        def make() -> Arrays:
            found = self.fitted(attack).infer(self.signals.outputs(samples, attack.needs))
            return {"scores": found.scores, "threshold": np.array(found.threshold)}

        made_by = {**provenance(), "git_commit": None, "code": self._code(attack)}
        about = {"data": self.dataset.checksum, "device": self.signals.device.type}
        about |= {"attack": attack.label, "samples": sha256(samples)}
        stored = self.scores.get("scores", {**self.setting.model_dump(), **about, **made_by}, make)
        return Inference(stored["scores"], float(stored["threshold"]))

    def run(
        self, chosen: Iterable[Scenario | str], specs: Specs = "all"
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Run attacks on scenarios.

        Parameters
        ----------
        chosen : iterable of Scenario or str
            Each is run once.
        specs : attacks
            As :func:`mibench.attacks.parse` takes them.

        Returns
        -------
        results : DataFrame
            One row per attack and scenario: `status` ("ok", "infeasible"), the factors as named
            and as measured, every metric with `_low` and `_high`, what made the row, and the
            `seconds` that it took, next to none where the answer was in the cache. An infeasible
            scenario has its reason in `error` and NaN for what was not measured.
        answers : DataFrame
            One row per sample, attack and scenario: index, membership, group or pair (`part`),
            score, threshold, and the answer (1 member, 0 nonmember, -1 withheld).
        """
        asked = parse(specs)
        rows: list[dict[str, Any]] = []
        answers: list[tuple[dict[str, Any], Arrays]] = []
        listed = list(dict.fromkeys(self.scenario(s) for s in chosen))
        # Known only where some attack has the reference models trained.
        difficulty = any("references" in attack.needs for attack in asked)
        for scenario in progress.bar(listed, desc=f"{self.dataset.name} scenarios"):
            self.latest = []
            try:
                target = self.construct(scenario)
                target = self._with_difficulty(target) if difficulty else target
            except ScenarioInfeasible as error:
                infeasible = [self._row(scenario, a, "infeasible", str(error)) for a in asked]
                rows += [row | _columns(None) for row in infeasible]
                continue
            for attack in asked:
                began = time.perf_counter()
                result = self._attacked(attack, target)
                self.latest.append(result)
                row = self._row(scenario, attack, "ok", "") | _columns(result)
                rows.append(row | {"seconds": time.perf_counter() - began})
                answers.append(self._answers(result))
        return pd.DataFrame(rows), _together(answers)

    def train(self, specs: Specs) -> None:
        """Train what attacks need, as far as no other process is doing so."""
        self.signals.train(all_needs(specs))

    def prepare(self, specs: Specs) -> None:
        """Train and query everything that attacks need, so that scenarios find it in the cache."""
        samples = self.pool.candidates.samples
        for attack in parse(specs):
            self._knowledge(attack)
            self.signals.outputs(samples, attack.needs)

    @cached_property
    def made_with(self) -> dict[str, Any]:
        """What, beside scenario and attack, makes a row's numbers; and how good the target is."""
        train_accuracy, test_accuracy = self.signals.accuracy
        return {
            **self.setting.model_dump(exclude={"recipe", "sizes"}),
            **{f"train_{name}": value for name, value in asdict(self.signals.recipe).items()},
            **{f"size_{name}": value for name, value in asdict(self.dataset.sizes).items()},
            "dataset": self.dataset.name,
            "device": self.signals.device.type,
            "target_train_accuracy": train_accuracy,
            "target_test_accuracy": test_accuracy,
            "target_epsilon": self._epsilon(),
            "data_sha256": self.dataset.checksum,
            **provenance(),
        }

    @property
    def metrics_seed(self) -> int:
        """The seed of ties among withheld samples."""
        return self.signals.streams.seed("metrics")

    def withheld(self, scenario: Scenario) -> float:
        """Return the share of samples on which attacks themselves make no inference."""
        by_attack = self.setting.withheld_by == "attack" and scenario.id != scenarios.POOL
        return scenario.withheld_ratio if by_attack else 0.0

    def _epsilon(self) -> float:
        """Return what DP-SGD spent on the target's members, infinity without it."""
        recipe = self.signals.recipe
        if not recipe.dp_noise:
            return float("inf")
        from mibench.training import private

        return private.epsilon(recipe, len(self.signals.roles["members"]))

    def _row(self, scenario: Scenario, attack: Attack, status: str, error: str) -> dict[str, Any]:
        fields = scenario.to_dict()
        return {
            "scenario": fields.pop("id"),
            **fields,
            "attack": attack.label,
            "title": attack.full_title,
            "status": status,
            "error": error,
            **self.made_with,
            "code": self._code(attack),
        }

    def _code(self, attack: Attack) -> str:
        return code.combined(sources(self.setting, [attack]))

    def _answers(self, result: Attacked) -> tuple[dict[str, Any], Arrays]:
        """Return what all samples of an answer have alike, and what each has of its own."""
        scenario, inference = result.target.scenario, result.inference
        keep = metrics.answered(inference, self.withheld(scenario), self.metrics_seed)
        called = (inference.scores >= inference.threshold).astype(np.int8)
        alike = {
            "dataset": scenario.dataset,
            "scenario": scenario.id,
            "model": self.setting.model,
            "defence": self.setting.defence,
            "attack": result.attack.label,
            "seed": self.setting.seed,
            "threshold": inference.threshold,
        }
        return alike, {
            "sample": result.target.samples.astype(np.int32),
            "is_member": result.target.is_member,
            "part": result.target.part.astype(np.int32),
            "score": inference.scores,
            "answer": np.where(keep, called, np.int8(-1)),
        }

    def fitted(self, attack: Attack) -> Attack:
        """Return an attack that has learnt what does not depend on the target dataset."""
        held = type(attack), attack.label
        if held not in self._fitted:
            self._fitted[held] = attack.fit(self._knowledge(attack))
        return self._fitted[held]

    def _knowledge(self, attack: Attack) -> Knowledge:
        """Return what an attack asked for, and nothing else, so that nothing is made in vain."""
        signals, needs = self.signals, attack.needs
        known: dict[str, Any] = {"seed": signals.streams.seed("attacks")}
        if "shadow" in needs:
            known["shadows"] = signals.shadow_outputs(needs)
        if "random" in needs:
            known["random"] = signals.random()
        if "generated" in needs:
            known["generated"] = signals.generated()
        if "auxiliary" in needs:
            asked = needs & {"references", "inputs"}
            known["auxiliary"] = signals.outputs(signals.roles["auxiliary"], asked)
            if "shadow" in needs:
                known["shadow_auxiliary"] = signals.shadow_auxiliary()
        return Knowledge(**known)


def all_needs(specs: Specs) -> set[str]:
    """Return everything that some of the attacks need."""
    return {need for attack in parse(specs) for need in attack.needs}


def _together(answers: list[tuple[dict[str, Any], Arrays]]) -> pd.DataFrame:
    """Return one table of all answers, one row per sample, attack and scenario."""
    if not answers:
        return pd.DataFrame()
    alike = pd.DataFrame([said for said, _ in answers])
    lengths = [len(own["sample"]) for _, own in answers]
    table = alike.loc[alike.index.repeat(lengths)].reset_index(drop=True)
    for name in answers[0][1]:
        table[name] = np.concatenate([own[name] for _, own in answers])
    return table


_FACTORS = ("distance", "deviation", "differential_distance")


def _columns(result: Attacked | None) -> dict[str, Any]:
    """Return the columns of what was measured, of an infeasible scenario without values."""
    target = None if result is None else result.target
    fields: dict[str, Any] = {}
    estimates = result.metrics if result else dict.fromkeys(metrics.METRICS, metrics.UNKNOWN)
    for factor in _FACTORS:
        wanted, measured = (np.nan, np.nan) if target is None else getattr(target, factor)
        fields |= {f"{factor}_wanted": wanted, f"{factor}_measured": measured}
    return {
        **fields,
        "shape_distance": np.nan if target is None else target.shape_distance,
        **(dict.fromkeys(DESCRIBED, np.nan) if target is None else target.described),
        "samples": 0 if target is None else len(target.samples),
        "threshold": np.nan if result is None else result.inference.threshold,
        **metrics.as_columns(estimates),
    }
