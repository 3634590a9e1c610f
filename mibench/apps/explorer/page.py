"""How the explorer's page keeps to one choice: parts that say what they are of, and one head.

A part is HTML that is replaced as a whole. The head is replaced last: it names the parts and the
controls of the choice that is shown, and whatever else stands on the page, such as what the user
has chosen a moment ago and nobody has answered yet, is dimmed by the browser itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from typing import Any

import ipywidgets as widgets
import jinja2

_FOLDER = files("mibench.apps.explorer")
_STYLE = _FOLDER.joinpath("style.css").read_text(encoding="utf-8")
_PARTS: Any = (
    jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    .from_string(_FOLDER.joinpath("parts.jinja").read_text(encoding="utf-8"))
    .module
)


class Part:
    """A piece of the page, and what it is of.

    Parameters
    ----------
    kind : str
        A macro of ``parts.jinja``.

    Attributes
    ----------
    of : str
        What it shows, in letters and digits; equal for equal choices.
    html : str
    widget : ipywidgets.Widget
    """

    def __init__(self, kind: str):
        self._kind, self.of, self.html = kind, "", ""
        self.widget = widgets.HTML().add_class("mibench-part")

    def show(self, of: str, *values: Any) -> None:
        """Show something else: the macro with these values."""
        self.of, self.html = of, str(getattr(_PARTS, self._kind)(*values))
        self.widget.value = f'<div class="mibench-of" data-of="{of}">{self.html}</div>'


class Head:
    """The line that says what is shown, and the rules by which the rest is dimmed or hidden.

    Parameters
    ----------
    page : ipywidgets.Widget
        What holds the controls and all parts.
    """

    def __init__(self, page: widgets.DOMWidget):
        self._page = f".mibench-{page.model_id}"
        page.add_class("mibench-explorer").add_class(self._page[1:])
        self.widget = widgets.HTML()

    def say(self, what: str, parts: Iterable[Part] = (), controls: Iterable[str] = ()) -> None:
        """Say something, and let the parts be seen where the controls are what they are of.

        Parameters
        ----------
        what : str
        parts : iterable of Part
            All that are shown; without any, everything is hidden.
        controls : iterable of str
            A CSS selector of each control's choice.
        """
        page, shown = self._page, [f'[data-of="{part.of}"]' for part in parts]
        rules = f"{page} .mibench-part {{visibility: hidden}}"
        if shown:
            old = [f"{page} .mibench-of:not({', '.join(shown)})"]
            old += [f"{page}:not(:has({control})) .mibench-part" for control in controls]
            rules = f"{', '.join(old)} {{opacity: 0.25}}"
        self.widget.value = (
            f"<style>{_STYLE}{rules}</style>"
            f'<div class="mibench-note mibench-status" role="status">{escape(what)}</div>'
        )


def still(what: str, parts: Iterable[Part]) -> str:
    """Return what is shown as HTML that needs no widgets."""
    inside = "".join(f"<div>{part.html}</div>" for part in parts)
    return f'<style>{_STYLE}</style><p>{escape(what)}</p><div class="mibench-body">{inside}</div>'
