"""What two wristbands' exports share: files of numbers, and a table that says who was in which condition when."""

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wearsynth.recordings import UNREADABLE, WRIST, Recording, RecordingError, repair, shown
from wearsynth.studies import Study

CONDITIONS = "conditions.csv"
COLUMNS = ["person", "start", "end", "condition"]
MOST_BYTES = 2**30  # of a file: two days of acceleration have 60 million
FIRST_DATE = 10**8  # s since 1970: smaller numbers count from the person's first session
MOST_CONDITIONS = 100


class Session(NamedTuple):
    """What was recorded in one go.

    Args:
        path: its file or folder.
        start: s since 1970.
        signals: each signal of `recordings.WRIST` at its rate from there on, acceleration in g.
        drift: as of `Recording`.
    """

    path: Path
    start: float
    signals: dict[str, np.ndarray]
    drift: float = 0.0


def put_together(folder: Path, name: str, sessions: list[Session], tags: list[float], study: Study) -> list[Recording]:
    """Puts together what is known of one person.

    Args:
        folder: holds the table of conditions.
        name: the person.
        sessions: theirs.
        tags: when they pressed the wristband's button, s since 1970, in order.
        study: as of `recordings.repair`.

    Returns:
        Their recordings, by time, checked and repaired.

    Raises:
        RecordingError: no recording can be made of them, or the table is damaged.
    """
    sessions = sorted(sessions, key=lambda session: session.start)
    first = sessions[0].start
    stated = _stated(folder / CONDITIONS, name, first, tags)
    if stated["condition"].nunique() > MOST_CONDITIONS:
        raise RecordingError(f"{folder / CONDITIONS}: more than {MOST_CONDITIONS} conditions of {name}")
    conditions = dict(enumerate(sorted(stated["condition"].unique()), start=1))
    codes = {condition: code for code, condition in conditions.items()}
    together = []
    for path, start, signals, drift in sessions:
        n_seconds = len(signals["EDA"]) // WRIST["EDA"][0]
        label = np.zeros(n_seconds, int)
        for row in stated.itertuples():
            begin, end = (round(time - start, 3) for time in (row.start, row.end))  # so large, they end in noise
            begin, end = np.ceil(begin), np.floor(end)  # whole seconds of the condition
            label[int(max(begin, 0)) : int(max(end, 0))] = codes[row.condition]
        values = (signals[signal] for signal in ("ACC", "BVP", "EDA", "TEMP"))
        one = Recording(name, *values, label, 1, conditions, start - first, drift=drift)
        try:
            together.append(repair(one, study))
        except RecordingError as error:
            raise RecordingError(f"{path}: {error}") from None
        if len(together) > 1 and round(one.start) < round(together[-2].start) + len(together[-2].label):
            raise RecordingError(f"{path}: begins before the session before it has ended; leave one out")
    return together


def read_csv(path: Path | zipfile.Path, expected: str, layout: str, **how: Any) -> pd.DataFrame:
    """Reads a file of a folder or zip.

    Args:
        path: the file.
        expected: what it holds, for a message.
        layout: which files there are, likewise.
        how: as of `pandas.read_csv`.

    Raises:
        RecordingError: there is no such file, or something else in it.
    """
    if not path.is_file():
        raise RecordingError(f"{path}: no such file; expected {layout}")
    size = path.root.getinfo(path.at).file_size if isinstance(path, zipfile.Path) else path.stat().st_size
    if size > MOST_BYTES:
        raise RecordingError(f"{path}: has {size} bytes: expected at most {MOST_BYTES}")
    try:
        with path.open("rb") as file:
            return pd.read_csv(file, skipinitialspace=True, encoding="utf-8", **how)
    except (*UNREADABLE, zipfile.BadZipFile, RuntimeError) as error:  # the last one: a zip's cipher, or its packing
        reason = shown(" ".join(str(error).split()))
        raise RecordingError(f"{path}: cannot be read ({reason}); expected {expected}") from None


def _stated(path, person, first, tags):
    """What the table of conditions says of a person: start and end, in s since 1970, and condition."""
    table = read_csv(path, ",".join(COLUMNS), f"{CONDITIONS} beside the folders of people", dtype=str)
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
