"""What has been released of whose recordings so far, over all runs: a line a training, written before it begins.

python -m wearsynth.ledger      shows it

A guarantee is for everything that is ever released of a person together. The ledger is a file of the user's, outside
of all run folders: `WEARSYNTH_LEDGER`, or wearsynth/ledger.jsonl in the user's data folder. Trainings on simulated
people are not entered. The ledger names people by the digest of their recordings: keep it like the recordings.
"""

import fcntl
import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wearsynth.privacy import UNITS, Promise, spent_together

SETTING = "WEARSYNTH_LEDGER"


class LedgerError(ValueError):
    """The ledger cannot be read or written; nothing may be released that it does not know of."""


def ledger_path() -> Path:
    """Where the user's ledger lies."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return Path(os.environ.get(SETTING) or os.path.join(data, "wearsynth", "ledger.jsonl"))


@dataclass(frozen=True)
class Ledger:
    """The ledger, for the people of one cohort.

    Args:
        path: of the file.
        people: subject -> digest of the person's recording.
    """

    path: Path
    people: dict[str, str]

    def enter(self, subjects: np.ndarray, promise: Promise, key: str) -> None:
        """Enters a training, to be called before it reads anything of these people.

        Args:
            subjects: whom it is trained on; names may come again and again.
            promise: what it is trained under.
            key: short name of the training.

        Raises:
            LedgerError: the entry is not safely on disk.
        """
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "key": key,
            "people": {name: self.people[name] for name in np.unique(subjects).tolist()},
            "promise": asdict(promise) | {"epsilon": str(promise.epsilon)},
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                _drop_half_line(file)
                file.write(json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise LedgerError(
                f"{self.path}: cannot be written ({error.strerror}), and no release may go unnoted; "
                f"set {SETTING} to a file that can"
            ) from None

    def spent(self, delta: float) -> dict[str, Any]:
        """Adds up what the trainings entered so far have spent of one of these people, were all of them shared.

        Args:
            delta: of the epsilons asked for.

        Returns:
            `trainings` under a promise and `not_private` ones, of the person with most of them; for each unit that was
            promised, epsilon at `delta` of one unit, an upper bound; and `file`, where all of this stands.
        """
        of_person = {digest: Counter() for digest in self.people.values()}
        for entry in read(self.path):
            for digest in {*entry["people"].values()} & {*of_person}:
                of_person[digest][entry["promise"]] += 1
        histories = {frozenset(uses.items()) for uses in of_person.values()}  # few: most people have the same one
        private = [[(promise, n) for promise, n in uses if promise.private] for uses in histories]
        result = {
            "file": str(self.path),
            "trainings": max(sum(n for _, n in uses) for uses in private),
            "not_private": max(sum(n for promise, n in uses if not promise.private) for uses in histories),
        }
        for unit in UNITS:
            own = [
                [(promise, promise.training_steps) for promise, n in uses if promise.unit == unit for _ in range(n)]
                for uses in private
            ]
            if any(own):
                result[unit] = max(spent_together(uses, delta) for uses in own if uses)
        return result


def read(path: Path) -> list[dict[str, Any]]:
    """Reads all entries; half a line at the end is none, as its training has not begun.

    Returns:
        Of each entry `time`, `key`, `people` (subject -> digest of the recording) and `promise`, a Promise.

    Raises:
        LedgerError: a line is no entry.
    """
    if not path.exists():
        return []
    entries = []
    try:
        *lines, _ = path.read_bytes().split(b"\n")
        for line in lines:
            entries.append(_entry(json.loads(line)))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise LedgerError(
            f"{path}: line {len(entries) + 1} is no entry ({type(error).__name__}); mend the line, or move the file "
            "away and keep count of what it held yourself"
        ) from None
    return entries


def table(entries: list[dict[str, Any]]) -> pd.DataFrame:
    """Lays entries out to be read: one row for trainings of the same promise, people and day."""
    rows = [
        {
            "day": entry["time"][:10],
            "unit": entry["promise"].unit,
            "epsilon": entry["promise"].epsilon,
            "delta": entry["promise"].delta,
            "people": ", ".join(entry["people"]),
        }
        for entry in entries
    ]
    columns = ["day", "unit", "epsilon", "delta", "people"]
    counts = pd.DataFrame(rows, columns=columns).value_counts(sort=False).rename("trainings")
    return counts.reset_index()


def main() -> int:
    """Prints the user's ledger; returns the exit status."""
    path = ledger_path()
    try:
        entries = read(path)
    except LedgerError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{path}: {len(entries)} trainings on real recordings")
    if entries:
        print(table(entries).to_string(index=False))
    return 0


def _entry(content: dict[str, Any]) -> dict[str, Any]:
    promise = Promise(**content["promise"] | {"epsilon": float(content["promise"]["epsilon"])})
    people = {str(name): str(digest) for name, digest in content["people"].items()}
    return {"time": str(content["time"]), "key": str(content["key"]), "people": people, "promise": promise}


def _drop_half_line(file) -> None:
    """Cuts off what a writer left that was stopped in the middle of its line."""
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


if __name__ == "__main__":
    sys.exit(main())
