"""How long the same discriminator step takes with Opacus and with JAX, beside the project's own.

    python -m benchmarks.peers

The peers have an environment of their own, `.venv-peers`: a worker process there and this one take steps in turn.
Before a case is timed, the clipped sums of both have to agree. The peers' rows of `benchmarks/results.json` are
replaced, and `benchmarks/results.png` is drawn anew.
"""

import functools
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.cases import ARCHITECTURES, BATCHES, PRIVACY_UNITS
from benchmarks.discriminator_step import build, draw_batch, implementations, seconds_of
from benchmarks.results import faster_plain, rows, save, time_interleaved
from wearsynth.quiet import tf

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PEERS = {"window": ("opacus", "opacus_ghost", "jax"), "subject": ("jax",)}  # Opacus knows no unit of many windows
PACKAGES = {"jax": ("jax",), "opacus": ("opacus", "torch"), "opacus_ghost": ("opacus", "torch")}


class Worker:
    """A process in the peers' environment, which takes steps on request: see `peers_worker.py`."""

    def __init__(self):
        self._process = subprocess.Popen(
            [PYTHON, "-W", "ignore::UserWarning", "-m", "benchmarks.peers_worker"],
            cwd=ROOT,
            env=os.environ | {"OMP_WAIT_POLICY": "passive"},  # busy waiting costs torch much where cores are shared
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.versions = self._answer()

    def ask(self, **request: str):
        """Sends a request; returns the answer."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the peers' process has ended: what it says above tells why")
        return json.loads(line)


def timers(worker: Worker, architecture: str, unit: str, batch: int) -> dict[str, Callable[[], float]]:
    """By implementation, what takes one step on one and the same batch and returns its seconds.

    Raises:
        AssertionError: a peer's clipped sum is not the project's.
    """
    model, examples = build(architecture), draw_batch(unit, batch)
    functions = {
        name: function for name, function in implementations(model, examples).items() if name != "tensorflow_privacy"
    }
    ours = np.concatenate([np.ravel(part) for part in functions["fused"](*examples)])
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/case.npz"
        np.savez(file, *[weight.numpy() for weight in model.trainable_variables], examples=examples[0].numpy())
        for name in PEERS[unit]:
            theirs = worker.ask(implementation=name, architecture=architecture, file=file)
            case = f"{name}, {architecture}, {unit}, batch {batch}"
            np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4 * np.abs(ours).max(), err_msg=case)
    own = {name: functools.partial(seconds_of, function, examples) for name, function in functions.items()}
    return own | {name: functools.partial(worker.ask, implementation=name) for name in PEERS[unit]}


def main() -> None:
    """Measures every case, prints the ratios, writes the results."""
    tf.random.set_seed(0)
    worker, table = Worker(), []
    for case in tqdm(list(itertools.product(ARCHITECTURES, PRIVACY_UNITS, BATCHES)), unit="case"):
        times = faster_plain(time_interleaved(timers(worker, *case)))
        fused = {"fused_milliseconds": times["fused"]["milliseconds"]}
        for row in rows(*case, times):
            name = row["implementation"]
            tqdm.write(f"{', '.join(map(str, case))}: {name} {row['milliseconds']:.1f} ms")
            if name in PACKAGES:
                versions = {package: worker.versions[package] for package in PACKAGES[name]}
                table.append(row | fused | {"versions": row["versions"] | versions})
    worker.close()
    save(table, set(PACKAGES))


if __name__ == "__main__":
    main()
