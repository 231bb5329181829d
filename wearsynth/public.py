"""Public people, whom a prior may come from at no cost in privacy: they published their recordings, or never lived.

python -m wearsynth.public RECORDINGS    makes the table of Stress-Predict anew, from its recordings in WESAD's layout
"""

import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from wearsynth.files import PACKAGE, fingerprint, replacing, sha256, source_of
from wearsynth.readers import find_recordings, read_table
from wearsynth.recordings import RecordingError
from wearsynth.simulation import simulate_table
from wearsynth.tables import load_table

N_PUBLIC = 24
# People of Stress-Predict who play the private side where no recordings are given. The simulation, which is a part of
# every prior, has nothing of them (`halves`).
DEMONSTRATION = ("S5", "S9", "S13", "S17", "S21", "S25")
STRESS_PREDICT = PACKAGE.parent / "data" / "public" / "stress_predict_1hz.csv.xz"
CACHE = PACKAGE.parent / "data" / "cache"
N_SIMULATED, COHORT = 40, 1000  # simulated people, and their seed: other ones than those of the default recordings
# Digits behind the point, finer than the sensors' steps: 0.01 of BVP, 1/64 g, 0.02 degrees C.
DIGITS = {"BVP": 2, "EDA": 4, "ACC_x": 4, "ACC_y": 4, "ACC_z": 4, "TEMP": 3}
DIGITS |= {"HR": 2, "BVP_amplitude": 3, "ACC_movement": 5}
SAME = 10  # of the last of these digits, by which one recording may differ from itself, by rounding


@dataclass(frozen=True)
class Cohort:
    """People whom a prior comes from.

    Args:
        name: of the prior, as a parameter has it.
        sentence: who they are, and what follows for whoever uses what descends from their minutes.
        files: what they are read from; none for simulated people.
        without: people in these files who are none of them.
    """

    name: str
    sentence: str
    files: tuple[Path, ...]
    without: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A short name for the people and their recordings."""
        return fingerprint(sha256([*self.files]) if self.files else self.name, self.without)

    def table(self) -> pd.DataFrame:
        """Their 1 Hz table, as `readers.read_table` makes it."""
        if not self.files:
            return _simulated()
        if self.files[0].suffix == ".pkl":
            return read_table(self.files[0].parents[1], progress=False).table
        table = load_table(self.files[0])
        return table[~table["subject"].isin(self.without)].reset_index(drop=True)


def find_cohort(prior: str, kind: str = "real") -> Cohort:
    """Finds the people whom a prior is to come from.

    Args:
        prior: 'public', 'simulated', or the path of other public people: a folder of recordings in WESAD's layout, or a
            1 Hz table.
        kind: of the recordings at hand: where they are the public demonstration cohort, its people are not the prior's.

    Raises:
        ValueError: there is no such prior.
    """
    if prior == "public":
        without = DEMONSTRATION if kind == "public" else ()
        others = f"{N_PUBLIC - len(without)} of " if without else ""
        return Cohort(
            prior,
            f"{others}the {N_PUBLIC} people of Stress-Predict, who published their recordings (Iqbal et al. 2022, doi "
            "10.3390/s22218135, MIT licence). Every synthetic minute is one or more of theirs, moved",
            (STRESS_PREDICT,),
            without,
        )
    if prior == "simulated":
        return Cohort(
            prior,
            "simulated people, for whom nobody was measured; how movement disturbs their signals was estimated from "
            "people of Stress-Predict (Iqbal et al. 2022, doi 10.3390/s22218135, MIT licence), and whoever set the "
            "responses to stress had seen some of WESAD's recordings. Every synthetic minute is one or more of theirs, "
            "moved",
            (),
        )
    path = Path(prior)
    if not path.exists():
        raise ValueError(
            f"prior={prior!r}: expected 'public', 'simulated', or a folder or table of other public people"
        )
    files = tuple(find_recordings(path)) if path.is_dir() else (path,)
    sentence = f"the people of {path.name}, who are taken for public: whoever gave them answers for that. Every "
    return Cohort(path.name, f"{sentence}synthetic minute is one or more of theirs, moved", files)


def demonstration() -> pd.DataFrame:
    """The 1 Hz table of the public demonstration cohort."""
    table = find_cohort("public").table()
    return table[table["subject"].isin(DEMONSTRATION)].reset_index(drop=True)


def halves() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The people of Stress-Predict from whom the simulation's numbers come (`wear.py`), and those it is tested on."""
    table = find_cohort("public").table()
    names = sorted(table["subject"].unique(), key=lambda name: int(name[1:]))
    chosen = table["subject"].isin(names[::2])
    return table[chosen].reset_index(drop=True), table[~chosen].reset_index(drop=True)


def expect_others(table: pd.DataFrame, cohort: Cohort) -> None:
    """Refuses a prior that somebody of the people at hand had a part in.

    Synthetic minutes are made of the prior's. And every prior takes some of its contrast from the simulation, whose
    numbers come from public people.

    Args:
        table: 1 Hz table of the people at hand.
        cohort: whom the prior comes from.

    Raises:
        RecordingError: names the people who are in both.
    """
    parts = {f"the prior {cohort.name!r}": cohort.table()} if cohort.files else {}
    if STRESS_PREDICT not in cohort.files:  # which has all of them
        parts["the simulation, which is a part of every prior,"] = halves()[0]
    signal = next(name for name in DIGITS if name != "BVP" and name in table)
    for part, people in parts.items():
        known = {name: rows[signal].to_numpy() for name, rows in people.groupby("subject")}
        both = {}
        for name, rows in table.groupby("subject", sort=False):
            own = rows[signal].to_numpy()
            for other, values in known.items():
                if len(values) == len(own) and np.abs(values - own).max() < SAME / 10 ** DIGITS[signal]:
                    both[name] = other
        if both:
            ours, theirs = ", ".join(both), ", ".join(both.values())
            raise RecordingError(f"{ours}: in {part} as {theirs}, and so cannot be protected; leave {ours} out")


def _simulated() -> pd.DataFrame:
    """The simulated people, whom it takes a while to make: kept from run to run, as long as the code is the same."""
    versions = [version(package) for package in ("numpy", "scipy", "pandas", "neurokit2")]
    path = CACHE / f"simulated_{fingerprint(N_SIMULATED, COHORT, source_of('simulation'), versions)}.parquet"
    with suppress(OSError, ValueError):  # it is not there, or damaged
        return pd.read_parquet(path)
    table = simulate_table(N_SIMULATED, COHORT)
    with suppress(OSError):  # where nothing can be written, they are made anew each time
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            table.to_parquet(draft)
    return table


def main() -> int:
    """Makes the table of Stress-Predict; returns the exit status."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    table = read_table(sys.argv[1]).table.round(DIGITS)
    with replacing(STRESS_PREDICT) as draft:
        table.to_csv(draft, index=False, compression="xz", lineterminator="\n")
    print(f"{table['subject'].nunique()} people, {len(table)} s, SHA-256 {sha256([STRESS_PREDICT])}: {STRESS_PREDICT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
