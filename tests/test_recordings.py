"""Recordings: what is refused, and the 1 Hz table against closed forms, slow loops, NumPy's unpickling and WESAD."""

import os
import pickle
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wearsynth import studies
from wearsynth.readers import find_recordings, read_table
from wearsynth.recordings import SIGNALS, Recording, RecordingError
from wearsynth.resampling import heart_rate, one_hertz
from wearsynth.simulation import simulate_recording, write_cohort
from wearsynth.tables import load_table, save_table
from wearsynth.wesad import read_recording

ROOT = Path(__file__).parents[1]
WESAD = ROOT.parent / "shared" / "wesad"
needs_wesad = pytest.mark.skipif(not WESAD.is_dir(), reason="the real recordings are not there (../shared/wesad)")

SECONDS = 91  # odd: a real spectrum of odd length has no Nyquist bin to treat apart


def pulse_train(rate, amplitude=50):
    """BVP at 64 Hz of a heart that beats at `rate`, one value a second, beats/min."""
    time = np.arange(len(rate) * 64) / 64
    beats = np.cumsum(np.interp(time, np.arange(len(rate)) + 0.5, rate)) / 60 / 64
    return amplitude * (np.cos(2 * np.pi * beats) + 0.3 * np.cos(4 * np.pi * beats + 1))


def recording(seconds=SECONDS, label=1):
    rng = np.random.default_rng(0)
    return Recording(
        subject="S2",
        acc=rng.integers(-64, 64, (seconds * 32, 3)) / 64,
        bvp=pulse_train(np.full(seconds, 75.0)),
        eda=2 + rng.normal(size=seconds * 4).cumsum() / 100,
        temp=34 + rng.normal(size=seconds * 4).cumsum() / 100,
        label=np.repeat(np.broadcast_to(label, seconds), 700).astype(np.int32),
        label_rate=700,
        conditions=studies.WESAD.codes,
    )


def content(rec):
    """A recording as WESAD's dict."""
    wrist = {"ACC": rec.acc * 64, "BVP": rec.bvp[:, None], "EDA": rec.eda[:, None], "TEMP": rec.temp[:, None]}
    return {"signal": {"chest": {}, "wrist": wrist}, "label": rec.label, "subject": rec.subject}


def write(tmp_path, data):
    path = tmp_path / "S2.pkl"
    path.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data, protocol=2))
    return path


def refusal(path):
    """What `read_recording` says of the file: one line that begins with its name."""
    with pytest.raises(RecordingError) as caught:
        read_recording(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def python2_pickle(value):
    """A protocol 2 pickle as Python 2 writes it, where arrays' bytes and all text are `str`."""

    def string(raw):
        return b"T" + struct.pack("<i", len(raw)) + raw

    def encode(value):
        if isinstance(value, dict):
            return b"}(" + b"".join(encode(item) for pair in value.items() for item in pair) + b"u"
        if isinstance(value, str):
            return string(value.encode())
        dtype = b"cnumpy\ndtype\n" + string(value.dtype.str[1:].encode()) + b"K\x00K\x01\x87R(K\x03"
        dtype += string(b"<") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
        shape = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in value.shape) + b"t"
        empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R"
        return empty + b"(K\x01" + shape + dtype + b"\x89" + string(value.tobytes()) + b"tb"

    return b"\x80\x02" + encode(value) + b"."


def assert_same(first, second):
    assert first.subject == second.subject
    for name in ("acc", "bvp", "eda", "temp", "label"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


# Reading


@pytest.mark.parametrize("protocol", range(6))
def test_reads_what_python_3_pickles(tmp_path, protocol):
    read = read_recording(write(tmp_path, pickle.dumps(content(recording()), protocol)))
    assert_same(read, recording())


def test_reads_what_python_2_pickles(tmp_path):
    data = python2_pickle(content(recording()))
    by_numpy = pickle.loads(data, encoding="latin1")
    np.testing.assert_array_equal(by_numpy["signal"]["wrist"]["ACC"], recording().acc * 64)
    assert_same(read_recording(write(tmp_path, data)), recording())


def test_reads_other_dtypes_and_layouts(tmp_path):
    data = content(recording())
    data["signal"]["wrist"]["ACC"] = np.asfortranarray(recording().acc * 64).astype(">i2", order="F")
    data["label"] = recording().label.astype(np.uint8)
    data["signal"]["chest"] = {"scalar": np.float64(1), "empty": np.zeros((0, 3)), "bytes": b"\xff"}
    assert_same(read_recording(write(tmp_path, data)), recording())


class Hostile:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_hostile_pickle_is_refused_and_not_run(tmp_path, protocol):
    marker = tmp_path / "marker"
    data = pickle.dumps({"extra": Hostile(os.system, f"touch {marker}")} | content(recording()), protocol)
    message = refusal(write(tmp_path, data))
    assert f"refuses to load '{os.system.__module__}.system'" in message
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists(), "the pickle was harmless: the test proves nothing"


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "builtins.getattr", "numpy.load", "numpy.core.multiarray.fromfile"]
)
def test_refused_class_is_named(tmp_path, name):
    module, function = name.rsplit(".", 1)
    message = refusal(write(tmp_path, f"c{module}\n{function}\n(S'x'\ntR.".encode()))
    assert message.endswith(f"refuses to load '{name}': a recording holds arrays, dicts, strings and numbers only")


def test_admitted_names_cannot_be_changed_by_a_pickle(tmp_path):
    refusal(write(tmp_path, b"cnumpy\ndtype\n}(S'__init__'\nS'x'\nub."))  # sets attributes of the class itself
    assert_same(read_recording(write(tmp_path, content(recording()))), recording())


@pytest.mark.parametrize(
    "forged",
    [
        np.array([{}, "text"], dtype=object),
        np.array(["text"]),
        np.zeros(3, dtype=[("field", float)]),
        Hostile(np.ndarray, (10**12,)),  # would allocate terabytes
        Hostile(np.dtype, "f8"),
        [1.0, 2.0],
        "text",
        None,
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, forged):
    data = content(recording())
    data["signal"]["wrist"]["BVP"] = forged
    assert "signal/wrist/BVP is not an array of numbers" in refusal(write(tmp_path, data))


def test_damaged_files_are_refused(tmp_path):
    data = pickle.dumps(content(recording()), protocol=2)
    for length in [*range(0, 400, 7), *np.linspace(400, len(data) - 1, 20, dtype=int)]:
        assert "cannot be read as a pickle" in refusal(write(tmp_path, data[:length]))
    assert "cannot be read as a pickle" in refusal(write(tmp_path, b"PK\x03\x04 not a pickle at all"))
    assert "cannot be read as a pickle" in refusal(tmp_path / "S3.pkl")  # no such file
    assert "holds a list: expected signal/wrist and label" in refusal(write(tmp_path, pickle.dumps([1, 2])))


@pytest.mark.parametrize("name", ["label", "signal", "signal/wrist", "signal/wrist/ACC", "signal/wrist/TEMP"])
def test_missing_key_is_named(tmp_path, name):
    *path, last = name.split("/")
    data = inner = content(recording())
    for key in path:
        inner = inner[key]
    del inner[last]
    assert f"has no '{name}" in refusal(write(tmp_path, data))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": "S3"}, "holds subject 'S3': expected 'S2'"),
        ({"label": np.full(SECONDS * 700, 8)}, "label 8: expected 0 to 7"),
        ({"label": np.full(SECONDS * 700, 1.5)}, "label 1.5: expected 0 to 7"),
        ({"label": np.ones(59 * 700, int)}, "lasts 59.0 s: expected at least 60 s"),
        ({"acc": np.zeros((SECONDS * 32, 2))}, "ACC has shape (2912, 2): expected (n, 3)"),
        ({"bvp": np.zeros((SECONDS * 64, 2))}, "BVP has shape (5824, 1, 2): expected (n, 1)"),
        ({"eda": np.ones(60 * 4)}, "EDA lasts 60.0 s at 4 Hz but label 91.0 s"),
        ({"temp": np.r_[np.ones(SECONDS * 2 - 2), np.full(SECONDS * 2 + 2, np.nan)]}, "TEMP is missing in 51%"),
        ({"bvp": np.zeros(SECONDS * 64)}, "BVP never changes"),
    ],
)
def test_incomplete_recordings_are_refused(tmp_path, changes, message):
    assert message in refusal(write(tmp_path, content(replace(recording(), **changes))))


SMALL_AND_HOSTILE = {
    "a key of nested tuples": b"\x80\x02}(K\x01\x85" + b"2\x86" * 60 + b"K\x01u.",
    "a key of memoised tuples": b"\x80\x02}(K\x01\x85"
    + b"".join(b"q%ch%c\x86" % (level, level) for level in range(60))
    + b"K\x01u.",
    "a dict of such keys": b"(K\x01\x85q\x00h\x00\x86q\x01h\x01\x86K\x02d.",
    "a memo of 2e8 places": b"\x80\x02}r" + struct.pack("<I", 200_000_000) + b".",
    "a string of 2 GB": b"\x80\x02T" + struct.pack("<i", 2**31 - 1) + b"x.",
    "bytes of 2 ** 62": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "a frame of 2 ** 62": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
    "a number of 5,000 digits": b"I" + b"9" * 5000 + b"\n.",
    "a million lists in one another": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "nothing but a mark": b"(.",
    "no end": b"\x80\x02}",
    "a set": b"\x80\x04\x8f(K\x01\x90.",
}


@pytest.mark.parametrize("data", SMALL_AND_HOSTILE.values(), ids=SMALL_AND_HOSTILE)
def test_a_small_file_takes_neither_time_nor_memory(tmp_path, data):
    """In a process of its own, which may take a second of the processor and 300 MB beside what it starts with."""
    program = (
        "import resource, sys, time\n"
        "from pathlib import Path\n"
        "from wearsynth.wesad import RecordingError, read_recording\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before, start = peak(), time.process_time()\n"
        "try:\n"
        "    read_recording(Path(sys.argv[1]))\n"
        "except RecordingError as error:\n"
        "    assert len(str(error)) < 400 and chr(10) not in str(error)\n"
        "    print(time.process_time() - start, (peak() - before) / 1e3)\n"
    )
    command = [sys.executable, "-c", program, write(tmp_path, data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    seconds, megabytes = map(float, done.stdout.split())
    assert seconds < 2 and megabytes < 300  # twice what is wanted: the machine may be slow


@pytest.mark.parametrize(
    "subject", [4, "4", "S4", "S04", None, "patient 7", ["S5"], 10**5000, "x" * 10**7], ids=range(9)
)
def test_the_folders_name_counts(tmp_path, subject):
    """What stands in the file is compared where it can be; a number of 5,000 digits can be, and is another one."""
    data = content(recording()) | {"subject": subject}
    path = tmp_path / "S4.pkl"
    path.write_bytes(pickle.dumps(data))
    if isinstance(subject, int) and subject != 4:
        assert "holds subject a int: expected 'S4'" in refusal(path)
    else:
        assert read_recording(path).subject == "S4"


@pytest.mark.parametrize("subject", [5, "5", "S5", "S05"])
def test_another_persons_recording_is_refused(tmp_path, subject):
    path = tmp_path / "S4.pkl"
    path.write_bytes(pickle.dumps(content(recording()) | {"subject": subject}))
    assert f"holds subject {subject!r}: expected 'S4'" in refusal(path)


def changed(name, function):
    """A recording's content with one wrist signal changed, in the units of the file."""
    data = content(recording())
    data["signal"]["wrist"][name] = function(np.array(data["signal"]["wrist"][name], float))
    return data


def standing(values):
    values[len(values) // 5 :] = values[0]
    return values


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("ACC", lambda acc: acc / 64, "the norm of ACC has a median of 0.01.*in g: times 64"),
        ("ACC", lambda acc: acc / 64 * 9.80665, "the norm of ACC has a median of 0.1.*in m/s2: times 64 / 9.80665"),
        ("ACC", lambda acc: acc * 1e300, "ACC reaches from"),
        ("TEMP", lambda temp: temp * 9 / 5 + 32, "TEMP has a median of 9.*in degrees Fahrenheit"),
        ("TEMP", lambda temp: temp + 273.15, "TEMP reaches from 30.*in kelvin: t - 273.15"),
        ("TEMP", lambda temp: temp - 25, "TEMP has a median of 9.*expected a wrist's 20 to 42 degrees Celsius"),
        ("EDA", lambda eda: eda * 1e-6, "EDA is at most 2.*in siemens, times 1e6"),
        ("EDA", lambda eda: eda * 1e3, "EDA reaches from.*in nanosiemens"),
        ("EDA", lambda eda: eda * 0 + np.linspace(0, 1.7e308, len(eda))[:, None], "EDA reaches from 0 to 1.7e\\+308"),
        ("EDA", standing, "EDA is dead, it stands still for [78]\\d% of the time"),
        ("BVP", lambda bvp: bvp * 1e300, "BVP reaches from"),
        ("BVP", lambda bvp: bvp * 0 + 5e-324 * (np.arange(len(bvp)) % 2)[:, None], "BVP never changes"),
        ("TEMP", lambda temp: np.array(36.5), "TEMP has shape \\(\\)"),
    ],
)
def test_what_no_wrist_gives_is_refused_with_the_unit_that_fits(tmp_path, name, function, message, recwarn):
    data = changed(name, function)
    if name == "ACC":  # of 1 g, as on a wrist that rests
        data["signal"]["wrist"]["ACC"] = function(np.tile([0.0, 0, 64], (SECONDS * 32, 1)) + (np.arange(3) % 2))
    with pytest.raises(RecordingError, match=message):
        read_recording(write(tmp_path, data))
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_short_gaps_are_filled_and_long_ones_left_out(tmp_path):
    """By hand: 4 s of a straight line, and 10 s without a label."""

    def with_gaps(eda):
        eda[4 * 10 : 4 * 14] = np.nan
        eda[4 * 30 : 4 * 40] = np.inf
        return eda

    read = read_recording(write(tmp_path, changed("EDA", with_gaps)))
    whole = recording()
    left, right = whole.eda[39], whole.eda[56]
    np.testing.assert_allclose(read.eda[40:56], left + (right - left) * np.arange(1, 17) / 17)
    seconds = np.flatnonzero(read.label[::700] == 0)
    assert seconds.tolist() == [*range(30, 40)]
    assert {name: seconds for name, seconds in read.repaired.items() if seconds} == {"filled": 4.0, "missing": 10.0}
    table = one_hertz(read)
    assert np.isfinite(table[list(SIGNALS)].to_numpy()).all() and table["label"].isna().sum() == 10


@pytest.mark.parametrize(("longest", "filled", "missing"), [(3, 0.0, 4.0), (4, 4.0, 0.0), (0, 0.0, 4.0)])
def test_the_study_says_which_gaps_are_filled(tmp_path, longest, filled, missing):
    def with_gap(eda):
        eda[4 * 10 : 4 * 14] = np.nan
        return eda

    study = replace(studies.WESAD, longest_gap=longest)
    read = read_recording(write(tmp_path, changed("EDA", with_gap)), study)
    assert (read.repaired["filled"], read.repaired["missing"]) == (filled, missing)


@pytest.mark.parametrize(("dry", "cold", "off"), [(0.03, 28, 0), (10, 28, 0), (0.03, 40, 0), (10, 40, SECONDS + 1)])
def test_the_study_says_what_is_not_worn(tmp_path, dry, cold, off):
    """Everybody's skin is below 10 uS and 40 degrees, and nobody's dry and cold by what is usual. The last second has
    begun."""
    study = replace(studies.WESAD, off_wrist={"EDA": dry, "TEMP": cold})
    assert read_recording(write(tmp_path, content(recording())), study).repaired["off_wrist"] == off


@pytest.mark.parametrize("longer", [0, 2])  # by so many seconds may signals go on after the label
def test_a_wristband_on_the_table_is_left_out(tmp_path, longer):
    """Room temperature, dry electrodes, no pulse, for 30 s; neither of the neighbours may feel the step."""
    data = content(recording())
    for name, rate, value in (("TEMP", 4, 22.0), ("EDA", 4, 0.0), ("BVP", 64, 0.0), ("ACC", 32, (0, 0, 64))):
        values = np.array(data["signal"]["wrist"][name], float)
        values = np.concatenate([values, values[: longer * rate]])
        values[20 * rate : 50 * rate] = value
        data["signal"]["wrist"][name] = values
    read = read_recording(write(tmp_path, data))
    assert np.flatnonzero(read.label[::700] == 0).tolist() == [*range(20, 50)]
    assert read.repaired["off_wrist"] == 30 and read.repaired["EDA_clipped"] == 0  # though it is the smallest for long
    assert abs(one_hertz(read)["TEMP"] - 34).max() < 2


def test_cold_dry_or_still_alone_is_worn(tmp_path):
    """Cold skin has a pulse and sweats; a dry one is warm; a sleeper does not move."""
    cold = read_recording(write(tmp_path, changed("TEMP", lambda temp: temp - 10)))
    dry = read_recording(write(tmp_path, changed("EDA", lambda eda: np.abs(eda) / 1000)))
    still = changed("ACC", lambda acc: np.tile([0.0, 0, 64], (len(acc), 1)) + (np.arange(len(acc)) % 97 == 0)[:, None])
    for read in (cold, dry, read_recording(write(tmp_path, still))):
        assert read.repaired["off_wrist"] == 0


def clipped(tmp_path, name, function):
    """Seconds in which each signal is at its limits, where one is changed."""
    read = read_recording(write(tmp_path, changed(name, function)))
    return {name: read.repaired[f"{name}_clipped"] for name in ("ACC", "BVP", "EDA")}


@pytest.mark.parametrize(
    ("largest", "values", "seconds"),
    [
        (127, {5: 127, 40: 127, 41: 127, 2000: -128}, 3),  # the first two of one second; the others of one each
        (127, {5: 126, 2000: -127}, 0),  # a step before either end
        (256, {5: 127, 40: 256, 2000: -255}, 1),  # of a sensor that reaches to 4 g
    ],
)
def test_an_acceleration_at_its_sensors_limits_is_counted(tmp_path, largest, values, seconds):
    def hit(acc):
        for place, value in values.items():
            acc.flat[place * 3 + place % 3] = value
        return acc

    assert clipped(tmp_path, "ACC", hit) == {"ACC": seconds, "BVP": 0, "EDA": 0}


@pytest.mark.parametrize("end", ["largest", "smallest"])
@pytest.mark.parametrize(("name", "rate", "seconds"), [("BVP", 64, 1), ("EDA", 4, 3)])
def test_a_signal_with_a_flat_top_is_counted(tmp_path, name, rate, seconds, end):
    """8 samples in a row of the very largest value, from a second's middle on; 7 of them, or 8 of another, are not."""
    values = getattr(recording(), name.lower()).copy()
    limit = values.max() + 0.5 if end == "largest" else values.min() - 0.5
    for start, n_samples, value in ((20.5, 8, limit), (40, 7, limit), (60, 8, values[0])):
        values[int(start * rate) :][:n_samples] = value
    expected = {"ACC": 0, "BVP": 0, "EDA": 0} | {name: seconds}
    assert clipped(tmp_path, name, lambda _: values) == expected


def test_a_slow_clock_is_stretched(tmp_path):
    """Against samples taken at the nearest of the label's times; one that is off by more is refused."""
    long = recording(3600)
    slow = replace(long, eda=long.eda[: int(len(long.eda) * 0.999)])
    read = read_recording(write(tmp_path, content(slow)))
    assert read.repaired["stretched"] == read.drift == pytest.approx(3.75)  # it is an hour
    times = np.arange(3600 * 4) * (len(slow.eda) - 1) / (3600 * 4 - 1)
    np.testing.assert_array_equal(read.eda, slow.eda[np.round(times).astype(int)])
    with pytest.raises(RecordingError, match="EDA lasts 3582.0 s .* expected the same within 7.2 s; check the rates"):
        read_recording(write(tmp_path, content(replace(long, eda=long.eda[: int(len(long.eda) * 0.995)]))))


def test_drift_is_between_the_first_and_the_last_to_end(tmp_path):
    """Of half an hour, and where nothing is stretched."""
    whole = recording(1800)
    assert read_recording(write(tmp_path, content(whole))).drift == 0
    longer = replace(whole, eda=whole.eda[:-4], bvp=np.r_[whole.bvp, whole.bvp[:32]])
    read = read_recording(write(tmp_path, content(longer)))
    assert read.repaired["stretched"] == 0 and read.drift == pytest.approx(3)


def test_the_digest_is_of_the_measurement(tmp_path):
    first, again = (read_recording(write(tmp_path, pickle.dumps(content(recording()), number))) for number in (2, 4))
    assert first.digest == again.digest != replace(first, eda=first.eda + 1e-9).digest


def write_people(tmp_path, recordings):
    for name, data in recordings.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.pkl").write_bytes(pickle.dumps(data | {"subject": name}))
    return tmp_path


def person(seed, label=None):
    """A recording of 130 s, half of it stress."""
    label = np.repeat([1, 2], 65) if label is None else label
    rec = recording(130, label)
    return content(replace(rec, eda=rec.eda + seed))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            np.repeat([0, 1], 65),
            "S3.pkl: has no 60 s of stress in a row .* its label holds 0, 1: name the conditions in a study file",
        ),
        (np.zeros(130, int), "has no 60 s of stress"),
        (np.full(130, 2), "has no 60 s of baseline or amusement"),
        (np.tile([1, 2], 65), "has no 60 s of stress in a row"),
    ],
)
def test_a_person_without_both_classes_is_named(tmp_path, labels, message):
    with pytest.raises(RecordingError, match=message):
        read_table(write_people(tmp_path, {"S2": person(0), "S3": person(1, labels)}))


def test_one_person_under_two_names_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="S7.pkl: is the recording of S2 once more; leave one out"):
        read_table(write_people(tmp_path, {"S2": person(0), "S3": person(1), "S7": person(0)}))


def test_quality_says_what_was_read(tmp_path):
    reading = read_table(write_people(tmp_path, {"S2": person(0)}))
    row = reading.quality.loc["S2"]
    assert (row["baseline, min"], row["stress, min"], row["missing, s"]) == (1.1, 1.1, 0)
    assert (row[["filled, s", "missing, s", "off_wrist, s", "stretched, s", "ACC_clipped, s", "drift, s/h"]] == 0).all()
    assert row["digest"] == read_recording(tmp_path / "S2" / "S2.pkl").digest


def test_one_number_is_one_person(tmp_path):
    for name in ("S2", "S02"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.pkl").touch()
    with pytest.raises(RecordingError, match="there are two recordings of number 2; leave one out"):
        find_recordings(tmp_path)


def test_digits_of_other_scripts_are_no_numbers(tmp_path):
    (tmp_path / "S\u0662").mkdir()
    (tmp_path / "S\u0662" / "S\u0662.pkl").touch()
    with pytest.raises(RecordingError, match="no recording in it"):
        find_recordings(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "dangling link", "device"])
def test_only_regular_files_are_read(tmp_path, kind):
    path = tmp_path / "S2" / "S2.pkl"
    path.parent.mkdir()
    {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "dangling link": lambda: path.symlink_to(tmp_path / "nowhere"),
        "device": lambda: path.symlink_to("/dev/zero"),
    }[kind]()
    with pytest.raises(RecordingError, match="S2.pkl: is no regular file"):
        find_recordings(tmp_path)


def test_recordings_are_found_in_order_of_number(tmp_path):
    for name in ("S10", "S2", "S3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.pkl").touch()
    (tmp_path / "S2" / "S2_quest.csv").touch()
    (tmp_path / "S3" / "S2.pkl").touch()
    assert [path.stem for path in find_recordings(tmp_path)] == ["S2", "S3", "S10"]


def test_folder_without_recordings_is_refused(tmp_path):
    layouts = "expected WESAD's layout.*S2/S2.pkl.* or an Empatica E4's exports"
    with pytest.raises(RecordingError, match=f"no recording in it; {layouts}"):
        find_recordings(tmp_path)
    with pytest.raises(RecordingError, match=f"no such folder, and no table .*; {layouts}"):
        find_recordings(tmp_path / "missing")


def test_table_of_a_folder_is_that_of_its_recordings(tmp_path, capsys):
    paths = write_cohort(tmp_path, n_subjects=2)
    expected = pd.concat([one_hertz(read_recording(path)) for path in paths], ignore_index=True)
    pd.testing.assert_frame_equal(read_table(tmp_path).table, expected)
    assert capsys.readouterr().err == ""  # no progress for what takes no time


# One row a second


def test_columns():
    table = one_hertz(recording())
    assert list(table.columns) == ["subject", "time", *SIGNALS, "condition", "label"]
    assert table.time.tolist() == list(range(SECONDS))
    assert np.isfinite(table[list(SIGNALS)].to_numpy()).all()


def test_published_signals_are_the_truncated_spectrum_of_the_whole_recording():
    rec = recording()
    table = one_hertz(rec)
    native = {"BVP": rec.bvp, "EDA": rec.eda, "TEMP": rec.temp} | {
        f"ACC_{axis}": rec.acc[:, i] for i, axis in enumerate("xyz")
    }
    for name, values in native.items():
        spectrum = np.fft.rfft(values)[: SECONDS // 2 + 1]
        expected = np.fft.irfft(spectrum, SECONDS) * SECONDS / len(values)
        np.testing.assert_allclose(table[name], expected, atol=1e-9, err_msg=name)


def test_labels():
    codes = np.arange(SECONDS) % 8
    table = one_hertz(recording(label=codes))
    names = ["transient", "baseline", "stress", "amusement", "meditation", "transient", "transient", "transient"]
    assert table.condition.tolist() == [names[code] for code in codes]
    expected = pd.array([{1: 0, 2: 1, 3: 0}.get(code) for code in codes], dtype="Int64")
    pd.testing.assert_extension_array_equal(table.label.array, expected)
    assert set(table.condition) == {studies.NO_CONDITION, *studies.WESAD.codes.values()}


def test_movement_is_that_of_a_slow_loop():
    rec = recording()
    for second, movement in enumerate(one_hertz(rec).ACC_movement):
        norms = [sum(value**2 for value in sample) ** 0.5 for sample in rec.acc[second * 32 : (second + 1) * 32]]
        mean = sum(norms) / 32
        assert movement == pytest.approx((sum((norm - mean) ** 2 for norm in norms) / 32) ** 0.5)


def test_amplitude_is_that_of_a_sine():
    # one period a second, so that every second has the sine's own standard deviation; the ends belong to the filter
    wave = np.repeat([10, 30], 60 * 64) * np.sin(2 * np.pi * np.arange(120 * 64) / 64)
    amplitude = one_hertz(replace(recording(120), bvp=wave)).BVP_amplitude
    np.testing.assert_allclose(amplitude[5:55], 10 / np.sqrt(2), rtol=0.05)
    np.testing.assert_allclose(amplitude[65:115], 30 / np.sqrt(2), rtol=0.05)


def test_signals_may_end_a_little_before_the_label(tmp_path):
    rec = recording()
    short = replace(rec, acc=rec.acc[:-40], bvp=rec.bvp[:-100], eda=rec.eda[:-3])
    table = one_hertz(read_recording(write(tmp_path, content(short))))
    assert len(table) == SECONDS and np.isfinite(table[list(SIGNALS)].to_numpy()).all()
    whole = one_hertz(rec)
    np.testing.assert_allclose(table.ACC_movement[:-2], whole.ACC_movement[:-2])
    np.testing.assert_allclose(table.HR, whole.HR, atol=0.5)


# Heart rate


def test_heart_rate_follows_a_changing_pulse():
    rate = 85 + 25 * np.sin(2 * np.pi * np.arange(900) / 600)
    error = np.abs(heart_rate(pulse_train(rate)) - rate)
    # a median over a minute flattens the crest of a ten-minute wave by 0.8 beats/min, and has half a minute at the ends
    assert error[30:-30].max() < 1 and error.max() < 5


def test_heart_rate_holds_on_through_loud_movement():
    bvp = pulse_train(np.full(600, 64.0))
    movement = np.random.default_rng(0).normal(0, 1000, len(bvp)) * (np.arange(len(bvp)) // 64 % 60 < 20)
    # a third of the time is lost in noise 15 times as strong as the pulse: the median passes over it
    assert np.abs(heart_rate(bvp + movement) - 64).mean() < 0.5


def test_heart_rate_is_found_in_a_pulse_that_gets_small():
    rate = 70 + 20 * np.sin(2 * np.pi * np.arange(900) / 600)
    size = np.interp(np.arange(900 * 64) / 64, [400, 460], [1, 0.03])
    error = np.abs(heart_rate(size * pulse_train(rate)) - rate)
    assert error[30:-30].max() < 1


@pytest.mark.parametrize("bvp", [np.zeros(6400), np.full(6400, 5.0)])
def test_heart_rate_of_no_pulse_is_refused(bvp):
    with pytest.raises(RecordingError, match="BVP holds no pulse"):
        heart_rate(bvp)


def test_heart_rate_of_undisturbed_simulated_people(undisturbed):
    for number in range(2, 8):
        rec, truth = simulate_recording(f"S{number}", 0, undisturbed)
        measured = one_hertz(rec).HR
        minute = pd.Series(truth).rolling(61, center=True, min_periods=1).median()
        print(f"{rec.subject}, simulated, undisturbed: mean error {np.abs(measured - minute).mean():.2f} beats/min")
        # of the minute's rate, which is what is measured; from one second to the next the heart moves by another two
        assert np.abs(measured - minute).mean() < 1.5
        assert np.abs(measured - truth).mean() < 3.5
        assert np.corrcoef(measured, minute)[0, 1] > 0.9


def test_heart_rate_of_simulated_people_who_move():
    """It is as good as the pulse: where movement drowns that, the rate is off by several beats a minute."""
    for number in range(2, 8):
        rec, truth = simulate_recording(f"S{number}", 0)
        minute = pd.Series(truth).rolling(61, center=True, min_periods=1).median()
        off = np.abs(one_hertz(rec).HR - minute).mean()
        print(f"{rec.subject}, simulated, disturbed: mean error {off:.1f} beats/min")
        assert off < 12


# The saved table


def test_saved_table_keeps_each_person_s_range(tmp_path):
    table = read_table(write_cohort(tmp_path, n_subjects=2)[0].parents[1]).table
    table["TEMP"] = 34 + (table.TEMP - table.TEMP.mean()) / 10  # few people's temperature moves less
    save_table(table, tmp_path / "new" / "table.csv")
    loaded = load_table(tmp_path / "new" / "table.csv")
    assert loaded.dtypes.to_dict() == table.dtypes.to_dict()
    signals = list(SIGNALS)
    pd.testing.assert_frame_equal(loaded.drop(columns=signals), table.drop(columns=signals))
    reach = table.groupby("subject")[signals].agg(np.ptp).loc[table.subject].to_numpy()
    assert (np.abs(loaded[signals] - table[signals]).to_numpy() / reach).max() < 5e-6
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.csv"]


def test_labels_are_saved_as_whole_numbers_or_nothing(tmp_path):
    save_table(one_hertz(recording(label=np.arange(SECONDS) % 4)), tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_text().splitlines()[1:5]
    assert [line.rsplit(",", 2)[1:] for line in lines] == [
        ["transient", ""],
        ["baseline", "0"],
        ["stress", "1"],
        ["amusement", "0"],
    ]


def test_killed_while_saving_leaves_the_old_table(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    save_table(one_hertz(recording()), path)
    before = path.read_bytes()

    def killed(table, file, **_):
        Path(file).write_text("subject,ti")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_csv", killed)
    with pytest.raises(KeyboardInterrupt):
        save_table(one_hertz(recording()), path)
    assert path.read_bytes() == before


def test_a_damaged_table_is_refused_or_whole(tmp_path):
    """Cut anywhere, or with a character replaced: one short line, or a table with finite values."""
    path = tmp_path / "table.csv"
    save_table(one_hertz(recording()), path)
    text = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [text[:length] for length in rng.integers(0, len(text), 60)]
    for position in rng.integers(0, len(text), 200):
        damaged.append(text[:position] + bytes(rng.integers(0, 256, 1).astype(np.uint8)) + text[position + 1 :])
    damaged += [text.replace(b"baseline", b"stress\xff"), text.decode().encode("utf-16"), text.replace(b"S2", b"")]
    refused = 0
    for content_ in damaged:
        path.write_bytes(content_)
        try:
            assert np.isfinite(load_table(path)[list(SIGNALS)].to_numpy()).all()
        except RecordingError as error:
            refused += 1
            assert len(str(error)) < 300 + len(str(path)) and "\n" not in str(error)
    assert refused > 60


def test_what_is_no_table_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    for text in ("", "subject,time\nS2,0\n", "\x00"):
        path.write_text(text)
        with pytest.raises(RecordingError, match="cannot be read as a 1 Hz table.*01-Data"):
            load_table(path)
    with pytest.raises(RecordingError, match="missing.csv: cannot be read"):
        load_table(tmp_path / "missing.csv")


# Real recordings


def real_recording(number):
    """A person of WESAD, from the arrays that its pickles are made of."""
    with np.load(WESAD / f"S{number}_wrist.npz") as file:
        label = np.repeat(file["label_1hz"], 700)
        acc, *others = file["ACC"] / 64, *(file[key].astype(float) for key in ("BVP", "EDA", "TEMP"))
        return Recording(f"S{number}", acc, *others, label, 700, studies.WESAD.codes)


@pytest.fixture(scope="module")
def real_table():
    people = [*range(2, 12), *range(13, 18)]  # S1 and S12 were lost to faulty sensors
    return pd.concat([one_hertz(real_recording(number)) for number in people], ignore_index=True)


@needs_wesad
def test_real_pickles_are_read(tmp_path):
    subprocess.run(
        [sys.executable, WESAD / "make_pickles.py", tmp_path, "S2", "S10", "--no-chest"],
        check=True,
        capture_output=True,
    )
    paths = find_recordings(tmp_path)
    assert [path.stem for path in paths] == ["S2", "S10"]
    for path in paths:
        assert_same(read_recording(path), real_recording(int(path.stem[1:])))


@needs_wesad
def test_real_table_has_the_published_rows(real_table):
    assert real_table.label.count() == 33_152
    assert real_table.label.sum() == 9_966
    assert np.isfinite(real_table[list(SIGNALS)].to_numpy()).all()


@needs_wesad
def test_stress_raises_the_heart_rate_of_real_people(real_table):
    mean = real_table.pivot_table(index="subject", columns="condition", values="HR")
    assert (mean.stress > mean.baseline).sum() >= 13  # of 15


@needs_wesad
@pytest.mark.parametrize(
    ("number", "floor", "floor_late"),
    [(2, 0.25, 0.35), (3, 0.65, 0.8), (4, 0.75, 0.8), (5, 0.75, 0.75), (6, 0.45, 0.65)],
)
def test_heart_rate_agrees_with_the_wristband_s(real_table, number, floor, floor_late):
    """The maker's own estimate is no gold standard, smoothed, and about 40 s late; S2's leaps while the hand moves."""
    table = real_table[real_table.subject == f"S{number}"]
    with np.load(WESAD / f"S{number}_hr.npz") as file:
        wristband = pd.Series(file["hr_1hz"][: len(table)], index=table.index, dtype=float)
    labelled = table.label.notna()
    at_once, late = (table.HR[labelled].corr(wristband.shift(-shift)[labelled]) for shift in (0, 40))
    print(f"S{number}, real: correlation with the wristband's rate {at_once:.2f}, with that of 40 s later {late:.2f}")
    assert at_once > floor and late > floor_late


@needs_wesad
def test_real_table_keeps_each_person_s_range_when_saved(real_table, tmp_path):
    save_table(real_table, tmp_path / "table.csv")
    loaded, signals = load_table(tmp_path / "table.csv"), list(SIGNALS)
    reach = real_table[real_table.label.notna()].groupby("subject")[signals].agg(np.ptp).loc[real_table.subject]
    assert (np.abs(loaded[signals] - real_table[signals]).to_numpy() / reach.to_numpy()).max() < 5e-6
