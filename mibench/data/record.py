"""The files of the published record; ``mibench/data/facts/README.md`` names each one's source."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@cache
def table(name: str) -> pd.DataFrame:
    """Return a file of the record, such as "figures"; not to be written to."""
    import pandas as pd

    folder = files("mibench").joinpath("data", "facts")
    [file] = [f for f in folder.iterdir() if f.name.startswith(f"published_{name}.csv")]
    with file.open("rb") as content:
        return pd.read_csv(content, compression="gzip" if file.name.endswith(".gz") else None)
