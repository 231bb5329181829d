"""Runs the chain: checks the parameters, then executes the five notebooks into one run folder.

python run.py                                on simulated recordings
python run.py --recordings DIR               on real ones, in WESAD's layout (DIR/S2/S2.pkl ...)
python run.py -p epsilon 10 -p folds S2,S5   with other parameters than the notebooks' own
python run.py --from RUN -p detectors cnn_lstm   from what another run has finished
"""

import argparse
import difflib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from wearsynth import windows
from wearsynth.detector import choose_detectors, source_files
from wearsynth.privacy import Promise, check_generator, read_epsilons
from wearsynth.protocols import choose_protocols
from wearsynth.recordings import RecordingError, find_recordings
from wearsynth.runs import RunFolder, fingerprint

ROOT = Path(__file__).resolve().parent
NOTEBOOKS = tuple(ROOT / f"{name}.ipynb" for name in RunFolder.NOTEBOOKS)
PRESETS = {
    "smoke": {
        "simulated_people": 3,
        "steps": 20,
        "synthetic_windows": 200,
        "detectors": "cnn,logistic_regression",
        "detector_epochs": 3,
        "private_epsilons": "1",
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
OPTION_OF = {"recordings": "--recordings", "run_folder": "--out"}
AT_LEAST = {"simulated_people": 3, "synthetic_windows": 10, "detector_epochs": 1, "detector_seeds": 1, "seed": 0}
PACKAGES = (
    "tensorflow",
    "tensorflow-privacy",
    "dp-accounting",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "neurokit2",
)


class BadInput(ValueError):
    """What was given on the command line cannot be run."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0 done, 1 a notebook failed, 2 bad input, 130 stopped."""
    options = parse(arguments)
    try:
        notebooks = {notebook: papermill.inspect_notebook(str(notebook)) for notebook in NOTEBOOKS}
        given = PRESETS[options.preset] | read_values(options.p, notebooks)
        parameters = defaults(notebooks) | given
        check(parameters, options.recordings)
        others = [finished_run(path) for path in options.start_from]
        folder = RunFolder((options.out or ROOT / "runs" / run_name(options)).resolve())
        parameters |= {"run_folder": str(folder.path), "recordings": str(options.recordings or "")}
        with folder.alone():
            if not folder.metrics_file.exists():
                folder.forget(*folder.NOTEBOOKS)  # without their numbers they are not finished
                folder.start_from(others)
            if options.prepare:
                prepare(folder, notebooks, parameters)
                return 0
            run_chain(folder, notebooks, parameters)
    except (BadInput, RecordingError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    except ChainError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run.py: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print_results(folder)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line; argparse itself ends with status 2 on an unknown option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recordings", type=Path, metavar="DIR", help="recordings in WESAD's layout; default: simulated"
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
    options.recordings = options.recordings and options.recordings.resolve()
    return options


def defaults(notebooks: dict[Path, dict]) -> dict[str, Any]:
    """Every parameter of the notebooks at its default, a value of its declared type."""
    declared = {name: parameter for parameters in notebooks.values() for name, parameter in parameters.items()}
    return {name: _convert(name, _unquoted(parameter["default"]), parameter) for name, parameter in declared.items()}


def read_values(pairs: list[tuple[str, str]], notebooks: dict[Path, dict]) -> dict[str, Any]:
    """Reads `-p NAME VALUE` pairs.

    Raises:
        BadInput: no notebook has the parameter, or the value is not of its type.
    """
    declared = {name: parameter for parameters in notebooks.values() for name, parameter in parameters.items()}
    values = {}
    for name, text in pairs:
        if name in OPTION_OF:
            raise BadInput(f"-p {name}: use {OPTION_OF[name]}")
        if name not in declared:
            raise BadInput(f"-p {name}: no notebook has this parameter; did you mean {nearest(name, declared)!r}?")
        values[name] = _convert(name, text, declared[name])
    return values


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the known name that is most like a mistyped one."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0)[0]


def check(parameters: dict[str, Any], recordings: Path | None) -> None:
    """Raises BadInput for a value out of its range, RecordingError for a folder without recordings."""
    try:
        own = {field.name for field in fields(Promise)} & {*parameters}
        Promise(**{name: parameters[name] for name in own})
        check_generator(parameters["generator"])
        choose_protocols(parameters["protocols"])
        windows.check(*(parameters[name] for name in ("signals", "scaling", "window_seconds", "hop_seconds")))
        choose_detectors(parameters["detectors"])
        read_epsilons(parameters["private_epsilons"])
        for name, least in AT_LEAST.items():
            if parameters[name] < least:
                raise ValueError(f"{name}={parameters[name]}: expected at least {least}")
        people = everybody(parameters, recordings)
        if len(people) < 3:
            raise ValueError(
                f"{recordings}: recordings of {len(people)} people; the evaluation compares people: give 3 or more"
            )
        windows.choose_folds(people, parameters["folds"])
    except RecordingError:
        raise
    except ValueError as error:
        raise BadInput(str(error)) from None


def everybody(parameters: dict[str, Any], recordings: Path | None) -> list[str]:
    """Names the people of a run; raises RecordingError for a folder without recordings."""
    if recordings:
        return [path.stem for path in find_recordings(recordings)]
    return [f"S{2 + number}" for number in range(parameters["simulated_people"])]


def finished_run(path: Path) -> RunFolder:
    """Returns a run folder to start from; raises BadInput for one that has nothing to give."""
    if not RunFolder(path).metrics_file.exists():
        raise BadInput(f"--from {path}: no run has been there; expected a run folder, with its metrics.json")
    return RunFolder(path.resolve())


def run_name(options: argparse.Namespace) -> str:
    """A folder name that tells what was run."""
    source = options.recordings.name if options.recordings else "simulated"
    if options.prepare:
        source += "-prepared"
    name = "-".join([source, options.preset, *(f"{name}={value}" for name, value in sorted(options.p))])
    return folder_name(name)[:LONGEST_NAME]


def folder_name(text: str) -> str:
    """Returns the text as a name that every file system takes, if it is no longer than LONGEST_NAME."""
    return re.sub(r"[^\w.,=-]", "_", text)


class ChainError(RuntimeError):
    """A notebook did not reach its end."""


def prepare(folder: RunFolder, notebooks: dict[Path, dict], parameters: dict[str, Any]) -> None:
    """Does the first notebook's work, and cuts the windows: what runs on the same recordings have in common."""
    run_notebooks(folder, {NOTEBOOKS[0]: notebooks[NOTEBOOKS[0]]}, parameters)
    folder.prepare_windows(*(parameters[name] for name in ("signals", "scaling", "window_seconds", "hop_seconds")))
    print(f"prepared for other runs: --from {folder.path}")


def run_chain(folder: RunFolder, notebooks: dict[Path, dict], parameters: dict[str, Any]) -> None:
    """Executes the notebooks in order, and writes the report."""
    from wearsynth.report import write_report  # takes a second to import, and refusals should come at once

    if not parameters["share"]:  # nothing to evaluate, and nothing to report on
        notebooks = {path: declared for path, declared in notebooks.items() if path.stem != "04-Evaluation"}
    run_notebooks(folder, notebooks, parameters)
    versions = {name: version(name) for name in PACKAGES}
    folder.record("run", {"parameters": parameters, "versions": versions, "code": fingerprint()})
    if parameters["share"]:
        write_report(folder)


def run_notebooks(folder: RunFolder, notebooks: dict[Path, dict], parameters: dict[str, Any]) -> None:
    """Executes notebooks in order, leaving out those that are finished and whose inputs are what they were."""
    recordings = Path(parameters["recordings"]) if parameters["recordings"] else None
    stats = [path.stat() for path in find_recordings(recordings)] if recordings else []
    key = fingerprint([(stat.st_size, stat.st_mtime_ns) for stat in stats])
    with one_kernel() as kernel:
        for number, (notebook, declared) in enumerate(notebooks.items(), start=1):
            own = {name: parameters[name] for name in declared}
            sources = [file for name in choose_detectors(own.get("detectors", "cnn")) for file in source_files(name)]
            # Where the run folder lies changes nothing: it may have been moved, or its work taken over from another.
            key = fingerprint(key, notebook, sorted((own | {"run_folder": None}).items()), *sources)
            if folder.is_finished(notebook.stem, key):
                print(f"[{number}/{len(notebooks)}] {notebook.stem}: finished before", flush=True)
                continue
            print(f"[{number}/{len(notebooks)}] {notebook.stem}", flush=True)
            folder.forget(notebook.stem)
            start = time.monotonic()
            execute(notebook, folder, own, kernel)
            seconds = folder.metrics["run"].get("seconds", {}) | {notebook.stem: round(time.monotonic() - start, 1)}
            folder.record("run", {"seconds": seconds})
            folder.mark_finished(notebook.stem, key)


@contextmanager
def one_kernel() -> Iterator[AsyncKernelManager]:
    """Gives the kernel of a run, not yet started: one process for all notebooks, as their imports take long."""
    with tempfile.TemporaryDirectory() as sockets:
        # Sockets that only this user can reach, instead of TCP ports; each run's own, or another's kernel may answer.
        local = {"transport": "ipc", "ip": f"{sockets}/kernel"} if os.name == "posix" else {}
        kernel = AsyncKernelManager(kernel_name="python3", **local)
        try:
            yield kernel
        finally:
            if kernel.has_kernel:
                run_sync(kernel.shutdown_kernel)(now=True)


def execute(notebook: Path, folder: RunFolder, parameters: dict[str, Any], kernel: AsyncKernelManager) -> None:
    """Executes one notebook into the run folder, its output streamed.

    Args:
        notebook: the notebook.
        folder: the run folder.
        parameters: all of its parameters.
        kernel: which it finds as if newly started, but for modules that were imported before.

    Raises:
        ChainError: a cell failed; tells which, and where to look.
        RecordingError: a recording was refused.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    target = folder.path / notebook.name
    options = {"km": kernel, "extra_arguments": ["--IPKernelApp.log_level=CRITICAL"]}  # failures arrive as exceptions
    try:
        forget = nbformat.v4.new_code_cell("%reset -f\nget_ipython().execution_count = 1")
        client = NotebookClient(nbformat.v4.new_notebook(cells=[forget]), **options)
        with client.setup_kernel(cwd=str(ROOT)):
            client.execute_cell(forget, 0, store_history=False)  # so that the next cell is the first
        papermill.execute_notebook(
            str(notebook),
            str(target),
            parameters,
            kernel_name="python3",
            cwd=str(ROOT),
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            **options,
        )
    except PapermillExecutionError as error:
        if error.ename == RecordingError.__name__:
            raise RecordingError(error.evalue) from None
        reason = " ".join(error.evalue.split())  # of several lines, one
        raise ChainError(f"{notebook.stem}, cell {error.exec_count}: {error.ename}: {reason}; see {target}") from None
    except DeadKernelError:
        raise ChainError(f"{notebook.stem}: its kernel died, most often for want of memory; see {target}") from None


def print_results(folder: RunFolder) -> None:
    """Prints the result table and where everything lies."""
    from wearsynth.report import result_table

    print(f"\nOn {folder.kind} recordings, mean over held-out people:\n")
    print(result_table(folder.metrics["detection"]).to_string(), end="\n\n")
    for what, path in {
        "report": folder.path / "report.html",
        "metrics": folder.metrics_file,
        "synthetic windows": folder.synthetic,
        "figures": folder.figures,
    }.items():
        if path.exists():
            print(f"{what:>18}  {path}")


def _convert(name: str, text: str, parameter: dict) -> Any:
    read, expected = {
        "bool": (_read_bool, "true or false"),
        "int": (int, "a whole number"),
        "float": (float, "a number"),
        "str": (str, "text"),
    }[parameter["inferred_type_name"]]
    try:
        return read(text)
    except ValueError:
        raise BadInput(f"{name}={text!r}: expected {expected}") from None


def _read_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


def _unquoted(source: str) -> str:
    return source.strip("\"'")


if __name__ == "__main__":
    sys.exit(main())
