"""One style for all figures: how they look, what they say in words, how they are written."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, cast
from xml.sax.saxutils import escape

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mibench.attacks import ATTACKS, Attack
from mibench.attacks.base import parse
from mibench.errors import MIBenchError
from mibench.look import PLAIN, Look
from mibench.store import replacing
from mibench.study.metrics import METRICS

# Okabe & Ito's palette, which people of every colour vision can tell apart: what an attacker needs.
NEEDED = {
    "nothing": "#E69F00",
    "own samples": "#009E73",
    "a shadow model": "#0072B2",
    "a shadow model and more": "#56B4E9",
    "reference models": "#D55E00",
    "distilled models": "#CC79A7",
}
# Everything else has colours of its own (Paul Tol's "muted"), so that none means two things.
SERIES = ("#332288", "#44AA99", "#999933", "#AA4499", "#661100", "#DDCC77", "#117733")
MEMBER, NONMEMBER, AREA = "#882255", "#777777", "#BBBBBB"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*", "d", "8")
LINES = ("-", "--", "-.", ":")
# Inches: one column of a two-column page, and both.
WIDTHS = {1: 3.5, 2: 7.16}
# How lines of a grid look that an axis does not draw itself.
GRID: dict[str, Any] = {"color": "0.9", "lw": 0.8, "zorder": 0}
# Points; the smallest letters that printed pages allow.
SMALLEST = 6
# How heat maps part their cells and write in them; of shares, also how they colour them.
CELLS: dict[str, Any] = {
    "linewidths": 0.3,
    "linecolor": "0.9",
    "annot_kws": {"fontsize": SMALLEST},
}
SHARES = CELLS | {"vmin": 0, "vmax": 1, "cmap": "Blues"}
# Names, and what an SVG's reader without them takes.
_FONTS = {"sans": ("sans-serif", "DejaVu Sans"), "serif": ("serif", "STIXGeneral")}
_FORMATS = ("png", "pdf", "svg")
_QUOTES = {'"': "&quot;"}
P = ParamSpec("P")


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

    @property
    def mark(self) -> dict[str, Any]:
        """A mark without a line, as :meth:`matplotlib.axes.Axes.plot` takes it."""
        return {"marker": self.marker, "ls": "", "color": self.colour, "mfc": self.face}


def attack_style(name: str) -> AttackStyle:
    """Return how the attack with a name is drawn; one that is not registered is grey.

    The colour says what an attacker must have, as :data:`NEEDED` names it. Marker and line tell
    attacks of one colour apart.
    """
    return _looks(tuple(ATTACKS)).get(name.partition("[")[0], AttackStyle("0.5", "o", "-", False))


@cache
def _looks(names: tuple[str, ...]) -> dict[str, AttackStyle]:
    looks: dict[str, AttackStyle] = {}
    for name in names:
        colour = NEEDED[_needed(ATTACKS[name])]
        place = sum(other.colour == colour for other in looks.values())
        marker = MARKERS[place % len(MARKERS)]
        filled = place // len(MARKERS) % 2 == 0
        looks[name] = AttackStyle(colour, marker, LINES[place % len(LINES)], filled)
    return looks


def _needed(attack: type[Attack]) -> str:
    needs = attack.needs
    if needs & {"distilled", "trajectory"}:
        return "distilled models"
    if "references" in needs:
        return "reference models"
    if "shadow" in needs:
        return "a shadow model" if needs == {"shadow"} else "a shadow model and more"
    return "own samples" if needs else "nothing"


def chosen(table: pd.DataFrame, look: Look) -> pd.DataFrame:
    """Return the rows of the attacks that a look names, in the catalogue's order of attacks.

    Whatever is compared or ranked afterwards is so among these.

    Raises
    ------
    MIBenchError
        If it names an attack that does not exist, or none that the table has.
    """
    if "attack" not in table:
        return table
    order = {name: place for place, name in enumerate(ATTACKS)}
    if look.attacks != "all":
        names = {attack.label for attack in parse(look.attacks)}
        if table.empty or not table["attack"].isin(names).any():
            raise MIBenchError(f"there are no results of {look.attacks}")
        table = table[table["attack"].isin(names)]
    places = table["attack"].map(lambda a: order.get(a.partition("[")[0], len(order)))
    return table.loc[places.sort_values(kind="stable").index]


def style(look: Look = PLAIN) -> AbstractContextManager[None]:
    """Return the context in which every figure is drawn and written."""
    family, font = _FONTS[look.font]
    own: dict[str, Any] = {
        "font.family": [font, family],
        f"font.{family}": [font],
        "mathtext.fontset": "stix" if look.font == "serif" else "dejavusans",
        "font.size": 7,
        "axes.titlesize": 8,
        "figure.titlesize": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID["color"],
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 300,
        "pdf.fonttype": 42,
        # Text that can be searched and edited; it takes a third fewer bytes than its outlines.
        "svg.fonttype": "none",
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
    look : Look
        What the user chose.
    """

    caption: str = ""
    alt: str = ""
    look: Look = PLAIN

    def head(self, text: str) -> None:
        """Write what is drawn above all panels, unless the look is without a title."""
        if self.look.title:
            self.suptitle(text)

    def explain_colours(self, attacks: Iterable[str]) -> None:
        """Add the legend of what the colours of these attacks mean."""
        used = {attack_style(name).colour for name in attacks}
        needs = [need for need, colour in NEEDED.items() if colour in used]
        handles = [self.axes[0].plot([], [], "s", color=NEEDED[n], ms=4)[0] for n in needs]
        self.legend(
            handles,
            needs,
            loc="outside lower center",
            ncols=1 + self.look.columns,
            title="what an attacker needs",
            fontsize=SMALLEST,
            title_fontsize=SMALLEST,
            columnspacing=1,
        )


def drawn(draw: Callable[P, Picture]) -> Callable[P, Picture]:
    """Let a function draw in the style that its keyword `look` asks for."""

    @functools.wraps(draw)
    def styled(*given: P.args, **named: P.kwargs) -> Picture:
        with style(cast(Look, named.get("look", PLAIN))):
            return draw(*given, **named)

    return styled


def picture(
    look: Look, height: float, rows: int = 1, cols: int = 1, **settings: Any
) -> tuple[Picture, Any]:
    """Return an empty picture of a look's width, and its axes.

    Parameters
    ----------
    look : Look
    height : float
        Inches.
    rows, cols, settings
        Of :func:`matplotlib.pyplot.subplots`.
    """
    size = (WIDTHS[look.columns], height)
    figure, axes = plt.subplots(rows, cols, FigureClass=Picture, figsize=size, **settings)
    made = cast(Picture, figure)
    made.look = look
    return made, axes


def panels(
    look: Look, count: int, abreast: int, each: float, beside: float = 0.0, **settings: Any
) -> tuple[Picture, list[Axes]]:
    """Return an empty picture of panels in rows, and their axes.

    Parameters
    ----------
    look : Look
    count, abreast : int
        Panels, and the most of them in a row.
    each, beside : float
        Inches that a row takes, and what is beside the rows.
    settings
        Of :func:`matplotlib.pyplot.subplots`.
    """
    across = max(1, min(count, abreast))
    down = -(-count // across)
    figure, grid = picture(look, beside + down * each, down, across, squeeze=False, **settings)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def series(place: int) -> dict[str, Any]:
    """Return how one of several series is drawn: its marks, as plot and errorbar take them."""
    marker, colour = MARKERS[place % len(MARKERS)], SERIES[place % len(SERIES)]
    return {"marker": marker, "ls": "", "color": colour}


def list_down(axes: Axes, names: Sequence[str]) -> None:
    """Name the places 0, 1, ... of the vertical axis, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def begin(axes: Axes, which: str, metric: str) -> None:
    """Let the axis "x" or "y" begin where its metric does, with room for half a mark."""
    least, (low, high) = METRICS[metric].least, getattr(axes, f"get_{which}lim")()
    if low < least:
        getattr(axes, f"set_{which}lim")(least - 0.03 * (high - least), high)


def show(figure: Picture) -> None:
    """Show a picture in a notebook with its caption and alternative text, and close it."""
    encoded = base64.b64encode(as_bytes(figure, "png", dpi=150)).decode()
    described = f'<img alt="{escape(figure.alt, _QUOTES)}" src="data:image/png;base64,{encoded}">'
    # As HTML too, because notebooks show no alternative text of a bare image.
    display({"image/png": encoded, "text/html": described, "text/plain": figure.alt}, raw=True)
    display(Markdown(figure.caption))
    plt.close(figure)


def as_bytes(figure: Picture, ending: str, **settings: Any) -> bytes:
    """Return a figure as PNG, PDF or SVG; equal figures are equal bytes.

    Parameters
    ----------
    figure : Picture
    ending : str
        ``png``, ``pdf`` or ``svg``.
    settings
        Of :meth:`matplotlib.figure.Figure.savefig`.
    """
    data = io.BytesIO()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if not axis.get_label_text():
            # Else all ticks are measured again, thrice, for where no label is to stand.
            axis.set_label_coords(0, 0)
    with style(figure.look):
        if ending == "png":
            # By savefig all would be drawn twice, once unseen, to be laid out.
            figure.set_dpi(settings.pop("dpi", plt.rcParams["savefig.dpi"]))
            FigureCanvasAgg(figure).print_png(data, **settings)
        else:
            figure.savefig(data, format=ending, **settings)
    return data.getvalue()


def save(figure: Picture, path: str | Path) -> list[Path]:
    """Write a figure in the formats of its look, with its words beside it, and return the files.

    Equal figures make equal files. The alternative text is in each file's own metadata too.

    Parameters
    ----------
    figure : Picture
    path : path without ending
    """
    path = Path(path)
    metadata: dict[str, dict[str, str | None]] = {
        "png": {"Title": path.name, "Description": figure.alt, "Software": "mibench"},
        "pdf": {"Title": path.name, "Subject": figure.alt, "CreationDate": None},
        "svg": {"Title": path.name, "Description": figure.alt, "Date": None},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = {}
    for ending in _FORMATS if figure.look.format == "all" else (figure.look.format,):
        contents[ending] = as_bytes(figure, ending, metadata=metadata[ending])
        # What the first file was laid out as serves the others.
        figure.set_layout_engine("none")
        if ending == "svg":
            # Matplotlib writes the title where a screen reader finds it, the description not.
            described = f"</title>\n <desc>{escape(figure.alt)}</desc>".encode()
            contents[ending] = contents[ending].replace(b"</title>", described, 1)
    contents["txt"] = f"{figure.caption}\n\nAlternative text: {figure.alt}\n".encode()
    files = [path.with_name(f"{path.name}.{ending}") for ending in contents]
    for file, content in zip(files, contents.values(), strict=True):
        with replacing(file) as temporary:
            temporary.write_bytes(content)
    return files
