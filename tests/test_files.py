"""Files are written whole or not at all."""

import hashlib
import json
import os

import pytest

from wearsynth.files import replacing, sha256, write_json


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_a_file_that_others_link_to_stays_as_it_is_there(tmp_path):
    ours, theirs = tmp_path / "ours.npz", tmp_path / "theirs.npz"
    theirs.write_text("old")
    os.link(theirs, ours)
    with replacing(ours) as draft:
        draft.write_text("new")
        assert ours.read_text() == "old" and draft.suffix == ".npz"
    assert (ours.read_text(), theirs.read_text()) == ("new", "old")


def test_checksum_is_that_of_the_files_one_behind_the_other(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, content in zip(paths, (b"x" * 3_000_000, b"y")):
        path.write_bytes(content)
    assert sha256(paths) == hashlib.sha256(b"x" * 3_000_000 + b"y").hexdigest()
