"""Run folders: what counts as finished, and how numbers are kept."""

import hashlib
import json
import math

import numpy as np
import pytest

from wearsynth.runs import RunFolder, file_sha256, fingerprint, write_json


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


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_checksum_is_that_of_the_files_one_behind_the_other(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, content in zip(paths, (b"x" * 3_000_000, b"y")):
        path.write_bytes(content)
    assert file_sha256(paths) == hashlib.sha256(b"x" * 3_000_000 + b"y").hexdigest()
