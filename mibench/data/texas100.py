"""Texas100: hospital stays (Shokri et al. 2017)."""

from __future__ import annotations

from mibench.data.base import Levels, Parsed, Published, SplitSizes, panels, register
from mibench.data.files import Files
from mibench.data.records import PAGE, bits_and_labels


def read(files: Files) -> Parsed:
    """Read `100/feats`, bits, and `100/labels`, a label 1-100 a row."""
    return bits_and_labels(files, "100/feats", "100/labels")


register(
    Published(
        "Texas100",
        __name__,
        rows=67_330,
        classes=100,
        shapes=((6169,), (6170,)),
        sizes=SplitSizes.equal(10_000),
        forms={"texas": read, "dataset_texas.tgz": read},
        page=PAGE,
        levels=Levels(
            (0.53, 0.641, 0.734),
            (0.038, 0.073, 0.107),
            (0.02, 0.04, 0.1, 0.12),
            (0.512, 0.551, 0.578, 0.605, 0.63, 0.661, 0.692, 0.729, 0.813),
        ),
        panels=panels("01 29 57", "04 14 24", "51 53 55", "69 70 71 72"),
        # The record tells the target's numbers; the attacker is given as many of each.
        published_sizes=SplitSizes.equal(5000),
    )
)
