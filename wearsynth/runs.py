"""A run folder: where everything lies in it, and what of it is finished.

`run.py` gives every run a folder of its own; stepping through the notebooks by hand, the checkout itself is one.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from wearsynth.windows import Windows

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
        self.generators = self.path / "data" / "generators"
        self.synthetic = self.path / "data" / "syn" / "cgan"
        self.detectors = self.path / "data" / "detectors"
        self.predictions = self.detectors / "predictions.csv"
        self.figures = self.path / "figures"
        self.metrics_file = self.path / "metrics.json"

    @property
    def metrics(self) -> dict[str, Any]:
        """All that `record` has written so far."""
        return json.loads(self.metrics_file.read_text()) if self.metrics_file.exists() else {}

    @property
    def kind(self) -> str:
        """'simulated' or 'real': what every table and figure has to say it was made from."""
        if "run" not in self.metrics:
            raise FileNotFoundError(f"{self.metrics_file}: tells of no recordings; run 01-Data first")
        return self.metrics["run"]["recordings"]["kind"]

    def synthetic_windows(self, name: str) -> Windows:
        """The windows drawn from the generator `name`: EVERYONE, or a held-out person."""
        return Windows.load(self.synthetic / f"{name}.npz")

    def record(self, section: str, numbers: dict[str, Any]) -> None:
        """Adds numbers to one section of `metrics.json`; the others stay as they are."""
        metrics = self.metrics
        metrics[section] = metrics.get(section, {}) | numbers
        write_json(self.metrics_file, metrics)

    def save_figure(self, figure, name: str) -> None:
        """Writes a figure to `figures/<name>.png`."""
        self.figures.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.figures / f"{name}.png", bbox_inches="tight")

    def is_finished(self, name: str, key: str) -> bool:
        """Whether the piece of work `name` is finished, and depended on exactly what `key` stands for."""
        mark = self._mark(name)
        return mark.exists() and json.loads(mark.read_text())["key"] == key

    def mark_finished(self, name: str, key: str) -> None:
        """Marks the piece of work `name` as finished; to be called after all that it writes is written."""
        write_json(self._mark(name), {"key": key})

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


def file_sha256(paths: list[Path]) -> str:
    """Returns the SHA-256 of the files' contents, one behind the other, read in pieces."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Writes JSON whole or not at all; an infinite number becomes the string 'inf', which JSON has no number for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")
    os.replace(draft, path)


def _plain(value: Any) -> Any:
    """Turns NumPy's numbers and infinities into what JSON can hold."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
