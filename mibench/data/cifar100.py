"""CIFAR-100 with its fine labels (Krizhevsky 2009)."""

from __future__ import annotations

from functools import partial

from mibench.data.base import Levels, Published, SplitSizes, panels, register
from mibench.data.cifar import FIRST_ROWS, PAGE, binary, pickled
from mibench.data.images import image_folder

_python = partial(pickled, names=("train", "test"), key=b"fine_labels")
# A byte of the coarse label, one of the fine.
_binary = partial(binary, names=("train", "test"), labels=2)

register(
    Published(
        "CIFAR100",
        __name__,
        rows=60_000,
        classes=100,
        shapes=((3, 32, 32),),
        sizes=SplitSizes.equal(10_000),
        forms={
            "cifar-100-python.tar.gz": _python,
            "cifar-100-python": _python,
            "cifar-100-binary.tar.gz": _binary,
            "cifar-100-binary": _binary,
        },
        copies={"cifar100_jpeg.tar.xz": image_folder, "cifar100_jpeg": image_folder},
        page=PAGE,
        download="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        digests={
            "cifar-100-python.tar.gz": "md5:eb9058c3a382ffc7106e4002c42a8d85",
            "train": "md5:16019d7e3df5f24257cddd939b257f8d",
            "test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc",
            "cifar-100-binary.tar.gz": "md5:03b5dce01913d631647c71ecec9e9cb8",
        },
        levels=Levels(
            (2.893, 3.813, 4.325),
            (0.085, 0.119, 0.157),
            (0.2, 0.4, 0.45, 0.49),
            (2.623, 2.97, 3.306, 3.535, 3.778, 4.013, 4.259, 4.555, 4.913),
        ),
        panels=panels("01 29 57", "02 10 22", "03 05 07", "37 38 39 40"),
        published_sizes=SplitSizes.equal(10_000),
        first_rows=FIRST_ROWS,
    )
)
