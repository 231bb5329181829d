"""Run folders: what counts as finished, and how numbers are kept."""

import math
import multiprocessing
import time

import numpy as np
import pytest

from wearsynth.recordings import save_table
from wearsynth.runs import RunFolder, fingerprint
from wearsynth.windows import make_windows


def test_work_is_finished_only_for_what_it_depended_on(tmp_path):
    folder, table = RunFolder(tmp_path), tmp_path / "table.csv"
    table.write_text("1")
    key = fingerprint(table, "epsilon", 1.0)
    assert not folder.is_finished("02-Model", key)
    folder.mark_finished("02-Model", key)
    assert folder.is_finished("02-Model", fingerprint(table, "epsilon", 1.0))
    assert not folder.is_finished("02-Model", fingerprint(table, "epsilon", 10.0))
    table.write_text("2")
    assert not folder.is_finished("02-Model", fingerprint(table, "epsilon", 1.0))


def test_sections_of_the_metrics_add_up(tmp_path):
    folder = RunFolder(tmp_path)
    folder.record("run", {"recordings": {"kind": "simulated"}})
    folder.record("privacy", {"epsilon": math.inf, "steps": np.int64(3), "spent": (np.float32(0.5), math.nan)})
    folder.record("run", {"folds": ["S2"]})
    assert folder.kind == "simulated"
    assert folder.metrics == {
        "run": {"recordings": {"kind": "simulated"}, "folds": ["S2"]},
        "privacy": {"epsilon": "inf", "steps": 3, "spent": [0.5, None]},
    }


@pytest.fixture
def run_with_table(make_table, tmp_path):
    """A run folder with a 1 Hz table of two people, and some of what a run leaves in it."""
    table = make_table([(name, condition, 120, 0) for name in ("S2", "S3") for condition in ("baseline", "stress")])
    folder = RunFolder(tmp_path / "first")
    save_table(table, folder.table)
    folder.record("run", {"recordings": {"kind": "simulated"}})
    folder.mark_finished("01-Data", "key")
    folder.path.joinpath("01-Data.ipynb").write_text("executed")
    return folder, table


def test_windows_are_made_once(run_with_table, monkeypatch):
    folder, table = run_with_table
    training, test = folder.prepare_windows("published", "public", 60, 30)
    for windows, hop in ((training, 30), (test, 60)):
        assert np.allclose(windows.values, make_windows(table, "published", "public", 60, hop).values, atol=1e-5)
    monkeypatch.setattr("wearsynth.runs.make_windows", None)
    again, _ = folder.prepare_windows("published", "public", 60, 30)
    assert np.array_equal(again.values, training.values)
    with pytest.raises(TypeError):  # others have to be made
        folder.prepare_windows("published", "public", 60, 60)


def test_a_run_starts_from_what_others_have_finished(run_with_table, tmp_path):
    first, _ = run_with_table
    first.prepare_windows("published", "public", 60, 30)
    other = RunFolder(tmp_path / "other")
    other.path.joinpath("data/generators/S3").mkdir(parents=True)
    (other.generators / "S3" / "generator.weights.h5").write_text("weights")
    other.mark_finished("generator-S3", "key")
    other.record("run", first.metrics["run"])
    folder = RunFolder(tmp_path / "new")
    folder.start_from([first, other])
    assert folder.kind == "simulated" and folder.is_finished("01-Data", "key")
    assert (folder.path / "01-Data.ipynb").read_text() == "executed"
    assert folder.is_finished("generator-S3", "key")
    assert (folder.generators / "S3" / "generator.weights.h5").read_text() == "weights"
    for linked in ("training_windows", "test_windows", "table"):
        assert getattr(folder, linked).samefile(getattr(first, linked))
    before = first.training_windows.read_bytes(), first.metrics
    folder.prepare_windows("published", "public", 30, 30)
    folder.record("run", {"recordings": {"kind": "real"}})
    assert (first.training_windows.read_bytes(), first.metrics) == before


def hold(path, seconds):
    with RunFolder(path).alone():
        (path / "held").touch()
        time.sleep(seconds)
        (path / "held").unlink()


def test_only_one_process_works_in_a_folder(tmp_path, capsys):
    other = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, 1))
    other.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with RunFolder(tmp_path).alone():
        assert not (tmp_path / "held").exists()
    other.join()
    assert "another process is at work here" in capsys.readouterr().out
