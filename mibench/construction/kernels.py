"""Kernels, and the squared maximum mean discrepancy (MMD^2) under them.

The MMD^2 between two samples is the biased one of Gretton et al. 2012, equation 5.
"""

from __future__ import annotations

import numpy as np
import scipy

from mibench.outputs import BoolArray, FloatArray, Outputs

# The Gaussians' variances of BlindMI, those of its authors' published code.
VARIANCES = (
    *(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 5, 10, 15),
    *(20, 25, 30, 35, 100, 1e3, 1e4, 1e5, 1e6),
)
_BANDWIDTHS = np.array([0.25, 0.5, 1.0, 2.0, 4.0])


def blindmi_features(outputs: Outputs) -> FloatArray:
    """Return true-class probability and the two largest, (n, 3) (Hui et al. 2021, III-B)."""
    return np.column_stack([outputs.true_probs, outputs.top_probs(2)])


def nineteen_gaussians(squares: FloatArray) -> FloatArray:
    """Return the sum of Gaussians of all :data:`VARIANCES` at squared distances, (..., n, m)."""
    total, one = np.zeros_like(squares), np.empty_like(squares)
    for variance in VARIANCES:
        # In place: to give memory back and take it again would cost as much as the exponentials.
        total += np.exp(np.multiply(squares, -0.5 / variance, out=one), out=one)
    return total


def five_gaussians(squares: FloatArray) -> FloatArray:
    """Return the sum of five Gaussians at squared distances within samples, (..., n, n).

    exp(-d^2 / (b 2^i)), i = -2 to 2, b the mean of d^2 over ordered pairs of different samples:
    the kernel of the published benchmark's target datasets of records.
    """
    count = squares.shape[-1]
    base = squares.sum(axis=(-2, -1), keepdims=True) / (count * (count - 1))
    base = np.where(base > 0, base, 1.0)
    return sum((np.exp(-squares / (base * 2.0**i)) for i in range(-2, 3)), np.zeros_like(squares))


def squared_distances(points: FloatArray) -> FloatArray:
    """Return the squared distances within each of a stack of samples (..., n, d): (..., n, n)."""
    norms = (points**2).sum(axis=-1)
    inner = points @ points.swapaxes(-1, -2)
    squares = np.maximum(norms[..., :, None] + norms[..., None, :] - 2 * inner, 0)
    # Rounding leaves what the narrowest Gaussians would see.
    squares[..., np.arange(norms.shape[-1]), np.arange(norms.shape[-1])] = 0
    return squares


def mmd_squared(kernel: FloatArray, first: BoolArray) -> FloatArray:
    """Return the MMD^2 between two parts of each of a stack of samples, (...).

    Parameters
    ----------
    kernel : float array, (..., n, n)
    first : bool array, (..., n)
        Which samples make the first part; the others make the second.
    """
    count = first.sum(axis=-1, keepdims=True)
    weights = np.where(first, 1 / count, -1 / (first.shape[-1] - count))
    return np.einsum("...i,...ij,...j->...", weights, kernel, weights, optimize=True)


def gaussians(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return :func:`nineteen_gaussians` between samples (n, d) and (m, d): (n, m)."""
    # Some rows at a time, so that what is held beside the result is small.
    blocks = np.array_split(a, len(a) // 512 + 1)
    squares = (scipy.spatial.distance.cdist(block, b, "sqeuclidean") for block in blocks)
    return np.concatenate([*map(nineteen_gaussians, squares)])


def gaussians_within(points: FloatArray) -> FloatArray:
    """Return :func:`gaussians` between one or more samples (n, d) and themselves, (n, n)."""
    squares = scipy.spatial.distance.pdist(points, "sqeuclidean")
    # Each pair once, which halves the exponentials.
    kernel = scipy.spatial.distance.squareform(nineteen_gaussians(squares))
    np.fill_diagonal(kernel, len(VARIANCES))
    return kernel


def median_distance(points: FloatArray, rng: np.random.Generator) -> float:
    """Return the median distance between points (n, d), of at most 1,000 of them."""
    some = points[rng.permutation(len(points))[:1000]]
    return float(np.median(scipy.spatial.distance.pdist(some))) or 1.0


def kernel_means(points: FloatArray, others: FloatArray, bandwidth: float) -> FloatArray:
    """Return the mean over `others` (m, d) of :func:`mean_kernel` of each point (n, d): (n,)."""
    # In blocks that stay in the processor's cache, however many points there are.
    size = max(1, 2**17 // len(others))
    blocks = (points[i : i + size] for i in range(0, len(points), size))
    return np.concatenate([mean_kernel(b, others, bandwidth).mean(axis=1) for b in blocks])


def mean_kernel(a: FloatArray, b: FloatArray, bandwidth: float) -> FloatArray:
    """Return the mean of five Gaussian kernels between samples (n, d) and (m, d): (n, m).

    Their standard deviations are `bandwidth` x 1/4, 1/2, 1, 2 and 4.
    """
    # Each narrower Gaussian is the fourth power of the next wider one, so one exponential does.
    kernel = scipy.spatial.distance.cdist(a, b, "sqeuclidean")
    kernel *= -0.5 / (bandwidth * _BANDWIDTHS[-1]) ** 2
    np.exp(kernel, out=kernel)
    total = kernel.copy()
    for _ in _BANDWIDTHS[1:]:
        kernel *= kernel
        kernel *= kernel
        total += kernel
    total /= len(_BANDWIDTHS)
    return total
