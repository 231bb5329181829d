"""WESAD's recordings: one pickle a person in, one table with a row a second out.

A recording that is not what it should be is refused here, in one line that names the file, the value and the way out,
so that nothing downstream has to look twice at its input.
"""

import hashlib
import os
import pickle
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, resample, sosfiltfilt
from tqdm import tqdm

from wearsynth.files import replacing

SIGNALS = ("BVP", "EDA", "ACC_x", "ACC_y", "ACC_z", "TEMP", "HR", "BVP_amplitude", "ACC_movement")
CONDITIONS = {0: "transient", 1: "baseline", 2: "stress", 3: "amusement", 4: "meditation"}
STRESS_LABEL = {"stress": 1, "baseline": 0, "amusement": 0}  # the other conditions have none

LABEL_RATE, ACC_RATE, BVP_RATE, EDA_RATE, TEMP_RATE = 700, 32, 64, 4, 4  # Hz
ACC_UNITS_PER_G = 64
SHORTEST_SECONDS = 60  # one window, of a recording and of either class in it
LARGEST_OFFSET = 3  # s, by which signals may begin or end apart; WESAD's own agree within one
LARGEST_DRIFT = 0.002  # of a signal's clock, 7 s an hour: by so much it is stretched to the label's length
LONGEST_FILLED = 5  # s, of missing values that are interpolated
DEAD_SECONDS = 60  # s, for which a sensor that is alive never stands still; a steady skin temperature does for 30
SHORTEST_OFF_WRIST = 10  # s
DRY, COLD = 0.03, 28.0  # microsiemens and degrees Celsius: below both, the wristband lies on a table
# What a wristband can measure, in the signals' units, by the data sheet of the Empatica E4; BVP's has no bounds.
RANGES = {
    "BVP": (-1e6, 1e6),
    "EDA": (-1.0, 100.0),
    "ACC": (-16.0, 16.0),
    "TEMP": (-40.0, 115.0),
}
LEAST_CHANGE = 1e-6  # of a signal, in its unit: far below the step of any sensor
GRAVITY = (0.8, 1.25)  # g, the median norm of an acceleration on a wrist; sensors are off by a few per cent
SKIN = (20.0, 42.0)  # degrees Celsius, the median of a wrist's temperature
PLAUSIBLE_RATES = (45, 160)  # beats a minute, of people who sit or stand
MEDIAN_SECONDS = 61  # odd, so that it is centred

PLAIN = (str, bytes, int)  # keys that a dict may have
MOST_READS = 300_000  # of a pickle: WESAD's own take a few thousand
LONGEST_SHOWN = 60  # characters of a value in a message

LAYOUT = "expected WESAD's layout, a folder for each person: S2/S2.pkl, S3/S3.pkl, ..."
NO_PULSE = "BVP holds no pulse: expected heartbeats, sampled at 64 Hz; leave the recording out"
TAKEN = ("everyone", "all", "synthetic")  # names that stand for something else
RELABEL = (
    "give labels as WESAD does (1 baseline, 2 stress, 3 amusement, 4 meditation, 0 else), or leave the recording out"
)
WRIST = {"ACC": (ACC_RATE, 3), "BVP": (BVP_RATE, 1), "EDA": (EDA_RATE, 1), "TEMP": (TEMP_RATE, 1)}  # rate, columns
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


class RecordingError(ValueError):
    """What was given is not a WESAD recording; the message names the file, the value and the way out."""


@dataclass(frozen=True)
class Recording:
    """One person's wrist signals at their native rates.

    Attributes:
        subject: name such as "S2".
        acc: (n, 3) acceleration at 32 Hz, in g.
        bvp: (n,) blood volume pulse at 64 Hz, in arbitrary units.
        eda: (n,) electrodermal activity at 4 Hz, in microsiemens.
        temp: (n,) skin temperature at 4 Hz, in degrees Celsius.
        label: (n,) protocol label 0..7 at 700 Hz; 0 in seconds whose signals were left out.
        repaired: seconds that were `filled`, left out as `missing` or `off_wrist`, or `stretched`.
    """

    subject: str
    acc: np.ndarray
    bvp: np.ndarray
    eda: np.ndarray
    temp: np.ndarray
    label: np.ndarray
    repaired: dict[str, float] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the measurement, 32 digits: the same in whatever file it stands, under whatever name."""
        digest = hashlib.sha256()
        for values in (self.acc, self.bvp, self.eda, self.temp, self.label):
            digest.update(np.ascontiguousarray(values, float))
        return digest.hexdigest()[:32]


class Reading(NamedTuple):
    """All recordings of a folder.

    Args:
        table: as of `one_hertz`, one person below the other.
        quality: one row a person (index `subject`): minutes of each condition, the seconds of `Recording.repaired`, and
            `digest`, that of the recording.
    """

    table: pd.DataFrame
    quality: pd.DataFrame


class _Stored:
    """Stands for whatever a pickle calls to rebuild an array: it notes arguments and state, and runs nothing."""

    __slots__ = ("arguments", "state")

    def __init__(self, *arguments):
        self.arguments, self.state = arguments, None

    def __setstate__(self, state):
        self.state = state


class _Name:
    """Stands for a name that a pickle imports: it has nothing that a pickle could change."""

    __slots__ = ()

    def __call__(self, *arguments):
        return _Stored(*arguments)


class _Bounded:
    """A file of which no more is read than there is, and not in endlessly many pieces."""

    def __init__(self, file):
        self.file, self.left, self.reads = file, os.fstat(file.fileno()).st_size, 0

    def read(self, size: int) -> bytes:
        self._count(size)
        self.left -= size
        return self.file.read(size)

    def readline(self) -> bytes:
        self._count(0)
        line = self.file.readline(self.left)
        self.left -= len(line)
        if not line.endswith(b"\n"):
            raise EOFError("it ends within a line")
        return line

    def _count(self, size):
        self.reads += 1
        if self.reads > MOST_READS:
            raise RecordingError("holds far more objects than a recording does; leave it out")
        if size > self.left:
            raise EOFError("it ends before what it announces")


class _Unpickler(pickle._Unpickler):
    """Loads containers, strings, numbers and descriptions of arrays.

    A pickle can call whatever it can import. Even NumPy's own functions are unsafe in its hands (a forged dtype reads
    foreign memory, a forged shape allocates without end), so the few names that an array needs all become `_Stored`: no
    code runs, and only the arrays in use are decoded, not the chest's many megabytes. It is Python's own reader and not
    the one in C, which takes gigabytes for a number in its memo.
    """

    NAMES = {
        *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
        *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),  # of protocol 5
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # Python 3 writes bytes so in protocol 2,
        ("__builtin__", "bytes"),  # and no bytes so
    }

    def find_class(self, module, name):
        if (module, name) not in self.NAMES:
            wanted = shown(f"{module}.{name}")
            raise RecordingError(f"refuses to load {wanted}: a recording holds arrays, dicts, strings and numbers only")
        return _Name()

    def load_frame(self):
        self.read(8)  # how long it is: whoever reads piece by piece has no use for it

    def load_dict(self):
        items = self.pop_mark()
        self.append({})
        self._fill(items)

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key, value])

    def load_setitems(self):
        self._fill(self.pop_mark())

    def _fill(self, items):
        """A key is hashed, which of nested tuples that share their parts takes for ever: names and numbers only."""
        if not all(isinstance(key, PLAIN) for key in items[::2]):
            raise RecordingError("has a dict whose keys are no names: expected WESAD's layout; leave it out")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    dispatch = {
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
        for name in (
            *("PROTO", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1"),
            *("BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
            *("BINUNICODE8", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND"),
            *("APPENDS", "EMPTY_DICT", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "PUT", "BINPUT", "LONG_BINPUT"),
            *("GET", "BINGET", "LONG_BINGET", "MEMOIZE"),
        )
    } | {
        pickle.FRAME[0]: load_frame,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def shown(value: Any) -> str:
    """Returns a value as a message shows it: on one line, and not at length; of what is no text or number, its type."""
    if not isinstance(value, (str, bytes, int, float)) or (isinstance(value, int) and abs(value) > 10**15):
        return f"a {type(value).__name__}"
    text = repr(value[:LONGEST_SHOWN] if isinstance(value, (str, bytes)) else value)
    return text[:LONGEST_SHOWN] + "..." * (len(text) > LONGEST_SHOWN)


def find_recordings(folder: str | Path) -> list[Path]:
    """Finds the recordings in a folder of WESAD's layout, or a 1 Hz table.

    Args:
        folder: holds S2/S2.pkl, S3/S3.pkl and so on; or a CSV file such as `save_table` writes.

    Returns:
        Paths of the pickles, sorted by subject number (S2 before S10), or that of the table.

    Raises:
        RecordingError: there is no such folder, or no recording in it; a recording is no file, or there are two of one
            number.
    """
    folder = Path(folder)
    if _is_table(folder):
        return [folder]
    if not folder.is_dir():
        raise RecordingError(f"{folder}: no such folder, and no 1 Hz table (.csv); {LAYOUT}")
    names = re.compile(r"S([0-9]{1,9})/S\1\.pkl")
    paths = [path for path in folder.glob("*/*.pkl") if names.fullmatch("/".join(path.parts[-2:]))]
    if not paths:
        raise RecordingError(f"{folder}: no recording in it; {LAYOUT}")
    numbers = Counter(_number(path.stem) for path in paths)
    for path in paths:
        if not path.is_file():  # a pipe would be waited for, and a link may lead nowhere
            raise RecordingError(f"{path}: is no regular file; give the recording itself")
        if numbers[_number(path.stem)] > 1:  # one person under two names would be trained on and tested on
            raise RecordingError(f"{path}: there are two recordings of number {_number(path.stem)}; leave one out")
    return sorted(paths, key=lambda path: _number(path.stem))


def find_people(folder: str | Path) -> list[str]:
    """Names the people whose recordings are in a folder, or in a 1 Hz table; raises RecordingError as these do."""
    if _is_table(Path(folder)):
        return list(load_table(folder)["subject"].unique())
    return [path.stem for path in find_recordings(folder)]


def _is_table(path: Path) -> bool:
    return ".csv" in path.name.lower() and path.is_file()


def _number(name: str) -> int:
    return int(name[1:])


def read_recording(path: str | Path) -> Recording:
    """Reads one person's wrist signals; chest signals are ignored and may be missing.

    Args:
        path: a pickle in WESAD's format, SX.pkl.

    Returns:
        The recording.

    Raises:
        RecordingError: the file is damaged, would run code, or does not hold a complete recording.
    """
    try:
        return _recording(_load(path), Path(path).stem)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from None


def _load(path):
    """The pickle's content, with every array still a `_Stored`."""
    try:
        with open(path, "rb") as file:
            return _Unpickler(_Bounded(file), encoding="latin1").load()  # latin1: WESAD was pickled by Python 2
    except RecordingError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything, from EOFError to MemoryError
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise RecordingError(f"cannot be read as a pickle ({reason}); is it damaged? Get it again") from None


def _recording(content, name):
    """The recording of the person called `name`, checked and repaired."""
    _check_layout(content)
    _check_subject(content.get("subject"), name)
    label = _array(content, "label", columns=1)
    seconds = len(label) / LABEL_RATE
    if seconds < SHORTEST_SECONDS:
        raise RecordingError(f"lasts {seconds:.1f} s: expected at least {SHORTEST_SECONDS} s; leave it out")
    unknown = label[~np.isin(label, range(8))]
    if len(unknown):
        raise RecordingError(f"label {unknown[0]}: expected 0 to 7; {RELABEL}")
    wrist, repaired = {}, dict.fromkeys(("filled", "missing", "off_wrist", "stretched"), 0.0)
    left_out = np.zeros(len(label) // LABEL_RATE + 1, bool)
    for signal, (rate, columns) in WRIST.items():
        values = _array(content, f"signal/wrist/{signal}", columns).astype(float)
        if signal == "ACC":
            values = values / ACC_UNITS_PER_G
        values = _stretched(values, signal, rate, seconds, repaired)
        wrist[signal], lost = _filled(values, signal, rate, repaired)
        _check_values(wrist[signal], signal, rate)
        left_out |= _in_seconds(lost, rate, len(left_out))
    repaired["missing"] = float(left_out.sum())
    off_wrist = _off_wrist(wrist, len(left_out))
    repaired["off_wrist"] = float((off_wrist & ~left_out).sum())
    for signal, (rate, _) in WRIST.items():  # or resampling would smear the step to the table's temperature
        second = np.minimum(np.arange(len(wrist[signal])) // rate, len(off_wrist) - 1)
        wrist[signal] = _interpolated(wrist[signal], off_wrist[second])
    label = np.where(np.repeat(left_out | off_wrist, LABEL_RATE)[: len(label)], 0, label).astype(np.int8)
    return Recording(name, wrist["ACC"], wrist["BVP"], wrist["EDA"], wrist["TEMP"], label, repaired)


def _check_layout(content):
    """Names what is laid out otherwise."""
    if not isinstance(content, dict):
        raise RecordingError(f"holds a {type(content).__name__}: expected signal/wrist and label; {LAYOUT}")
    if {"activity", "rpeaks"} & {*content}:
        raise RecordingError(
            "is laid out as PPG-DaLiA's recordings are, whose label is a heart rate: expected the label of WESAD's "
            "protocol, 0 to 7 at 700 Hz; give recordings of a stress study"
        )


def _check_subject(inside, name):
    """The folder's name counts; what stands in the file is compared where it can be."""
    found = re.fullmatch("S?([0-9]{1,9})", inside) if isinstance(inside, str) else None
    number = int(found[1]) if found else inside
    if type(number) is int and number != _number(name):  # one person under two names would be trained on and tested on
        raise RecordingError(f"holds subject {shown(inside)}: expected {name!r}; give the file its own name back")


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


def _filled(values, name, rate, repaired):
    """Interpolates what is missing; returns the signal and (n,) where it was missing for longer than may be filled."""
    missing = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not missing.any():
        return values, missing
    if missing.mean() > 0.5:
        raise RecordingError(f"{name} is missing in {missing.mean():.0%} of its samples; leave the recording out")
    long = _runs(missing, LONGEST_FILLED * rate + 1)
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
    dead = _runs(still, DEAD_SECONDS * rate).mean()
    if dead > 0.5:
        raise RecordingError(f"{name} is dead, it stands still for {dead:.0%} of the time; leave the recording out")


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


def _off_wrist(wrist, n_seconds):
    """(n_seconds,), where the wristband was not worn: no pulse at all, or skin that is both dry and cold."""
    bvp = _by_second(wrist["BVP"], BVP_RATE, n_seconds)
    eda, temp = (_by_second(wrist[name], EDA_RATE, n_seconds) for name in ("EDA", "TEMP"))
    off = (np.ptp(bvp, axis=1) < LEAST_CHANGE) | ((eda.max(axis=1) < DRY) & (temp.max(axis=1) < COLD))
    return _runs(off, SHORTEST_OFF_WRIST)


def _by_second(values, rate, n_seconds):
    """(n_seconds, rate): the last sample stands in for what the last second lacks."""
    return _whole_seconds(values, rate, n_seconds).reshape(n_seconds, rate)


def _in_seconds(samples, rate, n_seconds):
    """(n_seconds,), whether any of a second's samples is among those marked."""
    return np.isin(np.arange(n_seconds), np.flatnonzero(samples) // rate)


def _runs(marked, least):
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


def _array(content, name, columns):
    """The array of numbers under `name`, (n, columns), or (n,) for one column."""
    stored = _entry(content, name)
    try:
        values = _decode(stored)
    except Exception as error:  # a forged description fails in as many ways as a damaged pickle
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise RecordingError(f"{name} is not an array of numbers ({reason}); leave the recording out") from None
    if values.ndim == 0 or values.size != len(values) * columns or values.ndim > 3:
        shape = shown(str(values.shape)).strip("'")
        raise RecordingError(f"{name} has shape {shape}: expected (n, {columns}); leave the recording out")
    return values.reshape(-1, columns) if columns > 1 else values.ravel()


def _entry(content, name):
    """What lies under a name such as signal/wrist/BVP."""
    for key in name.split("/"):
        if not isinstance(content, dict) or key not in content:
            raise RecordingError(f"has no {name!r}: expected signal/wrist and label; {LAYOUT}")
        content = content[key]
    return content


def _decode(stored):
    """The array of numbers that a `_Stored` describes."""
    if stored.state is None:  # protocol 5: NumPy's _frombuffer(bytes, dtype, shape, order)
        raw, dtype, shape, order = stored.arguments[:4]
    else:
        _, shape, dtype, fortran_order, raw = stored.state
        order = "F" if fortran_order else "C"
    code, byte_order = dtype.arguments[0], dtype.state[1]
    if not re.fullmatch("[iuf][1248]", code):
        raise ValueError(f"dtype {code!r}: expected integers or floats")
    if isinstance(raw, _Stored):  # _codecs.encode(text, "latin1")
        raw = raw.arguments[0]
    if isinstance(raw, str):  # Python 2 had no bytes
        raw = raw.encode("latin1")
    if order not in ("C", "F"):
        raise ValueError(f"order {order!r}: expected C or F")
    values = np.frombuffer(raw, np.dtype(code).newbyteorder(byte_order))
    return values.reshape(shape, order=order)


def one_hertz(recording: Recording) -> pd.DataFrame:
    """Turns a recording into one row a second.

    Args:
        recording: one person's signals.

    Returns:
        A data frame with the columns
            subject: name such as "S2".
            time: seconds from the start, integer.
            BVP (a.u.), EDA (microsiemens), ACC_x, ACC_y, ACC_z (g), TEMP (degrees Celsius): the native signals,
                Fourier-resampled over the whole recording, as in the published table.
            HR: heart rate, beats a minute, as from `heart_rate`.
            BVP_amplitude: standard deviation of the band-passed BVP within the second, a.u.
            ACC_movement: standard deviation of the acceleration's norm within the second, g.
            condition: one of CONDITIONS, the one at the second's start.
            label: 1 stress, 0 baseline and amusement, missing otherwise (Int64).

    Raises:
        RecordingError: the BVP holds no pulse.
    """
    n_seconds = len(recording.label) // LABEL_RATE
    bvp = _whole_seconds(recording.bvp, BVP_RATE, n_seconds)
    movement = np.linalg.norm(_whole_seconds(recording.acc, ACC_RATE, n_seconds), axis=1)
    codes = recording.label[::LABEL_RATE][:n_seconds]
    # 5 to 7, "to be ignored" in WESAD (questionnaires), are no condition of the study: like 0, the time in between
    conditions = pd.Series([CONDITIONS.get(int(code), CONDITIONS[0]) for code in codes])
    acc = resample(recording.acc, n_seconds)
    try:
        rate = heart_rate(bvp)
    except RecordingError as error:
        raise RecordingError(f"{recording.subject}: {error}") from None
    return pd.DataFrame(
        {
            "subject": recording.subject,
            "time": np.arange(n_seconds),
            "BVP": resample(recording.bvp, n_seconds),
            "EDA": resample(recording.eda, n_seconds),
            **{f"ACC_{axis}": acc[:, i] for i, axis in enumerate("xyz")},
            "TEMP": resample(recording.temp, n_seconds),
            "HR": rate,
            "BVP_amplitude": _pulse(bvp).reshape(n_seconds, BVP_RATE).std(axis=1),
            "ACC_movement": movement.reshape(n_seconds, ACC_RATE).std(axis=1),
            "condition": conditions,
            "label": conditions.map(STRESS_LABEL).astype("Int64"),
        }
    )


def _whole_seconds(values, rate, n_seconds):
    """(n_seconds * rate, ...): cut to whole seconds; the last sample stands in for what a short signal lacks."""
    return values[np.minimum(np.arange(n_seconds * rate), len(values) - 1)]


def _pulse(bvp):
    """The BVP between 0.5 and 3 Hz: the pulse without its harmonics, which are lost in movement."""
    return sosfiltfilt(butter(2, (0.5, 3), "bandpass", fs=BVP_RATE, output="sos"), bvp)


def heart_rate(bvp: np.ndarray) -> np.ndarray:
    """Measures the heart rate: the median over a minute of the intervals between pulse peaks.

    Peaks are NeuroKit2's (Elgendi et al. 2013, doi 10.1371/journal.pone.0076585). The rate at a second draws on the
    recording for half a minute to either side; while the hand moves it is uncertain by several beats a minute.

    Args:
        bvp: (n,) blood volume pulse at 64 Hz, any unit.

    Returns:
        (n // 64,) heart rate in beats a minute, within 45 to 160.

    Raises:
        RecordingError: no two peaks lie as far apart as heartbeats do.
    """
    if np.ptp(bvp) == 0:  # the detector would take the filter's rounding for a pulse
        raise RecordingError(NO_PULSE)
    pulse = _pulse(bvp)
    # The detector's threshold follows the whole recording's mean power: a pulse made small by narrow vessels, as stress
    # does, would stay below it in favour of loud movement elsewhere. So every minute is brought to the same power.
    power = uniform_filter1d(pulse**2, size=MEDIAN_SECONDS * BVP_RATE)
    level = np.sqrt(np.maximum(power, 1e-6 * power.max() + np.finfo(float).tiny))
    import neurokit2  # takes a second to import, and who reads a finished table does without

    peaks = neurokit2.ppg_findpeaks(pulse / level, sampling_rate=BVP_RATE, method="elgendi")["PPG_Peaks"]
    rates = 60 * BVP_RATE / np.diff(peaks)
    slowest, fastest = PLAUSIBLE_RATES
    plausible = (rates >= slowest) & (rates <= fastest)  # a missed beat halves the rate, a false one doubles it
    if not plausible.any():
        raise RecordingError(NO_PULSE)
    middles = (peaks[1:] + peaks[:-1]) / 2 / BVP_RATE
    per_second = np.interp(np.arange(len(bvp) // BVP_RATE) + 0.5, middles[plausible], rates[plausible])
    return pd.Series(per_second).rolling(MEDIAN_SECONDS, center=True, min_periods=1).median().to_numpy()


def read_table(folder: str | Path, progress: bool = True) -> Reading:
    """Reads every recording in a folder, one at a time, or a table that holds them.

    >>> import tempfile
    >>> from wearsynth.simulation import write_cohort
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = write_cohort(folder, n_subjects=1)
    ...     table, quality = read_table(folder)
    >>> list(table.columns)[:4], len(table) > 1000
    (['subject', 'time', 'BVP', 'EDA'], True)

    Args:
        folder: as of `find_recordings`.
        progress: whether to show progress on standard error, when reading takes long.

    Returns:
        The tables of `one_hertz`, one below the other, sorted by subject number, and what is known of their quality.

    Raises:
        RecordingError: there is no recording, one of them is refused, lacks a class, or is another's once more.
    """
    if _is_table(Path(folder)):
        return _reading(load_table(folder), Path(folder))
    tables, rows = [], {}
    silent = {} if progress else {"disable": True}  # no False, which would overrule the environment's TQDM_DISABLE
    for path in tqdm(find_recordings(folder), desc="recordings", unit="person", delay=2, **silent):
        recording = read_recording(path)
        try:
            tables.append(_with_both_classes(one_hertz(recording), np.unique(recording.label)))
        except RecordingError as error:
            raise RecordingError(f"{path}: {error}") from None
        repaired = {f"{name}, s": round(seconds, 1) for name, seconds in recording.repaired.items()}
        rows[recording.subject] = _minutes(tables[-1]) | repaired | {"digest": recording.digest}
        twin = next((name for name, row in rows.items() if row["digest"] == recording.digest), None)
        if twin != recording.subject:
            raise RecordingError(f"{path}: is the recording of {twin} once more; leave one out")
    return Reading(pd.concat(tables, ignore_index=True), pd.DataFrame(rows).T.rename_axis("subject"))


def _reading(table: pd.DataFrame, path: Path) -> Reading:
    """Checks a table that was handed in, and describes it; raises RecordingError."""
    rows = {}
    for name, person in table.groupby("subject", sort=False):
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name) or name in TAKEN:  # files are called by it
            raise RecordingError(
                f"{path}: person {shown(name)}: expected up to 40 letters, digits, - and _ for a name, and none of "
                f"{', '.join(TAKEN)}"
            )
        if not np.diff(person["time"]).min(initial=1) > 0 or np.diff(person.index).max(initial=1) > 1:
            raise RecordingError(
                f"{path}: {name}: expected one row a second in order of time; sort it, and drop repeats"
            )
        try:
            _with_both_classes(person, person["condition"].unique())
        except RecordingError as error:
            raise RecordingError(f"{path}: {name}: {error}") from None
        _check_units(person, f"{path}: {name}")
        digest = hashlib.sha256(np.ascontiguousarray(person[list(SIGNALS)], float)).hexdigest()[:32]
        twin = next((other for other, row in rows.items() if row["digest"] == digest), None)
        if twin:
            raise RecordingError(f"{path}: {name}: is {twin} once more; leave one out")
        rows[name] = _minutes(person) | {"digest": digest}
    return Reading(table, pd.DataFrame(rows).T.rename_axis("subject"))


def _check_units(person: pd.DataFrame, whose: str) -> None:
    """Refuses other units, and labels that are not the conditions'; raises RecordingError."""
    length = float(np.median(np.linalg.norm(person[["ACC_x", "ACC_y", "ACC_z"]], axis=1)))
    if not 0.5 < length < 1.5:
        raise RecordingError(f"{whose}: acceleration has a median length of {length:.3g}: expected about 1, in g")
    if not 15 < person["TEMP"].median() < 45:
        raise RecordingError(f"{whose}: TEMP has a median of {person['TEMP'].median():.3g}: expected degrees C")
    known = person["condition"].map(STRESS_LABEL).astype("Int64")
    if (person["label"].notna() & (person["label"] != known).fillna(True)).any():
        raise RecordingError(f"{whose}: a label is not its condition's: expected 1 for stress, 0 for the others")


def _with_both_classes(table: pd.DataFrame, known: np.ndarray) -> pd.DataFrame:
    """The table; raises RecordingError for one without a window's length of stress, or of something else."""
    for label, what in ((1, "stress"), (0, "baseline or amusement")):
        longest = _runs(table["label"].eq(label).fillna(False).to_numpy(bool), SHORTEST_SECONDS)
        if not longest.any():
            found = ", ".join(str(code) for code in known)
            raise RecordingError(
                f"has no {SHORTEST_SECONDS} s of {what} in a row that can be used; its label holds {found}: {RELABEL}"
            )
    return table


def _minutes(table: pd.DataFrame) -> dict[str, Any]:
    """How long a person was in each condition, min."""
    minutes = table["condition"].value_counts().div(60).round(1)
    return {f"{name}, min": float(minutes.get(name, 0.0)) for name in CONDITIONS.values()}


def save_table(table: pd.DataFrame, path: str | Path) -> None:
    """Writes a table as CSV; a run that is killed leaves the old file or none, never half of one.

    Args:
        table: as from `read_table`.
        path: where to write; folders above it are made.
    """
    with replacing(Path(path)) as draft:
        # eight digits: TEMP moves by a degree or two around 34, and models see it scaled to that range
        table.to_csv(draft, index=False, float_format="%.8g")


def load_table(path: str | Path, signals: tuple[str, ...] = SIGNALS) -> pd.DataFrame:
    """Reads back what `save_table` wrote.

    Args:
        path: the CSV file.
        signals: which of its signals.

    Returns:
        The table, with the column types of `one_hertz`.

    Raises:
        RecordingError: the file is missing or does not hold such a table.
    """
    types = {"subject": str, "time": "int64", **dict.fromkeys(signals, float), "condition": str, "label": "Int64"}
    try:
        table = pd.read_csv(path, usecols=list(types), dtype=types, encoding="utf-8")[list(types)]
        if not len(table) or not np.isfinite(table[list(signals)].to_numpy()).all() or table["subject"].isna().any():
            raise ValueError("it is empty, or values are missing or infinite")
        if not table["condition"].isin(CONDITIONS.values()).all() or not table["label"].dropna().isin((0, 1)).all():
            raise ValueError("a condition or a label is none that there is")
    except (OSError, ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        reason = shown(" ".join(str(error).split()))
        raise RecordingError(
            f"{path}: cannot be read as a 1 Hz table ({reason}); expected one as 01-Data writes it"
        ) from None
    return table
