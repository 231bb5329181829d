"""The ledger: nothing is released before it is entered, and what was entered is added up."""

import json
import multiprocessing
import os

import numpy as np
import pytest

from wearsynth import generators, ledger
from wearsynth.ledger import Ledger, LedgerError, read
from wearsynth.privacy import Promise, spent_together
from wearsynth.releases import choose_query

PEOPLE = {"S2": "a" * 32, "S3": "b" * 32, "S4": "c" * 32}
WINDOW, OTHER = Promise(epsilon=0.5, release_share=1.0), Promise("subject", 2.0, 1e-3, release_share=1.0)
INFINITE = Promise(epsilon=float("inf"))


@pytest.fixture
def book(tmp_path):
    return Ledger(tmp_path / "new" / "ledger.jsonl", PEOPLE)


def test_entries_come_back(book):
    book.enter(np.array(["S2", "S3", "S2"]), WINDOW, "key")
    book.enter(np.array(["S4"]), INFINITE, "other")
    first, second = read(book.path)
    assert first["people"] == {"S2": PEOPLE["S2"], "S3": PEOPLE["S3"]} and first["promise"] == WINDOW
    assert (first["key"], second["key"], second["promise"]) == ("key", "other", INFINITE)
    assert first["time"].endswith("+00:00")


def test_what_was_spent_is_the_most_of_one_person(book):
    """Against the composition of that person's trainings; other people's runs on other recordings do not count."""
    for people in (["S2", "S3"], ["S2"], ["S3", "S4"]):
        book.enter(np.array(people), WINDOW, "key")
    book.enter(np.array(["S2"]), OTHER, "key")
    book.enter(np.array(["S4"]), INFINITE, "key")
    Ledger(book.path, {"S2": "somebody else's"}).enter(np.array(["S2"]), WINDOW, "key")
    said = book.spent(1e-4)
    assert (said["trainings"], said["not_private"]) == (3, 1)
    assert said["window"] == pytest.approx(spent_together([(WINDOW, 0)] * 2, 1e-4), rel=1e-9)
    assert said["subject"] == pytest.approx(spent_together([(OTHER, 0)], 1e-4), rel=1e-9)
    assert "subject" not in Ledger(book.path, {"S3": PEOPLE["S3"]}).spent(1e-4)


def test_the_same_recording_counts_under_another_name(book):
    book.enter(np.array(["S2"]), WINDOW, "key")
    assert Ledger(book.path, {"S9": PEOPLE["S2"]}).spent(1e-4)["trainings"] == 1


def test_an_empty_ledger_has_nothing_spent(book):
    assert book.spent(1e-4) == {"file": str(book.path), "trainings": 0, "not_private": 0}


def test_half_a_line_is_no_entry_and_is_in_nobodys_way(book):
    book.enter(np.array(["S2"]), WINDOW, "first")
    whole = book.path.read_bytes()
    book.path.write_bytes(whole + whole[:40])
    assert [entry["key"] for entry in read(book.path)] == ["first"]
    book.enter(np.array(["S2"]), WINDOW, "second")
    assert [entry["key"] for entry in read(book.path)] == ["first", "second"]


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"promise": 3}', "null", "[" * 10_000])
def test_a_line_that_is_no_entry_is_named(book, line):
    book.enter(np.array(["S2"]), WINDOW, "key")
    book.path.write_text(book.path.read_text() + line + "\n")
    with pytest.raises(LedgerError, match=f"^{book.path}: line 2 is no entry"):
        read(book.path)


def enter_many(path, n):
    for number in range(n):
        Ledger(path, PEOPLE).enter(np.array(["S2"]), WINDOW, f"{os.getpid()}-{number}")


def test_processes_do_not_write_over_one_another(book):
    processes = [multiprocessing.get_context("spawn").Process(target=enter_many, args=(book.path, 25)) for _ in "1234"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len({entry["key"] for entry in read(book.path)}) == 100


@pytest.fixture
def planned(toy_codec):
    return generators.Plan("released", WINDOW, toy_codec, choose_query(toy_codec, 0.0))


def test_nothing_is_trained_where_it_cannot_be_entered(tmp_path, make_toy_windows, planned, origin, monkeypatch):
    monkeypatch.setattr(generators, "train", lambda *_, **__: pytest.fail("windows were read"))
    (tmp_path / "file").touch()
    book = Ledger(tmp_path / "file" / "ledger.jsonl", dict.fromkeys(("S2", "S3", "S4", "S5"), "d"))
    with pytest.raises(LedgerError, match="cannot be written .*set WEARSYNTH_LEDGER to a file that can"):
        generators.train_all(["S2"], make_toy_windows(), planned, 0, tmp_path, origin, book)


def test_a_training_is_entered_before_it_reads_a_window(tmp_path, make_toy_windows, planned, origin, monkeypatch):
    """One that fails right then has been entered, with those whom it was to be trained on."""
    book = Ledger(tmp_path / "ledger.jsonl", {f"S{number}": f"digest {number}" for number in range(2, 6)})

    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(generators, "train", fail)
    with pytest.raises(KeyboardInterrupt):
        generators.train_all(["S2"], make_toy_windows(), planned, 0, tmp_path, origin, book)
    (entry,) = read(book.path)
    assert set(entry["people"]) == {"S3", "S4", "S5"} and entry["key"] == origin.key


def test_its_place_is_a_setting(monkeypatch, tmp_path):
    monkeypatch.setenv("WEARSYNTH_LEDGER", str(tmp_path / "mine.jsonl"))
    assert ledger.ledger_path() == tmp_path / "mine.jsonl"
    monkeypatch.delenv("WEARSYNTH_LEDGER")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert ledger.ledger_path() == tmp_path / "wearsynth" / "ledger.jsonl"


def test_a_person_can_see_it(book, monkeypatch, capsys):
    monkeypatch.setenv("WEARSYNTH_LEDGER", str(book.path))
    assert ledger.main() == 0 and "0 trainings" in capsys.readouterr().out
    for _ in range(3):
        book.enter(np.array(["S2", "S3"]), WINDOW, "key")
    assert ledger.main() == 0
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[1:4] == ["window", "0.5", "0.0001"] and last[-1] == "3" and "S2, S3" in " ".join(last)
    book.path.write_text(json.dumps([]) + "\n")
    assert ledger.main() == 2 and "line 1 is no entry" in capsys.readouterr().err
