"""Generators: what they draw, what their training reads, whether it learns and repeats, how a budget is divided."""

import math
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from promises import WithNoise

from wearsynth import generators, networks
from wearsynth.codecs import DescriptorCodec
from wearsynth.generators import KINDS, Generator, Plan, codec_of, fit, plan
from wearsynth.privacy import Promise
from wearsynth.releases import Moments
from wearsynth.sessions import draw_people
from wearsynth.studies import Part
from wearsynth.windows import EXTENDED, scale

SIGNALS, SCHEDULE = ("EDA", "HR"), (Part("baseline", 320, 0), Part("stress", 320, 1))


@pytest.fixture
def untrained(toy_codec):
    tf.keras.utils.set_random_seed(0)
    return Generator(
        toy_codec, Moments(toy_codec.means, toy_codec.covariances), networks.residual_generator(toy_codec.size)
    )


def with_noise(promise, noise_multiplier):
    """The promise with another noise than its own."""
    return WithNoise(**asdict(promise), noise=noise_multiplier)


def train(windows, promise, kind, prior, seed, noise_seed=None, joint=False):
    """Trains with all the steps that there are, however little they would learn."""
    planned = Plan(kind, promise, codec_of(kind, prior), None, joint)
    return generators.train(windows, planned, seed, noise_seed)


def weights(training):
    return np.concatenate([np.ravel(weight) for weight in training.network.get_weights()])


def test_an_untrained_network_leaves_the_moments_as_they_are(untrained, toy_codec):
    """It adds next to nothing: coordinates have the codec's moments, up to the spread of a mean of 4000."""
    noise, labels = np.random.default_rng(0).standard_normal((8000, toy_codec.size)), np.repeat([0, 1], 4000)
    coordinates = untrained.coordinates(noise, labels)
    for label in (0, 1):
        np.testing.assert_allclose(coordinates[labels == label].mean(axis=0), toy_codec.means[label], atol=0.08)


@pytest.fixture(scope="module")
def training(make_toy_windows, toy_codec):
    """A few steps without privacy."""
    return train(make_toy_windows(), Promise(epsilon=math.inf, steps=15), "cgan", toy_codec, seed=0)


@pytest.mark.parametrize(
    "kind", [pytest.param(name, marks=[pytest.mark.slow] if name == "lstm" else []) for name in KINDS]
)
def test_a_saved_training_comes_back(make_toy_windows, toy_codec, tmp_path, origin, kind):
    share = KINDS[kind].release_share
    training = fit(make_toy_windows(), Promise(epsilon=math.inf, steps=15), kind, toy_codec)
    training.save(tmp_path / "new.npz", origin)
    loaded = Generator.load(tmp_path / "new.npz", kind, toy_codec, origin)
    assert (loaded.steps, loaded.seeded) == (training.steps, training.seeded) == (15 if share < 1 else 0, True)
    np.testing.assert_array_equal(loaded.fake_loss, training.fake_loss.astype(np.float32))
    pd.testing.assert_frame_equal(*(draw_people(each, 2, SCHEDULE, seed=2) for each in (training, loaded)))


def test_without_privacy_the_seed_repeats_the_training(training, make_toy_windows, toy_codec):
    promise = Promise(epsilon=math.inf, steps=15)
    again, other = (train(make_toy_windows(), promise, "cgan", toy_codec, seed) for seed in (0, 1))
    np.testing.assert_array_equal(weights(training), weights(again))
    np.testing.assert_array_equal(training.fake_loss, again.fake_loss)
    pd.testing.assert_frame_equal(*(draw_people(each, 2, SCHEDULE) for each in (training, again)))
    assert not np.array_equal(weights(training), weights(other))


def test_a_private_training_repeats_for_nobody_and_a_seeded_one_says_so(make_toy_windows, toy_codec):
    windows, promise = make_toy_windows(), with_noise(Promise(steps=4), 50.0)
    first, second = (train(windows, promise, "cgan", toy_codec, seed=0) for _ in range(2))
    seeded = train(windows, promise, "cgan", toy_codec, seed=0, noise_seed=7)
    assert not np.array_equal(weights(first), weights(second))
    assert seeded.seeded and not first.seeded
    assert seeded.steps == first.steps == promise.steps == len(first.fake_loss)


def test_noise_and_windows_reach_the_generator(make_toy_windows, toy_codec, untrained):
    """Same seeds, everybody drawn; a million times the noise must lead elsewhere, and hardly any must not."""

    def trained(noise, seed=0):
        promise = with_noise(Promise(sampling_probability=1.0, steps=10), noise)
        return weights(train(make_toy_windows(seed=seed), promise, "cgan", toy_codec, seed=0, noise_seed=7))

    silent, faint, loud = (trained(noise) for noise in (0.0, 1e-9, 1e6))
    start = np.concatenate([np.ravel(weight) for weight in untrained.network.get_weights()])
    moved = np.linalg.norm(silent - start)
    assert np.linalg.norm(loud - silent) > 0.1 * moved
    assert np.linalg.norm(faint - silent) < 0.01 * moved
    assert not np.array_equal(trained(0.0, seed=9), silent)


@pytest.mark.parametrize("unit", ["window", "subject"])
@pytest.mark.parametrize("joint", [False, True])
def test_nothing_but_the_mechanism_reads_the_windows(make_toy_windows, toy_codec, unit, joint):
    """Where no unit is ever drawn, all that counts of windows is their number: others lead to the same generator."""
    windows = make_toy_windows()
    others = replace(make_toy_windows(seed=9), labels=1 - windows.labels)
    never = with_noise(Promise(unit, sampling_probability=1e-12, steps=8), 1e-9)  # finite: a step divides by 1e-12
    blind = [weights(train(each, never, "cgan", toy_codec, 0, noise_seed=7, joint=joint)) for each in (windows, others)]
    np.testing.assert_array_equal(*blind)


def class_means(values, labels):
    return np.array([values[labels == label].reshape(-1, len(SIGNALS)).mean(axis=0) for label in (0, 1)])


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "lstm"])
def test_training_finds_the_levels_of_the_classes(make_toy_windows, toy_codec, kind):
    """Two signals, at 0.3 without stress and 0.7 under it; in the prior both classes lie near 0.5."""
    real = make_toy_windows(people=6, each=20)
    promise = Promise(epsilon=math.inf, clip_norm=1.0, steps=2000)
    table = draw_people(fit(real, promise, kind, toy_codec), 10, SCHEDULE).dropna()
    found = class_means(scale(table, SIGNALS, "public"), table["label"])
    # A unit's vector that is longer than most is clipped, which takes some of the difference away.
    assert np.abs(found - class_means(real.values, real.labels)).max() < 0.1


def test_the_budget_is_divided_by_one_rule(make_toy_windows):
    """Four fifths for the release; all of it for the release where the steps would learn nothing."""
    prior = DescriptorCodec.from_windows(make_toy_windows(signals=EXTENDED))
    for kind, share in {"cgan": 0.0, "released": 1.0, "levels": 1.0, "copula": 1.0}.items():
        assert plan(Promise(delta=1e-3), kind, prior, 1).promise.release_share == share
    for promise, n_units, share in (
        (Promise(), 1042, 0.8),
        (Promise(epsilon=0.1), 1042, 1.0),
        (Promise(epsilon=0.1, delta=9e-5), 10420, 0.8),
        (Promise("subject", 10.0, 1e-3), 15, 1.0),
        (Promise(epsilon=math.inf), 1, 0.8),
    ):
        assert plan(promise, "steered", prior, n_units).promise.release_share == share
    for promise, n_units, joint in (
        (Promise(epsilon=math.inf), 1, True),
        (Promise(epsilon=10.0), 1042, True),
        (Promise(), 1042, False),
        (Promise("subject", 10.0, 1e-3), 15, False),
    ):
        assert plan(promise, "cgan", prior, n_units).joint == joint
        assert not plan(promise, "steered", prior, n_units).joint  # what a release says need not be seen
    with pytest.raises(ValueError, match="generator='gan'"):
        plan(Promise(), "gan", prior, 1)


@pytest.mark.parametrize(
    ("unit", "delta", "n_units"), [("window", 1e-4, 10_000), ("subject", 0.1, 15), ("subject", 0.999, 2)]
)
def test_a_delta_that_would_allow_to_publish_somebody_is_refused(toy_codec, unit, delta, n_units):
    """A mechanism that publishes each unit with probability delta, and nothing else, keeps (0, delta)."""
    with pytest.raises(
        ValueError, match=f"delta={delta}: expected less than one over the number of units, 1/{n_units}"
    ):
        plan(Promise(unit, 1.0, delta), "released", toy_codec, n_units)
    plan(Promise(unit, 1.0, 0.9 / n_units), "released", toy_codec, n_units)
    plan(Promise(unit, math.inf, delta), "released", toy_codec, n_units)  # without privacy there is no delta
