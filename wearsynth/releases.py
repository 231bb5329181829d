"""What is released once: noised means of bounded features of windows or of people, and what follows from them.

A release pays once, however long a generator then uses it. Each unit gives one vector: how its windows' coordinates
differ from what is known beforehand, in each class, and how the products of some of these differences do. Vectors are
clipped, added up and noised. What the noise leaves in doubt is drawn from what is known beforehand: that costs nothing.
"""

from dataclasses import dataclass

import numpy as np

from wearsynth.codecs import Codec, moments_of, power, within
from wearsynth.dpsgd import normal
from wearsynth.privacy import Promise
from wearsynth.windows import Windows

LEAST_VARIANCE = 0.05  # in any direction, of covariances on the scale of the one known beforehand within the classes
CANDIDATES = np.append(0.0, np.geomspace(1e-4, 10, 100))  # variances of what products differ by


@dataclass(frozen=True)
class Moments:
    """Means of both classes' coordinates (2, size), without stress and with, and their covariances (2, size, size)."""

    means: np.ndarray
    covariances: np.ndarray

    @property
    def factors(self) -> np.ndarray:
        """Matrices (2, size, size) that turn independent standard normal numbers into ones of these covariances."""
        variances, directions = np.linalg.eigh(self.covariances)
        return directions * np.sqrt(np.maximum(variances, 0))[:, None]

    def __call__(self, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Standard normal noise (n, size), labels (n,) -> coordinates (n, size)."""
        of_class = self.means[:, None] + noise @ self.factors.swapaxes(1, 2)
        return of_class[labels, np.arange(len(labels))]


def release(windows: Windows, codec: Codec, promise: Promise, rng: np.random.Generator | None = None) -> Moments:
    """Releases the moments of windows' coordinates, once.

    Args:
        windows: real windows; private.
        codec: says what the coordinates are, what of them is told, and how they are distributed as far as is known
            beforehand.
        promise: what is promised; gives unit and noise.
        rng: for tests; noise from a seed protects nobody.
    """
    if not promise.private:
        means, covariances = moments_of(codec.encode(windows.values), windows.labels)
        return Moments(means, _with_paired(codec, _paired(covariances, codec)))
    if promise.release_share == 0:
        raise ValueError("release_share=0: expected a promise that pays for a release")
    total, counts = summed(windows, codec, promise.unit)
    return _moments(noised(total, codec, promise, rng) / counts, (_noise_scale(promise, codec) / counts) ** 2, codec)


def summed(windows: Windows, codec: Codec, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """The sum of units' vectors, clipped: private. It is all that a private release reads of windows.

    Returns:
        The sum, and for each entry the public number that it is to be divided by.
    """
    vectors, counts = _vectors(windows, codec, unit)
    return clipped(vectors, clip_norm_of(codec)).sum(axis=0), counts


def noised(total: np.ndarray, codec: Codec, promise: Promise, rng: np.random.Generator | None = None) -> np.ndarray:
    """The same sum as it may be told; parameters as of `release`."""
    return total + _noise_scale(promise, codec) * normal(len(total), rng)


def _noise_scale(promise: Promise, codec: Codec) -> float:
    """Standard deviation of the noise in each entry of the sum."""
    return promise.release_noise_multiplier * clip_norm_of(codec)


def clip_norm_of(codec: Codec) -> float:
    """Length at which a unit's vector is clipped; public."""
    return codec.reach * np.sqrt(codec.size)


def clipped(vectors: np.ndarray, clip_norm: float) -> np.ndarray:
    """Shortens vectors (n, size) that are longer than `clip_norm`; one that is not finite counts as nothing."""
    vectors = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors * (clip_norm / np.maximum(lengths, clip_norm))


def _vectors(windows: Windows, codec: Codec, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Each unit's vector, which is private, and for each entry the public number that the sum is to be divided by."""
    differences = codec.encode(windows.values) - codec.means[windows.labels]
    first, second, weights = _pairs(codec)
    of_pairs = differences[:, codec.paired] @ _pair_axes(codec, -0.5)
    expected = _known_products(codec)[:, first, second]
    products = weights * (of_pairs[:, first] * of_pairs[:, second] - expected[windows.labels])
    told = np.hstack([differences @ codec.axes, products])
    if unit == "window":
        counts = len(windows) * np.repeat([1 - codec.stress_share, codec.stress_share], told.shape[1])
        return np.hstack([told * (windows.labels[:, None] == label) for label in (0, 1)]), counts
    rows = []
    for person in np.unique(windows.subjects):
        own = windows.subjects == person
        # Class by class, and not by a matrix: nothing times what is infinite in somebody else would not be nothing.
        rows.append(np.concatenate([_mean(told[own & (windows.labels == label)]) for label in (0, 1)]))
    vectors = np.array(rows)
    return vectors, np.full(vectors.shape[1], len(vectors))


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean of rows; a zero where there is none, as in a class that a person lacks."""
    return rows.sum(axis=0) / max(len(rows), 1)


def _pairs(codec: Codec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of a symmetric matrix's upper half, and the weights of its entries.

    Those off the diagonal stand for two, which their weight makes up for.
    """
    first, second = np.triu_indices(len(codec.paired))
    return first, second, codec.product_weight * np.where(first == second, 1, np.sqrt(2))


def _paired(covariances: np.ndarray, codec: Codec) -> np.ndarray:
    """The part of covariances (..., size, size) that is of the paired coordinates."""
    return covariances[..., codec.paired[:, None], codec.paired]


def _pair_axes(codec: Codec, exponent: float) -> np.ndarray:
    """Matrix that turns paired coordinates to the axes of products by an exponent of -0.5, and back by one of 0.5."""
    return power(_paired(within(codec), codec), exponent)


def _known_products(codec: Codec) -> np.ndarray:
    """Covariance of the paired coordinates in each class, as known beforehand, on the axes of products."""
    whitening = _pair_axes(codec, -0.5)
    return whitening @ _paired(codec.covariances, codec) @ whitening


def _moments(mean: np.ndarray, variances: np.ndarray, codec: Codec) -> Moments:
    """Turns the released mean of the vectors into moments; reads nothing private.

    Args:
        mean: with noise of `variances`.
        variances: of each entry's noise.
    """
    (released, products), (noises, product_noises) = (
        np.split(each.reshape(2, -1), [codec.size], axis=1) for each in (mean, variances)
    )
    back = np.linalg.inv(codec.axes)
    # Both classes' means at once: what one of them tells of what both have in common, it tells of the other.
    seen = (released / codec.shortened @ back).ravel()
    noise = np.kron(np.diag(noises[:, 0]) / codec.shortened**2, back.T @ back)
    common, contrast = codec.doubt
    between = np.array([[common + contrast, common - contrast], [common - contrast, common + contrast]])
    prior = np.kron(between, within(codec))
    gain = prior @ np.linalg.inv(prior + noise)
    shifts = (gain @ seen).reshape(2, codec.size)
    posterior = (prior - gain @ prior).reshape(2, codec.size, 2, codec.size)
    # Windows are drawn from all that means may be, and not as if the likeliest were the true ones.
    in_doubt = np.stack([posterior[label, :, label] for label in (0, 1)])
    # Products were of differences from the means known beforehand: the part of the means' own shift goes.
    squares = shifts[:, :, None] * shifts[:, None] + in_doubt
    paired = _paired_covariances(products, product_noises, codec.shortened * _paired(squares, codec), codec)
    return Moments(codec.means + shifts, _with_paired(codec, paired) + in_doubt)


def _paired_covariances(released: np.ndarray, variances: np.ndarray, squares: np.ndarray, codec: Codec) -> np.ndarray:
    """Covariance of the paired coordinates in each class (2, n_paired, n_paired), from the released products' means.

    Unlike the means it does not get back what clipping takes: what is known beforehand counts for that part.
    """
    root, whitening = _pair_axes(codec, 0.5), _pair_axes(codec, -0.5)
    first, second, weights = _pairs(codec)
    squares = whitening @ squares @ whitening
    differences = released / weights - squares[:, first, second]
    variances = variances / weights**2
    white = _known_products(codec)
    for chosen in (first == second, first != second):
        white[:, first[chosen], second[chosen]] += _believed_of_both(differences[:, chosen], variances[:, chosen])
    white = np.triu(white) + np.triu(white, 1).swapaxes(1, 2)
    along, directions = np.linalg.eigh(white)
    return root @ (directions * np.maximum(along, LEAST_VARIANCE)[:, None] @ directions.swapaxes(1, 2)) @ root


def _with_paired(codec: Codec, paired: np.ndarray) -> np.ndarray:
    """The covariances known beforehand, with other ones (2, n_paired, n_paired) of the paired coordinates.

    How the other coordinates follow from these, and by how much they do not, stays as it was.
    """
    known = _paired(codec.covariances, codec)
    slopes = codec.covariances[:, :, codec.paired] @ np.linalg.inv(known)
    return codec.covariances + slopes @ (paired - known) @ slopes.swapaxes(1, 2)


def _believed_of_both(released: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Posterior means of numbers (2, n), of both classes: by what these have in common, and by what they differ in."""
    shares = variances.sum(axis=0) - variances
    shares = shares / shares.sum(axis=0)  # the noises of this mean and of the difference are independent
    common = _believed(np.sum(shares * released, axis=0), np.prod(variances, axis=0) / variances.sum(axis=0))
    difference = _believed(released[1] - released[0], variances.sum(axis=0))
    return np.stack([common - shares[1] * difference, common + shares[0] * difference])


def _believed(released: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Posterior means of numbers that are normal about 0, seen with noise of `variances`.

    Their own variance, which they have in common, is the likeliest of CANDIDATES.
    """
    seen = CANDIDATES[:, None] + variances
    variance = CANDIDATES[np.argmin(np.sum(np.log(seen) + released**2 / seen, axis=1))]
    return released * variance / (variance + variances)
