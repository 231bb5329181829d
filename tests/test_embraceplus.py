"""EmbracePlus: a person's files are the same table as their pickle, gaps stay gaps, and what is no file is refused."""

import json
import tracemalloc
import zlib
from dataclasses import replace
from io import BytesIO

import fastavro
import numpy as np
import pandas as pd
import pytest
from scipy.signal import resample_poly
from test_readers import export, state

from wearsynth import embraceplus
from wearsynth.exports import CONDITIONS
from wearsynth.readers import find_people, find_recordings, read_table
from wearsynth.recordings import SIGNALS, RecordingError
from wearsynth.resampling import one_hertz
from wearsynth.simulation import simulate_recording
from wearsynth.studies import WESAD

START = 1_644_227_574.256034  # s since 1970; no wristband begins on the second
SECONDS = 900
G_PER_UNIT = 32 / 65536
RATES = {"ACC": 64, "BVP": 64, "EDA": 4, "TEMP": 1}
COLUMNS = {"ACC": "x,y,z", "BVP": "bvp", "EDA": "eda", "TEMP": "temperature"}
STREAM = [{"name": "timestampStart", "type": "long"}, {"name": "samplingFrequency", "type": "float"}]
FLOATS = {"type": "array", "items": "float"}
INTEGERS = {"type": "array", "items": "int"}


def record(name, *fields):
    return {"type": "record", "name": name, "fields": [*fields]}


def field(name, kind):
    return {"name": name, "type": kind}


def schema_of(scale):
    """A subset of the maker's, by its names; of acceleration's scale there are two versions."""
    imu = record("ImuParams", *(field(name, "double") for name in scale))
    acc = record("Imu", *STREAM, field("imuParams", imu), *(field(axis, INTEGERS) for axis in "xyz"))
    tags = record("Tags", field("tagsTimeMicros", {"type": "array", "items": "long"}))
    raw = [field("accelerometer", acc), field("eda", record("Floats", *STREAM, field("values", FLOATS)))]
    raw += [field("temperature", "Floats"), field("bvp", "empatica.Floats"), field("tags", tags)]
    enrollment = record("Enrollment", field("participantID", "string"))
    session = record("Session", field("enrollment", enrollment), field("rawData", record("RawData", *raw)))
    return session | {"namespace": "empatica"}


SCALE = {"physicalMin": -16, "physicalMax": 16, "digitalMin": -32768, "digitalMax": 32768}


def streams(person, first, last, rates, off=(), late=None):
    """Of each signal (start in s, rate, values), from one second to another."""
    found = {}
    for signal, rate in (RATES | rates).items():
        values, own = getattr(person, signal.lower()), {"ACC": 32, "BVP": 64}.get(signal, 4)
        values = resample_poly(values, 2, 1, padtype="line") if rate == 2 * own else values[:: own // rate or 1]
        begin = first - (late or {}).get(signal, 0)  # such a sensor repeats its first value until the others begin
        found[signal] = begin, rate, values[np.arange(begin * rate, last * rate).clip(first * rate)]
        if signal in off:
            found[signal] = 0, 0, values[:0]
    return found


def write_avro(path, found, start=START, tags=(), scale=SCALE, codec="deflate", change=lambda content: None):
    raw = {"tags": {"tagsTimeMicros": [round((start + tag) * 1e6) for tag in tags]}}
    for signal, (begin, rate, values) in found.items():
        stamp = {"timestampStart": round((start + begin) * 1e6) if rate else 0, "samplingFrequency": rate}
        if signal == "ACC":
            units = np.round(values / G_PER_UNIT).astype(int).T.tolist()
            raw["accelerometer"] = stamp | {"imuParams": scale} | dict(zip("xyz", units, strict=True))
        else:
            raw[{"TEMP": "temperature"}.get(signal, signal.lower())] = stamp | {"values": values.tolist()}
    content = {"enrollment": {"participantID": "1-1-7"}, "rawData": raw}
    change(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        fastavro.writer(file, schema_of(scale), [content], codec=codec)


def write_csvs(folder, found, start=START, tags=()):
    """As the maker's script does."""
    folder.mkdir(parents=True, exist_ok=True)
    for signal, (begin, rate, values) in found.items():
        micros = np.round(round((start + begin) * 1e6) + np.arange(len(values)) * (1e6 / (rate or 1))).astype(int)
        table = pd.DataFrame(values.reshape(len(values), -1), columns=COLUMNS[signal].split(","))
        table.insert(0, "unix_timestamp", micros)
        table.to_csv(folder / f"{embraceplus.FILES[signal][0]}.csv", index=False)
    (folder / "tags.csv").write_text("\n".join(["tags_timestamp", *(str(round((start + tag) * 1e6)) for tag in tags)]))


def write(folder, person, cuts=((0, 500), (500, 700), (700, SECONDS)), layout="avro", rates=None, **how):
    """A person's files, from one second to another each."""
    for first, last in cuts:
        found = streams(person, first, last, rates or {})
        if layout == "avro":
            write_avro(folder / f"1-1-7_{first:04}.avro", found, **how)
        else:
            write_csvs(folder / f"from_{first:04}", found, **how)


@pytest.fixture(scope="module")
def person():
    """A quarter of an hour about the beginning of the stress test."""
    whole, _ = simulate_recording("S2", 0)
    first = int(np.flatnonzero(whole.label == 2)[0] / 700) - SECONDS // 2
    rates = {"acc": 32, "bvp": 64, "eda": 4, "temp": 4, "label": 700}
    cut = {name: getattr(whole, name)[first * rate : (first + SECONDS) * rate] for name, rate in rates.items()}
    return replace(whole, **cut)


@pytest.fixture(scope="module")
def expected(person):
    return one_hertz(person)


@pytest.fixture
def folder(person, tmp_path):
    write(tmp_path / "S2", person)
    state(tmp_path, {"S2": person})
    return tmp_path


# Temperature has a sample where the pickle has four: what it does in between, in steps of hundredths, is lost. Of
# acceleration at 64 Hz the filter takes what is faster than 14 Hz, little of a hand's movement of up to 0.12 g. The
# rest is the same number: floats of four bytes, and acceleration in 1/64 g, which is 32 of the EmbracePlus's steps.
ERRORS = dict.fromkeys(SIGNALS, 1e-6) | {"TEMP": 0.02}
AT_64_HZ = ERRORS | dict.fromkeys(SIGNALS[2:5], 3e-4) | {"ACC_movement": 1e-3}


def assert_same(table, expected, errors=ERRORS):
    pd.testing.assert_frame_equal(table[["condition", "label"]], expected[["condition", "label"]])
    for name in SIGNALS:
        np.testing.assert_allclose(table[name], expected[name], atol=errors[name], rtol=0, err_msg=name)


@pytest.mark.parametrize("rate", [32, 64])
@pytest.mark.parametrize("layout", ["avro", "csv"])
def test_files_give_what_a_pickle_gives(person, expected, tmp_path, layout, rate):
    write(tmp_path / "S2" / "raw_data" / "v6", person, layout=layout, rates={"ACC": rate})
    state(tmp_path, {"S2": person})
    assert find_people(tmp_path) == ["S2"] and len(find_recordings(tmp_path)) == {"avro": 4, "csv": 16}[layout]
    assert_same(read_table(tmp_path).table, expected, AT_64_HZ if rate == 64 else ERRORS)


@pytest.mark.parametrize(
    ("start", "zone"),
    [(START + 12_345.678901, None), (START, "UTC"), (START, "Asia/Kolkata"), (1_793_000_000.0, "Asia/Kolkata")],
)
def test_conditions_are_the_same_in_whatever_clock(person, expected, tmp_path, start, zone):
    write(tmp_path / "S2", person, start=start)
    times = {None: str}.get(
        zone, lambda time: pd.Timestamp(start + time, unit="s", tz="UTC").tz_convert(zone).isoformat()
    )
    state(tmp_path, {"S2": person}, how=times)
    assert read_table(tmp_path).table["condition"].equals(expected["condition"])


def read(folder):
    """S2's recordings at their native rates."""
    return embraceplus.read(folder, "S2", embraceplus.find(folder)["S2"], WESAD)


def test_a_samples_time_counts_and_not_its_number(person, tmp_path):
    """At the rates that wristbands have, 15 minutes of a slow wave end a quarter of a second later than at 4 Hz."""
    rates = {"EDA": 3.9988773, "BVP": 63.99}

    def wave(time):
        return 2 + np.sin(2 * np.pi * time / 10)

    found = streams(person, 0, SECONDS, {})
    for signal, rate in rates.items():
        found[signal] = 0, rate, wave(np.arange(int(SECONDS * rate)) / rate)
    write_avro(tmp_path / "S2" / "a.avro", found)
    state(tmp_path, {"S2": person})
    (one,) = read(tmp_path)
    line = (2 * np.pi / 10 / 3.99) ** 2 / 8  # of a straight line from one sample to the next: curvature / 8
    nearest = 2 * np.pi / 10 / 63.99 / 2  # of the nearest sample: slope / 2
    for values, rate, most in ((one.eda, 4, line), (one.bvp, 64, nearest)):
        inside = np.arange(len(values) - 2 * rate)  # behind, the last sample stands for what follows it
        np.testing.assert_allclose(values[inside], wave(inside / rate), atol=most + 1e-5)


def test_fast_acceleration_is_filtered_and_not_folded(person, tmp_path):
    """At 32 Hz, 28 Hz would pass for 4 Hz; pairs' means would leave a fifth of it."""
    tones = np.sin(2 * np.pi * np.outer(np.arange(SECONDS * 64) / 64, [5, 28, 1])) + [0, 0, 1]
    write_avro(tmp_path / "S2" / "a.avro", streams(person, 0, SECONDS, {}) | {"ACC": (0, 64, tones)})
    state(tmp_path, {"S2": person})
    inside = read(tmp_path)[0].acc[64:-64]
    np.testing.assert_allclose(inside, tones[::2][64:-64] * [1, 0, 1], atol=0.01)


def test_signals_that_start_earlier_are_cut(person, expected, tmp_path):
    write_avro(tmp_path / "S2" / "a.avro", streams(person, 0, SECONDS, {"ACC": 32}, late={"EDA": 7, "ACC": 3}))
    state(tmp_path, {"S2": person})
    assert_same(read_table(tmp_path).table, expected)


@pytest.mark.parametrize("layout", ["avro", "csv"])
@pytest.mark.parametrize(("gap", "filled", "missing"), [(4, 4, 0), (40, 0, 40)])
def test_a_gap_between_files_is_filled_or_left_out(person, expected, tmp_path, layout, gap, filled, missing):
    write(tmp_path / "S2", person, ((0, 200), (200 + gap, SECONDS)), layout)
    state(tmp_path, {"S2": person})
    table, quality, _ = read_table(tmp_path)
    assert len(table) == SECONDS and table["time"].diff().max() == 1
    assert quality.loc["S2", ["filled, s", "missing, s"]].tolist() == [pytest.approx(filled, abs=0.1), missing]
    assert (table["condition"][200 : 200 + missing] == "transient").all()
    other = np.r_[:200, 200 + missing : SECONDS]
    assert table["condition"][other].equals(expected["condition"][other])


def test_a_long_pause_begins_another_recording_on_the_same_clock(person, expected, tmp_path):
    write(tmp_path / "S2", person, ((0, 300), (300, 430), (600, SECONDS)))
    state(tmp_path, {"S2": person})
    table = read_table(tmp_path).table
    seconds = np.r_[:430, 600:SECONDS]
    assert table["time"].tolist() == seconds.tolist()
    assert table["condition"].tolist() == expected["condition"][seconds].tolist()


def test_a_sensor_that_was_off_leaves_a_gap(person, tmp_path):
    write(tmp_path / "S2", person, ((0, 500), (540, SECONDS)))
    write_avro(tmp_path / "S2" / "off.avro", streams(person, 500, 540, {}, off=["BVP", "TEMP"]))
    state(tmp_path, {"S2": person})
    one, *others = read(tmp_path)
    assert one.repaired["missing"] == 40 and not others
    np.testing.assert_allclose(one.eda, person.eda, atol=1e-5)


@pytest.mark.parametrize("layout", ["avro", "csv"])
def test_times_may_be_tags(folder, person, layout):
    write(folder / "S3", person, layout=layout, tags=(700.3, 650.0))
    (folder / CONDITIONS).write_text("person,start,end,condition\nS3,60,300,baseline\nS3,tag 1,tag 2,stress\n")
    (one,) = embraceplus.read(folder, "S3", embraceplus.find(folder)["S3"], WESAD)
    codes = {condition: code for code, condition in one.conditions.items()}
    assert np.flatnonzero(one.label == codes["stress"]).tolist() == [*range(650, 700)]


def test_later_schemas_give_a_factor(person, expected, tmp_path):
    write(tmp_path / "S2", person, rates={"ACC": 32}, scale={"conversionFactor": G_PER_UNIT}, codec="null")
    state(tmp_path, {"S2": person})
    assert_same(read_table(tmp_path).table, expected)


# What is refused


def changed(person, name, **how):
    """Spoils S2's first file: `change` its content, or one signal's (start, rate, values)."""

    def spoil(folder):
        found = streams(person, 0, 500, {})
        if "signal" in how:
            begin, rate, values = found[name]
            found[name] = how["signal"](begin, rate, values)
        write_avro(folder / "S2" / "1-1-7_0000.avro", found, **{key: how[key] for key in how if key != "signal"})

    return spoil


def another_participant(content):
    content["enrollment"]["participantID"] = "1-1-8"


def shifted(folder):
    """The second file once more, a little later."""
    data = (folder / "S2" / "1-1-7_0500.avro").read_bytes()
    (folder / "S2" / "1-1-7_0501.avro").write_bytes(data)


def cut_short(folder):
    path = folder / "S2" / "1-1-7_0500.avro"
    path.write_bytes(path.read_bytes()[:-1000])


def other_schema(folder):
    with (folder / "S2" / "1-1-7_0500.avro").open("wb") as file:
        fastavro.writer(
            file, record("Other", field("rawData", record("Raw", field("steps", "int")))), [{"rawData": {"steps": 1}}]
        )


def several_records(folder):
    with (folder / "S2" / "1-1-7_0500.avro").open("wb") as file:
        fastavro.writer(file, record("Other", field("steps", "int")), [{"steps": 1}] * 3)


def without_acceleration(folder):
    for path in (folder / "S2").iterdir():
        with path.open("rb") as file:
            content = next(fastavro.reader(file))
        for axis in "xyz":
            content["rawData"]["accelerometer"][axis] = []
        with path.open("wb") as file:
            fastavro.writer(file, schema_of(SCALE), [content])


REFUSED = {
    "truncated": (cut_short, "0500.avro: cannot be read as Avro .*Get it again"),
    "no Avro": (lambda at: (at / "S2" / "a.avro").write_text("<html>"), "a.avro: cannot be read as Avro|begins with"),
    "another schema": (other_schema, "0500.avro: has no 'rawData/accelerometer': expected an EmbracePlus's record"),
    "several records": (several_records, "0500.avro: holds 3 records"),
    "no acceleration": (without_acceleration, "S2: no file holds any accelerometer; leave the person out"),
    "once more": (shifted, "0501.avro: accelerometer begins 200.0 s before the file before it has ended"),
    "both layouts": (
        lambda at: (at / "S2" / "accelerometer.csv").touch(),
        "S2: has 1-1-7_0000.avro, and CSVs in .*S2; leave",
    ),
    "no conditions": (lambda at: (at / CONDITIONS).unlink(), "conditions.csv: no such file"),
    "a folder": (lambda at: (at / "S2" / "a.avro").mkdir(), "a.avro: is no regular file"),
}
SPOILED = {
    "another participant": ("BVP", {"change": another_participant}, "S2: holds recordings of '1-1-7' and '1-1-8'"),
    "another packing": ("BVP", {"codec": "bzip2"}, "0000.avro: is packed by b'bzip2': expected deflate or null"),
    "milliseconds": ("BVP", {"start": START / 1000}, "has a time stamp of 1.64423e.12: expected microseconds"),
    "another rate": ("EDA", {"signal": lambda *of: (of[0], 8, of[2])}, "eda has a rate of 8 Hz: expected 4 Hz; leave"),
    "no rate": ("EDA", {"signal": lambda *of: (1, 1e-9, of[2])}, "eda has a"),
    "no range": ("ACC", {"scale": dict.fromkeys(SCALE, 0)}, "cannot be read as Avro .ZeroDivisionError"),
    "other units": ("ACC", {"scale": SCALE | {"physicalMax": 1600}}, "ACC reaches from"),
}


def assert_refused(folder, message):
    with pytest.raises(RecordingError, match=message) as caught:
        read_table(folder)
    assert str(caught.value).startswith(str(folder)) and "\n" not in str(caught.value)


def test_two_wristbands_at_once_are_refused(folder, person):
    export(person, folder / "S3")
    with pytest.raises(RecordingError, match="an Empatica E4's exports.* and an EmbracePlus's recordings.* at once"):
        find_people(folder)


def test_more_than_a_week_without_a_pause_is_refused(folder, monkeypatch):
    monkeypatch.setattr(embraceplus, "MOST_SECONDS", SECONDS - 1)
    assert_refused(folder, "0000.avro: and what follows lasts 900 s: expected at most 899")


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_files_that_are_refused(folder, spoil, message):
    spoil(folder)
    assert_refused(folder, message)


@pytest.mark.parametrize(("name", "how", "message"), SPOILED.values(), ids=SPOILED)
def test_values_that_are_refused(folder, person, name, how, message):
    changed(person, name, **how)(folder)
    assert_refused(folder, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("unix_timestamp,eda", "unix_timestamp,uS", "eda.csv: columns 'unix_timestamp,uS': expected the columns"),
        ("unix_timestamp,eda", "unix_timestamp,eda\n1644227574256033,a", "eda.csv: .*: expected numbers"),
        ("unix_timestamp,eda", "unix_timestamp,eda\n1644227999256033,1", "eda.csv: .* 4.25e.08 us before the last"),
    ],
)
def test_csvs_that_are_refused(person, tmp_path, old, new, message):
    write(tmp_path / "S2", person, ((0, 300),), "csv")
    state(tmp_path, {"S2": person})
    path = tmp_path / "S2" / "from_0000" / "eda.csv"
    path.write_text(path.read_text().replace(old, new))
    assert_refused(tmp_path, message)


def container(path, schema, packed, codec=b"deflate"):
    """A file of one record, whose schema is given, and whose bytes are what they are."""
    content, sync = BytesIO(), bytes(16)
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec}
    fastavro.schemaless_writer(content, embraceplus.HEADER, {"magic": b"Obj\x01", "meta": meta, "sync": sync})
    fastavro.schemaless_writer(content, "long", 1)
    fastavro.schemaless_writer(content, "bytes", packed)
    path.write_bytes(content.getvalue() + sync)


BOMBS = {
    "unpacks to more than fits": (record("A", field("a", FLOATS)), zlib.compress(bytes(2**27), wbits=-15), "more than"),
    "an array of nothing": (record("A", field("a", {"type": "array", "items": "null"})), b"", "has 'null' in its"),
    "an array of empty records": (
        record("A", field("a", {"type": "array", "items": record("B")})),
        b"",
        "has 'B' .*nothing",
    ),
    "a record within itself": (record("A", field("a", "A")), b"", "has 'A' in its schema"),
    "a name that stands for two": (record("n.A", field("a", record("m.A", field("b", "int")))), b"", "has 'A' twice"),
}


@pytest.mark.parametrize(("schema", "packed", "message"), BOMBS.values(), ids=BOMBS)
def test_a_few_bytes_that_announce_what_nobody_has_the_memory_for(tmp_path, schema, packed, message):
    (tmp_path / "S2").mkdir()
    container(tmp_path / "S2" / "bomb.avro", schema, packed)
    tracemalloc.start()
    assert_refused(tmp_path, f"bomb.avro: has .*{message.removeprefix('has ')}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * embraceplus.MOST_BYTES  # the first would unpack to four times that
