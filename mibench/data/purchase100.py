"""Purchase100: shopping histories (Shokri et al. 2017)."""

from __future__ import annotations

from mibench.data.base import Levels, Parsed, Published, SplitSizes, panels, register
from mibench.data.files import Files
from mibench.data.records import PAGE, labelled_bits


def read(files: Files) -> Parsed:
    """Read `dataset_purchase`: a label 1-100, then 600 bits a row."""
    return labelled_bits(files, "dataset_purchase")


register(
    Published(
        "Purchase100",
        __name__,
        rows=197_324,
        classes=100,
        shapes=((600,),),
        sizes=SplitSizes.equal(19_732),
        forms={"dataset_purchase": read, "dataset_purchase.tgz": read},
        page=PAGE,
        levels=Levels(
            (0.55, 0.625, 0.729),
            (0.087, 0.11, 0.156),
            (0.02, 0.04, 0.1, 0.12),
            (0.504, 0.554, 0.566, 0.608, 0.62, 0.635, 0.675, 0.688, 0.741),
        ),
        panels=panels("01 29 57", "04 14 24", "51 53 55", "69 70 71 72"),
        # The record tells the target's numbers; the attacker is given as many of each.
        published_sizes=SplitSizes.equal(9866),
    )
)
