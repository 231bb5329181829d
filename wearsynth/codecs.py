"""What a window is in numbers: encoding, decoding, and the prior distribution of the numbers.

A window of a signal has a level, a spread, a slope, an extent above its level and below, and a roughness. Generators
learn the joint distribution of these *descriptors*, and nothing about single seconds: time courses come from donors.
Everything here is public. No codec looks at private people; that of most generators has its prior from public ones, or
from simulated ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import pandas as pd
from scipy.special import ndtri

from wearsynth.donors import Donors
from wearsynth.features import DESCRIPTORS, LEAST_SPREAD, describe
from wearsynth.provenance import Origin, load_arrays, save_arrays
from wearsynth.public import Cohort, find_cohort
from wearsynth.studies import WESAD, Study
from wearsynth.windows import SHARES, Windows, make_windows

HOPS = 10  # a window has in the prior's minutes: neighbours overlap by nine tenths
GRID = np.linspace(0, 1, 201)  # of quantiles
FARTHEST = 4.0  # coordinate: a standard normal's one in 30,000
MOST_WINDOWS = 8192  # that are encoded, or asked, at a time: those of a thousand people would fill the memory


class Codec(Protocol):
    """Windows of some signals and length <-> coordinates, and the prior of those.

    Args:
        signals: the n_signals names.
        shares: each class's share of the study's protocol; public.
        size: number of coordinates.
        means: (n_classes, size), prior means of the coordinates.
        covariances: (n_classes, size, size), prior covariances within each class.
        prior_variances: of what all classes' means have in common and of how each differs from that, about the prior
            means, where the covariance within the classes is 1: how far real people's means may lie from the prior's.
    """

    signals: tuple[str, ...]
    shares: tuple[float, ...]
    size: int
    means: np.ndarray
    covariances: np.ndarray
    prior_variances: tuple[float, float]

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Values (n, window_seconds, n_signals) in [0, 1] -> coordinates (n, size)."""


@dataclass(frozen=True)
class DescriptorCodec:
    """Descriptors, on a scale on which each is standard normal in the prior's people; time courses are donors'.

    Args:
        signals: the n_signals names.
        quantiles: (len(GRID), size) of the descriptors.
        means: (2, size)
        covariances: (n_classes, size, size), within each class.
        shares: each class's share of the study's protocol; public.
        donors: minutes of the prior's people.
    """

    signals: tuple[str, ...]
    quantiles: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    shares: tuple[float, ...]
    donors: Donors

    prior_variances: ClassVar[tuple[float, float]] = (0.2, 0.04)  # of public people and S2-S6, roughly

    @classmethod
    def from_table(
        cls, table: pd.DataFrame, signals: str, window_seconds: int, shares: tuple[float, ...] = SHARES
    ) -> "DescriptorCodec":
        """Takes the prior from a 1 Hz table of public people; private ones would be outside the guarantee.

        Args:
            table: as `readers.read_table` makes it.
            signals: as of `windows.make_windows`, like the next one.
            window_seconds: see there.
            shares: each class's share of the study's protocol; public.
        """
        longest = max(1, window_seconds // HOPS)
        hop = next(hop for hop in range(longest, 0, -1) if window_seconds % hop == 0)  # so that minutes go on
        donors = Donors.from_table(table, signals, window_seconds, hop)
        return cls.from_donors(donors, shares)

    @classmethod
    def from_windows(cls, windows: Windows, shares: tuple[float, ...] = SHARES) -> "DescriptorCodec":
        """Takes the prior from windows that are nobody's."""
        return cls.from_donors(Donors.from_windows(windows), shares)

    @classmethod
    def from_donors(cls, donors: Donors, shares: tuple[float, ...] = SHARES) -> "DescriptorCodec":
        """Describes the donors' minutes: their quantiles make the scale, their moments the prior.

        A class of which they have no minute has the moments of class 0.
        """
        descriptors = describe(donors.scaled).reshape(len(donors), -1)
        # Steps as small as these keep the quantiles of a descriptor apart that has the same value again and again.
        quantiles = np.quantile(descriptors, GRID, axis=0) + 1e-6 * GRID[:, None]
        coordinates = _to_normal(descriptors, quantiles)
        known = [label if label in donors.labels else 0 for label in range(len(shares))]
        means, covariances = moments_of(coordinates, np.tile(donors.labels, donors.turns), known)
        return cls(donors.signals, quantiles, means, covariances, shares, donors)

    def with_contrast(self, others: Windows) -> "DescriptorCodec":
        """The same prior, with contrasts between the classes halfway to those of other public people.

        What counts as stress differs from study to study: on S2 to S6, half of each is nearer than either. A class of
        which the donors have no minute differs from class 0 as with the others.
        """
        means, _ = moments_of(self.encode(others.values), others.labels, range(len(self.shares)))
        theirs, ours = means - means[0], self.means - self.means[0]
        known = np.isin(np.arange(len(self.shares)), self.donors.labels)
        contrasts = np.where(known[:, None], (ours + theirs) / 2, theirs)
        return replace(self, means=contrasts + self.shares @ (self.means - contrasts))

    @property
    def window_seconds(self) -> int:
        return self.donors.window_seconds

    @property
    def size(self) -> int:
        return self.quantiles.shape[1]

    @property
    def levels(self) -> np.ndarray:
        """Numbers of the coordinates that are levels."""
        return np.arange(0, self.size, len(DESCRIPTORS))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Values (n, window_seconds, n_signals) -> coordinates (n, size)."""
        parts = np.array_split(values, max(1, -(-len(values) // MOST_WINDOWS)))
        return np.concatenate([_to_normal(describe(part).reshape(len(part), -1), self.quantiles) for part in parts])

    def descriptors(self, coordinates: np.ndarray) -> np.ndarray:
        """Coordinates (n, size) -> descriptors (n, n_signals, len(DESCRIPTORS))."""
        columns = [_interpolate(column, _NORMAL, own) for column, own in zip(coordinates.T, self.quantiles.T)]
        return np.stack(columns, axis=1).reshape(len(coordinates), len(self.signals), -1)

    def save(self, path: Path, origin: Origin) -> None:
        """Writes the codec and its origin to an .npz file."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "donors"}
        of_donors = {f"donors_{field.name}": getattr(self.donors, field.name) for field in fields(self.donors)}
        save_arrays(path, origin, **own, **of_donors)

    @classmethod
    def load(cls, path: Path, origin: Origin) -> "DescriptorCodec":
        """Reads what `save` wrote; raises StaleFileError if it is of another origin."""
        arrays = load_arrays(path, origin)
        of_donors = {field.name: arrays.pop(f"donors_{field.name}") for field in fields(Donors)}
        signals, shares = (tuple(arrays[name].tolist()) for name in ("signals", "shares"))
        of_donors |= {"signals": signals, "window_seconds": int(of_donors["window_seconds"])}
        return cls(**arrays | {"signals": signals, "shares": shares, "donors": Donors(**of_donors)})


@dataclass(frozen=True)
class PlainCodec:
    """What the codecs below have in common: a wide prior that knows nothing of people, and windows without donors.

    Args:
        signals: the n_signals names.
        window_seconds: length of a window, s.
        shares: each class's share of the study's protocol; public.
    """

    signals: tuple[str, ...]
    window_seconds: int
    shares: tuple[float, ...] = SHARES

    prior_variances: ClassVar[tuple[float, float]] = (2.0, 2.0)
    variance: ClassVar[float] = 1.0  # of each coordinate in the prior

    @property
    def size(self) -> int:
        return len(self.signals)

    @property
    def means(self) -> np.ndarray:
        return np.zeros((len(self.shares), self.size))

    @property
    def covariances(self) -> np.ndarray:
        return self.variance * np.stack([np.eye(self.size)] * len(self.shares))


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


def make_prior(
    cohort: Cohort, signals: str, window_seconds: int, study: Study = WESAD, positive: float = 0.0
) -> DescriptorCodec:
    """Makes the prior that generators start from.

    Args:
        cohort: whom it comes from.
        signals: as of `windows.make_windows`, like the next one.
        window_seconds: see there.
        study: says what classes there are. A condition that it does not know counts as in the cohort's own study.
        positive: as of `Study.shares`.
    """
    own = DescriptorCodec.from_table(_of_classes(cohort, study), signals, window_seconds, study.shares(positive))
    if not cohort.files:
        return own
    simulated = _of_classes(find_cohort("simulated"), study)
    return own.with_contrast(make_windows(simulated, signals, "public", window_seconds, window_seconds))


def _of_classes(cohort: Cohort, study: Study) -> pd.DataFrame:
    """A cohort's table with the labels of a study."""
    table = cohort.table()
    return table.assign(label=study.label(table["condition"]).fillna(table["label"]))


def moments_of(coordinates: np.ndarray, labels: np.ndarray, classes: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """Means of classes (n_classes, size), and the covariance within each (n_classes, size, size)."""
    classes = [coordinates[labels == label] for label in classes]
    return np.stack([each.mean(axis=0) for each in classes]), np.stack([np.cov(each.T, bias=True) for each in classes])


def _to_normal(descriptors: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Brings descriptors (n, size) to the scale on which the prior's are standard normal."""
    columns = [_interpolate(column, own, _NORMAL) for column, own in zip(descriptors.T, quantiles.T)]
    return np.clip(np.stack(columns, axis=1), -FARTHEST, FARTHEST)


_NORMAL = ndtri(np.clip(GRID, 0.002, 0.998))


def _interpolate(x: np.ndarray, known_x: np.ndarray, known_y: np.ndarray) -> np.ndarray:
    """Interpolates between increasing points, and extends the line through a tenth and nine tenths beyond the ends."""
    slope = (known_y[180] - known_y[20]) / (known_x[180] - known_x[20])
    beyond = np.maximum(x - known_x[-1], 0) + np.minimum(x - known_x[0], 0)
    return np.interp(x, known_x, known_y) + slope * beyond
