"""Output noise in the manner of MemGuard (Jia et al. 2019): posteriors change, answers do not.

MemGuard finds, for each posterior, a noise that misleads an attack classifier and keeps the most
probable class (phase I), and adds it with the largest probability that keeps the expected L1
distance within a budget (phase II). Phase II stands here as published. Phase I's noise is drawn at
random, uniformly from the posteriors of the same most probable class: it misleads no classifier in
particular, and needs none. A posterior always gets the same noise, so asking again tells nothing.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

_SMALLEST = 1e-12


def noised(logits: NDArray[np.float32], budget: float, seed: int) -> NDArray[np.float32]:
    """Return the logarithms of noised posteriors.

    Parameters
    ----------
    logits : float array, (..., C)
    budget : float
        The expected L1 distance between a posterior and what is answered, at most 2.
    seed : int
        What the noise depends on beside the posterior.
    """
    probs = scipy.special.softmax(logits.astype(np.float64), axis=-1)
    uniform = _uniform(logits, probs.shape[-1] + 1, seed)
    coin, noise = uniform[..., :1], -np.log(uniform[..., 1:])
    noise /= noise.sum(axis=-1, keepdims=True)
    answer = probs.argmax(axis=-1)[..., None]
    largest = noise.argmax(axis=-1)[..., None]
    top, other = noise.max(axis=-1, keepdims=True), np.take_along_axis(noise, answer, axis=-1)
    np.put_along_axis(noise, largest, other, axis=-1)
    np.put_along_axis(noise, answer, top, axis=-1)
    distance = np.abs(noise - probs).sum(axis=-1, keepdims=True)
    changed = np.where(coin * distance < budget, noise, probs)
    return np.log(np.maximum(changed, _SMALLEST)).astype(np.float32)


def _uniform(logits: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float64]:
    """Return `count` numbers in (0, 1) for each row, which depend on the row and the seed alone.

    The finaliser of splitmix64 (Steele et al. 2014) of a hash of the row, to two decimals lest
    rounding of the last digits give other noise.
    """
    with np.errstate(over="ignore"):
        whole = np.round(100 * logits.astype(np.float64)).astype(np.int64).astype(np.uint64)
        key: NDArray[np.uint64] = np.full(logits.shape[:-1], seed, dtype=np.uint64)
        for column in range(logits.shape[-1]):
            key = _mix(key ^ whole[..., column])
        bits = _mix(np.add.outer(key, np.arange(1, count + 1, dtype=np.uint64)))
    return (np.asarray(bits >> np.uint64(11), dtype=np.float64) + 0.5) / 2**53


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
