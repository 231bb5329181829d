"""A run folder: where everything lies in it, and what of it is finished.

`run.py` gives every run a folder of its own; stepping through the notebooks by hand, the checkout itself is one.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wearsynth.codecs import Codec, SimulatedPeople, choose_codec
from wearsynth.files import write_json
from wearsynth.recordings import load_table
from wearsynth.windows import Windows, make_windows

EVERYONE = "everyone"  # the generator that is shared: trained on all people, beside those that leave one out
PACKAGE = Path(__file__).parent


class RunFolder:
    """Paths in a run folder, its `metrics.json`, and marks for finished pieces of work.

    Args:
        path: the folder; made when something is first written.
    """

    NOTEBOOKS = ("01-Data", "02-Model", "03-Generator", "04-Evaluation", "05-Stress_Detection")

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.table = self.path / "data" / "wesad" / "wesad_preprocessed_1hz.csv"
        self.simulated_recordings = self.path / "data" / "simulated"
        self.training_windows = self.path / "data" / "windows" / "training.npz"
        self.test_windows = self.path / "data" / "windows" / "test.npz"
        self.simulated_people = self.path / "data" / "windows" / "simulated_people.npz"
        self.generators = self.path / "data" / "generators"
        self.synthetic = self.path / "data" / "syn" / "cgan"
        self.detectors = self.path / "data" / "detectors"
        self.predictions = self.detectors / "predictions.csv"
        self.detector_cache = self.detectors / "cache"
        self.figures = self.path / "figures"
        self.metrics_file = self.path / "metrics.json"

    @property
    def metrics(self) -> dict[str, Any]:
        """All that `record` has written so far."""
        return json.loads(self.metrics_file.read_text()) if self.metrics_file.exists() else {}

    @property
    def kind(self) -> str:
        """'simulated' or 'real': what every table and figure has to say it was made from."""
        self._expect_recordings()
        return self.metrics["run"]["recordings"]["kind"]

    def synthetic_windows(self, name: str) -> Windows:
        """The windows drawn from the generator `name`: EVERYONE, or a held-out person."""
        return Windows.load(self.synthetic / f"{name}.npz")

    def codec(self, generator: str) -> Codec:
        """The codec of a kind of generator, for this run's windows."""
        return choose_codec(generator, SimulatedPeople.load(self.simulated_people))

    def record(self, section: str, numbers: dict[str, Any]) -> None:
        """Adds numbers to one section of `metrics.json`; the others stay as they are.

        Raises:
            FileNotFoundError: the section that comes first, 'run', is not there: somebody has removed the file.
        """
        if section != "run":
            self._expect_recordings()
        metrics = self.metrics
        metrics[section] = metrics.get(section, {}) | numbers
        write_json(self.metrics_file, metrics)

    def save_figure(self, figure, name: str) -> None:
        """Writes a figure to `figures/<name>.png`."""
        self.figures.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.figures / f"{name}.png", bbox_inches="tight")

    def prepare_windows(
        self, signals: str, scaling: str, window_seconds: int, hop_seconds: int
    ) -> tuple[Windows, Windows]:
        """Cuts the table into windows, unless that is finished: parameters as of `windows.make_windows`.

        Simulated people for generators to start from (`codecs.SimulatedPeople`) get windows alike.

        Returns:
            Windows for training, and those for tests, which do not overlap.
        """
        key = fingerprint(self.table, signals, scaling, window_seconds, hop_seconds)
        if not self.is_finished("windows", key):
            self.forget("windows")
            table = load_table(self.table)
            for path, hop in ((self.training_windows, hop_seconds), (self.test_windows, window_seconds)):
                make_windows(table, signals, scaling, window_seconds, hop).save(path)
            SimulatedPeople.simulate(signals, scaling, window_seconds, hop_seconds).save(self.simulated_people)
            self.mark_finished("windows", key)
        return Windows.load(self.training_windows), Windows.load(self.test_windows)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps another process out of this folder, or waits until the one that is at work in it has ended."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{self.path}: another process is at work here; waiting for its end", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def start_from(self, others: list["RunFolder"]) -> None:
        """Takes over what other runs have finished; the last one counts where several have the same.

        What is large is linked, not copied. No writer of such a file writes into the old one (see `files.replacing`).
        `metrics.json` comes last: with it, the run has begun.
        """
        for other in others:
            large = {other.simulated_recordings, other.table.parent, other.training_windows.parent, other.generators}

            def take(source: str, target: str, large=large) -> None:
                Path(target).unlink(missing_ok=True)
                if large.isdisjoint(Path(source).parents):
                    shutil.copy2(source, target)
                else:
                    _link(source, target)

            ignored = shutil.ignore_patterns(".lock", "report.html", "metrics.json")
            shutil.copytree(other.path, self.path, copy_function=take, dirs_exist_ok=True, ignore=ignored)
        if others:
            write_json(self.metrics_file, others[-1].metrics)

    def is_finished(self, name: str, key: str) -> bool:
        """Whether the piece of work `name` is finished, and depended on exactly what `key` stands for."""
        mark = self._mark(name)
        return mark.exists() and json.loads(mark.read_text())["key"] == key

    def mark_finished(self, name: str, key: str) -> None:
        """Marks the piece of work `name` as finished; to be called after all that it writes is written."""
        write_json(self._mark(name), {"key": key})

    def forget(self, *names: str) -> None:
        """Makes pieces of work count as unfinished: to be called before what they have written is replaced."""
        for name in names:
            self._mark(name).unlink(missing_ok=True)

    def _expect_recordings(self) -> None:
        if "run" not in self.metrics:
            raise FileNotFoundError(f"{self.metrics_file}: tells of no recordings; run 01-Data first")

    def _mark(self, name: str) -> Path:
        return self.path / "data" / "finished" / f"{name}.json"


def fingerprint(*parts: Any) -> str:
    """Returns a short name for everything that a piece of work depends on: the package's code and `parts`.

    Args:
        parts: files, which count by their content, or values.
    """
    digest = hashlib.sha256()
    for part in [*sorted(PACKAGE.glob("*.py")), *parts]:
        digest.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another file system, or on one without links
        shutil.copy2(source, target)
