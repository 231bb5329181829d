"""Runs a grid: each budget, seed and held-out person is a job of its own, on this machine or on a cluster.

python -m workflow.sweep GRID [--recordings DIR] [--out DIR] [--profile NAME] [Snakemake's own options]

The grid is checked against the notebooks' parameters before anything starts. See workflow/README.md.
"""

import argparse
import fcntl
import itertools
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import yaml

import run
from wearsynth import protocols
from wearsynth.files import fingerprint, package_source, write_json
from wearsynth.parameters import BadInput, defaults, nearest
from wearsynth.provenance import kind_of
from wearsynth.recordings import RecordingError
from workflow.results import VARIED

FOLDER = Path(__file__).resolve().parent
SNAKEMAKE = run.ROOT / ".venv-sweep" / "bin" / "snakemake"
# What table and windows follow from.
PREPARED = ("simulated_people", "study", "signals", "scaling", "window_seconds", "hop_seconds", "stress_share", "prior")
TESTED = ("protocols", "detectors", "private_epsilons")  # what is tested in a run: each has rows of its own
KEYS = ("grid", "parameters", "table", "jobs")
JOBS = ("folds", "runs")


def main(arguments: list[str] | None = None) -> int:
    """Checks the grid, writes the plan, and becomes Snakemake; returns 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path, metavar="GRID", help="YAML file, see workflow/grids")
    parser.add_argument(
        "--recordings", default="", metavar="PATH", help="as of run.py; default: the public demonstration cohort"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/<the grid's name>")
    parser.add_argument("--profile", default="local", help="local (default), slurm, or the folder of another profile")
    options, snakemakes = parser.parse_known_args(arguments)
    recordings = run.located(options.recordings)
    out = (options.out or run.ROOT / "runs" / options.grid.stem).resolve()
    try:
        plan = make_plan(options.grid, recordings)
        expect_same_sweep(plan, out)
        if not SNAKEMAKE.exists():
            raise BadInput(f"{SNAKEMAKE} is not there; `make sweep` sets it up")
        keep_others_out(out)
    except (BadInput, RecordingError) as error:
        print(f"{options.grid}: {error}", file=sys.stderr)
        return 2
    write_json(out / "plan.json", plan)
    print(f"{len(plan['runs'])} runs, {len(plan['runs']) * len(plan['folds'])} jobs before them, in {out}", flush=True)
    named = FOLDER / "profiles" / options.profile
    profile = named if named.is_dir() else Path(options.profile).resolve()
    where = ["--snakefile", str(FOLDER / "Snakefile"), "--directory", str(out), "--profile", str(profile)]
    os.execv(SNAKEMAKE, [str(SNAKEMAKE), *where, *snakemakes])


def keep_others_out(out: Path) -> None:
    """Locks a sweep's folder until this process ends, whatever it becomes and however it ends.

    Raises:
        BadInput: another sweep is at work in the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = os.open(out / ".lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(lock, True)  # by Snakemake, not by its jobs
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadInput(f"another sweep is at work in {out}; stop it, or choose another folder with --out") from None


def make_plan(grid: Path, recordings: str) -> dict[str, Any]:
    """Works out every run of a grid, and refuses what could not be run, or not be distinguished.

    Args:
        grid: YAML file with `grid`, a list of blocks of parameters, where a list has a run for each of its values;
            `parameters`, which all runs have alike; `table`, a further place for the table of results; and `jobs`,
            whether people held out are jobs of their own, 'folds', as by default, or done one after the other, 'runs',
            which starts fewer processes and is faster where there are no more cores than runs.
        recordings: the parameter of this name.

    Returns:
        What the Snakefile goes by: `command`, which every job's begins with; `prepared` and `runs`, name -> parameters;
        `start`, a run -> the prepared one that it starts from; `folds`, the people to hold out who are jobs; `table`;
        and `code`, a fingerprint of the package.

    Raises:
        BadInput: the file is no grid, or a parameter is unknown or out of range; the message names the run.
        RecordingError: there are no recordings in the folder.
    """
    content = _read(grid)
    common = content.get("parameters", {})
    runs, prepared, start, known = {}, {}, {}, {}
    for chosen in _combinations(content["grid"]):
        typed = dict(run.read_value(*pair) for pair in {**common, **chosen}.items())
        parameters = defaults() | typed | {"recordings": recordings}
        name = _name({key: typed[key] for key in chosen})
        if "share" in typed:
            raise BadInput("share: whether a job trains on everybody is not for a grid to say; leave it out")
        try:
            run.check(parameters)
        except BadInput as error:
            raise BadInput(f"run {name}: {error}") from None
        # Without privacy there is no unit, and no delta.
        same = parameters | ({"unit": None, "delta": None} if math.isinf(parameters["epsilon"]) else {})
        if same in known.values() or name in known or len(name) > run.LONGEST_NAME:
            raise BadInput(f"run {name}: it stands in the grid twice, or its name is too long for a folder")
        runs[name], known[name] = {key: str(value) for key, value in typed.items()}, same
        base = {key: str(parameters[key]) for key in PREPARED[recordings != "simulated" :]}
        start[name] = run.folder_name("-".join(base.values()))
        prepared[start[name]] = base
    if parameters["detector_seeds"] > 1 and len({each["seed"] for each in known.values()}) > 1:
        raise BadInput("detector_seeds: seeds of several runs would be counted twice; give more seeds in the grid")
    people = run.everybody(parameters)
    folds, table = protocols.choose_folds(people, parameters["folds"]), content.get("table")
    if table and (kind_of(recordings) != "real" or folds != people):
        raise BadInput(f"table {table}: it is about all real people; give --recordings, and leave out `folds`")
    return {
        "command": [
            sys.executable,
            str(run.ROOT / "run.py"),
            *(["--recordings", recordings] if recordings else []),
        ],
        "prepared": prepared,
        "runs": runs,
        "start": start,
        "folds": folds if content["jobs"] == "folds" else [],
        "table": table,
        "code": fingerprint(package_source(), *run.NOTEBOOKS),
    }


def expect_same_sweep(plan: dict[str, Any], out: Path) -> None:
    """Raises BadInput for a folder with results of other recordings or other code: both would stand in one table."""
    if not (out / "plan.json").exists():
        return
    old = json.loads((out / "plan.json").read_text())
    for what, kept in {"other recordings": "command", "another version of the code": "code"}.items():
        if old[kept] != plan[kept]:
            raise BadInput(f"{out} holds a sweep with {what}; choose another folder with --out")


def _read(grid: Path) -> dict[str, Any]:
    """Reads the YAML file, every value as text: YAML itself would take 1e-5 for a text and 010 for an 8."""
    try:
        content = yaml.load(grid.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadInput(" ".join(str(error).split())) from None
    if not isinstance(content, dict) or not isinstance(content.get("grid"), list) or not content["grid"]:
        raise BadInput("expected `grid:` and a list of blocks of parameters under it; see workflow/grids")
    for key in content:
        if key not in KEYS:
            raise BadInput(f"{key}: expected one of {', '.join(KEYS)}; did you mean {nearest(key, KEYS)!r}?")
    for block in content["grid"]:
        _check_block(block, lists=True)
        for name in block:
            if name not in (*VARIED, *TESTED) and name not in run.OPTION_OF:
                expected = ", ".join((*VARIED, *TESTED))
                raise BadInput(f"{name}: a table distinguishes runs by {expected}; move it to `parameters`")
    if content.setdefault("jobs", JOBS[0]) not in JOBS:
        raise BadInput(f"jobs: {content['jobs']}: expected {' or '.join(JOBS)}")
    if "parameters" in content:
        _check_block(content["parameters"], lists=False)
    return content


def _check_block(block: Any, lists: bool) -> None:
    expected = "`name: value`" + " or `name: [value, value]`" * lists
    if not isinstance(block, dict) or not block:
        raise BadInput(f"{block!r}: expected {expected}")
    for name, value in block.items():
        values = value if lists and isinstance(value, list) and value else [value]
        if not all(isinstance(each, str) for each in values):
            raise BadInput(f"{name}: {value}: expected {expected}")


def _combinations(blocks: list[dict[str, str | list[str]]]) -> list[dict[str, str]]:
    """One combination of each block's values after the other."""
    lists = [{name: value if isinstance(value, list) else [value] for name, value in block.items()} for block in blocks]
    return [dict(zip(block, values)) for block in lists for values in itertools.product(*block.values())]


def _name(parameters: dict[str, Any]) -> str:
    """A folder's name that tells the parameters."""
    return run.folder_name("-".join(f"{name}={value}" for name, value in parameters.items()))


if __name__ == "__main__":
    sys.exit(main())
