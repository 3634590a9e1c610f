"""The explorer: one scenario and up to two attacks, to be understood by hand in JupyterLab."""

from mibench.apps.explorer.explorer import Explorer, explore

__all__ = ["Explorer", "explore"]
