"""The conditional GAN: what its output is made of, what its training reads, and whether it learns and repeats."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from scipy.fft import dct
from scipy.special import logit

from wearsynth import cgan
from wearsynth.cgan import SLOW_WAVES, STRESS_SHARE, Generator, Training, build_generator, train
from wearsynth.privacy import Promise
from wearsynth.windows import MIN_SECONDS

SECONDS, SIGNALS = 16, ("EDA", "HR")


def untrained(seed=0):
    tf.keras.utils.set_random_seed(seed)
    return Generator(build_generator(SECONDS, len(SIGNALS)), SIGNALS, SECONDS)


def with_noise(promise, noise_multiplier):
    """The promise with another noise than its own: only a test may."""
    vars(promise)["noise_multiplier"] = noise_multiplier
    return promise


def weights(training):
    return np.concatenate([np.ravel(weight) for weight in training.generator.model.get_weights()])


def test_samples_are_windows_in_the_public_share(make_toy_windows):
    generator = untrained()
    for n_windows in (1, 10, 101):
        windows = generator.sample(n_windows, seed=1)
        assert windows.values.shape == (n_windows, SECONDS, len(SIGNALS))
        assert windows.values.dtype == np.float32 and windows.signals == SIGNALS
        assert (windows.values >= 0).all() and (windows.values <= 1).all()
        assert windows.labels.sum() == round(STRESS_SHARE * n_windows)
        assert set(windows.labels) <= {0, 1} and set(windows.subjects) == {"synthetic"}
        assert windows.values.dtype == make_toy_windows().values.dtype
    assert 0 < windows.labels[: len(windows) // 2].sum() < windows.labels.sum()  # mixed, not stress first


def test_samples_repeat_with_the_seed_only():
    generator = untrained()
    first, again, other = (generator.sample(20, seed).values for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def spectrum(generator, texture):
    """Cosine weights of what goes into the generator's last sigmoid, (n, seconds, signals)."""
    latent = np.random.default_rng(0).normal(size=(len(texture), cgan.LATENT_DIM)).astype(np.float32)
    labels = np.arange(len(texture))[:, None] % 2
    values = generator.model([latent, labels.astype(np.float32), texture.astype(np.float32)]).numpy()
    return dct(logit(values.astype(float)), norm="ortho", axis=1)


def test_without_texture_a_window_is_slow_cosines_only():
    weights = spectrum(untrained(), np.zeros((6, SECONDS - SLOW_WAVES, 2)))
    scale = np.abs(weights[:, :SLOW_WAVES]).max()
    # Single precision, through a sigmoid and back.
    np.testing.assert_allclose(weights[:, SLOW_WAVES:], 0, atol=1e-5 * max(scale, 1))
    assert np.abs(weights[:, :SLOW_WAVES]).min(axis=(0, 2)).max() > 1e-4


def test_texture_drives_its_own_fast_cosine_and_no_other():
    n_fast = SECONDS - SLOW_WAVES
    generator = untrained()
    rest = spectrum(generator, np.zeros((1, n_fast, 2)))
    for wave in range(n_fast):
        texture = np.zeros((1, n_fast, 2))
        texture[0, wave, 1] = 1
        change = spectrum(generator, texture) - rest
        assert change[0, SLOW_WAVES + wave, 1] > 1e-3
        change[0, SLOW_WAVES + wave, 1] = 0
        np.testing.assert_allclose(change, 0, atol=1e-5)


@pytest.fixture(scope="module")
def training(make_toy_windows):
    """A few steps without privacy."""
    return train(make_toy_windows(), Promise(epsilon=math.inf, steps=15), seed=0)


def test_a_saved_training_comes_back(training, tmp_path):
    training.save(tmp_path / "new")
    loaded = Training.load(tmp_path / "new")
    assert (loaded.steps, loaded.seeded) == (training.steps, training.seeded) == (15, True)
    np.testing.assert_allclose(loaded.fake_loss, training.fake_loss, atol=5.1e-5)  # kept to four digits
    first, second = (each.generator.sample(9, seed=2) for each in (training, loaded))
    for field in ("values", "labels", "subjects", "signals"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


def test_without_privacy_the_seed_repeats_the_training(training, make_toy_windows):
    promise = Promise(epsilon=math.inf, steps=15)
    again, other = (train(make_toy_windows(), promise, seed) for seed in (0, 1))
    np.testing.assert_array_equal(weights(training), weights(again))
    np.testing.assert_array_equal(training.fake_loss, again.fake_loss)
    np.testing.assert_array_equal(training.generator.sample(9, 0).values, again.generator.sample(9, 0).values)
    assert not np.array_equal(weights(training), weights(other))


def test_a_private_training_repeats_for_nobody_and_a_seeded_one_says_so(make_toy_windows):
    windows, promise = make_toy_windows(), with_noise(Promise(steps=4), 50.0)
    first, second = (train(windows, promise, seed=0) for _ in range(2))
    seeded = train(windows, promise, seed=0, noise_seed=7)
    assert not np.array_equal(weights(first), weights(second))
    assert seeded.seeded and not first.seeded
    assert seeded.steps == first.steps == promise.steps == len(first.fake_loss)


def test_noise_and_windows_reach_the_generator(make_toy_windows):
    """Same seeds, everybody drawn; a million times the noise must lead elsewhere, and hardly any must not."""
    noisy = {noise: with_noise(Promise(sampling_probability=1.0, steps=10), noise) for noise in (0.0, 1e-9, 1e6)}
    silent, faint, loud = (weights(train(make_toy_windows(), each, seed=0, noise_seed=7)) for each in noisy.values())
    other_windows = weights(train(make_toy_windows(seed=9), noisy[0.0], seed=0, noise_seed=7))
    start = np.concatenate([np.ravel(weight) for weight in untrained().model.get_weights()])
    moved = np.linalg.norm(silent - start)
    assert np.linalg.norm(loud - silent) > 0.1 * moved
    assert np.linalg.norm(faint - silent) < 0.01 * moved
    assert not np.array_equal(other_windows, silent)


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_nothing_but_the_mechanism_reads_the_windows(make_toy_windows, unit):
    """Where no unit is ever drawn, all that counts of windows is their number: others lead to the same generator."""
    windows = make_toy_windows()
    others = replace(make_toy_windows(seed=9), labels=1 - windows.labels)
    never = with_noise(Promise(unit, sampling_probability=1e-12, steps=8), 1e-9)  # finite: a step divides by 1e-12
    blind = [weights(train(each, never, seed=0, noise_seed=7)) for each in (windows, others)]
    np.testing.assert_array_equal(*blind)


def class_means(windows):
    return np.array([windows.values[windows.labels == label].mean(axis=(0, 1)) for label in (0, 1)])


def test_training_finds_the_levels_of_the_classes(make_toy_windows):
    """Two signals, at 0.3 without stress and 0.7 under it; untrained, both classes lie near 0.5."""
    real = make_toy_windows(people=6, each=20)
    promise = Promise(epsilon=math.inf, clip_norm=1.0, sampling_probability=0.5, steps=1000)
    trained = train(real, promise, seed=0).generator
    before, after = (np.abs(class_means(each.sample(500, 0)) - class_means(real)) for each in (untrained(), trained))
    assert before.min() > 0.15
    # Three seeds came within 0.02; the noise of 500 windows' mean is a tenth of that.
    assert after.max() < 0.05


@pytest.mark.parametrize("window_seconds", [MIN_SECONDS, MIN_SECONDS + 1, 61])
def test_windows_of_any_allowed_length_are_made(window_seconds):
    generator = Generator(build_generator(window_seconds, 2), SIGNALS, window_seconds)
    assert np.isfinite(generator.sample(3, 0).values).all()
