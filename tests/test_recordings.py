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

from wearsynth.recordings import (
    CONDITIONS,
    SIGNALS,
    Recording,
    RecordingError,
    find_recordings,
    heart_rate,
    load_table,
    one_hertz,
    read_recording,
    read_table,
    save_table,
)
from wearsynth.simulation import simulate_recording, write_cohort

WESAD = Path(__file__).parents[1].parent / "shared" / "wesad"
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


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
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
    assert "has no 'subject'" in refusal(write(tmp_path, pickle.dumps([1, 2])))


@pytest.mark.parametrize(
    "name", ["subject", "label", "signal", "signal/wrist", "signal/wrist/ACC", "signal/wrist/TEMP"]
)
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
        ({"temp": np.r_[np.ones(SECONDS * 4 - 2), np.nan, np.inf]}, "TEMP has 2 values that are not finite"),
        ({"bvp": np.zeros(SECONDS * 64)}, "BVP never changes"),
    ],
)
def test_incomplete_recordings_are_refused(tmp_path, changes, message):
    assert message in refusal(write(tmp_path, content(replace(recording(), **changes))))


def test_recordings_are_found_in_order_of_number(tmp_path):
    for name in ("S10", "S2", "S3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.pkl").touch()
    (tmp_path / "S2" / "S2_quest.csv").touch()
    (tmp_path / "S3" / "S2.pkl").touch()
    assert [path.stem for path in find_recordings(tmp_path)] == ["S2", "S3", "S10"]


def test_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="no recording in it; expected WESAD's layout.*S2/S2.pkl"):
        find_recordings(tmp_path)
    with pytest.raises(RecordingError, match="no such folder; expected WESAD's layout"):
        find_recordings(tmp_path / "missing")


def test_table_of_a_folder_is_that_of_its_recordings(tmp_path, capsys):
    paths = write_cohort(tmp_path, n_subjects=2)
    expected = pd.concat([one_hertz(read_recording(path)) for path in paths], ignore_index=True)
    pd.testing.assert_frame_equal(read_table(tmp_path), expected)
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
    assert set(table.condition) == set(CONDITIONS.values())


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


def test_heart_rate_of_simulated_people():
    people = [simulate_recording(f"S{number}", seed=0) for number in range(2, 8)]
    for rec, truth in people:
        measured = one_hertz(rec).HR
        minute = pd.Series(truth).rolling(61, center=True, min_periods=1).median()
        print(f"{rec.subject}, simulated: mean error {np.abs(measured - minute).mean():.1f} beats/min")
        # of the minute's rate, which is what is measured, 0.3 to 1.0 beats/min; from one second to the next the heart
        # itself moves by another two
        assert np.abs(measured - minute).mean() < 1.5
        assert np.abs(measured - truth).mean() < 3.5
        assert np.corrcoef(measured, minute)[0, 1] > 0.9


# The saved table


def test_saved_table_keeps_each_person_s_range(tmp_path):
    table = read_table(write_cohort(tmp_path, n_subjects=2)[0].parents[1])
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
        return Recording(
            f"S{number}", file["ACC"] / 64, *(file[key].astype(float) for key in ("BVP", "EDA", "TEMP")), label
        )


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
