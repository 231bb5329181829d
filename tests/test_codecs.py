"""Windows as a few numbers each: descriptors of known windows, coordinates of the scale's own, and back again."""

import numpy as np
import pytest
from scipy.stats import kstest

from wearsynth import codecs
from wearsynth.codecs import GRID, CopulaCodec, DescriptorCodec, LevelCodec, make_prior, moments_of
from wearsynth.features import DESCRIPTORS, describe, simple_features
from wearsynth.generators import codec_of
from wearsynth.public import find_cohort
from wearsynth.simulation import simulate_table
from wearsynth.studies import read_study
from wearsynth.windows import EXTENDED, MIN_SECONDS, PUBLISHED, make_windows


@pytest.fixture(scope="module")
def people():
    return DescriptorCodec.from_table(simulate_table(3, seed=9), "extended", 60)


def test_descriptors_of_a_line_are_known():
    """0.2 to 0.8 in 60 s: mean 0.5, spread that of an even distribution, as far up as down, steps alike."""
    values = np.linspace(0.2, 0.8, 60)[None, :, None]
    found = dict(zip(DESCRIPTORS, describe(values)[0, 0]))
    spread = np.std(values)
    assert found["level"] == pytest.approx(0.5)
    assert found["spread"] == pytest.approx(np.log(spread))
    assert found["above"] == pytest.approx(found["below"]) == pytest.approx(np.log(0.3 / spread))
    assert found["slope"] == pytest.approx(0.3 / spread)
    assert found["roughness"] == pytest.approx(np.log(0.6 / 59 / spread))


def test_a_flat_signal_has_finite_descriptors(people):
    flat = np.full((3, 60, 9), 0.4, np.float32)
    assert np.isfinite(describe(flat)).all() and np.isfinite(people.encode(flat)).all()


def test_own_coordinates_are_standard_normal(make_toy_windows):
    """Of the windows that made the scale, in each coordinate."""
    windows = make_toy_windows(people=50, each=20)
    own = DescriptorCodec.from_windows(windows).encode(windows.values)
    # The scale's ends are pulled in, from 1 in 200 on either side, which takes a little of the spread.
    np.testing.assert_allclose(own.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(own.std(axis=0), 1, atol=0.03)
    assert max(kstest(column, "norm").statistic for column in own.T) < 0.02


def test_other_signals_and_length():
    people = DescriptorCodec.from_table(simulate_table(1, seed=9), "published", 30)
    assert people.signals == PUBLISHED and people.window_seconds == 30 and people.size == 36


def test_a_class_that_the_public_people_lack_is_class_0_moved_as_in_the_simulation():
    cohort, three = find_cohort("public"), read_study("wesad_three")
    prior = make_prior(cohort, "extended", 60, three)
    own = DescriptorCodec.from_table(cohort.table(), "extended", 60)
    assert set(prior.donors.labels) == {0, 1} and prior.shares == (0.548, 0.274, 0.178)
    np.testing.assert_array_equal(prior.covariances, own.covariances[[0, 1, 0]])
    table = find_cohort("simulated").table()
    windows = make_windows(table.assign(label=three.label(table["condition"])), "extended", "public", 60, 60)
    theirs, _ = moments_of(prior.encode(windows.values), windows.labels, (0, 1, 2))
    np.testing.assert_allclose(prior.means[2] - prior.means[0], theirs[2] - theirs[0], atol=1e-9)
    half = (own.means[1] - own.means[0] + theirs[1] - theirs[0]) / 2
    np.testing.assert_allclose(prior.means[1] - prior.means[0], half, atol=1e-9)
    assert make_prior(cohort, "extended", 60).means.shape == (2, prior.size)


def test_windows_encoded_in_parts_have_the_same_coordinates(people, monkeypatch):
    """Ten parts, of unlike size."""
    values = people.donors.scaled[:67]
    whole = people.encode(values)
    monkeypatch.setattr(codecs, "MOST_WINDOWS", 7)
    np.testing.assert_allclose(people.encode(values), whole, rtol=1e-9, atol=1e-9)  # but for rounding


def test_descriptors_come_back_from_coordinates(people):
    """Those of the prior's own minutes, but for the ends, where one in 200 is pulled in."""
    values = people.donors.scaled[::20]
    wanted, found = describe(values), people.descriptors(people.encode(values))
    spread = wanted.std(axis=0)
    assert np.quantile(np.abs(found - wanted) / spread, 0.95) < 0.02


@pytest.mark.parametrize("kind", ["levels", "copula"])
def test_a_codec_gives_windows(people, kind):
    codec = codec_of(kind, people)
    assert codec.signals == EXTENDED and codec.window_seconds == 60
    coordinates = np.random.default_rng(0).normal(size=(50, codec.size))
    values = codec.decode(coordinates, np.random.default_rng(1))
    assert values.shape == (50, 60, 9) and values.dtype == np.float32
    assert values.min() >= 0 and values.max() <= 1
    assert codec.encode(values).shape == (50, codec.size)
    assert codec.means.shape == (2, codec.size) and codec.covariances.shape == (2, codec.size, codec.size)
    np.testing.assert_array_equal(values, codec.decode(coordinates, np.random.default_rng(1)))


def test_the_contrast_is_halfway_to_other_peoples(people):
    others = make_windows(simulate_table(2, seed=3), "extended", "public", 60, 60)
    means, _ = moments_of(people.encode(others.values), others.labels, (0, 1))
    found = people.with_contrast(others)
    contrasts = [each[1] - each[0] for each in (people.means, means, found.means)]
    np.testing.assert_allclose(contrasts[2], (contrasts[0] + contrasts[1]) / 2)
    share = people.shares
    np.testing.assert_allclose(share @ found.means, share @ people.means)  # where all windows lie, stays


def test_levels_come_back():
    codec = LevelCodec(("EDA", "HR"), 40)
    coordinates = np.random.default_rng(0).uniform(-1.5, 1.5, (2000, 2))
    found = codec.encode(codec.decode(coordinates, np.random.default_rng(1)))
    # White noise of 0.05, mean over 40 s, in units of 0.2.
    assert np.std(found - coordinates) == pytest.approx(0.05 / np.sqrt(40) / 0.2, rel=0.05)


def test_the_copulas_parameters_come_back():
    """Of long windows, where an autocorrelation can be told; slopes and spreads small enough not to leave [0, 1]."""
    codec = CopulaCodec(("EDA", "HR"), 2000)
    coordinates = np.random.default_rng(0).uniform(-1, 1, (100, 8)) * np.tile([1, 0.5, 0.3, 1], 2)
    found = codec.encode(codec.decode(coordinates, np.random.default_rng(1)))
    assert np.abs(found - coordinates).mean(axis=0).reshape(2, 4).max() < 0.25
    assert np.corrcoef(found.T, coordinates.T).diagonal(8).min() > 0.9


def test_moments_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    coordinates, labels = rng.normal(size=(50, 3)), rng.integers(2, size=50)
    means, covariances = moments_of(coordinates, labels, (0, 1))
    classes = [coordinates[labels == label] for label in (0, 1)]
    np.testing.assert_allclose(means, [each.mean(axis=0) for each in classes])
    for found, each in zip(covariances, classes):
        within = each - each.mean(axis=0)
        np.testing.assert_allclose(found, sum(np.outer(row, row) for row in within) / len(each))


def test_people_come_back_from_a_file(people, tmp_path, origin):
    people.save(tmp_path / "people.npz", origin)
    loaded = DescriptorCodec.load(tmp_path / "people.npz", origin)
    assert loaded.signals == people.signals and loaded.window_seconds == people.window_seconds
    np.testing.assert_array_equal(people.donors.scaled, loaded.donors.scaled)
    np.testing.assert_array_equal(people.donors.people, loaded.donors.people)
    values = people.donors.scaled[:4]
    np.testing.assert_array_equal(people.encode(values), loaded.encode(values))
    assert len(people.quantiles) == len(GRID) and (np.diff(people.quantiles, axis=0) > 0).all()


def test_the_shortest_windows_can_be_made():
    people = DescriptorCodec.from_table(simulate_table(1, seed=9), "extended", MIN_SECONDS)
    assert people.donors.scaled.shape[1:] == (MIN_SECONDS, 9)
    assert simple_features(people.donors.scaled).shape == (len(people.donors), 54)
