"""MIBench: which membership inference attack really is stronger, and why papers disagree."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mibench import scenarios
    from mibench.attacks.base import Attack, parse, register
    from mibench.setting import Place, Setting
    from mibench.study.audit import audit, audit_model
    from mibench.study.own import study_model
    from mibench.study.study import Study

# OpenMP reads it once, when PyTorch or another library loads it: threads that wait spin by default,
# and then take the core of a busy process beside them, whose end they wait for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Whether there is a CUDA device is asked in the process that kernels are forked from; asked of CUDA
# itself, no fork could use it.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

__version__ = "0.2.0"
__all__ = [
    "Attack",
    "Place",
    "Setting",
    "Study",
    "__version__",
    "audit",
    "audit_model",
    "parse",
    "register",
    "scenarios",
    "study_model",
]

_HOMES = {
    "Attack": "attacks.base",
    "parse": "attacks.base",
    "register": "attacks.base",
    "Place": "setting",
    "Setting": "setting",
    "audit": "study.audit",
    "audit_model": "study.audit",
    "study_model": "study.own",
    "Study": "study.study",
}


def __getattr__(name: str) -> Any:
    # Imported when first asked for, so that the command line answers at once.
    if name not in _HOMES:
        raise AttributeError(f"module 'mibench' has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"mibench.{_HOMES[name]}"), name)
    return globals()[name]
