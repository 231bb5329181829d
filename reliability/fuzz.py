"""Damaged and odd inputs to everything that the project reads: each has to be read as it is, or refused in a line.

python -m reliability.fuzz [N] [SEED]        10,000 inputs, seed 0

Recordings are truncated, bit-flipped, spliced, of wrong types, shapes, rates and values, or random streams of pickle
opcodes; wristbands' exports, tables, windows, generators, tested detectors, metrics, marks, the ledger and grids are
truncated, bit-flipped, spliced or replaced. None may take 5 s, nor the process more memory than MEMORY. The first one
that does, that ends in another error than the reader's own, or whose numbers are not finite, ends the command; its
number reproduces it.
"""

import io
import pickle
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import numpy as np

from wearsynth import embraceplus
from wearsynth.exports import CONDITIONS
from wearsynth.files import write_json
from wearsynth.ledger import Ledger, LedgerError, read
from wearsynth.parameters import BadInput
from wearsynth.privacy import Promise
from wearsynth.protocols import _predict_once
from wearsynth.provenance import Origin, StaleFileError, load_arrays, save_arrays
from wearsynth.readers import read_table
from wearsynth.recordings import ACC_UNITS_PER_G, SIGNALS, WRIST, RecordingError
from wearsynth.resampling import one_hertz
from wearsynth.runs import RunFolder
from wearsynth.simulation import simulate_recording
from wearsynth.tables import load_table, save_table
from wearsynth.wesad import read_recording
from wearsynth.windows import Windows
from workflow import sweep

SECONDS = 130
MOST_SECONDS = 5
MEMORY = 500e6  # bytes beyond what the process has when it begins; the files are of some hundred kB
ORIGIN = Origin("02-Model", "real", "0" * 64, "key", "with no privacy guarantee")
OPCODES = (
    b"\x80\x02\x04\x95}])(0.12NK\x00I1\nU\x01xX\x01\x00\x00\x00xcnumpy\ndtype\nq\x00h\x00r\x00\x00\x00\x01R\x85\x86"
    b"\x87tbusale\x93\x94\x96"
)


class Reader(NamedTuple):
    """Something that is read back.

    Args:
        name: of the file, as its reader expects it.
        whole: its content when nothing is wrong with it.
        read: reads the file; returns numbers that have to be finite, or nothing.
        refusals: errors by which it may refuse.
    """

    name: str
    whole: bytes
    read: Callable[[Path], Any]
    refusals: tuple[type[Exception], ...]


def main(arguments: list[str]) -> int:
    """Tries N inputs; returns the exit status."""
    n, seed = (int(text) for text in (*arguments, *("10000", "0")[len(arguments) :]))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = fuzz(n, seed, Path(folder))
    for (name, verdict), count in sorted(counts.items()):
        print(f"{name:28} {verdict:9} {count:6}")
    grown = peak() - _START
    print(f"{n} inputs in {time.monotonic() - start:.0f} s; memory grew by {grown / 1e6:.0f} MB; no violation")
    return 0


def fuzz(n: int, seed: int, folder: Path) -> Counter:
    """Tries inputs, and counts (reader, verdict).

    Raises:
        AssertionError: names the input that was neither read as it should be nor refused as it should be.
    """
    known, counts = readers(folder), Counter()
    signal.signal(signal.SIGALRM, _too_long)
    before = peak()
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        reader = known[number // 2 % len(known)] if number % 2 else known[0]  # half of them to the recordings' reader
        path = folder / reader.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damaged(reader, rng))
        signal.alarm(MOST_SECONDS)
        try:
            verdict = verdict_of(reader, path)
        except BaseException as error:
            raise AssertionError(
                f"input {number} of seed {seed}, {reader.name}: {type(error).__name__}: {error}"
            ) from error
        finally:
            signal.alarm(0)
        assert peak() - before < MEMORY, f"input {number} of seed {seed}, {reader.name}: took {peak() - before} bytes"
        counts[reader.name, verdict] += 1
    return counts


def verdict_of(reader: Reader, path: Path) -> str:
    """'read' or 'refused'; any other error than the reader's own passes, as does a number that is not finite."""
    try:
        numbers = reader.read(path)
    except reader.refusals as error:
        assert "\n" not in str(error) and len(str(error)) < 600 + len(str(path)), f"not one short line: {error}"
        return "refused"
    for array in numbers or ():
        assert np.isfinite(array).all(), "a number is not finite"
    return "read"


def damaged(reader: Reader, rng: np.random.Generator) -> bytes:
    """One way to damage a file's content, or to put something else in its place."""
    whole = reader.whole
    ways = [_truncated, _flipped, _spliced, _repeated, _noise, _text]
    if reader.read is _recording:
        ways += [_other_values] * 6 + [_opcodes] * 2
    way = ways[rng.integers(len(ways))]
    return way(rng, whole)


def _truncated(rng, whole):
    return whole[: rng.integers(len(whole))]


def _flipped(rng, whole):
    content = bytearray(whole)
    for position in rng.integers(len(content), size=rng.integers(1, 20)):
        content[position] ^= 1 << rng.integers(8)
    return bytes(content)


def _spliced(rng, whole):
    first, second = rng.integers(len(whole), size=2)
    return whole[:first] + whole[second:]


def _repeated(rng, whole):
    return whole * rng.integers(2, 4)


def _noise(rng, whole):
    return rng.bytes(rng.integers(2000))


def _text(rng, whole):
    texts = [
        "",
        "null",
        "[]",
        "{}",
        "NaN",
        "[" * 5000,
        "subject,time\n",
        "\ufeff" + "a: b",
        "a: &a [*a, *a]",
        "x" * 10**5,
    ]
    return texts[rng.integers(len(texts))].encode(["utf-8", "utf-16", "latin-1"][rng.integers(2)], errors="replace")


def _opcodes(rng, whole):
    return b"\x80\x02" + bytes(rng.choice(np.frombuffer(OPCODES, np.uint8), rng.integers(1, 300))) + b"."


def _other_values(rng, whole):
    """The recording with something of it of another type, shape, length or value."""
    content = pickle.loads(whole)
    wrist = content["signal"]["wrist"]
    name = ["ACC", "BVP", "EDA", "TEMP"][rng.integers(4)]
    values = np.array(wrist[name], float)
    start, end = np.sort(rng.integers(len(values) + 1, size=2))
    changes = [
        lambda: values[start:end],
        lambda: values[:, None],
        lambda: values.ravel(),
        lambda: values.astype(["<f2", ">f4", "i1", "u8", "S4", "O", "c16"][rng.integers(7)]),
        lambda: _with(values, start, end, [np.nan, np.inf, -np.inf, 0.0, 1e300, 5e-324][rng.integers(6)]),
        lambda: values * 10.0 ** rng.integers(-12, 300),
        lambda: values + 10.0 ** rng.integers(-3, 300),
        lambda: np.float64(3),
        lambda: np.zeros((0, 3)),
        lambda: [None, "text", {}, [1.0, 2.0], 10**4000, b"bytes"][rng.integers(6)],
    ]
    with np.errstate(all="ignore"):
        changed = changes[rng.integers(len(changes))]()
    place = rng.integers(4)
    if place == 0:
        content["label"] = [changed, content["label"] * rng.integers(-3, 9), content["label"][start:end]][
            rng.integers(3)
        ]
    elif place == 1:
        content["subject"] = [None, 2, "S2", "S3", 10**4000, "x" * 10**6, [changed]][rng.integers(7)]
    else:
        wrist[name] = changed
    return pickle.dumps(content, protocol=int(rng.integers(6)))


def _with(values, start, end, value):
    values[start:end] = value
    return values


def readers(folder: Path) -> list[Reader]:
    """All readers, that of recordings first."""
    recording, _ = simulate_recording("S2", seed=0)
    short = _shortened(recording)
    for exports in ("exports", "others"):
        _state(folder / exports)
    table, windows = folder / "whole.csv", folder / "whole.npz"
    save_table(one_hertz(short), table)
    values = np.random.default_rng(0).random((20, 12, 3)).astype(np.float32)
    made = Windows(values, np.arange(20) % 2, np.repeat("S2", 20), ("EDA", "HR", "TEMP"))
    made.save(windows, ORIGIN)
    generator = folder / "generator.npz"
    save_arrays(generator, ORIGIN, means=values[0], covariances=values[1], steps=3, seeded=True, fake_loss=values[2])
    run = RunFolder(folder / "run")
    write_json(run.metrics_file, {"run": {"recordings": {"kind": "real", "sha256": "0", "people": {"S2": "d"}}}})
    run.mark_finished("02-Model", "key")
    book = Ledger(folder / "ledger.jsonl", {"S2": "d" * 32})
    for _ in range(5):
        book.enter(np.array(["S2"]), Promise(), "key")
    grid = (sweep.FOLDER / "grids" / "example.yaml").read_bytes()
    cached = Path("cache") / "piece.npz"
    return [
        Reader("S2.pkl", _pickled(short), _recording, (RecordingError,)),
        Reader("exports/P1.zip", _exported(short), _people, (RecordingError,)),
        Reader("others/P1/1.avro", _avro(short), _people, (RecordingError,)),
        Reader("others.csv", table.read_bytes(), _people, (RecordingError,)),
        Reader("table.csv", table.read_bytes(), _table, (RecordingError,)),
        Reader("windows.npz", windows.read_bytes(), _windows, (StaleFileError,)),
        Reader("generator.npz", generator.read_bytes(), _arrays, (StaleFileError,)),
        Reader("run/metrics.json", run.metrics_file.read_bytes(), _metrics, (StaleFileError,)),
        Reader("run/data/finished/02-Model.json", run._mark("02-Model").read_bytes(), _mark, ()),
        Reader("ledger.jsonl", book.path.read_bytes(), _ledger, (LedgerError,)),
        Reader("grid.yaml", grid, _grid, (BadInput, RecordingError)),
        Reader(str(cached), _piece(folder), _cached, ()),
    ]


def _shortened(recording):
    """A recording's SECONDS about the beginning of its stress: both classes, and quickly read."""
    start = int(np.flatnonzero(recording.label == 2)[0] / 700) - SECONDS // 2
    cut = {"acc": 32, "bvp": 64, "eda": 4, "temp": 4, "label": 700}
    parts = {name: getattr(recording, name)[start * rate : (start + SECONDS) * rate] for name, rate in cut.items()}
    return replace(recording, **parts)


def _pickled(recording):
    wrist = {"ACC": recording.acc * 64, "BVP": recording.bvp, "EDA": recording.eda, "TEMP": recording.temp}
    return pickle.dumps({"signal": {"wrist": wrist}, "label": recording.label, "subject": "S2"}, protocol=2)


def _state(folder):
    """Writes who was in which condition when."""
    folder.mkdir()
    half = SECONDS // 2
    (folder / CONDITIONS).write_text(f"person,start,end,condition\nP1,0,{half},baseline\nP1,{half},{SECONDS},stress\n")


def _exported(recording):
    """The zip that an E4's maker gives."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        for name, (rate, columns) in WRIST.items():
            values = getattr(recording, name.lower()).reshape(-1, columns) * (ACC_UNITS_PER_G if name == "ACC" else 1)
            lines = np.concatenate([np.full((2, columns), [[1.6e9], [rate]]), values])
            file.writestr(f"{name}.csv", "\n".join(", ".join(f"{value:.6f}" for value in line) for line in lines))
    return written.getvalue()


def _avro(recording):
    """The file that an EmbracePlus's maker gives."""
    raw = {"tags": {"tagsTimeMicros": [10**15]}}
    for kind, (name, columns, _) in embraceplus.FILES.items():
        values, rate = getattr(recording, kind.lower()), WRIST[kind][0]
        axes = {"values": values.tolist()}
        if kind == "ACC":
            axes = {axis: (values[:, i] * 2048).astype(int).tolist() for i, axis in enumerate(columns)}
        raw[name] = {"timestampStart": 10**15, "samplingFrequency": float(rate)} | axes
    raw["accelerometer"]["imuParams"] = {"conversionFactor": 1 / 2048}
    content, written = {"enrollment": {"participantID": "1"}, "rawData": raw}, io.BytesIO()
    fastavro.writer(written, _schema(content, "Session"), [content])
    return written.getvalue()


def _schema(content, name):
    """That of nested names, lists and numbers."""
    if isinstance(content, dict):
        fields = [{"name": key, "type": _schema(value, f"{name}_{key}")} for key, value in content.items()]
        return {"type": "record", "name": name, "fields": fields}
    if isinstance(content, list):
        return {"type": "array", "items": _schema(content[0], name)}
    return {int: "long", float: "double", str: "string"}[type(content)]


def _people(path):
    """Recordings as a run is given them: a table, or the folder of a wristband's exports."""
    folder = {".csv": path, ".zip": path.parent, ".avro": path.parents[1]}[path.suffix]
    return [read_table(folder, progress=False).table[list(SIGNALS)].to_numpy()]


def _recording(path):
    return [one_hertz(read_recording(path))[list(SIGNALS)].to_numpy()]


def _table(path):
    return [load_table(path)[list(SIGNALS)].to_numpy()]


def _windows(path):
    return [Windows.load(path, ORIGIN).values]


def _arrays(path):
    return [array for array in load_arrays(path, ORIGIN).values() if array.dtype.kind == "f"]


def _metrics(path):
    run = RunFolder(path.parent)
    if run.metrics:
        run._origin("02-Model", "key")


def _mark(path):
    RunFolder(path.parents[2]).is_finished("02-Model", "key")


def _ledger(path):
    read(path)


def _grid(path):
    sweep.make_plan(path, None)


def _piece(folder):
    _tested(folder / "whole_cache")
    return next((folder / "whole_cache").iterdir()).read_bytes()


def _cached(path):
    """Puts the damaged piece where the tested detector looks for it."""
    folder = path.parent / "of_one_detector"
    _tested(folder)
    piece = next(folder.glob("*.npz"))
    piece.write_bytes(path.read_bytes())
    return _tested(folder)


def _tested(folder):
    windows = Windows(np.tile([[[0.0]], [[1.0]]], (5, 12, 1)), np.tile([0, 1], 5), np.repeat("S2", 10), ("EDA",))
    return _predict_once(folder, "code", "sklearn.naive_bayes:GaussianNB", windows, 0, 1, [windows.values], None, 0.3)


def peak() -> float:
    """Most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1e3


def _too_long(*_):
    raise TimeoutError(f"took longer than {MOST_SECONDS} s")


_START = peak()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
