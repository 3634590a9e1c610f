"""Tiny-ImageNet's training images, 200 classes of ImageNet at 64 x 64."""

from __future__ import annotations

from pathlib import PurePosixPath

from mibench.data.base import Levels, Parsed, Published, SplitSizes, panels, register
from mibench.data.files import Files
from mibench.data.images import read_images


def training_images(files: Files) -> Parsed:
    """Read `train/CLASS/images`; greyscale images are given three channels."""
    return read_images(files, lambda name: "train" in PurePosixPath(name).parts, (64, 64))


def some_training_images(files: Files) -> Parsed:
    """Read `CLASS/IMAGE`, as many as there are."""
    return read_images(files, published=(64, 64))


register(
    Published(
        "ImageNet",
        __name__,
        rows=100_000,
        classes=200,
        shapes=((3, 64, 64),),
        sizes=SplitSizes.equal(10_000),
        forms={"tiny-imagenet-200.zip": training_images, "tiny-imagenet-200": training_images},
        copies={"tiny_imagenet_train_000-124.tar.xz": some_training_images},
        page="https://cs231n.stanford.edu/tiny-imagenet-200.zip",
        download="https://cs231n.stanford.edu/tiny-imagenet-200.zip",
        # The digest is the one that Avalanche publishes for this file.
        digests={"tiny-imagenet-200.zip": "md5:90528d7ca1a48142e341f4ef8d21d0de"},
        levels=Levels(
            (0.934, 1.13, 1.388),
            (0.046, 0.08, 0.145),
            (0.2, 0.4, 0.45, 0.49),
            (0.835, 0.906, 0.964, 1.021, 1.081, 1.153, 1.227, 1.323, 1.491),
        ),
        panels=panels("02 30 58", "34 44 54", "79 81 83", "13 14 15 16"),
        # The published samples were drawn at random, as these are; the draw is not told.
        published_sizes=SplitSizes.equal(10_000),
    )
)
