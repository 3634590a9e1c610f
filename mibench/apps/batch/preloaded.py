"""What the process that kernels are forked from does once, so that none of them does it again.

Python's fork server imports this module and nothing else of it is used: libraries are loaded, the
source is digested, fonts and formulas are looked up for a first picture.
"""

import gc
import os
from importlib import import_module

from mibench.attacks.base import parse
from mibench.figures.style import Picture, as_bytes
from mibench.setting import Setting
from mibench.study.provenance import provenance, sources

# A debugger, which a kernel loads and nobody uses, would say so to the terminal.
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
for _name in (
    *("ipykernel.debugger", "ipykernel.kernelapp", "pandas.io.formats.style"),
    *("mibench.figures", "mibench.study.study"),
):
    import_module(_name)
provenance()
sources(Setting(), parse("all"))
_picture = Picture(figsize=(1, 1), layout="constrained")
_picture.subplots().set(xscale="log")
as_bytes(_picture, "png")
# What is here stays, so that no fork searches it for garbage, which copies its memory.
gc.freeze()
