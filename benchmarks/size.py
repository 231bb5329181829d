"""How long it takes to read a study of many people, each recorded for a day's work, and how much memory.

    python -m benchmarks.size [--people 2,5,10] [--format .parquet]

Simulated people of eight hours, one simulated session behind the other, are written as the wristband exports them, and
`read_table` and `save_table` run on them in a process of their own. Writes `benchmarks/size.json`, with what 200 people
would take: a straight line through the peaks says too little, as reading one recording takes more than the tables of a
hundred people. It is at most the least peak, and twice everybody's table, which is there in parts and as a whole.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
from pyarrow import csv

from wearsynth.exports import COLUMNS, CONDITIONS
from wearsynth.readers import read_table
from wearsynth.recordings import ACC_UNITS_PER_G, WRIST
from wearsynth.simulation import simulate_recording
from wearsynth.studies import WESAD
from wearsynth.tables import SUFFIXES, save_table

RESULT = Path(__file__).parent / "size.json"
HOURS = 8
ASKED = 200  # people, worked out
START = 1_700_000_000  # s since 1970


def write_person(folder: Path, number: int) -> None:
    """Writes one simulated person's export, and adds their conditions to the table of them."""
    sessions = [simulate_recording(f"S{number}", seed)[0] for seed in range(HOURS + 1)]  # they take about an hour each
    (folder / f"P{number}").mkdir(parents=True)
    for name, (rate, columns) in WRIST.items():
        values = np.concatenate([getattr(session, name.lower()) for session in sessions])[: HOURS * 3600 * rate]
        values = values.reshape(-1, columns) * (ACC_UNITS_PER_G if name == "ACC" else 1)
        lines = np.concatenate([np.full((2, columns), [[START], [rate]]), values]).round(6)
        table = pa.table(list(lines.T), [*"xyz"[:columns]])
        csv.write_csv(table, folder / f"P{number}" / f"{name}.csv", csv.WriteOptions(include_header=False))
    code = np.concatenate([session.label[:: session.label_rate] for session in sessions])[: HOURS * 3600]
    edges = np.flatnonzero(np.diff(np.r_[-1, code, -1]))
    rows = [(f"P{number}", begin, end, WESAD.codes[code[begin]]) for begin, end in zip(edges, edges[1:]) if code[begin]]
    table = folder / CONDITIONS
    pd.DataFrame(rows, columns=COLUMNS).to_csv(table, mode="a", header=not table.exists(), index=False)


def measure(folder: Path, suffix: str) -> dict[str, float]:
    """Reads a folder and saves its table; returns seconds of both, and megabytes of the table in memory."""
    start = time.perf_counter()
    table = read_table(folder, progress=False).table
    read = time.perf_counter()
    save_table(table, folder.parent / f"table{suffix}")
    return {
        "read_seconds": round(read - start, 1),
        "save_seconds": round(time.perf_counter() - read, 1),
        "table": round(table.memory_usage(deep=True).sum() / 2**20),
    }


def in_a_process(folder: Path, suffix: str) -> dict[str, float]:
    """What `measure` returns in a fresh process, and `peak`, megabytes of it and of all processes that it started."""
    command = [sys.executable, "-m", "benchmarks.size", "--measure", str(folder), suffix]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(process.returncode)
    return json.loads(process.stdout.read()) | {"peak": round(peak / 2**20)}


def resident(pid: int) -> int:
    """Bytes in memory of a process and its children; what they share counts in each."""
    try:
        process = psutil.Process(pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    except psutil.Error:  # one has ended in the meantime
        return 0


def main() -> None:
    """Measures each number of people, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", default="2,5,10", metavar="N,N,...", help="numbers of people, rising")
    parser.add_argument("--format", default=".csv", choices=SUFFIXES, help="of the table")
    parser.add_argument("--measure", nargs=2, metavar=("DIR", "FORMAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Path(options.measure[0]), options.measure[1])))
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder, written = Path(temporary) / "recordings", 0
        for n_people in map(int, options.people.split(",")):
            while written < n_people:
                written += 1
                write_person(folder, written)
            rows.append({"people": n_people, "hours": HOURS} | in_a_process(folder, options.format))
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    RESULT.write_text("[\n" + ",\n".join(json.dumps(row) for row in [*rows, extrapolated(rows)]) + "\n]\n")
    print(RESULT.read_text())


def extrapolated(rows: list[dict[str, float]]) -> dict[str, float]:
    """The most memory, and about the time, that so many people would take as are asked about."""
    last = rows[-1]
    factor = ASKED / last["people"]
    return {
        "people": ASKED,
        "hours": HOURS,
        "read_seconds": round(last["read_seconds"] * factor),
        "save_seconds": round(last["save_seconds"] * factor),
        "table": round(last["table"] * factor),
        "peak_at_most": round(min(row["peak"] for row in rows) + 2 * last["table"] * factor),
    }


if __name__ == "__main__":
    main()
