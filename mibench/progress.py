"""Progress bars, which all obey one rule."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tqdm


def bar(*given: Any, **named: Any) -> tqdm.tqdm[Any]:
    """Return tqdm's bar: a widget in a notebook, text on a terminal, and nothing in a file.

    TQDM_DISABLE has the last word outside notebooks: empty, as the explorer sets it to read the
    text, it shows the bar in a file too.
    """
    import tqdm.auto

    ask = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    if hasattr(ask(), "kernel"):
        kind: Any = tqdm.auto.tqdm
    else:
        kind, said = tqdm.tqdm, os.environ.get("TQDM_DISABLE")
        named["disable"] = None if said is None else bool(said)
    return kind(*given, leave=False, **named)
