"""One style for all figures: how they look, what they say in words, how they are written."""

from __future__ import annotations

import base64
import io
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast
from xml.sax.saxutils import escape

import matplotlib.pyplot as plt
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from mibench.attacks import ATTACKS, Attack
from mibench.store import replacing

# Okabe & Ito's palette, which people of every colour vision can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*", "d", "8")
LINES = ("-", "--", "-.", ":")
MEMBER, NONMEMBER = COLOURS[5], COLOURS[0]
# Inches: one column of a two-column page, and both.
WIDTHS = {1: 3.5, 2: 7.16}


_QUOTES = {'"': "&quot;"}


@dataclass(frozen=True)
class AttackStyle:
    """How an attack is drawn, in every figure."""

    colour: str
    marker: str
    line: str
    filled: bool

    @property
    def face(self) -> str:
        """The colour of a marker's inside."""
        return self.colour if self.filled else "white"


def attack_style(name: str) -> AttackStyle:
    """Return how the attack with a name is drawn; one that is not registered is grey.

    The colour says what an attacker must have: orange nothing, green answers on samples of his
    own, blue a shadow model, sky blue a shadow model and more, vermilion reference models, purple
    distilled ones. Marker and line tell attacks of one colour apart.
    """
    return _looks(tuple(ATTACKS)).get(name.partition("[")[0], AttackStyle("0.5", "o", "-", False))


@cache
def _looks(names: tuple[str, ...]) -> dict[str, AttackStyle]:
    looks: dict[str, AttackStyle] = {}
    for name in names:
        colour = _colour(ATTACKS[name])
        place = sum(other.colour == colour for other in looks.values())
        marker = MARKERS[place % len(MARKERS)]
        filled = place // len(MARKERS) % 2 == 0
        looks[name] = AttackStyle(colour, marker, LINES[place % len(LINES)], filled)
    return looks


def _colour(attack: type[Attack]) -> str:
    needs = attack.needs
    if "distilled" in needs:
        return COLOURS[3]
    if "references" in needs:
        return COLOURS[5]
    if "shadow" in needs:
        return COLOURS[0] if needs == {"shadow"} else COLOURS[4]
    return COLOURS[2] if needs else COLOURS[1]


def style() -> AbstractContextManager[None]:
    """Return the context in which every figure is drawn and written."""
    own: dict[str, Any] = {
        "font.family": "DejaVu Sans",
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
        "savefig.dpi": 300,
        "pdf.fonttype": 42,
        # Without it an SVG's ids are random.
        "svg.hashsalt": "mibench",
    }
    # From the defaults, so that a user's own settings do not make equal figures differ.
    return plt.style.context(["default", own])


class Picture(Figure):
    """A figure that also says in words what it shows.

    Attributes
    ----------
    caption : str
        What is drawn, of how many samples, with which interval.
    alt : str
        What is seen, for who does not see it.
    """

    caption: str = ""
    alt: str = ""


def picture(rows: int = 1, cols: int = 1, **settings: Any) -> tuple[Picture, Any]:
    """Return an empty picture and its axes, as :func:`matplotlib.pyplot.subplots` does."""
    figure, axes = plt.subplots(rows, cols, FigureClass=Picture, **settings)
    return cast(Picture, figure), axes


def show(figure: Picture) -> None:
    """Show a picture in a notebook with its caption and alternative text, and close it."""
    data = png(figure, 150)
    encoded = base64.b64encode(data).decode()
    described = f'<img alt="{escape(figure.alt, _QUOTES)}" src="data:image/png;base64,{encoded}">'
    # As HTML too, because notebooks show no alternative text of a bare image.
    display({"image/png": encoded, "text/html": described, "text/plain": figure.alt}, raw=True)
    display(Markdown(figure.caption))
    plt.close(figure)


def png(figure: Figure, dpi: int) -> bytes:
    """Return a figure as PNG."""
    data = io.BytesIO()
    with style():
        figure.savefig(data, format="png", dpi=dpi)
    return data.getvalue()


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PNG, PDF and SVG beside each other, with its words, and return the files.

    Equal figures make equal files. The words of a :class:`Picture` go into a text file
    beside them, and the alternative text into each file's own metadata.

    Parameters
    ----------
    figure : Figure
    path : path without ending
    """
    words = figure if isinstance(figure, Picture) else Picture()
    path = Path(path)
    metadata: dict[str, dict[str, str | None]] = {
        ".png": {"Title": path.name, "Description": words.alt, "Software": "mibench"},
        ".pdf": {"Title": path.name, "Subject": words.alt, "CreationDate": None},
        ".svg": {"Title": path.name, "Description": words.alt, "Date": None},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for ending, said in metadata.items():
        data = io.BytesIO()
        with style():
            figure.savefig(data, format=ending[1:], metadata=said)
        content = data.getvalue()
        if ending == ".svg":
            # Matplotlib writes the title where a screen reader finds it, the description not.
            title = b"</title>"
            described = f"<desc>{escape(words.alt)}</desc>".encode()
            content = content.replace(title, title + b"\n " + described, 1)
        written.append(_write(path, ending, content))
    if words.caption:
        said_beside = f"{words.caption}\n\nAlternative text: {words.alt}\n"
        written.append(_write(path, ".txt", said_beside.encode()))
    return written


def _write(path: Path, ending: str, content: bytes) -> Path:
    file = path.with_name(path.name + ending)
    with replacing(file) as temporary:
        temporary.write_bytes(content)
    return file
