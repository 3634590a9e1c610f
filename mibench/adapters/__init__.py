"""Anybody's models: every file of this folder is read, and registers a library's."""

import pkgutil
from importlib import import_module

# By their names: `function`, which takes whatever can be called, is added first and so asked last.
for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
