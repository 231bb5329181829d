"""Files are written whole or not at all, and what code computes has a short name."""

import hashlib
import json
import os

import pandas as pd
import pytest

from wearsynth import files
from wearsynth.files import fingerprint, package_source, replacing, sha256, source_of, write_csv, write_json


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


def test_a_table_is_written_with_so_many_digits(tmp_path):
    table = pd.DataFrame({"a": [1.23456789, 2.0], "b": ["ü", "v"]})
    write_csv(tmp_path / "new" / "table.csv", table, digits=4)
    assert (tmp_path / "new" / "table.csv").read_text(encoding="utf-8") == "a,b\n1.235,ü\n2,v\n"


def test_a_fingerprint_counts_files_by_their_content(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("same")
    other.write_text("same")
    assert fingerprint(one, "epsilon", 1.0) == fingerprint(other, "epsilon", 1.0) != fingerprint(one, "epsilon", 10.0)
    other.write_text("else")
    assert fingerprint(one) != fingerprint(other)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in which `a` imports `b`, which imports `c` within a function, and `d` imports `a`."""
    sources = {
        "a": '"""Docstring."""\nfrom wearsynth.b import x\n',
        "b": "import math\n\ndef x():\n    from wearsynth import c\n",
        "c": "y = 1\n",
        "d": "from wearsynth.a import x\n",
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(files, "PACKAGE", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name, counts", [("a", True), ("b", True), ("c", True), ("d", False)])
def test_code_counts_where_it_is_reached(package, name, counts):
    before = source_of("a"), package_source()
    with open(package / f"{name}.py", "a") as file:
        file.write("z = 2\n")
    assert (source_of("a") != before[0]) == counts and package_source() != before[1]


def test_comments_docstrings_and_layout_do_not_count(package):
    before = source_of("a")
    (package / "a.py").write_text('"""Another docstring."""\n\n\nfrom wearsynth.b import (  # a comment\n    x,\n)\n')
    assert source_of("a") == before


def test_a_training_reaches_no_picture_no_page_and_no_statement():
    """Whoever touches those must not make generators train again: that would be another release of the same people."""
    reached, waiting = set(), ["generators"]
    while waiting:
        path = files.PACKAGE / f"{waiting.pop()}.py"
        if path.exists() and path.stem not in reached:
            reached.add(path.stem)
            waiting += files.imported(files.ast.parse(path.read_text(encoding="utf-8")))
    learns = {"accounting", "cgan", "clipping", "codecs", "dpsgd", "features", "generators", "networks", "privacy"}
    learns |= {"donors", "public", "quiet", "randomness", "releases", "simulation", "tf_privacy", "wear", "windows"}
    reads = {"embraceplus", "empatica", "exports", "readers", "recordings"}  # a prior's people
    reads |= {"resampling", "studies", "tables", "wesad"}
    keeps = {"files", "ledger", "parallel", "provenance", "workers"}
    assert reached == learns | reads | keeps
