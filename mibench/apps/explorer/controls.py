"""The controls of the explorer, linked so that only existing scenarios can be picked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import ipywidgets as widgets

from mibench import attacks, models, scenarios
from mibench import data as datasets
from mibench.scenarios import Scenario

NO_ATTACK = ""


class Controls:
    """Choice of dataset, model, scenario and attacks.

    A scenario's id and its four factors follow each other: of the withheld ratios only those are
    offered that exist with the other three factors, and a ratio that ceases to exist gives way to
    the nearest that does.

    Parameters
    ----------
    dataset, model, attack, second_attack : str
        The first choice, as spelt in the catalogues; `second_attack` may be empty.
    scenario : Scenario
    changed : callable
        Called once after every change.
    """

    def __init__(
        self,
        dataset: str,
        model: str,
        scenario: Scenario,
        attack: str,
        second_attack: str,
        changed: Callable[[], None],
    ):
        named = [(kind.title, name) for name, kind in attacks.REGISTRY.items()]
        # A user's own has its path for a value.
        offered = dict.fromkeys((*datasets.names(), dataset))
        titled = [(datasets.name_of(value), value) for value in offered]
        self.dataset = _dropdown("dataset", titled, dataset)
        self.model = _dropdown("model", models.MODELS, model)
        self.attack = _dropdown("attack", named, attack)
        self.second_attack = _dropdown("compare", [("none", NO_ATTACK), *named], second_attack)
        self.id = _dropdown("scenario", (), None)
        self.distribution = _dropdown("distribution", (), None)
        self.distance = _dropdown("distance", (), None)
        self.differential_distance = _dropdown("differential", (), None)
        self.withheld_ratio = _dropdown("withheld", (), None)
        self._factors = (
            self.distribution,
            self.distance,
            self.differential_distance,
            self.withheld_ratio,
        )
        self._following = False
        self._changed = changed
        self._follow(scenario)
        self.dataset.observe(self._dataset_picked, "value")
        self.id.observe(self._id_picked, "value")
        for factor in self._factors:
            factor.observe(self._factor_picked, "value")
        for other in (self.model, self.attack, self.second_attack):
            other.observe(lambda _: changed(), "value")
        first = (self.dataset, self.model, self.attack, self.second_attack)
        self.box = widgets.VBox([_row(first), _row((self.id, *self._factors))])

    @property
    def scenario(self) -> Scenario:
        """The scenario picked."""
        return scenarios.find(self.id.value, self._name)

    @property
    def _name(self) -> str:
        return datasets.name_of(self.dataset.value)

    @property
    def attacks(self) -> tuple[str, ...]:
        """The names of the one or two attacks picked."""
        return tuple(name for name in (self.attack.value, self.second_attack.value) if name)

    def _dataset_picked(self, _: object) -> None:
        # The grid is the same for all datasets, an extra scenario off it is not.
        known = [s.id for s in _known(self._name)]
        wanted = self.id.value if self.id.value in known else known[0]
        self._follow(scenarios.find(wanted, self._name))
        self._changed()

    def _id_picked(self, _: object) -> None:
        if not self._following:
            self._follow(self.scenario)
            self._changed()

    def _factor_picked(self, _: object) -> None:
        if not self._following:
            *wanted, ratio = (factor.value for factor in self._factors)
            alike = [s for s in _known(self._name) if [*_values(s)[:3]] == wanted]
            self._follow(min(alike, key=lambda s: abs(s.withheld_ratio - ratio)))
            self._changed()

    def _follow(self, scenario: Scenario) -> None:
        """Let every control show a scenario of the dataset picked."""
        known = _known(scenario.dataset)
        values = _values(scenario)
        alike = [s for s in known if _values(s)[:3] == values[:3]]
        self._following = True
        try:
            _offer(self.id, [(s.id, s.id) for s in known], scenario.id)
            for place, factor in enumerate(self._factors):
                among = alike if factor is self.withheld_ratio else known
                levels = sorted({_values(s)[place] for s in among}, key=_order)
                _offer(factor, [(_text(place, level), level) for level in levels], values[place])
        finally:
            self._following = False


def _values(scenario: Scenario) -> tuple[str, float, float, float]:
    return (
        scenario.distribution,
        scenario.distance,
        scenario.differential_distance,
        scenario.withheld_ratio,
    )


def _order(level: str | float) -> float:
    return scenarios.DISTRIBUTIONS.index(level) if isinstance(level, str) else level


def _text(place: int, level: str | float) -> str:
    if isinstance(level, str):
        return level
    return f"{100 * level:g}%" if place == 3 else f"{level:g}"


def _known(dataset: str) -> tuple[Scenario, ...]:
    return (*scenarios.catalogue(dataset), *scenarios.off_grid(dataset))


def _offer(control: widgets.Dropdown, options: list[tuple[str, object]], value: object) -> None:
    if list(control.options) != options:
        control.options = options
    control.value = value


def _dropdown(name: str, options: Iterable[object], value: object) -> widgets.Dropdown:
    return widgets.Dropdown(
        description=name,
        options=list(options),
        value=value,
        style={"description_width": "85px"},
        layout=widgets.Layout(width="auto", min_width="0"),
    )


def _row(controls: Sequence[widgets.Widget]) -> widgets.GridBox:
    # As many beside each other as can be read.
    columns = "repeat(auto-fit, minmax(200px, 1fr))"
    return widgets.GridBox(
        list(controls), layout=widgets.Layout(grid_template_columns=columns, grid_gap="2px 4px")
    )
