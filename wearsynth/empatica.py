"""Sessions as the wristband's maker exports them (Empatica E4), with a table that says who was in which condition when.

    recordings/P01/ACC.csv, BVP.csv, EDA.csv, TEMP.csv     or recordings/P01.zip, or recordings/P01/<session>[.zip]
    recordings/conditions.csv                              person,start,end,condition

Of a signal's file the first line is when it starts, in seconds since 1970, the second its rate, and then come values.
"""

import zipfile
from pathlib import Path

from wearsynth.exports import CONDITIONS, MOST_BYTES, Session, put_together, read_csv
from wearsynth.recordings import ACC_UNITS_PER_G, WRIST, Recording, RecordingError, apart, shown
from wearsynth.studies import Study

LAYOUT = f"an Empatica E4's exports, P01/ACC.csv ... or P01.zip, and {CONDITIONS}"


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
    sessions = [_session(path) for path in files]
    return put_together(folder, name, sessions, sorted(tag for path in files for tag in _tags(path)), study)


def _session(session):
    """A session from where the last of its signals starts to where the first of them ends."""
    starts, signals = {}, {}
    for name, (rate, columns) in WRIST.items():
        starts[name], signals[name] = _signal(session / f"{name}.csv", rate, columns)
    start = max(starts.values())
    ends = [starts[name] + len(signals[name]) / WRIST[name][0] for name in WRIST]
    end, drift = min(ends), apart(ends, max(ends) - min(starts.values()))
    for name, (rate, _) in WRIST.items():
        first = round((start - starts[name]) * rate)
        signals[name] = signals[name][first : first + int(max(end - start, 0)) * rate]
    signals["ACC"] = signals["ACC"] / ACC_UNITS_PER_G
    return Session(session, start, signals, drift)


def _signal(path, rate, columns):
    """When a signal starts, and its values, (n,) or (n, columns)."""
    expected = f"its start, its rate, then values, in {columns} columns"
    lines = read_csv(path, expected, LAYOUT, header=None, dtype=float).to_numpy()
    if lines.shape[1] != columns or len(lines) < 3:
        raise RecordingError(f"{path}: {lines.shape[1]} columns, {len(lines)} lines: expected {expected}")
    if lines[1, 0] != rate:
        raise RecordingError(f"{path}: has a rate of {lines[1, 0]:g} Hz: expected {rate} Hz")
    if not 0 <= lines[0, 0] < 1e11:
        raise RecordingError(f"{path}: starts at {lines[0, 0]:g}: expected seconds since 1970")
    return lines[0, 0], lines[2:] if columns > 1 else lines[2:, 0]


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
    return times
