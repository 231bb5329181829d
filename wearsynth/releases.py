"""What is asked of real windows once, with noise: means of bounded features; and the moments that follow from them.

A release pays once, however long a generator then uses it. Each unit gives one vector: how its windows' coordinates
differ from the prior means, in each class, and how the products of some of these differences do. Vectors are clipped,
added up and noised (the Gaussian mechanism). All else is post-processing: moments are posterior means, given the prior
and the noise, so that where the noise is large the prior counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from wearsynth.codecs import MOST_WINDOWS, Codec, DescriptorCodec, LevelCodec, moments_of
from wearsynth.privacy import Promise
from wearsynth.randomness import normal
from wearsynth.windows import Windows
from wearsynth.workers import ALONE, Alone

LEAST_VARIANCE = 0.05  # in any direction, of covariances on the scale of the prior's within the classes
CANDIDATES = np.append(0.0, np.geomspace(1e-4, 10, 100))  # variances of products' differences from the prior's
OTHERS_WEIGHT = 0.5  # of descriptors but levels, where levels come first
# Standard deviations of a sum's noise, in clip norms, over the number of units: up to which a loose clip norm costs
# nothing, all products are asked, and those of levels are.
LEAST_NOISE, LITTLE_NOISE, SOME_NOISE = 0.0001, 0.001, 0.01
DRAWN = 4000  # windows from the prior, whose vectors' length says where to clip


@dataclass(frozen=True)
class Query:
    """What a release asks of each unit: a vector of its windows' coordinates, and of products of some of them.

    Args:
        axes: (size, size), turns coordinates' differences from the prior means to the axes on which they are asked.
        paired: (n_paired,), numbers of the coordinates whose products are asked as well.
        product_weight: how much a product counts, where a coordinate counts 1.
        clip_norm: L2 norm at which a unit's vector is clipped; public.
        clipping_bias: what clipping leaves of a typical vector's length, as a share of it.
    """

    axes: np.ndarray
    paired: np.ndarray
    product_weight: float
    clip_norm: float
    clipping_bias: float


@dataclass(frozen=True)
class Moments:
    """Means of classes' coordinates (n_classes, size), and their covariances (n_classes, size, size)."""

    means: np.ndarray
    covariances: np.ndarray

    @property
    def factors(self) -> np.ndarray:
        """Symmetric matrices (n_classes, size, size) that turn independent standard normal numbers into ones of these
        covariances: a number means much the same in all classes."""
        variances, directions = np.linalg.eigh(self.covariances)
        return directions * np.sqrt(np.maximum(variances, 0))[:, None] @ directions.swapaxes(1, 2)

    def __call__(self, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Standard normal noise (n, size), labels (n,) -> coordinates (n, size)."""
        of_class = self.means[:, None] + noise @ self.factors.swapaxes(1, 2)
        return of_class[labels, np.arange(len(labels))]


def choose_query(codec: Codec, noise: float) -> Query:
    """Chooses what is asked, by how much noise there will be: a public number.

    Args:
        codec: says what the coordinates are, and their prior.
        noise: standard deviation of the sum's noise, in clip norms, over the number of units.
    """
    if not isinstance(codec, DescriptorCodec):
        return _plain(codec)
    if noise <= LITTLE_NOISE:
        clip_at = 2.2 if noise <= LEAST_NOISE else 1.1  # of people unlike the prior's, clipping takes most
        return _clipped(codec, white_axes(codec), np.arange(codec.size), product_weight=0.08, clip_at=clip_at)
    if noise <= SOME_NOISE:
        # Of products those of levels, as the noise would exceed all others.
        return _clipped(codec, white_axes(codec), codec.levels, product_weight=0.3, clip_at=1.1)
    # With much noise no products, and a tight clip norm: vectors are much alike in length, so that it loses little.
    return _clipped(codec, _levels_first(codec), np.zeros(0, int), product_weight=0.0, clip_at=0.7)


def _clipped(codec: DescriptorCodec, axes: np.ndarray, paired: np.ndarray, *, product_weight, clip_at) -> Query:
    """A query with a clip norm of `clip_at` times the median length of vectors drawn from the prior, people's means
    included: windows of as many studies."""
    query = Query(axes, paired, product_weight, np.inf, 1.0)
    rng, labels = np.random.default_rng(0), in_shares(np.arange(DRAWN) / DRAWN, codec.shares)
    coordinates = Moments(codec.means, codec.covariances)(rng.standard_normal((DRAWN, codec.size)), labels)
    common, contrast = np.sqrt(codec.prior_variances)[:, None, None] * rng.standard_normal((2, DRAWN, codec.size))
    shifts = common + np.where(labels[:, None] == 0, -contrast, contrast)
    vectors = _asked(coordinates + shifts @ _power(pooled_covariance(codec), 0.5), labels, codec, query)
    lengths = np.linalg.norm(vectors, axis=1)
    clip_norm = clip_at * float(np.median(lengths))
    return replace(query, clip_norm=clip_norm, clipping_bias=float(np.minimum(1, clip_norm / lengths).mean()))


def _levels_first(codec: DescriptorCodec) -> np.ndarray:
    """Axes on which levels have a covariance of 1, and so, but for a weight, has what of the other descriptors does not
    follow from levels."""
    covariance, others = pooled_covariance(codec), np.setdiff1d(np.arange(codec.size), codec.levels)
    of_levels = np.ix_(codec.levels, codec.levels)
    slopes = np.linalg.solve(covariance[of_levels], covariance[np.ix_(codec.levels, others)])
    rest = covariance[np.ix_(others, others)] - covariance[np.ix_(others, codec.levels)] @ slopes
    axes = np.zeros_like(covariance)
    axes[of_levels] = _power(covariance[of_levels], -0.5)
    axes[np.ix_(others, others)] = OTHERS_WEIGHT * _power(rest, -0.5)
    axes[np.ix_(codec.levels, others)] = -slopes @ axes[np.ix_(others, others)]
    return axes


def _plain(codec: Codec) -> Query:
    """For a codec whose prior knows nothing: coordinates in standard deviations, and of all but levels the products."""
    axes = np.eye(codec.size) / np.sqrt(codec.covariances[0, 0, 0])
    levels = isinstance(codec, LevelCodec)  # they lie up to 0.5 from the middle: five times the spread within a class
    paired = np.arange(0 if levels else codec.size)
    return Query(axes, paired, 0.1, (2.2 if levels else 1.5) * np.sqrt(codec.size), 1.0)


def release(
    windows: Windows,
    codec: Codec,
    query: Query,
    promise: Promise,
    rng: np.random.Generator | None = None,
    workers: Alone = ALONE,
) -> Moments:
    """Releases the moments of windows' coordinates, once.

    Args:
        windows: real windows; private.
        codec: says what the coordinates are, and their prior.
        query: what is asked of each unit.
        promise: what is promised; gives unit and noise.
        rng: for tests; noise from a seed protects nobody.
        workers: whom it is one release with; the windows are those of one of them.
    """
    if not promise.private:
        means, covariances = moments_of(codec.encode(windows.values), windows.labels, range(len(codec.shares)))
        return Moments(means, _with_paired(codec, query, _paired(covariances, query)))
    if promise.release_share == 0:
        raise ValueError("release_share=0: expected a promise that pays for a release")
    total, counts = clipped_sum(windows, codec, query, promise.unit)
    if workers.is_first:  # one noise for all
        total = noised(total, query, promise, rng)
    total, counts = workers.add_up([total, counts])
    noise_scale = promise.release_noise_multiplier * query.clip_norm
    return _posterior(total / counts, (noise_scale / counts) ** 2, codec, query)


def clipped_sum(windows: Windows, codec: Codec, query: Query, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """The sum of units' vectors, clipped: private. It is all that a private release reads of windows.

    Returns:
        The sum, and for each entry the public number that it is to be divided by.
    """
    total = counts = 0.0
    for part in _parts(windows, unit):
        vectors, own_counts = _vectors(part, codec, query, unit)
        total, counts = total + clip(vectors, query.clip_norm).sum(axis=0), counts + own_counts
    return total, counts


def in_shares(places: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Classes of places between 0 and 1, (n,), so that each has its share of them: class 1 first, class 0 last."""
    return (1 + np.searchsorted(np.cumsum(shares[1:]), places, side="right")) % len(shares)


def noised(total: np.ndarray, query: Query, promise: Promise, rng: np.random.Generator | None = None) -> np.ndarray:
    """The same sum with its noise, which is what is released; parameters as of `release`."""
    return total + promise.release_noise_multiplier * query.clip_norm * normal(len(total), rng)


def clip(vectors: np.ndarray, clip_norm: float) -> np.ndarray:
    """Shortens vectors (n, size) that are longer than `clip_norm`; one that is not finite counts as nothing."""
    vectors = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors * (clip_norm / np.maximum(lengths, clip_norm))


def pooled_covariance(codec: Codec) -> np.ndarray:
    """The prior's covariance (size, size) within the classes, pooled over them."""
    return np.tensordot(codec.shares, codec.covariances, axes=1)


def white_axes(codec: Codec) -> np.ndarray:
    """Axes on which coordinates have a covariance of 1 within the prior's classes."""
    return _power(pooled_covariance(codec), -0.5)


def _parts(windows: Windows, unit: str) -> Iterator[Windows]:
    """Cuts windows into parts of about MOST_WINDOWS, and no unit in two."""
    by_person, n_units = unit == "subject", windows.n_units(unit)
    units = np.unique(windows.subjects, return_inverse=True)[1] if by_person else np.arange(n_units)
    n_parts = max(1, min(n_units, -(-len(windows) // MOST_WINDOWS)))
    part = units * n_parts // max(1, n_units)
    for number in range(n_parts):
        yield windows[part == number]


def _vectors(windows: Windows, codec: Codec, query: Query, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Each unit's vector, which is private, and for each entry the public number that the sum is to be divided by."""
    asked = _asked(codec.encode(windows.values), windows.labels, codec, query)
    if unit == "window":
        counts = len(windows) * np.repeat(codec.shares, asked.shape[1])
        return np.hstack([asked * (windows.labels[:, None] == label) for label in range(len(codec.shares))]), counts
    rows = []
    for person in np.unique(windows.subjects):
        own = windows.subjects == person
        # Class by class, and not by a matrix: nothing times what is infinite in somebody else would not be nothing.
        of_classes = [_mean(asked[own & (windows.labels == label)]) for label in range(len(codec.shares))]
        rows.append(np.concatenate(of_classes))
    vectors = np.array(rows)
    return vectors, np.full(vectors.shape[1], len(vectors))


def _asked(coordinates: np.ndarray, labels: np.ndarray, codec: Codec, query: Query) -> np.ndarray:
    """What is asked of each window: differences from the prior means, and from the prior's products."""
    differences = coordinates - codec.means[labels]
    first, second, weights = _pairs(query)
    of_pairs = differences[:, query.paired] @ _pair_axes(codec, query, -0.5)
    expected = _prior_products(codec, query)[:, first, second]
    products = weights * (of_pairs[:, first] * of_pairs[:, second] - expected[labels])
    return np.hstack([differences @ query.axes, products])


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean of rows; a zero where there is none, as in a class that a person lacks."""
    return rows.sum(axis=0) / max(len(rows), 1)


def _pairs(query: Query) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of a symmetric matrix's upper half, and the weights of its entries.

    Those off the diagonal stand for two, which their weight makes up for.
    """
    first, second = np.triu_indices(len(query.paired))
    return first, second, query.product_weight * np.where(first == second, 1, np.sqrt(2))


def _paired(covariances: np.ndarray, query: Query) -> np.ndarray:
    """The part of covariances (..., size, size) that is of the paired coordinates."""
    return covariances[..., query.paired[:, None], query.paired]


def _pair_axes(codec: Codec, query: Query, exponent: float) -> np.ndarray:
    """Matrix that turns paired coordinates to the axes of products by an exponent of -0.5, and back by one of 0.5."""
    return _power(_paired(pooled_covariance(codec), query), exponent)


def _prior_products(codec: Codec, query: Query) -> np.ndarray:
    """The prior's covariance of the paired coordinates in each class, on the axes of products."""
    whitening = _pair_axes(codec, query, -0.5)
    return whitening @ _paired(codec.covariances, query) @ whitening


def _posterior(mean: np.ndarray, variances: np.ndarray, codec: Codec, query: Query) -> Moments:
    """Turns the released mean of the vectors into moments; reads nothing private.

    For a normal prior N(0, P) of the means' shift, seen as y with noise N(0, V), the posterior has mean P (P + V)^-1 y
    and covariance P - P (P + V)^-1 P (Bishop 2006, Pattern Recognition and Machine Learning, section 2.3.3).

    Args:
        mean: with noise of `variances`.
        variances: of each entry's noise.
    """
    n_classes = len(codec.shares)
    (released, products), (noises, product_noises) = (
        np.split(each.reshape(n_classes, -1), [codec.size], axis=1) for each in (mean, variances)
    )
    back = np.linalg.inv(query.axes)
    # y and V, of all classes at once: what one says of what they have in common, it says of the others.
    seen = (released / query.clipping_bias @ back).ravel()
    noise = np.kron(np.diag(noises[:, 0]) / query.clipping_bias**2, back.T @ back)
    common, contrast = codec.prior_variances
    # Differences from what is common add up to nothing over the classes, and have a variance of `contrast` each.
    differing = (n_classes * np.eye(n_classes) - 1) / (n_classes - 1)
    between = common + contrast * differing
    prior = np.kron(between, pooled_covariance(codec))
    gain = prior @ np.linalg.inv(prior + noise)
    shifts = (gain @ seen).reshape(n_classes, codec.size)
    posterior = (prior - gain @ prior).reshape(n_classes, codec.size, n_classes, codec.size)
    # Windows are drawn from the whole posterior of the means, and not as if the likeliest were the true ones.
    uncertainty = np.stack([posterior[label, :, label] for label in range(n_classes)])
    # Products were of differences from the prior means: E[d d'] = Cov + shift shift', of which the last part goes.
    squares = shifts[:, :, None] * shifts[:, None] + uncertainty
    paired = _paired_covariances(products, product_noises, query.clipping_bias * _paired(squares, query), codec, query)
    return Moments(codec.means + shifts, _with_paired(codec, query, paired) + uncertainty)


def _paired_covariances(
    released: np.ndarray, variances: np.ndarray, squares: np.ndarray, codec: Codec, query: Query
) -> np.ndarray:
    """Covariance of the paired coordinates (n_classes, n_paired, n_paired), from the released products' means.

    Unlike the means it does not get back what clipping takes: the prior counts for that part.
    """
    root, whitening = _pair_axes(codec, query, 0.5), _pair_axes(codec, query, -0.5)
    first, second, weights = _pairs(query)
    squares = whitening @ squares @ whitening
    differences = released / weights - squares[:, first, second]
    variances = variances / weights**2
    white = _prior_products(codec, query)
    for chosen in (first == second, first != second):
        white[:, first[chosen], second[chosen]] += _shrunk_of_all(differences[:, chosen], variances[:, chosen])
    white = np.triu(white) + np.triu(white, 1).swapaxes(1, 2)
    along, directions = np.linalg.eigh(white)
    return root @ (directions * np.maximum(along, LEAST_VARIANCE)[:, None] @ directions.swapaxes(1, 2)) @ root


def _with_paired(codec: Codec, query: Query, paired: np.ndarray) -> np.ndarray:
    """The prior's covariances, with other ones (n_classes, n_paired, n_paired) of the paired coordinates.

    The regression of the other coordinates on these, and its residual, stay the prior's: with B = C_ap C_pp^-1 the
    covariance C becomes C + B (C'_pp - C_pp) B'.
    """
    known = _paired(codec.covariances, query)
    # Pseudo-inverse: fewer windows of a class than coordinates leave directions in which the prior does not vary.
    slopes = codec.covariances[:, :, query.paired] @ np.linalg.pinv(known, rcond=1e-6, hermitian=True)
    return codec.covariances + slopes @ (paired - known) @ slopes.swapaxes(1, 2)


def _shrunk_of_all(released: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Posterior means of numbers (n_classes, n): of a weighted mean over the classes, and of how each further class
    differs from the weighted mean of those before. With these weights the noises of all of them are independent."""
    mean, variance, differences = released[0], variances[0], []
    for own, noise in zip(released[1:], variances[1:]):
        weight = variance / (variance + noise)  # of the further class in the mean
        differences.append((_shrunk(own - mean, variance + noise), weight))
        mean, variance = mean + weight * (own - mean), weight * noise
    # Back from the last class to the first: the mean of those before, and then the class by its difference from it.
    mean, classes = _shrunk(mean, variance), []
    for difference, weight in differences[::-1]:
        mean = mean - weight * difference
        classes.append(mean + difference)
    return np.stack([mean, *classes[::-1]])


def _shrunk(released: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Posterior means t / (t + v) y of numbers that are normal about 0 with variance t, seen as y with noise of v.

    Of the variance t, which they have in common, the likeliest of CANDIDATES is taken (empirical Bayes, Morris 1983,
    doi 10.1080/01621459.1983.10477920).
    """
    seen = CANDIDATES[:, None] + variances
    variance = CANDIDATES[np.argmin(np.sum(np.log(seen) + released**2 / seen, axis=1))]
    return released * variance / (variance + variances)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric matrix; a direction without variance counts as one with next to none."""
    variances, directions = np.linalg.eigh(matrix)
    return directions * np.maximum(variances, 1e-6) ** exponent @ directions.T
