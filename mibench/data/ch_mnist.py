"""CH_MNIST: tiles of colorectal cancer histology (Kather et al. 2016)."""

from __future__ import annotations

from mibench.data.base import Levels, Parsed, Published, SplitSizes, panels, register
from mibench.data.files import Files
from mibench.data.images import read_images


def tiles(files: Files) -> Parsed:
    """Read the tiles, resized from 150 x 150 to 64 x 64 (bilinear)."""
    return read_images(files, published=(150, 150), size=(64, 64))


register(
    Published(
        "CH_MNIST",
        __name__,
        rows=5000,
        classes=8,
        shapes=((3, 64, 64),),
        # The published pools of 2,500 and 2,500 leave no sample for shadow models.
        sizes=SplitSizes(1250, 1250, 1000, 1000, 500, pairs=300),
        forms={
            "Kather_texture_2016_image_tiles_5000.zip": tiles,
            "Kather_texture_2016_image_tiles_5000": tiles,
        },
        page="https://zenodo.org/records/53169",
        download="https://zenodo.org/records/53169/files/Kather_texture_2016_image_tiles_5000.zip",
        # The digest is the one that OpenFL publishes for this file.
        digests={
            "Kather_texture_2016_image_tiles_5000.zip": "sha384:"
            "7d86abe1d04e68b77c055820c2a4c582a1d25d2983e38ab7"
            "24eac75affce8b7cb2cbf5ba68848dcfd9d84005d87d6790"
        },
        levels=Levels(
            (0.954, 1.355, 1.72),
            (0.083, 0.108, 0.133),
            (0.2, 0.4, 0.45, 0.49),
            (0.729, 0.837, 0.935, 1.081, 1.186, 1.3, 1.45, 1.765, 2.19),
        ),
        panels=panels("21 49 77", "04 14 24", "03 05 07", "73 74 75 76"),
    )
)
