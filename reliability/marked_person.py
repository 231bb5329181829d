"""Marks one person's recording, and looks for the mark in everything that a run leaves.

python -m reliability.marked_person [RUNS]        2 runs: without privacy, and at epsilon 1 for a window

One of three people gets a pattern into each minute of EDA and TEMP that nobody else has. Each file of the run is then
searched for it: for the person's name, the digest of the recording, and, minute by minute, for the pattern itself, by
the largest correlation with it, beside the largest one with patterns of the same kind that nobody was given. What may
be shared must hold none of them. The table says what each file tells of a real person.
"""

import os
import pickle
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from reliability.kills import SMALL, start
from wearsynth import simulation
from wearsynth.ledger import SETTING
from wearsynth.parameters import ROOT
from wearsynth.readers import read_table
from wearsynth.runs import SHARED

MARKED, SECONDS = "S3", 60
N_OTHERS = 400  # patterns that nobody was given
HANDED_OVER = tuple(f"share/{name}" for name in SHARED)
TABLES = tuple(f"data/syn/cgan/synthetic_1hz.{suffix}" for suffix in ("csv", "parquet", "txt"))


def main(arguments: list[str]) -> int:
    """Marks, runs and searches; returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[SETTING] = str(Path(folder) / "ledger.jsonl")
        recordings, patterns = Path(folder) / "recordings", patterns_of(1 + N_OTHERS)
        simulation.write_cohort(recordings, 3)
        mark(recordings / MARKED / f"{MARKED}.pkl", patterns[0])
        digest = read_table(recordings, progress=False).quality.loc[MARKED, "digest"]
        for epsilon in ("inf", "1")[: int((*arguments, "2")[0])]:
            out = Path(folder) / f"epsilon={epsilon}"
            run(recordings, out, epsilon)
            found = search(out, patterns, digest)
            print(f"\nepsilon {epsilon}:\n{found.to_string()}", flush=True)
            shared = found.loc[[*TABLES, *HANDED_OVER]]  # each has to be there
            assert {*HANDED_OVER} == {name for name in found.index if name.startswith("share/")}
            assert not shared[["name", "digest", "pattern"]].any(axis=None), "the mark is in what is shared"
            assert found.loc["data/windows/training.npz", "pattern"], "the search finds nothing: it proves nothing"
    print("\nNo mark in what is shared")
    return 0


def patterns_of(n: int) -> np.ndarray:
    """(n, SECONDS): smoothed noise, each of mean 0 and length 1."""
    noise = np.random.default_rng(0).normal(size=(n, SECONDS + 4))
    smooth = np.stack([np.convolve(row, np.ones(5) / 5, "valid") for row in noise])
    return _of_length_one(smooth)


def mark(path: Path, pattern: np.ndarray) -> None:
    """Puts the pattern into each minute of a recording's EDA and TEMP, as large as what they move by themselves."""
    content = pickle.loads(path.read_bytes(), encoding="latin1")  # it was written a moment ago
    for name in ("EDA", "TEMP"):
        values = np.array(content["signal"]["wrist"][name], float)
        marked = np.resize(np.repeat(pattern, 4), len(values)).reshape(values.shape)
        content["signal"]["wrist"][name] = values + 4 * values.std() * marked
    path.write_bytes(pickle.dumps(content, protocol=2))


def run(recordings: Path, out: Path, epsilon: str) -> None:
    """A small run on the recordings."""
    given = [part for name, value in (SMALL | {"epsilon": epsilon}).items() for part in ("-p", name, value)]
    process = start([sys.executable, str(ROOT / "run.py"), "--recordings", str(recordings), "--out", str(out), *given])
    _, said = process.communicate()
    assert process.returncode == 0, said


def search(out: Path, patterns: np.ndarray, digest: str) -> pd.DataFrame:
    """What each file of a run holds of the marked person: one row a file."""
    rows = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.stat().st_size):
        raw = path.read_bytes()
        each = [correlations(series, patterns) for series in series_of(path)]
        best = np.max(each, axis=0) if each else np.zeros(len(patterns))
        rows[str(path.relative_to(out))] = {
            "name": re.search(rf"\b{MARKED}\b", text_of(path)) is not None,
            "digest": digest.encode() in raw,
            # By chance the largest of all would be the mark's once in N_OTHERS + 1 times; it has to stand out as well.
            "pattern": bool(best[0] > 0.7 and best[0] > best[1:].max()),
            "correlation": round(float(best[0]), 2),
            "of others": round(float(best[1:].max()), 2),
        }
    return pd.DataFrame(rows).T


def text_of(path: Path) -> str:
    """What can be read in a file: its text, or the texts among its arrays."""
    if path.suffix == ".npz":
        with np.load(path) as stored:
            arrays = [stored[name] for name in stored.files]
        return " ".join(str(text) for array in arrays if array.dtype.kind == "U" for text in np.unique(array))
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_csv()
    text = "" if path.suffix == ".png" else path.read_text(encoding="utf-8", errors="replace")
    return re.sub(r"base64,[\w+/=]*", "", text)  # a picture's letters, where a short name stands by chance


def series_of(path: Path) -> list[np.ndarray]:
    """The file's numbers, as series in time: (n_series, SECONDS) each."""
    if path.suffix in (".csv", ".parquet"):
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        signals = [table[name].to_numpy(float) for name in ("EDA", "TEMP") if name in table]
        return [_minutes(values) for values in signals]
    if path.suffix == ".npz":
        with np.load(path) as stored:
            arrays = [stored[name] for name in stored.files]
        numbers = [array for array in arrays if array.dtype.kind == "f" and array.ndim == 3]
        return [array.swapaxes(1, 2).reshape(-1, SECONDS) for array in numbers if array.shape[1] == SECONDS]
    return []


def correlations(series: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """(n_patterns,), each pattern's largest correlation with one of the series, at any shift."""
    spectrum = np.fft.rfft(_of_length_one(series), axis=1)
    return np.array([np.fft.irfft(spectrum * np.fft.rfft(each).conj(), SECONDS, axis=1).max() for each in patterns])


def _minutes(values: np.ndarray) -> np.ndarray:
    return values[: len(values) // SECONDS * SECONDS].reshape(-1, SECONDS)


def _of_length_one(series: np.ndarray) -> np.ndarray:
    centred = series - series.mean(axis=1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
