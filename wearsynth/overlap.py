"""Synthetic windows against real ones as clouds of points: how far apart, and how much of each lies in the other.

Each number is taken class by class and averaged, so that windows under the wrong label count as bad ones.

A window is a point by `Encoder`, whose axes come from public people; physical bodies rise and fall in them alike.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import wasserstein_distance
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wearsynth.features import simple_features
from wearsynth.parallel import on_one_core
from wearsynth.two_sample import random_convolutions
from wearsynth.windows import Windows

COMPONENTS = 16  # axes of the encoder
NEIGHBOURS = 5  # the k-th nearest neighbour is how far a point's own neighbourhood reaches (Naeem et al. 2020)
LEVELS = np.linspace(0.025, 0.975, 20)  # shares of a cloud, innermost first
PAST = 10  # s, that a second is predicted from


class Encoder:
    """Turns windows into points: their `view` along the main axes of public windows."""

    @on_one_core
    def __init__(self, public: Windows):
        features = view(public)
        components = min(COMPONENTS, *(size - 1 for size in features.shape))
        self._axes = make_pipeline(StandardScaler(), PCA(components, whiten=True, random_state=0)).fit(features)

    @on_one_core
    def __call__(self, windows: Windows) -> np.ndarray:
        """Windows -> (n, at most COMPONENTS)."""
        return self._axes.transform(view(windows))


def view(windows: Windows) -> np.ndarray:
    """What a window is by random convolutions and simple features, (n, n_features)."""
    values = windows.values.astype(float)
    return np.hstack([random_convolutions(4 * (values - 0.5)), simple_features(values)])


@on_one_core
def compare_clouds(real: Windows, synthetic: Windows, encoder: Encoder) -> dict[str, float]:
    """Compares two sets of windows by every number of this module.

    Args:
        real: windows of people.
        synthetic: windows to compare with them, of the same classes.
        encoder: of public windows.

    Returns:
        `wasserstein`, `frechet_distance`, `mmd`, `density`, `coverage`, `alpha_precision`, `beta_recall`, each the mean
        over classes, and `prediction_ratio`.
    """
    points = {name: encoder(windows) for name, windows in {"real": real, "synthetic": synthetic}.items()}
    by_class = []
    for label in range(len(real.classes)):
        ours, theirs = real.labels == label, synthetic.labels == label
        clouds = points["real"][ours], points["synthetic"][theirs]
        numbers = {name: distance(*clouds) for name, distance in OF_CLOUDS.items()}
        by_class.append({"wasserstein": wasserstein(real[ours], synthetic[theirs])} | numbers)
    means = {name: float(np.mean([each[name] for each in by_class])) for name in by_class[0]}
    return means | {"prediction_ratio": prediction_ratio(real, synthetic)}


def wasserstein(real: Windows, synthetic: Windows) -> float:
    """How far values have to be moved to become the others' (1-Wasserstein distance), mean over signals, scaled."""
    pairs = zip(*(np.moveaxis(windows.values, 2, 0).reshape(len(real.signals), -1) for windows in (real, synthetic)))
    return float(np.mean([wasserstein_distance(ours, theirs) for ours, theirs in pairs]))


def frechet_distance(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Distance of two clouds (n, d) taken as normal distributions (Fréchet; with a context's encoder: context-FID)."""
    (mean, covariance), (other_mean, other_covariance) = (
        (points.mean(axis=0), np.cov(points, rowvar=False)) for points in (real, synthetic)
    )
    # The root's trace by eigenvalues: a cloud flat in some direction has no root that is exact.
    roots = np.sqrt(np.maximum(np.linalg.eigvals(covariance @ other_covariance).real, 0))
    squared = np.sum((mean - other_mean) ** 2) + np.trace(covariance + other_covariance) - 2 * roots.sum()
    return float(np.sqrt(max(squared, 0.0)))


def mmd(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Maximum mean discrepancy (Gretton et al. 2012) of two clouds (n, d), by a Gaussian kernel as wide as the real
    points' median distance: 0 for equal clouds, at most the square root of 2."""
    pairs = (real, real), (real, synthetic), (synthetic, synthetic)
    within, between, others = (pairwise_distances(*pair) for pair in pairs)
    width = np.median(within[~np.eye(len(within), dtype=bool)])
    kernels = [np.exp(-((distances / width) ** 2) / 2) for distances in (within, between, others)]
    for kernel in (kernels[0], kernels[2]):  # a point says nothing of itself: without bias
        np.fill_diagonal(kernel, np.nan)
    squared = np.nanmean(kernels[0]) - 2 * kernels[1].mean() + np.nanmean(kernels[2])
    return float(np.sqrt(max(squared, 0.0)))


def density(real: np.ndarray, synthetic: np.ndarray) -> float:
    """How many real neighbourhoods a synthetic point lies in, over NEIGHBOURS (Naeem et al. 2020, arXiv 2002.09797):
    about 1 for equal clouds, more for points in the middle only. Of two clouds (n, d)."""
    return float(_inside(real, synthetic).sum(axis=0).mean() / min(NEIGHBOURS, len(real) - 1))


def coverage(real: np.ndarray, synthetic: np.ndarray) -> float:
    """The share of real points whose neighbourhood holds a synthetic one (Naeem et al. 2020); as `density`."""
    return float(_inside(real, synthetic).any(axis=1).mean())


def alpha_precision(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Do synthetic points lie as deep in the real cloud as real ones do (Alaa et al. 2022, arXiv 2102.08921)?

    For each share alpha of LEVELS the share of synthetic points within the ball about the real points' mean that holds
    alpha of these should be alpha, too; 1 less twice the mean gap. 1: as deep, 0: all at the very middle, or outside.
    """
    middle = real.mean(axis=0)
    depths, others = (np.linalg.norm(points - middle, axis=1) for points in (real, synthetic))
    inside = np.array([(others <= np.quantile(depths, level)).mean() for level in LEVELS])
    return float(1 - 2 * np.abs(inside - LEVELS).mean())


def beta_recall(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Do the innermost synthetic points reach as many real ones as their share says (Alaa et al. 2022)?

    For each share beta of LEVELS, the share of real points whose neighbourhood holds one of that share of synthetic
    points should be beta; 1 less twice the mean gap, as `alpha_precision`. A cloud of one point has 0.
    """
    depths = np.linalg.norm(synthetic - synthetic.mean(axis=0), axis=1)
    distances, reach = pairwise_distances(real, synthetic), _reach(real)
    nearest = depths[distances.argmin(axis=1)]
    covered = distances.min(axis=1) <= reach
    found = np.array([(covered & (nearest <= np.quantile(depths, level))).mean() for level in LEVELS])
    return float(1 - 2 * np.abs(found - LEVELS).mean())


def prediction_ratio(real: Windows, synthetic: Windows) -> float:
    """How much worse the next second is predicted by whoever learned it from synthetic windows (TimeGAN's predictive
    score, by ridge regression on the PAST seconds of all signals).

    Returns:
        Mean absolute error on real windows, over that of a prediction learned from the other real people: 1 is as good.
    """
    people = np.unique(real.subjects)
    first = np.isin(real.subjects, people[::2])
    errors = []
    for ours, theirs in ((first, ~first), (~first, first)):
        past, outcomes = _steps(real[theirs])
        learned = (Ridge(1.0).fit(*_steps(each)) for each in (synthetic, real[ours]))
        errors.append([np.abs(each.predict(past) - outcomes).mean() for each in learned])
    return float(np.divide(*np.mean(errors, axis=0)))


def _steps(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """The past seconds (n, PAST * n_signals) of every fifth second, and these, (n, n_signals)."""
    values = windows.values.astype(float)
    ends = range(PAST, values.shape[1], 5)
    past = np.concatenate([values[:, end - PAST : end].reshape(len(values), -1) for end in ends])
    return past, np.concatenate([values[:, end] for end in ends])


OF_CLOUDS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "frechet_distance": frechet_distance,
    "mmd": mmd,
    "density": density,
    "coverage": coverage,
    "alpha_precision": alpha_precision,
    "beta_recall": beta_recall,
}


def _inside(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Whether each synthetic point lies in each real one's neighbourhood, (n_real, n_synthetic)."""
    return pairwise_distances(real, synthetic) <= _reach(real)[:, None]


def _reach(points: np.ndarray) -> np.ndarray:
    """Each point's distance to its NEIGHBOURS-th neighbour."""
    return np.sort(pairwise_distances(points), axis=1)[:, min(NEIGHBOURS, len(points) - 1)]
