"""A model of one's own in the scenarios: the study of a model that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mibench import code
from mibench.attacks.base import Attack, Knowledge, Specs, parse
from mibench.data.base import Dataset
from mibench.data.splits import ROLES, sizes_of
from mibench.errors import MIBenchError
from mibench.outputs import IntArray, Outputs, cross_entropy
from mibench.scenarios import Scenario
from mibench.setting import Place, Setting
from mibench.signals.own import Train
from mibench.signals.signals import Signals, mean_unseen
from mibench.store import Store
from mibench.streams import Streams
from mibench.study.audit import asked, described
from mibench.study.given import Given, needs_of
from mibench.study.provenance import provenance
from mibench.study.study import Study
from mibench.training.device import Device

# What outputs hold only where it is asked for.
_OPTIONAL = ("reference_logits", "reference_in", "distilled_logits", "trajectory_logits", "inputs")
# What else a setting holds is of a model that a study trains itself.
_SETTING = ("model", "defence", "seed", "construction", "space", "levels", "withholding")


def study_model(
    model: Any,
    members: tuple[Any, Any],
    nonmembers: tuple[Any, Any],
    population: tuple[Any, Any],
    train: Train | str | None = None,
    cache_dir: str | Path | None = None,
    *,
    name: str = "own",
    construction: str = "groups",
    attacks: Specs = "all",
    **numbers: int,
) -> Study:
    """Return a study of a model of one's own: the 84 scenarios, selected from its samples.

    Parameters
    ----------
    model, members, nonmembers, population, train, cache_dir, **numbers
        As :func:`mibench.audit_model` takes them; what was trained for one serves the other.
    name : str
        What rows and figures call the data. That of a published dataset gives its levels.
    construction : {"groups", "pairs"}
    attacks : attacks
        Those that are to be run; what none of them needs is not trained.

    Raises
    ------
    MIBenchError
        If anything is not what it should be, the samples are too few (180 members and as many
        nonmembers for groups), or no nonmembers can be generated from inputs of this kind.
    """
    samples = {"members": members, "nonmembers": nonmembers, "population": population}
    given = asked(model, samples, train, cache_dir, attacks, **numbers)
    chosen = {"dataset": name, "model": type(model).__name__, "construction": construction}
    return OwnStudy(given, Setting.read(chosen | numbers), Place.read({"cache_dir": cache_dir}))


class Asked(Signals):
    """The answers of a model of one's own, where those of a study's model stand otherwise."""

    def __init__(self, given: Given, seed: int):
        self.given, self.device = given, Device("cpu")
        self.streams = Streams(seed=seed, data=given.sha256)
        sides = {"members": True, "nonmembers": False}
        self.roles = {
            n: np.flatnonzero(given.target.is_member == side) for n, side in sides.items()
        }

    def outputs(self, samples: IntArray, needs: Collection[str] = ()) -> Outputs:
        """Return what the model answers on samples, and what is asked for beside."""
        outputs = self.given.target.outputs
        left: dict[str, Any] = {n: None for n in _OPTIONAL if not needs_of(n) <= {*needs}}
        copies = {kind: answers for kind, answers in outputs.copies.items() if kind in needs}
        return replace(outputs, copies=copies, **left).take(samples)

    def generated(self) -> Outputs:
        """Return the model's outputs on generated nonmembers, which scenarios are built with."""
        if (found := self.given.knowledge.generated) is None:
            raise MIBenchError(
                "scenarios need the model's answers on generated nonmembers, which are made of "
                "records (2 axes) of bits or floats and images (4 axes) of floats only"
            )
        return found

    def difficulty(self, samples: IntArray) -> NDArray[np.float64]:
        """Return the mean loss of the reference models that did not see a sample, (n,)."""
        outputs = self.outputs(samples, {"references"})
        assert outputs.reference_logits is not None and outputs.reference_in is not None
        losses = cross_entropy(outputs.reference_logits, outputs.labels)
        return mean_unseen(losses, outputs.reference_in)


class OwnStudy(Study):
    """Attacks and scenarios on a model of one's own.

    Parameters
    ----------
    given : Given
        What it, and models trained beside it, answer.
    setting : Setting
        Its dataset and model are names; of the training there is nothing.
    place : Place
    """

    def __init__(self, given: Given, setting: Setting, place: Place):
        self.given, self.setting, self.place = given, setting, place
        outputs = given.target.outputs
        inputs = np.empty((len(outputs), 0)) if outputs.inputs is None else outputs.inputs
        self.signals = Asked(given, setting.seed)
        counts = dict.fromkeys(ROLES, 0) | {n: len(own) for n, own in self.signals.roles.items()}
        self.dataset = Dataset(
            setting.dataset,
            inputs,
            outputs.labels,
            "image" if inputs.ndim == 4 else "real",
            given.sha256,
            sizes_of(setting.dataset, len(outputs), counts),
        )
        self.store = self.scores = Store(place.cache_dir)
        self._fitted, self._scored, self.latest = {}, {}, []

    def run(
        self, chosen: Iterable[Scenario | str], specs: Specs = "all"
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Run attacks on scenarios; "all" are those whose needs are met."""
        possible = [a for a in parse(specs) if specs != "all" or not self.given.lacking(a)]
        for attack in possible:
            self._knowledge(attack)  # refused before any is run
        return super().run(chosen, possible)

    @cached_property
    def made_with(self) -> dict[str, Any]:
        """What, beside scenario and attack, makes a row's numbers; and how good the model is."""
        return {
            "dataset": self.dataset.name,
            **{name: getattr(self.setting, name) for name in _SETTING},
            **described(self.given),
            **provenance(),
        }

    def _code(self, attack: Attack) -> str:
        return code.digest(__name__, type(attack).__module__)

    def _knowledge(self, attack: Attack) -> Knowledge:
        if lacking := self.given.lacking(attack):
            raise MIBenchError(
                f"{attack.full_title} {lacking}; what is asked of the model follows from the "
                "attacks that study_model is given"
            )
        return replace(self.given.knowledge, seed=self.signals.streams.seed("attacks"))
