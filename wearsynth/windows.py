"""1 Hz table -> windows (n_windows, window_seconds, n_signals) in [0, 1], and back to a table."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from wearsynth.provenance import Origin, load_arrays, save_arrays
from wearsynth.studies import WESAD

PUBLISHED = ("BVP", "EDA", "ACC_x", "ACC_y", "ACC_z", "TEMP")
EXTENDED = (*PUBLISHED, "HR", "BVP_amplitude", "ACC_movement")
SIGNAL_SETS = {"published": PUBLISHED, "extended": EXTENDED}
ACCELERATION = ("ACC_x", "ACC_y", "ACC_z")
LEAST_SIGNALS = 2  # how they go together is a part of what is learned and tested
SCALINGS = ("subject", "enrolment", "public")
MIN_SECONDS = 12  # of a window: shorter ones hardly have a shape in time

DEVIATIONS = 4.0  # from a person's mean, which lies at 0.5, to 0 and 1
ENROLMENT = 300  # s at rest, from which a person's means are known before anything is to be detected

# Bounds that need no look at anybody's recording, in the signals' own units. Values outside are clipped. Generators
# learn windows on this scale, whatever that of detectors.
PUBLIC_RANGES = {
    "BVP": (-50.0, 50.0),  # a.u.; the wristband centres it on 0; below 0.5 Hz little is left but motion
    "EDA": (0.0, 20.0),  # uS; skin conductance levels of adults: 2-20 uS (Dawson, Schell and Filion 2007)
    "ACC_x": (-1.2, 1.2),  # g; gravity along one axis, and some movement
    "ACC_y": (-1.2, 1.2),
    "ACC_z": (-1.2, 1.2),
    "TEMP": (26.0, 38.0),  # degrees C; the wrist's skin indoors, up to the body's core
    "HR": (40.0, 160.0),  # beats a minute; adults from deep rest to brisk effort
    "BVP_amplitude": (2.0, 400.0),  # a.u.; on a log scale, from a barely seen pulse to a strong one with movement
    "ACC_movement": (
        0.002,
        1.0,
    ),  # g; on a log scale, from half a step of the sensor (1/64 g) over many samples to shaking
}
LOG_SIGNALS = ("BVP_amplitude", "ACC_movement")  # strengths: their ratios carry the meaning, and bursts span decades
SHARES = WESAD.shares()  # of the classes; public: what the people at hand really sat through is private


@dataclass(frozen=True)
class Windows:
    """Scaled windows with what is known of each.

    Args:
        values: (n_windows, window_seconds, n_signals), float32 in [0, 1].
        labels: (n_windows,), 1 stress, or whatever the study looks for, 0 not; 2 a third class.
        subjects: (n_windows,), such as 'S2'.
        signals: the n_signals names, in order.
        classes: what they are called: their conditions.
    """

    values: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    signals: tuple[str, ...]
    classes: tuple[str, ...] = ("no stress", "stress")

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, chosen: np.ndarray) -> "Windows":
        """Chosen windows, by a mask or by indices."""
        return replace(self, values=self.values[chosen], labels=self.labels[chosen], subjects=self.subjects[chosen])

    def of(self, *subjects: str) -> "Windows":
        """The windows of one subject, or of several."""
        return self[np.isin(self.subjects, subjects)]

    def without(self, subject: str) -> "Windows":
        """The windows of everybody else; of all, where nobody is called that."""
        return self[self.subjects != subject]

    @property
    def people(self) -> list[str]:
        """Whose windows these are, in order."""
        return list(dict.fromkeys(self.subjects))

    def n_units(self, unit: str) -> int:
        """How many there are of what is protected: windows, or under unit 'subject' people."""
        return len(self) if unit == "window" else len(np.unique(self.subjects))

    def save(self, path: Path, origin: Origin) -> None:
        """Writes the windows and their origin to an .npz file."""
        save_arrays(path, origin, **vars(self))

    @classmethod
    def load(cls, path: Path, origin: Origin) -> "Windows":
        """Reads what `save` wrote; raises StaleFileError if it is of another origin."""
        arrays = load_arrays(path, origin)
        return cls(**arrays | {name: tuple(arrays[name].tolist()) for name in ("signals", "classes")})


def concatenate(parts: list[Windows]) -> Windows:
    """Returns the parts' windows behind one another; their signals must be the same."""
    if len({part.signals for part in parts}) != 1:
        raise ValueError(f"signals differ: {[part.signals for part in parts]}")
    joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "labels", "subjects"))
    return Windows(*joined, parts[0].signals, parts[0].classes)


def make_windows(table: pd.DataFrame, signals: str, scaling: str, window_seconds: int, hop_seconds: int) -> Windows:
    """Scales a 1 Hz table and cuts it into windows that lie within one condition and straddle no gap.

    >>> from wearsynth.simulation import simulate_table
    >>> windows = make_windows(simulate_table(n_subjects=1, seed=0), "published", "public", 60, 60)
    >>> windows.values.shape, windows.signals
    ((36, 60, 6), ('BVP', 'EDA', 'ACC_x', 'ACC_y', 'ACC_z', 'TEMP'))

    Args:
        table: as `readers.read_table` makes it; rows without a label are left out.
        signals: as of `signal_names`.
        scaling: 'subject', by each person's own mean and standard deviation over the labelled rows; 'enrolment', about
            each person's mean over the first ENROLMENT seconds of class 0, which are in no window; 'public', by fixed
            bounds.
        window_seconds: length of a window, s.
        hop_seconds: from one window's start to the next one's, s.

    Returns:
        The windows, in the table's order.

    Raises:
        ValueError: an argument is out of its range, a signal is missing or infinite, somebody's enrolment is too short,
            or there is no window at all.
    """
    check(signals, scaling, window_seconds, hop_seconds)
    names = signal_names(signals)
    absent = [name for name in names if name not in table]
    if absent:
        raise ValueError(f"signals={signals!r}: the table has no {', '.join(absent)}")
    labelled = table[table["label"].notna()].reset_index(drop=True)
    missing = labelled.loc[~np.isfinite(labelled[list(names)]).all(axis=1), "subject"]
    if len(missing):
        raise ValueError(f"{missing.iloc[0]}: a signal is missing or infinite in {len(missing)} labelled seconds")
    values = scale(labelled, names, scaling)
    if scaling == "enrolment":
        later = ~enrolled(labelled)
        values, labelled = values[later], labelled[later].reset_index(drop=True)
    starts = window_starts(labelled, window_seconds, hop_seconds)
    return Windows(
        values[starts[:, None] + np.arange(window_seconds)],
        labelled["label"].to_numpy(dtype=int)[starts],
        labelled["subject"].to_numpy(dtype=str)[starts],
        names,
        class_names(labelled),
    )


def class_names(table: pd.DataFrame) -> tuple[str, ...]:
    """What the classes of a 1 Hz table are called: 'baseline and amusement', 'stress'."""
    labels = range(max(2, 1 + table["label"].max()))
    return tuple(" and ".join(table.loc[table["label"] == label, "condition"].unique()) for label in labels)


def indicators(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Labels (n,) as numbers that a network takes, (n, n_classes - 1) float32: whether it is 1, whether it is 2."""
    return (labels[:, None] == np.arange(1, n_classes)).astype(np.float32)


def signal_names(signals: str) -> tuple[str, ...]:
    """Reads which signals are meant.

    >>> signal_names("HR,EDA")
    ('EDA', 'HR')

    Args:
        signals: 'published' (six), 'extended' (nine), or LEAST_SIGNALS or more names with commas between.

    Raises:
        ValueError: something else.
    """
    if signals in SIGNAL_SETS:
        return SIGNAL_SETS[signals]
    given = signals.split(",")
    if not {*given} <= {*EXTENDED} or not LEAST_SIGNALS <= len({*given}) == len(given):
        sets = " or ".join(map(repr, SIGNAL_SETS))
        raise ValueError(
            f"signals={signals!r}: expected {sets}, or {LEAST_SIGNALS} or more of {', '.join(EXTENDED)} with commas "
            "between, each once"
        )
    return tuple(name for name in EXTENDED if name in given)


def signals_of(table: pd.DataFrame, signals: str) -> str:
    """Returns which of a set's signals a 1 Hz table has; names that are given one by one stay as they are."""
    names = signal_names(signals)
    if signals not in SIGNAL_SETS or {*names} <= {*table}:
        return signals
    return ",".join(name for name in names if name in table)


def check(signals: str, scaling: str, window_seconds: int, hop_seconds: int) -> None:
    """Raises ValueError for settings that `make_windows` does not know."""
    signal_names(signals)
    if scaling not in SCALINGS:
        raise ValueError(f"scaling={scaling!r}: expected {' or '.join(map(repr, SCALINGS))}")
    for name, value, least in (("window_seconds", window_seconds, MIN_SECONDS), ("hop_seconds", hop_seconds, 1)):
        if value < least:
            raise ValueError(f"{name}={value}: expected a whole number of seconds, at least {least}")


def scale(table: pd.DataFrame, signals: tuple[str, ...], scaling: str) -> np.ndarray:
    """Scales the rows of a 1 Hz table to [0, 1].

    Returns:
        (n_rows, n_signals), float32. A signal that never changes in a person becomes 0.
    """
    values = warp(table[list(signals)].to_numpy(float), signals)
    low, high = (ends.loc[table["subject"]].to_numpy() for ends in person_ranges(table, signals, scaling))
    return np.clip((values - low) / np.where(high > low, high - low, 1), 0, 1).astype(np.float32)


def person_ranges(table: pd.DataFrame, signals: tuple[str, ...], scaling: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Where 0 and 1 lie for each person: a row a person, a column a signal, on the scale of `warp`."""
    if scaling == "enrolment":
        table = table[enrolled(table)]
    by_subject = pd.DataFrame(warp(table[list(signals)].to_numpy(float), signals)).groupby(table["subject"].to_numpy())
    low, high = by_subject.mean(), by_subject.mean()
    bounds = warped_ranges(signals)
    if scaling == "public":
        low[:], high[:] = bounds
        return low, high
    reach = DEVIATIONS * by_subject.std(ddof=0) if scaling == "subject" else (bounds[1] - bounds[0]) / 2
    return low - reach, high + reach


def enrolled(labelled: pd.DataFrame) -> pd.Series:
    """Which of the labelled rows are the first ENROLMENT seconds of class 0 of a person.

    Raises:
        ValueError: somebody has no more of them than that.
    """
    rest = labelled["label"].eq(0)
    seconds = rest.groupby(labelled["subject"], sort=False).sum()
    if (seconds <= ENROLMENT).any():
        person = seconds.index[seconds <= ENROLMENT][0]
        raise ValueError(
            f"scaling='enrolment': {person} has {seconds[person]:.0f} s of {class_names(labelled)[0]!r}, and the first "
            f"{ENROLMENT} s tell where a person's signals lie; choose 'subject' or 'public'"
        )
    return rest & (rest.groupby(labelled["subject"]).cumsum() <= ENROLMENT)


def unscale(values: np.ndarray, signals: tuple[str, ...]) -> np.ndarray:
    """Gives values in [0, 1] their physical units, from the public ranges and so from nobody's own.

    Args:
        values: (..., n_signals) in [0, 1].
        signals: the n_signals names.

    Returns:
        (..., n_signals), in the signals' units.
    """
    low, high = warped_ranges(signals)
    physical = low + values * (high - low)
    logged = np.isin(signals, LOG_SIGNALS)
    return np.where(logged, np.exp(np.where(logged, physical, 0)), physical)


def most_windows_per_second(window_seconds: int, hop_seconds: int) -> int:
    """Returns how many windows can share one second of signal."""
    return -(-window_seconds // hop_seconds)


def window_starts(labelled: pd.DataFrame, window_seconds: int, hop_seconds: int) -> np.ndarray:
    """Row numbers at which a window starts: every hop within each stretch of one condition without a gap.

    Raises:
        ValueError: there is none.
    """
    starts = np.array(list(_starts(labelled, window_seconds, hop_seconds)), dtype=int)
    if len(starts) == 0:
        raise ValueError(f"window_seconds={window_seconds}: no condition lasts that long without a gap")
    return starts


def _starts(labelled: pd.DataFrame, window_seconds: int, hop_seconds: int) -> Iterator[int]:
    change = labelled["subject"].ne(labelled["subject"].shift())
    change |= labelled["condition"].ne(labelled["condition"].shift())
    change |= labelled["time"].diff().ne(1)
    for rows in labelled.groupby(change.cumsum()).indices.values():
        yield from range(rows[0], rows[-1] + 2 - window_seconds, hop_seconds)


def warp(values: np.ndarray, signals: tuple[str, ...]) -> np.ndarray:
    """Logarithm of the signals that are strengths, floored at their public lower bound; the others as they are."""
    values = values.copy()
    for column, name in enumerate(signals):
        if name in LOG_SIGNALS:
            values[:, column] = np.log(np.maximum(values[:, column], PUBLIC_RANGES[name][0]))
    return values


def warped_ranges(signals: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Public lower and upper bounds, (n_signals,) each, on the scale of `warp`."""
    low, high = warp(np.array([PUBLIC_RANGES[name] for name in signals]).T, signals)
    return low, high
