"""What is released once: noised means of bounded features of windows or of people, and what follows from them.

A release pays once, however long a generator then uses it. Each unit gives one vector: how its windows' coordinates
differ from those of simulated people, in each class, and how the products of two such differences do. Vectors are
clipped, added up and noised. What the noise leaves in doubt stays as it is in simulated people: that costs nothing.
"""

from dataclasses import dataclass

import numpy as np

from wearsynth.codecs import Codec
from wearsynth.dpsgd import normal
from wearsynth.privacy import Promise
from wearsynth.windows import STRESS_SHARE, Windows

REACH = 1.4  # length at which a unit's vector is clipped, over the length of the codec's weights
LEAST_VARIANCE = 0.05  # in any direction, of the covariance on the scale of the one known beforehand
CANDIDATES = np.append(
    0.0, np.geomspace(1e-4, 10, 100)
)  # variances of the differences between real and simulated people


@dataclass(frozen=True)
class Moments:
    """Means of both classes' coordinates (2, size), without stress and with, and their covariance (size, size)."""

    means: np.ndarray
    covariance: np.ndarray

    @property
    def factor(self) -> np.ndarray:
        """Matrix (size, size) that turns independent standard normal numbers into ones of this covariance."""
        variances, directions = np.linalg.eigh(self.covariance)
        return directions * np.sqrt(np.maximum(variances, 0))

    def __call__(self, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Standard normal noise (n, size), labels (n,) -> coordinates (n, size)."""
        return self.means[labels] + noise @ self.factor.T


def release(windows: Windows, codec: Codec, promise: Promise, rng: np.random.Generator | None = None) -> Moments:
    """Releases the moments of windows' coordinates, once.

    Args:
        windows: real windows; private.
        codec: says what the coordinates are, and how they are distributed as far as is known beforehand.
        promise: what is promised; gives unit and noise.
        rng: for tests; noise from a seed protects nobody.
    """
    vectors, counts = _vectors(windows, codec, promise.unit)
    clip_norm = REACH * np.linalg.norm(codec.weights)
    noise_scale = promise.release_noise_multiplier * clip_norm
    total = clipped(vectors, clip_norm).sum(axis=0)
    if noise_scale:
        total += noise_scale * normal(len(total), rng)
    return _moments(total / counts, (noise_scale / counts) ** 2, codec)


def clipped(vectors: np.ndarray, clip_norm: float) -> np.ndarray:
    """Shortens vectors (n, size) that are longer than `clip_norm`; one that is not finite counts as nothing."""
    vectors = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors * np.minimum(1, clip_norm / np.maximum(lengths, clip_norm))


def _vectors(windows: Windows, codec: Codec, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Each unit's vector, and for each of its entries by how many units the sum is to be divided; all public."""
    differences = codec.encode(windows.values) - codec.means[windows.labels]
    stressed = windows.labels[:, None] == 1
    first, second, doubled = _pairs(codec)
    # On axes on which simulated people have a covariance of 1, so that noise is small in every direction.
    white = differences @ _power(codec.covariance, -0.5)
    products = codec.product_weight * doubled * (white[:, first] * white[:, second] - (first == second))
    differences *= codec.weights
    size = differences.shape[1]
    if unit == "window":
        counts = len(windows) * np.repeat([1 - STRESS_SHARE, STRESS_SHARE, 1], [size, size, len(first)])
        return np.hstack([differences * ~stressed, differences * stressed, products]), counts
    rows = []
    for person in np.unique(windows.subjects):
        own = windows.subjects == person
        # Class by class, and not by a matrix: nothing times what is infinite in somebody else would not be nothing.
        rows.append(
            [
                _mean(differences[own & ~stressed[:, 0]]),
                _mean(differences[own & stressed[:, 0]]),
                _mean(products[own]),
            ]
        )
    vectors = np.array([np.concatenate(row) for row in rows])
    return vectors, np.full(vectors.shape[1], len(vectors))


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean of rows; a zero where there is none, as in a class that a person lacks."""
    return rows.sum(axis=0) / max(len(rows), 1)


def _pairs(codec: Codec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of a symmetric matrix's upper half, and what lets its entries count as often as in the whole."""
    if codec.product_weight == 0:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    first, second = np.triu_indices(len(codec.weights))
    return first, second, np.where(first == second, 1, np.sqrt(2))


def _moments(mean: np.ndarray, noise: np.ndarray, codec: Codec) -> Moments:
    """Turns the released mean of the vectors, with its noise's variance, into moments; reads nothing private."""
    size, weights = len(codec.weights), codec.weights
    released, noises = (np.split(each, [size, 2 * size]) for each in (mean, noise))
    # What both classes have in common, and what stress makes of it, may lie differently far from simulated people.
    variances, directions = np.linalg.eigh(codec.covariance * np.outer(weights, weights))
    of_mean = (noises[0][0] + noises[1][0]) / 4
    common, contrast = (
        directions @ _believed(directions.T @ (released[1] + sign * released[0]) / 2, of_mean, variances) / weights
        for sign in (1, -1)
    )
    shifts = np.stack([common - contrast, common + contrast])
    first, second, doubled = _pairs(codec)
    if len(first) == 0:
        return Moments(codec.means + shifts, codec.covariance)
    # Products were of differences from simulated people's means: the shifts' own part goes.
    moved = np.sqrt([1 - STRESS_SHARE, STRESS_SHARE])[:, None] * shifts @ _power(codec.covariance, -0.5)
    white = np.eye(size)
    for chosen in (first == second, first != second):
        scale, pair = codec.product_weight * doubled[chosen], (first[chosen], second[chosen])
        white[pair] += _believed(released[2][chosen] - scale * (moved.T @ moved)[pair], noises[2][0], scale**2) / scale
    white = np.triu(white) + np.triu(white, 1).T
    root = _power(codec.covariance, 0.5)
    return Moments(codec.means + shifts, root @ _positive(white) @ root)


def _believed(released: np.ndarray, noise: float, variances: np.ndarray) -> np.ndarray:
    """What to believe of noisy numbers that are normal about 0, with variances known up to a common factor.

    The factor is the most likely one; then each number is brought towards 0 by the noise's share in its variance.
    """
    if noise == 0:
        return released
    variances = np.maximum(variances, 0)
    candidates = CANDIDATES[:, None] * variances + noise
    likelihoods = -np.sum(np.log(candidates) + released**2 / candidates, axis=1)
    believed = CANDIDATES[likelihoods.argmax()] * variances
    return released * believed / (believed + noise)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric matrix without variances of 0."""
    variances, directions = np.linalg.eigh(matrix)
    return directions * variances**exponent @ directions.T


def _positive(matrix: np.ndarray) -> np.ndarray:
    """The symmetric matrix, with no variance below the least one."""
    variances, directions = np.linalg.eigh(matrix)
    return directions * np.maximum(variances, LEAST_VARIANCE) @ directions.T
