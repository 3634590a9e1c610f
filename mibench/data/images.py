"""Image files in folders: CH_MNIST, Tiny-ImageNet and a user's own."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm.auto import tqdm

from mibench.data.base import Parsed
from mibench.data.files import Files
from mibench.errors import MIBenchError

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

# Of the published files: tiles of CH_MNIST, images of Tiny-ImageNet, and what both become.
_TILE = (150, 150)
_SMALL = (64, 64)
_MOST_BYTES = 4 << 30
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB", "CMYK": "RGB", "LA": "L"}


def ch_mnist(files: Files) -> Parsed:
    """Read the tiles of Kather et al. 2016, resized from 150 x 150 to 64 x 64 (bilinear)."""
    return _decode(files, _labelled(files, 1), _SMALL, "RGB", _TILE)


def tiny_imagenet(files: Files) -> Parsed:
    """Read Tiny-ImageNet's training images; its greyscale ones are given three channels."""
    names = [n for n in _image_names(files) if "train" in PurePosixPath(n).parts]
    return _decode(files, _labelled(files, 2, names), _SMALL, "RGB", _SMALL)


def image_folder(files: Files) -> Parsed:
    """Read a user's images; the class of each is the name of the folder it lies in.

    All are given the size that most of them have (of several such, the smallest) and, unless
    all are grey, three channels.

    Raises
    ------
    MIBenchError
        If there are no images, one is not in a folder or cannot be read, or they are too many
        and too large for 4 GiB.
    """
    labels = _labelled(files, 1)
    found: Counter[tuple[int, int]] = Counter()
    modes = set()
    for name, content in files.read(labels):
        image = _open(files, name, content)
        found[image.size] += 1
        modes.add(_mode(files, name, image))
    size = min(found, key=lambda s: (-found[s], s[0] * s[1], s))
    return _decode(files, labels, size, "L" if modes == {"L"} else "RGB")


def _image_names(files: Files) -> list[str]:
    # Hidden files and __MACOSX/ are what an archiver left, not images.
    return [
        name
        for name in files.names
        if name.lower().endswith(ENDINGS)
        and not any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts)
    ]


def _labelled(files: Files, up: int, names: Iterable[str] | None = None) -> dict[str, int]:
    """Return name -> label, in order of names; the class is the folder `up` levels up."""
    folders = {}
    for name in sorted(_image_names(files) if names is None else names):
        parts = PurePosixPath(name).parts
        if len(parts) <= up:
            raise MIBenchError(
                f"{files.path}: image {name!r} lies in no folder of a class; arrange images as "
                "CLASS/IMAGE or train/CLASS/IMAGE and test/CLASS/IMAGE"
            )
        folders[name] = parts[-1 - up]
    if not folders:
        raise MIBenchError(f"{files.path} holds no images in class folders ({', '.join(ENDINGS)})")
    classes = {folder: label for label, folder in enumerate(sorted(set(folders.values())))}
    return {name: classes[folder] for name, folder in folders.items()}


def _decode(
    files: Files,
    labels: dict[str, int],
    size: tuple[int, int],
    mode: str,
    published: tuple[int, int] | None = None,
) -> Parsed:
    """Return images in one size and mode; those of a published size must have it."""
    width, height = size
    shape = (len(labels), 3 if mode == "RGB" else 1, height, width)
    if np.prod(shape, dtype=float) > _MOST_BYTES:
        raise MIBenchError(
            f"{files.path}: {shape[0]} images of {width} x {height} are more than "
            f"{_MOST_BYTES >> 30} GiB; scale them down first"
        )
    inputs: NDArray[Any] = np.empty(shape, np.uint8)
    place = {name: i for i, name in enumerate(labels)}
    for name, content in tqdm(
        files.read(labels), f"reading {files.path.name}", len(labels), unit="image", leave=False
    ):
        image = _open(files, name, content)
        if published is not None and image.size != published:
            raise MIBenchError(
                f"{files.path}: image {name!r} has {image.size[0]} x {image.size[1]} pixels where "
                f"the published ones have {published[0]} x {published[1]}; download it again"
            )
        try:
            image = image.convert(mode)
        except (OSError, ValueError, SyntaxError) as error:
            raise _broken(files, name, error) from None
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        inputs[place[name]] = pixels.transpose(2, 0, 1) if mode == "RGB" else pixels
    return Parsed(inputs, np.array(list(labels.values()), np.int64), "image")


def _open(files: Files, name: str, content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "TIFF"))
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
    ) as error:
        raise _broken(files, name, error) from None


def _mode(files: Files, name: str, image: Image.Image) -> str:
    if image.mode not in _MODES:
        raise MIBenchError(
            f"{files.path}: image {name!r} has pixels of mode {image.mode}; convert it to 8 bits"
        )
    return _MODES[image.mode]


def _broken(files: Files, name: str, error: Exception) -> MIBenchError:
    reason = "no PNG, JPEG or TIFF" if isinstance(error, UnidentifiedImageError) else str(error)
    return MIBenchError(f"{files.path}: image {name!r} cannot be read ({reason})")
