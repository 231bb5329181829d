"""Donors: minutes that public people published, moved to what a generator asks by the symmetries of sensor and body.

A synthetic window is one donor's minute for all signals that move together, as a movement jolts them all; skin
temperature and heart rate are other people's, as a rule, so that no window is one person's minute. Signals are moved in
physical units: the acceleration is a vector, turned so that gravity points where it should and scaled as one, never
axis by axis; the others get another level and another gain. All of this is public: it reads the donors, and what a
generator has drawn.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wearsynth.features import DESCRIPTORS, describe
from wearsynth.windows import SIGNAL_SETS, Windows, person_ranges, warp, window_starts

ACCELERATION = ("ACC_x", "ACC_y", "ACC_z")
OF_THEIR_OWN = ("TEMP", "HR")  # signals that come from other people than the others
NEAREST = 3  # donors that come into question for a window
LOOKED_AT = 30  # donors among which there is somebody else, as a rule: neighbours overlap, and so are near
WEARERS = 8  # people of whom one's range gives the acceleration its size
LEVEL_WEIGHT, MOVEMENT_WEIGHT, DIRECTION_WEIGHT = 0.5, 3.0, 2.0  # of a donor's distance; other descriptors count 1
MOST_GAIN = 0.7  # of the acceleration's movement, as a logarithm
LEAST_MOVEMENT = 1e-3  # g
FLAT = 1e-4  # standard deviation on the scale from 0 to 1, below which a signal has no shape to stretch


class Acceleration(NamedTuple):
    """What a window's acceleration is to be like, in g.

    Args:
        direction: (n, 3), where gravity points, of length 1.
        movement: (n,), logarithm of how far the acceleration strays from its mean.
        low, width: (n, 3), the wearer's range: where 0 lies, and how far it is to 1.
    """

    direction: np.ndarray
    movement: np.ndarray
    low: np.ndarray
    width: np.ndarray


@dataclass(frozen=True)
class Donors:
    """Minutes of public people, in physical units (strengths as logarithms, as `windows.warp` has them).

    Each stands for two where there is acceleration: as it is, and with the watch turned by half a turn, so that x and y
    change sign. Which way round a study's watches are worn needs no look at its people then.

    Args:
        signals: the n_signals names.
        seconds: (n_seconds, n_signals), one after the other.
        starts: (n,), where a minute begins.
        labels: (n,), 1 stress, 0 not.
        people: (n,), numbers of whose it is.
        low: (n_people, n_signals), where 0 lies for each person on the scale of windows.
        high: (n_people, n_signals), where 1 lies.
        window_seconds: length of a minute, s.
    """

    signals: tuple[str, ...]
    seconds: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    people: np.ndarray
    low: np.ndarray
    high: np.ndarray
    window_seconds: int

    @classmethod
    def from_table(
        cls, table: pd.DataFrame, signals: str, scaling: str, window_seconds: int, hop_seconds: int
    ) -> "Donors":
        """Cuts minutes from a 1 Hz table of public people; parameters as of `windows.make_windows`."""
        names = SIGNAL_SETS[signals]
        labelled = table[table["label"].notna()].reset_index(drop=True)
        starts = window_starts(labelled, window_seconds, hop_seconds)
        subjects, people = np.unique(labelled["subject"].to_numpy(str), return_inverse=True)
        low, high = person_ranges(labelled, names, scaling)
        return cls(
            names,
            warp(labelled[list(names)].to_numpy(float), names).astype(np.float32),
            starts,
            labelled["label"].to_numpy(int)[starts],
            people[starts],
            low.loc[subjects].to_numpy(),
            high.loc[subjects].to_numpy(),
            window_seconds,
        )

    @classmethod
    def from_windows(cls, windows: Windows) -> "Donors":
        """Takes windows on the scale from 0 to 1 for minutes in physical units, of one person."""
        n_windows, window_seconds, n_signals = windows.values.shape
        return cls(
            windows.signals,
            windows.values.reshape(-1, n_signals),
            window_seconds * np.arange(n_windows),
            windows.labels,
            np.zeros(n_windows, int),
            np.zeros((1, n_signals)),
            np.ones((1, n_signals)),
            window_seconds,
        )

    @property
    def windows(self) -> Windows:
        """The minutes as worn, as windows on the scale from 0 to 1."""
        as_worn = self.scaled[: len(self.starts)]
        return Windows(as_worn, self.labels, self.people.astype(str), self.signals)

    @property
    def turns(self) -> int:
        """How many ways round each minute stands for."""
        return 2 if self.acceleration else 1

    def __len__(self) -> int:
        return self.turns * len(self.starts)

    @cached_property
    def physical(self) -> np.ndarray:
        """All minutes in physical units, (len(self), window_seconds, n_signals), float32."""
        minutes = self.seconds[self.starts[:, None] + np.arange(self.window_seconds)]
        return minutes if self.turns == 1 else np.concatenate([minutes, minutes * self._half_turn])

    @cached_property
    def scaled(self) -> np.ndarray:
        """The same on the scale from 0 to 1, each by the range of whose it is, float32."""
        low, high = self.ranges
        width = np.where(high > low, high - low, 1)
        scaled = (self.physical - low[self._wearers][:, None]) / width[self._wearers][:, None]
        return np.clip(scaled, 0, 1).astype(np.float32)

    def move(self, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Chooses a donor for each window and moves it to the descriptors that are wanted.

        Args:
            wanted: (n, n_signals, len(DESCRIPTORS)), as `features.describe` gives them.
            rng: chooses among the nearest donors, and the wearers.

        Returns:
            (n, window_seconds, n_signals), float32 in [0, 1].
        """
        acceleration = self._acceleration_of(wanted, rng) if self.acceleration else None
        query = self.query(wanted, acceleration)
        donors = _one_of(self.together.kneighbors(query, return_distance=False), rng)
        values = self.scaled[donors].astype(float)
        for signal in self._of_their_own:
            values[..., signal] = self.scaled[self._somebody_else(donors, signal, wanted[:, signal], rng), :, signal]
        moved = _with_level_and_gain(values, wanted[..., 0], np.exp(wanted[..., 1]))
        if acceleration:
            vectors = self._turned(donors, acceleration)
            scaled = (vectors - acceleration.low[:, None]) / acceleration.width[:, None]
            moved[..., self.acceleration] = _drawn_in(scaled, together=True)
        # What is drawn in ends at 0 or 1, and not a rounding error beside, which differs from one process to the next.
        return moved.round(7).astype(np.float32)

    def scale(self, donor: int, seconds: np.ndarray) -> np.ndarray:
        """Brings seconds of a donor's person, in physical units, to the scale where that person's range is 0 to 1."""
        low, high = (ends[self._wearers[donor]] for ends in self.ranges)
        return (seconds - low) / np.where(high > low, high - low, 1)

    def around(self, donor: int, first: int, last: int) -> np.ndarray:
        """Seconds `first` to `last` of a donor's recording, counted from where its minute begins, in physical units.

        Where the recording has ended, or has a gap, it is mirrored there.
        """
        number = donor % len(self.starts)
        stretch = np.flatnonzero(self.stretches == self.stretches[number])
        begin, end = self.starts[stretch[0]], self.starts[stretch[-1]] + self.window_seconds
        around = (self.starts[number] + np.arange(first, last) - begin) % (2 * (end - begin))
        seconds = self.seconds[begin + np.minimum(around, 2 * (end - begin) - 1 - around)].astype(float)
        return seconds * self._half_turn if donor >= len(self.starts) else seconds

    def worn_by(self, person: int, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, Acceleration | None]:
        """What is wanted of a session's minutes, if a public person wears the watch, whichever way round fits.

        Args:
            person: number of the person.
            wanted: (n, n_signals, len(DESCRIPTORS)), as `features.describe` gives them.

        Returns:
            Where 0 and 1 lie for the person, (n_signals,) each, and the acceleration that is wanted, if there is any.
        """
        low, high = (ends[person :: len(self.low)] for ends in self.ranges)
        if not self.acceleration:
            return low[0].copy(), high[0].copy(), None
        axes = self.acceleration
        gravity = low[:, None, axes] + wanted[None, :, axes, 0] * (high - low)[:, None, axes]
        way = np.abs(np.linalg.norm(gravity, axis=2) - 1).mean(axis=1).argmin()
        own = (np.broadcast_to(ends[way, axes], gravity[way].shape) for ends in (low, high - low))
        return low[way].copy(), high[way].copy(), self._within(wanted, *own)

    @cached_property
    def stretches(self) -> np.ndarray:
        """For each minute as worn the number of the stretch without a gap in which it lies."""
        return np.cumsum(np.diff(self.starts, prepend=0) >= self.window_seconds)

    @cached_property
    def _wearers(self) -> np.ndarray:
        """Whose range each donor has, (len(self),): a person has one for each way round."""
        return np.concatenate([self.people + turn * len(self.low) for turn in range(self.turns)])

    @property
    def acceleration(self) -> list[int]:
        """Numbers of the acceleration's signals; none where one of the axes is missing."""
        if not {*ACCELERATION} <= {*self.signals}:
            return []
        return [self.signals.index(name) for name in ACCELERATION]

    @property
    def _of_their_own(self) -> list[int]:
        return [self.signals.index(name) for name in OF_THEIR_OWN if name in self.signals]

    @property
    def _half_turn(self) -> np.ndarray:
        signs = np.ones(len(self.signals), np.float32)
        signs[self.acceleration[:2]] = -1
        return signs

    @cached_property
    def ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Ranges of everybody, each way round."""
        if self.turns == 1:
            return self.low, self.high
        low, high = np.stack([self.low * self._half_turn, self.high * self._half_turn])
        return np.concatenate([self.low, np.minimum(low, high)]), np.concatenate([self.high, np.maximum(low, high)])

    @cached_property
    def _described(self) -> np.ndarray:
        return describe(self.scaled)

    @cached_property
    def vectors(self) -> np.ndarray:
        """Acceleration of all minutes, (len(self), window_seconds, 3), g."""
        return self.physical[..., self.acceleration].astype(float)

    @cached_property
    def _unit(self) -> np.ndarray:
        """What each number of a query is divided by, times its weight."""
        others = [number for number in range(len(self.signals)) if number not in self.acceleration]
        weights = np.tile([LEVEL_WEIGHT, *[1.0] * (len(DESCRIPTORS) - 1)], len(others))
        spread = self._described[:, others].reshape(len(self), -1).std(axis=0)
        if self.acceleration:
            weights, spread = np.append(weights, MOVEMENT_WEIGHT), np.append(spread, movement(self.vectors).std())
        return (spread + 1e-6) / weights

    @cached_property
    def together(self) -> Any:
        """Index of donors for all signals that move together."""
        acceleration = None
        if self.acceleration:
            gravity = self.vectors.mean(axis=1)
            acceleration = Acceleration(directions(gravity), movement(self.vectors), gravity, gravity)
        return _index(self.query(self._described, acceleration))

    @cached_property
    def alone(self) -> dict[int, tuple[Any, np.ndarray]]:
        """For each signal with donors of its own their index, and what a query is divided by."""
        weights = np.array([LEVEL_WEIGHT, *[1.0] * (len(DESCRIPTORS) - 1)])
        as_worn = self._described[: len(self.starts)]  # the other way round these signals are the same
        scales = {signal: (as_worn[:, signal].std(axis=0) + 1e-6) / weights for signal in self._of_their_own}
        return {signal: (_index(as_worn[:, signal] / scale), scale) for signal, scale in scales.items()}

    def query(self, descriptors: np.ndarray, acceleration: Acceleration | None) -> np.ndarray:
        """What donors are compared by: descriptors of all signals but acceleration, and its movement and direction."""
        others = [number for number in range(len(self.signals)) if number not in self.acceleration]
        numbers = descriptors[:, others].reshape(len(descriptors), -1)
        if acceleration is None:
            return numbers / self._unit
        numbers = np.column_stack([numbers, acceleration.movement]) / self._unit
        return np.hstack([numbers, DIRECTION_WEIGHT * acceleration.direction])

    def _somebody_else(
        self, donors: np.ndarray, signal: int, wanted: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """For each donor one of another person, if there is one, near what is wanted of a signal (n, n_descriptors)."""
        index, scale = self.alone[signal]
        near = index.kneighbors(wanted / scale, min(LOOKED_AT, len(self.starts)), return_distance=False)
        own = self.people[donors % len(self.starts)][:, None]
        others_first = np.argsort(self.people[near] == own, axis=1, kind="stable")
        return _one_of(np.take_along_axis(near, others_first, axis=1)[:, :NEAREST], rng)

    def _acceleration_of(self, wanted: np.ndarray, rng: np.random.Generator) -> Acceleration:
        """The acceleration that is wanted, by that public person's range under which gravity is nearest to 1 g."""
        low, high = (ends[:, self.acceleration] for ends in self.ranges)
        candidates = rng.integers(len(low), size=(len(wanted), WEARERS))
        gravity = low[candidates] + wanted[:, None, self.acceleration, 0] * (high - low)[candidates]
        best = np.abs(np.linalg.norm(gravity, axis=2) - 1).argmin(axis=1)
        wearer = candidates[np.arange(len(wanted)), best]
        return self._within(wanted, low[wearer], (high - low)[wearer])

    def _within(self, wanted: np.ndarray, low: np.ndarray, width: np.ndarray) -> Acceleration:
        """The acceleration that is wanted, by the range of whoever wears the watch, (n, 3) each."""
        level, spread = wanted[:, self.acceleration, 0], np.exp(wanted[:, self.acceleration, 1])
        strays = np.log(np.linalg.norm(spread * width, axis=1) + LEAST_MOVEMENT)
        return Acceleration(directions(low + level * width), strays, low, width)

    def _turned(self, donors: np.ndarray, acceleration: Acceleration) -> np.ndarray:
        """The donors' acceleration, scaled about its mean and turned as wanted, (n, window_seconds, 3), g."""
        vectors = self.vectors[donors]
        mean = vectors.mean(axis=1, keepdims=True)
        gain = np.exp(np.clip(acceleration.movement - movement(vectors), -MOST_GAIN, MOST_GAIN))
        scaled = mean + (vectors - mean) * gain[:, None, None]
        return np.einsum("nij,ntj->nti", rotations(scaled.mean(axis=1), acceleration.direction), scaled)


def rotations(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Rotations that turn directions to others: (n, 3), (n, 3) -> (n, 3, 3).

    By Rodrigues' formula the smallest one; it divides by 1 + cosine, so beyond a right angle half a turn comes first.
    """
    start, end = directions(start), directions(end)
    across = directions(np.cross(start, np.where(np.abs(start[:, :1]) < 0.8, [[1.0, 0, 0]], [[0, 1.0, 0]])))
    beyond = (start * end).sum(axis=1) < 0
    first = np.where(beyond[:, None, None], 2 * across[:, :, None] * across[:, None] - np.eye(3), np.eye(3))
    start = np.where(beyond[:, None], -start, start)
    (x, y, z), cosine = np.cross(start, end).T, (start * end).sum(axis=1)
    zero = np.zeros(len(start))
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    return (np.eye(3) + skew + skew @ skew / (1 + cosine)[:, None, None]) @ first


def _one_of(candidates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of each row's."""
    return candidates[np.arange(len(candidates)), rng.integers(candidates.shape[1], size=len(candidates))]


def directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, 3) of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-3)


def movement(vectors: np.ndarray) -> np.ndarray:
    """Logarithm of how far acceleration (n, seconds, 3) strays from its mean, g."""
    return np.log(np.sqrt(vectors.var(axis=1).sum(axis=1)) + LEAST_MOVEMENT)


def _with_level_and_gain(values: np.ndarray, level: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Gives each signal (n, seconds, signals) a mean and a standard deviation (n, signals), and keeps it in [0, 1]."""
    mean, deviation = values.mean(axis=1, keepdims=True), values.std(axis=1, keepdims=True)
    gain = np.where(deviation > FLAT, spread[:, None] / np.maximum(deviation, FLAT), 1)
    return _drawn_in(np.clip(level, 0, 1)[:, None] + (values - mean) * gain, together=False)


def _drawn_in(values: np.ndarray, together: bool) -> np.ndarray:
    """Draws in what leaves [0, 1], above and below the mean by a factor each: cut off, it would leave flat stretches.

    Args:
        values: (n, seconds, signals).
        together: whether all signals are drawn in alike, as a vector.
    """
    mean = values.mean(axis=1, keepdims=True)
    middle, difference = np.clip(mean, 0, 1), values - mean
    factors = []
    for side, room in ((difference, 1 - middle), (-difference, middle)):
        factor = np.minimum(1, room / np.maximum(side.max(axis=1, keepdims=True), 1e-9))
        factors.append(factor.min(axis=2, keepdims=True) if together else factor)
    return np.clip(middle + difference * np.where(difference > 0, *factors), 0, 1)


def _index(numbers: np.ndarray) -> Any:
    from sklearn.neighbors import NearestNeighbors  # takes a second to import

    return NearestNeighbors(n_neighbors=min(NEAREST, len(numbers))).fit(numbers)
