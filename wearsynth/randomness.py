"""Random numbers that protect people: from the operating system's entropy, unless a test gives a seeded generator."""

import os

import numpy as np
from scipy.special import ndtri


def uniform(size: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Draws from the open interval (0, 1), 52 bits each: with one more, the largest would round up to 1.

    Args:
        size: how many.
        rng: a seeded generator, for tests; without one, every bit is the operating system's entropy.

    Returns:
        (size,), float64.
    """
    bits = np.frombuffer(os.urandom(8 * size), np.uint64) if rng is None else rng.integers(0, 2**64, size, np.uint64)
    return ((bits >> np.uint64(12)) + 0.5) * 2.0**-52


def normal(size: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Draws from the standard normal distribution, by inverting its distribution function; as `uniform`."""
    return ndtri(uniform(size, rng))


def poisson_sample(n_units: int, probability: float, rng: np.random.Generator | None = None) -> np.ndarray:
    """Draws each unit independently with `probability`; returns the drawn ones' indices, which may be none."""
    return np.flatnonzero(uniform(n_units, rng) < probability)
