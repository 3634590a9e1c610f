"""One style for all figures: colour-blind safe, readable at one column's width; and saving."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe & Ito's palette, which people of every colour vision can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MEMBER, NONMEMBER = COLOURS[5], COLOURS[0]


def style() -> AbstractContextManager[None]:
    """Return the context in which every figure is drawn."""
    return mpl.rc_context(
        {
            "font.size": 7,
            "axes.titlesize": 8,
            "figure.titlesize": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "0.9",
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 200,
            "pdf.fonttype": 42,
        }
    )


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PNG and PDF beside each other and return the two files.

    Parameters
    ----------
    figure : Figure
    path : path without ending
    """
    written = []
    for ending in (".png", ".pdf"):
        file = Path(path).with_name(Path(path).name + ending)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.stem}.{os.getpid()}{ending}")
        # A PDF's creation date would make equal figures differ.
        metadata = {"CreationDate": None} if ending == ".pdf" else None
        figure.savefig(temporary, metadata=metadata)
        temporary.replace(file)
        written.append(file)
    return written
