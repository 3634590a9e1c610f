"""Inputs made from inputs: perturbed copies, generated nonmembers, random points."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import NDArray

from mibench.errors import MIBenchError
from mibench.training.device import Draws

Inputs = NDArray[np.float32]

# How many copies of each kind a sample has.
COPIES = {"perturbed": 20, "noisy": 100, "augmented": 17}

BIT_FLIP_RATE = 0.05
# The paper's 0.01 moves no bit of a binary record far enough to tell minima from slopes.
NOISE = {"binary": 0.3, "image": 0.01, "real": 0.01}
IMAGE_NOISE = 0.1
REAL_NOISE = 0.1


def perturbed_copies(inputs: Inputs, kind: str, count: int, rng: Draws) -> Iterator[Inputs]:
    """Yield `count` copies of every sample that keep its meaning.

    Images are mirrored and shifted by up to one pixel in eight (the augmentations of
    Choquette-Choo et al. 2021, section 3.4) with Gaussian noise; records have their bits
    flipped at random (section 3.3); real records are given Gaussian noise.
    """
    if kind != "image":
        for _ in range(count):
            yield (
                _flip_bits(inputs, BIT_FLIP_RATE, rng)
                if kind == "binary"
                else _blurred(inputs, rng)
            )
        return
    height, width = inputs.shape[-2:]
    reach = max(1, width // 8)
    around = [(0, 0), (0, 0), (reach, reach), (reach, reach)]
    wide = np.pad(inputs, around, "edge")
    for i in range(count):
        up, left = reach - rng.integers(-reach, reach + 1, 2)
        copy = wide[..., up : up + height, left : left + width]
        copy = copy[..., ::-1] if i % 2 else copy
        noise = IMAGE_NOISE * rng.standard_normal(copy.shape)
        yield np.clip(copy + noise, 0, 1).astype(np.float32)


def noisy_copies(inputs: Inputs, kind: str, count: int, rng: Draws) -> Iterator[Inputs]:
    """Yield `count` copies under Gaussian noise (Jayaraman et al. 2021, section 4.2)."""
    for _ in range(count):
        yield inputs + NOISE[kind] * rng.standard_normal(inputs.shape).astype(np.float32)


def augmented_copies(inputs: Inputs, kind: str, count: int, rng: Draws) -> Iterator[Inputs]:
    """Yield `count` mirrored and shifted copies of every image, all others than itself.

    Of 18 queries a sample (Carlini et al. 2022, section VI-D) these are the 17 beside its own: it
    and its mirror image, at rest and shifted by one pixel to each side and corner, what comes in
    from without being a reflection.

    Raises
    ------
    MIBenchError
        If the inputs are records, of which no such copies are known.
    """
    if kind != "image":
        raise MIBenchError("augmented copies are mirrored and shifted images; records have none")
    wide = np.pad(inputs, ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect")
    (height, width), steps = inputs.shape[-2:], (1, 0, 2)
    places = [(down, across, turned) for turned in (1, -1) for down in steps for across in steps]
    for down, across, turned in places[1 : count + 1]:
        shifted = wide[..., down : down + height, across : across + width]
        yield np.ascontiguousarray(shifted[..., ::turned])


MAKERS = {"perturbed": perturbed_copies, "noisy": noisy_copies, "augmented": augmented_copies}
"""How copies of each kind are made."""


def generated_nonmembers(inputs: Inputs, kind: str, rng: np.random.Generator) -> Inputs:
    """Turn samples into ones that no model was trained on (Hui et al. 2021, section III-C).

    Images go through Sobel, Scharr and Laplace filters, Gaussian and salt-and-pepper noise, a
    fifth of them each; binary records have 5% of their bits flipped, real ones Gaussian noise.
    """
    if kind == "binary":
        return _flip_bits(inputs, BIT_FLIP_RATE, rng)
    if kind == "real":
        return _blurred(inputs, rng)
    fifths = np.array_split(inputs, 5)
    made = (
        _edges(fifths[0], np.array([1, 2, 1])),
        _edges(fifths[1], np.array([3, 10, 3])),
        np.abs(scipy.ndimage.laplace(fifths[2], axes=(2, 3))),
        fifths[3] + IMAGE_NOISE * rng.standard_normal(fifths[3].shape),
        _salt_and_pepper(fifths[4], rng),
    )
    return np.clip(np.concatenate(made), 0, 1).astype(np.float32)


def random_points(inputs: Inputs, kind: str, count: int, rng: np.random.Generator) -> Inputs:
    """Return `count` points drawn uniformly from the input space (Salem et al. 2019, V-C)."""
    shape = (count, *inputs.shape[1:])
    points = rng.integers(0, 2, shape) if kind == "binary" else rng.random(shape)
    return points.astype(np.float32)


def _flip_bits(inputs: Inputs, rate: float, rng: Draws) -> Inputs:
    return np.abs(inputs - (rng.random(inputs.shape) < rate)).astype(np.float32)


def _blurred(inputs: Inputs, rng: Draws) -> Inputs:
    noise = REAL_NOISE * rng.standard_normal(inputs.shape)
    return np.clip(inputs + noise, 0, 1).astype(np.float32)


def _edges(images: Inputs, smooth: NDArray[np.int64]) -> Inputs:
    weights = smooth / smooth.sum()
    slopes = (scipy.ndimage.correlate1d(images, [-1, 0, 1], axis=a) for a in (3, 2))
    across, down = (
        scipy.ndimage.correlate1d(slope, weights, axis=a)
        for slope, a in zip(slopes, (2, 3), strict=True)
    )
    return np.hypot(across, down).astype(np.float32)


def _salt_and_pepper(images: Inputs, rng: np.random.Generator) -> Inputs:
    chance = rng.random(images.shape)
    return np.where(chance < 0.05, 0, np.where(chance > 0.95, 1, images)).astype(np.float32)
