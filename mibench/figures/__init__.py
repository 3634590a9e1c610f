"""Figures of results, in one style."""

from mibench.figures.defences import defences
from mibench.figures.panels import PANELS, six_panels
from mibench.figures.scenario import distances, roc, scores
from mibench.figures.style import save, style

__all__ = ["PANELS", "defences", "distances", "roc", "save", "scores", "six_panels", "style"]
