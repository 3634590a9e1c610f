"""The command line: every file of this folder is read, and adds its commands.

Torch, pandas and matplotlib are imported inside the commands that need them: the others answer
at once.
"""

import pkgutil
from importlib import import_module

from mibench.apps.cli.base import main

__all__ = ["main"]

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
