"""Sessions as the wristband's maker exports them (Empatica E4), with a table that says who was in which condition when.

    recordings/P01/ACC.csv, BVP.csv, EDA.csv, TEMP.csv     or recordings/P01.zip, or recordings/P01/<session>[.zip]
    recordings/conditions.csv                              person,start,end,condition

Of a signal's file the first line is when it starts, in seconds since 1970, the second its rate, and then come values.
"""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from wearsynth.recordings import ACC_UNITS_PER_G, UNREADABLE, WRIST, Recording, RecordingError, repair, shown
from wearsynth.studies import Study

CONDITIONS = "conditions.csv"
COLUMNS = ["person", "start", "end", "condition"]
LAYOUT = f"the wristband's exports, P01/ACC.csv ... or P01.zip, and {CONDITIONS}"
MOST_BYTES = 2**30  # of a file: two days of acceleration have 60 million
FIRST_DATE = 10**8  # s since 1970: smaller numbers count from the person's first session
MOST_CONDITIONS = 100


def find(folder: Path) -> dict[str, list[Path]]:
    """Finds the sessions in a folder.

    Args:
        folder: see above.

    Returns:
        Person -> their sessions, by name; none where it is not laid out so.
    """
    if not folder.is_dir():
        return {}
    people = {}
    for child in sorted(folder.iterdir()):
        name = child.stem if child.suffix.lower() == ".zip" else child.name
        if (child / f"{name}.pkl").exists():  # WESAD has an export of each person beside the pickle
            continue
        sessions = _sessions(child) or [found for path in _children(child) for found in _sessions(path)]
        if sessions and name in people:
            raise RecordingError(f"{child}: {name} is there once more; leave one out, or put both into one folder")
        if sessions:
            people[name] = sessions
    return people


def _children(path):
    return sorted(path.iterdir()) if path.is_dir() else []


def _sessions(path):
    """The session in a folder or zip, as a list of one or none."""
    if path.suffix.lower() == ".zip" and path.is_file():
        try:
            root = zipfile.Path(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise RecordingError(f"{path}: cannot be read as a zip ({shown(str(error))}); get it again") from None
        return [place for place in (root, *root.iterdir()) if place.is_dir() and (place / "ACC.csv").is_file()][:1]
    return [path] if (path / "ACC.csv").is_file() else []


def read(folder: Path, name: str, files: list[Path], study: Study) -> list[Recording]:
    """Reads one person's sessions.

    Args:
        folder: where `find` found them; holds the table of conditions.
        name: the person.
        files: their sessions.
        study: not asked: conditions are named.

    Returns:
        Their recordings, by time.

    Raises:
        RecordingError: a file is damaged, or is not what the wristband writes.
    """
    sessions = sorted(((path, *_aligned(path)) for path in files), key=lambda session: session[1])
    first = sessions[0][1]
    stated = _stated(folder / CONDITIONS, name, first, [tag for path, *_ in sessions for tag in _tags(path)])
    if stated["condition"].nunique() > MOST_CONDITIONS:
        raise RecordingError(f"{folder / CONDITIONS}: more than {MOST_CONDITIONS} conditions of {name}")
    conditions = dict(enumerate(sorted(stated["condition"].unique()), start=1))
    codes = {condition: code for code, condition in conditions.items()}
    recordings = []
    for path, start, signals in sessions:
        n_seconds = len(signals["EDA"]) // WRIST["EDA"][0]
        label = np.zeros(n_seconds, int)
        for row in stated.itertuples():
            begin, end = np.ceil(row.start - start), np.floor(row.end - start)  # whole seconds of the condition
            label[int(max(begin, 0)) : int(max(end, 0))] = codes[row.condition]
        acc = signals["ACC"] / ACC_UNITS_PER_G
        one = Recording(name, acc, signals["BVP"], signals["EDA"], signals["TEMP"], label, 1, conditions, start - first)
        try:
            recordings.append(repair(one))
        except RecordingError as error:
            raise RecordingError(f"{path}: {error}") from None
        if len(recordings) > 1 and round(one.start) < round(recordings[-2].start) + len(recordings[-2].label):
            raise RecordingError(f"{path}: begins before the session before it has ended; leave one out")
    return recordings


def _aligned(session):
    """When a session starts, in s since 1970, and its signals from there to where the first of them ends."""
    starts, signals = {}, {}
    for name, (rate, columns) in WRIST.items():
        starts[name], signals[name] = _signal(session / f"{name}.csv", rate, columns)
    start = max(starts.values())
    end = min(starts[name] + len(signals[name]) / WRIST[name][0] for name in WRIST)
    for name, (rate, _) in WRIST.items():
        first = round((start - starts[name]) * rate)
        signals[name] = signals[name][first : first + int(max(end - start, 0)) * rate]
    return start, signals


def _signal(path, rate, columns):
    """When a signal starts, and its values, (n,) or (n, columns)."""
    expected = f"its start, its rate, then values, in {columns} columns"
    lines = _csv(path, expected, header=None, dtype=float).to_numpy()
    if lines.shape[1] != columns or len(lines) < 3:
        raise RecordingError(f"{path}: {lines.shape[1]} columns, {len(lines)} lines: expected {expected}")
    if lines[1, 0] != rate:
        raise RecordingError(f"{path}: has a rate of {lines[1, 0]:g} Hz: expected {rate} Hz")
    if not 0 <= lines[0, 0] < 1e11:
        raise RecordingError(f"{path}: starts at {lines[0, 0]:g}: expected seconds since 1970")
    return lines[0, 0], lines[2:] if columns > 1 else lines[2:, 0]


def _csv(path, expected, **how):
    """Reads a file; raises RecordingError where there is none, or something else in it."""
    if not path.is_file():
        raise RecordingError(f"{path}: no such file; expected {LAYOUT}")
    size = path.root.getinfo(path.at).file_size if isinstance(path, zipfile.Path) else path.stat().st_size
    if size > MOST_BYTES:
        raise RecordingError(f"{path}: has {size} bytes: expected at most {MOST_BYTES}")
    try:
        with path.open("rb") as file:
            return pd.read_csv(file, skipinitialspace=True, encoding="utf-8", **how)
    except (
        *UNREADABLE,
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
    ) as error:  # the last two: a zip's cipher
        reason = shown(" ".join(str(error).split()))
        raise RecordingError(f"{path}: cannot be read ({reason}); expected {expected}") from None


def _tags(session):
    """When the wristband's button was pressed, s since 1970."""
    times = []
    for path in session.iterdir():
        if path.name.startswith("tags") and path.name.endswith(".csv"):
            with path.open("rb") as file:
                lines = file.read(MOST_BYTES).decode("utf-8", errors="replace").split()
            try:
                times += [float(line) for line in lines]
            except ValueError as error:
                raise RecordingError(f"{path}: {error}; expected a time a line, in seconds since 1970") from None
    return sorted(times)


def _stated(path, person, first, tags):
    """What the table of conditions says of a person: start and end, in s since 1970, and condition."""
    table = _csv(path, ",".join(COLUMNS), dtype=str)
    if [*table.columns] != COLUMNS or table.isna().any(axis=None):
        raise RecordingError(f"{path}: other columns, or something is missing: expected {','.join(COLUMNS)}")
    rows = table[table["person"] == person].copy()
    for column in ("start", "end"):
        rows[column] = [_time(path, text, first, tags) for text in rows[column]]
    rows = rows.sort_values("start")
    wrong = ~(rows["end"] > rows["start"]) | (rows["start"] < rows["end"].shift())
    if wrong.any():
        row = table.loc[wrong[wrong].index[0]]
        raise RecordingError(
            f"{path}: {person}, {row['condition']}: from {row['start']} to {row['end']}: expected an end after the "
            "start, and a start after the end of what was before"
        )
    return rows


def _time(path, text, first, tags):
    """A time as the table of conditions has it, in s since 1970."""
    word, _, number = text.strip().partition(" ")
    if word == "tag" and number.strip().isdecimal():
        if not 1 <= int(number) <= len(tags):
            raise RecordingError(f"{path}: {text!r}: expected a number from 1 to {len(tags)}, as there are tags")
        return tags[int(number) - 1]
    try:
        seconds = float(text)
        if np.isfinite(seconds):
            return seconds if seconds >= FIRST_DATE else first + seconds
    except ValueError:
        stamp = pd.to_datetime(text, errors="coerce", format="ISO8601")
        if not pd.isna(stamp) and stamp.tzinfo is not None:
            return stamp.timestamp()
    raise RecordingError(
        f"{path}: {shown(text)}: expected seconds from the first session's start or since 1970, a time stamp with its "
        "offset from UTC (2026-10-25T14:30:00+01:00), or a tag's number (tag 1)"
    )
