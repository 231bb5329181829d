"""Stress detectors trained by DP-SGD, the same mechanism as the generator's: the alternative to synthetic windows."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from wearsynth.detector import Detector
from wearsynth.dpsgd import PrivateGradient
from wearsynth.networks import layers, linear, public_features, small_cnn
from wearsynth.privacy import Promise
from wearsynth.quiet import tf
from wearsynth.windows import SHARES, Windows


class PrivateDetector(NamedTuple):
    """A detector that DP-SGD trains; it has few weights, and no layer that is random or mixes examples.

    Args:
        build: input shape, number of logits -> network: logits of class 1, and of a third, where class 0 has 0.
        inputs: windows' values (n, seconds, signals) -> what the network takes; fixed in advance, never fitted.
        learning_rate: of Adam.
        clip_norm: largest length of a unit's gradient.
    """

    build: Callable[[tuple[int, ...], int], tf.keras.Sequential]
    inputs: Callable[[np.ndarray], np.ndarray]
    learning_rate: float
    clip_norm: float


def _centred(values: np.ndarray) -> np.ndarray:
    return (2 * values - 1).astype(np.float32)


def _features(values: np.ndarray) -> np.ndarray:
    return public_features(tf.constant(values, tf.float32)).numpy()


PRIVATE_DETECTORS = {
    "private_cnn": PrivateDetector(build=small_cnn, inputs=_centred, learning_rate=0.01, clip_norm=1.0),
    "private_logistic_regression": PrivateDetector(build=linear, inputs=_features, learning_rate=0.02, clip_norm=0.1),
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
    shares: tuple[float, ...] = SHARES,
) -> Detector:
    """Trains a detector on real windows with DP-SGD: what somebody would do who needs a detector, and no windows.

    Classes count alike by their public shares of the protocol: the windows' own shares are private.

    Args:
        name: one of PRIVATE_DETECTORS.
        windows: real windows; private.
        promise: unit and budget; see `private_promise`.
        seed: of the first weights.
        rng: for tests; noise and sample from a seed protect nobody.
        shares: each class's share of the protocol; public.
    """
    recipe = PRIVATE_DETECTORS[name]
    promise = private_promise(name, promise)
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(seed)
    inputs = recipe.inputs(windows.values)
    network = recipe.build(inputs.shape[1:], len(shares) - 1)
    loss = partial(_balanced_loss, shares=shares)
    gradient = PrivateGradient(network, loss, promise, inputs, windows.labels, windows.subjects, rng)
    optimizer = tf.keras.optimizers.Adam(recipe.learning_rate)
    late = []
    for step in range(promise.steps):
        optimizer.apply_gradients(zip(gradient(), network.trainable_variables))
        if step >= promise.steps // 2:  # their mean has less of the noise, and costs nothing
            late.append(network.get_weights())
    network.set_weights([np.mean(weights, axis=0) for weights in zip(*late)])
    probabilities = layers.Lambda(lambda logits: tf.nn.softmax(_with_first(logits)))
    return Detector(tf.keras.Sequential([layers.Input(inputs.shape[1:]), network, probabilities]), recipe.inputs)


def _with_first(logits: tf.Tensor) -> tf.Tensor:
    """Logits of all classes, (n, n_classes): that of class 0 is 0."""
    return tf.concat([tf.zeros_like(logits[:, :1]), logits], axis=1)


def _balanced_loss(labels: tf.Tensor, logits: tf.Tensor, shares: tuple[float, ...]) -> tf.Tensor:
    """Cross-entropy of each example, (n,), of which all classes have the same part where their shares are as given."""
    labels = tf.cast(labels, tf.int32)
    weights = tf.gather(tf.constant(1 / (len(shares) * np.array(shares)), tf.float32), labels)
    return weights * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, _with_first(logits))
