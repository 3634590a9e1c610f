"""What an attack costs beside the target model itself."""

from __future__ import annotations

from mibench.attacks import Attack
from mibench.signals import COPIES, DISTILLED


def queries(attack: type[Attack]) -> int:
    """Return how often an attack asks the target about each attacked sample.

    What it asks about other samples, once for all scenarios, is not counted.
    """
    return 1 + sum(COPIES.get(need, 0) for need in attack.needs)


def models(attack: type[Attack], references: int) -> int:
    """Return how many models an attack trains, of `references` reference models."""
    trained = {"shadow": 1, "references": references, "distilled": DISTILLED}
    return sum(trained.get(need, 0) for need in attack.needs)
