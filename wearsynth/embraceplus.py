"""Recordings of an Empatica EmbracePlus, with a table that says who was in which condition when.

    recordings/P01/*.avro                   as in the maker's cloud: in the folder, or anywhere below (raw_data/v6/)
    recordings/P01/accelerometer.csv, bvp.csv, eda.csv, temperature.csv, and tags.csv where there are any: likewise
    recordings/conditions.csv               person,start,end,condition

A person has many files, of some 15 to 60 minutes each. The format is that of the maker's article "How to access Avro
files with Python" (support.empatica.com, 17405877853981; schema 6), whose script writes the CSVs: a record a file; of
each sensor when it started, in microseconds since 1970, how many samples it took a second, and these; acceleration in
integers, of a range in g, and from schema 6.5 on of a conversion factor. The rates are of examples that others have
published, such as 63.9999 and 3.9989 Hz (RADAR-base; ParaDigMa): a sample's time counts, and not its number.
"""

import json
import zlib
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly

from wearsynth.exports import CONDITIONS, Session, put_together, read_csv
from wearsynth.recordings import WRIST, Recording, RecordingError, entry, shown
from wearsynth.studies import Study

LAYOUT = f"an EmbracePlus's recordings, P01/*.avro or P01/accelerometer.csv ..., and {CONDITIONS}"
FILES = {  # signal: what files call it, its columns in a CSV, its rates in Hz
    "ACC": ("accelerometer", ("x", "y", "z"), (32, 64)),
    "BVP": ("bvp", ("bvp",), (64,)),
    "EDA": ("eda", ("eda",), (4,)),
    "TEMP": ("temperature", ("temperature",), (1, 4)),
}
RATE_TOLERANCE = 0.02
LONGEST_STEP = 1.5  # times a sample's duration; what is further apart has a gap in between
LONGEST_PAUSE = 60  # s without a sample, after which another recording of the person begins
LARGEST_OVERLAP = 1.0  # s, by which a file may begin too early: the wristband sets its clock
MICROSECONDS = (1e15, 1e16)  # since 1970: from 2001 to 2286
MOST_SECONDS = 7 * 86_400  # between two pauses: the battery holds no longer
MOST_BYTES = 2**25  # of an Avro file, packed or not: an hour has 5 million
PLAIN = ("boolean", "int", "long", "float", "double", "bytes", "string")  # each takes a byte at least
_entry = partial(entry, expected="an EmbracePlus's record, schema 6; leave it out")
HEADER = {
    "type": "record",
    "name": "header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
    ],
}


class Part(NamedTuple):
    """What one file holds, or one folder of CSVs: of each signal when samples were taken, s since 1970, and values."""

    path: Path
    participant: str | None
    signals: dict[str, tuple[np.ndarray, np.ndarray]]
    tags: list[float]


def find(folder: Path) -> dict[str, list[Path]]:
    """Finds the files in a folder.

    Args:
        folder: see above.

    Returns:
        Person -> their Avro files, or folders of CSVs; none where it is not laid out so.

    Raises:
        RecordingError: somebody has both.
    """
    people = {}
    for child in sorted(folder.iterdir()) if folder.is_dir() else []:
        below = sorted(child.rglob("*"))
        avro = [path for path in below if path.suffix.lower() == ".avro"]
        tables = [path.parent for path in below if path.name == "accelerometer.csv"]
        if avro and tables:
            raise RecordingError(f"{child}: has {avro[0].name}, and CSVs in {tables[0]}; leave either out")
        if avro or tables:
            people[child.name] = avro or tables
    return people


def read(folder: Path, name: str, files: list[Path], study: Study) -> list[Recording]:
    """Reads one person's files.

    Args:
        folder: where `find` found them; holds the table of conditions.
        name: the person.
        files: theirs.
        study: not asked: conditions are named.

    Returns:
        Their recordings, by time: one between two pauses.

    Raises:
        RecordingError: a file is damaged, or is not what the wristband writes.
    """
    parts = [_of_avro(path) if path.suffix.lower() == ".avro" else _of_tables(path) for path in files]
    participants = sorted({part.participant for part in parts} - {None})
    if len(participants) > 1:  # a day's folder in the cloud holds all people's
        raise RecordingError(
            f"{folder / name}: holds recordings of {shown(participants[0])} and {shown(participants[1])}: expected one "
            "person's; give each a folder of their own"
        )
    signals = {signal: _joined(folder / name, parts, signal) for signal in FILES}
    starts = sorted((part.signals["ACC"][0][0], part.path) for part in parts if len(part.signals["ACC"][0]))
    sessions = []
    for start, end in _stretches(signals):
        path = [path for begin, path in starts if begin <= start][-1]
        if end - start > MOST_SECONDS:
            raise RecordingError(
                f"{path}: and what follows lasts {end - start:.0f} s: expected at most {MOST_SECONDS}; leave out files "
                "of times that no condition names"
            )
        sampled = {signal: _sampled(*signals[signal], signal, start, int(end - start + 1e-3)) for signal in FILES}
        sessions.append(Session(path, start, sampled))
    if not sessions:
        raise RecordingError(f"{folder / name}: its signals were never recorded at one time; leave the person out")
    return put_together(folder, name, sessions, sorted({tag for part in parts for tag in part.tags}), study)


def _joined(person, parts, signal):
    """All of a signal, by time: when samples were taken, (n,), and values, (n, columns)."""
    parts = sorted(
        (part for part in parts if len(part.signals[signal][0])), key=lambda part: part.signals[signal][0][0]
    )
    if sum(len(part.signals[signal][0]) for part in parts) < 2:
        raise RecordingError(f"{person}: no file holds any {FILES[signal][0]}; leave the person out")
    joined, end = [], -np.inf
    for part in parts:
        times, values = part.signals[signal]
        if end - times[0] > LARGEST_OVERLAP:
            raise RecordingError(
                f"{part.path}: {FILES[signal][0]} begins {end - times[0]:.1f} s before the file before it has ended: "
                "expected one after the other; leave one out"
            )
        joined.append((times[times > end], values[times > end]))
        end = max(end, times[-1])
    return tuple(np.concatenate(both) for both in zip(*joined, strict=True))


def _stretches(signals):
    """Starts and ends of the time, between pauses, in which there are all signals."""
    common = [(-np.inf, np.inf)]
    for signal, (times, _) in signals.items():
        pauses = np.flatnonzero(np.diff(times) > LONGEST_PAUSE)
        starts = times[np.r_[0, pauses + 1]]
        ends = times[np.r_[pauses, len(times) - 1]] + 1 / FILES[signal][2][0]  # a sample stands for what follows it
        common = [(max(a, c), min(b, d)) for a, b in common for c, d in zip(starts, ends, strict=True)]
        common = [(start, end) for start, end in common if end - start >= 1]  # less has no row in the table
    return common


def _sampled(times, values, signal, start, n_seconds):
    """So many seconds of a signal at the rate that recordings have; NaN where there is a gap.

    Of fast signals the nearest sample counts, as a straight line would flatten them; slow ones are interpolated. What
    was sampled too often is low-pass filtered, or movement that is too fast for the rate would pass for a slow one.
    """
    rate = WRIST[signal][0]
    factor = max(round(1 / np.median(np.diff(times)) / rate), 1)
    dense = np.arange(n_seconds * rate * factor) / (rate * factor) + start
    number = np.searchsorted(times, dense, side="right").clip(1, len(times) - 1)
    before, after = times[number - 1], times[number]
    if rate < 32:
        sampled = np.stack([np.interp(dense, times, column) for column in values.T], axis=1)
    else:
        sampled = values[number - (dense - before < after - dense)]
    if factor > 1:
        sampled = resample_poly(sampled, 1, factor, padtype="line")
    step = 1 / FILES[signal][2][0]  # of the slowest; for so long a sample stands, to the millisecond
    gap = (after - before > LONGEST_STEP * step) & (dense - before > step - 1e-3) & (dense < after)
    sampled[gap.reshape(-1, factor).any(axis=1)] = np.nan
    return sampled if WRIST[signal][1] > 1 else sampled[:, 0]


def _samples(micros, values, signal):
    """A signal of a file, from time stamps and (n, columns) values, which are both as in the file."""
    name, columns, rates = FILES[signal]
    if len(micros) < 2:  # the sensor was off; one sample has no rate
        return np.zeros(0), np.zeros((0, len(columns)))
    wrong = micros[~((micros >= MICROSECONDS[0]) & (micros < MICROSECONDS[1]))]
    if len(wrong):
        raise RecordingError(f"{name} has a time stamp of {wrong[0]:g}: expected microseconds since 1970; get it again")
    steps = np.diff(micros)
    if not (steps > 0).all():
        raise RecordingError(f"{name} has a time stamp {abs(steps.min()):g} us before the last: expected growing ones")
    rate = 1e6 / np.median(steps)
    if min(abs(rate / expected - 1) for expected in rates) > RATE_TOLERANCE:
        expected = " or ".join(f"{rate} Hz" for rate in rates)
        raise RecordingError(f"{name} has a rate of {rate:.4g} Hz: expected {expected}; leave the recording out")
    there = np.isfinite(values).all(axis=1)
    return micros[there] / 1e6, values[there]


def _of_tables(folder):
    """The CSVs of a folder."""
    signals = {}
    for signal, (name, columns, _) in FILES.items():
        path = folder / f"{name}.csv"
        table = _table(path, ["unix_timestamp", *columns])
        try:
            signals[signal] = _samples(table[:, 0], table[:, 1:], signal)
        except RecordingError as error:
            raise RecordingError(f"{path}: {error}") from None
    tags = folder / "tags.csv"
    return Part(folder, None, signals, [*_table(tags, ["tags_timestamp"])[:, 0] / 1e6] if tags.exists() else [])


def _table(path, columns):
    """The numbers of a CSV with these columns."""
    expected = f"the columns {','.join(columns)}"
    table = read_csv(path, expected, LAYOUT)
    if [*table.columns] != columns:
        raise RecordingError(f"{path}: columns {shown(','.join(map(str, table.columns)))}: expected {expected}")
    try:
        return table.to_numpy(float)
    except (TypeError, ValueError) as error:
        raise RecordingError(f"{path}: {shown(str(error))}: expected numbers") from None


def _of_avro(path):
    """An Avro file."""
    try:
        record = _record(path)
        signals = {signal: _sensor(_entry(record, f"rawData/{FILES[signal][0]}"), signal) for signal in FILES}
        tags = np.array(_entry(record, "rawData").get("tags", {}).get("tagsTimeMicros", []), float) / 1e6
        participant = record.get("enrollment", {}).get("participantID")
        return Part(path, participant and str(participant), signals, [*tags])
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from None
    except Exception as error:  # a damaged file raises nearly anything, from EOFError to SchemaParseException
        reason = f"{type(error).__name__}: {shown(' '.join(str(error).split()))}"
        raise RecordingError(f"{path}: cannot be read as Avro ({reason}); is it damaged? Get it again") from None


def _sensor(sensor, signal):
    """A signal of a file's record."""
    axes = ("x", "y", "z") if signal == "ACC" else ("values",)
    values = np.array([_entry(sensor, axis) for axis in axes], float).reshape(len(axes), -1).T
    rate, start = float(_entry(sensor, "samplingFrequency")), float(_entry(sensor, "timestampStart"))
    if len(values) and not rate > 0:
        raise RecordingError(f"{FILES[signal][0]} has a rate of {rate:g} Hz, and values; leave the recording out")
    if signal == "ACC" and len(values):
        values *= _g_per_unit(_entry(sensor, "imuParams"))
    return _samples(start + np.arange(len(values)) * (1e6 / (rate or 1)), values, signal)


def _g_per_unit(scale):
    """What an integer of the acceleration stands for."""
    if "conversionFactor" in scale:
        return float(scale["conversionFactor"])
    physical = float(_entry(scale, "physicalMax")) - float(_entry(scale, "physicalMin"))
    return physical / (float(_entry(scale, "digitalMax")) - float(_entry(scale, "digitalMin")))


def _record(path):
    """The one record of an Avro file, of which no more is unpacked than MOST_BYTES: zlib's thousandfold at most."""
    from fastavro import parse_schema, schemaless_reader  # takes a while to import; only these recordings need it

    if not path.is_file():  # a pipe would be waited for
        raise RecordingError("is no regular file; give the recording itself")
    with path.open("rb") as file:
        content = BytesIO(file.read(MOST_BYTES + 1))
    header = schemaless_reader(content, HEADER)
    if header["magic"] != b"Obj\x01":
        raise RecordingError(f"begins with {shown(header['magic'])}: expected an Avro file")
    schema = json.loads(header["meta"]["avro.schema"])
    _check_schema(schema, {})
    records, packed = schemaless_reader(content, "long"), schemaless_reader(content, "bytes")
    if records != 1 or content.read(17) != header["sync"]:
        raise RecordingError(f"holds {shown(records)} records, and maybe more: expected one and no more; get it again")
    codec = header["meta"].get("avro.codec", b"null")
    if codec not in (b"null", b"deflate"):
        raise RecordingError(f"is packed by {shown(codec)}: expected deflate or null; write it anew")
    if codec == b"deflate":
        packed = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, MOST_BYTES + 1)
    if len(packed) > MOST_BYTES or content.getbuffer().nbytes > MOST_BYTES:
        raise RecordingError(f"has more than {MOST_BYTES} bytes, packed or not; leave it out")
    return schemaless_reader(BytesIO(packed), parse_schema(schema))


def _check_schema(schema, known):
    """Refuses what takes no byte, or holds itself: a few bytes would announce what nobody has the memory for."""
    if isinstance(schema, list):
        for branch in schema:
            if branch != "null":  # which branch it is takes a byte
                _check_schema(branch, known)
    elif isinstance(schema, str):
        if schema not in PLAIN and not known.get(schema.rpartition(".")[2]):
            raise RecordingError(
                f"has {shown(schema)} in its schema: expected an EmbracePlus's, schema 6; leave it out"
            )
    elif schema["type"] in ("record", "enum", "fixed"):
        name = schema["name"].rpartition(".")[2]
        if name in known or not (schema.get("fields") or schema.get("symbols") or schema.get("size")):
            raise RecordingError(f"has {shown(name)} twice in its schema, or with nothing in it; leave it out")
        known[name] = False  # until it is complete
        for field in schema.get("fields", []):
            _check_schema(field["type"], known)
        known[name] = True
    else:
        inner = "items" if schema["type"] == "array" else "values" if schema["type"] == "map" else "type"
        _check_schema(schema[inner], known)
