"""Workers: two processes against one that has everybody, and their noise against its distribution."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import worker

from wearsynth.workers import Workers

SCRIPT = Path(worker.__file__)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of the two workers found."""
    folder, sockets = tmp_path_factory.mktemp("workers"), [socket.create_server(("localhost", 0)) for _ in range(2)]
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])}
    running = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(index), *ports, folder / f"{index}.npz"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        faults = [each.communicate(timeout=300)[1] for each in running]
    finally:
        for each in running:
            each.kill()
    assert [each.returncode for each in running] == [0, 0], faults
    return [dict(np.load(folder / f"{index}.npz")) for index in range(2)]


@pytest.mark.parametrize("unit", worker.UNITS)
def test_their_clipped_sums_add_up_to_that_of_everybody(both, unit):
    """Five people at one, two at the other. In single precision."""
    for part, expected in enumerate(worker.noiseless(worker.people(), unit)):
        for own in both:
            np.testing.assert_allclose(own[f"{unit} {part}"], expected, rtol=1e-4, atol=1e-7)


def test_there_is_one_noise_for_all_as_large_as_accounted(both):
    """With a noise of each worker's own its deviation would be 1.41 times that. 20,000 draws: five standard errors."""
    found = both[0]["noise"]
    expected = worker.PROMISE.noise_multiplier * worker.PROMISE.clip_norm / (7 * worker.PROMISE.sampling_probability)
    assert found.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * found.size))
    assert len(np.unique(found)) > 0.99 * found.size  # no step repeats another's
    np.testing.assert_array_equal(found, both[1]["noise"])


def test_each_draws_among_its_own_units_and_all_are_divided_by_the_expected_number(both):
    """The mean over steps is the gradient of everybody; of some 400 weights' z-scores none is above five."""
    expected = worker.noiseless(worker.people(), "window")[0].numpy()[:, 0]
    mean, deviation = both[0]["drawn mean"], both[0]["drawn deviation"]
    scores = (mean - expected) / (deviation / np.sqrt(worker.N_DRAWN))
    assert (deviation > 0).all() and np.abs(scores).max() < 5


@pytest.mark.parametrize("unit", worker.UNITS)
def test_a_release_is_that_of_everybody(both, unit):
    expected = worker.released(worker.people(), unit)
    for own in both:
        np.testing.assert_allclose(own[f"{unit} means"], expected.means, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(own[f"{unit} covariances"], expected.covariances, rtol=1e-9, atol=1e-12)


def test_all_end_with_the_same_generator(both):
    weights = [name for name in both[0] if name.startswith("weights")]
    assert weights
    for name in weights:
        np.testing.assert_array_equal(both[0][name], both[1][name])


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("same name", "S2: at two workers; all of a person's windows belong to one"),
        ("nobody", "a worker has no windows"),
        ("other seed", "another worker has other settings than these: Promise("),
        ("other epsilon", "another worker has other settings than these: Promise("),
        ("other prior", "another worker has other settings than these: Promise("),
        ("no promise", "epsilon=inf: workers train together under a promise only"),
    ],
)
def test_what_would_break_the_promise_is_refused_by_all(both, name, fault):
    for own in both:
        assert str(own[name]).startswith(fault)


def test_a_process_alone_is_no_worker(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG names no two workers"):
        Workers()
