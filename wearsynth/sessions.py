"""Synthetic people: whole sessions second by second, in physical units, from what a generator knows of single minutes.

How minutes (windows' lengths) follow one another is public people's: the noise that a generator is given for a session
is made of the minutes of one of them in a row, as coordinates in which the prior is standard normal (a moving block
bootstrap, Künsch 1989, doi 10.1214/aos/1176347265). What the generator asks for is then made of stretches of public
people's sessions, as long as they fit; each is moved as a whole, by one shift, one gain and one turn, so that it keeps
its own course. All of this is public, and reads nothing but the prior and what a generator has learned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wearsynth.codecs import DescriptorCodec, moments_of
from wearsynth.donors import Acceleration, directions, movement, rotations
from wearsynth.generators import Generator
from wearsynth.releases import Moments
from wearsynth.studies import NO_CONDITION, Part
from wearsynth.windows import LOG_SIGNALS, unscale

LOOKED_AT = 60  # nearest donors of a minute, of whom some may not give theirs
CANDIDATES = 12  # nearest donors of a minute, among which the course through a session is looked for
SEAM = 8.0  # what going over to another stretch costs, where a donor's distance has a unit a descriptor
SAME_PERSON = 16.0  # what a donor costs who is the same person as that of the signals that move together
CENTRED = ("BVP",)  # signals that the wristband centres on 0: they have a gain, and no shift
SLOW = ("TEMP", "EDA")  # signals that do not jump
CHANGE = 300  # s from one condition to the next
MOST_GAIN, MOST_OF_MOVEMENT = 1.5, 0.7  # of a signal, and of the acceleration's movement, as logarithms
FLAT = 1e-4  # standard deviation on the public scale, below which a signal has no shape to stretch
BEYOND = 0.1  # of the public range, to either side, within which synthetic people stay, but for what is centred
FADE = 5  # s before and after a seam, in which one stretch fades into the next
LEAST_EDA = 0.05  # uS, of worn electrodes: people whose own lowest value is below have lost contact for a moment


@dataclass(frozen=True)
class Session:
    """What one person's session is to be, minute by minute and second by second; a minute is a window's length.

    Args:
        labels: (n_minutes,), classes; between two conditions that of the first.
        between: (n_minutes,), whether a minute lies between two conditions.
        table: one row a second: `time`, `condition`, `label`; it may end within the last minute.
    """

    labels: np.ndarray
    between: np.ndarray
    table: pd.DataFrame

    @classmethod
    def of(cls, schedule: tuple[Part, ...], person: int, window_seconds: int) -> "Session":
        """One person's session; every second person has all conditions but the first in the opposite order.

        Args:
            schedule: conditions, in order.
            person: number of the person.
            window_seconds: length of a minute, s.
        """
        first, *others = schedule
        between = Part(NO_CONDITION, CHANGE, label=-1)
        order = [first, *(others[::-1] if person % 2 else others)]
        parts = [part for condition in order for part in (condition, between)][:-1]
        before = [part.label for part in order for _ in range(2)][:-1]
        columns = zip(*((part.condition, part.label, label) for part, label in zip(parts, before)))
        conditions, labels, before = (np.repeat(column, [part.seconds for part in parts]) for column in columns)
        known = pd.array(np.where(labels >= 0, labels, None), "Int64")
        table = pd.DataFrame({"time": np.arange(len(conditions)), "condition": conditions, "label": known})
        middles = np.arange(window_seconds // 2, len(table) + window_seconds // 2, window_seconds)
        middles = np.minimum(middles, len(table) - 1)
        return cls(before[middles], labels[middles] < 0, table)

    def level_of(self, wanted: np.ndarray, values: np.ndarray) -> np.ndarray:
        """What has to be added to a signal's seconds for its level to be right over each condition.

        Args:
            wanted: (n_minutes,), levels.
            values: (n_minutes * window_seconds,), the signal.

        Returns:
            (n_minutes * window_seconds,): the same within a condition, and going over from one to the next.
        """
        length = len(values) // len(wanted)
        change = np.flatnonzero(np.diff(self.between, prepend=True, append=True))
        minutes, knots, shifts = np.arange(len(values)) // length, [], []
        for begin, end in change.reshape(-1, 2):
            inside = (minutes >= begin) & (minutes < end)
            knots += [begin * length, end * length - 1]
            shifts += 2 * [wanted[begin:end].mean() - values[inside].mean()]
        return np.interp(np.arange(len(values)), knots, shifts)

    def across(self, coordinates: np.ndarray) -> np.ndarray:
        """The same coordinates (n_minutes, size), but between two conditions on the way from one to the other."""
        minutes, known = np.arange(len(coordinates)), np.flatnonzero(~self.between)
        return np.stack([np.interp(minutes, known, column[known]) for column in coordinates.T], axis=1)


@dataclass(frozen=True)
class Sessions:
    """Makes sessions from a prior's public people.

    Args:
        codec: the prior.
    """

    codec: DescriptorCodec

    @cached_property
    def people(self) -> np.ndarray:
        """Numbers of the public people."""
        return np.unique(self.codec.donors.people)

    def draw(self, generator: Generator, session: Session, number: int, seed: int) -> np.ndarray:
        """Draws the seconds of one person, of stretches that two thirds of the public people give: so people differ.

        Args:
            generator: says what each minute is to be like.
            session: what the person's session is to be.
            number: of the person; each public person has their turn before one comes again.
            seed: of everything random.

        Returns:
            As `decode`.
        """
        rng, n_public = np.random.default_rng([seed, number, 0]), len(self.people)
        turn, place = divmod(number, n_public)
        person = np.random.default_rng([seed, turn, 1]).permutation(self.people)[place]
        givers = rng.choice(self.people, -(-2 * n_public // 3), replace=False)
        noise = self.noise(session.labels, person, rng)
        return self.decode(generator.coordinates(noise, session.labels), session, givers)

    def noise(self, labels: np.ndarray, person: int, rng: np.random.Generator) -> np.ndarray:
        """Draws a session's noise: minutes of a public person in a row.

        Args:
            labels: (n_minutes,), classes.
            person: number of the person.
            rng: chooses where in their session to begin.

        Returns:
            (n_minutes, size), standard normal in the prior.
        """
        donors = self.codec.donors
        begins, chosen = np.flatnonzero(np.diff(labels, prepend=-1)), []
        for begin, end in zip(begins, [*begins[1:], len(labels)]):
            of_label = donors.labels == (labels[begin] if labels[begin] in donors.labels else 0)
            own = np.flatnonzero(of_label & (donors.people == person))
            own = own if len(own) else np.flatnonzero(of_label)
            while len(chosen) < end:
                # From a stretch that lasts, if there is one; where it ends before, another one begins.
                lasting = self._lasting[own]
                minute = rng.choice(own[lasting >= min(end - len(chosen), lasting.max() // 2)])
                while minute >= 0 and len(chosen) < end:
                    chosen.append(minute)
                    minute = self._next[minute]
        return self._noise[chosen]

    def decode(self, coordinates: np.ndarray, session: Session, givers: np.ndarray | None = None) -> np.ndarray:
        """Makes a session of consecutive minutes.

        Args:
            coordinates: (n_minutes, size), as a generator gives them.
            session: what it is to be.
            givers: numbers of the public people whose stretches it may be made of; by default all.

        Returns:
            (n_seconds, n_signals), in physical units.
        """
        donors, wanted = self.codec.donors, self.codec.descriptors(session.across(coordinates))
        gives = np.isin(donors.people, self.people if givers is None else givers)
        acceleration = donors.acceleration_of(wanted) if donors.acceleration else None
        for signal in (donors.signals.index(name) for name in CENTRED if name in donors.signals):
            wanted[:, signal, 0] = 0.5  # the middle of the public range: 0
        together = self._path(donors.query(wanted, acceleration), donors.together, SEAM, gives)
        paths = {
            signal: self._path(wanted[:, signal] / unit, index, SEAM / 2, gives, others_than=together)
            for signal, (index, unit) in donors.alone.items()
        }
        scaled = np.zeros((len(wanted) * donors.window_seconds, len(donors.signals)))
        for signal in range(len(donors.signals)):
            if signal not in donors.acceleration:
                scaled[:, signal] = self._signal(paths.get(signal, together), signal, wanted[:, signal], session)
        seconds = donors.unscale(scaled)
        seconds[:, donors.acceleration] = 0
        if acceleration:
            for piece in self._pieces(together):
                seconds[piece.seconds, donors.acceleration] += piece.weight[:, None] * self._turned(piece, acceleration)
        return _physical(seconds[: len(session.table)], donors.signals)

    @cached_property
    def _noise(self) -> np.ndarray:
        """The minutes as worn, as coordinates that are standard normal within the classes.

        All classes share one covariance, or what is a person's own would become another thing from one to the next.
        """
        donors = self.codec.donors
        coordinates, known = self.codec.encode(donors.scaled[: len(donors.starts)]), np.unique(donors.labels)
        means, covariances = moments_of(coordinates, donors.labels, known)
        pooled = np.average(covariances, axis=0, weights=np.take(self.codec.shares, known))
        whitening = np.linalg.pinv(Moments(means, pooled[None]).factors[0], rcond=1e-3, hermitian=True)
        return (coordinates - means[np.searchsorted(known, donors.labels)]) @ whitening

    @cached_property
    def _next(self) -> np.ndarray:
        """For each donor the one that begins where it ends, or -1: as worn, and the other way round."""
        donors, n_starts = self.codec.donors, len(self.codec.donors.starts)
        hop = max(1, np.diff(donors.starts, append=np.inf).min())
        following = np.arange(n_starts) + max(1, round(donors.window_seconds / hop))
        inside = np.minimum(following, n_starts - 1)
        goes_on = (following < n_starts) & (donors.stretches[inside] == donors.stretches)
        return np.concatenate([np.where(goes_on, following + turn * n_starts, -1) for turn in range(donors.turns)])

    @cached_property
    def _lasting(self) -> np.ndarray:
        """For each minute as worn how many follow without a gap, itself included."""
        lasting = np.ones(len(self.codec.donors.starts), int)
        for minute in range(len(lasting) - 1, -1, -1):
            if self._next[minute] >= 0:
                lasting[minute] += lasting[self._next[minute]]
        return lasting

    def _path(
        self, query: np.ndarray, index: Any, seam: float, gives: np.ndarray, others_than: np.ndarray | None = None
    ) -> np.ndarray:
        """Donors for consecutive minutes: near what is wanted, and with few seams (Viterbi's algorithm).

        Args:
            query: (n_minutes, n_numbers), what donors are compared by.
            index: of the donors.
            seam: what going over to another stretch costs.
            gives: (n_starts,), which minutes may be taken.
            others_than: (n_minutes,), donors whose people are to be avoided.
        """
        people, following = self.codec.donors.people, self._next[: index.n_samples_fit_]
        near = index.kneighbors(query, min(LOOKED_AT, index.n_samples_fit_), return_distance=False)
        options, steps, costs = [], [], np.zeros(0)
        for minute, wanted in enumerate(query):
            # The nearest, and those with which a stretch goes on.
            given = near[minute][gives[near[minute] % len(gives)]][:CANDIDATES]
            given = given if len(given) else near[minute][:1]
            own = np.unique(np.concatenate([given, *(following[each] for each in options[-1:])]))
            own = own[own >= 0]
            distance = np.linalg.norm(index._fit_X[own] - wanted, axis=1)
            if others_than is not None:
                distance += SAME_PERSON * (people[own] == people[others_than[minute] % len(people)])
            if minute:
                through = costs[:, None] + seam * (following[options[-1]][:, None] != own)
                steps.append(through.argmin(axis=0))
                distance += through.min(axis=0)
            options.append(own)
            costs = distance
        best = int(costs.argmin())
        path = [options[-1][best]]
        for own, step in zip(options[-2::-1], steps[::-1]):
            best = step[best]
            path.append(own[best])
        return np.array(path[::-1])

    def _pieces(self, path: np.ndarray) -> Iterator["_Piece"]:
        """The stretches that a path is made of; each fades into the next."""
        donors = self.codec.donors
        length, n_minutes = donors.window_seconds, len(path)
        seams = 1 + np.flatnonzero(self._next[path[:-1]] != path[1:])
        for begin, end in zip([0, *seams], [*seams, n_minutes]):
            first, last = max(0, begin * length - FADE), min(n_minutes * length, end * length + FADE)
            seconds = np.arange(first, last)
            fading_in = (seconds + 0.5 - begin * length + FADE) / (2 * FADE) if begin else np.ones(len(seconds))
            fading_out = (end * length + FADE - seconds - 0.5) / (2 * FADE) if end < n_minutes else 1
            weight = np.clip(np.minimum(fading_in, fading_out), 0, 1)
            own = donors.around(path[begin], first - begin * length, last - begin * length)
            yield _Piece(slice(begin, end), slice(first, last), weight, path[begin:end], own)

    def _signal(self, path: np.ndarray, signal: int, wanted: np.ndarray, session: Session) -> np.ndarray:
        """One signal of a session (n_seconds,), on the public scale: each piece has one shift and one gain.

        What changes slowly goes on where the piece before has ended; its level is right over each condition.
        """
        slow, ends_at = self.codec.donors.signals[signal] in SLOW, 0.0
        values = np.zeros(len(path) * self.codec.donors.window_seconds)
        for piece in self._pieces(path):
            moved = self._with_gain(piece, signal, wanted[piece.minutes, 1])
            moved += ends_at - moved[: 2 * FADE].mean() if slow else wanted[piece.minutes, 0].mean()
            ends_at = moved[-2 * FADE :].mean()
            values[piece.seconds] += piece.weight * moved
        if slow:
            values += session.level_of(wanted[:, 0], values)
        return values if self.codec.donors.signals[signal] in CENTRED else _drawn_in(values)

    def _with_gain(self, piece: "_Piece", signal: int, spread: np.ndarray) -> np.ndarray:
        """A piece of one signal about its mean, with the gain that brings its spread to what is wanted."""
        donors = self.codec.donors
        known = donors.scaled[piece.donors, :, signal]
        deviation = np.log(np.maximum(known.std(axis=1), FLAT))
        gain = np.exp(np.clip((spread - deviation).mean(), -MOST_GAIN, MOST_GAIN)) if known.std() > FLAT else 1.0
        return gain * (donors.scale(piece.own)[:, signal] - known.mean())

    def _turned(self, piece: "_Piece", acceleration: Acceleration) -> np.ndarray:
        """A piece of acceleration, g: scaled about its mean, and turned as a whole."""
        donors = self.codec.donors
        known = donors.vectors[piece.donors]
        mean = known.mean(axis=(0, 1))
        gain = acceleration.movement[piece.minutes] - movement(known)
        gain = np.exp(np.clip(gain.mean(), -MOST_OF_MOVEMENT, MOST_OF_MOVEMENT))
        direction = acceleration.direction[piece.minutes].mean(axis=0)
        turn = rotations(mean[None], direction[None])[0]
        own = piece.own[:, donors.acceleration]
        moved = (mean + gain * (own - mean)) @ turn.T
        # Gravity stays 1 g, whatever the posture: the gain is of the movement alone.
        length = 1 + gain * (np.linalg.norm(own, axis=1, keepdims=True) - 1)
        return directions(moved) * length


def draw_people(generator: Generator, n_people: int, schedule: tuple[Part, ...], seed: int = 0) -> pd.DataFrame:
    """Draws synthetic people: each a session, second by second, in physical units.

    >>> from wearsynth.codecs import LevelCodec
    >>> from wearsynth.studies import WESAD
    >>> codec = LevelCodec(("EDA", "HR"), 60)
    >>> generator = Generator(codec, Moments(codec.means, codec.covariances))
    >>> table = draw_people(generator, 2, WESAD.read_schedule("baseline 3, stress 2"))
    >>> table["condition"].value_counts(sort=False).to_dict()
    {'baseline': 360, 'transient': 600, 'stress': 240}

    Args:
        generator: a trained one.
        n_people: how many.
        schedule: the study's conditions and their lengths, as of `Study.read_schedule`.
        seed: of everything random.

    Returns:
        A table such as `readers.read_table` makes of real people: `subject` ('syn01' ...), `time` (s), the signals
        in their units, `condition`, `label`; between conditions, 'transient' and no label.
    """
    codec, tables = generator.codec, []
    sessions = Sessions(codec) if isinstance(codec, DescriptorCodec) else None
    for number in range(n_people):
        session = Session.of(schedule, number, codec.window_seconds)
        draw = _loose_windows if sessions is None else sessions.draw
        signals = pd.DataFrame(draw(generator, session, number, seed), columns=list(codec.signals))
        table = pd.concat([session.table[["time"]], signals, session.table[["condition", "label"]]], axis=1)
        table.insert(0, "subject", f"syn{number + 1:02d}")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _loose_windows(generator: Generator, session: Session, number: int, seed: int) -> np.ndarray:
    """Seconds of loose windows in a row, of a codec that knows no people."""
    rng, signals = np.random.default_rng([seed, number]), generator.codec.signals
    noise = rng.standard_normal((len(session.labels), generator.codec.size))
    values = generator.codec.decode(generator.coordinates(noise, session.labels), rng)
    return unscale(values.reshape(-1, len(signals))[: len(session.table)], signals)


class _Piece(NamedTuple):
    """A stretch of a public person's session within a path.

    Args:
        minutes: which of the path's.
        seconds: which of the session's: the same and some more, where it fades in and out.
        weight: (n_seconds,), how much it counts there.
        donors: (n_minutes,), its donors.
        own: (n_seconds, n_signals), as recorded, in the units of `Donors.seconds`.
    """

    minutes: slice
    seconds: slice
    weight: np.ndarray
    donors: np.ndarray
    own: np.ndarray


def _drawn_in(values: np.ndarray) -> np.ndarray:
    """Bends what strays beyond the public range, so that it stays near."""
    inside = np.clip(values, 0, 1)
    return inside + BEYOND * np.tanh((values - inside) / BEYOND)


def _physical(seconds: np.ndarray, signals: tuple[str, ...]) -> np.ndarray:
    """Takes strengths back from their logarithm, and keeps skin conductance above 0."""
    for number, name in enumerate(signals):
        if name in LOG_SIGNALS:
            seconds[:, number] = np.exp(seconds[:, number])
        if name == "EDA":
            above = (seconds[:, number] - LEAST_EDA) / LEAST_EDA
            seconds[:, number] = LEAST_EDA * (1 + np.logaddexp(0, 4 * above) / 4)  # bends, and has no corner
    return seconds
