"""What an attack costs beside the target model itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mibench.attacks.base import Attack
from mibench.signals.perturbations import COPIES


def queries(attack: Attack | type[Attack]) -> int:
    """Return how often an attack asks the target about each attacked sample.

    What it asks about other samples, once for all scenarios, is not counted.
    """
    return 1 + sum(COPIES.get(need, 0) for need in attack.needs)


def models(attack: Attack | type[Attack], counts: Mapping[str, Any]) -> int:
    """Return how many models an attack trains.

    Parameters
    ----------
    attack : Attack
    counts : mapping
        With `shadows`, `references` and `distilled`, as a setting and a row of results have them.
    """
    counted = {"shadow": "shadows", "references": "references", "distilled": "distilled"}
    trained = sum(int(counts[counted[need]]) for need in attack.needs if need in counted)
    # One model is distilled from the target, and one from each shadow.
    return trained + (1 + int(counts["shadows"])) * ("trajectory" in attack.needs)
