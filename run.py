"""Runs the chain: checks the parameters, then executes the five notebooks into one run folder.

python run.py                                on the public demonstration cohort
python run.py --recordings PATH              on real ones: WESAD (or its zip), a wristband's exports, or a table
python run.py -p epsilon 10 -p folds S2,S5   with other parameters than the notebooks' own
python run.py --from RUN -p detectors cnn_lstm   from what another run has finished
"""

import argparse
import errno
import math
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what follows takes a second, and nothing has begun: Ctrl-C just ends

from wearsynth import protocols
from wearsynth.detector import choose_detectors, source_files
from wearsynth.files import fingerprint, package_source
from wearsynth.ledger import LedgerError
from wearsynth.notebooks import NotebookError, execute, one_kernel, one_line
from wearsynth.parameters import NOTEBOOKS, ROOT, BadInput, check_values, declared, defaults, read
from wearsynth.privacy import check_delta
from wearsynth.provenance import KINDS, StaleFileError, kind_of
from wearsynth.public import DEMONSTRATION
from wearsynth.readers import find_people, find_recordings
from wearsynth.recordings import RecordingError
from wearsynth.runs import CheckError, RunFolder
from wearsynth.studies import study_names, study_of
from wearsynth.tf_privacy import why_missing

PRESETS = {
    "smoke": {
        "simulated_people": 3,
        "steps": 20,
        "people": 5,
        "detectors": "cnn,logistic_regression",
        "detector_epochs": 3,
    },
    "default": {},
    # Lange et al. 2024 (doi 10.3390/s24103052), with noise that is added, and far fewer steps than their 420 epochs.
    "paper": {
        "generator": "lstm",
        "signals": "published",
        "clip_norm": 1.0,
        "sampling_probability": 0.0077,  # 8 of 1,042 windows
        "steps": 2000,
        "detectors": "cnn,cnn_lstm",
    },
}
LONGEST_NAME = 200
STOPPED = 130  # exit status
PATHS = ("study", "prior")  # parameters that may be a file or folder,
NAMES = ("", "public", "simulated", *study_names())  # or one of these
OPTION_OF = {"recordings": "--recordings", "run_folder": "--out"}
PACKAGES = (
    "tensorflow",
    "tf-keras",
    "tensorflow-privacy",  # where it is installed
    "dp-accounting",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "neurokit2",
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0 done, 1 failed, 2 bad input, 130 stopped.

    Whatever goes wrong ends in one line on standard error.
    """
    # A batch system's time limit: as Ctrl-C, so that no kernel is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # not where it is ignored, as in a shell's background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    out = Path("runs")
    try:
        options = parse(arguments)
        out = resolved(options.out or ROOT / "runs" / run_name(options))
        folder = run(options, out)
        if not options.prepare:
            print_results(folder)
        return 0
    except (BadInput, RecordingError) as error:
        return ended(error, 2)
    except (NotebookError, CheckError, StaleFileError, LedgerError) as error:
        return ended(error, 1)
    except KeyboardInterrupt:
        return ended("stopped; the same command goes on from here", STOPPED)
    except OSError as error:
        return ended(f"{error.filename or out}: {error.strerror or error}; {remedy(error)}", 1)
    except Exception as error:
        return ended(f"{type(error).__name__}: {error}; {note_down(out)}", 1)


def ended(why: Any, status: int) -> int:
    """Says in one line why a run has ended; returns its exit status."""
    print(f"run.py: {one_line(why)}", file=sys.stderr)
    return status


def remedy(error: OSError) -> str:
    """What can be done about a file or folder that the system refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room there, and the same command goes on from here"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG):
        return "choose another folder with --out"
    return "the same command goes on from here"


def note_down(out: Path) -> str:
    """Writes the traceback of an error that nobody has foreseen; returns where to find it."""
    try:
        (out / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
        return f"this is a fault of the program: see {out / 'traceback.txt'}"
    except OSError:
        return "this is a fault of the program"


def run(options: argparse.Namespace, out: Path) -> RunFolder:
    """Checks what was given, and does it; returns the run folder."""
    given = PRESETS[options.preset] | dict(read_value(*pair) for pair in options.p)
    parameters = defaults() | given | {"recordings": options.recordings}
    check(parameters)
    others = [finished_run(path) for path in options.start_from]
    if out == ROOT:
        raise BadInput(f"--out {out}: the checkout itself, whose notebooks would be written over; give another folder")
    folder = RunFolder(out)
    parameters["run_folder"] = str(folder.path)
    with folder.alone():
        if not folder.metrics_file.exists():
            folder.forget(*folder.NOTEBOOKS)  # without their numbers they are not finished
            folder.start_from(others)
        if options.prepare:
            prepare(folder, parameters)
        else:
            run_chain(folder, parameters)
    return folder


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line; argparse itself ends with status 2 on an unknown option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recordings",
        default="",
        metavar="PATH",
        help="WESAD or its zip, exports of an E4 or EmbracePlus, or a table; or 'simulated'; default: the public "
        "demonstration cohort",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="run folder; default: runs/<name that tells the parameters>"
    )
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="default",
        help="smoke: tiny, to see that everything works; paper: the published recipe",
    )
    parser.add_argument(
        "--from",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        dest="start_from",
        help="run folder whose finished work this run takes over, unless it has begun; may be given more than once",
    )
    parser.add_argument(
        "--prepare", action="store_true", help="make the table and the windows only, for other runs to start from"
    )
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a notebook's parameter"
    )
    options = parser.parse_args(arguments)
    options.recordings = located(options.recordings)
    return options


def located(recordings: str) -> str:
    """Returns a path of recordings in full, and what is none as it is."""
    return str(resolved(Path(recordings))) if kind_of(recordings) == "real" else recordings


def resolved(path: Path) -> Path:
    """Returns a path in full; raises BadInput for one whose links lead round in a circle."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadInput(f"{path}: a link that leads back to itself; give a folder") from None
    return path.resolve()


def read_value(name: str, text: str) -> tuple[str, Any]:
    """Reads one `-p NAME VALUE`; raises ParameterError for what no notebook takes, BadInput for what has an option."""
    if name in OPTION_OF:
        raise BadInput(f"-p {name}: use {OPTION_OF[name]}")
    if name in PATHS and text not in NAMES and Path(text).exists():
        text = str(resolved(Path(text)))  # notebooks run elsewhere
    return name, read(name, text)


def check(parameters: dict[str, Any]) -> None:
    """Refuses what cannot be run.

    Raises:
        ParameterError: a value is of the wrong type or out of its range.
        BadInput: it is not for so many, or such, people.
        RecordingError: there are no recordings in the folder.
    """
    check_values(parameters)
    people = everybody(parameters)
    if len(people) < 3:
        raise BadInput(
            f"{parameters['recordings']}: recordings of {len(people)} people; the evaluation compares people: give 3 "
            "or more"
        )
    try:
        protocols.choose_folds(people, parameters["folds"])
        if parameters["unit"] == "subject" and parameters["epsilon"] < math.inf:
            check_delta("subject", parameters["delta"], len(people))
    except ValueError as error:
        raise BadInput(str(error)) from None


def everybody(parameters: dict[str, Any]) -> list[str]:
    """Names the people of a run; raises RecordingError for a folder without recordings."""
    kind = kind_of(parameters["recordings"])
    if kind == "real":
        return find_people(parameters["recordings"])
    if kind == "public":
        return [*DEMONSTRATION]
    return [f"S{2 + number}" for number in range(parameters["simulated_people"])]


def finished_run(path: Path) -> RunFolder:
    """Returns a run folder to start from; raises BadInput for one that has nothing to give."""
    if not RunFolder(path).metrics_file.exists():
        raise BadInput(f"--from {path}: no run has been there; expected a run folder, with its metrics.json")
    return RunFolder(path.resolve())


def run_name(options: argparse.Namespace) -> str:
    """A folder name that tells what was run."""
    source = Path(options.recordings).name or "public"
    if options.prepare:
        source += "-prepared"
    name = "-".join([source, options.preset, *(f"{name}={value}" for name, value in sorted(options.p))])
    return os.fsencode(folder_name(name))[:LONGEST_NAME].decode(errors="ignore")  # what counts is bytes


def folder_name(text: str) -> str:
    """Returns the text as a name that every file system takes, if it is no longer than LONGEST_NAME."""
    return re.sub(r"[^\w.,=-]", "_", text)


def prepare(folder: RunFolder, parameters: dict[str, Any]) -> None:
    """Does the first notebook's work, and cuts the windows: what runs on the same recordings have in common."""
    run_notebooks(folder, NOTEBOOKS[:1], parameters)
    cut = (parameters[name] for name in ("signals", "scaling", "window_seconds", "hop_seconds"))
    folder.prepare_windows(*cut, parameters["stress_share"], parameters["prior"])
    print(f"prepared for other runs: --from {folder.path}")


def run_chain(folder: RunFolder, parameters: dict[str, Any]) -> None:
    """Executes the notebooks in order, and writes the report; raises CheckError at the end if results are not sound."""
    from wearsynth.report import write_report  # takes a second to import, and refusals should come at once

    # Where nothing is shared, there is nothing to evaluate, and nothing to report on.
    notebooks = [path for path in NOTEBOOKS if parameters["share"] or path.stem != "04-Evaluation"]
    failed = run_notebooks(folder, notebooks, parameters)
    versions = {name: version(name) for name in PACKAGES if name != "tensorflow-privacy" or not why_missing()}
    folder.record("run", {"parameters": parameters, "versions": versions, "code": package_source()})
    if parameters["share"]:
        write_report(folder)
    if failed:
        raise CheckError("; ".join(failed))


def run_notebooks(folder: RunFolder, notebooks: Sequence[Path], parameters: dict[str, Any]) -> list[str]:
    """Executes notebooks in order, leaving out those that are finished and whose inputs are what they were.

    Returns:
        Of notebooks that nothing builds on, what was not sound about their results: that is no reason to stop.
    """
    recordings = parameters["recordings"]
    stats = [path.stat() for path in find_recordings(recordings)] if kind_of(recordings) == "real" else []
    study = study_of(parameters["study"], recordings)  # the file may change, and its name not
    keys = {None: fingerprint(package_source(), study, [(stat.st_size, stat.st_mtime_ns) for stat in stats])}
    failed = []
    with one_kernel() as kernel:
        for number, notebook in enumerate(notebooks, start=1):
            own = {name: parameters[name] for name in declared(notebook.stem)}
            sources = [file for name in choose_detectors(own.get("detectors", "cnn")) for file in source_files(name)]
            # Where the run folder lies changes nothing: it may have been moved, or its work taken over from another.
            before = keys[folder.BUILDS_ON[notebook.stem]]
            key = fingerprint(before, notebook, sorted((own | {"run_folder": None}).items()), *sources)
            keys[notebook.stem] = key
            if folder.is_finished(notebook.stem, key):
                print(f"[{number}/{len(notebooks)}] {notebook.stem}: finished before", flush=True)
                continue
            print(f"[{number}/{len(notebooks)}] {notebook.stem}", flush=True)
            folder.begin(notebook.stem)
            for name in folder.descendants(notebook.stem):
                (folder.path / f"{name}.ipynb").unlink(missing_ok=True)
            start = time.monotonic()
            try:
                execute(notebook, folder.path / notebook.name, own, kernel)
            except CheckError as error:
                if len(folder.descendants(notebook.stem)) > 1:
                    raise
                failed.append(str(error))
                continue
            seconds = folder.metrics["run"].get("seconds", {}) | {notebook.stem: round(time.monotonic() - start, 1)}
            folder.record("run", {"seconds": seconds})
            folder.mark_finished(notebook.stem, key)
    return failed


def print_results(folder: RunFolder) -> None:
    """Prints the result table and where everything lies."""
    from wearsynth.report import result_table

    print(f"\nOn {KINDS[folder.kind]}, mean over held-out people:\n")
    print(result_table(folder.metrics["detection"]).to_string(), end="\n\n")
    for what, path in {
        "to hand over": folder.share,
        "report": folder.path / "report.html",
        "metrics": folder.metrics_file,
        "synthetic windows": folder.synthetic,
        "figures": folder.figures,
    }.items():
        if path.exists():
            print(f"{what:>18}  {path}")


if __name__ == "__main__":
    if sys.getfilesystemencoding() != "utf-8":  # as in the locale C: names of files would not survive it
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONUTF8": "1"})
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is: a "µ" must not end a run
    status = main()
    if status == STOPPED:  # in the middle of something, whose sockets nobody closes, and Python would wait for that
        with suppress(OSError, AttributeError):  # nobody reads any more, or ever has
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)
