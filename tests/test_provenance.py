"""What a file was made from: told again as it was said, and nothing else taken for it."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from wearsynth.provenance import Origin, StaleFileError, has_origin, load_arrays, save_arrays

CHANGES = {"kind": "real", "sha256": "1" * 64, "key": "other", "promise": "under another promise"}


@pytest.fixture
def file(tmp_path, origin):
    save_arrays(tmp_path / "new" / "file.npz", origin, values=np.arange(6.0).reshape(2, 3), names=np.array(["a", "b"]))
    return tmp_path / "new" / "file.npz"


def test_arrays_come_back(file, origin):
    arrays = load_arrays(file, origin)
    assert arrays["values"].tolist() == [[0, 1, 2], [3, 4, 5]] and arrays["names"].tolist() == ["a", "b"]
    assert set(arrays) == {"values", "names"} and has_origin(file, origin)


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_of_another_origin_is_refused_and_the_notebook_named(file, origin, name):
    other = replace(origin, **{name: CHANGES[name]})
    with pytest.raises(StaleFileError, match=f"^{file}: comes from .*run 02-Model again$"):
        load_arrays(file, other)
    assert not has_origin(file, other)
    assert set(CHANGES) | {"made_by"} == set(asdict(origin))


def test_a_refusal_says_what_is_other(file, origin):
    with pytest.raises(StaleFileError, match="comes from simulated recordings"):
        load_arrays(file, replace(origin, kind="real"))


def test_no_damaged_file_is_read(file, origin):
    content = file.read_bytes()
    for damaged in [b"", b"no archive", *(content[:length] for length in range(1, len(content), 97))]:
        file.write_bytes(damaged)
        with pytest.raises(StaleFileError, match=f"^{file}: cannot be read"):
            load_arrays(file, origin)
    file.unlink()
    with pytest.raises(StaleFileError, match="is not there; run 02-Model"):
        load_arrays(file, origin)


def test_a_flipped_bit_is_noticed_or_changes_nothing(file, origin):
    content, expected = bytearray(file.read_bytes()), load_arrays(file, origin)
    for position in range(0, len(content), 5):
        content[position] ^= 0x10
        file.write_bytes(content)
        content[position] ^= 0x10
        if has_origin(file, origin):
            found = load_arrays(file, origin)
            assert all(np.array_equal(found[name], value) for name, value in expected.items() if name in found)


@pytest.mark.parametrize("hostile", [np.array([{}], dtype=object)])
def test_no_pickle_is_read(tmp_path, origin, hostile):
    save_arrays(tmp_path / "file.npz", origin, values=hostile)  # NumPy writes such an array as a pickle
    with pytest.raises(StaleFileError, match="cannot be read"):
        load_arrays(tmp_path / "file.npz", origin)


def test_the_sentence_tells_recordings_and_promise():
    origin = Origin("03-Generator", "real", "", "", "under (1, 0.0001)-differential privacy for one window")
    assert origin.sentence == (
        "synthetic, learned from real recordings under (1, 0.0001)-differential privacy for one window"
    )
