"""All networks: those that detect stress, and the generators' own.

A builder returns a Keras model of first weights; `train_classifier` trains one that detects stress. Random numbers of
both go by TensorFlow's seed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from wearsynth.features import FEATURE_BOUND
from wearsynth.quiet import tf

layers = tf.keras.layers
# Chosen by cross-validation among S2 to S6, and among Stress-Predict's people: by the Brier score, which needs no
# threshold. Of those that are alike in it, the fastest.
BATCH = 64
LEARNING_RATE = 4e-3
LEVEL_SHIFT, RANGE_CHANGE = 0.05, 0.2  # by how much people differ in where, and how widely, a signal moves
HIDDEN = 128  # units of each of the generator's two hidden layers
LSTM_UNITS = 60  # of each layer of the published generator and discriminator


class RandomShiftAndScale(layers.Layer):
    """Data augmentation, in training only: shifts each signal's level and scales its swings, at random for each window.

    There are few people to learn from, and level and range are most of what separates one from the next.
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
        # No matrix product: its rounding may depend on how many windows there are, by whatever kernel a machine has.
        10 * tf.reduce_sum((time / tf.reduce_sum(time**2))[:, None] * values, axis=1),
        20 * (tf.reduce_mean(tf.abs(values[:, 1:] - values[:, :-1]), axis=1) - 0.03),
    ]
    return tf.concat(features, axis=1)


def one_hot(label: tf.Tensor) -> tf.Tensor:
    """A label as of `windows.indicators`, (n, n_classes - 1), with class 0 beside it: (n, n_classes)."""
    return tf.concat([1 - tf.reduce_sum(label, axis=1, keepdims=True), label], axis=1)


def _probabilities(n_classes: int, **settings: Any) -> layers.Dense:
    """The last layer of a detector: probability of class 1 (n, 1) where there are two, else of each (n, n_classes)."""
    if n_classes == 2:
        return layers.Dense(1, activation="sigmoid", **settings)
    return layers.Dense(n_classes, activation="softmax", **settings)


def cnn(input_shape: tuple[int, int], n_classes: int = 2) -> tf.keras.Model:
    """Builds a small convolutional network: windows (n, seconds, signals) -> probabilities, see `_probabilities`.

    The output also sees the simple features, standardised, as logistic regression does: levels are most of what
    separates stress, and it would take more people than there are to learn them by convolution. Convolutions are few,
    and held small: what they learn of one study's people may not hold of another's.
    """
    windows, weights = layers.Input(input_shape), {"kernel_regularizer": tf.keras.regularizers.L2(0.01)}
    shapes = RandomShiftAndScale()(windows)
    shapes = layers.Conv1D(16, 5, padding="same", activation="relu", **weights)(shapes)
    shapes = layers.MaxPooling1D(2)(shapes)
    shapes = layers.Conv1D(32, 5, padding="same", activation="relu", **weights)(shapes)
    shapes = layers.Dropout(0.5)(layers.GlobalAveragePooling1D()(shapes))
    features = layers.Lambda(public_features)(windows)
    features = layers.BatchNormalization(momentum=0.9, center=False, scale=False)(features)
    features = layers.Lambda(lambda each: tf.clip_by_value(each, -FEATURE_BOUND, FEATURE_BOUND))(features)
    seen = layers.Concatenate()([shapes, features])
    few = tf.keras.regularizers.L2(0.003)
    return tf.keras.Model(windows, _probabilities(n_classes, kernel_regularizer=few)(seen))


def cnn_lstm(input_shape: tuple[int, int], n_classes: int = 2) -> tf.keras.Model:
    """Builds a network whose convolutions feed an LSTM; as `cnn`."""
    return tf.keras.Sequential(
        [
            layers.Input(input_shape),
            RandomShiftAndScale(),
            layers.Conv1D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling1D(4),
            layers.LSTM(32),
            layers.Dropout(0.3),
            _probabilities(n_classes),
        ]
    )


def two_sample_cnn(input_shape: tuple[int, int]) -> tf.keras.Model:
    """Builds a small convolutional network on windows as they are: (n, seconds, signals) -> probability (n, 1)."""
    return tf.keras.Sequential(
        [
            layers.Input(input_shape),
            layers.Conv1D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling1D(2),
            layers.Conv1D(64, 5, padding="same", activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def small_cnn(input_shape: tuple[int, int], n_logits: int = 1) -> tf.keras.Sequential:
    """Builds a convolutional network of few weights, as noise falls on each: windows -> logits (n, n_logits)."""
    return tf.keras.Sequential(
        [
            layers.Input(input_shape),
            layers.Conv1D(16, 5, padding="same", activation="relu"),
            layers.MaxPooling1D(2),
            layers.Conv1D(16, 5, padding="same", activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(n_logits),
        ]
    )


def linear(input_shape: tuple[int], n_logits: int = 1) -> tf.keras.Sequential:
    """Builds a linear model of 0 weights: features (n, n_features) -> logits (n, n_logits)."""
    return tf.keras.Sequential([layers.Input(input_shape), layers.Dense(n_logits, kernel_initializer="zeros")])


def train_classifier(build: Callable, values: np.ndarray, labels: np.ndarray, seed: int, epochs: int) -> tf.keras.Model:
    """Trains a network that is to give each window's probability of stress, or of each of more classes.

    Args:
        build: (seconds, signals), and the number of classes where it is not 2 -> Keras model with one output between 0
            and 1, or one for each of more classes. One that is compiled keeps its optimizer and loss.
        values: windows (n, seconds, signals) to train on.
        labels: (n,), of each class some.
        seed: of first weights, shuffling, dropout.
        epochs: passes over the windows; fixed, for stopping early would need real people to stop on.

    Raises:
        ValueError: what was built is no such network.
    """
    tf.keras.backend.clear_session()  # or each of many trainings would be slower than the last
    tf.keras.utils.set_random_seed(seed)
    n_classes = 1 + int(labels.max())
    model = build(values.shape[1:], *([n_classes] if n_classes > 2 else []))
    name = getattr(build, "__name__", repr(build))
    if not isinstance(model, tf.keras.Model):
        raise ValueError(f"{name} returned a {type(model).__name__}: expected a Keras model")
    first = model(values[:1])
    shape, expected = tuple(first.shape), (1, n_classes if n_classes > 2 else 1)
    if shape != expected:
        raise ValueError(f"{name}: the network's output for one window has shape {shape}: expected {expected}")
    if model.optimizer is None:
        loss = "sparse_categorical_crossentropy" if n_classes > 2 else "binary_crossentropy"
        model.compile(tf.keras.optimizers.Adam(LEARNING_RATE), loss, steps_per_execution=16)
        # What a first step would make is made before it, or TensorFlow would compile the step twice.
        model.optimizer.build(model.trainable_variables)
        model.compute_loss(y=tf.constant(labels[:1, None]), y_pred=first)
    model.fit(values, labels, batch_size=BATCH, epochs=epochs, verbose=0)
    return model


def residual_generator(size: int, n_classes: int = 2) -> tf.keras.Model:
    """Builds a generator that at first adds next to nothing: noise (n, size) and label, see `one_hot`, -> (n, size)."""
    noise, label = layers.Input((size,)), layers.Input((n_classes - 1,))
    first = 1 - tf.reduce_sum(label, axis=1, keepdims=True)
    hidden = layers.Concatenate()([noise, label, first])
    for _ in range(2):
        hidden = layers.Dense(HIDDEN, activation=tf.nn.leaky_relu)(hidden)
    # Past the hidden layers, too: to move a class, or to stretch a coordinate, takes a straight line.
    by_class = [noise * each for each in (*tf.split(label, n_classes - 1, axis=1), first)]
    hidden = layers.Concatenate()([hidden, *by_class, label])
    small = tf.keras.initializers.RandomNormal(stddev=1e-3)
    return tf.keras.Model([noise, label], layers.Dense(size, kernel_initializer=small)(hidden))


def lstm_generator(seconds: int, signals: int, n_classes: int = 2) -> tf.keras.Model:
    """Builds a generator like the published one, as far as it is described: two LSTMs, an output for every second.

    It takes noise (n, seconds * signals) and label, see `one_hot`, and returns windows (n, seconds * signals).
    """
    noise, label = layers.Input((seconds * signals,)), layers.Input((n_classes - 1,))
    hidden = layers.Reshape((seconds, signals))(noise)
    hidden = layers.Concatenate()([hidden, layers.RepeatVector(seconds)(label)])
    for _ in range(2):
        hidden = layers.LSTM(LSTM_UNITS, return_sequences=True)(hidden)
    values = layers.Dense(signals, activation="sigmoid")(hidden)
    return tf.keras.Model([noise, label], layers.Flatten()(values))


def lstm_discriminator(seconds: int, n_numbers: int) -> tf.keras.Sequential:
    """Builds a discriminator like the published one, two LSTMs: (n, seconds, n_numbers), label last -> (n, 1)."""
    return tf.keras.Sequential(
        [
            layers.Input((seconds, n_numbers)),
            layers.LSTM(LSTM_UNITS, return_sequences=True),
            layers.LSTM(LSTM_UNITS),
            layers.Dense(1),
        ]
    )
