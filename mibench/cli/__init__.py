"""The command line.

Torch, pandas and matplotlib are imported inside the commands that need them: the others answer
at once.
"""

from mibench.cli import attacking, batch, catalogue, reports
from mibench.cli.base import main

__all__ = ["attacking", "batch", "catalogue", "main", "reports"]
