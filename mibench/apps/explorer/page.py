"""How the explorer's page keeps to one choice: parts that say what they are of, and one head.

A part is HTML that is replaced as a whole. The head is replaced last: it names the parts and the
controls of the choice that is shown, and whatever else stands on the page, such as what the user
has chosen a moment ago and nobody has answered yet, dims the parts in the browser itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import ipywidgets as widgets

_STYLE = """
.mibench-explorer {container-type: inline-size; width: 100%; max-width: 1200px}
.mibench-controls {display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr));
  gap: 2px 4px}
.mibench-body {display: grid; grid-template-columns: 1fr 1fr; gap: 8px 16px}
@container (max-width: 760px) {.mibench-body {grid-template-columns: 1fr}}
.mibench-body > *, .mibench-body .widget-html-content {min-width: 0; overflow: hidden}
.mibench-table {border-collapse: collapse; font-size: 12px; line-height: 1.35}
.mibench-table td, .mibench-table th {padding: 1px 3px; text-align: right; font-weight: normal;
  border-bottom: 1px solid var(--jp-border-color2, #ddd)}
.mibench-table th {color: var(--jp-ui-font-color1, #333)}
.mibench-table td.name, .mibench-table th.name {text-align: left}
.mibench-pair {display: flex; flex-wrap: wrap; gap: 4px 8px; align-items: flex-start}
.mibench-samples {display: grid; grid-template-columns: repeat(10, minmax(0, 1fr));
  gap: 2px; font-size: 12px; line-height: 1.25; text-align: center; letter-spacing: -0.4px}
.mibench-samples img {width: 100%; max-width: 44px; image-rendering: pixelated;
  border: 1px solid #bbb}
.mibench-title {font-weight: bold; font-size: 13px; line-height: 1.5}
.mibench-note {font-size: 12px; line-height: 1.4; color: var(--jp-ui-font-color1, #333)}
.mibench-again pre {font-size: 12px; white-space: pre-wrap; user-select: all}
"""


class Part:
    """A piece of the page, and what it is of.

    Attributes
    ----------
    of : str
        What it shows, in letters and digits; equal for equal choices.
    html : str
    widget : ipywidgets.Widget
    """

    def __init__(self) -> None:
        self.of = self.html = ""
        self.widget = widgets.HTML()
        self.widget.add_class("mibench-part")

    def show(self, of: str, html: str) -> None:
        """Show something else."""
        self.of, self.html = of, html
        self.widget.value = f'<div class="mibench-of" data-of="{of}">{html}</div>'


class Head:
    """The line that says what is shown, and the rules by which the rest is dimmed or hidden.

    Parameters
    ----------
    page : ipywidgets.Widget
        What holds the controls and all parts.
    """

    def __init__(self, page: widgets.DOMWidget):
        self._name = f"mibench-{page.model_id}"
        page.add_class("mibench-explorer")
        page.add_class(self._name)
        self.widget = widgets.HTML(layout=widgets.Layout(flex="1 1 auto", min_width="0"))

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
        page, shown = f".{self._name}", [f'[data-of="{part.of}"]' for part in parts]
        chosen = [f"{page}:not(:has({control})) .mibench-part" for control in controls]
        rules = f"{page} .mibench-part {{visibility: hidden}}"
        if shown:
            old = f"{page} .mibench-of:not({', '.join(shown)})"
            rules = f"{', '.join([old, *chosen])} {{opacity: 0.25}}"
        self.widget.value = (
            f"<style>{_STYLE}{rules}</style>"
            f'<div class="mibench-note mibench-status" role="status">{escape(what)}</div>'
        )

    @staticmethod
    def still(what: str, parts: Iterable[Part]) -> str:
        """Return what is shown as HTML that needs no widgets."""
        inside = "".join(f"<div>{part.html}</div>" for part in parts)
        return (
            f'<style>{_STYLE}</style><p>{escape(what)}</p><div class="mibench-body">{inside}</div>'
        )
