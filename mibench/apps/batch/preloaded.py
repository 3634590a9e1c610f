"""What the process that kernels are forked from does once, so that none of them does it again.

Python's fork server imports this module and nothing else of it is used: libraries are loaded, the
source is digested, fonts and formulas are looked up for a first picture.
"""

import gc
import os
from importlib import import_module

import ipykernel.kernelapp  # noqa: F401
import pandas.io.formats.style  # noqa: F401

# Which the first optimizer of each process imports, for two seconds.
import torch._dynamo  # noqa: F401

# After the kernel, without which it shows no bars as a notebook's.
import tqdm.auto  # noqa: F401

import mibench.figures
import mibench.study.study  # noqa: F401
from mibench.attacks.base import parse
from mibench.figures.style import Picture, as_bytes
from mibench.setting import Setting
from mibench.study.provenance import provenance, sources

# The debugger, which every kernel loads and nobody uses, has a warning for the terminal.
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
import_module("ipykernel.debugger")
provenance()
sources(Setting(), parse("all"))
_picture = Picture(figsize=(1, 1), layout="constrained")
_picture.subplots().set(xscale="log")
as_bytes(_picture, "png")
# What is here stays, so that no fork searches it for garbage, which copies its memory.
gc.freeze()
