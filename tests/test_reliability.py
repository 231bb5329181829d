"""Small fixed versions of the commands that prove endurance, and that these commands would find what they look for."""

import json
import signal

import numpy as np
import pytest

from reliability import fuzz, kills, marked_person
from reliability.fuzz import Reader
from wearsynth.provenance import Origin, save_arrays


def test_damaged_inputs_are_read_or_refused(tmp_path):
    counts = fuzz.fuzz(250, 1, tmp_path)
    assert counts.total() == 250 and len({name for name, _ in counts}) == 12
    assert {verdict for _, verdict in counts} == {"read", "refused"}


def broken(path):
    raise KeyError("a reader's own fault")


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (broken, "KeyError"),
        (lambda path: [np.array([np.nan])], "a number is not finite"),
        (lambda path: signal.raise_signal(signal.SIGALRM), "took longer"),
    ],
)
def test_a_reader_at_fault_is_found(tmp_path, monkeypatch, read, found):
    monkeypatch.setattr(fuzz, "readers", lambda folder: [Reader("file", b"content", read, (ValueError,))])
    with pytest.raises(AssertionError, match=f"input 0 of seed 0, file: .*{found}"):
        fuzz.fuzz(1, 0, tmp_path)


def test_half_a_file_is_found(tmp_path, origin):
    save_arrays(tmp_path / "whole.npz", origin, values=np.zeros(1000))
    (tmp_path / "whole.json").write_text("{}")
    (tmp_path / "whole.csv").write_text("a,b\n1,2\n")
    kills.expect_whole(tmp_path)
    for name, content in (("whole.npz", b"PK"), ("whole.json", b"{"), ("whole.csv", b"a,b\n1")):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Exception):  # noqa: B017 - what it is depends on the kind of file
            kills.expect_whole(tmp_path)
        (tmp_path / name).write_bytes(whole)


def test_a_table_of_another_promise_is_found(tmp_path):
    """As a run folder could once hold it: windows learned without privacy, numbers that promise some."""
    run = tmp_path / "run"
    (run / "data" / "syn" / "cgan").mkdir(parents=True)
    recordings = {"kind": "real", "sha256": "0"}
    model = {"key": "key", "promise": "under (1, 0.0001)-differential privacy for one window", "prior": "none"}
    (run / "metrics.json").write_text(json.dumps({"run": {"recordings": recordings}, "model": model}))
    for promise in (model["promise"], "with no privacy guarantee"):
        sentence = Origin("03-Generator", "real", "0", "key", promise).sentence
        (run / "data/syn/cgan/synthetic_1hz.csv").write_text("EDA\n1\n")
        (run / "data/syn/cgan/synthetic_1hz.txt").write_text(f"{sentence}; prior: none\n")
        if promise == model["promise"]:
            kills.expect_whole(tmp_path)
    with pytest.raises(AssertionError, match="of another promise"):
        kills.expect_whole(tmp_path)


def test_a_mark_is_found_where_it_is_and_nowhere_else():
    patterns = marked_person.patterns_of(50)
    rng = np.random.default_rng(1)
    series = rng.normal(size=(200, marked_person.SECONDS)) / np.sqrt(marked_person.SECONDS)
    series[17] = 0.3 * series[17] + np.roll(patterns[0], 23)
    found = marked_person.correlations(series, patterns)
    assert found[0] > 0.9 > found[1:].max()
    slow = [np.corrcoef(np.roll(patterns[3], shift), row)[0, 1] for row in series for shift in range(60)]
    assert found[3] == pytest.approx(max(slow), abs=1e-9)


def test_names_are_looked_for_in_a_pages_text_and_not_in_its_pictures(tmp_path):
    (tmp_path / "page.html").write_text('<p>S2</p><img alt="S4" src="data:image/png;base64,AB+S3+/S3/=">')
    text = marked_person.text_of(tmp_path / "page.html")
    assert "S2" in text and "S4" in text and "S3" not in text
