"""Figures of results, in one style."""

from mibench.figures.conflicts import conflict_matrix, ranks, two_views
from mibench.figures.panels import PANELS, six_panels
from mibench.figures.scenario import distances, roc, scores
from mibench.figures.style import save, style

__all__ = [
    "PANELS",
    "conflict_matrix",
    "distances",
    "ranks",
    "roc",
    "save",
    "scores",
    "six_panels",
    "style",
    "two_views",
]
