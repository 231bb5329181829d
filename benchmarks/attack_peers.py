"""Attacks of other projects: Anonymeter's (Giomi et al. 2023, doi 10.56553/popets-2023-0055) and tsgm's.

    python run.py --recordings DIR --prepare --out RUN
    make attack-peers ARGS=RUN

They have an environment of their own, `.venv-attack-peers`. Generators learn from half of the people at each promise of
`membership.py`; the other half is the control: what is found of them as well was not given away. The one that remembers
puts out the very windows of the first half. To Anonymeter a record is a window, by mean and standard deviation of each
signal; tsgm takes it whole. Writes `results/attack_peers.csv`. Nothing trained here is kept: no ledger has it.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.membership import MEMORY, PROMISES, drawn
from wearsynth import generators
from wearsynth.parallel import one_core_each
from wearsynth.runs import RunFolder
from wearsynth.scores import bootstrap_interval
from wearsynth.windows import Windows

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-attack-peers" / "bin" / "python"
RESULT = ROOT / "results" / "attack_peers.csv"
HALVES = 8


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder whose windows are prepared")
    run = RunFolder(parser.parse_args().run)
    with tempfile.TemporaryDirectory() as folder:
        for name, number, sets in learned(run):
            half = Path(folder) / name / str(number)
            half.mkdir(parents=True)
            np.savez(half / "windows.npz", **{which: windows.values for which, windows in sets.items()})
            for which, windows in sets.items():
                records(windows).to_csv(half / f"{which}.csv", index=False)
        table = condensed(attacked(Path(folder)))
    print(table.round(3).to_string(index=False))
    table.round(5).to_csv(RESULT, index=False)


def learned(run: RunFolder) -> Iterator[tuple[str, int, dict[str, Windows]]]:
    """For each generator and half of the people: its name, the half's number, and windows of all concerned."""
    test, training = run.windows("test"), run.windows("training")
    people, rng = np.array(test.people), np.random.default_rng(0)
    halves = [rng.permutation(people)[: len(people) // 2] for _ in range(HALVES)]
    members, others = (
        [test[np.isin(test.subjects, half, invert=invert)] for half in halves] for invert in (False, True)
    )
    own = [training[np.isin(training.subjects, half)] for half in halves]
    synthetic = {MEMORY: members}
    for name, promise in PROMISES.items():
        plan = generators.plan(promise, "steered", run.prior(), min(part.n_units(promise.unit) for part in own))
        arguments = ((run, part, plan, number) for number, part in enumerate(own))
        synthetic[name] = list(one_core_each(drawn, arguments, HALVES, "generator"))
    for name, sets in synthetic.items():
        for number in range(HALVES):
            yield name, number, {"members": members[number], "others": others[number], "synthetic": sets[number]}


def records(windows: Windows) -> pd.DataFrame:
    """A row a window: its class, and mean and standard deviation of each signal, in three digits."""
    table = {"stress": windows.labels}
    for signal, values in zip(windows.signals, np.moveaxis(windows.values, -1, 0)):
        table |= {f"{signal}_mean": values.mean(axis=1), f"{signal}_sd": values.std(axis=1)}
    return pd.DataFrame(table).round(3)


def attacked(folder: Path) -> pd.DataFrame:
    """Runs the attacks on all sets of a folder: a row an attack, with its success on members and on others."""
    if not PYTHON.exists():
        raise SystemExit(f"{PYTHON}: is not there; `make attack-peers ARGS=RUN` sets it up")
    subprocess.run([PYTHON, Path(__file__).with_name("attack_peers_worker.py"), folder], check=True)
    return pd.read_csv(folder / "found.csv")


def condensed(found: pd.DataFrame) -> pd.DataFrame:
    """Means over halves: success on members, on others, and the risk, which is what of the rest members lose more."""
    rows = []
    for (generator, attack), each in found.groupby(["generator", "attack"], sort=False):
        risk = ((each["members"] - each["others"]) / (1 - each["others"]).clip(lower=1e-9)).to_numpy()
        low, high = bootstrap_interval(risk)
        rates = {name: each[name].mean() for name in ("members", "others", "guessing")}
        rows.append({"generator": generator, "attack": attack, **rates, "risk": risk.mean(), "low": low, "high": high})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
