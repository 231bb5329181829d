"""Kills a chain again and again, and looks at what is left; then lets it end, and compares with one left in peace.

python -m reliability.kills [N] [SEED]        200 kills, seed 0

At random moments SIGKILL hits a random process of a small run on recordings that count as real: run.py, the kernel or a
process that trains; in every fifth round all of a sweep's. After each kill every file that is called what a finished
one is called has to be whole. The same command then has to end by itself, with results that equal those of an
undisturbed run, bit for bit without privacy; and the ledger has to list at least what was released.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from wearsynth import simulation
from wearsynth.ledger import SETTING, read
from wearsynth.parameters import ROOT
from wearsynth.provenance import Origin, load_arrays
from wearsynth.runs import RunFolder
from workflow.sweep import SNAKEMAKE

SMALL = {
    "steps": "20",
    "people": "3",
    "folds": "S2,S3",
    "protocols": "trtr,tstr",
    "detectors": "logistic_regression",
}
COMPARED = ("synthetic", "fidelity", "attacks", "detection")
LONGEST_RUN = 600  # s
MOST_SECONDS = 12  # after which a kill comes, at the latest
KILLS_A_ROUND = (10, 40)
SWEEPS = 5  # one round in so many is a sweep


def main(arguments: list[str]) -> int:
    """Kills N times; returns the exit status."""
    n, seed = (int(text) for text in (*arguments, *("200", "0")[len(arguments) :]))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = kill(n, seed, Path(folder))
    print(", ".join(f"{what}: {count}" for what, count in counts.items()))
    print(f"{n} kills in {(time.monotonic() - start) / 60:.0f} minutes; no violation")
    return 0


def kill(n: int, seed: int, folder: Path) -> Counter:
    """Kills runs N times in all, until each has ended; counts what was hit.

    Raises:
        AssertionError: something is not as it should be.
    """
    rng, counts = np.random.default_rng(seed), Counter()
    os.environ[SETTING] = str(folder / "ledger.jsonl")
    recordings = folder / "recordings"
    simulation.write_cohort(recordings, 3)
    undisturbed = folder / "undisturbed"
    expect_end(chain(recordings, undisturbed, "inf"))
    expected = results(undisturbed)
    round_ = 0
    while counts.total() < n:
        epsilon, sweeps = ("inf", "1")[round_ % 2], SNAKEMAKE.exists() and round_ % SWEEPS == SWEEPS - 1
        out = folder / f"round{round_}"
        command = sweep(recordings, out, folder) if sweeps else chain(recordings, out, epsilon)
        before = len(read(folder / "ledger.jsonl"))
        for _ in range(min(int(rng.integers(*KILLS_A_ROUND)), n - counts.total())):
            if victim := disturb(command, rng, all_at_once=sweeps):
                counts[victim] += 1
            expect_whole(out)
        expect_end(command)
        runs = [path.parent for path in out.rglob("metrics.json") if "fidelity" in json.loads(path.read_text())]
        assert runs, f"{out}: no finished run"
        for run in runs:
            if sweeps or epsilon == "inf":
                assert results(run) == expected, f"{run}: other results than of an undisturbed run"
        released = len({path.stat().st_ino for path in out.rglob("data/generators/*.npz")})
        entered = len(read(folder / "ledger.jsonl")) - before
        assert entered >= released, f"{out}: {released} releases, {entered} in the ledger"
        print(f"round {round_}: {dict(counts)}, {released} releases, {entered} entered", flush=True)
        shutil.rmtree(out)
        round_ += 1
    return counts


def chain(recordings: Path, out: Path, epsilon: str) -> list[str]:
    """The command of a small run."""
    given = [part for name, value in (SMALL | {"epsilon": epsilon}).items() for part in ("-p", name, value)]
    return [sys.executable, str(ROOT / "run.py"), "--recordings", str(recordings), "--out", str(out), *given]


def sweep(recordings: Path, out: Path, folder: Path) -> list[str]:
    """The command of a sweep that makes the same run of several jobs."""
    grid = folder / "grid.yaml"
    parameters = "".join(f'  {name}: "{value}"\n' for name, value in SMALL.items())
    grid.write_text(f'grid:\n  - epsilon: "inf"\nparameters:\n{parameters}')
    return [sys.executable, "-m", "workflow.sweep", str(grid), "--recordings", str(recordings), "--out", str(out)]


def disturb(command: list[str], rng: np.random.Generator, all_at_once: bool) -> str | None:
    """Starts the command and kills one of its processes, or all; returns what was hit, None if it had ended before."""
    process = start(command)
    try:
        process.wait(rng.uniform(0.5, MOST_SECONDS))
        return None
    except subprocess.TimeoutExpired:
        pass
    below = descendants(process.pid)
    if all_at_once:
        for pid in (*below, process.pid):
            end(pid)
        process.wait()
        return "sweep"
    victim = int(rng.choice([process.pid, *below]))
    what = "run.py" if victim == process.pid else "kernel" if victim in below[:1] else "process below"
    end(victim)
    process.wait(LONGEST_RUN)
    wait_for_end(below)
    return what


def start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def descendants(pid: int) -> list[int]:
    """Processes below one, those nearest to it first."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [each for child in children for each in descendants(child)]


def wait_for_end(pids: list[int]) -> None:
    """Waits until none of these is left: a training that goes on would write into what the next one has begun."""
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, f"{pids}: left behind"
        time.sleep(0.1)


def expect_end(command: list[str]) -> None:
    """Runs the command to its end."""
    process = start(command)
    _, said = process.communicate(timeout=LONGEST_RUN)
    assert process.returncode == 0, f"ended with {process.returncode}: {said[-2000:]}"


def expect_whole(out: Path) -> None:
    """Looks at every file that is called what a finished one is called."""
    for path in out.rglob("*.npz"):
        if not path.name.startswith("."):  # a draft, which nobody takes for whole
            with np.load(path) as stored:
                arrays = {name: stored[name] for name in stored.files}
            if "origin" in arrays:
                load_arrays(path, Origin(**json.loads(str(arrays["origin"]))))
    for path in out.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    for path in out.rglob("*.csv"):
        if not path.name.startswith("."):
            with open(path, encoding="utf-8", newline="") as file:
                assert len({len(row) for row in csv.reader(file)}) == 1, f"{path}: a line is cut"
    for path in out.rglob("data/syn/cgan/synthetic_1hz.csv"):
        said = path.with_suffix(".txt").read_text(encoding="utf-8")
        assert said == f"{RunFolder(path.parents[3]).source}\n", f"{path}: of another promise"


def results(run: Path) -> tuple:
    """What a run has found: its numbers, and the bytes of generators and windows."""
    folder = RunFolder(run)
    files = [
        *sorted(folder.generators.glob("*.npz")),
        *sorted(path for path in folder.synthetic.rglob("*") if path.is_file()),
    ]
    metrics = folder.metrics
    return {name: metrics[name] for name in COMPARED}, {file.name: file.read_bytes() for file in files}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
