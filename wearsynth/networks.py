"""Networks that detect stress, and their training: plain, or private by the same mechanism as the generator's."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from wearsynth.detector import Detector
from wearsynth.dpsgd import PrivateGradient
from wearsynth.privacy import Promise
from wearsynth.windows import STRESS_SHARE, Windows

layers = tf.keras.layers
# Chosen by leaving out one of S2 to S6 after another: by the Brier score, which needs no threshold.
BATCH = 32
LEARNING_RATE = 1e-3
LEVEL_SHIFT, RANGE_CHANGE = 0.05, 0.2  # by how much people differ in where, and how widely, a signal moves


class OtherPeople(layers.Layer):
    """Makes each window look as if somebody else had given it; in training only.

    Each signal's level is shifted and its swings about it grow or shrink, at random for each window. Few people are
    there to learn from, and what separates one from the next is most often just that.
    """

    def call(self, values: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Values (n, seconds, signals) -> the same shape."""
        if not training:
            return values
        each = (tf.shape(values)[0], 1, values.shape[2])
        level = tf.reduce_mean(values, axis=1, keepdims=True)
        swing = (values - level) * tf.exp(tf.random.normal(each, stddev=RANGE_CHANGE))
        return level + tf.random.normal(each, stddev=LEVEL_SHIFT) + swing


def public_features(values: tf.Tensor) -> tf.Tensor:
    """Brings `simple_features` to a size of about one, by constants: means and deviations of real windows are private.

    Args:
        values: (n, seconds, signals).

    Returns:
        (n, 6 * signals), in the order of `simple_features`.
    """
    time = tf.linspace(-1.0, 1.0, values.shape[1])
    mean = tf.reduce_mean(values, axis=1)
    variance = tf.reduce_mean((values - mean[:, None]) ** 2, axis=1)
    features = [
        4 * (mean - 0.5),
        10 * (tf.sqrt(variance + 1e-6) - 0.05),  # a root of 0 has no gradient
        4 * (tf.reduce_min(values, axis=1) - 0.5),
        4 * (tf.reduce_max(values, axis=1) - 0.5),
        10 * tf.einsum("t,nts->ns", time / tf.reduce_sum(time**2), values),
        20 * (tf.reduce_mean(tf.abs(values[:, 1:] - values[:, :-1]), axis=1) - 0.03),
    ]
    return tf.concat(features, axis=1)


def cnn(input_shape: tuple[int, int]) -> tf.keras.Model:
    """Builds a small convolutional network: windows (n, seconds, signals) -> probability of stress (n, 1).

    The output also sees the simple features, as logistic regression does: levels are most of what tells stress, and
    a network that has to find them by convolution learns to from more people than there are.
    """
    windows = layers.Input(input_shape)
    varied = OtherPeople()(windows)
    shapes = layers.Conv1D(32, 5, padding="same", activation="relu")(varied)
    shapes = layers.MaxPooling1D(2)(shapes)
    shapes = layers.Conv1D(64, 5, padding="same", activation="relu")(shapes)
    shapes = layers.Dropout(0.3)(layers.GlobalAveragePooling1D()(shapes))
    seen = layers.Concatenate()([shapes, layers.Lambda(public_features)(varied)])
    few = tf.keras.regularizers.L2(0.01)
    return tf.keras.Model(windows, layers.Dense(1, activation="sigmoid", kernel_regularizer=few)(seen))


def cnn_lstm(input_shape: tuple[int, int]) -> tf.keras.Model:
    """Builds a network whose convolutions feed an LSTM; as `cnn`."""
    return tf.keras.Sequential(
        [
            layers.Input(input_shape),
            OtherPeople(),
            layers.Conv1D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling1D(4),
            layers.LSTM(32),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def train_network(build: Callable, windows: Windows, seed: int, epochs: int) -> Detector:
    """Trains a network that is to give each window's probability of stress.

    Args:
        build: (seconds, signals) -> Keras model with one output between 0 and 1. One that is compiled keeps its
            optimizer and loss.
        windows: to train on.
        seed: of first weights, shuffling, dropout.
        epochs: passes over the windows; fixed, for stopping early would need real people to stop on.

    Raises:
        ValueError: what was built is no such network.
    """
    tf.keras.backend.clear_session()  # or each of many trainings would be slower than the last
    tf.keras.utils.set_random_seed(seed)
    model = build(windows.values.shape[1:])
    name = getattr(build, "__name__", repr(build))
    if not isinstance(model, tf.keras.Model):
        raise ValueError(f"{name} returned a {type(model).__name__}: expected a Keras model")
    shape = tuple(model(windows.values[:1]).shape)
    if shape != (1, 1):
        raise ValueError(f"{name}: the network's output for one window has shape {shape}: expected (1, 1)")
    if model.optimizer is None:
        model.compile(tf.keras.optimizers.Adam(LEARNING_RATE), "binary_crossentropy", steps_per_execution=16)
    model.fit(windows.values, windows.labels, batch_size=BATCH, epochs=epochs, verbose=0)
    return Detector(model, _as_they_are)


class PrivateDetector(NamedTuple):
    """A detector that DP-SGD trains; it has few weights, and no layer that is random or mixes examples.

    Args:
        build: input shape -> network, its output a logit.
        inputs: windows' values (n, seconds, signals) -> what the network takes; fixed beforehand, never fitted.
        learning_rate: of Adam.
        clip_norm: largest length of a unit's gradient.
    """

    build: Callable[[tuple[int, ...]], tf.keras.Sequential]
    inputs: Callable[[np.ndarray], np.ndarray]
    learning_rate: float
    clip_norm: float


def _small_cnn(input_shape: tuple[int, int]) -> tf.keras.Sequential:
    return tf.keras.Sequential(
        [
            layers.Input(input_shape),
            layers.Conv1D(16, 5, padding="same", activation="relu"),
            layers.MaxPooling1D(2),
            layers.Conv1D(16, 5, padding="same", activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1),
        ]
    )


def _linear(input_shape: tuple[int]) -> tf.keras.Sequential:
    return tf.keras.Sequential([layers.Input(input_shape), layers.Dense(1, kernel_initializer="zeros")])


def _as_they_are(values: np.ndarray) -> np.ndarray:
    return values


def _centred(values: np.ndarray) -> np.ndarray:
    return (2 * values - 1).astype(np.float32)


def _features(values: np.ndarray) -> np.ndarray:
    return public_features(tf.constant(values, tf.float32)).numpy()


PRIVATE_DETECTORS = {
    "private_cnn": PrivateDetector(_small_cnn, _centred, 0.01, 1.0),
    "private_logistic_regression": PrivateDetector(_linear, _features, 0.02, 0.1),
}
PRIVATE_STEPS = 300
PRIVATE_SAMPLING = 0.5


def private_promise(name: str, promise: Promise) -> Promise:
    """Returns the promise that a private detector is trained under: another's unit and budget, and its own settings."""
    settings = {"steps": PRIVATE_STEPS, "sampling_probability": PRIVATE_SAMPLING}
    return replace(promise, **settings, clip_norm=PRIVATE_DETECTORS[name].clip_norm)


def train_private(
    name: str,
    windows: Windows,
    promise: Promise,
    seed: int,
    rng: np.random.Generator | None = None,
    stress_share: float = STRESS_SHARE,
) -> Detector:
    """Trains a detector on real windows with DP-SGD: what somebody would do who needs a detector, and no windows.

    Classes count alike by the protocol's public share of stress: the windows' own share is private.

    Args:
        name: one of PRIVATE_DETECTORS.
        windows: real windows; private.
        promise: unit and budget; see `private_promise`.
        seed: of the first weights.
        rng: for tests; noise and sample from a seed protect nobody.
        stress_share: share of stress in the protocol; public.
    """
    recipe = PRIVATE_DETECTORS[name]
    promise = private_promise(name, promise)
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(seed)
    inputs = recipe.inputs(windows.values)
    network = recipe.build(inputs.shape[1:])
    loss = partial(_balanced_loss, stress_share=stress_share)
    gradient = PrivateGradient(network, loss, promise, inputs, windows.labels, windows.subjects, rng)
    optimizer = tf.keras.optimizers.Adam(recipe.learning_rate)
    late = []
    for step in range(promise.steps):
        optimizer.apply_gradients(zip(gradient(), network.trainable_variables))
        if step >= promise.steps // 2:  # their mean has less of the noise, and costs nothing
            late.append(network.get_weights())
    network.set_weights([np.mean(weights, axis=0) for weights in zip(*late)])
    probability = [layers.Input(inputs.shape[1:]), network, layers.Activation("sigmoid")]
    return Detector(tf.keras.Sequential(probability), recipe.inputs)


def _balanced_loss(labels: tf.Tensor, logits: tf.Tensor, stress_share: float) -> tf.Tensor:
    """Cross-entropy of each example, (n,), of which both classes have half where the share of stress is as given."""
    weights = tf.where(labels > 0.5, 0.5 / stress_share, 0.5 / (1 - stress_share))
    return weights * tf.nn.sigmoid_cross_entropy_with_logits(labels, logits[:, 0])
