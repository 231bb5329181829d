"""A run folder: where everything lies in it, and what of it is finished.

`run.py` gives every run a folder of its own; stepping through the notebooks by hand, the checkout itself is one.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from wearsynth.codecs import DescriptorCodec, make_prior
from wearsynth.files import fingerprint, replacing, source_of, write_json
from wearsynth.ledger import Ledger, ledger_path
from wearsynth.privacy import Promise
from wearsynth.provenance import KINDS, Origin, StaleFileError, has_origin
from wearsynth.public import expect_others, find_cohort
from wearsynth.studies import Study
from wearsynth.tables import load_table
from wearsynth.windows import Windows, make_windows, signals_of

LARGE = (".npz", ".csv", ".parquet", ".pkl")  # files that are linked between run folders; their writers replace them
# What is handed over, in `share/`. Whoever finds the checksums finds all the rest: they are written last, and go first.
SHARED = (
    *("checksums.sha256", "synthetic_1hz.csv", "synthetic_1hz.parquet", "README.md", "datasheet.md", "privacy.md"),
    *("privacy.json", "croissant.json", "report.html"),
)
EVERYONE = "everyone"  # the generator that is shared: trained on all people, beside those that leave one out


class CheckError(RuntimeError):
    """A notebook has done its work, but its results are not what they must be; its numbers are kept."""


class RunFolder:
    """Paths in a run folder, its `metrics.json`, and what of the chain is finished.

    A notebook begins with `begin`, which refuses where the one that it builds on has not ended, and removes what it and
    all that build on it have written before; it ends with `finish`. So whatever lies here is of one chain.

    Args:
        path: the folder; made when something is first written.
    """

    NOTEBOOKS = ("01-Data", "02-Model", "03-Generator", "04-Evaluation", "05-Stress_Detection")
    BUILDS_ON = dict(zip(NOTEBOOKS, (None, "01-Data", "02-Model", "03-Generator", "03-Generator")))
    FIGURES = {
        "01-Data": ("conditions", "recording"),
        "02-Model": ("class_levels", "spent", "training"),
        "03-Generator": ("synthetic_person", "synthetic_windows"),
        "04-Evaluation": (
            "example_windows",
            "people_levels",
            "responses",
            "distributions",
            "correlations",
            "spectra",
            "embeddings",
            "attacks",
        ),
        "05-Stress_Detection": ("scores_by_subject", "confusion", "roc", "hardest_subjects", "utility_privacy"),
    }
    SECTIONS = {  # of metrics.json
        "01-Data": ("run",),
        "02-Model": ("windows", "model", "privacy"),
        "03-Generator": ("synthetic",),
        "04-Evaluation": ("fidelity", "yardstick", "nearness", "people", "responses", "attacks", "reidentification"),
        "05-Stress_Detection": ("detection",),
    }

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.table = self.path / "data" / "wesad" / "wesad_preprocessed_1hz.csv"
        self.simulated_recordings = self.path / "data" / "simulated"
        self.demonstration = self.path / "data" / "demonstration" / "demonstration_1hz.csv"
        self.windows_folder = self.path / "data" / "windows"
        self.prior_file = self.windows_folder / "prior.npz"
        self.generators = self.path / "data" / "generators"
        self.synthetic = self.path / "data" / "syn" / "cgan"
        self.shared_table = self.synthetic / "synthetic_1hz.csv"
        self.share = self.path / "share"
        self.detectors = self.path / "data" / "detectors"
        self.predictions = self.detectors / "predictions.csv"
        self.detector_cache = self.detectors / "cache"
        self.figures = self.path / "figures"
        self.report = self.path / "report.html"
        self.metrics_file = self.path / "metrics.json"
        # What a notebook writes and does not keep for others, as folders and patterns: whatever else lies there is the
        # user's. Generators and tested detectors stay: they say themselves what they were made from, and a generator
        # that is trained again is one more release of the same people.
        self._written = {
            "01-Data": ((self.table.parent, self.table.name), (self.windows_folder, "*.npz")),
            "02-Model": (),
            "03-Generator": (
                # Drafts of somebody who was killed go as well: what lies in this folder is handed over.
                *((self.share, pattern) for name in SHARED for pattern in (name, f".*.{name}")),
                *((self.synthetic, pattern) for pattern in ("*.npz", "synthetic_1hz.*")),
            ),
            "04-Evaluation": (),
            "05-Stress_Detection": ((self.detectors, self.predictions.name),),
        }

    @property
    def metrics(self) -> dict[str, Any]:
        """All that `record` has written so far.

        Raises:
            StaleFileError: `metrics.json` is damaged.
        """
        try:
            metrics = json.loads(self.metrics_file.read_text(encoding="utf-8"))
            if not all(isinstance(section, dict) for section in [metrics, *metrics.values()]):
                raise ValueError("expected sections with numbers")
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:100]
            raise StaleFileError(
                f"{self.metrics_file}: is damaged ({reason}); remove it, and the chain begins anew"
            ) from None
        return metrics

    @property
    def kind(self) -> str:
        """One of KINDS: what every table and figure has to say it was made from."""
        kind = self._of("01-Data", "run", "recordings", "kind")
        if kind not in [*KINDS]:  # which a damaged file may have any value for
            raise StaleFileError(f"{self.metrics_file}: recordings of kind {str(kind)[:40]!r}; run 01-Data again")
        return kind

    @property
    def study(self) -> Study:
        """The study whose recordings these are."""
        return Study(**self._of("01-Data", "run", "recordings", "study"))

    @property
    def generator_origin(self) -> Origin:
        """The origin of the generators that 02-Model has trained, or is to train."""
        return self._generators_origin("02-Model")

    @property
    def synthetic_origin(self) -> Origin:
        """The origin of the windows that 03-Generator draws from them."""
        return self._generators_origin("03-Generator")

    @property
    def source(self) -> str:
        """What is said beside the table to be shared: what it was learned from, under which promise, and the prior."""
        return f"{self.synthetic_origin.sentence}; prior: {self._of('02-Model', 'model', 'prior')}"

    @property
    def promise(self) -> Promise:
        """What each generator was trained under, with its budget divided between release and steps."""
        stored = self._of("02-Model", "model", "trained_under")
        return Promise(**stored | {"epsilon": float(stored["epsilon"])})

    @property
    def ledger(self) -> Ledger | None:
        """The ledger of the people recorded; none for simulated ones and public ones, who are known already."""
        if self.kind != "real":
            return None
        return Ledger(ledger_path(), self._of("01-Data", "run", "recordings", "people"))

    def generator_file(self, name: str) -> Path:
        """Where the generator `name` is kept: EVERYONE, or a held-out person."""
        return self.generators / f"{name}.npz"

    def synthetic_file(self, name: str) -> Path:
        """Where the windows of its synthetic people are."""
        return self.synthetic / f"{name}.npz"

    def synthetic_windows(self, name: str) -> Windows:
        """Windows of synthetic people of the generator `name`: EVERYONE, or a held-out person."""
        return Windows.load(self.synthetic_file(name), self.synthetic_origin)

    def cut(self, table: pd.DataFrame) -> Windows:
        """Cuts windows from a table of synthetic people as those of real ones were cut."""
        return make_windows(table, *self._of("02-Model", "windows", "settings"))

    def windows(self, what: str) -> Windows:
        """Windows as 02-Model has prepared them: 'training', 'real', 'test' or 'public' ones, see `prepare_windows`."""
        return Windows.load(self.windows_folder / f"{what}.npz", self._windows_origin())

    def prior(self) -> DescriptorCodec:
        """What generators start from, for this run's windows."""
        return DescriptorCodec.load(self.prior_file, self._windows_origin())

    def prepare_windows(
        self, signals: str, scaling: str, window_seconds: int, hop_seconds: int, positive: float, prior: str
    ) -> None:
        """Cuts the table into windows, unless that is finished: as `windows.make_windows`, and `make_prior`.

        There are 'training' windows, on the public scale, which generators learn; 'real' ones, scaled as told, which
        are what synthetic ones are compared with, and detectors trained on; 'test' ones, scaled alike, which do not
        overlap; and 'public' ones, scaled alike, of the people that `public.find_cohort` finds, whom the prior that
        generators start from comes from.

        Raises:
            StaleFileError: the table is not the one that 01-Data wrote here.
        """
        if not self.table.exists() or fingerprint(self.table) != self._of("01-Data", "run", "recordings", "table"):
            raise StaleFileError(f"{self.table}: is not the table that 01-Data wrote here; run 01-Data again")
        cohort = find_cohort(prior, self.kind)
        signals = signals_of(pd.read_csv(self.table, nrows=0), signals)  # its columns alone
        settings = (signals, scaling, window_seconds, hop_seconds)
        shares = self.study.shares(positive)
        key = fingerprint(self.table, *settings, shares, cohort.key, source_of("codecs"))
        self.record("windows", {"key": key, "settings": settings})
        origin = self._windows_origin()
        paths = {name: self.windows_folder / f"{name}.npz" for name in ("training", "real", "test", "public")}
        if not all(has_origin(path, origin) for path in (*paths.values(), self.prior_file)):
            table = load_table(self.table)
            expect_others(table, cohort)
            cuts = {
                "training": (table, signals, "public", window_seconds, hop_seconds),
                "real": (table, *settings),
                "test": (table, signals, scaling, window_seconds, window_seconds),
                "public": (cohort.table(), signals, scaling, window_seconds, window_seconds),
            }
            for name, cut in cuts.items():
                make_windows(*cut).save(paths[name], origin)
            make_prior(cohort, signals, window_seconds, self.study, positive).save(self.prior_file, origin)

    def record(self, section: str, numbers: dict[str, Any]) -> None:
        """Adds numbers to one section of `metrics.json`; the others stay as they are.

        Raises:
            StaleFileError: the section that comes first, 'run', is not there: somebody has removed the file.
        """
        if section != "run":
            self._of("01-Data", "run", "recordings")
        metrics = self.metrics
        metrics[section] = metrics.get(section, {}) | numbers
        write_json(self.metrics_file, metrics)

    def save_figure(self, figure, name: str):
        """Writes a figure, one of FIGURES, to `figures/<name>.png`, and returns that picture for a notebook to show."""
        from IPython.display import Image  # only notebooks have it at hand

        with replacing(self._figure(name)) as draft:
            figure.savefig(draft, bbox_inches="tight", format="png")
        return Image(filename=str(self._figure(name)), retina=True)  # to draw it again takes seconds

    def begin(self, notebook: str) -> None:
        """Clears the way for a notebook: what it and all that build on it have written counts no more, and goes.

        Raises:
            StaleFileError: the notebook that it builds on has not ended here.
        """
        needed, ended = self.BUILDS_ON[notebook], self._ended()
        if needed and needed not in ended:
            raise StaleFileError(f"{self.path}: {needed} has not ended here, and {notebook} builds on it; run {needed}")
        stale = self.descendants(notebook)
        self.forget(*stale)
        self.report.unlink(missing_ok=True)
        for name in stale:
            written = [path for folder, pattern in self._written[name] for path in folder.glob(pattern)]
            for path in (*written, *map(self._figure, self.FIGURES[name])):
                path.unlink(missing_ok=True)
        with suppress(OSError):  # it is not there, stays empty elsewhere, or holds somebody's own files
            self.share.rmdir()
        dropped = {section for name in stale for section in self.SECTIONS[name]}
        metrics = {name: content for name, content in self.metrics.items() if name not in dropped}
        if "run" in metrics:
            run = metrics["run"]
            seconds = {name: value for name, value in run.get("seconds", {}).items() if name not in stale}
            kept = {"recordings": run.get("recordings", {}), "seconds": seconds}
            metrics["run"] = kept | {"ended": [name for name in ended if name not in stale]}
        write_json(self.metrics_file, metrics)

    def finish(self, notebook: str, checks: dict[str, bool]) -> None:
        """Ends a notebook, after all that it writes is written.

        Args:
            notebook: which.
            checks: what has to hold -> whether it does.

        Raises:
            CheckError: something does not. The numbers stay in `metrics.json`, but nothing can be built on them.
        """
        failed = [what for what, holds in checks.items() if not holds]
        if failed:
            raise CheckError(f"does not hold: {'; '.join(failed)}. The numbers are kept in {self.metrics_file}")
        self.record("run", {"ended": [*(name for name in self._ended() if name != notebook), notebook]})

    def descendants(self, notebook: str) -> list[str]:
        """The notebook and all that build on it."""
        found = [notebook]
        for name, needed in self.BUILDS_ON.items():  # in order, so that one pass finds all
            found += [name] * (needed in found)
        return found

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
        """Takes over what other runs have finished: of the last one all, of each generators and tested detectors.

        Those say in themselves what they were made from, so that it does no harm if they are of no use here. What is
        large is linked, not copied. No writer of such a file writes into the old one (see `files.replacing`).
        `metrics.json` comes last: with it, the run has begun.
        """
        for other in others:
            _take_files(other.generators, self.generators, "*.npz")
            _take_files(other.detector_cache, self.detector_cache, "*.npz")
        if not others:
            return
        last = others[-1]
        _take_files(last.simulated_recordings, self.simulated_recordings, "S*/S*.pkl")
        _take_files(last.demonstration.parent, self.demonstration.parent, self.demonstration.name)
        for name in self.NOTEBOOKS:
            for folder, pattern in last._written[name]:
                _take_files(folder, self.path / folder.relative_to(last.path), pattern)
        _take_files(last.figures, self.figures, "*.png")
        _take_files(last._marks, self._marks, "*.json")
        for name in self.NOTEBOOKS:
            _take_file(last.path / f"{name}.ipynb", self.path / f"{name}.ipynb")
        write_json(self.metrics_file, last.metrics)

    def is_finished(self, notebook: str, key: str) -> bool:
        """Whether a notebook was executed to its end, and depended on exactly what `key` stands for."""
        try:
            return json.loads(self._mark(notebook).read_text(encoding="utf-8"))["key"] == key
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return False

    def mark_finished(self, notebook: str, key: str) -> None:
        """Marks a notebook as executed to its end."""
        write_json(self._mark(notebook), {"key": key})

    def forget(self, *notebooks: str) -> None:
        """Makes notebooks count as not executed."""
        for name in notebooks:
            self._mark(name).unlink(missing_ok=True)

    @property
    def _marks(self) -> Path:
        return self.path / "data" / "finished"

    def _mark(self, notebook: str) -> Path:
        return self._marks / f"{notebook}.json"

    def _figure(self, name: str) -> Path:
        if not any(name in names for names in self.FIGURES.values()):
            raise ValueError(f"figure {name!r}: RunFolder.FIGURES does not say whose it is")
        return self.figures / f"{name}.png"

    def _ended(self) -> list[str]:
        return self.metrics.get("run", {}).get("ended", [])

    def _of(self, notebook: str, *names: str) -> Any:
        """What stands under these names in `metrics.json`; the notebook is the one that writes it."""
        content = self.metrics
        for name in names:
            content = content.get(name) if isinstance(content, dict) else None
        if not content:
            raise StaleFileError(f"{self.metrics_file}: tells nothing of {' '.join(names)}; run {notebook}")
        return content

    def _origin(self, made_by: str, key: str, promise: str = "") -> Origin:
        return Origin(made_by, self.kind, self._of("01-Data", "run", "recordings", "sha256"), key, promise)

    def _generators_origin(self, made_by: str) -> Origin:
        key, promise = (self._of("02-Model", "model", name) for name in ("key", "promise"))
        return self._origin(made_by, key, promise)

    def _windows_origin(self) -> Origin:
        return self._origin("02-Model", self._of("02-Model", "windows", "key"))


def _take_files(folder: Path, target: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        _take_file(path, target / path.relative_to(folder))


def _take_file(source: Path, target: Path) -> None:
    """Links a large file, or copies it where that cannot be: on another file system, or on one without links."""
    if source.is_symlink() or not source.is_file():  # what somebody else's link points to is not of that run
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if source.suffix in LARGE:
        with suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)
