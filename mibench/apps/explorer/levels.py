"""MA of all attacks over the levels of one factor, all else equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mibench import scenarios
from mibench.attacks import parse
from mibench.errors import ScenarioInfeasible
from mibench.scenarios import Scenario
from mibench.store import NotMade
from mibench.study.metrics import Estimate
from mibench.study.study import Study


class Compared(NamedTuple):
    """What a page says of the levels.

    Attributes
    ----------
    columns : dict of str to str
        Each scenario's id with its level.
    chosen : str
        The id of the scenario from which the others differ in one factor.
    rows : list of (title, {id: MA, None where the pool cannot meet the scenario})
        The highest MA in the chosen scenario first.
    absent : list of str
        Titles of attacks whose models are not trained yet.
    """

    columns: dict[str, str]
    chosen: str
    rows: list[tuple[str, dict[str, Estimate | None]]]
    absent: list[str]


def compare(
    study: Study, chosen: Scenario, question: str, goes_on: Callable[[float], bool]
) -> Compared | None:
    """Run all attacks on the scenarios that differ from the chosen one in a question's factor.

    `goes_on` is given the share that is done; where it says no, nothing is returned.
    """
    factor = scenarios.factor_of(question)
    among = scenarios.vary(chosen, question)
    columns = {s.id: scenarios.level(factor, getattr(s, factor)) for s in among}
    rows, absent, attacks = [], [], parse("all")
    for done, attack in enumerate(attacks):
        row: dict[str, Estimate | None] = {}
        if not goes_on(done / len(attacks)):
            return None
        try:
            for scenario in among:
                try:
                    row[scenario.id] = study.attack(attack, scenario).metrics["ma"]
                except ScenarioInfeasible:
                    row[scenario.id] = None
            rows.append((attack.full_title, row))
        except NotMade:
            absent.append(attack.full_title)
    rows.sort(key=lambda named: -(ma.value if (ma := named[1].get(chosen.id)) else 0))
    return Compared(columns, chosen.id, rows, absent)
