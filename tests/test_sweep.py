"""Sweeps: which grids are refused, which jobs there are, and that none is done twice or lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import run
from workflow import sweep

GRID = "grid:\n  - epsilon: [1, inf]\nparameters:\n  folds: S2,S3\n  simulated_people: 3\n"
JOBS = [f"folds/epsilon={epsilon}/{fold}" for epsilon in ("1.0", "inf") for fold in ("S2", "S3")]
RUNS = ["runs/epsilon=1.0", "runs/epsilon=inf"]


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def test_each_combination_is_a_run(grid):
    grid.write_text("grid:\n  - {epsilon: [1, inf], seed: [0, 1]}\n  - {unit: subject, delta: 1e-3}\n")
    plan = sweep.make_plan(grid, "simulated")
    assert list(plan["runs"]) == [
        *(f"epsilon={epsilon}-seed={seed}" for epsilon in ("1.0", "inf") for seed in (0, 1)),
        "unit=subject-delta=0.001",
    ]
    assert plan["runs"]["unit=subject-delta=0.001"] == {"unit": "subject", "delta": "0.001"}
    assert plan["folds"] == ["S2", "S3", "S4", "S5", "S6", "S7"]
    grid.write_text(grid.read_text() + "jobs: runs\n")
    assert sweep.make_plan(grid, "simulated") == plan | {"folds": []}
    assert len(plan["prepared"]) == 1 and len(set(plan["start"].values())) == 1


def test_runs_may_differ_in_what_is_tested(grid):
    grid.write_text("grid:\n  - detectors: [cnn, cnn_lstm]\n    protocols: tstr\n  - private_epsilons: 1,2\n")
    plan = sweep.make_plan(grid, "simulated")
    assert [parameters.get("detectors") for parameters in plan["runs"].values()] == ["cnn", "cnn_lstm", None]


def test_runs_with_other_windows_start_from_others(grid):
    grid.write_text("grid:\n  - signals: [published, extended]\n    seed: [0, 1]\n")
    plan = sweep.make_plan(grid, "simulated")
    assert len(plan["prepared"]) == 2
    for name, parameters in plan["runs"].items():
        assert plan["prepared"][plan["start"][name]]["signals"] == parameters["signals"]


def test_a_longer_grid_keeps_what_is_planned(grid):
    grid.write_text("grid:\n  - {signals: extended, epsilon: [1, 2.0]}\n")
    before = sweep.make_plan(grid, "simulated")
    grid.write_text("grid:\n  - {signals: extended, epsilon: [1.0, 2]}\n  - epsilon: 3\n")
    after = sweep.make_plan(grid, "simulated")
    assert before["runs"].items() < after["runs"].items() and before["prepared"] == after["prepared"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("grid:\n  - epsilom: 1", "epsilom: a table distinguishes runs by generator, prior, signals, scaling, unit"),
        (
            "grid:\n  - seed: 1\nparameters:\n  step: 1",
            "-p step: no notebook has this parameter; did you mean 'steps'?",
        ),
        ("grid:\n  - epsilon: [1, -1]", "run epsilon=-1.0: epsilon=-1.0: expected"),
        ("grid:\n  - epsilon: much", "epsilon='much': expected a number"),
        ("grid:\n  - epsilon: [1, 1.0]", "run epsilon=1.0: it stands in the grid twice"),
        ("grid:\n  - {unit: [window, subject], epsilon: inf}", "it stands in the grid twice"),
        ("grid:\n  - folds: [S2, S3]", "folds: a table distinguishes runs by generator, prior, signals"),
        ("grid:\n  - steps: [1000, 2000]", "steps: a table distinguishes runs by"),
        ("grid:\n  - seed: [0, 1]\nparameters:\n  detector_seeds: 2", "give more seeds in the grid"),
        ("grid: []", "a list of blocks"),
        ("grid:\n  - epsilon: []", "epsilon: []: expected"),
        ("grid:\n  - {}", "{}: expected"),
        ("grid:\n  - epsilon: 1\nparameters:\n  steps: [1, 2]", "steps: ['1', '2']: expected `name: value`"),
        ("grid:\n  - epsilon: 1\nparameters:\n", "expected `name: value`"),
        ("grid:\n  - epsilon: 1\nparameters:\n  folds: S99", "no recording of 'S99'"),
        ("grid:\n  - epsilon: 1\nparameters:\n  share: false", "share: whether"),
        ("grid:\n  - recordings: somewhere", "--recordings"),
        ("grid:\n  - epsilon: 1\nparameter:\n  seed: 1", "did you mean 'parameters'?"),
        ("grid:\n  - epsilon: 1\ntable: results/table.csv", "give --recordings"),
        ("grid:\n  epsilon: 1", "a list of blocks"),
        ("grid:\n  - epsilon: 1\njobs: people", "jobs: people: expected folds or runs"),
        ("grid: [1]", "expected `name: value`"),
        ("grid: [", "expected the node content"),
    ],
)
def test_bad_grid_is_refused_before_anything_starts(grid, text, expected, capsys, monkeypatch):
    monkeypatch.setattr(os, "execv", None)
    grid.write_text(text)
    out = grid.parent / "sweep"
    assert sweep.main([str(grid), "--recordings", "simulated", "--out", str(out)]) == 2 and not out.exists()
    error = capsys.readouterr().err
    assert expected in error and str(grid) in error and error.count("\n") == 1


def test_grids_of_the_project_are_in_order(tmp_path):
    for grid in sorted((run.ROOT / "workflow" / "grids").glob("*.yaml")):
        recordings = tmp_path / "wesad"
        for person in ("S2", "S3", "S4"):
            (recordings / person).mkdir(parents=True, exist_ok=True)
            (recordings / person / f"{person}.pkl").touch()
        assert sweep.make_plan(grid, "" if grid.stem == "example" else str(recordings))["runs"]


def test_a_folder_of_another_sweep_is_refused(grid, capsys, monkeypatch):
    out = grid.parent / "sweep"
    for name, message in {"code": "another version of the code", "command": "other recordings"}.items():
        plan = sweep.make_plan(grid, "simulated") | {name: "other"}
        sweep.write_json(out / "plan.json", plan)
        assert sweep.main([str(grid), "--recordings", "simulated", "--out", str(out)]) == 2
        assert message in capsys.readouterr().err


@pytest.fixture
def stubbed(grid, monkeypatch):
    """A function that starts the sweep with a stand-in for run.py, and the sweep's folder."""
    out = grid.parent / "sweep"
    monkeypatch.setenv("PYTHONPATH", str(run.ROOT))
    plan = sweep.make_plan(grid, "simulated")
    plan["command"] = [sys.executable, str(run.ROOT / "tests" / "stub_run.py")]
    sweep.write_json(out / "plan.json", plan)
    if not sweep.SNAKEMAKE.exists():
        pytest.skip("Snakemake is not set up: it takes Python 3.11 or later")
    command = [sweep.SNAKEMAKE, "--snakefile", sweep.FOLDER / "Snakefile", "--directory", out]
    command += ["--profile", sweep.FOLDER / "profiles" / "local", "--cores", "2"]

    def start(*options):
        return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start, out


def calls(out):
    """Folders that were worked on since this was last asked, in order."""
    path = out / "calls.txt"
    said = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return said


def finish(process, status=0):
    text = process.communicate(timeout=120)[0]
    assert process.returncode == status, text
    return text


def test_dry_run_lists_the_jobs_and_does_none(stubbed):
    start, out = stubbed
    said = finish(start("--dry-run"))
    assert all(f"{epsilon}: without {fold}" in said for epsilon in ("1.0", "inf") for fold in ("S2", "S3"))
    assert calls(out) == []


def test_every_job_is_done_once_and_a_deleted_result_again(stubbed):
    start, out = stubbed
    finish(start())
    done = calls(out)
    assert done[0].startswith("prepared/") and sorted(done[1:]) == sorted([*JOBS, *RUNS])
    table = pd.read_csv(out / "table.csv")
    tstr = table[table["protocol"] == "tstr"]
    assert dict(zip(tstr["epsilon"], tstr["accuracy"])) == {1.0: 0.5, float("inf"): 0.75}
    assert set(table["recordings"]) == {"simulated"} and set(table["people"]) == {"S2,S3"}
    report = (out / "report.html").read_text()
    assert (out / "curves_window_extended_subject.png").exists()
    assert "simulated" in report and 'href="runs/epsilon=inf/report.html"' in report and "peak memory" in report
    finish(start())
    assert calls(out) == []
    (out / JOBS[1] / "metrics.json").unlink()
    finish(start())
    assert calls(out) == [JOBS[1], RUNS[0]]


def test_runs_may_do_all_their_folds_themselves(stubbed):
    start, out = stubbed
    plan = json.loads((out / "plan.json").read_text())
    sweep.write_json(out / "plan.json", plan | {"folds": []})
    finish(start())
    done = calls(out)
    assert done[0].startswith("prepared/") and sorted(done[1:]) == sorted(RUNS)
    finish(start())
    assert calls(out) == []


def test_failed_job_is_named_with_its_cell_and_the_others_go_on(stubbed):
    start, out = stubbed
    (out / "fail").write_text(JOBS[0])
    said = finish(start(), status=1)
    assert "fold/epsilon=1.0/S2: 02-Model, cell 5: ValueError: asked to fail" in said.splitlines()
    assert sorted(calls(out)[1:]) == sorted([*JOBS, RUNS[1]])
    (out / "fail").unlink()
    finish(start())
    assert calls(out) == [JOBS[0], RUNS[0]]


def test_killed_sweep_repeats_no_finished_job_and_loses_none(stubbed):
    start, out = stubbed
    (out / "hang").write_text(JOBS[2])
    process = start()
    while len(done := (out / "calls.txt").read_text().split() if (out / "calls.txt").exists() else []) < 5:
        time.sleep(0.1)
    finished = {*JOBS} - {JOBS[2]}
    while not all((out / job / "metrics.json").exists() for job in finished):
        time.sleep(0.1)
    time.sleep(2)  # for Snakemake to take note of the last one
    process.send_signal(signal.SIGKILL)
    process.wait()
    (out / "hang").unlink()  # the job that Snakemake has left behind may end now
    assert finished < set(done) and calls(out)
    finish(start())
    assert finished.isdisjoint(again := calls(out)) and {*again} <= {JOBS[2], *RUNS}


def test_only_one_sweep_works_in_a_folder(grid, tmp_path, capsys):
    sweep.keep_others_out(tmp_path / "sweep")
    assert sweep.main([str(grid), "--recordings", "simulated", "--out", str(tmp_path / "sweep")]) == 2
    assert "another sweep is at work" in capsys.readouterr().err


@pytest.fixture(scope="module")
def real_sweep(tmp_path_factory) -> tuple[Path, Path]:
    """The folders of a sweep without privacy on simulated people, and of the same run by itself."""
    if not sweep.SNAKEMAKE.exists():
        pytest.skip("Snakemake is not set up: it takes Python 3.11 or later")
    folder = tmp_path_factory.mktemp("sweep")
    smoke = {name: str(value) for name, value in run.PRESETS["smoke"].items()}
    tiny = smoke | {"epsilon": "inf", "folds": "S2,S3", "detectors": "logistic_regression"}
    (folder / "tiny.yaml").write_text(
        "grid:\n  - seed: 1\nparameters:\n"
        + "".join(f"  {name}: {json.dumps(value)}\n" for name, value in tiny.items())
    )
    command = [sys.executable, "-m", "workflow.sweep", folder / "tiny.yaml", "--out", folder / "sweep"]
    command += ["--recordings", "simulated"]
    subprocess.run(command, cwd=run.ROOT, check=True)
    arguments = ["--recordings", "simulated"] + [part for name, value in tiny.items() for part in ("-p", name, value)]
    assert run.main([*arguments, "-p", "seed", "1", "--out", str(folder / "alone")]) == 0
    return folder / "sweep", folder / "alone"


@pytest.mark.slow
def test_a_sweep_finds_to_the_bit_what_a_run_by_itself_finds(real_sweep):
    swept, alone = (
        json.loads((path / "metrics.json").read_text()) for path in (real_sweep[0] / "runs/seed=1", real_sweep[1])
    )
    for section in ("privacy", "synthetic", "fidelity", "attacks", "detection"):
        assert swept[section] == alone[section]
    for person in ("S2", "S3"):
        weights = Path("data") / "generators" / f"{person}.npz"
        folders = (real_sweep[0] / "runs" / "seed=1", real_sweep[0] / "folds" / "seed=1" / person)
        assert os.path.samefile(*(folder / weights for folder in folders)), "nothing is trained twice"
        shared = Path("data") / "syn" / "cgan" / "synthetic_1hz.csv"
        assert [(folder / shared).exists() for folder in folders] == [True, False]
        fold = json.loads((folders[1] / "metrics.json").read_text())
        for protocol, record in fold["detection"]["protocols"].items():
            assert record["subjects"] == {person: alone["detection"]["protocols"][protocol]["subjects"][person]}
    folders = [real_sweep[1] / "data" / name for name in ("windows", "generators", "syn/cgan")]
    files = {path.relative_to(real_sweep[1]) for folder in folders for path in folder.glob("*.npz")}
    assert len(files) == 11  # four kinds of windows, and the prior; three generators, and windows of their people
    for file in files:
        assert (real_sweep[0] / "runs/seed=1" / file).read_bytes() == (real_sweep[1] / file).read_bytes(), file
