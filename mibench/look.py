"""How figures look, written once: command, notebook and Python fill a :class:`Look`.

And how a number of things is said, in captions as on the command line.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mibench.setting import Fields


class Look(Fields):
    """What a user chooses of figures; every figure obeys what its description does not exclude."""

    attacks: str = Field(
        default="all",
        description="Names or groups, with commas between (figures of one scenario draw those "
        "that were run).",
    )
    metric: str = Field(
        default="ma", description="Of figures that show one metric of choice, such as auc."
    )
    columns: int = Field(default=1, ge=1, le=2, description="Width, in columns of a printed page.")
    layout: Literal["auto", "6x1", "3x2", "2x3"] = Field(
        default="auto", description="Rows and columns of the six panels."
    )
    title: bool = Field(default=True, description="Whether the setting stands above a figure.")
    font: Literal["sans", "serif"] = Field(default="sans", description="DejaVu Sans, or STIX.")
    format: Literal["all", "png", "pdf", "svg"] = Field(
        default="all", description="What files are written."
    )


PLAIN = Look()


def many(count: int, what: str, several: str = "") -> str:
    """Return a number with what is counted, such as "1 notebook" and "2 notebooks"."""
    return f"{count} {what if count == 1 else several or f'{what}s'}"
