"""Finds out how recordings are laid out, and reads them: WESAD's pickles, wristbands' own exports, or a table."""

import copyreg
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wearsynth import embraceplus, empatica, tables, wesad
from wearsynth.exports import CONDITIONS
from wearsynth.files import fingerprint
from wearsynth.parallel import one_core_each
from wearsynth.recordings import Recording, RecordingError
from wearsynth.resampling import one_hertz
from wearsynth.studies import WESAD, Study

AT_ONCE = 2  # recordings read at a time: one of WESAD's as published takes more than a gigabyte of memory
READERS = (wesad, empatica, embraceplus)
EXPECTED = f"expected {' or '.join(reader.LAYOUT for reader in READERS)}"


# So that a place in a zip can be handed to another process, which opens the zip for itself; Python 3.12 can do so.
copyreg.pickle(zipfile.Path, lambda path: (zipfile.Path, (path.root.filename, path.at)))


class Reading(NamedTuple):
    """All recordings of a folder.

    Args:
        table: as of `resampling.one_hertz`, one person below the other.
        quality: one row a person (index `subject`): minutes of each condition, seconds repaired, left out or at a
            sensor's limits, the clocks' drift, and `digest`, that of the recording.
        left_out: people whose recordings cannot be used, and why; of a study that leaves such people out.
    """

    table: pd.DataFrame
    quality: pd.DataFrame
    left_out: dict[str, str]


def find_recordings(folder: str | Path) -> list[Path]:
    """Finds the files that a path leads to.

    Args:
        folder: recordings in WESAD's layout (S2/S2.pkl ...), or a zip of it; sessions as wristbands export them
            (`empatica.py`, `embraceplus.py`); or a table (`tables.read_plain`).

    Raises:
        RecordingError: there is no such folder, no recording in it, or two layouts at once.
    """
    folder = Path(folder)
    if tables.is_table(folder):
        return [folder]
    _, people = _found(folder)
    files = dict.fromkeys(file for sessions in people.values() for path in sessions for file in _files(path))
    return [*files, *(path for path in [folder / CONDITIONS] if path.is_file())]


def find_people(folder: str | Path) -> list[str]:
    """Names the people whose recordings `find_recordings` finds; raises RecordingError as it does."""
    folder = Path(folder)
    return tables.names(folder) if tables.is_table(folder) else [*_found(folder)[1]]


def _found(folder: Path) -> tuple[ModuleType, dict[str, list[Path]]]:
    """The reader of a folder, and each person's recordings."""
    if not folder.exists():
        raise RecordingError(f"{folder}: no such folder, and no table ({', '.join(tables.SUFFIXES)}); {EXPECTED}")
    if folder.is_file() and not zipfile.is_zipfile(folder):
        raise RecordingError(f"{folder}: is no folder, no zip and no table ({', '.join(tables.SUFFIXES)}); {EXPECTED}")
    found = [(reader, people) for reader in READERS if (people := reader.find(folder))]
    if not found:
        raise RecordingError(f"{folder}: no recording in it; {EXPECTED}")
    if len(found) > 1:
        raise RecordingError(f"{folder}: {' and '.join(reader.LAYOUT for reader, _ in found)} at once; give one alone")
    return found[0]


def _files(path: Path) -> list[Path]:
    """The files of which a recording consists."""
    if isinstance(path, zipfile.Path):
        return [Path(path.root.filename)]
    return sorted(file for file in path.iterdir() if file.suffix == ".csv") if path.is_dir() else [path]


def read_table(folder: str | Path, study: Study = WESAD, progress: bool = True) -> Reading:
    """Reads everybody's recordings, two people at a time, or a table that holds them.

    >>> import tempfile
    >>> from wearsynth.simulation import write_cohort
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = write_cohort(folder, n_subjects=1)
    ...     table, quality, _ = read_table(folder)
    >>> list(table.columns)[:4], len(table) > 1000
    (['subject', 'time', 'BVP', 'EDA'], True)

    Args:
        folder: as of `find_recordings`.
        study: what conditions mean.
        progress: whether to show progress on standard error, when reading takes long.

    Returns:
        The tables of `one_hertz`, one below the other, and what is known of their quality.

    Raises:
        RecordingError: there is no recording; or one of them is refused, lacks a class or is another's once more, and
            the study does not leave such people out, or nobody else is there.
    """
    folder = Path(folder)
    if tables.is_table(folder):
        return _reading(folder, *tables.read_plain(folder, study))
    reader, people = _found(folder)
    parts, rows, left_out = [], {}, {}
    for name in people:
        tables.check_name(name, folder)
    arguments = ((reader.read, folder, name, files, study) for name, files in people.items())
    found = one_core_each(_read_person, arguments, len(people), "recording", progress=progress, most=AT_ONCE)
    # What was read first: when it is asked for one more, it counts the last one.
    for (person, row, refused), (name, files) in zip(found, people.items()):
        try:
            if refused:
                raise refused
            twin = next((other for other, known in rows.items() if known["digest"] == row["digest"]), None)
            if twin:
                raise RecordingError(f"{files[0]}: is the recording of {twin} once more; leave one out")
        except RecordingError as error:
            if study.on_bad_person == "refuse":
                raise
            left_out[name] = str(error)
            continue
        parts.append(person)
        rows[name] = row
    return _reading(folder, parts, rows, left_out)


def _read_person(read: Callable, folder: Path, name: str, files: list[Path], study: Study) -> tuple:
    """One person's 1 Hz table, and what is known of its quality; or what is wrong, which is the caller's to raise."""
    try:
        return *_table_of(read(folder, name, files, study), files[0], study), None
    except RecordingError as error:
        return None, None, error


def _table_of(recordings, path, study):
    try:
        person = pd.concat([one_hertz(recording, study) for recording in recordings], ignore_index=True)
        tables.check_classes(person, study, np.unique(np.concatenate([one.label for one in recordings])))
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from None
    return person, tables.minutes(person) | _repaired(recordings) | {"digest": _digest(recordings)}


def _reading(folder, parts, rows, left_out):
    """What was read of all people, who must not all have been left out."""
    if not parts:
        name, reason = next(iter(left_out.items()))
        raise RecordingError(f"{folder}: nobody's recording can be used; {name}: {reason}")
    return Reading(pd.concat(parts, ignore_index=True), _quality(rows), left_out)


def _quality(rows: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row a person; a condition that somebody was not in lasted 0 minutes."""
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("subject")
    numbers = table.columns.drop("digest")
    order = sorted(numbers, key=lambda name: not name.endswith(", min"))
    return table.fillna(dict.fromkeys(numbers, 0.0))[[*order, "digest"]]


def _repaired(recordings: list[Recording]) -> dict[str, float]:
    """Seconds of what was repaired, of all of a person's recordings together, and the largest drift of their clocks."""
    total = Counter()
    for recording in recordings:
        total.update(recording.repaired)
    drift = max(recording.drift for recording in recordings)
    return {f"{name}, s": round(seconds, 1) for name, seconds in total.items()} | {"drift, s/h": round(drift, 1)}


def _digest(recordings: list[Recording]) -> str:
    """That of the only recording, or of all of them."""
    first, *others = [recording.digest for recording in recordings]
    return fingerprint(first, *others) if others else first
