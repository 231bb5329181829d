"""WESAD's own files: one pickle a person, which can run code when it is opened, and is not let."""

import pickle
import re
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from wearsynth.recordings import (
    ACC_UNITS_PER_G,
    WRIST,
    Recording,
    RecordingError,
    entry,
    repair,
    shown,
)
from wearsynth.studies import WESAD, Study

LABEL_RATE = 700  # Hz
PLAIN = (str, bytes, int)  # keys that a dict may have
MOST_BYTES = 4 * 2**30  # of a pickle: WESAD's largest has one; a zip can announce what nobody has the memory for
MOST_READS = 300_000  # of a pickle: WESAD's own take a few thousand
LAYOUT = "WESAD's layout, a folder for each person: S2/S2.pkl, S3/S3.pkl, ..."
_entry = partial(entry, expected=f"signal/wrist and label, in {LAYOUT}")
RELABEL = "give the numbers of conditions, as in a study file's codes, and 0 for none; or leave the recording out"


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

    def __init__(self, file: IO[bytes], size: int):
        self.file, self.left, self.reads = file, min(size, MOST_BYTES), 0

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


def find(folder: Path) -> dict[str, list[Path]]:
    """Finds the recordings in a folder of WESAD's layout, or in a zip of it.

    Args:
        folder: holds S2/S2.pkl, S3/S3.pkl and so on; or a single folder that does.

    Returns:
        Person -> their file, sorted by number (S2 before S10); none where it is not laid out so.

    Raises:
        RecordingError: a recording is no file, or there are two of one number.
    """
    root = zipfile.Path(folder) if folder.is_file() else folder
    paths = _pickles(root)
    if not paths:  # what a download unpacks to
        paths = [path for child in root.iterdir() if child.is_dir() for path in _pickles(child)]
    numbers = Counter(_number(path.stem) for path in paths)
    for path in paths:
        if not path.is_file():  # a pipe would be waited for, and a link may lead nowhere
            raise RecordingError(f"{path}: is no regular file; give the recording itself")
        if numbers[_number(path.stem)] > 1:  # one person under two names would be trained on and tested on
            raise RecordingError(f"{path}: there are two recordings of number {_number(path.stem)}; leave one out")
    return {path.stem: [path] for path in sorted(paths, key=lambda path: _number(path.stem))}


def _pickles(folder):
    people = [child for child in folder.iterdir() if re.fullmatch("S[0-9]{1,9}", child.name) and child.is_dir()]
    files = [path for child in people for path in child.iterdir()]
    return [path for path in files if path.name == f"{path.parent.name}.pkl"]


def read(folder: Path, name: str, files: list[Path], study: Study) -> list[Recording]:
    """Reads one person's wrist signals; chest signals are ignored and may be missing.

    Args:
        folder: where `find` found them.
        name: the person.
        files: their pickle.
        study: says which condition a number of the label stands for.

    Returns:
        The one recording.

    Raises:
        RecordingError: the file is damaged, would run code, or does not hold a complete recording.
    """
    return [read_recording(path, study) for path in files]


def read_recording(path: Path, study: Study = WESAD) -> Recording:
    """Reads one pickle, such as S2.pkl, of the person it is called by; arguments and errors as of `read`."""
    try:
        return _recording(_load(path), path.stem, study)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from None


def _load(path):
    """The pickle's content, with every array still a `_Stored`."""
    try:
        with path.open("rb") as file:
            size = path.root.getinfo(path.at).file_size if isinstance(path, zipfile.Path) else path.stat().st_size
            return _Unpickler(_Bounded(file, size), encoding="latin1").load()  # latin1: it was pickled by Python 2
    except RecordingError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything, from EOFError to MemoryError
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise RecordingError(f"cannot be read as a pickle ({reason}); is it damaged? Get it again") from None


def _recording(content, name, study):
    """The recording of the person called `name`, checked and repaired."""
    _check_layout(content)
    _check_subject(content.get("subject"), name)
    label = _array(content, "label", columns=1)
    unknown = label[~np.isin(label, range(8))]
    if len(unknown):
        raise RecordingError(f"label {unknown[0]}: expected 0 to 7; {RELABEL}")
    acc, bvp, eda, temp = (
        _array(content, f"signal/wrist/{signal}", columns).astype(float) for signal, (_, columns) in WRIST.items()
    )
    return repair(Recording(name, acc / ACC_UNITS_PER_G, bvp, eda, temp, label, LABEL_RATE, study.codes), study)


def _check_layout(content):
    """Names what is laid out otherwise."""
    if not isinstance(content, dict):
        raise RecordingError(f"holds a {type(content).__name__}: expected signal/wrist and label, in {LAYOUT}")
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


def _number(name: str) -> int:
    return int(name[1:])
