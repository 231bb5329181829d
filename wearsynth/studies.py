"""What a study's conditions mean: a file of public facts, by which labels, classes and synthetic sessions go.

data/studies/wesad.yaml is one:

    name: WESAD
    citation: ...                                          whom to cite with the data
    positive: [stress]                                     conditions of class 1
    negative: [baseline, amusement]                        conditions of class 0; all others have no label
    third: [meditation]                                    conditions of class 2, where there are three classes
    codes: {1: baseline, 2: stress}                        conditions by the numbers of a pickle in WESAD's layout
    schedule: baseline 20, stress 10, amusement 6.5        the protocol's conditions, and minutes of each
    longest_gap: 5                                         seconds of missing values that are interpolated
    off_wrist: {EDA: 0.03, TEMP: 28}                       below both the wristband is not worn
    on_bad_person: refuse                                  or 'leave_out': whose recording cannot be used

`codes` is for pickles alone. It may be left out, as may `citation`, `third`, and the last three: they then are as here.
"""

import difflib
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from wearsynth.files import PACKAGE
from wearsynth.provenance import kind_of

FOLDER = PACKAGE.parent / "data" / "studies"
NO_CONDITION = "transient"  # from one condition to the next


class Part(NamedTuple):
    """Of a session: a condition, its length in seconds, its class."""

    condition: str
    seconds: int
    label: int


@dataclass(frozen=True)
class Study:
    """Public facts of a study, as its protocol has them; nothing is read off anybody's recording.

    Args:
        name: what it is called.
        positive: conditions of class 1.
        negative: conditions of class 0. All other conditions have no label.
        third: conditions of class 2; none where there are two classes.
        schedule: the protocol's labelled conditions and the minutes of each, as of `read_schedule`.
        codes: number in a pickle of WESAD's layout -> condition; all other numbers up to 7 are of none.
        citation: whom to cite with the data.
        longest_gap: seconds of missing values that are interpolated; where they are more, there is no label.
        off_wrist: EDA (microsiemens) and TEMP (degrees Celsius) below which, both, the wristband lies on a table.
        on_bad_person: what becomes of somebody whose recording cannot be used: 'refuse' ends the run, 'leave_out' goes
            on without them.

    Raises:
        ValueError: one is not of its form.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    schedule: str
    third: tuple[str, ...] = ()
    codes: dict[int, str] = field(default_factory=dict)
    citation: str = ""
    longest_gap: float = 5.0
    off_wrist: dict[str, float] = field(default_factory=lambda: {"EDA": 0.03, "TEMP": 28.0})
    on_bad_person: str = "refuse"

    def __post_init__(self):
        for key in ("name", "schedule", "citation", "codes", "off_wrist"):
            expected = dict if key in ("codes", "off_wrist") else str
            if not isinstance(getattr(self, key), expected):
                raise ValueError(f"{key}: {getattr(self, key)!r}: expected {TYPES[expected]}")
        for key in ("positive", "negative", "third"):
            names = getattr(self, key)
            empty = not names and key != "third"
            if not isinstance(names, (list, tuple)) or empty or not all(map(_is_name, names)):
                raise ValueError(f"{key}: {names!r}: expected a list of one condition or more, such as [stress]")
            object.__setattr__(self, key, tuple(names))
        named = [name for names in self.classes for name in names]
        twice = [name for name in named if named.count(name) > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} stands there twice: expected each condition once, in one class")
        for code, condition in self.codes.items():
            if type(code) is not int or not 1 <= code <= 7 or not _is_name(condition):
                raise ValueError(f"codes: {code!r}: {condition!r}: expected a number from 1 to 7, and a condition")
        if not _is_number(self.longest_gap) or not 0 <= self.longest_gap <= 60:
            raise ValueError(f"longest_gap: {self.longest_gap!r}: expected seconds, from 0 to 60")
        if {*self.off_wrist} != {"EDA", "TEMP"} or not all(map(_is_number, self.off_wrist.values())):
            raise ValueError(f"off_wrist: {self.off_wrist!r}: expected numbers, as in {{EDA: 0.03, TEMP: 28}}")
        if self.on_bad_person not in ("refuse", "leave_out"):
            raise ValueError(f"on_bad_person: {self.on_bad_person!r}: expected refuse or leave_out")
        self.read_schedule(self.schedule)

    @property
    def classes(self) -> tuple[tuple[str, ...], ...]:
        """Each class's conditions, of class 0 first."""
        return (self.negative, self.positive, self.third) if self.third else (self.negative, self.positive)

    @property
    def labels(self) -> dict[str, int]:
        """Condition -> class."""
        return {name: label for label, names in enumerate(self.classes) for name in names}

    @property
    def public_facts(self) -> dict[str, Any]:
        """What is needed once recordings are read: all but `codes`."""
        return {name: value for name, value in asdict(self).items() if name != "codes"}

    def shares(self, positive: float = 0.0) -> tuple[float, ...]:
        """Each class's share of the protocol's labelled time, in three digits.

        >>> read_study("wesad").shares()
        (0.726, 0.274)

        Args:
            positive: of class 1, in the place of what the schedule has; 0 for that.
        """
        parts = self.read_schedule(self.schedule)
        seconds = [sum(part.seconds for part in parts if part.label == label) for label in range(len(self.classes))]
        positive = positive or round(seconds[1] / sum(seconds), 3)
        others = [round((1 - positive) * own / (sum(seconds) - seconds[1]), 3) for own in seconds[2:]]
        return (1 - positive - sum(others), positive, *others)

    def label(self, conditions: pd.Series) -> pd.Series:
        """Each condition's class (Int64), missing for those that have none."""
        return conditions.map(self.labels).astype("Int64")

    def read_schedule(self, text: str) -> tuple[Part, ...]:
        """Reads a session's conditions and their lengths.

        >>> read_study("wesad").read_schedule("baseline 20, stress 10")
        (Part(condition='baseline', seconds=1200, label=0), Part(condition='stress', seconds=600, label=1))

        Args:
            text: labelled conditions and minutes, separated by commas, in order.

        Raises:
            ValueError: something else.
        """
        parts: list[Part] = []
        for given in text.split(","):
            condition, _, minutes = given.strip().rpartition(" ")
            try:
                seconds = round(60 * float(minutes))
            except (ValueError, OverflowError):
                seconds = 0
            known = condition in self.labels and condition not in [part.condition for part in parts]
            if not known or not 60 <= seconds <= 24 * 3600:
                raise ValueError(
                    f"schedule={text!r}: {given.strip()!r}: expected a condition, one of {', '.join(self.labels)}, "
                    f"each once, and its minutes, from 1 to 1440, as in '{self.negative[0]} 20, {self.positive[0]} 10'"
                )
            parts.append(Part(condition, seconds, self.labels[condition]))
        for label, names in enumerate(self.classes):
            if label not in [part.label for part in parts]:
                raise ValueError(f"schedule={text!r}: expected {' or '.join(names)}, too: all classes")
        return tuple(parts)


TYPES = {str: "text", dict: "keys and values, such as {1: baseline}"}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 40 and value == value.strip() and "," not in value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def study_names() -> list[str]:
    """The studies that come along."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_study(study: str | Path) -> Study:
    """Reads a study file.

    >>> read_study("wesad").labels
    {'baseline': 0, 'amusement': 0, 'stress': 1}

    Args:
        study: name of one in data/studies/, or a file's path.

    Raises:
        ValueError: there is none, or it is not of its form.
    """
    known = study_names()
    path = FOLDER / f"{study}.yaml" if str(study) in known else Path(study)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise ValueError(
            f"study={str(study)!r}: cannot be read ({reason}); expected {', '.join(known)}, or a study file"
        ) from None
    try:
        return of_content(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; data/studies/wesad.yaml is an example") from None


def study_of(study: str, recordings: str) -> Study:
    """Reads the study file of some recordings.

    Args:
        study: as of `read_study`; '' for that of the embedded public people, or else WESAD's.
        recordings: the parameter of this name.
    """
    return read_study(study or ("stress_predict" if kind_of(recordings) == "public" else "wesad"))


def of_content(content: Any) -> Study:
    """Makes a study of a file's content; raises ValueError."""
    keys = [key.name for key in fields(Study)]
    if not isinstance(content, dict):
        raise ValueError(f"expected the keys {', '.join(keys)}")
    for key in content:
        if key not in keys:
            raise ValueError(f"{key!r}: did you mean {difflib.get_close_matches(str(key), keys, n=1, cutoff=0)[0]!r}?")
    for key in ("name", "positive", "negative", "schedule"):
        if key not in content:
            raise ValueError(f"{key!r} is missing")
    return Study(**content)


WESAD = read_study("wesad")
