"""How the promise is kept: Poisson draws, clipped sums of gradients, noise.

A unit is a group of windows (one of them, or all of a subject's), and its gradient the mean over them. The clipped sum
over units costs one forward and one backward pass (book-keeping: Bu et al. 2022, arXiv 2210.00038): the backward pass
stops at each layer's pre-activations, and what it leaves there gives both the norm of every unit's gradient and the sum
of the clipped ones, without a gradient of each unit ever standing in memory.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.special import ndtri

from wearsynth.privacy import Promise

ELEMENTWISE = (
    tf.keras.layers.Activation,
    tf.keras.layers.AveragePooling1D,
    tf.keras.layers.Flatten,
    tf.keras.layers.GaussianNoise,
    tf.keras.layers.GlobalAveragePooling1D,
    tf.keras.layers.InputLayer,
    tf.keras.layers.LeakyReLU,
    tf.keras.layers.MaxPooling1D,
    tf.keras.layers.ReLU,
    tf.keras.layers.Reshape,
)
CANCELLATION = 1e-6  # of the squared terms of a sum in single precision: what rounding may leave of them
ROUNDING = 1e-5  # single precision must not carry a clipped gradient over the clip norm


def uniform(size: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Draws from the open interval (0, 1), 52 bits each: with one more, the largest would round up to 1.

    Args:
        size: how many.
        rng: a seeded generator, for tests; without one, every bit is the operating system's entropy.

    Returns:
        (size,), float64.
    """
    bits = np.frombuffer(os.urandom(8 * size), np.uint64) if rng is None else rng.integers(0, 2**64, size, np.uint64)
    return ((bits >> np.uint64(12)) + 0.5) * 2.0**-52


def normal(size: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Draws from the standard normal distribution, by inverting its distribution function; as `uniform`."""
    return ndtri(uniform(size, rng))


def poisson_sample(n_units: int, probability: float, rng: np.random.Generator | None = None) -> np.ndarray:
    """Draws each unit independently with `probability`; returns the drawn ones' indices, which may be none."""
    return np.flatnonzero(uniform(n_units, rng) < probability)


@dataclass(frozen=True)
class Units:
    """Which windows belong to a unit, as a table padded to the largest unit.

    Args:
        windows: (n_units, most_windows), indices of windows; padding repeats one of the unit's own.
        share: (n_units, most_windows), float32, a window's weight in its unit's mean gradient; 0 for padding.
    """

    windows: np.ndarray
    share: np.ndarray

    def __len__(self) -> int:
        return len(self.windows)

    @classmethod
    def group(cls, subjects: np.ndarray, unit: str) -> "Units":
        """Groups windows into units.

        Args:
            subjects: (n_windows,), whose window each is.
            unit: 'window' or 'subject'.
        """
        if unit == "window":
            return cls(np.arange(len(subjects))[:, None], np.ones((len(subjects), 1), np.float32))
        groups = [np.flatnonzero(subjects == subject) for subject in np.unique(subjects)]
        most = max(map(len, groups))
        # Nobody else's window as padding: weight 0 does not silence one that is infinite or missing.
        windows = np.stack([np.pad(group, (0, most - len(group)), mode="edge") for group in groups])
        share = np.stack([np.pad(np.full(len(group), 1 / len(group)), (0, most - len(group))) for group in groups])
        return cls(windows, share.astype(np.float32))

    def batch(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows and shares of the drawn units; an empty draw becomes one unit without any share."""
        if len(drawn) == 0:
            return self.windows[:1], np.zeros_like(self.share[:1])
        return self.windows[drawn], self.share[drawn]


def clipped_sum(
    model: tf.keras.Sequential,
    loss: Callable,
    examples: tf.Tensor,
    targets: tf.Tensor,
    share: tf.Tensor,
    clip_norm: float,
) -> list[tf.Tensor]:
    """Sums the gradients of units, each clipped to `clip_norm`.

    Args:
        model: as `check_layers` accepts it.
        loss: (targets, outputs) -> (n,), each example's own loss.
        examples: (n_units, most_windows, ...) float32.
        targets: (n_units, most_windows).
        share: (n_units, most_windows), each example's weight in its unit's gradient.
        clip_norm: largest L2 norm of one unit's part of the sum.

    Returns:
        One tensor for each of the model's trainable variables, in their order and shapes.
    """
    most_windows = examples.shape[1]
    with tf.GradientTape() as tape:
        outputs, taps = _forward(model, tf.reshape(examples, (-1, *examples.shape[2:])))
        losses = tf.ensure_shape(loss(tf.reshape(targets, (-1,)), outputs), (None,))
        total = tf.reduce_sum(losses * tf.reshape(share, (-1,)))
    slopes = tape.gradient(total, [preactivation for _, _, preactivation in taps])
    inputs = [_by_unit(layer_inputs, most_windows) for _, layer_inputs, _ in taps]
    slopes = [_by_unit(slope, most_windows) for slope in slopes]
    squared_norms = tf.add_n([_squared_norms(layer, *pair) for (layer, _, _), *pair in zip(taps, inputs, slopes)])
    # A unit whose gradient overflows must not reach the sum: one NaN in it would tell that the unit was drawn.
    finite = tf.math.is_finite(squared_norms)
    factors = clip_norm * (1 - ROUNDING) * tf.math.rsqrt(tf.maximum(squared_norms, 1e-30))
    factors = tf.where(finite, tf.minimum(1.0, factors), 0.0)[:, None, None]
    sums = {}
    for (layer, _, _), layer_inputs, slope in zip(taps, inputs, slopes):
        clipped = tf.where(finite[:, None, None], slope, 0.0) * factors
        layer_inputs = tf.where(finite[:, None, None], layer_inputs, 0.0)
        kernel = tf.einsum("uti,uto->io", layer_inputs, clipped)
        sums[layer.kernel.ref()] = tf.reshape(kernel, layer.kernel.shape)
        if layer.use_bias:
            sums[layer.bias.ref()] = tf.reduce_sum(clipped, (0, 1))
    return [sums[variable.ref()] for variable in model.trainable_variables]


class PrivateGradient:
    """The mechanism: each call is one step of DP-SGD on the units of a promise, and is counted.

    Args:
        model: the network whose gradient is released.
        loss: (targets, outputs) -> (n,), each example's own loss.
        promise: what is promised.
        examples: (n_windows, ...) float32; private.
        targets: (n_windows,); private.
        subjects: (n_windows,), whose window each is.
        rng: a seeded generator for sample and noise, which voids the guarantee; without one, the operating system's
            entropy.

    Raises:
        ValueError: the model has a layer whose gradient cannot be clipped by unit.
    """

    def __init__(
        self, model, loss, promise: Promise, examples, targets, subjects, rng: np.random.Generator | None = None
    ):
        check_layers(model)
        self.promise = promise
        self.steps = 0
        self._model, self._examples, self._targets, self._rng = model, examples, targets, rng
        self._units = Units.group(subjects, promise.unit)
        self._noise_scale = promise.noise_multiplier * promise.clip_norm
        self._clipped_sum = tf.function(
            lambda examples, targets, share: clipped_sum(model, loss, examples, targets, share, promise.clip_norm),
            input_signature=[
                tf.TensorSpec((None, self._units.windows.shape[1], *examples.shape[1:]), tf.float32),
                tf.TensorSpec((None, self._units.windows.shape[1]), tf.float32),
                tf.TensorSpec((None, self._units.windows.shape[1]), tf.float32),
            ],
        )

    @property
    def expected_units(self) -> float:
        """Units that a step draws on average."""
        return len(self._units) * self.promise.sampling_probability

    def __call__(self) -> list[tf.Tensor]:
        """Draws, clips, sums, adds noise, and divides by the expected number of units.

        Returns:
            One tensor for each of the model's trainable variables.

        Raises:
            RuntimeError: all promised steps have been taken.
        """
        if self.steps >= self.promise.steps:
            raise RuntimeError(f"all {self.steps} promised steps are taken: one more would break the promise")
        self.steps += 1
        drawn = poisson_sample(len(self._units), self.promise.sampling_probability, self._rng)
        windows, share = self._units.batch(drawn)
        sums = self._clipped_sum(self._examples[windows], self._targets[windows].astype(np.float32), share)
        # The expected number of units, not the drawn one, which is private.
        return [(total + self._noise(total.shape)) / self.expected_units for total in sums]

    def _noise(self, shape: tf.TensorShape) -> np.ndarray:
        if self._noise_scale == 0:
            return np.zeros(shape, np.float32)
        values = self._noise_scale * normal(shape.num_elements(), self._rng)
        return values.reshape(shape).astype(np.float32)


def check_layers(model: tf.keras.Sequential) -> None:
    """Refuses a model with a layer that mixes examples, or whose gradient by unit is not known here.

    Raises:
        ValueError: names the layer.
    """
    if not isinstance(model, tf.keras.Sequential):
        raise ValueError(
            f"model {model.name!r} ({type(model).__name__}): expected layers one behind the other, Sequential"
        )
    for layer in model.layers:
        weighted = type(layer) in (tf.keras.layers.Dense, tf.keras.layers.Conv1D)  # a subclass may do anything
        known = (1, (1,), "channels_last")
        if type(layer) is tf.keras.layers.Conv1D and (layer.groups, layer.dilation_rate, layer.data_format) != known:
            raise ValueError(f"layer {layer.name!r}: Conv1D is known here without groups and dilation, channels last")
        if not weighted and not isinstance(layer, ELEMENTWISE):
            raise ValueError(
                f"layer {layer.name!r} ({type(layer).__name__}): cannot be clipped by unit; use Dense or Conv1D"
            )
        if not layer.trainable:
            raise ValueError(f"layer {layer.name!r} is frozen: leave it out of the model, or train it")


def _forward(model: tf.keras.Sequential, values: tf.Tensor) -> tuple[tf.Tensor, list[tuple]]:
    """Runs the model; returns its outputs and, for each layer with weights, (layer, inputs, pre-activations)."""
    taps = []
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.Conv1D):
            if layer.padding == "causal":  # which the layer's own call does before its convolution
                values = tf.pad(values, ((0, 0), (layer.kernel_size[0] - 1, 0), (0, 0)))
            inputs, linear = _patches(layer, values), layer.convolution_op(values, layer.kernel)
        elif isinstance(layer, tf.keras.layers.Dense):
            inputs, linear = values, tf.matmul(values, layer.kernel)
        else:
            values = layer(values, training=True)
            continue
        preactivation = linear + layer.bias if layer.use_bias else linear
        values = layer.activation(preactivation)
        taps.append((layer, inputs, preactivation))
    return values, taps


def _patches(layer: tf.keras.layers.Conv1D, values: tf.Tensor) -> tf.Tensor:
    """What a convolution multiplies its kernel with: (n, steps, channels) -> (n, positions, kernel_size * channels)."""
    (size,), (stride,) = layer.kernel_size, layer.strides
    steps = values.shape[1]
    if layer.padding == "same":
        padding = max((-(-steps // stride) - 1) * stride + size - steps, 0)
        before = padding // 2
    else:
        padding = before = 0
    values = tf.pad(values, ((0, 0), (before, padding - before), (0, 0)))
    last = steps + padding - size
    return tf.concat([values[:, start : start + last + 1 : stride] for start in range(size)], axis=-1)


def _by_unit(values: tf.Tensor, most_windows: int) -> tf.Tensor:
    """(n_units * most_windows, [positions,] channels) -> (n_units, most_windows * positions, channels)."""
    *positions, channels = values.shape[1:]
    return tf.reshape(values, (-1, most_windows * int(np.prod(positions)), channels))


def _squared_norms(layer: tf.keras.layers.Layer, inputs: tf.Tensor, slopes: tf.Tensor) -> tf.Tensor:
    """Squared norm of each unit's gradient of one layer, (n_units,), by the way that takes less memory.

    The kernel's gradient is inputs^T slopes, so its squared norm is also that of the two Gram matrices' product (ghost
    norm: Li et al. 2021, arXiv 2110.05679).
    """
    positions, (channels_in, channels_out) = inputs.shape[1], (inputs.shape[2], slopes.shape[2])
    if positions**2 <= channels_in * channels_out:
        grams = (tf.matmul(values, values, transpose_b=True) for values in (inputs, slopes))
        squared = tf.reduce_sum(tf.multiply(*grams), (1, 2))
    else:
        squared = tf.reduce_sum(tf.matmul(inputs, slopes, transpose_a=True) ** 2, (1, 2))
    lengths = tf.norm(slopes, axis=2)
    terms = tf.reduce_sum(tf.norm(inputs, axis=2) * lengths, 1) ** 2
    if layer.use_bias:
        squared += tf.reduce_sum(tf.reduce_sum(slopes, 1) ** 2, 1)
        terms += tf.reduce_sum(lengths, 1) ** 2
    # Where large terms cancel, what is left is rounding, here otherwise than in the sum: it must not pass unclipped.
    return squared + CANCELLATION * terms
