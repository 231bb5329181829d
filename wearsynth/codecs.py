"""What a window is in numbers: encoding, decoding, and the prior distribution of the numbers.

A window of a signal has a level, a spread, a slope, an extent above its level and below, and a roughness. Generators
learn the joint distribution of these *descriptors*, and nothing about single seconds: the time course of each signal
comes from the prior. Everything here is public. No codec looks at real people; that of most generators has a prior
from simulated ones.
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


class Codec(Protocol):
    """Windows of some signals and length <-> coordinates, and the prior of those.

    Args:
        signals: the n_signals names.
        stress_share: share of stress in the study's protocol; public.
        size: number of coordinates.
        means: (2, size), prior means of the coordinates without stress and with.
        covariances: (2, size, size), prior covariances within each class.
        prior_variances: of what both classes' means have in common and of half their difference, about the prior means,
            where the covariance within the classes is 1: how far real people's means may lie from the prior's.
    """

    signals: tuple[str, ...]
    stress_share: float
    size: int
    means: np.ndarray
    covariances: np.ndarray
    prior_variances: tuple[float, float]

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Values (n, window_seconds, n_signals) in [0, 1] -> coordinates (n, size)."""

    def decode(self, coordinates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Coordinates (n, size) -> values (n, window_seconds, n_signals), float32 in [0, 1]."""


@dataclass(frozen=True)
class DescriptorCodec:
    """Descriptors, on a scale on which each is standard normal in the prior's people; the shapes in time are theirs.

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

    prior_variances: ClassVar[tuple[float, float]] = (0.4, 0.08)  # by the order of magnitude of S2-S6

    @classmethod
    def simulate(
        cls,
        signals: str,
        scaling: str,
        window_seconds: int,
        hop_seconds: int,
        stress_share: float = STRESS_SHARE,
        n_people: int = N_PEOPLE,
    ) -> "DescriptorCodec":
        """Takes the prior from simulated people; parameters as of `windows.make_windows`."""
        table = simulate_table(n_people, COHORT)
        return cls.from_windows(make_windows(table, signals, scaling, window_seconds, hop_seconds), stress_share)

    @classmethod
    def from_windows(cls, windows: Windows, stress_share: float = STRESS_SHARE) -> "DescriptorCodec":
        """Takes the prior from public people's windows; those of private ones would be outside the guarantee."""
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

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Values (n, window_seconds, n_signals) -> coordinates (n, size)."""
        descriptors = describe(values).reshape(len(values), -1)
        columns = [_interpolate(column, own, _NORMAL) for column, own in zip(descriptors.T, self.quantiles.T)]
        return np.clip(np.stack(columns, axis=1), -FARTHEST, FARTHEST)

    def decode(self, coordinates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Coordinates (n, size) -> values (n, window_seconds, n_signals), float32 in [0, 1].

        Each signal takes one of the prior's shapes whose descriptors are nearest, moved to its own level and spread.
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
    def load(cls, path: Path, origin: Origin) -> "DescriptorCodec":
        """Reads what `save` wrote; raises StaleFileError if it is of another origin."""
        arrays = load_arrays(path, origin)
        signals, stress_share = tuple(arrays["signals"].tolist()), float(arrays["stress_share"])
        return cls(**arrays | {"signals": signals, "stress_share": stress_share})


@dataclass(frozen=True)
class PlainCodec:
    """What the codecs below have in common: a wide prior that knows nothing of people.

    Args:
        signals: the n_signals names.
        window_seconds: length of a window, s.
        stress_share: share of stress in the study's protocol; public.
    """

    signals: tuple[str, ...]
    window_seconds: int
    stress_share: float = STRESS_SHARE

    prior_variances: ClassVar[tuple[float, float]] = (2.0, 2.0)
    variance: ClassVar[float] = 1.0  # of each coordinate in the prior

    @property
    def size(self) -> int:
        return len(self.signals)

    @property
    def means(self) -> np.ndarray:
        return np.zeros((2, self.size))

    @property
    def covariances(self) -> np.ndarray:
        return self.variance * np.stack([np.eye(self.size)] * 2)


class LevelCodec(PlainCodec):
    """A window is its signals' levels and white noise, and nothing else: a baseline."""

    variance = 0.25
    UNIT, NOISE = 0.2, 0.05  # public: a coordinate of 1, and the standard deviation of the seconds about a level

    def encode(self, values: np.ndarray) -> np.ndarray:
        return (values.mean(axis=1, dtype=float) - 0.5) / self.UNIT

    def decode(self, coordinates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = self.NOISE * rng.standard_normal((len(coordinates), self.window_seconds, self.size))
        return np.clip(0.5 + self.UNIT * coordinates[:, None] + noise, 0, 1).astype(np.float32)


class CopulaCodec(PlainCodec):
    """Each signal is a line with noise about it whose neighbouring seconds correlate: a baseline.

    Level, slope, spread and autocorrelation are brought to the whole line of numbers, and joined by a Gaussian copula.
    """

    @property
    def size(self) -> int:
        return 4 * len(self.signals)

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


class SecondCodec(PlainCodec):
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


def moments_of(coordinates: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of both classes (2, size), and the covariance within each (2, size, size)."""
    classes = [coordinates[labels == label] for label in (0, 1)]
    return np.stack([each.mean(axis=0) for each in classes]), np.stack([np.cov(each.T, bias=True) for each in classes])


_NORMAL = ndtri(np.clip(GRID, 0.002, 0.998))


def _interpolate(x: np.ndarray, known_x: np.ndarray, known_y: np.ndarray) -> np.ndarray:
    """Interpolates between increasing points, and extends the line through a tenth and nine tenths beyond the ends."""
    slope = (known_y[180] - known_y[20]) / (known_x[180] - known_x[20])
    beyond = np.maximum(x - known_x[-1], 0) + np.minimum(x - known_x[0], 0)
    return np.interp(x, known_x, known_y) + slope * beyond
