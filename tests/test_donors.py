"""Donors: minutes are moved as vectors and by gain, keep what is theirs, and leave no flat stretches."""

import numpy as np
import pandas as pd
import pytest

from wearsynth import donors
from wearsynth.donors import ACCELERATION, Donors, rotations
from wearsynth.features import describe
from wearsynth.public import expect_others, find_cohort
from wearsynth.recordings import RecordingError
from wearsynth.simulation import simulate_table
from wearsynth.windows import EXTENDED, SCALINGS, make_windows


@pytest.fixture(scope="module")
def table():
    """Three of the public people."""
    table = find_cohort("public").table()
    return table[table["subject"].isin(["S2", "S3", "S4"])].reset_index(drop=True)


@pytest.fixture(scope="module")
def minutes(table):
    return Donors.from_table(table, "extended", "subject", 60, 30)


def turned(values, rotation):
    return np.einsum("nij,ntj->nti", rotation, values)


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


@pytest.mark.parametrize("scaling", SCALINGS)
def test_as_worn_they_are_the_windows_that_make_windows_cuts(table, scaling):
    found = Donors.from_table(table, "extended", scaling, 60, 30)
    windows = make_windows(table, "extended", scaling, 60, 30)
    assert len(found) == 2 * len(windows)
    np.testing.assert_allclose(found.scaled[: len(windows)], windows.values, atol=1e-5)
    np.testing.assert_array_equal(found.labels, windows.labels)


def test_the_other_way_round_x_and_y_change_sign_and_nothing_else(minutes):
    one, other = np.split(minutes.physical, 2)
    signs = np.where(np.isin(EXTENDED, ACCELERATION[:2]), -1, 1)
    np.testing.assert_array_equal(other, one * signs)
    scaled, of_other = np.split(minutes.scaled, 2)
    np.testing.assert_allclose(of_other, np.where(signs < 0, 1 - scaled, scaled), atol=1e-5)


def test_what_a_minute_is_like_is_what_it_becomes(minutes):
    """Asked for its own descriptors, a minute or one like it comes back: level and spread above all."""
    wanted = describe(minutes.scaled[::7])
    found = describe(minutes.move(wanted, np.random.default_rng(0)))
    for number, signal in enumerate(EXTENDED):
        if signal not in ACCELERATION:
            # What is drawn in at the ends of the scale moves its mean a little.
            np.testing.assert_allclose(found[:, number, 0], wanted[:, number, 0], atol=0.05)
            assert np.median(np.abs(found - wanted)[:, number, 1]) < 0.05


def test_acceleration_is_turned_and_scaled_as_a_vector(minutes):
    """Beside the donors', its distances from its mean are those times one factor: no axis is moved by itself."""
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(minutes), size=40)
    wanted = describe(minutes.scaled[rng.permutation(chosen)])
    acceleration = minutes._acceleration_of(wanted, rng)
    found = minutes._turned(chosen, acceleration)
    donor = minutes.vectors[chosen]
    lengths, own = (np.linalg.norm(each - each.mean(axis=1, keepdims=True), axis=2) for each in (found, donor))
    factor = (lengths * own).sum(axis=1) / (own**2).sum(axis=1)
    np.testing.assert_allclose(lengths, factor[:, None] * own, atol=1e-9)
    assert (np.abs(np.log(factor)) <= donors.MOST_GAIN + 1e-9).all()
    np.testing.assert_allclose(np.linalg.norm(found.mean(axis=1), axis=1), np.linalg.norm(donor.mean(axis=1), axis=1))
    gravity = found.mean(axis=1) / np.linalg.norm(found.mean(axis=1), axis=1, keepdims=True)
    np.testing.assert_allclose(gravity, acceleration.direction, atol=1e-6)


def test_signals_that_move_together_come_from_one_minute(minutes):
    """Of each signal but those with donors of their own, the shape is that of one and the same minute."""
    wanted = describe(minutes.scaled[:20])
    found = minutes.move(wanted, np.random.default_rng(1))
    together = [number for number, name in enumerate(EXTENDED) if name not in (*ACCELERATION, *donors.OF_THEIR_OWN)]

    def shapes(values):
        centred = values[..., together] - values[..., together].mean(axis=1, keepdims=True)
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)

    library, ours = shapes(minutes.scaled.astype(float)), shapes(found.astype(float))
    alike = np.einsum("nts,mts->nms", ours, library)
    best = alike.mean(axis=2).argmax(axis=1)
    # Drawn in at the ends of the scale, some signals change their shape a little.
    assert np.median(alike[np.arange(20), best], axis=0).min() > 0.99


def test_what_leaves_the_scale_is_drawn_in_and_not_cut_off():
    values = np.random.default_rng(0).normal(0.8, 0.2, (30, 60, 2))
    found = donors._drawn_in(values, together=False)
    assert found.min() >= 0 and found.max() <= 1
    assert (np.diff(found, axis=1) != 0).all()  # nothing is flat
    np.testing.assert_allclose(found[values.max(axis=(1, 2)) < 1], values[values.max(axis=(1, 2)) < 1])


def test_windows_without_acceleration_have_donors_too(make_toy_windows):
    windows = make_toy_windows()
    library = Donors.from_windows(windows)
    assert library.turns == 1 and len(library) == len(windows)
    np.testing.assert_allclose(library.scaled, windows.values, atol=1e-6)
    moved = library.move(describe(windows.values), np.random.default_rng(0))
    assert moved.shape == windows.values.shape and moved.min() >= 0 and moved.max() <= 1


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
    with pytest.raises(RecordingError, match="^S2: is S2 of the simulation, which is a part of every prior"):
        expect_others(table, find_cohort("simulated"))
    both = pd.concat([others, left_out.assign(EDA=left_out["EDA"] + 1e-4)])
    with pytest.raises(
        RecordingError, match="^S9: is S3 of the prior 'public' and so cannot be protected; leave S9 out"
    ):
        expect_others(both, find_cohort("public"))


def test_a_cohort_of_the_users_own_and_none(tmp_path, table):
    path = tmp_path / "mine.csv"
    table.to_csv(path, index=False)
    cohort = find_cohort(str(path))
    pd.testing.assert_frame_equal(cohort.table(), table)
    assert "mine.csv" in cohort.sentence and cohort.key != find_cohort("public").key != find_cohort("simulated").key
    with pytest.raises(ValueError, match="prior='nobody': expected 'public', 'simulated', or a folder or table"):
        find_cohort("nobody")


def test_no_window_is_one_persons_minute(table):
    """Skin temperature and heart rate are those of other people than the rest, unless nobody else is near."""
    minutes, rng = Donors.from_table(table, "extended", "subject", 60, 6), np.random.default_rng(0)
    rest = rng.integers(len(minutes), size=500)
    people = minutes.people[rest % len(minutes.starts)]
    wanted = describe(minutes.scaled[rest])  # the very donor's: nobody is nearer, and yet somebody else is taken
    for signal in map(EXTENDED.index, donors.OF_THEIR_OWN):
        chosen = minutes._somebody_else(rest, signal, wanted[:, signal], rng)
        assert (minutes.people[chosen] != people).mean() > 0.6  # of three, whose neighbours overlap
    alone = Donors.from_table(table[table["subject"] == "S2"], "extended", "subject", 60, 30)
    assert alone.move(describe(alone.scaled[:5]), rng).shape == (5, 60, len(EXTENDED))
