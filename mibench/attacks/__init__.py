"""The attacks: every file of this folder is read, and registers its own."""

import pkgutil
from importlib import import_module

from mibench.attacks.base import (
    ATTACKS,
    NEEDS,
    Attack,
    Inference,
    Knowledge,
    kind_of,
    named,
    parse,
    register,
)

__all__ = [
    "ATTACKS",
    "NEEDS",
    "Attack",
    "Inference",
    "Knowledge",
    "kind_of",
    "named",
    "parse",
    "register",
]

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
