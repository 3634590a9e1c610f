"""CIFAR-10 (Krizhevsky 2009)."""

from __future__ import annotations

from functools import partial

from mibench.data.base import Levels, Published, SplitSizes, panels, register
from mibench.data.cifar import FIRST_ROWS, PAGE, binary, pickled
from mibench.data.images import image_folder

_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_python = partial(pickled, names=_BATCHES, key=b"labels")
_binary = partial(binary, names=_BATCHES, labels=1)

register(
    Published(
        "CIFAR10",
        __name__,
        rows=60_000,
        classes=10,
        shapes=((3, 32, 32),),
        sizes=SplitSizes.equal(10_000),
        forms={
            "cifar-10-python.tar.gz": _python,
            "cifar-10-batches-py": _python,
            "cifar-10-binary.tar.gz": _binary,
            "cifar-10-batches-bin": _binary,
        },
        copies={"cifar10_jpeg.tar.xz": image_folder, "cifar10_jpeg": image_folder},
        page=PAGE,
        download="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        digests={
            "cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a",
            "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
            "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
            "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "md5:40351d587109b95175f43aff81a1287e",
            "cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530",
        },
        levels=Levels(
            (1.908, 2.501, 3.472),
            (0.155, 0.213, 0.291),
            (0.2, 0.4, 0.45, 0.49),
            (1.147, 1.529, 1.84, 2.097, 2.39, 2.707, 3.064, 3.513, 4.285),
        ),
        panels=panels("13 41 69", "02 10 22", "51 53 55", "57 58 59 60x"),
        off_grid={"ES60x": ("bernoulli", 1.908, 0.155, 0.49)},
        published_sizes=SplitSizes.equal(10_000),
        first_rows=FIRST_ROWS,
    )
)
