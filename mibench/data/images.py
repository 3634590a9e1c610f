"""Image files in folders: CH_MNIST, Tiny-ImageNet and a user's own."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mibench import progress
from mibench.data.base import Parsed, unit_pixels
from mibench.data.files import Files
from mibench.errors import MIBenchError

if TYPE_CHECKING:
    from PIL import Image

_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_PARTS = ("train", "val", "test")
_MOST_BYTES = 4 << 30
_MOST_PIXELS = 1 << 26
_GREY = ("1", "L", "LA")
_MODES = (*_GREY, "P", "RGB", "RGBA", "CMYK")


def image_folder(files: Files) -> Parsed:
    """Read a user's images; the class of each is the name of the folder it lies in.

    A folder ``images`` is passed over, as in Tiny-ImageNet's ``train/CLASS/images``. All images
    are given the size that most of them have (of several such, the smallest) and, unless all are
    grey, three channels.

    Raises
    ------
    MIBenchError
        If there are no images, one is not in a folder or cannot be read, or they are too many
        and too large for 4 GiB.
    """
    found = read_images(files)
    inputs, scaled = unit_pixels(found.inputs)
    return replace(found, inputs=inputs, notes=(*found.notes, scaled))


def read_images(
    files: Files,
    wanted: Callable[[str], bool] = lambda name: True,
    published: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
) -> Parsed:
    """Read the wanted images in one pass; see :func:`image_folder`.

    Parameters
    ----------
    files : Files
    wanted : callable, optional
        Told a name, it says whether that image belongs to the dataset.
    published : tuple of int, optional
        Width and height that all must have; they are then given three channels.
    size : tuple of int, optional
        Width and height that all are given (bilinear).
    """
    from PIL import Image

    left_out: Counter[str] = Counter()

    def taken(name: str) -> bool:
        # Hidden files and __MACOSX/ are what an archiver left, not images.
        if any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts):
            return False
        if not name.lower().endswith(_ENDINGS):
            left_out[f"{PurePosixPath(name).suffix.lower() or 'other'} files"] += 1
            return False
        if not _class(files, name):
            left_out["images in no folder of a class"] += 1
            return False
        return wanted(name)

    pixels: dict[str, NDArray[np.uint8]] = {}
    held = 0
    for name, content in progress.bar(
        files.read(taken), f"reading {files.path.name}", unit="image"
    ):
        image = _opened(files, name, content, published)
        if size is not None and image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        pixels[name] = np.asarray(image)
        held += pixels[name].nbytes
        _check_room(files, held)
    if not pixels:
        raise MIBenchError(f"{files.path} holds no images in class folders ({', '.join(_ENDINGS)})")
    sizes = Counter(p.shape[:2] for p in pixels.values())
    height, width = min(sizes, key=lambda s: (-sizes[s], s[0] * s[1], s[::-1]))
    channels = 1 if all(p.ndim == 2 for p in pixels.values()) else 3
    inputs: NDArray[Any] = np.empty((len(pixels), channels, height, width), np.uint8)
    _check_room(files, inputs.nbytes)
    names = sorted(pixels)
    for i, name in enumerate(names):
        values = pixels.pop(name)
        if values.shape[:2] != (height, width):
            resized = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
            values = np.asarray(resized)
        inputs[i] = values if values.ndim == 2 else values.transpose(2, 0, 1)
    classes, labels = np.unique([_class(files, n) for n in names], return_inverse=True)
    notes = [f"{len(names)} images in the folders of {len(classes)} classes"]
    if (others := len(names) - sizes[height, width]) > 0:
        notes.append(f"{others} images of other sizes resized to {width} x {height}")
    notes += [f"left out: {count} {what}" for what, count in left_out.items()]
    return Parsed(inputs, labels.astype(np.int64), "image", tuple(notes))


def _check_room(files: Files, size: int) -> None:
    if size > _MOST_BYTES:
        raise MIBenchError(
            f"{files.path}: its images are more than {_MOST_BYTES >> 30} GiB of pixels; scale them "
            "down first"
        )


def _class(files: Files, name: str) -> str:
    """Return the name of the folder that an image lies in; nothing for one of no class."""
    folders = list(PurePosixPath(name).parts[:-1])
    if len(folders) > 1 and folders[-1] == "images":
        folders.pop()
        # Tiny-ImageNet's val/images are of all classes; a class of CIFAR-100 is called train.
        if folders[-1] in _PARTS:
            return ""
    if not folders:
        raise MIBenchError(
            f"{files.path}: image {name!r} lies in no folder of a class; arrange images as "
            "CLASS/IMAGE or train/CLASS/IMAGE and test/CLASS/IMAGE"
        )
    return folders[-1]


def _opened(
    files: Files, name: str, content: bytes, published: tuple[int, int] | None
) -> Image.Image:
    """Return an image, grey or in three channels; a published one is of its size, in three."""
    from PIL import Image, UnidentifiedImageError

    where = f"{files.path}: image {name!r}"
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "TIFF"))
        width, height = image.size
        has = f"{where} has {width} x {height} pixels"
        if published is not None and published != image.size:
            size = " x ".join(map(str, published))
            raise MIBenchError(f"{has} where the published ones have {size}; download it again")
        if width * height > _MOST_PIXELS:
            raise MIBenchError(f"{has}, more than {_MOST_PIXELS >> 20} Mi; scale it down first")
        if image.mode not in _MODES:
            raise MIBenchError(f"{where} has pixels of mode {image.mode}; convert it to 8 bits")
        return image.convert("L" if image.mode in _GREY and published is None else "RGB")
    except UnidentifiedImageError:
        raise MIBenchError(f"{where} cannot be read (no PNG, JPEG or TIFF)") from None
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise MIBenchError(f"{where} cannot be read ({error})") from None
