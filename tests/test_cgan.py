"""The conditional GAN: what its output is made of, what its training reads, and whether it learns and repeats."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from wearsynth import cgan
from wearsynth.cgan import (
    Generator,
    Training,
    build_network,
    by_class,
    n_discriminator_weights,
    second_by_second,
    train,
)
from wearsynth.codecs import choose_codec
from wearsynth.privacy import RELEASE_SHARES, Promise
from wearsynth.releases import Moments
from wearsynth.windows import STRESS_SHARE

SECONDS, SIGNALS = 16, ("EDA", "HR")


@pytest.fixture
def untrained(toy_codec):
    tf.keras.utils.set_random_seed(0)
    return Generator(toy_codec, Moments(toy_codec.means, toy_codec.covariances), build_network(toy_codec))


def with_noise(promise, noise_multiplier):
    """The promise with another noise than its own: only a test may."""
    vars(promise)["noise_multiplier"] = noise_multiplier
    return promise


def weights(training):
    return np.concatenate([np.ravel(weight) for weight in training.generator.network.get_weights()])


def test_samples_are_windows_in_the_public_share(make_toy_windows, untrained):
    generator = untrained
    for n_windows in (1, 10, 101):
        windows = generator.sample(n_windows, seed=1)
        assert windows.values.shape == (n_windows, SECONDS, len(SIGNALS))
        assert windows.values.dtype == np.float32 and windows.signals == SIGNALS
        assert (windows.values >= 0).all() and (windows.values <= 1).all()
        assert windows.labels.sum() == round(STRESS_SHARE * n_windows)
        assert set(windows.labels) <= {0, 1} and set(windows.subjects) == {"synthetic"}
        assert windows.values.dtype == make_toy_windows().values.dtype
    assert 0 < windows.labels[: len(windows) // 2].sum() < windows.labels.sum()  # mixed, not stress first


def test_training_sees_what_is_sampled(untrained):
    """The same noise gives the same coordinates in NumPy, which samples, and in TensorFlow, which learns."""
    rng, size = np.random.default_rng(0), untrained.codec.size
    moments = Moments(rng.normal(size=(2, size)), np.stack([np.cov(rng.normal(size=(size, 50))) for _ in range(2)]))
    generator = replace(untrained, moments=moments)
    noise, labels = rng.normal(size=(20, size)), rng.integers(2, size=20)
    inputs = [noise.astype(np.float32), labels[:, None].astype(np.float32)]
    half = cgan._PublicHalf(cgan.OWN, generator, cgan.build_discriminator(untrained.codec), 1.0)
    expected = moments(noise, labels) + untrained.network(inputs).numpy()
    np.testing.assert_allclose(half._coordinates(*inputs), expected, atol=1e-4)


def test_samples_repeat_with_the_seed_only(untrained):
    generator = untrained
    first, again, other = (generator.sample(20, seed).values for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_untrained_network_leaves_the_moments_as_they_are(untrained, toy_codec):
    """It adds next to nothing: what is drawn has the codec's moments, up to the spread of a mean of 4000 windows."""
    windows = untrained.sample(4000, 0)
    coordinates = toy_codec.encode(windows.values)
    for label in (0, 1):
        difference = coordinates[windows.labels == label].mean(axis=0) - toy_codec.means[label]
        # Levels and spreads; shapes are chosen among few here, whose descriptors are only near.
        np.testing.assert_allclose(difference.reshape(2, -1)[:, :2], 0, atol=0.15)


def test_what_the_discriminator_sees_is_by_class(toy_codec):
    coordinates = tf.constant([[1.0, -2.0], [3.0, 0.0]])
    np.testing.assert_allclose(
        by_class(toy_codec, coordinates, tf.constant([[1.0], [0.0]])),
        [[1, -2, 0, 1.5, 0, 0, 0, 0, 1], [0, 0, 0, 0, 3, 0, 4, -0.5, 0]],
    )
    assert n_discriminator_weights(toy_codec) == 4 * toy_codec.size + 2


@pytest.fixture(scope="module")
def training(make_toy_windows, toy_codec):
    """A few steps without privacy."""
    return train(make_toy_windows(), Promise(epsilon=math.inf, steps=15), toy_codec, seed=0)


@pytest.mark.parametrize("generator", RELEASE_SHARES)
def test_a_saved_training_comes_back(make_toy_windows, toy_codec, tmp_path, origin, generator):
    codec, share = choose_codec(generator, toy_codec), RELEASE_SHARES[generator]
    training = train(make_toy_windows(), Promise(epsilon=math.inf, steps=15, release_share=share), codec, seed=0)
    training.save(tmp_path / "new.npz", origin)
    loaded = Training.load(tmp_path / "new.npz", codec, origin)
    assert (loaded.steps, loaded.seeded) == (training.steps, training.seeded) == (15 if share < 1 else 0, True)
    np.testing.assert_array_equal(loaded.fake_loss, training.fake_loss.astype(np.float32))
    first, second = (each.generator.sample(9, seed=2) for each in (training, loaded))
    for field in ("values", "labels", "subjects", "signals"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


def test_without_privacy_the_seed_repeats_the_training(training, make_toy_windows, toy_codec):
    promise = Promise(epsilon=math.inf, steps=15)
    again, other = (train(make_toy_windows(), promise, toy_codec, seed) for seed in (0, 1))
    np.testing.assert_array_equal(weights(training), weights(again))
    np.testing.assert_array_equal(training.fake_loss, again.fake_loss)
    np.testing.assert_array_equal(training.generator.sample(9, 0).values, again.generator.sample(9, 0).values)
    assert not np.array_equal(weights(training), weights(other))


def test_a_private_training_repeats_for_nobody_and_a_seeded_one_says_so(make_toy_windows, toy_codec):
    windows, promise = make_toy_windows(), with_noise(Promise(steps=4), 50.0)
    first, second = (train(windows, promise, toy_codec, seed=0) for _ in range(2))
    seeded = train(windows, promise, toy_codec, seed=0, noise_seed=7)
    assert not np.array_equal(weights(first), weights(second))
    assert seeded.seeded and not first.seeded
    assert seeded.steps == first.steps == promise.steps == len(first.fake_loss)


def test_noise_and_windows_reach_the_generator(make_toy_windows, toy_codec, untrained):
    """Same seeds, everybody drawn; a million times the noise must lead elsewhere, and hardly any must not."""

    def trained(noise, seed=0):
        promise = with_noise(Promise(sampling_probability=1.0, steps=10), noise)
        return weights(train(make_toy_windows(seed=seed), promise, toy_codec, seed=0, noise_seed=7))

    silent, faint, loud = (trained(noise) for noise in (0.0, 1e-9, 1e6))
    start = np.concatenate([np.ravel(weight) for weight in untrained.network.get_weights()])
    moved = np.linalg.norm(silent - start)
    assert np.linalg.norm(loud - silent) > 0.1 * moved
    assert np.linalg.norm(faint - silent) < 0.01 * moved
    assert not np.array_equal(trained(0.0, seed=9), silent)


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_nothing_but_the_mechanism_reads_the_windows(make_toy_windows, toy_codec, unit):
    """Where no unit is ever drawn, all that counts of windows is their number: others lead to the same generator."""
    windows = make_toy_windows()
    others = replace(make_toy_windows(seed=9), labels=1 - windows.labels)
    never = with_noise(Promise(unit, sampling_probability=1e-12, steps=8), 1e-9)  # finite: a step divides by 1e-12
    blind = [weights(train(each, never, toy_codec, seed=0, noise_seed=7)) for each in (windows, others)]
    np.testing.assert_array_equal(*blind)


def class_means(windows):
    return np.array([windows.values[windows.labels == label].mean(axis=(0, 1)) for label in (0, 1)])


@pytest.mark.parametrize("generator", [name for name in RELEASE_SHARES if name != "lstm"])
def test_training_finds_the_levels_of_the_classes(make_toy_windows, toy_codec, generator):
    """Two signals, at 0.3 without stress and 0.7 under it; beforehand both classes lie near 0.5."""
    real, codec = make_toy_windows(people=6, each=20), choose_codec(generator, toy_codec)
    promise = Promise(epsilon=math.inf, clip_norm=1.0, steps=2000, release_share=RELEASE_SHARES[generator])
    found = class_means(train(real, promise, codec, seed=0).generator.sample(500, 0))
    # A unit's vector that is longer than most is clipped, which takes some of the difference away.
    assert np.abs(found - class_means(real)).max() < 0.1


def test_the_published_discriminator_is_clipped_and_learns_to_tell(make_toy_windows, toy_codec):
    """Two LSTMs, every second on its own; it takes many more steps than a test has to make windows by it."""
    codec, windows = choose_codec("lstm", toy_codec), make_toy_windows()
    assert codec.decode(codec.encode(windows.values), np.random.default_rng(0)).tolist() == windows.values.tolist()
    shown = second_by_second(codec, codec.encode(windows.values), windows.labels[:, None].astype(np.float32)).numpy()
    np.testing.assert_array_equal(shown[..., :2], windows.values)
    np.testing.assert_array_equal(shown[..., 2], np.repeat(windows.labels[:, None], SECONDS, axis=1))
    training = train(windows, Promise(epsilon=math.inf, clip_norm=1.0, steps=60), codec, seed=0)
    assert training.fake_loss[-10:].mean() < training.fake_loss[:10].mean()
    drawn = training.generator.sample(20, 0)
    assert drawn.values.shape == (20, SECONDS, 2) and drawn.values.std() > 0
