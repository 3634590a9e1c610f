"""MIBench: which membership inference attack really is stronger, and why papers disagree."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mibench.study.audit import audit

__version__ = "0.1.0"
__all__ = ["__version__", "audit"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for, so that the command line answers at once.
    if name == "audit":
        from mibench.study.audit import audit

        globals()["audit"] = audit
        return audit
    raise AttributeError(f"module 'mibench' has no attribute {name!r}")
