"""Donors: public minutes, whichever way round they are worn, and which of them are near what is asked for."""

import numpy as np
import pandas as pd
import pytest

from wearsynth import donors
from wearsynth.donors import ACCELERATION, Donors, rotations
from wearsynth.features import describe
from wearsynth.public import DEMONSTRATION, demonstration, expect_others, find_cohort, halves
from wearsynth.recordings import RecordingError
from wearsynth.simulation import simulate_table
from wearsynth.windows import EXTENDED, make_windows


@pytest.fixture(scope="module")
def table():
    """Three of the public people."""
    table = find_cohort("public").table()
    return table[table["subject"].isin(["S2", "S3", "S4"])].reset_index(drop=True)


@pytest.fixture(scope="module")
def minutes(table):
    return Donors.from_table(table, "extended", 60, 30)


def test_rotations_turn_one_direction_to_the_other_and_lengthen_nothing():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 50, 3))
    end[:5] = -start[:5]  # straight behind
    found = rotations(start, end)
    np.testing.assert_allclose(found @ found.swapaxes(1, 2), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(found), 1)
    direction = np.einsum("nij,nj->ni", found, start / np.linalg.norm(start, axis=1, keepdims=True))
    np.testing.assert_allclose(direction, end / np.linalg.norm(end, axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(rotations(start, start), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-9)


def test_as_worn_they_are_the_windows_that_make_windows_cuts(table, minutes):
    windows = make_windows(table, "extended", "public", 60, 30)
    assert len(minutes) == 2 * len(windows)
    np.testing.assert_allclose(minutes.windows.values, windows.values, atol=1e-5)
    np.testing.assert_array_equal(minutes.labels, windows.labels)
    np.testing.assert_allclose(minutes.unscale(minutes.scale(minutes.physical[:9])), minutes.physical[:9], atol=1e-4)


def test_the_other_way_round_x_and_y_change_sign_and_nothing_else(minutes):
    one, other = np.split(minutes.physical, 2)
    signs = np.where(np.isin(EXTENDED, ACCELERATION[:2]), -1, 1)
    np.testing.assert_array_equal(other, one * signs)
    scaled, of_other = np.split(minutes.scaled, 2)
    np.testing.assert_allclose(of_other, np.where(signs < 0, 1 - scaled, scaled), atol=1e-5)


def test_the_nearest_donor_of_a_minute_is_the_minute(minutes):
    """Of all signals that move together, whichever way round, and of each signal with donors of its own."""
    wanted = describe(minutes.scaled[::7])
    query = minutes.query(wanted, minutes.acceleration_of(wanted))
    _, found = minutes.together.kneighbors(query, 1)
    # Some accelerations are cut off on the public scale, so that a few others may come as near.
    assert (found[:, 0] == np.arange(len(minutes))[::7]).mean() > 0.99
    for signal, (index, unit) in minutes.alone.items():
        _, found = index.kneighbors(describe(minutes.windows.values)[:, signal] / unit, 1)
        assert (found[:, 0] == np.arange(len(minutes.starts))).mean() > 0.99


def test_acceleration_is_asked_for_as_a_vector(minutes):
    """In g, of minutes' own descriptors: where gravity points, and how far they stray."""
    inside = np.flatnonzero(((minutes.scaled > 0) & (minutes.scaled < 1)).all(axis=(1, 2)))
    found = minutes.acceleration_of(describe(minutes.scaled[inside]))
    gravity = minutes.vectors[inside].mean(axis=1)
    np.testing.assert_allclose(found.direction, gravity / np.linalg.norm(gravity, axis=1, keepdims=True), atol=1e-3)
    strays = np.sqrt(((minutes.vectors[inside] - gravity[:, None]) ** 2).sum(axis=2).mean(axis=1))
    still = strays < 0.01  # an axis that hardly moves has the least spread that is described
    np.testing.assert_allclose(np.exp(found.movement)[~still], strays[~still] + donors.LEAST_MOVEMENT, rtol=0.05)


def test_windows_without_acceleration_have_donors_too(make_toy_windows):
    windows = make_toy_windows()
    library = Donors.from_windows(windows)
    assert library.turns == 1 and len(library) == len(windows)
    np.testing.assert_allclose(library.scaled, windows.values, atol=1e-6)
    assert not library.acceleration and library.together.n_samples_fit_ == len(windows)


def test_the_embedded_cohort_is_whole(table):
    cohort = find_cohort("public")
    everybody = cohort.table()
    assert everybody["subject"].nunique() == 24 and len(everybody) == 79369
    assert set(everybody["label"].dropna()) == {0, 1}
    # The norm of the acceleration at rest is gravity's.
    at_rest = everybody[everybody["ACC_movement"] < 0.005]
    assert np.median(np.linalg.norm(at_rest[list(ACCELERATION)], axis=1)) == pytest.approx(1, abs=0.05)
    assert "10.3390/s22218135" in cohort.sentence and "MIT" in cohort.sentence


def test_nobody_is_learned_from_and_in_the_prior(table):
    others = simulate_table(2, seed=0)
    expect_others(others, find_cohort("public"))
    left_out = table[table["subject"] == "S3"].assign(subject="S9")  # of those that the simulation is tested on
    expect_others(left_out, find_cohort("simulated"))
    everybody = ", ".join(table.loc[table["subject"].isin(halves()[0]["subject"]), "subject"].unique())
    said = (
        f"^{everybody}: in the simulation, which is a part of every prior, as {everybody}, and so cannot be protected"
    )
    with pytest.raises(RecordingError, match=said):
        expect_others(table, find_cohort("simulated"))
    both = pd.concat([others, left_out.assign(EDA=left_out["EDA"] + 1e-4)])
    with pytest.raises(
        RecordingError, match="^S9: in the prior 'public' as S3, and so cannot be protected; leave S9 out"
    ):
        expect_others(both, find_cohort("public"))


def test_the_demonstration_cohort_is_in_no_prior_of_its_runs():
    table, cohort = demonstration(), find_cohort("public", "public")
    assert set(table["subject"]) == {*DEMONSTRATION} <= set(halves()[1]["subject"])
    assert set(cohort.table()["subject"]) == set(find_cohort("public").table()["subject"]) - {*DEMONSTRATION}
    assert cohort.sentence.startswith("18 of the 24 people") and cohort.key != find_cohort("public").key
    expect_others(table, cohort)
    with pytest.raises(RecordingError, match="^S5, S9, S13, .*: in the prior 'public' as S5, S9, S13,"):
        expect_others(table, find_cohort("public"))


def test_a_cohort_of_the_users_own_and_none(tmp_path, table):
    path = tmp_path / "mine.csv"
    table.to_csv(path, index=False)
    cohort = find_cohort(str(path))
    pd.testing.assert_frame_equal(cohort.table(), table)
    assert "mine.csv" in cohort.sentence and cohort.key != find_cohort("public").key != find_cohort("simulated").key
    with pytest.raises(ValueError, match="prior='nobody': expected 'public', 'simulated', or a folder or table"):
        find_cohort("nobody")
