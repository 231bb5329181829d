"""Tables with a row a second: written, read back, and checked and brought to that form where they come from others."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wearsynth.files import replacing
from wearsynth.recordings import (
    SHORTEST_SECONDS,
    SIGNALS,
    SKIN,
    UNREADABLE,
    RecordingError,
    runs,
    shown,
)
from wearsynth.studies import NO_CONDITION, Study
from wearsynth.windows import ACCELERATION, LEAST_SIGNALS

SUFFIXES = (".csv", ".csv.gz", ".csv.xz", ".parquet")
TAKEN = ("everyone", "all", "synthetic")  # people's names that stand for something else
LENGTH = (0.5, 1.5)  # g, the median length of an acceleration on a wrist, as a second's mean


def save_table(table: pd.DataFrame, path: str | Path) -> None:
    """Writes a table; a run that is killed leaves the old file or none, never half of one.

    Args:
        table: as from `readers.read_table`.
        path: where to write, Parquet if its name ends so, else CSV; folders above it are made.
    """
    with replacing(Path(path)) as draft:
        if draft.suffix == ".parquet":
            return table.to_parquet(draft, index=False)
        # eight digits: TEMP moves by a degree or two around 34, and models see it scaled to that range
        table.to_csv(draft, index=False, float_format="%.8g")


def load_table(path: str | Path, signals: tuple[str, ...] = ()) -> pd.DataFrame:
    """Reads back what `save_table` wrote.

    Args:
        path: the CSV file.
        signals: which of its signals; by default all that it has.

    Returns:
        The table, with the column types of `resampling.one_hertz`.

    Raises:
        RecordingError: the file is missing or does not hold such a table.
    """
    try:
        signals = signals or _signals(pd.read_csv(path, nrows=0, encoding="utf-8"))
        types = {"subject": str, "time": "int64", **dict.fromkeys(signals, float), "condition": str, "label": "Int64"}
        table = pd.read_csv(path, usecols=list(types), dtype=types, encoding="utf-8")[list(types)]
        if not len(table) or not np.isfinite(table[list(signals)].to_numpy()).all() or table["subject"].isna().any():
            raise ValueError("it is empty, or values are missing or infinite")
        if table["condition"].isna().any() or not table["label"].dropna().isin((0, 1, 2)).all():
            raise ValueError("a condition is missing, or a label is not 0, 1 or 2")
    except UNREADABLE as error:
        raise RecordingError(
            f"{path}: cannot be read as a 1 Hz table ({_reason(error)}); expected one as 01-Data writes it"
        ) from None
    return table


def names(path: Path) -> list[str]:
    """Names the people of a table that somebody else wrote; raises RecordingError if it is none."""
    return list(_rows(path)["subject"].unique())


def is_table(path: Path) -> bool:
    """Whether a path is that of a table, by its name."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def read_plain(path: Path, study: Study) -> tuple[list[pd.DataFrame], dict[str, dict[str, Any]], dict[str, str]]:
    """Reads a table that somebody else wrote, of all people.

    Args:
        path: CSV or Parquet, a row a second or more often: `subject`, `time` (seconds, or ISO time stamps with their
            offset from UTC), signals in their units, and `condition`, `label` (of the study's classes) or both.
        study: what conditions mean.

    Returns:
        Each person's table, with the columns of `resampling.one_hertz`, but for signals that are not there; what is
        known of each: minutes of each condition, seconds that were `filled` or left out as `missing`, and a `digest`;
        and whom the study leaves out, and why.

    Raises:
        RecordingError: it is not such a table, or a person's part of it is not a wristband's measurement.
    """
    given = _rows(path)
    people, rows, left_out = [], {}, {}
    for name in given["subject"].unique():
        check_name(name, path)
    for name, person in given.groupby("subject", sort=False):
        try:
            if np.diff(person.index).max(initial=1) > 1:
                raise RecordingError("expected their rows in a row; sort the table by subject and time")
            person, repaired = _by_second(person, study)
            check_classes(person, study, person["condition"].unique())
            _check_units(person)
            digest = hashlib.sha256(np.ascontiguousarray(person[_signals(person)], float)).hexdigest()[:32]
            twin = next((other for other, row in rows.items() if row["digest"] == digest), None)
            if twin:
                raise RecordingError(f"is {twin} once more; leave one out")
        except RecordingError as error:
            if study.on_bad_person == "refuse":
                raise RecordingError(f"{path}: {name}: {error}") from None
            left_out[name] = str(error)
            continue
        people.append(person)
        rows[name] = minutes(person) | repaired | {"digest": digest}
    return people, rows, left_out


def _rows(path):
    """The table as it stands in the file, with the columns that are in use."""
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, dtype={"subject": str, "condition": str}, encoding="utf-8")
    except UNREADABLE as error:
        raise RecordingError(f"{path}: cannot be read as a table ({_reason(error)}); give CSV or Parquet") from None
    _check_columns(table, path)
    signals = _signals(table)
    missing = [name for name in ("subject", "time") if name not in table]
    missing += ["condition or label"] * (not {"condition", "label"} & {*table})
    if missing or len(signals) < LEAST_SIGNALS:
        raise RecordingError(
            f"{path}: has no column {', '.join(missing) or 'for a second signal'}: expected subject, time, condition "
            f"or label, and {LEAST_SIGNALS} or more of {', '.join(SIGNALS)}"
        )
    if not len(table) or table["subject"].isna().any():
        raise RecordingError(f"{path}: is empty, or a subject is missing")
    try:
        table[signals] = table[signals].astype(float)
        return table.assign(subject=table["subject"].astype(str), time=_seconds(table["time"]))
    except UNREADABLE as error:
        raise RecordingError(f"{path}: {_reason(error)}; expected numbers, and seconds or time stamps") from None


def _signals(table):
    """The signals that a table has."""
    return [name for name in SIGNALS if name in table]


def _check_columns(table, path):
    """Refuses a column that is nearly called like a signal that is not there: it would be left out in silence."""
    plain = {re.sub(r"[^a-z]", "", name.casefold()): name for name in SIGNALS}
    for column in table:
        meant = plain.get(re.sub(r"\(.*\)|[^a-z]", "", str(column).casefold()))
        if meant and meant not in table:
            raise RecordingError(f"{path}: column {shown(str(column))}: call it {meant}")


def _seconds(time):
    """Seconds since 1970, or since whatever else numbers count from."""
    if pd.api.types.is_numeric_dtype(time):
        if not np.isfinite(time.astype(float)).all():
            raise ValueError("a time is missing or infinite")
        return time.astype(float)
    stamps = time.astype(str)
    without = stamps[~stamps.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$")]
    if len(without):
        raise ValueError(f"time {shown(without.iloc[0])} has no offset from UTC, such as 2026-10-25T02:30:00+01:00")
    # Through UTC, in which no hour comes twice.
    return (pd.to_datetime(stamps, utc=True, format="ISO8601") - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)


def check_name(name: str, path: Path) -> None:
    """Raises RecordingError for a person's name that no file could be called by; `path` is where it stands."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name) or name in TAKEN:
        raise RecordingError(
            f"{path}: person {shown(name)}: expected up to 40 letters, digits, - and _ for a name, and none of "
            f"{', '.join(TAKEN)}"
        )


def _by_second(person, study):
    """One row a second: means of the seconds that have rows, counted from the first. And what was repaired."""
    if not np.diff(person["time"]).min(initial=1) > 0:
        raise RecordingError("expected rows in order of time; sort them, and drop repeats")
    start = np.floor(person["time"].iloc[0]) if person["time"].iloc[0] > 0 else 0
    second = np.floor(person["time"] - start).astype(int).to_numpy()
    signals = person[_signals(person)].groupby(second).mean()
    first = person.groupby(second).head(1).set_index(signals.index)
    conditions = _conditions(first, study)
    values, missing = signals.to_numpy(copy=True), ~np.isfinite(signals).all(axis=1).to_numpy()
    if missing.mean() > 0.5:
        worst = signals.isna().sum().idxmax()
        raise RecordingError(
            f"{worst} is missing in {missing.mean():.0%} of the seconds; leave out the person, or that column"
        )
    for column in values.T:
        gap = ~np.isfinite(column)
        column[gap] = np.interp(signals.index[gap], signals.index[~gap], column[~gap])
    long = runs(missing, int(study.longest_gap) + 1)
    conditions[long] = NO_CONDITION
    table = pd.DataFrame(values, columns=signals.columns)
    table.insert(0, "subject", person["subject"].iloc[0])
    table.insert(1, "time", signals.index.astype("int64"))
    table["condition"] = conditions
    table["label"] = study.label(table["condition"])
    return table, {"filled, s": float((missing & ~long).sum()), "missing, s": float(long.sum())}


def _conditions(person, study):
    """Each second's condition: what stands there, or one of the label's class."""
    classes = {label: names[0] for label, names in enumerate(study.classes)}
    if "condition" not in person:
        label = person["label"]
        if not label.dropna().isin(classes).all():
            unknown = label[~label.isin(classes)].dropna().iloc[0]
            raise RecordingError(f"label {unknown}: expected {', '.join(map(str, classes))} or nothing")
        return label.map(classes).fillna(NO_CONDITION).to_numpy(object)
    conditions = person["condition"].fillna(NO_CONDITION).astype(str)
    if "label" in person:
        known = study.label(conditions)
        other = person["label"].notna() & (person["label"] != known).fillna(True).astype(bool)
        if other.any():
            raise RecordingError(
                f"label {person['label'][other].iloc[0]} of condition {shown(conditions[other].iloc[0])} is not that "
                f"of the study {study.name}: {study.labels}; leave the label out, or give a study file"
            )
    return conditions.to_numpy(object)


def _check_units(person):
    """Refuses other units."""
    if {*ACCELERATION} <= {*person}:
        length = float(np.median(np.linalg.norm(person[list(ACCELERATION)], axis=1)))
        if not LENGTH[0] < length < LENGTH[1]:
            raise RecordingError(f"acceleration has a median length of {length:.3g}: expected about 1, in g")
    if "TEMP" in person:
        temperature = person["TEMP"].median()
        if not SKIN[0] - 5 < temperature < SKIN[1] + 3:  # synthetic people's, too, who may be a little beyond real ones
            raise RecordingError(f"TEMP has a median of {temperature:.3g}: expected degrees C")


def check_classes(table: pd.DataFrame, study: Study, found: np.ndarray) -> None:
    """Raises RecordingError for one person without a window's length of either class.

    Args:
        table: the person's.
        study: what conditions mean.
        found: the labels or conditions that the recording has, for the message.
    """
    in_order = sorted(enumerate(study.classes), key=lambda each: each[0] != 1)  # what is looked for comes first
    for label, conditions in in_order:
        if not runs(table["label"].eq(label).fillna(False).to_numpy(bool), SHORTEST_SECONDS).any():
            there = ", ".join(str(code) for code in found)
            raise RecordingError(
                f"has no {SHORTEST_SECONDS} s of {' or '.join(conditions)} in a row that can be used; its label holds "
                f"{there}: name the conditions in a study file (-p study FILE), or leave the recording out"
            )


def minutes(table: pd.DataFrame) -> dict[str, float]:
    """How long a person was in each condition, min."""
    return {f"{name}, min": round(seconds / 60, 1) for name, seconds in table["condition"].value_counts().items()}


def _reason(error):
    return shown(" ".join(str(error).split()))
