"""An experiment: attacks run on scenarios of one dataset, model and seed, as a table."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
import sklearn
import torch
from tqdm.auto import tqdm

from mibench import __version__, attacks, scenarios, training
from mibench import data as datasets
from mibench.attacks import Attack, Inference, Knowledge
from mibench.construction.pool import NumberedStreams, pool
from mibench.construction.target import Pool, TargetDataset
from mibench.errors import MIBenchError, ScenarioInfeasible
from mibench.outputs import BoolArray, IntArray, Labelled, Outputs
from mibench.scenarios import Scenario
from mibench.signals import COPIES, DISTILLED, Signals
from mibench.store import Store
from mibench.study import metrics


def checked_recipe(
    model: str = "MLP",
    epochs: int = 50,
    recipe: Mapping[str, Any] | None = None,
    defence: str = "none",
    seed: int = 0,
    references: int = 16,
    distilled: int = DISTILLED,
    space: str = "log_probs",
    levels: str = "quantile",
) -> training.Recipe:
    """Return an experiment's recipe, with all settings checked that need no data.

    Raises
    ------
    MIBenchError
        If one is none that :class:`Experiment` takes.
    """
    for name, count, least in (("references", references, 6), ("distilled", distilled, 2)):
        if not isinstance(count, int) or count < least or count % 2:
            raise MIBenchError(f"{name} is {count!r}; use an even number of at least {least}")
    attacks.check_seed(seed)
    return training.recipe(model, epochs, recipe, defence)


@dataclass(frozen=True)
class Attacked:
    """One attack's answer on one target dataset."""

    attack: type[Attack]
    target: TargetDataset
    inference: Inference
    metrics: dict[str, metrics.Estimate]

    @property
    def is_member(self) -> BoolArray:
        """The truth about the target dataset's samples, (2n,)."""
        return self.target.is_member


class Experiment:
    """All that is fixed while scenarios and attacks vary.

    Nothing is trained before a scenario is constructed or an attack asks for it, and what has
    been trained with the same settings is read from the cache.

    Parameters
    ----------
    dataset : str
        A name of :func:`mibench.data.names`, or the path of a user's own; see
        :func:`mibench.data.load`.
    model : str
        A name of :data:`mibench.models.MODELS`.
    seed : int
        Seed of the splits, the training, the construction and the attacks.
    references : int
        Number of reference models; even.
    epochs : int
        Passes of every training over its members.
    space, levels : str
        See :class:`mibench.construction.Pool`.
    device : {"auto", "cpu", "cuda"}
        Where models are trained and queried; "auto" takes CUDA where there is a device.
    defence : str
        A name of :data:`mibench.training.DEFENCES`, by which every model but the distilled ones
        is defended.
    recipe : mapping, optional
        Changes to the model's recipe; see :class:`mibench.training.Recipe`.
    distilled : int
        Number of models distilled from the target; even.
    data_dir : path, optional
        Folder of the published files; see :func:`mibench.data.load`.
    cache_dir : path, optional
        Where trained models and their outputs are kept; see :class:`mibench.store.Store`.
    sizes : mapping of str to int, optional
        Counts of roles and pairs that differ from the dataset's own; see
        :func:`mibench.data.splits.sizes_of`.

    Attributes
    ----------
    latest : list of Attacked
        The attacks on the last scenario of :meth:`run`; empty where that was infeasible.

    Raises
    ------
    MIBenchError
        If a name is unknown, a file is missing or a number is out of range.
    """

    def __init__(
        self,
        dataset: str = "digits",
        model: str = "MLP",
        seed: int = 0,
        references: int = 16,
        epochs: int = 50,
        space: str = "log_probs",
        levels: str = "quantile",
        device: str = "auto",
        defence: str = "none",
        recipe: Mapping[str, Any] | None = None,
        distilled: int = DISTILLED,
        data_dir: str | Path | None = None,
        cache_dir: str | Path | None = None,
        sizes: Mapping[str, int] | None = None,
    ):
        made = checked_recipe(
            model, epochs, recipe, defence, seed, references, distilled, space, levels
        )
        self.seed, self.space, self.levels, self.defence = seed, space, levels, defence
        store = Store(cache_dir)
        self.dataset = datasets.load(dataset, data_dir, store.directory, sizes)
        training.check(made, self.dataset.inputs.shape[1:], self.dataset.num_classes)
        self.signals = Signals(
            self.dataset,
            made,
            seed,
            references,
            store,
            training.find(device),
            distilled,
        )
        self._fitted: dict[str, Attack] = {}
        self.latest: list[Attacked] = []

    @cached_property
    def pool(self) -> Pool:
        """The target model's pool, from which scenarios select."""
        signals = self.signals
        samples = signals.pool
        is_member = np.isin(samples, signals.roles["members"])
        return pool(
            "pairs",
            Labelled(signals.outputs("target", samples), is_member),
            self._generated(),
            NumberedStreams(self.seed),
            samples=samples,
            kind=self.dataset.kind,
            pairs=self.dataset.sizes.pairs,
            levels=self.levels,
            space=self.space,
            inputs=self.dataset.take(samples) if self.space == "inputs" else None,
        )

    def construct(self, scenario: Scenario | str) -> TargetDataset:
        """Construct the target dataset of a scenario, given itself or by id or label.

        Raises
        ------
        ScenarioInfeasible
            If the pool cannot meet its levels.
        MIBenchError
            If it is a scenario of another dataset.
        """
        if isinstance(scenario, str):
            scenario = scenarios.find(scenario, self.dataset.name)
        if scenario.dataset != self.dataset.name:
            raise MIBenchError(
                f"{scenario.label} is a scenario of {scenario.dataset}; this experiment is on "
                f"{self.dataset.name}"
            )
        return self.pool.construct(scenario)

    def attack(self, name: str, scenario: Scenario | str) -> Attacked:
        """Run one attack on one scenario.

        Raises
        ------
        MIBenchError
            If the attack or the scenario is unknown or infeasible.
        """
        kind = attacks.find(name)
        target = self.construct(scenario)
        inference = self._fit(kind).infer(self._seen(kind, target.samples))
        ratio = target.scenario.withheld_ratio
        return Attacked(
            kind,
            target,
            inference,
            metrics.evaluate(inference, target.is_member, ratio, self.seed),
        )

    def run(
        self, chosen: Iterable[Scenario | str], names: Sequence[str] | str = "all"
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Run attacks on scenarios.

        Parameters
        ----------
        chosen : iterable of Scenario or str
        names : sequence of str, or str
            The attacks, one attack, or "all".

        Returns
        -------
        results : DataFrame
            One row an attack and scenario: `status` ("ok", "infeasible"), the factors as named and
            as measured, every metric with `_low` and `_high`, what made the row, and the `seconds`
            that the attack took. An infeasible scenario has its reason in `error` and NaN for what
            was not measured.
        answers : DataFrame
            One row a sample, attack and scenario: index, membership, score, threshold, and the
            answer (1 member, 0 nonmember, -1 withheld).
        """
        if isinstance(names, str):
            names = list(attacks.REGISTRY) if names == "all" else [names]
        kinds = [attacks.find(n) for n in names]
        rows, answers = [], []
        listed = [scenarios.find(s, self.dataset.name) if isinstance(s, str) else s for s in chosen]
        for scenario in tqdm(listed, desc=f"{self.dataset.name} scenarios", leave=False):
            self.latest = []
            try:
                self.construct(scenario)
            except ScenarioInfeasible as error:
                rows += [
                    self._row(scenario, k, "infeasible", str(error)) | _unmeasured() for k in kinds
                ]
                continue
            for kind in kinds:
                began = time.perf_counter()
                result = self.attack(kind.name, scenario)
                self.latest.append(result)
                row = self._row(scenario, kind, "ok", "") | _measured(result)
                rows.append(row | {"seconds": time.perf_counter() - began})
                answers.append(self._answers(result))
        table = pd.DataFrame(rows)
        return table, pd.concat(answers, ignore_index=True) if answers else pd.DataFrame()

    def prepare(self, names: Sequence[str]) -> None:
        """Train and query everything that attacks need, so that scenarios find it in the cache."""
        samples = self.pool.candidates.samples
        for kind in map(attacks.find, names):
            self._knowledge(kind)
            self._seen(kind, samples)

    @cached_property
    def made_with(self) -> dict[str, Any]:
        """What, beside scenario and attack, makes a row's numbers; and how good the target is."""
        train_accuracy, test_accuracy = self.signals.accuracy
        recipe = {f"train_{k}": v for k, v in asdict(self.signals.recipe).items() if k != "model"}
        return {
            "model": self.signals.recipe.model,
            "defence": self.defence,
            "seed": self.seed,
            "references": self.signals.references,
            "distilled": self.signals.distilled,
            "space": self.space,
            "levels": self.levels,
            **recipe,
            **{f"size_{k}": v for k, v in asdict(self.dataset.sizes).items()},
            "target_train_accuracy": train_accuracy,
            "target_test_accuracy": test_accuracy,
            "target_epsilon": self._epsilon(),
            "data_sha256": self.dataset.checksum,
            "device": self.signals.device.type,
            **provenance(),
        }

    def _epsilon(self) -> float:
        """Return what DP-SGD spent on the target's members, infinity without it."""
        recipe = self.signals.recipe
        if not recipe.dp_noise:
            return float("inf")
        from mibench.training import private

        return private.epsilon(recipe, len(self.signals.roles["members"]))

    def _row(
        self, scenario: Scenario, kind: type[Attack], status: str, error: str
    ) -> dict[str, Any]:
        fields = scenario.to_dict()
        named = {"scenario": fields.pop("id"), **fields}
        attack = {"attack": kind.name, "title": kind.title}
        return {**named, **attack, "status": status, "error": error, **self.made_with}

    def _answers(self, result: Attacked) -> pd.DataFrame:
        scenario, inference = result.target.scenario, result.inference
        keep = metrics.answered(inference, scenario.withheld_ratio, self.seed)
        called = (inference.scores >= inference.threshold).astype(np.int8)
        return pd.DataFrame(
            {
                "dataset": scenario.dataset,
                "scenario": scenario.id,
                "model": self.signals.recipe.model,
                "defence": self.defence,
                "attack": result.attack.name,
                "seed": self.seed,
                "sample": result.target.samples,
                "is_member": result.target.is_member,
                "score": inference.scores,
                "threshold": inference.threshold,
                "answer": np.where(keep, called, np.int8(-1)),
            }
        )

    def _generated(self) -> Outputs:
        labels = self.dataset.labels[self.signals.roles["auxiliary"]]
        return Outputs(self.signals.generated(), labels)

    def _fit(self, kind: type[Attack]) -> Attack:
        if kind.name not in self._fitted:
            self._fitted[kind.name] = kind(self.seed).fit(self._knowledge(kind))
        return self._fitted[kind.name]

    def _knowledge(self, kind: type[Attack]) -> Knowledge:
        """Return what an attack asked for, and nothing else, so that nothing is made in vain."""
        signals, roles = self.signals, self.signals.roles
        known: dict[str, Any] = {}
        if "shadow" in kind.needs:
            samples = np.concatenate([roles["shadow_members"], roles["shadow_nonmembers"]])
            known["shadow"] = signals.outputs("shadow", samples, kind.needs & COPIES.keys())
            known["shadow_is_member"] = np.isin(samples, roles["shadow_members"])
        if "random" in kind.needs:
            logits = signals.random()
            known["random"] = Outputs(logits, logits.argmax(axis=1))
        if "generated" in kind.needs:
            known["generated"] = self._generated()
        if "auxiliary" in kind.needs:
            own = roles["auxiliary"]
            asked = kind.needs & {"references", "inputs"}
            known["auxiliary"] = signals.outputs("target", own, asked)
            if "shadow" in kind.needs:
                known["shadow_auxiliary"] = signals.outputs("shadow", own)
        return Knowledge(**known)

    def _seen(self, kind: type[Attack], samples: IntArray) -> Outputs:
        return self.signals.outputs("target", samples, kind.needs)


@cache
def provenance() -> dict[str, str]:
    """Return the versions that results depend on, and the commit of a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # git is not installed
        commit = ""
    return {
        "mibench_version": __version__,
        "git_commit": commit,
        "python_version": platform.python_version(),
        "torch_version": str(torch.__version__),
        "numpy_version": np.__version__,
        "scipy_version": scipy.__version__,
        "sklearn_version": sklearn.__version__,
    }


_MEASURED_FACTORS = ("distance", "deviation", "differential_distance")


def _unmeasured() -> dict[str, Any]:
    """Return the columns of :func:`_measured`, empty."""
    factors = [f"{f}_{what}" for f in _MEASURED_FACTORS for what in ("wanted", "measured")]
    nothing = metrics.Estimate(np.nan, np.nan, np.nan)
    return {
        **dict.fromkeys([*factors, "shape_distance"], np.nan),
        "samples": 0,
        "threshold": np.nan,
        **metrics.as_columns(dict.fromkeys(metrics.METRICS, nothing)),
    }


def _measured(result: Attacked) -> dict[str, Any]:
    target = result.target
    fields: dict[str, Any] = {}
    for factor in _MEASURED_FACTORS:
        wanted, measured = getattr(target, factor)
        fields |= {f"{factor}_wanted": wanted, f"{factor}_measured": measured}
    fields["shape_distance"] = target.shape_distance
    fields["samples"] = len(target.samples)
    fields["threshold"] = result.inference.threshold
    return fields | metrics.as_columns(result.metrics)
