"""Donors: minutes that public people published, and how near each is to what a generator asks.

A synthetic minute is one donor's for all signals that move together, as a movement jolts them all; skin temperature and
heart rate are other people's, as a rule, so that no minute is one person's. The acceleration is a vector: donors are
compared by where gravity points and by how far it strays, never axis by axis. All of this is public.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wearsynth.features import DESCRIPTORS, describe
from wearsynth.windows import ACCELERATION, Windows, signal_names, warp, warped_ranges, window_starts

OF_THEIR_OWN = ("TEMP", "HR")  # signals that come from other people than the others
LEVEL_WEIGHT, MOVEMENT_WEIGHT, DIRECTION_WEIGHT = 0.5, 3.0, 2.0  # of a donor's distance; other descriptors count 1
LEAST_MOVEMENT = 1e-3  # g


class Acceleration(NamedTuple):
    """What minutes' acceleration is like.

    Args:
        direction: (n, 3), where gravity points, of length 1.
        movement: (n,), logarithm of how far the acceleration strays from its mean, g.
    """

    direction: np.ndarray
    movement: np.ndarray


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
        window_seconds: length of a minute, s.
    """

    signals: tuple[str, ...]
    seconds: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    people: np.ndarray
    window_seconds: int

    @classmethod
    def from_table(cls, table: pd.DataFrame, signals: str, window_seconds: int, hop_seconds: int) -> "Donors":
        """Cuts minutes from a 1 Hz table of public people; parameters as of `windows.make_windows`."""
        names = signal_names(signals)
        labelled = table[table["label"].notna()].reset_index(drop=True)
        starts = window_starts(labelled, window_seconds, hop_seconds)
        people = np.unique(labelled["subject"].to_numpy(str), return_inverse=True)[1]
        return cls(
            names,
            warp(labelled[list(names)].to_numpy(float), names).astype(np.float32),
            starts,
            labelled["label"].to_numpy(int)[starts],
            people[starts],
            window_seconds,
        )

    @classmethod
    def from_windows(cls, windows: Windows) -> "Donors":
        """Takes windows on the public scale for minutes of one person."""
        n_windows, window_seconds, n_signals = windows.values.shape
        low, high = warped_ranges(windows.signals)
        return cls(
            windows.signals,
            low + windows.values.reshape(-1, n_signals) * (high - low),
            window_seconds * np.arange(n_windows),
            windows.labels,
            np.zeros(n_windows, int),
            window_seconds,
        )

    @property
    def windows(self) -> Windows:
        """The minutes as worn, as windows on the public scale."""
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
        """The same on the public scale, float32 in [0, 1]."""
        return np.clip(self.scale(self.physical), 0, 1).astype(np.float32)

    def scale(self, seconds: np.ndarray) -> np.ndarray:
        """Brings seconds (..., n_signals) in physical units to the public scale, also what lies beyond 0 and 1."""
        low, high = warped_ranges(self.signals)
        return (seconds - low) / (high - low)

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """The inverse of `scale`."""
        low, high = warped_ranges(self.signals)
        return low + scaled * (high - low)

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

    def acceleration_of(self, wanted: np.ndarray) -> Acceleration:
        """The acceleration that descriptors (n, n_signals, len(DESCRIPTORS)) ask for."""
        low, high = (ends[self.acceleration] for ends in warped_ranges(self.signals))
        level, spread = wanted[:, self.acceleration, 0], np.exp(wanted[:, self.acceleration, 1])
        strays = np.log(np.linalg.norm(spread * (high - low), axis=1) + LEAST_MOVEMENT)
        return Acceleration(directions(low + level * (high - low)), strays)

    @cached_property
    def stretches(self) -> np.ndarray:
        """For each minute as worn the number of the stretch without a gap in which it lies."""
        return np.cumsum(np.diff(self.starts, prepend=0) >= self.window_seconds)

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
            acceleration = Acceleration(directions(gravity), movement(self.vectors))
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


def directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, 3) of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-3)


def movement(vectors: np.ndarray) -> np.ndarray:
    """Logarithm of how far acceleration (n, seconds, 3) strays from its mean, g."""
    return np.log(np.sqrt(vectors.var(axis=1).sum(axis=1)) + LEAST_MOVEMENT)


def _index(numbers: np.ndarray) -> Any:
    from sklearn.neighbors import NearestNeighbors  # takes a second to import

    return NearestNeighbors().fit(numbers)
