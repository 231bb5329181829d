"""Run folders: what counts as finished, what goes when it no longer holds, and how numbers are kept."""

import json
import math
import multiprocessing
import os
import time

import numpy as np
import pytest
from matplotlib.figure import Figure

from wearsynth import runs
from wearsynth.files import fingerprint
from wearsynth.provenance import StaleFileError
from wearsynth.public import find_cohort
from wearsynth.runs import CheckError, RunFolder
from wearsynth.studies import WESAD
from wearsynth.tables import save_table
from wearsynth.windows import make_windows

NOTEBOOKS = RunFolder.NOTEBOOKS
SETTINGS = ("published", "subject", 60, 30, 0.274, "public")


def begin_with(folder, kind="simulated", sha256="0"):
    """What 01-Data leaves in `metrics.json`."""
    table = fingerprint(folder.table) if folder.table.exists() else ""
    about = {"kind": kind, "sha256": sha256, "table": table, "people": {"S2": "digest"}, "study": WESAD.public_facts}
    folder.record("run", {"recordings": about})


@pytest.fixture
def finished(tmp_path):
    """A run folder in which all five notebooks have ended, and written something."""
    folder = RunFolder(tmp_path / "finished")
    begin_with(folder)
    for name in NOTEBOOKS:
        written = [own / pattern.replace("*", "file") for own, pattern in folder._written[name]]
        for path in (*written, *map(folder._figure, folder.FIGURES[name])):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        for section in folder.SECTIONS[name][name == "01-Data" :]:
            folder.record(section, {"of": name})
        folder.finish(name, {})
        folder.mark_finished(name, "key")
    users_own = [folder.table.parent / "S2" / "S2.pkl", folder.synthetic / "notes.txt"]
    for kept in (folder.generator_file("S2"), folder.detector_cache / "piece.npz", *users_own):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text("kept")
    folder.report.write_text("report")
    return folder


def files(folder):
    return {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_what_a_notebook_and_those_that_build_on_it_wrote_goes_when_it_begins(finished, notebook):
    """By a list made by hand: which notebooks count no more, and which of the files stay."""
    stale = {
        "01-Data": {*NOTEBOOKS},
        "02-Model": {*NOTEBOOKS[1:]},
        "03-Generator": {*NOTEBOOKS[2:]},
        "04-Evaluation": {"04-Evaluation"},
        "05-Stress_Detection": {"05-Stress_Detection"},
    }[notebook]
    before = {path: (finished.path / path).read_text() for path in files(finished)}
    finished.begin(notebook)
    own = {path for path, content in before.items() if content in stale}
    marks = {f"data/finished/{name}.json" for name in stale}
    assert {*before} - files(finished) == own | marks | {"report.html"}
    metrics = finished.metrics
    assert not any(content.get("of") in stale for content in metrics.values())
    assert {*metrics.get("run", {}).get("ended", [])} == {*NOTEBOOKS} - stale
    assert {"data/generators/S2.npz", "data/detectors/cache/piece.npz"} <= files(finished)  # they say what they are
    assert {"data/wesad/S2/S2.pkl", "data/syn/cgan/notes.txt"} <= files(finished)  # which are somebody's own


@pytest.mark.parametrize("notebook", NOTEBOOKS[1:])
def test_a_notebook_refuses_to_begin_where_the_one_before_has_not_ended(tmp_path, notebook):
    folder, needed = RunFolder(tmp_path), RunFolder.BUILDS_ON[notebook]
    begin_with(folder)
    for name in NOTEBOOKS:
        if name == needed:
            break
        folder.finish(name, {})
    with pytest.raises(StaleFileError, match=f"{needed} has not ended here, and {notebook} builds on it; run {needed}"):
        folder.begin(notebook)
    folder.finish(needed, {})
    folder.begin(notebook)


def test_a_failed_check_keeps_the_numbers_and_nothing_is_built_on_them(tmp_path):
    folder = RunFolder(tmp_path)
    begin_with(folder)
    folder.record("privacy", {"epsilon": 1.0})
    with pytest.raises(CheckError, match="does not hold: two is one; nor this"):
        folder.finish("01-Data", {"one is one": True, "two is one": False, "nor this": False})
    assert folder.metrics["privacy"] == {"epsilon": 1.0}
    with pytest.raises(StaleFileError):
        folder.begin("02-Model")


def test_work_is_finished_only_for_what_it_depended_on(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.is_finished("02-Model", "key")
    folder.mark_finished("02-Model", "key")
    assert folder.is_finished("02-Model", "key") and not folder.is_finished("02-Model", "other")
    (tmp_path / "data" / "finished" / "02-Model.json").write_text("[")
    assert not folder.is_finished("02-Model", "key")


def test_sections_of_the_metrics_add_up(tmp_path):
    folder = RunFolder(tmp_path)
    folder.record("run", {"recordings": {"kind": "simulated"}})
    folder.record("privacy", {"epsilon": math.inf, "steps": np.int64(3), "spent": (np.float32(0.5), math.nan)})
    folder.record("run", {"more": ["S2"]})
    assert folder.kind == "simulated"
    assert folder.metrics == {
        "run": {"recordings": {"kind": "simulated"}, "more": ["S2"]},
        "privacy": {"epsilon": "inf", "steps": 3, "spent": [0.5, None]},
    }


@pytest.mark.parametrize("content", ["", "[]", "{", '{"run": 3}', "[" * 100_000, "\udcff"])
def test_damaged_metrics_are_named(tmp_path, content):
    folder = RunFolder(tmp_path)
    folder.metrics_file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(StaleFileError, match=f"^{folder.metrics_file}: is damaged .*remove it"):
        _ = folder.metrics


@pytest.mark.parametrize("kind", ["<script>alert(1)</script>", "", None, ["real"], "Real"])
def test_a_kind_of_recordings_that_there_is_not_is_refused(tmp_path, kind):
    folder = RunFolder(tmp_path)
    begin_with(folder, kind=kind)
    with pytest.raises(StaleFileError, match="run 01-Data"):
        _ = folder.kind


@pytest.fixture
def run_with_table(make_table, tmp_path):
    """A run folder with a 1 Hz table of two people, and some of what a run leaves in it."""
    table = make_table([(name, condition, 120, 0) for name in ("S2", "S3") for condition in ("baseline", "stress")])
    folder = RunFolder(tmp_path / "first")
    save_table(table, folder.table)
    begin_with(folder)
    folder.finish("01-Data", {})
    folder.mark_finished("01-Data", "key")
    folder.path.joinpath("01-Data.ipynb").write_text("executed")
    return folder, table


def test_windows_are_made_once(run_with_table, monkeypatch):
    folder, table = run_with_table
    folder.prepare_windows(*SETTINGS)
    for name, scaling, hop in (("training", "public", 30), ("real", "subject", 30), ("test", "subject", 60)):
        expected = make_windows(table, "published", scaling, 60, hop)
        assert np.allclose(folder.windows(name).values, expected.values, atol=1e-5)
    public = make_windows(find_cohort("public").table(), "published", "subject", 60, 60)
    assert np.array_equal(folder.windows("public").values, public.values)
    monkeypatch.setattr("wearsynth.runs.make_windows", None)
    folder.prepare_windows(*SETTINGS)
    for other in (("published", "subject", 60, 60, 0.274), ("published", "subject", 60, 30, 0.3)):
        with pytest.raises(TypeError):  # others have to be made
            folder.prepare_windows(*other)


def test_windows_of_another_table_are_made_again_and_another_table_is_refused(run_with_table, make_table, monkeypatch):
    folder, _ = run_with_table
    folder.prepare_windows(*SETTINGS)
    save_table(make_table([("S4", condition, 120, 0) for condition in ("baseline", "stress")]), folder.table)
    with pytest.raises(StaleFileError, match="is not the table that 01-Data wrote here; run 01-Data"):
        folder.prepare_windows(*SETTINGS)
    begin_with(folder, sha256="1")
    monkeypatch.setattr("wearsynth.runs.make_windows", None)
    with pytest.raises(TypeError):
        folder.prepare_windows(*SETTINGS)


def test_windows_of_other_recordings_are_refused(run_with_table):
    folder, _ = run_with_table
    folder.prepare_windows(*SETTINGS)
    begin_with(folder, kind="real", sha256="1")
    with pytest.raises(StaleFileError, match="training.npz: comes from simulated recordings.*run 02-Model"):
        folder.windows("training")


def test_a_run_starts_from_what_others_have_finished(run_with_table, tmp_path):
    first, _ = run_with_table
    first.prepare_windows(*SETTINGS)
    other = RunFolder(tmp_path / "other")
    other.generators.mkdir(parents=True)
    other.generator_file("S3").write_text("weights")
    begin_with(other, kind="real")
    other.mark_finished("02-Model", "key of another chain")
    folder = RunFolder(tmp_path / "new")
    folder.start_from([other, first])
    assert folder.kind == "simulated" and folder.is_finished("01-Data", "key")
    assert not folder.is_finished("02-Model", "key of another chain")  # whose numbers are not here, either
    assert (folder.path / "01-Data.ipynb").read_text() == "executed"
    assert folder.generator_file("S3").read_text() == "weights"
    linked = [first.table, *(first.windows_folder / f"{name}.npz" for name in ("training", "real", "test", "public"))]
    assert all(path.samefile(folder.path / path.relative_to(first.path)) for path in linked)
    before = linked[1].read_bytes(), first.metrics, (first.path / "01-Data.ipynb").read_text()
    folder.prepare_windows("published", "public", 30, 30, 0.274, "public")
    folder.record("run", {"recordings": {"kind": "real"}})
    (folder.path / "01-Data.ipynb").write_text("executed again")
    assert (linked[1].read_bytes(), first.metrics, (first.path / "01-Data.ipynb").read_text()) == before


def test_only_regular_files_that_a_run_writes_are_taken_over(run_with_table, tmp_path):
    first, _ = run_with_table
    (tmp_path / "secret.npz").write_text("secret")
    first.generators.mkdir(parents=True)
    first.generator_file("S2").symlink_to(tmp_path / "secret.npz")
    (first.path / "data" / "anything.pkl").write_text("a pickle")
    first.detector_cache.mkdir(parents=True)
    (first.detector_cache / "output.pkl").write_text("a pickle")
    folder = RunFolder(tmp_path / "new")
    folder.start_from([first])
    assert not any(path.endswith(".pkl") or "S2" in path for path in files(folder))


def test_a_figure_belongs_to_a_notebook(tmp_path):
    with pytest.raises(ValueError, match="figure 'nobodys'"):
        RunFolder(tmp_path).save_figure(None, "nobodys")


def test_a_notebook_shows_the_very_picture_that_is_saved(tmp_path):
    shown = RunFolder(tmp_path).save_figure(Figure((2, 1), dpi=200), "roc")
    assert shown.data == (tmp_path / "figures" / "roc.png").read_bytes() and shown.width < 250  # twice as sharp


def test_metrics_are_whole_or_the_former_ones(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    begin_with(folder)
    before = folder.metrics
    monkeypatch.setattr(runs, "write_json", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        folder.record("privacy", {"epsilon": 1})
    assert json.loads(folder.metrics_file.read_text()) == before and len(os.listdir(tmp_path)) == 1


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
