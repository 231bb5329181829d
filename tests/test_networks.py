"""Networks: what augmentation does, what is refused, and that every weight is trained and repeats with the seed."""

import math

import numpy as np
import own_detectors
import pytest
import tensorflow as tf

from wearsynth import networks
from wearsynth.features import FEATURE_BOUND, simple_features
from wearsynth.networks import RandomShiftAndScale, train_classifier
from wearsynth.windows import MIN_SECONDS


def examples(windows):
    return windows.values, windows.labels


def augmented(values, seed=0):
    tf.keras.utils.set_random_seed(seed)
    return RandomShiftAndScale()(tf.constant(values), training=True).numpy()


def test_only_training_augments(make_toy_windows):
    values = make_toy_windows().values
    for training in (False, None):
        np.testing.assert_array_equal(RandomShiftAndScale()(values, training=training), values)
    for build in (networks.cnn, networks.cnn_lstm):  # nor do the networks that have the layer
        model = build(values.shape[1:])
        np.testing.assert_array_equal(model(values, training=False), model(values, training=False))
        assert not np.array_equal(model(values, training=True), model(values, training=True))


def test_augmentation_shifts_and_stretches_each_signal_of_each_window():
    """What is left of a window is each signal's curve, in another size and at another level."""
    values = np.random.default_rng(0).uniform(size=(50, 30, 3)).astype(np.float32)
    others = augmented(values)
    assert others.shape == values.shape
    swing, other_swing = (each - each.mean(axis=1, keepdims=True) for each in (values, others))
    stretch = (swing * other_swing).sum(axis=1, keepdims=True) / (swing**2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(other_swing, stretch * swing, atol=1e-5)  # single precision
    assert (stretch > 0).all()  # nothing is turned upside down
    shift = (others - values).mean(axis=1)
    # At random for each window and signal: no two alike, and those of one signal tell nothing of another's. 0.5 is 3.6
    # standard errors, 1 / sqrt(50) each, of a correlation that is none.
    for change in (stretch[:, 0], shift):
        assert len(np.unique(change)) == change.size
        assert np.abs(np.corrcoef(change.T) - np.eye(3)).max() < 0.5
    assert np.abs(np.corrcoef(stretch[:, 0].T, shift.T)[:3, 3:]).max() < 0.5


def test_augmentation_is_on_average_nothing():
    """Shifts are as often up as down, and swings grow as often as they shrink: four standard errors are allowed."""
    values = np.random.default_rng(0).uniform(size=(2000, 12, 1)).astype(np.float32)
    others = augmented(values)
    shift = (others - values).mean(axis=(1, 2))
    growth = np.log(others.std(axis=1) / values.std(axis=1))
    for change in (shift, growth):
        assert abs(change.mean()) < 4 * change.std() / math.sqrt(len(values))


@pytest.mark.parametrize("window_seconds", [MIN_SECONDS, MIN_SECONDS + 1, 61])
def test_windows_of_any_allowed_length_are_looked_at(window_seconds):
    values = np.random.default_rng(0).uniform(size=(3, window_seconds, 2)).astype(np.float32)
    for build in (networks.cnn, networks.cnn_lstm):
        probability = build(values.shape[1:])(values).numpy()
        assert probability.shape == (3, 1) and (probability > 0).all() and (probability < 1).all()


def test_the_cnn_sees_no_feature_farther_off_than_logistic_regression_does(make_toy_windows):
    windows = make_toy_windows()
    model = train_classifier(networks.cnn, *examples(windows), 0, epochs=2)
    seen = networks.tf.keras.Model(model.input, model.layers[-2].output)
    n_features = 6 * windows.values.shape[2]
    features = seen(np.concatenate([windows.values, 50 * windows.values])).numpy()[:, -n_features:]
    assert np.abs(features).max() == FEATURE_BOUND and np.abs(features).min() < 0.1


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        (own_detectors.no_network, "no_network returned a list: expected a Keras model"),
        (own_detectors.two_outputs, r"two_outputs: .* shape \(1, 2\): expected \(1, 1\)"),
        (own_detectors.output_each_second, r"output_each_second: .* shape \(1, 16, 1\)"),
    ],
)
def test_what_is_no_detector_is_refused_by_name(make_toy_windows, build, fault):
    with pytest.raises(ValueError, match=fault):
        train_classifier(build, *examples(make_toy_windows()), 0, epochs=1)


def test_the_seed_repeats_every_weight(make_toy_windows):
    windows = make_toy_windows(each=18)
    first, again = (train_classifier(networks.cnn, *examples(windows), 0, epochs=2).get_weights() for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(first, again))
    tf.keras.utils.set_random_seed(0)
    begun = networks.cnn(windows.values.shape[1:]).get_weights()
    assert not any(np.array_equal(*pair) for pair in zip(first, begun))  # every one of them was trained


def test_each_epoch_passes_over_all_windows_once(make_toy_windows):
    windows, seen = make_toy_windows(people=3, each=15), []

    class Spy(tf.keras.Sequential):
        def train_step(self, data):
            tf.py_function(lambda values: seen.append(values.numpy()), [data[0]], [])
            return super().train_step(data)

    def build(input_shape):
        return Spy([tf.keras.layers.Input(input_shape), tf.keras.layers.Flatten(), tf.keras.layers.Dense(1)])

    train_classifier(build, *examples(windows), 0, epochs=3)
    rows = np.concatenate(seen)
    assert len(rows) == 3 * 45
    for epoch in np.split(rows, 3):
        np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(windows.values, axis=0))


def test_public_features_are_simple_ones_of_about_size_one(make_toy_windows):
    """One shift and one positive scale for each of the six descriptions, the same for all signals."""
    values = np.random.default_rng(0).uniform(size=(40, 16, 3)).astype(np.float32)
    public = networks.public_features(tf.constant(values)).numpy().reshape(40, 6, 3)
    simple = simple_features(values).reshape(40, 6, 3)
    for kind in range(6):
        slope, offset = np.polyfit(simple[:, kind].ravel(), public[:, kind].ravel(), 1)
        assert slope > 0
        np.testing.assert_allclose(public[:, kind], slope * simple[:, kind] + offset, atol=1e-4)
