"""Windows as a few numbers each, and back: what generators learn, and what is released.

A window of a signal has a level, a spread, a slope; it reaches so far above its level, so far below, and is so rough.
Generators learn how these *descriptors* go together, and nothing about single seconds: structure in time is given.
Everything here is public. No codec looks at real people; that of most generators has looked at simulated people.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from scipy.special import ndtri

from wearsynth.features import DESCRIPTORS, LEAST_SPREAD, describe
from wearsynth.provenance import Origin, load_arrays, save_arrays
from wearsynth.simulation import simulate_table
from wearsynth.windows import STRESS_SHARE, Windows, make_windows

N_PEOPLE = 40  # simulated
COHORT = 1000  # their seed: other people than those of the default recordings
GRID = np.linspace(0, 1, 201)  # of quantiles
FARTHEST = 4.0  # coordinate: a standard normal's one in 30,000
NEAREST = 3  # shapes that come into question for a window
STRESS_AXIS_WEIGHT = 6.0  # of the axis that tells stress in simulated people; every other axis counts once
OTHERS_WEIGHT = 0.5  # of descriptors but levels, where levels come first
LITTLE_NOISE, SOME_NOISE = 0.001, 0.01  # standard deviations of a sum's noise, in clip norms, over the number of units


class Codec(Protocol):
    """Windows of some signals and length <-> coordinates, and what is known of those beforehand.

    Args:
        signals: the n_signals names.
        stress_share: share of stress in the study's protocol; public.
        size: number of coordinates.
        means: (2, size), of the coordinates without stress and with.
        covariances: (2, size, size), within each class.
        doubt: variances of how far real people's means may lie from these, of what both classes have in common and of
            half their difference, where the covariance within the classes is 1.
        axes: (size, size), of what a release tells of coordinates: turns their differences from `means` to its axes.
        paired: (n_paired,), numbers of the coordinates whose products a release tells as well.
        product_weight: how much a release makes of a product, where it makes 1 of a coordinate.
        reach: length at which a release clips a unit's vector, over the root of `size`.
        shortened: what clipping leaves of a typical vector's length.
    """

    signals: tuple[str, ...]
    stress_share: float
    size: int
    means: np.ndarray
    covariances: np.ndarray
    doubt: tuple[float, float]
    axes: np.ndarray
    paired: np.ndarray
    product_weight: float
    reach: float
    shortened: float

    def for_noise(self, noise: float) -> "Codec":
        """The same, of which a release tells what this noise of its sum, in clip norms a unit, leaves worth telling."""

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Values (n, window_seconds, n_signals) in [0, 1] -> coordinates (n, size)."""

    def decode(self, coordinates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Coordinates (n, size) -> values (n, window_seconds, n_signals), float32 in [0, 1]."""


@dataclass(frozen=True)
class SimulatedPeople:
    """Descriptors on the scale of simulated people, for whom each is standard normal; shapes in time are theirs, too.

    Args:
        signals: the n_signals names.
        quantiles: (len(GRID), size) of the descriptors.
        shapes: (n_shapes, window_seconds, n_signals), windows of mean 0 and, unless they are flat, spread 1.
        means: (2, size)
        covariances: (2, size, size), within each class.
        stress_share: share of stress in the study's protocol; public.
    """

    signals: tuple[str, ...]
    quantiles: np.ndarray
    shapes: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    stress_share: float

    doubt: ClassVar[tuple[float, float]] = (0.4, 0.08)  # by the order of magnitude of S2-S6
    product_weight: ClassVar[float] = 0.08
    reach: ClassVar[float] = 1.6
    shortened: ClassVar[float] = 0.81

    @classmethod
    def simulate(
        cls,
        signals: str,
        scaling: str,
        window_seconds: int,
        hop_seconds: int,
        stress_share: float = STRESS_SHARE,
        n_people: int = N_PEOPLE,
    ) -> "SimulatedPeople":
        """Simulates people, and cuts their recordings into windows; parameters as of `windows.make_windows`."""
        table = simulate_table(n_people, COHORT)
        return cls.from_windows(make_windows(table, signals, scaling, window_seconds, hop_seconds), stress_share)

    @classmethod
    def from_windows(cls, windows: Windows, stress_share: float = STRESS_SHARE) -> "SimulatedPeople":
        """Describes simulated people's windows; those of real ones would take part in no guarantee."""
        values = windows.values.astype(float)
        descriptors = describe(values).reshape(len(values), -1)
        spread = np.maximum(values.std(axis=1, keepdims=True), LEAST_SPREAD)
        shapes = ((values - values.mean(axis=1, keepdims=True)) / spread).astype(np.float32)
        # Steps as small as these keep the quantiles of a descriptor apart that has the same value again and again.
        quantiles = np.quantile(descriptors, GRID, axis=0) + 1e-6 * GRID[:, None]
        plain = cls(windows.signals, quantiles, shapes, np.zeros(0), np.zeros(0), stress_share)
        means, covariances = moments_of(plain.encode(values), windows.labels)
        return replace(plain, means=means, covariances=covariances)

    @property
    def window_seconds(self) -> int:
        return self.shapes.shape[1]

    @property
    def size(self) -> int:
        return self.quantiles.shape[1]

    @property
    def levels(self) -> np.ndarray:
        """Numbers of the coordinates that are levels."""
        return np.arange(0, self.size, len(DESCRIPTORS))

    @property
    def paired(self) -> np.ndarray:
        return np.arange(self.size)

    @property
    def axes(self) -> np.ndarray:
        """Those on which coordinates have a covariance of 1 within the classes; the one that tells these counts more.

        Noise is alike in every direction there, but an error along this one moves the line between stress and the rest.
        """
        whitening = power(within(self), -0.5)
        contrast = (self.means[1] - self.means[0]) @ whitening
        axis = contrast / max(np.linalg.norm(contrast), 1e-9)
        return whitening @ (np.eye(self.size) + (STRESS_AXIS_WEIGHT - 1) * np.outer(axis, axis))

    def for_noise(self, noise: float) -> "SimulatedPeople":
        if noise <= LITTLE_NOISE:
            return self
        return (LevelProducts if noise <= SOME_NOISE else LevelsFirst)(**vars(self))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Values (n, window_seconds, n_signals) -> coordinates (n, size)."""
        descriptors = describe(values).reshape(len(values), -1)
        columns = [_interpolate(column, own, _NORMAL) for column, own in zip(descriptors.T, self.quantiles.T)]
        return np.clip(np.stack(columns, axis=1), -FARTHEST, FARTHEST)

    def decode(self, coordinates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Coordinates (n, size) -> values (n, window_seconds, n_signals), float32 in [0, 1].

        Each signal takes one of the simulated shapes whose descriptors are nearest, and its level and spread.
        """
        from sklearn.neighbors import NearestNeighbors  # takes a second to import

        columns = [_interpolate(column, _NORMAL, own) for column, own in zip(coordinates.T, self.quantiles.T)]
        wanted = np.stack(columns, axis=1).reshape(len(coordinates), len(self.signals), -1)
        values = np.empty((len(wanted), self.window_seconds, len(self.signals)), np.float32)
        for number in range(len(self.signals)):
            shapes = self.shapes[..., number]
            shapes = shapes[shapes.std(axis=1) > 0.9]
            described = describe(shapes[..., None])[:, 0, 2:]
            scale = described.std(axis=0) + 1e-6
            index = NearestNeighbors(n_neighbors=min(NEAREST, len(shapes))).fit(described / scale)
            near = index.kneighbors(wanted[:, number, 2:] / scale, return_distance=False)
            chosen = near[np.arange(len(near)), rng.integers(near.shape[1], size=len(near))]
            level, spread = wanted[:, number, 0], np.exp(wanted[:, number, 1])
            values[..., number] = level[:, None] + spread[:, None] * shapes[chosen]
        return np.clip(values, 0, 1)

    def save(self, path: Path, origin: Origin) -> None:
        """Writes the codec and its origin to an .npz file."""
        save_arrays(path, origin, **vars(self))

    @classmethod
    def load(cls, path: Path, origin: Origin) -> "SimulatedPeople":
        """Reads what `save` wrote; raises StaleFileError if it is of another origin."""
        arrays = load_arrays(path, origin)
        signals, stress_share = tuple(arrays["signals"].tolist()), float(arrays["stress_share"])
        return cls(**arrays | {"signals": signals, "stress_share": stress_share})


class LevelProducts(SimulatedPeople):
    """The same people, for a release with some noise: of products it tells the levels', as all would drown."""

    # Nearly every vector is longer than it may be, and so much alike in length that a tight bound loses little and
    # takes off much of the noise.
    product_weight: ClassVar[float] = 0.3
    reach: ClassVar[float] = 0.8
    shortened: ClassVar[float] = 0.53

    @property
    def paired(self) -> np.ndarray:
        return self.levels


class LevelsFirst(SimulatedPeople):
    """The same people, for a release with much noise: it tells levels first, then other descriptors, and no products.

    The axis that tells stress in simulated people counts like the others: where real people's lies elsewhere, the noise
    that it is spared is less than what it costs the rest.
    """

    reach: ClassVar[float] = 0.43
    shortened: ClassVar[float] = 0.49

    @property
    def paired(self) -> np.ndarray:
        return np.zeros(0, int)

    @property
    def axes(self) -> np.ndarray:
        """Those on which levels have a covariance of 1, and what of the others does not follow from levels has, too."""
        covariance, others = within(self), np.setdiff1d(np.arange(self.size), self.levels)
        of_levels = np.ix_(self.levels, self.levels)
        slopes = np.linalg.solve(covariance[of_levels], covariance[np.ix_(self.levels, others)])
        rest = covariance[np.ix_(others, others)] - covariance[np.ix_(others, self.levels)] @ slopes
        axes = np.zeros_like(covariance)
        axes[of_levels] = power(covariance[of_levels], -0.5)
        axes[np.ix_(others, others)] = OTHERS_WEIGHT * power(rest, -0.5)
        axes[np.ix_(self.levels, others)] = -slopes @ axes[np.ix_(others, others)]
        return axes


@dataclass(frozen=True)
class Plain:
    """What the codecs below have in common: they know nothing beforehand.

    Args:
        signals: the n_signals names.
        window_seconds: length of a window, s.
        stress_share: share of stress in the study's protocol; public.
    """

    signals: tuple[str, ...]
    window_seconds: int
    stress_share: float = STRESS_SHARE

    doubt: ClassVar[tuple[float, float]] = (2.0, 2.0)
    product_weight: ClassVar[float] = 0.1
    reach: ClassVar[float] = 1.5
    shortened: ClassVar[float] = 1.0
    variance: ClassVar[float] = 1.0  # of each coordinate; public

    @property
    def size(self) -> int:
        return len(self.signals)

    @property
    def means(self) -> np.ndarray:
        return np.zeros((2, self.size))

    @property
    def covariances(self) -> np.ndarray:
        return self.variance * np.stack([np.eye(self.size)] * 2)

    @property
    def axes(self) -> np.ndarray:
        return np.eye(self.size) / np.sqrt(self.variance)

    @property
    def paired(self) -> np.ndarray:
        return np.zeros(0, int)

    def for_noise(self, noise: float) -> "Plain":
        return self


class Levels(Plain):
    """A window is its signals' levels and white noise, and nothing else: a baseline."""

    variance = 0.25
    reach = 2.2  # levels lie up to 0.5 from the middle: five times the spread within a class
    UNIT, NOISE = 0.2, 0.05  # public: a coordinate of 1, and the standard deviation of the seconds about a level

    def encode(self, values: np.ndarray) -> np.ndarray:
        return (values.mean(axis=1, dtype=float) - 0.5) / self.UNIT

    def decode(self, coordinates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = self.NOISE * rng.standard_normal((len(coordinates), self.window_seconds, self.size))
        return np.clip(0.5 + self.UNIT * coordinates[:, None] + noise, 0, 1).astype(np.float32)


class Copula(Plain):
    """Each signal is a line with noise about it whose neighbouring seconds correlate: a baseline.

    Level, slope, spread and autocorrelation are brought to the whole line of numbers, and joined by a Gaussian copula.
    """

    @property
    def size(self) -> int:
        return 4 * len(self.signals)

    @property
    def paired(self) -> np.ndarray:
        return np.arange(self.size)

    def encode(self, values: np.ndarray) -> np.ndarray:
        values, time = values.astype(float), self._time()
        level = values.mean(axis=1)
        slope = np.einsum("t,nts->ns", time / np.sum(time**2), values)
        rest = values - level[:, None] - slope[:, None] * time[:, None]
        spread = np.maximum(rest.std(axis=1), LEAST_SPREAD)
        neighbours = np.mean(rest[:, 1:] * rest[:, :-1], axis=1) / spread**2
        inner = np.clip(level, 0.01, 0.99)
        parameters = [
            np.log(inner / (1 - inner)),  # the sizes below bring all four to about one
            10 * slope,
            np.log(spread / 0.03),
            2 * (np.arctanh(np.clip(neighbours, -0.95, 0.95)) - 0.8),
        ]
        return np.clip(np.stack(parameters, axis=2).reshape(len(values), -1), -FARTHEST, FARTHEST)

    def decode(self, coordinates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        level, slope, spread, neighbours = np.moveaxis(coordinates.reshape(len(coordinates), -1, 4), 2, 0)
        keep = np.tanh(neighbours / 2 + 0.8)
        values = rng.standard_normal((len(coordinates), self.window_seconds, len(self.signals)))
        for second in range(1, self.window_seconds):
            values[:, second] = keep * values[:, second - 1] + np.sqrt(1 - keep**2) * values[:, second]
        values *= 0.03 * np.exp(spread)[:, None]
        values += 1 / (1 + np.exp(-level))[:, None] + slope[:, None] / 10 * self._time()[:, None]
        return np.clip(values, 0, 1).astype(np.float32)

    def _time(self) -> np.ndarray:
        return np.linspace(-1, 1, self.window_seconds)


class Seconds(Plain):
    """Every second of every signal is a coordinate of its own, as in the published generator."""

    variance = 0.0  # a network draws them, nothing else

    @property
    def size(self) -> int:
        return self.window_seconds * len(self.signals)

    def encode(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1)

    def decode(self, coordinates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        values = coordinates.reshape(len(coordinates), self.window_seconds, len(self.signals))
        return np.clip(values, 0, 1).astype(np.float32)


def choose_codec(generator: str, people: SimulatedPeople) -> Codec:
    """Returns the codec of a kind of generator, for windows like those of the simulated people."""
    own = {"levels": Levels, "copula": Copula, "lstm": Seconds}.get(generator)
    return people if own is None else own(people.signals, people.window_seconds, people.stress_share)


def moments_of(coordinates: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of both classes (2, size), and the covariance within each (2, size, size)."""
    classes = [coordinates[labels == label] for label in (0, 1)]
    return np.stack([each.mean(axis=0) for each in classes]), np.stack([np.cov(each.T, bias=True) for each in classes])


def within(codec: Codec) -> np.ndarray:
    """Covariance (size, size) within the classes, taken together, as known beforehand."""
    return (1 - codec.stress_share) * codec.covariances[0] + codec.stress_share * codec.covariances[1]


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric matrix without variances of 0."""
    variances, directions = np.linalg.eigh(matrix)
    return directions * variances**exponent @ directions.T


_NORMAL = ndtri(np.clip(GRID, 0.002, 0.998))


def _interpolate(x: np.ndarray, known_x: np.ndarray, known_y: np.ndarray) -> np.ndarray:
    """Interpolates between increasing points, and extends the line through a tenth and nine tenths beyond the ends."""
    slope = (known_y[180] - known_y[20]) / (known_x[180] - known_x[20])
    beyond = np.maximum(x - known_x[-1], 0) + np.minimum(x - known_x[0], 0)
    return np.interp(x, known_x, known_y) + slope * beyond
