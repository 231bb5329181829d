"""The conditional GAN: what its discriminator sees, and that what is trained is what is sampled."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import sqrtm

from wearsynth import cgan, networks
from wearsynth.cgan import PRODUCT_WEIGHT, features_by_class, products_by_class, seconds_with_label
from wearsynth.generators import Generator, codec_of, fit
from wearsynth.privacy import Promise
from wearsynth.releases import Moments
from wearsynth.sessions import draw_people
from wearsynth.studies import Part
from wearsynth.windows import indicators

SECONDS = 16


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.5, 0.3, 0.2)])
def test_training_sees_what_is_sampled(toy_codec, shares):
    """The same noise gives the same coordinates in NumPy, which samples, and in TensorFlow, which learns."""
    rng, size, n_classes = np.random.default_rng(0), toy_codec.size, len(shares)
    toy_codec = replace(toy_codec, shares=shares)
    covariances = np.stack([np.cov(rng.normal(size=(size, 50))) for _ in shares])
    moments = Moments(rng.normal(size=(n_classes, size)), covariances)
    network = networks.residual_generator(size, n_classes)
    noise, labels = rng.normal(size=(20, size)), rng.integers(n_classes, size=20)
    inputs = [noise.astype(np.float32), indicators(labels, n_classes)]
    half = cgan._PublicHalf(cgan.OWN_RECIPE, toy_codec, moments, network, cgan.OWN_RECIPE.discriminator(toy_codec), 1.0)
    expected = moments(noise, labels) + network(inputs).numpy()
    np.testing.assert_allclose(half._coordinates(*inputs), expected, atol=1e-4)
    np.testing.assert_allclose(Generator(toy_codec, moments, network).coordinates(noise, labels), expected, atol=1e-6)
    seen = np.concatenate([half._fake() for _ in range(200)])[:, -(n_classes - 1) :].mean(axis=0)
    # Labels are drawn in their public shares: five standard errors of 25,600 of them, and the noise on what is seen.
    np.testing.assert_allclose(seen, shares[1:], atol=5 * 0.5 / np.sqrt(200 * 128) + 0.005)


def test_what_the_discriminator_sees_is_features_by_class(toy_codec):
    coordinates = tf.constant([[1.0, -2.0], [3.0, 0.0]])
    np.testing.assert_allclose(
        features_by_class(toy_codec, coordinates, tf.constant([[1.0], [0.0]])),
        [[0, 0, 0, 0, 1, -2, 0, 1.5, 1], [3, 0, 4, -0.5, 0, 0, 0, 0, 0]],
    )
    assert cgan.OWN_RECIPE.discriminator(toy_codec).count_params() == 4 * toy_codec.size + 2


def test_a_large_discriminator_sees_all_products(toy_codec):
    """Against loops; the square root of the prior's covariance by SciPy."""
    rng, size, n = np.random.default_rng(0), toy_codec.size, toy_codec.size * (toy_codec.size + 3) // 2
    coordinates, label = rng.normal(size=(3, size)), np.array([[0.0], [1.0], [1.0]])
    covariance = np.average(toy_codec.covariances, axis=0, weights=toy_codec.shares)
    expected = np.zeros((3, 2 * n + 1))
    for row, own in enumerate(coordinates):
        white = np.linalg.inv(sqrtm(covariance)) @ (own - toy_codec.means[int(label[row, 0])])
        products = [PRODUCT_WEIGHT * (white[i] * white[j] - (i == j)) for i in range(size) for j in range(i, size)]
        start = n if label[row, 0] else 0
        expected[row, start : start + n] = [*white, *products]
    expected[:, -1] = label[:, 0]
    seen = products_by_class(toy_codec, tf.constant(coordinates, tf.float32), tf.constant(label, tf.float32))
    np.testing.assert_allclose(seen, expected, rtol=1e-3, atol=1e-3)
    assert cgan.JOINT_RECIPE.discriminator(toy_codec).count_params() == 2 * n + 2


@pytest.mark.slow
def test_the_published_discriminator_is_clipped_and_learns_to_tell(make_toy_windows, toy_codec):
    """Two LSTMs, every second on its own; it takes many more steps than a test has to make windows by it."""
    codec, windows = codec_of("lstm", toy_codec), make_toy_windows()
    assert codec.decode(codec.encode(windows.values), np.random.default_rng(0)).tolist() == windows.values.tolist()
    shown = seconds_with_label(codec, codec.encode(windows.values), windows.labels[:, None].astype(np.float32)).numpy()
    np.testing.assert_array_equal(shown[..., :2], windows.values)
    np.testing.assert_array_equal(shown[..., 2], np.repeat(windows.labels[:, None], SECONDS, axis=1))
    training = fit(windows, Promise(epsilon=math.inf, clip_norm=1.0, steps=60), "lstm", toy_codec)
    assert training.fake_loss[-10:].mean() < training.fake_loss[:10].mean()
    table = draw_people(training, 3, (Part("baseline", 160, 0), Part("stress", 160, 1)))
    assert table["EDA"].between(0, 20).all() and table["HR"].between(40, 160).all() and table["HR"].std() > 0
