"""The chain: what it refuses, what it writes, and that it does nothing twice."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import run
from wearsynth import parameters
from wearsynth.notebooks import NotebookError, execute, one_kernel
from wearsynth.public import DEMONSTRATION
from wearsynth.runs import EVERYONE, CheckError, RunFolder
from wearsynth.scores import SCORES, score_table
from wearsynth.share import check
from wearsynth.tables import load_table

PEOPLE = ["S2", "S3", "S4"]
QUICK = {"detectors": "logistic_regression", "steps": "3"}  # of a chain that tests no detector


class Hostile:
    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('hostile.txt').touch()",)


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> tuple[list[str], RunFolder]:
    """A finished run on three simulated people, one of them held out, and the command line that made it."""
    out = tmp_path_factory.mktemp("chain") / "run"
    arguments = ["--recordings", "simulated", "--preset", "smoke", "--out", str(out), "-p", "folds", "S3"]
    assert run.main(arguments) == 0
    return arguments, RunFolder(out)


@pytest.fixture
def work(monkeypatch):
    """Stands in for what a notebook does in its run folder: a function of notebook, target and a list to note it in."""
    monkeypatch.setattr(run, "print_results", lambda folder: None)
    monkeypatch.setattr("wearsynth.report.write_report", lambda folder: folder.report.write_text("report"))

    def work(notebook, target, executed=None):
        folder = RunFolder(target.parent)
        folder.begin(notebook.stem)
        for section in folder.SECTIONS[notebook.stem]:
            folder.record(section, {"recordings": {"kind": "simulated"}})
        folder.finish(notebook.stem, {})
        target.write_text("executed")
        if executed is not None:
            executed.append(notebook.stem)

    return work


def one_line(capsys) -> str:
    """The error's text, which has to be a single line."""
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    "given, expected",
    [
        (("epsilom", "0.5"), "'epsilon'"),
        (("epsilon", "-1"), "epsilon=-1.0"),
        (("epsilon", "nan"), "epsilon=nan"),
        (("epsilon", "much"), "expected a number"),
        (("steps", "1e3"), "expected a whole number"),
        (("unit", "persons"), "unit='persons': expected 'window' or 'subject'"),
        (("signals", "all"), "'published' or 'extended', or 2 or more of BVP"),
        (("generator", "gan"), "generator='gan': expected 'steered', 'cgan'"),
        (("protocols", "trtr"), "protocols='trtr': expected 'all', or 'tstr'"),
        (("scaling", "none"), "'subject' or 'enrolment' or 'public'"),
        (("folds", "S5,S99"), "'S99'"),
        (("share", "maybe"), "share='maybe': expected true or false"),
        (("detector_epochs", "0"), "expected at least 1"),
        (("detectors", "cnn,cmm"), "detector 'cmm': expected cnn, cnn_lstm"),
        (("detectors", "nowhere:at_all"), "detector 'nowhere:at_all': cannot be made"),
        (("private_epsilons", "1,O.1"), "private_epsilons='O.1': expected finite numbers above 0"),
        (("recordings", "somewhere"), "--recordings"),
        (("licence", "CC BY 4.0"), "licence='CC BY 4.0': expected an SPDX identifier"),
    ],
)
def test_bad_parameter_ends_the_run_before_it_starts(given, expected, tmp_path, capsys):
    assert run.main(["--out", str(tmp_path / "run"), "-p", *given]) == 2
    assert expected in one_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "content, expected",
    [
        (None, "no such folder"),
        ({}, "no recording in it"),
        ({"S2": b"", "S3": b""}, "recordings of 2 people"),
        pytest.param({"S2": b"", "S3": b"", "S4": b""}, "S2.pkl", marks=pytest.mark.slow),
        ({"S2": b"\x80\x02}q\x00.", "S3": b"", "S4": b""}, "S2.pkl"),
        ({"S2": pickle.dumps(Hostile(), protocol=2), "S3": b"", "S4": b""}, "eval"),
    ],
    ids=["missing", "empty", "two people", "empty file", "no signals", "hostile"],
)
def test_bad_recordings_end_the_run_in_one_line(content, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recordings = tmp_path / "recordings"
    if content is not None:
        recordings.mkdir()
        for name, pickled in content.items():
            (recordings / name).mkdir()
            (recordings / name / f"{name}.pkl").write_bytes(pickled)
    assert run.main(["--recordings", str(recordings), "--out", str(tmp_path / "run")]) == 2
    assert expected in one_line(capsys)
    assert not list(tmp_path.rglob("hostile.txt")) and not Path(run.ROOT / "hostile.txt").exists()


def test_help_starts_as_a_program():
    done = subprocess.run([sys.executable, run.ROOT / "run.py", "--help"], capture_output=True, text=True, check=True)
    assert "--recordings PATH" in done.stdout


def test_notebooks_share_one_set_of_parameters():
    seen = {}
    for notebook in run.NOTEBOOKS:
        for name, parameter in parameters.declared(notebook.stem).items():
            told = (parameter["inferred_type_name"], parameter["default"], parameter["help"])
            assert seen.setdefault(name, told) == told, f"{notebook.name}: {name} differs from an earlier notebook's"
    assert set(parameters.AT_LEAST) | set(run.OPTION_OF) <= set(seen)
    assert all(set(preset) <= set(seen) for preset in run.PRESETS.values())


def test_the_docs_list_every_parameter_with_its_default():
    page = (run.ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    for notebook in run.NOTEBOOKS:
        for name, parameter in parameters.declared(notebook.stem).items():
            if name not in run.OPTION_OF:
                default = parameter["default"].strip("\"'")
                row = f"| `{name}` | {default} | {parameter['help']} |"
                assert row in page, f"docs/method.md has no row {row}"


def test_run_folder_holds_all_that_is_promised(chain):
    _, folder = chain
    for name in RunFolder.NOTEBOOKS:
        assert (folder.path / f"{name}.ipynb").exists()
        assert f'id="{name}"' in (folder.path / "report.html").read_text(encoding="utf-8")
    assert folder.table == folder.path / "data" / "wesad" / "wesad_preprocessed_1hz.csv" and folder.table.exists()
    assert (folder.path / "data" / "syn" / "cgan" / "synthetic_1hz.csv").exists()
    assert len(list(folder.figures.glob("*.png"))) >= 10
    report = (folder.path / "report.html").read_text(encoding="utf-8")
    assert "simulated" in report and "What does an attacker gain?" in report and "not to be passed on" not in report


def test_without_recordings_public_people_are_protected_from_others(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert run.main(["--prepare", "--out", str(folder.path)]) == 0
    assert folder.kind == "public" and folder.study.name == "Stress-Predict" and folder.ledger is None
    recorded = folder.metrics["run"]["recordings"]["subjects"]
    assert recorded == [*DEMONSTRATION] and len(np.unique(folder.prior().donors.people)) == 18
    assert "public demonstration cohort" in (folder.path / "01-Data.ipynb").read_text(encoding="utf-8")


def test_metrics_have_the_keys_that_others_rely_on(chain):
    metrics = json.loads(chain[1].metrics_file.read_text())
    assert {"parameters", "recordings", "versions", "seconds"} <= set(metrics["run"])
    assert metrics["run"]["recordings"]["kind"] == "simulated" and metrics["run"]["recordings"]["subjects"] == PEOPLE
    assert {"seconds", "sha256"} <= set(metrics["run"]["recordings"])
    assert list(metrics["run"]["seconds"]) == list(RunFolder.NOTEBOOKS)
    privacy = metrics["privacy"]
    assert privacy["private"] is True and privacy["epsilon"] == 1 and privacy["steps"] == run.PRESETS["smoke"]["steps"]
    assert set(privacy["spent"]) == {"window", "event", "subject"} and privacy["spent"]["window"] <= 1
    assert {"unit", "delta", "noise_multiplier", "clip_norm", "sampling_probability"} <= set(privacy)
    assert "seed" not in privacy["noise_source"].replace("no seed", "") and privacy["outside_guarantee"]
    assert metrics["fidelity"]["c2st_auroc"] >= 0 and metrics["attacks"]
    detection = metrics["detection"]
    assert set(detection["majority"]["mean"]) == set(SCORES)
    assert list(detection["baselines"]) == ["logistic_regression"]
    for records in (detection["protocols"], *detection["baselines"].values()):
        assert {name: record["leaky"] for name, record in records.items()} == {
            **dict.fromkeys(("trtr", "tstr", "augmented", "trts"), False),
            "tstr_leaky": True,
        }
        for record in records.values():
            assert {"detector", "seeds", "leaky", "subjects", "mean", "ci95"} <= set(record)
            assert list(record["subjects"]) == ["S3"] and set(record["subjects"]["S3"]) == set(SCORES)
            assert set(record["mean"]) == set(SCORES)
    paired = {f"{name} - trtr" for name in ("tstr", "augmented", "tstr_leaky")}
    assert set(detection["differences"]) == paired | {"synthetic people - real people"}
    for record in (records["trtr"] for records in detection["among_synthetic"].values()):
        assert list(record["subjects"]) == ["syn01", "syn02", "syn03"]  # as many as there are real ones
    for name in ("private_cnn", "private_logistic_regression"):
        assert set(detection["private"]["1.0"][name]["trtr"]["mean"]) == set(SCORES)
        promised = detection["private_promises"]["1.0"][name]
        assert (promised["epsilon"], promised["delta"], promised["unit"]) == (1, 1e-4, "window")
        assert promised["noise_multiplier"] > 0


def test_scores_are_those_of_the_stored_predictions(chain):
    _, folder = chain
    scored = score_table(pd.read_csv(folder.predictions)).query("detector == 'cnn' and protocol == 'tstr'")
    record = json.loads(folder.metrics_file.read_text())["detection"]["protocols"]["tstr"]
    assert scored[list(SCORES)].iloc[0].to_dict() == pytest.approx(record["subjects"]["S3"], abs=1e-5)  # six digits


def test_shared_people_come_from_the_generator_of_everyone(chain):
    _, folder = chain
    shared, real = load_table(folder.shared_table), load_table(folder.table)
    assert list(shared) == list(real) and shared["subject"].nunique() == run.PRESETS["smoke"]["people"]
    windows = folder.synthetic_windows(EVERYONE)
    assert set(windows.subjects) == set(shared["subject"])
    np.testing.assert_allclose(folder.cut(shared).values, windows.values, atol=1e-5)  # eight digits
    parquet = pd.read_parquet(folder.shared_table.with_suffix(".parquet"))
    pd.testing.assert_frame_equal(parquet, shared, check_dtype=False, rtol=1e-7)
    (said,) = folder.shared_table.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    assert said.startswith("synthetic, learned from simulated recordings under (1, 0.0001)-differential privacy for ")
    assert said.split("; ")[0].removeprefix("synthetic, ") in check(folder.share)[-1]
    for path in folder.synthetic.glob("synthetic_1hz.[cp]*"):
        assert path.read_bytes() == (folder.share / path.name).read_bytes()
    assert "; prior: the 24 people of Stress-Predict" in said and "MIT licence" in said


@pytest.mark.slow
def test_a_study_of_its_own_runs_on_the_signals_that_it_has(chain, tmp_path):
    """Three classes, without pulse and skin temperature, and looking for pain: on pages that speak of pain alone."""
    table = load_table(chain[1].shared_table).drop(columns=["BVP", "BVP_amplitude", "HR", "TEMP"])
    table["condition"] = table["condition"].replace({"stress": "pain", "baseline": "rest"})
    table.drop(columns="label").to_csv(tmp_path / "ward.csv", index=False)
    (tmp_path / "ward.yaml").write_text(
        "name: Pain at the ward\npositive: [pain]\nnegative: [rest]\nthird: [amusement]\n"
        "schedule: rest 20, pain 10, amusement 5\n"
    )
    folder = RunFolder(tmp_path / "run")
    options = ["--preset", "smoke", "--out", str(folder.path), "--recordings", str(tmp_path / "ward.csv")]
    settings = {"study": str(tmp_path / "ward.yaml"), "folds": "syn02", "people": "3", "protocols": "trtr,tstr"} | QUICK
    assert run.main([*options, *(word for pair in settings.items() for word in ("-p", *pair))]) == 0
    shared = load_table(folder.shared_table)
    assert list(shared) == list(table) and set(shared["label"].dropna()) == {0, 1, 2}
    assert set(folder.metrics["fidelity"]["ks"]) == {"rest", "pain", "amusement"}
    assert folder.windows("real").signals == ("EDA", "ACC_x", "ACC_y", "ACC_z", "ACC_movement")
    predictions = pd.read_csv(folder.predictions)
    assert set(predictions["label"]) == {0, 1, 2} and predictions["probability_2"].between(0, 1).all()
    expected = folder.metrics["detection"]["protocols"]["tstr"]["subjects"]["syn02"]
    scores = score_table(predictions.query("protocol == 'tstr'"))
    assert scores[list(SCORES)].iloc[0].to_dict() == pytest.approx(expected, abs=1e-5)  # six digits


def test_synthetic_people_are_taken_for_recordings(chain, tmp_path):
    """From the shared table to windows of synthetic people, by the chain that makes those of real ones."""
    _, folder = chain
    again = RunFolder(tmp_path / "again")
    options = ["--preset", "smoke", "--out", str(again.path), "--recordings", str(folder.shared_table)]
    assert run.main([*options, "--prepare"]) == 0
    windows = folder.synthetic_windows(EVERYONE)
    np.testing.assert_allclose(again.windows("real").values, windows.values, atol=1e-5)  # eight digits


def copied(folder, tmp_path):
    """A copy of a finished run, which a test may change."""
    return RunFolder(shutil.copytree(folder.path, tmp_path / "copy"))


def test_finished_steps_are_not_repeated(chain, monkeypatch, work, tmp_path, capsys):
    arguments, folder = chain
    folder = copied(folder, tmp_path)
    arguments = [*arguments, "--out", str(folder.path)]
    executed = []
    monkeypatch.setattr(run, "execute", lambda notebook, target, *_: work(notebook, target, executed))
    assert run.main(arguments) == 0 and executed == []
    assert capsys.readouterr().out.count("finished before") == 5
    assert run.main([*arguments, "-p", "detector_epochs", "4"]) == 0 and executed == ["05-Stress_Detection"]
    executed.clear()
    assert run.main([*arguments, "-p", "seed", "1"]) == 0 and executed == list(RunFolder.NOTEBOOKS[1:])


def test_nothing_of_an_earlier_promise_outlives_it(chain, monkeypatch, work, tmp_path):
    """First one budget, then another one that is not to be shared: neither table nor report of the first one stay."""
    arguments, folder = chain
    folder = copied(folder, tmp_path)
    shared = folder.synthetic / "synthetic_1hz.csv"
    assert shared.exists() and folder.report.exists()
    monkeypatch.setattr(run, "execute", lambda notebook, target, *_: work(notebook, target))
    assert run.main([*arguments, "--out", str(folder.path), "-p", "epsilon", "2", "-p", "share", "false"]) == 0
    assert not shared.exists() and not folder.share.exists() and not folder.report.exists()
    assert not (folder.path / "04-Evaluation.ipynb").exists()
    assert "fidelity" not in folder.metrics and folder.metrics["run"]["parameters"]["epsilon"] == 2


@pytest.mark.parametrize("stopped", ["02-Model", "03-Generator"])
def test_nor_when_the_run_is_stopped_before_there_is_another(chain, monkeypatch, tmp_path, stopped, work):
    arguments, folder = chain
    folder = copied(folder, tmp_path)

    def stop(notebook, target, *_):
        if notebook.stem == stopped:
            raise KeyboardInterrupt
        work(notebook, target)

    monkeypatch.setattr(run, "execute", stop)
    assert run.main([*arguments, "--out", str(folder.path), "-p", "epsilon", "2"]) == 130
    assert not (folder.synthetic / "synthetic_1hz.csv").exists() and not folder.report.exists()
    new = RunFolder(tmp_path / "new")
    assert run.main([*arguments, "--out", str(new.path), "--from", str(folder.path), "-p", "epsilon", "2"]) == 130
    assert not new.synthetic.exists() and "fidelity" not in new.metrics


@pytest.mark.parametrize("notebook", ["04-Evaluation", pytest.param("05-Stress_Detection", marks=pytest.mark.slow)])
def test_by_hand_a_notebook_refuses_what_is_of_an_earlier_chain(chain, tmp_path, notebook):
    """Notebook 2 was run again, notebook 3 was not."""
    folder = copied(chain[1], tmp_path)
    folder.begin("02-Model")
    folder.record("privacy", {"epsilon": 2})
    folder.finish("02-Model", {})
    path = run.ROOT / f"{notebook}.ipynb"
    given = {name: chain[1].metrics["run"]["parameters"][name] for name in parameters.declared(notebook)}
    with one_kernel() as kernel, pytest.raises(NotebookError, match=f"03-Generator has not ended here, and {notebook}"):
        execute(path, tmp_path / "executed.ipynb", given | {"run_folder": str(folder.path)}, kernel)


def test_a_failed_check_loses_no_work(chain, monkeypatch, tmp_path, work, capsys):
    """The last notebooks' numbers are kept and reported; only what is said at the end, and the status, tell."""
    arguments, folder = chain
    folder = copied(folder, tmp_path)
    executed = []

    def execute(notebook, target, *_):
        work(notebook, target, executed)
        if notebook.stem in ("04-Evaluation", "05-Stress_Detection"):
            raise CheckError(f"{notebook.stem}: does not hold: scores lie in [0, 1]")

    monkeypatch.setattr(run, "execute", execute)
    assert run.main([*arguments, "--out", str(folder.path), "-p", "seed", "1"]) == 1
    assert executed == list(RunFolder.NOTEBOOKS[1:]) and folder.report.exists() and "detection" in folder.metrics
    assert one_line(capsys) == (
        "run.py: 04-Evaluation: does not hold: scores lie in [0, 1]; "
        "05-Stress_Detection: does not hold: scores lie in [0, 1]\n"
    )


def test_a_failed_check_of_what_others_build_on_ends_the_run(chain, monkeypatch, tmp_path, work):
    arguments, folder = chain
    folder = copied(folder, tmp_path)
    monkeypatch.setattr(run, "execute", lambda *_: (_ for _ in ()).throw(CheckError("02-Model: does not hold: ...")))
    assert run.main([*arguments, "--out", str(folder.path), "-p", "epsilon", "2"]) == 1
    assert not folder.report.exists() and not [path for path in folder.synthetic.rglob("*") if path.is_file()]


def test_a_run_cannot_start_from_nothing(tmp_path, capsys):
    out = tmp_path / "run"
    assert run.main(["--from", str(tmp_path / "nowhere"), "--out", str(out)]) == 2 and not out.exists()
    assert "nowhere: no run has been there" in one_line(capsys)


def test_a_run_does_again_only_what_differs_from_the_one_it_starts_from(chain, monkeypatch, work, tmp_path):
    arguments, folder = chain
    executed = []
    monkeypatch.setattr(run, "execute", lambda notebook, target, *_: work(notebook, target, executed))
    given = [part for part in arguments if part not in ("--out", str(folder.path))]
    out = tmp_path / "other"
    assert run.main([*given, "--from", str(folder.path), "--out", str(out), "-p", "detector_seeds", "2"]) == 0
    assert executed == ["05-Stress_Detection"]
    assert RunFolder(out).synthetic_file(EVERYONE).samefile(folder.synthetic_file(EVERYONE))
    assert (out / "report.html").exists() and RunFolder(out).figures.exists()


def test_killed_run_is_taken_up_where_it_stopped(tmp_path, monkeypatch, work):
    executed = []

    def execute(notebook, target, parameters, kernel):
        work(notebook, target)
        if notebook.stem == "03-Generator" and executed.count(notebook.stem) == 0:
            executed.append(notebook.stem)
            raise KeyboardInterrupt
        executed.append(notebook.stem)

    monkeypatch.setattr(run, "execute", execute)
    monkeypatch.setattr("wearsynth.report.write_report", lambda folder: None)
    monkeypatch.setattr(run, "print_results", lambda folder: None)
    assert run.main(["--out", str(tmp_path)]) == 130
    assert run.main(["--out", str(tmp_path)]) == 0
    assert executed == ["01-Data", "02-Model", "03-Generator", "03-Generator", "04-Evaluation", "05-Stress_Detection"]


def test_failing_notebook_is_named_with_its_cell(tmp_path):
    """Without the first one there is no table to read."""
    given = {name: parameters.defaults()[name] for name in parameters.declared("02-Model")}
    expected = "^02-Model, cell 3: StaleFileError: .*01-Data has not ended here.*; see .*executed.ipynb$"
    with one_kernel() as kernel, pytest.raises(NotebookError, match=expected):
        execute(run.NOTEBOOKS[1], tmp_path / "executed.ipynb", given | {"run_folder": str(tmp_path)}, kernel)


@pytest.mark.skipif(os.name != "posix", reason="local sockets need POSIX")
def test_runs_at_the_same_time_do_not_share_a_kernels_sockets():
    with one_kernel() as one, one_kernel() as other:
        assert one.transport == other.transport == "ipc" and one.ip != other.ip


def test_a_changed_detector_of_the_users_own_is_tested_again(tmp_path, monkeypatch, work):
    module = tmp_path / "their_detectors.py"
    module.write_text("from sklearn.naive_bayes import GaussianNB\n")
    monkeypatch.syspath_prepend(tmp_path)
    executed = []
    monkeypatch.setattr(run, "execute", lambda notebook, target, *_: work(notebook, target, executed))
    monkeypatch.setattr("wearsynth.report.write_report", lambda folder: None)
    monkeypatch.setattr(run, "print_results", lambda folder: None)
    out = tmp_path / "run"
    arguments = ["--out", str(out), "-p", "detectors", "cnn,their_detectors:GaussianNB"]
    assert run.main(arguments) == 0 and len(executed) == 5
    assert run.main(arguments) == 0 and len(executed) == 5
    module.write_text("from sklearn.naive_bayes import GaussianNB  # another\n")
    assert run.main(arguments) == 0 and executed[5:] == ["05-Stress_Detection"]
