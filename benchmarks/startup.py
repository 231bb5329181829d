"""What of a sweep's job is start-up: imports, the kernel, and tracing networks, before any of them learns.

python -m benchmarks.startup [--recordings DIR]

One job, the fold of S2 at default settings on one core, is run and timed. What its notebooks took to import stands in
the executed copies; what tracing took is measured by itself, by trainings of a single step. Writes startup.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import nbformat

from wearsynth import generators, private_detectors
from wearsynth.codecs import DescriptorCodec
from wearsynth.detector import train
from wearsynth.privacy import Promise
from wearsynth.runs import RunFolder
from wearsynth.windows import Windows

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "startup.json"
N_NETWORKS = 3  # the CNN of a fold is trained on real windows, on synthetic ones, and on both


def main() -> None:
    """Measures, prints and writes startup.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="in WESAD's layout; default: simulated")
    options = parser.parse_args()
    recordings = ["--recordings", str(options.recordings)] if options.recordings else []
    with tempfile.TemporaryDirectory() as folder:
        prepared, fold = RunFolder(Path(folder) / "prepared"), RunFolder(Path(folder) / "fold")
        run(*recordings, "--prepare", "--out", str(prepared.path))
        start = time.time()
        of_one_fold = ["-p", "folds", "S2", "-p", "share", "false"]
        run(*recordings, "--from", str(prepared.path), "--out", str(fold.path), *of_one_fold)
        seconds = time.time() - start
        parts = imports(fold, start) | tracing(
            fold.windows()[0], fold.prior(), len(fold.metrics["detection"]["private"])
        )
        about = {"kind": fold.kind, "people": len(fold.metrics["run"]["recordings"]["subjects"])}
    total = sum(parts.values())
    result = about | {"job": seconds, **parts, "share": total / seconds}
    result = {name: round(value, 2) if isinstance(value, float) else value for name, value in result.items()}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{total:.0f} s of {seconds:.0f} s are start-up, {total / seconds:.0%}: see {RESULT}")


def run(*arguments: str) -> None:
    """Runs run.py on one core."""
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    one = {"LOKY_MAX_CPU_COUNT": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    subprocess.run(command, check=True, env=os.environ | one, stdout=subprocess.DEVNULL)


def imports(folder: RunFolder, start: float) -> dict[str, float]:
    """Returns seconds until the first cell of a job ran, and seconds of all cells that import; `start`: of the job."""
    cells = []
    for name in ("02-Model", "03-Generator", "05-Stress_Detection"):
        notebook = nbformat.read(folder.path / f"{name}.ipynb", as_version=4)
        cells += [cell for cell in notebook.cells if cell.cell_type == "code"]
    first = datetime.fromisoformat(cells[0].metadata.papermill.start_time).timestamp()
    importing = [cell.metadata.papermill.duration for cell in cells if "from wearsynth" in cell.source]
    assert len(importing) == 3, "each notebook imports in one cell"
    return {"until_first_cell": first - start, "imports": sum(importing)}


def tracing(windows: Windows, prior: DescriptorCodec, n_budgets: int) -> dict[str, float]:
    """Returns seconds that a job's networks take before they learn, in trainings of a single step."""
    promise = Promise("window", 1.0, 1e-4, steps=1)
    planned = generators.plan(promise, "steered", prior, windows.n_units("window"))
    generators.train(windows, planned, 0, name=None)  # TensorFlow's own first steps are no tracing
    private_detectors.PRIVATE_STEPS = 1
    few = windows[:64] if len(set(windows.labels[:64])) > 1 else windows
    for name in private_detectors.PRIVATE_DETECTORS:  # neither is working out the noise, which is known from then on
        private_detectors.train_private(name, few, promise, 0)
    return {
        "tracing_generator": timed(lambda: generators.train(windows, planned, 0, name=None)),
        "tracing_cnn": N_NETWORKS * timed(lambda: train("cnn", few, 0, 1)),
        "tracing_private": n_budgets
        * sum(
            timed(lambda name=name: private_detectors.train_private(name, few, promise, 0))
            for name in private_detectors.PRIVATE_DETECTORS
        ),
    }


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
