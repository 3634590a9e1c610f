"""The controls of the explorer, linked so that only existing scenarios can be picked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args, get_origin
from urllib.parse import quote

import ipywidgets as widgets

from mibench import scenarios
from mibench.attacks import Attack, parse
from mibench.data import loading
from mibench.data.base import DATASETS
from mibench.models import MODELS
from mibench.scenarios import FACTORS, Scenario
from mibench.setting import Place, Setting
from mibench.training.recipe import DEFENCES

_FIELDS = ("dataset", "model", "defence", "seed", "construction", "withholding", "levels")
_ATTACKS = ("attack", "second_attack")
_ROWS = (_FIELDS, ("scenario", *FACTORS), _ATTACKS)
# What a control is called, where not by its name.
_TITLES = {
    "differential_distance": "differential",
    "withheld_ratio": "withheld",
    "second_attack": "compare",
}


class Controls:
    """Choice of a setting, a scenario and one or two attacks; ``controls["seed"]`` is a control.

    A scenario's id and its four factors follow each other. Only withheld ratios that exist for the
    other three factors are offered; one that ceases to exist gives way to the nearest that does.

    Parameters
    ----------
    setting : Setting
        The first choice; what has no control stays as it is.
    place : Place
    scenario : Scenario
    attacks : sequence of one or two Attack
    changed : callable
        Called once after every change.
    fixed : bool
        Whether the setting is the only one that there is.

    Attributes
    ----------
    note : str
        What the last choice changed beside itself.
    """

    def __init__(
        self,
        setting: Setting,
        place: Place,
        scenario: Scenario,
        attacks: Sequence[Attack],
        changed: Callable[[], None],
        fixed: bool = False,
    ):
        self._fixed, self._first, self._place, self._changed = fixed, setting, place, changed
        self._attacks = {attack.label: attack for attack in (*parse("all"), *attacks)}
        titled = [(attack.full_title, label) for label, attack in self._attacks.items()]
        chosen = [attack.label for attack in attacks]
        self._following, self.note = False, ""
        names = [name for row in _ROWS for name in row]
        self._by_name = {n: widgets.Dropdown(description=_TITLES.get(n, n)) for n in names}
        for field in _FIELDS:
            _offer(self[field], self._choices(field), getattr(setting, field))
        _offer(self["attack"], titled, chosen[0])
        _offer(self["second_attack"], [("none", ""), *titled], "".join(chosen[1:]))
        self._follow(scenario)
        for name, control in self._by_name.items():
            picked = self._factor_picked if name in FACTORS else self._picked
            control.add_class(f"mibench-{name}")
            control.observe(picked, "value")
        grids = (widgets.GridBox([self[name] for name in row]) for row in _ROWS)
        self.box = widgets.VBox([grid.add_class("mibench-controls") for grid in grids])

    def __getitem__(self, name: str) -> widgets.Dropdown:
        return self._by_name[name]

    @property
    def setting(self) -> Setting:
        """The setting picked."""
        return self._first.model_copy(update={name: self[name].value for name in _FIELDS})

    @property
    def scenario(self) -> Scenario:
        """The scenario picked."""
        return scenarios.find(self["scenario"].value, self._dataset)

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """The one or two attacks picked."""
        picked = dict.fromkeys(self[name].value for name in _ATTACKS)
        return tuple(self._attacks[label] for label in picked if label)

    @property
    def selectors(self) -> list[str]:
        """A CSS selector for each control, of what it picks in the page; see ``:has``."""
        return [
            f'.mibench-{name} option[data-value="{quote(control.label, safe="!~*()")}"]:checked'
            for name, control in self._by_name.items()
        ]

    @property
    def choice(self) -> tuple[list[str], Setting, Scenario, tuple[Attack, ...]]:
        """The selectors, the setting, the scenario and the attacks, all of one moment."""
        selectors = self.selectors
        picked = selectors, self.setting, self.scenario, self.attacks
        # The kernel may set a control in another thread meanwhile.
        return picked if selectors == self.selectors else self.choice

    @property
    def _dataset(self) -> str:
        return self._name_of(self["dataset"].value)

    def _name_of(self, dataset: str) -> str:
        return dataset if self._fixed else loading.name_of(dataset, self._place)

    def _choices(self, field: str) -> list[tuple[str, Any]]:
        """Return what a field of Setting may be, as text and value."""
        kind, given = Setting.model_fields[field].annotation, getattr(self._first, field)
        if self._fixed:
            return [(str(given), given)]
        known: dict[str, Iterable[Any]] = {"dataset": DATASETS, "model": MODELS}
        known |= {"defence": DEFENCES, "seed": range(10)}
        choices = get_args(kind) if get_origin(kind) is Literal else known[field]
        # A dataset of the user's own has its path for a value.
        shown = self._name_of if field == "dataset" else str
        return [(shown(value), value) for value in dict.fromkeys([*choices, given])]

    def _picked(self, change: Any) -> None:
        if self._following:
            return
        self.note = ""
        # The grid is the same for all datasets, an extra scenario off it is not.
        known = scenarios.by_id(self._dataset)
        self._follow(known.get(self["scenario"].value) or next(iter(known.values())))
        self._changed()

    def _factor_picked(self, _: Any) -> None:
        if self._following:
            return
        *wanted, ratio = (self[factor].value for factor in FACTORS)
        known = scenarios.by_id(self._dataset).values()
        alike = [s for s in known if _values(s)[:3] == wanted]
        nearest = min(alike, key=lambda s: abs(s.withheld_ratio - ratio))
        kept = nearest.withheld_ratio == ratio
        self.note = "" if kept else f"withheld is now {100 * nearest.withheld_ratio:g}%"
        self._follow(nearest)
        self._changed()

    def _follow(self, scenario: Scenario) -> None:
        """Let every control show a scenario of the dataset picked."""
        known = scenarios.by_id(scenario.dataset).values()
        alike = [s for s in known if _values(s)[:3] == _values(scenario)[:3]]
        self._following = True
        try:
            _offer(self["scenario"], [(s.id, s.id) for s in known], scenario.id)
            for factor in FACTORS:
                among = alike if factor == "withheld_ratio" else known
                levels = sorted({getattr(s, factor) for s in among}, key=_order)
                options = [(scenarios.level(factor, level), level) for level in levels]
                _offer(self[factor], options, getattr(scenario, factor))
        finally:
            self._following = False


def _values(scenario: Scenario) -> list[Any]:
    return [getattr(scenario, factor) for factor in FACTORS]


def _order(level: Any) -> float:
    return scenarios.DISTRIBUTIONS.index(level) if isinstance(level, str) else level


def _offer(control: widgets.Dropdown, options: list[tuple[str, Any]], value: Any) -> None:
    if list(control.options) != options:
        control.options = options
    control.value = value
