"""A wristband's recording: what is checked and repaired of one person's signals, whatever file they come from.

One that is not what it should be is refused in one line that names the value and the way out, so that nothing
downstream has to look twice at its input.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wearsynth.studies import Study

SIGNALS = ("BVP", "EDA", "ACC_x", "ACC_y", "ACC_z", "TEMP", "HR", "BVP_amplitude", "ACC_movement")

ACC_RATE, BVP_RATE, EDA_RATE, TEMP_RATE = 32, 64, 4, 4  # Hz
WRIST = {"ACC": (ACC_RATE, 3), "BVP": (BVP_RATE, 1), "EDA": (EDA_RATE, 1), "TEMP": (TEMP_RATE, 1)}  # rate, columns
ACC_UNITS_PER_G = 64
SHORTEST_SECONDS = 60  # one window, of a recording and of either class in it
LARGEST_OFFSET = 3  # s, by which signals may begin or end apart; WESAD's own agree within one
LARGEST_DRIFT = 0.002  # of a signal's clock, 7 s an hour: by so much it is stretched to the recording's length
DEAD_SECONDS = 60  # s, for which a sensor that is alive never stands still; a steady skin temperature does for 30
SHORTEST_OFF_WRIST = 10  # s
# What a wristband can measure, in the signals' units, by the data sheet of the Empatica E4; BVP's has no bounds.
RANGES = {
    "BVP": (-1e6, 1e6),
    "EDA": (-1.0, 100.0),
    "ACC": (-16.0, 16.0),
    "TEMP": (-40.0, 115.0),
}
# g, of wristbands. The E4's is the first (support.empatica.com, "How is the acceleration data formatted"); in its eight
# bits the largest value is a step short of it.
FULL_SCALES = (2.0, 4.0, 8.0, 16.0)
# In a row at the very largest or smallest value of BVP or EDA: what is cut off has a flat top. Of 39 people of two
# studies BVP has no two such samples in a row, and EDA at most four, where the electrodes lost contact.
CLIPPED_SAMPLES = 8
LEAST_CHANGE = 1e-6  # of a signal, in its unit: far below the step of any sensor
GRAVITY = (0.8, 1.25)  # g, the median norm of an acceleration on a wrist; sensors are off by a few per cent
SKIN = (20.0, 42.0)  # degrees Celsius, the median of a wrist's temperature
EXPECTED = {
    "BVP": "a pulse wave of some hundreds, up and down",
    "EDA": "microsiemens, up to 100",
    "ACC": "about 1 g, in steps of 1/64 g",
    "TEMP": "a wrist's 20 to 42 degrees Celsius",
}
OTHER_UNITS = (  # signal, its median in another unit, and how to come by the right one
    ("ACC", (0.8 / 64, 1.25 / 64), "it looks as if it were in g: times 64"),
    ("ACC", (9.80665 * 0.8 / 64, 9.80665 * 1.25 / 64), "it looks as if it were in m/s2: times 64 / 9.80665"),
    ("TEMP", (68.0, 108.0), "it looks as if it were in degrees Fahrenheit: (t - 32) * 5 / 9"),
    ("TEMP", (293.0, 316.0), "it looks as if it were in kelvin: t - 273.15"),
    ("EDA", (100.0, 1e5), "it looks as if it were in nanosiemens: divided by 1000"),
)
LONGEST_SHOWN = 60  # characters of a value in a message
# What a table that is none, or a damaged one, makes pandas and zlib raise.
UNREADABLE = (OSError, ValueError, TypeError, OverflowError, MemoryError, RecursionError, EOFError, zlib.error)


class RecordingError(ValueError):
    """What was given is not a recording that can be used; the message names the file, the value and the way out."""


@dataclass(frozen=True)
class Recording:
    """One person's wrist signals at their native rates.

    Attributes:
        subject: name such as "S2".
        acc: (n, 3) acceleration at 32 Hz, in g.
        bvp: (n,) blood volume pulse at 64 Hz, in arbitrary units.
        eda: (n,) electrodermal activity at 4 Hz, in microsiemens.
        temp: (n,) skin temperature at 4 Hz, in degrees Celsius.
        label: (n,) codes of conditions at `label_rate` Hz; 0, none, in seconds whose signals were left out.
        label_rate: Hz.
        conditions: code -> condition; other codes are of none.
        start: s, counted from the person's first recording.
        repaired: seconds that were `filled`, left out as `missing` or `off_wrist`, or `stretched`; and those, of the
            rest, in which a signal is at its sensor's limits: `ACC_clipped`, `BVP_clipped`, `EDA_clipped`.
        drift: s an hour, by which signals that began together ended apart: no more than that do their clocks differ.
    """

    subject: str
    acc: np.ndarray
    bvp: np.ndarray
    eda: np.ndarray
    temp: np.ndarray
    label: np.ndarray
    label_rate: int
    conditions: Mapping[int, str]
    start: float = 0.0
    repaired: Mapping[str, float] = field(default_factory=dict)
    drift: float = 0.0

    @property
    def digest(self) -> str:
        """SHA-256 of the measurement, 32 digits: the same in whatever file it stands, under whatever name."""
        digest = hashlib.sha256()
        for values in (self.acc, self.bvp, self.eda, self.temp, self.label):
            digest.update(np.ascontiguousarray(values, float))
        return digest.hexdigest()[:32]


def shown(value: Any) -> str:
    """Returns a value as a message shows it: on one line, and not at length; of what is no text or number, its type."""
    if not isinstance(value, (str, bytes, int, float)) or (isinstance(value, int) and abs(value) > 10**15):
        return f"a {type(value).__name__}"
    text = repr(value[:LONGEST_SHOWN] if isinstance(value, (str, bytes)) else value)
    return text[:LONGEST_SHOWN] + "..." * (len(text) > LONGEST_SHOWN)


def entry(content: Any, name: str, expected: str) -> Any:
    """Returns what lies in nested dictionaries under a name such as signal/wrist/BVP.

    Args:
        content: the outermost one.
        name: keys, with slashes between.
        expected: what should be there, and the way out, for a message.

    Raises:
        RecordingError: there is no such thing.
    """
    for key in name.split("/"):
        if not isinstance(content, dict) or key not in content:
            raise RecordingError(f"has no {name!r}: expected {expected}")
        content = content[key]
    return content


def repair(recording: Recording, study: Study) -> Recording:
    """Checks one person's signals, from one start, and repairs what can be.

    Args:
        recording: as it was measured.
        study: says which gaps are filled, and when the wristband was not worn.

    Raises:
        RecordingError: they are not what a wristband measures on a wrist.
    """
    signals = {name: getattr(recording, name.lower()) for name in WRIST}
    label, label_rate = recording.label, recording.label_rate
    seconds = len(label) / label_rate
    if seconds < SHORTEST_SECONDS:
        raise RecordingError(f"lasts {seconds:.1f} s: expected at least {SHORTEST_SECONDS} s; leave it out")
    wrist, clipped, repaired = {}, {}, dict.fromkeys(("filled", "missing", "off_wrist", "stretched"), 0.0)
    left_out = np.zeros(len(label) // label_rate + 1, bool)
    for signal, (rate, _) in WRIST.items():
        values = _stretched(signals[signal], signal, rate, seconds, repaired)
        wrist[signal], lost = _filled(values, signal, rate, study, repaired)
        _check_values(wrist[signal], signal, rate)
        clipped[signal] = _in_seconds(_clipped(wrist[signal], signal), rate, len(left_out))
        left_out |= _in_seconds(lost, rate, len(left_out))
    repaired["missing"] = float(left_out.sum())
    off_wrist = _off_wrist(wrist, study, len(left_out))
    repaired["off_wrist"] = float((off_wrist & ~left_out).sum())
    for signal in ("ACC", "BVP", "EDA"):  # a skin's temperature is nowhere near a sensor's limits
        repaired[f"{signal}_clipped"] = float((clipped[signal] & ~left_out & ~off_wrist).sum())
    for signal, (rate, _) in WRIST.items():  # or resampling would smear the step to the table's temperature
        second = np.minimum(np.arange(len(wrist[signal])) // rate, len(off_wrist) - 1)
        wrist[signal] = _interpolated(wrist[signal], off_wrist[second])
    label = np.where(np.repeat(left_out | off_wrist, label_rate)[: len(label)], 0, label).astype(np.int8)
    values = {name.lower(): signal for name, signal in wrist.items()}
    ends = [seconds, *(len(signals[signal]) / rate for signal, (rate, _) in WRIST.items())]
    drift = max(recording.drift, apart(ends, seconds))
    return replace(recording, **values, label=label, repaired=repaired, drift=drift)


def apart(ends: list[float], seconds: float) -> float:
    """Seconds an hour by which clocks differ that ended apart, after so many seconds."""
    return float(np.ptp(ends)) * 3600 / seconds


def _stretched(values, name, rate, seconds, repaired):
    """A signal of the label's length: one whose clock was a little fast or slow takes its nearest samples."""
    duration = len(values) / rate
    offset = abs(duration - seconds)
    if offset <= LARGEST_OFFSET:
        return values
    if offset > LARGEST_DRIFT * seconds:
        raise RecordingError(
            f"{name} lasts {duration:.1f} s at {rate} Hz but label {seconds:.1f} s: expected the same within "
            f"{max(LARGEST_OFFSET, LARGEST_DRIFT * seconds):.1f} s; check the rates, or cut both to what they share"
        )
    repaired["stretched"] = max(repaired["stretched"], offset)
    return values[np.linspace(0, len(values) - 1, round(seconds * rate)).round().astype(int)]


def _filled(values, name, rate, study, repaired):
    """Interpolates what is missing; returns the signal and (n,) where it was missing for longer than may be filled."""
    missing = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not missing.any():
        return values, missing
    if missing.mean() > 0.5:
        raise RecordingError(f"{name} is missing in {missing.mean():.0%} of its samples; leave the recording out")
    long = runs(missing, int(study.longest_gap * rate) + 1)
    repaired["filled"] = max(repaired["filled"], (missing & ~long).sum() / rate)
    return _interpolated(values, missing), long


def _check_values(values, name, rate):
    """Refuses what no living wrist and no sensor gives, and names the unit that would fit."""
    low, high = RANGES[name]
    least, most = values.min(), values.max()
    if least < low or most > high:
        raise RecordingError(
            f"{name} reaches from {least:.4g} to {most:.4g}: expected {EXPECTED[name]}{_unit(values, name)}"
        )
    median = _median(values, name)
    bounds = {"ACC": GRAVITY, "TEMP": SKIN}.get(name, (low, high))
    if not bounds[0] <= median <= bounds[1]:
        of = "the norm of ACC" if name == "ACC" else name
        raise RecordingError(f"{of} has a median of {median:.4g}: expected {EXPECTED[name]}{_unit(values, name)}")
    change = np.ptp(values, axis=0).min()
    if name == "EDA" and 0 < most < 1e-3:
        raise RecordingError(f"EDA is at most {most:.4g}: expected {EXPECTED[name]}; where it is in siemens, times 1e6")
    if change < LEAST_CHANGE:  # nothing can be scaled to a range of zero
        raise RecordingError(f"{name} never changes: expected a measurement; leave the recording out")
    still = (np.diff(values, axis=0) == 0).reshape(len(values) - 1, -1).all(axis=1)
    dead = runs(still, DEAD_SECONDS * rate).mean()
    if dead > 0.5:
        raise RecordingError(f"{name} is dead, it stands still for {dead:.0%} of the time; leave the recording out")


def _clipped(values, name):
    """(n,), where a signal is at the limits of its sensor."""
    if name == "ACC":
        full_scale = next(scale for scale in FULL_SCALES if np.abs(values).max() <= scale)
        return ((values <= -full_scale) | (values >= full_scale - 1 / ACC_UNITS_PER_G)).any(axis=1)
    return runs(values == values.min(), CLIPPED_SAMPLES) | runs(values == values.max(), CLIPPED_SAMPLES)


def _median(values, name):
    """The median of a signal, of acceleration that of its norm."""
    with np.errstate(over="ignore"):  # of values that are refused
        return np.median(np.linalg.norm(values, axis=1) if name == "ACC" else values)


def _unit(values, name):
    """What to do where another unit fits the median."""
    median = _median(values, name)
    for factor_of, (low, high), way_out in OTHER_UNITS:
        if name == factor_of and low <= median <= high:
            return f"; {way_out}"
    return "; leave the recording out, or give it in this unit"


def _off_wrist(wrist, study, n_seconds):
    """(n_seconds,), where the wristband was not worn: no pulse at all, or skin that is both dry and cold."""
    bvp = _by_second(wrist["BVP"], BVP_RATE, n_seconds)
    eda, temp = (_by_second(wrist[name], EDA_RATE, n_seconds) for name in ("EDA", "TEMP"))
    on_table = (eda.max(axis=1) < study.off_wrist["EDA"]) & (temp.max(axis=1) < study.off_wrist["TEMP"])
    return runs(on_table | (np.ptp(bvp, axis=1) < LEAST_CHANGE), SHORTEST_OFF_WRIST)


def _by_second(values, rate, n_seconds):
    """(n_seconds, rate): the last sample stands in for what the last second lacks."""
    return whole_seconds(values, rate, n_seconds).reshape(n_seconds, rate)


def whole_seconds(values: np.ndarray, rate: int, n_seconds: int) -> np.ndarray:
    """(n_seconds * rate, ...): cut to whole seconds; the last sample stands in for what a short signal lacks."""
    return values[np.minimum(np.arange(n_seconds * rate), len(values) - 1)]


def _in_seconds(samples, rate, n_seconds):
    """(n_seconds,), whether any of a second's samples is among those marked."""
    return np.isin(np.arange(n_seconds), np.flatnonzero(samples) // rate)


def runs(marked: np.ndarray, least: int) -> np.ndarray:
    """Of what is marked, (n,), only stretches of at least so many in a row."""
    edges = np.flatnonzero(np.diff(np.r_[False, marked, False]))
    kept = np.zeros(len(marked), bool)
    for start, end in edges.reshape(-1, 2):
        kept[start:end] = end - start >= least
    return kept


def _interpolated(values, marked):
    """The values with a straight line in the place of those that are marked."""
    if not marked.any() or marked.all():
        return values
    time, columns = np.arange(len(values)), values.reshape(len(values), -1).copy()
    for column in columns.T:
        column[marked] = np.interp(time[marked], time[~marked], column[~marked])
    return columns.reshape(values.shape)
