"""The command line.

Torch, pandas and matplotlib are imported inside the commands that need them: the others answer
at once.
"""

from mibench.apps.cli import (
    advice,
    attacking,
    batch,
    catalogue,
    checking,
    reports,
    reproducing,
    starting,
)
from mibench.apps.cli.base import main

__all__ = [
    "advice",
    "attacking",
    "batch",
    "catalogue",
    "checking",
    "main",
    "reports",
    "reproducing",
    "starting",
]
