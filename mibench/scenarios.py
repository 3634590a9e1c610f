"""The catalogue of evaluation scenarios.

A scenario fixes four factors of the target dataset: the distribution of the distances, the
distance between members and nonmembers, the differential distance to generated nonmembers, and
the withheld ratio. Every dataset has 84, ES01-ES28 normal, ES29-ES56 uniform, ES57-ES84
bernoulli; seven datasets have published levels, 588 scenarios in all.

Two anomalies of the published panels are kept visible:

* CIFAR10's RQ4 names ``1.908 + 0.155 + 49%`` "ES60". The grid's ES60 is ``1.908 + 0.213 + 40%``,
  so the panel's fourth scenario is an extra one off the grid, here with the id ``ES60x``.
* CH_MNIST's RQ2 prints "Uniform" beside ES04, ES14 and ES24, which are normal (the uniform ones
  are ES32, ES42 and ES52). The ids win.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from mibench.catalogue import plain
from mibench.data.base import DATASETS, Levels, Published
from mibench.errors import MIBenchError

FACTORS = ("distribution", "distance", "differential_distance", "withheld_ratio")
DISTRIBUTIONS = ("normal", "uniform", "bernoulli")
# Of the scenario that selects nothing, and so has no factor.
POOL = "pool"

# Of 28 scenarios with one distribution: (distance level, differential level, withheld levels).
_GRID = (
    (0, 0, (0, 1, 2)),
    (0, 1, (1, 2, 3)),
    (0, 2, (2, 3)),
    (1, 0, (0, 1, 2, 3)),
    (1, 1, (0, 1, 2, 3)),
    (1, 2, (0, 1, 2, 3)),
    (2, 0, (0, 1, 2)),
    (2, 1, (1, 2, 3)),
    (2, 2, (2, 3)),
)

RESEARCH_QUESTIONS = {
    "RQ1": "distribution of the distances",
    "RQ2": "distance between members and nonmembers",
    "RQ3": "differential distance",
    "RQ4": "withheld ratio",
}

GENERIC_LEVELS = Levels((0.2, 0.5, 0.75), (0.0, 0.5, 1.0), (0.05, 0.1, 0.2, 0.4))


@dataclass(frozen=True)
class Scenario:
    """One scenario: its id, its dataset and its four factors (nominal values)."""

    id: str
    dataset: str
    distribution: str
    distance: float
    differential_distance: float
    withheld_ratio: float

    @property
    def label(self) -> str:
        """The published notation, such as ``CIFAR100_Normal + 4.325 + 0.119 + 40%``."""
        if self.id == POOL:
            return f"{self.dataset}_{POOL}"
        shape, *numbers = (level(f, getattr(self, f)) for f in FACTORS)
        return " + ".join([f"{self.dataset}_{shape.capitalize()}", *numbers])

    @property
    def distance_quantile(self) -> float:
        """The quantile of its dataset's distances at which the nominal distance lies."""
        thresholds = levels(self.dataset).distance_quantiles
        if thresholds is None:
            return self.distance
        return float(np.interp(self.distance, thresholds, np.arange(1, 10) / 10))

    @property
    def differential_position(self) -> float:
        """The nominal differential distance's place, 0 to 1, between its dataset's extremes."""
        known = levels(self.dataset).differential_distance
        return (self.differential_distance - known[0]) / (known[-1] - known[0])

    def to_dict(self) -> dict[str, Any]:
        """Return id, label, dataset and factors, the ratio as a fraction."""
        return {"id": self.id, "label": self.label, **asdict(self)}


def published() -> tuple[str, ...]:
    """Return the names of the datasets that have levels of their own."""
    return tuple(name for name, known in DATASETS.items() if known.levels is not None)


def level(factor: str, value: object) -> str:
    """Write a factor's level as the published labels do, such as ``normal``, 0.119 or 40%."""
    if isinstance(value, str):
        return value
    number = float(str(value))
    return f"{100 * number:g}%" if factor == "withheld_ratio" else f"{number:.3f}"


def levels(dataset: str) -> Levels:
    """Return the published levels of `dataset`, or the generic ones of any other name."""
    known = DATASETS.get(spelled(dataset))
    return known.levels if known and known.levels else GENERIC_LEVELS


def catalogue(dataset: str) -> tuple[Scenario, ...]:
    """Return the 84 scenarios of `dataset` in the order of their ids."""
    return tuple(by_id(dataset).values())[:84]


def by_id(dataset: str) -> dict[str, Scenario]:
    """Return the 84 scenarios of `dataset` by id, then the published ones off the grid."""
    dataset = spelled(dataset)
    return _by_id(dataset, DATASETS.get(dataset))


@cache
def _by_id(dataset: str, known: Published | None) -> dict[str, Scenario]:
    at = known.levels if known and known.levels else GENERIC_LEVELS
    factors = [
        (shape, at.distance[d], at.differential_distance[g], at.withheld_ratio[r])
        for shape in DISTRIBUTIONS
        for d, g, withheld in _GRID
        for r in withheld
    ]
    numbered = {f"ES{i:02d}": f for i, f in enumerate(factors, start=1)}
    numbered |= known.off_grid if known else {}
    return {name: Scenario(name, dataset, *f) for name, f in numbered.items()}


def panel(dataset: str, question: str) -> tuple[Scenario, ...]:
    """Return the scenarios of a research question's published panel.

    A dataset without published panels is given those of CIFAR100 on its own grid.

    Raises
    ------
    MIBenchError
        If `question` is none of RQ1 to RQ4.
    """
    factor_of(question)
    known = DATASETS.get(spelled(dataset))
    panels = (known and known.panels) or DATASETS["CIFAR100"].panels
    return tuple(find(i, dataset) for i in panels[question.upper()])


def vary(base: Scenario, question: str) -> tuple[Scenario, ...]:
    """Return the catalogue's scenarios that differ from `base` only in the question's factor."""
    if base.id == POOL:
        raise MIBenchError("the whole pool has no factor to vary; give a base such as ES01")
    fixed = [f for f in FACTORS if f != factor_of(question)]
    return tuple(
        s for s in catalogue(base.dataset) if all(getattr(s, f) == getattr(base, f) for f in fixed)
    )


def factor_of(question: str) -> str:
    """Return the factor that a research question varies, or raise MIBenchError."""
    try:
        return dict(zip(RESEARCH_QUESTIONS, FACTORS, strict=True))[question.upper()]
    except KeyError:
        known = ", ".join(RESEARCH_QUESTIONS)
        raise MIBenchError(f"unknown research question {question!r}; known are {known}") from None


# Underscore or space after the dataset, which may hold either itself; a ratio as per cent or share.
_NAMED = re.compile(
    rf"\s*(?:(?P<dataset>\w[\w -]*?)[\s_]+)?(?:{POOL}|es\s*0*(?P<number>\d+)(?P<extra>x?)|"
    r"(?P<shape>[a-z]+)\s*\+\s*(?P<d>[\d.]+)\s*\+\s*(?P<g>[\d.]+)"
    r"\s*\+\s*(?P<r>[\d.]+)\s*(?P<percent>%?))\s*",
    re.IGNORECASE,
)


def find(text: str, dataset: str | None = None) -> Scenario:
    """Return the scenario with an id (``ES24``) or a label (``CIFAR100_Normal + ... + 40%``).

    Case and spacing do not matter, and a ratio may be written as a fraction; a label or id that
    names its dataset (``CIFAR100 ES24``) needs no `dataset`. CIFAR10's ``ES60`` is the grid's;
    the one that the published panel calls so has the id ``ES60x``. ``pool`` is every member and
    nonmember of the pool, nothing selected; its factors are empty.

    Raises
    ------
    MIBenchError
        If there is no such scenario, or label and `dataset` disagree.
    """
    match = _NAMED.fullmatch(text)
    if match is None:
        raise MIBenchError(
            f"{text!r} is neither a scenario id such as ES24 nor a label such as "
            "'CIFAR100_Normal + 4.325 + 0.119 + 40%'"
        )
    dataset = dataset and spelled(dataset)
    named = match["dataset"] and spelled(match["dataset"], dataset)
    if named and dataset and named != dataset:
        raise MIBenchError(f"scenario {text!r} belongs to {named}, not to {dataset}; give one")
    dataset = named or dataset
    if dataset is None:
        raise MIBenchError(
            f"scenario {text!r} names no dataset; write e.g. 'CIFAR100_{text.strip()}' or give it"
        )
    known = by_id(dataset)
    if match["number"]:
        wanted = f"ES{int(match['number']):02d}{match['extra'].lower()}"
        if wanted not in known:
            raise MIBenchError(f"{dataset} has no scenario {wanted}; its ids run from ES01 to ES84")
        return known[wanted]
    if not match["shape"]:
        return Scenario(POOL, dataset, "", np.nan, np.nan, np.nan)
    try:
        numbers = [float(match[group]) for group in "dgr"]
    except ValueError:
        raise MIBenchError(f"scenario {text!r} holds a number that cannot be read") from None
    if match["percent"] or numbers[-1] >= 1:
        numbers[-1] /= 100
    for scenario in known.values():
        shape, *own = (getattr(scenario, factor) for factor in FACTORS)
        if shape == match["shape"].lower() and np.allclose(own, numbers, atol=1e-6):
            return scenario
    at = levels(dataset)
    raise MIBenchError(
        f"no scenario {text!r} of {dataset}; distributions {_listed(DISTRIBUTIONS)}, distances "
        f"{_listed(at.distance)}, differential distances {_listed(at.differential_distance)}, "
        f"withheld ratios {_listed([level('withheld_ratio', r) for r in at.withheld_ratio])} "
        f"(mibench scenarios --dataset {dataset} lists the 84 combinations)"
    )


def spelled(dataset: str, *known: str | None) -> str:
    """Return a dataset's name as the catalogue spells it; of an unknown one, the name itself.

    Case and punctuation do not matter: ``ch-mnist`` is CH_MNIST.
    """
    return _spelled(dataset, (*DATASETS, *filter(None, known)))


@lru_cache(1024)
def _spelled(dataset: str, known: tuple[str, ...]) -> str:
    return next((name for name in known if plain(name) == plain(dataset)), dataset)


def _listed(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)
