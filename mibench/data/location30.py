"""Location30: check-ins in Bangkok (Shokri et al. 2017)."""

from __future__ import annotations

from mibench.data.base import Levels, Parsed, Published, SplitSizes, panels, register
from mibench.data.files import Files
from mibench.data.records import PAGE, labelled_bits


def read(files: Files) -> Parsed:
    """Read `bangkok`: a label 1-30, then 446 bits a row."""
    return labelled_bits(files, "bangkok")


register(
    Published(
        "Location30",
        __name__,
        rows=5010,
        classes=30,
        shapes=((446,),),
        sizes=SplitSizes(1000, 1000, 1000, 1000, 1010, pairs=300),
        forms={"bangkok": read, "dataset_location.tgz": read},
        page=PAGE,
        download=f"{PAGE}/raw/master/dataset_location.tgz",
        digests={
            "dataset_location.tgz": "sha256:"
            "927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33",
            # Of the file in it.
            "bangkok": "sha256:2ca8f7fc231251e089823e44d39f2d1eed124574cc351c7f80368cfe631dd718",
        },
        levels=Levels(
            (0.57, 0.724, 0.801),
            (0.041, 0.076, 0.094),
            (0.04, 0.08, 0.12, 0.16),
            (0.52, 0.574, 0.608, 0.66, 0.705, 0.75, 0.784, 0.845, 0.92),
        ),
        panels=panels("01 29 57", "32 42 52", "23 25 27", "73 74 75 76"),
        # Which samples they were is not told by the record.
        published_sizes=SplitSizes(1000, 1000, 500, 500, 610, pairs=300),
    )
)
