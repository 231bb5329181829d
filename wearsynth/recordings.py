"""WESAD's recordings: one pickle a person in, one table with a row a second out.

A recording that is not what it should be is refused here, in one line that names the file, the value and the way out,
so that nothing downstream has to look twice at its input.
"""

import pickle
import re
from dataclasses import dataclass
from pathlib import Path

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
SHORTEST_SECONDS = 60  # one window
DURATION_TOLERANCE = 3  # seconds; WESAD's own signals agree within one
PLAUSIBLE_RATES = (45, 160)  # beats a minute, of people who sit or stand
MEDIAN_SECONDS = 61  # odd, so that it is centred

LAYOUT = "expected WESAD's layout, a folder for each person: S2/S2.pkl, S3/S3.pkl, ..."
NO_PULSE = "BVP holds no pulse: expected heartbeats, sampled at 64 Hz; leave the recording out"


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
        label: (n,) protocol label 0..7 at 700 Hz.
    """

    subject: str
    acc: np.ndarray
    bvp: np.ndarray
    eda: np.ndarray
    temp: np.ndarray
    label: np.ndarray


class _Stored:
    """Stands for whatever a pickle calls to rebuild an array: it notes arguments and state, and runs nothing."""

    __slots__ = ("arguments", "state")

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Loads containers, strings, numbers and descriptions of arrays.

    A pickle can call whatever it can import. Even NumPy's own functions are unsafe in its hands (a forged dtype reads
    foreign memory, a forged shape allocates without end), so the few names that an array needs all become `_Stored`: no
    code runs, and only the arrays in use are decoded, not the chest's many megabytes.
    """

    STAND_INS = {
        *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # Python 3 writes bytes so in protocol 2,
        ("__builtin__", "bytes"),  # and no bytes so
    }

    def find_class(self, module, name):
        if (module, name) not in self.STAND_INS:
            raise RecordingError(
                f"refuses to load '{module}.{name}': a recording holds arrays, dicts, strings and numbers only"
            )
        return _Stored


def find_recordings(folder: str | Path) -> list[Path]:
    """Finds the recordings in a folder of WESAD's layout.

    Args:
        folder: holds S2/S2.pkl, S3/S3.pkl and so on.

    Returns:
        Paths of the pickles, sorted by subject number (S2 before S10).

    Raises:
        RecordingError: there is no such folder, or no recording in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecordingError(f"{folder}: no such folder; {LAYOUT}")
    paths = [path for path in folder.glob("*/*.pkl") if re.fullmatch(r"S(\d+)/S\1\.pkl", "/".join(path.parts[-2:]))]
    if not paths:
        raise RecordingError(f"{folder}: no recording in it; {LAYOUT}")
    return sorted(paths, key=lambda path: int(path.stem[1:]))


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
            return _Unpickler(file, encoding="latin1").load()  # latin1: WESAD was pickled by Python 2
    except RecordingError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything, from EOFError to MemoryError
        raise RecordingError(f"cannot be read as a pickle ({error!r}); download it again") from None


def _recording(content, name):
    """The recording of the person called `name`, checked."""
    subject = _entry(content, "subject")
    if subject != name:  # one person under two names would be trained on and tested on
        raise RecordingError(f"holds subject {subject!r}: expected {name!r}; give the file its own name back")
    label = _array(content, "label", columns=1)
    seconds = len(label) / LABEL_RATE
    if seconds < SHORTEST_SECONDS:
        raise RecordingError(f"lasts {seconds:.1f} s: expected at least {SHORTEST_SECONDS} s; leave it out")
    unknown = label[~np.isin(label, range(8))]
    if len(unknown):
        raise RecordingError(f"label {unknown[0]}: expected 0 to 7; download it again")
    return Recording(
        subject=subject,
        acc=_wrist(content, "ACC", ACC_RATE, seconds, columns=3) / ACC_UNITS_PER_G,
        bvp=_wrist(content, "BVP", BVP_RATE, seconds),
        eda=_wrist(content, "EDA", EDA_RATE, seconds),
        temp=_wrist(content, "TEMP", TEMP_RATE, seconds),
        label=label.astype(np.int8),
    )


def _wrist(content, name, rate, seconds, columns=1):
    """A wrist signal, as long as the label."""
    values = _array(content, f"signal/wrist/{name}", columns).astype(float)
    duration = len(values) / rate
    if abs(duration - seconds) > DURATION_TOLERANCE:
        raise RecordingError(
            f"{name} lasts {duration:.1f} s at {rate} Hz but label {seconds:.1f} s: "
            f"expected the same within {DURATION_TOLERANCE} s; download it again"
        )
    if (values == values[0]).all(axis=0).any():  # nothing can be scaled to a range of zero
        raise RecordingError(f"{name} never changes: expected a measurement; leave the recording out")
    return values


def _array(content, name, columns):
    """The finite array under `name`, (n, columns), or (n,) for one column."""
    stored = _entry(content, name)
    try:
        values = _decode(stored)
    except Exception as error:  # a forged description fails in as many ways as a damaged pickle
        raise RecordingError(f"{name} is not an array of numbers ({error!r}); download it again") from None
    if values.size != len(values) * columns:
        raise RecordingError(f"{name} has shape {values.shape}: expected (n, {columns}); download it again")
    if not np.isfinite(values).all():
        raise RecordingError(f"{name} has {np.sum(~np.isfinite(values))} values that are not finite; fill the gaps")
    return values.reshape(-1, columns) if columns > 1 else values.ravel()


def _entry(content, name):
    """What lies under a name such as signal/wrist/BVP."""
    for key in name.split("/"):
        if not isinstance(content, dict) or key not in content:
            raise RecordingError(f"has no {name!r}: expected signal/wrist, label and subject; download it again")
        content = content[key]
    return content


def _decode(stored):
    """The array of numbers that a `_Stored` describes."""
    _, shape, dtype, fortran_order, raw = stored.state
    code, byte_order = dtype.arguments[0], dtype.state[1]
    if not re.fullmatch("[iuf][1248]", code):
        raise ValueError(f"dtype {code!r}: expected integers or floats")
    if isinstance(raw, _Stored):  # _codecs.encode(text, "latin1")
        raw = raw.arguments[0]
    if isinstance(raw, str):  # Python 2 had no bytes
        raw = raw.encode("latin1")
    values = np.frombuffer(raw, np.dtype(code).newbyteorder(byte_order))
    return values.reshape(shape, order="F" if fortran_order else "C")


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
    """The BVP between 0.5 and 3 Hz: the pulse without its harmonics, which movement drowns."""
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


def read_table(folder: str | Path, progress: bool = True) -> pd.DataFrame:
    """Reads every recording in a folder, one at a time.

    Args:
        folder: a folder in WESAD's layout.
        progress: whether to show progress on standard error, when reading takes long.

    Returns:
        The tables of `one_hertz`, one below the other, sorted by subject number.

    Raises:
        RecordingError: there is no recording, or one of them is refused.
    """
    paths = tqdm(find_recordings(folder), desc="recordings", unit="person", delay=2, disable=not progress)
    return pd.concat([one_hertz(read_recording(path)) for path in paths], ignore_index=True)


def save_table(table: pd.DataFrame, path: str | Path) -> None:
    """Writes a table as CSV; a run that is killed leaves the old file or none, never half of one.

    Args:
        table: as from `read_table`.
        path: where to write; folders above it are made.
    """
    with replacing(Path(path)) as draft:
        # eight digits: TEMP moves by a degree or two around 34, and models see it scaled to that range
        table.to_csv(draft, index=False, float_format="%.8g")


def load_table(path: str | Path) -> pd.DataFrame:
    """Reads back what `save_table` wrote.

    Args:
        path: the CSV file.

    Returns:
        The table, with the column types of `one_hertz`.

    Raises:
        RecordingError: the file is missing or does not hold such a table.
    """
    types = {"subject": str, "time": "int64", **dict.fromkeys(SIGNALS, float), "condition": str, "label": "Int64"}
    try:
        return pd.read_csv(path, usecols=list(types), dtype=types)[list(types)]
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: cannot be read as a 1 Hz table ({error}); run 01-Data.ipynb") from None
