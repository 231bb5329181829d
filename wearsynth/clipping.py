"""Clipped sums: the gradients of units, each clipped to one norm and then added up.

A unit is a group of windows (one of them, or several of a subject's), and its gradient the mean over them. The sum
costs one forward and one backward pass (book-keeping: Bu et al. 2022, arXiv 2210.00038). The backward pass stops at
each layer's pre-activations; what arrives there, the *slopes*, gives together with the layer's inputs both the norm of
every unit's gradient and the sum of the clipped ones. A unit's gradient itself stands in memory only where it is no
larger than what the passes leave there anyway; elsewhere its norm comes from Gram matrices (ghost norm: Li et al. 2021,
arXiv 2110.05679). `reference_sum` is the same by tensorflow-privacy, for those who would rather trust that.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from wearsynth.quiet import tf

# TensorFlow would round products to 10 bits on newer GPUs, far more than the margins below allow for.
tf.config.experimental.enable_tensor_float_32_execution(False)

WITHOUT_WEIGHTS = (
    tf.keras.layers.Activation,
    tf.keras.layers.AveragePooling1D,
    tf.keras.layers.Flatten,
    tf.keras.layers.GlobalAveragePooling1D,
    tf.keras.layers.InputLayer,
    tf.keras.layers.LeakyReLU,
    tf.keras.layers.MaxPooling1D,
    tf.keras.layers.ReLU,
    tf.keras.layers.Reshape,
)
# What a layer must be set to, for its gradient to be what is computed here.
SETTINGS = {
    tf.keras.layers.Dense: {},
    tf.keras.layers.Conv1D: {"groups": 1, "dilation_rate": (1,), "data_format": "channels_last"},
    tf.keras.layers.LSTM: {
        **{"dropout": 0, "recurrent_dropout": 0, "go_backwards": False},
        **{"stateful": False, "return_state": False, "time_major": False},
    },
}
CANCELLATION = 1e-6  # of the squared terms of a sum in single precision: what rounding may leave of them
ROUNDING = 1e-5  # single precision must not carry a clipped gradient over the clip norm


class Part(NamedTuple):
    """What is known of the gradients of one variable.

    Args:
        variable: whose gradients.
        squared_norms: (n_units,), of each unit's gradient.
        total: (n_units,) factors -> the sum of the gradients times their factors, in the variable's shape.
    """

    variable: tf.Variable
    squared_norms: tf.Tensor
    total: Callable[[tf.Tensor], tf.Tensor]


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
        examples: (n_units, most_windows, ...) float32, of one unit at least.
        targets: (n_units, most_windows).
        share: (n_units, most_windows), each example's weight in its unit's gradient.
        clip_norm: largest L2 norm of one unit's part of the sum.

    Returns:
        One tensor for each of the model's trainable variables, in their order and shapes. A unit whose gradient
        overflows counts as nothing, or leaves a sum that is not finite.
    """
    share = tf.ensure_shape(share, examples.shape[:2])
    if examples.shape[1] > 1:  # of units of several windows there are few, maybe one
        return _sum(model, loss, examples, targets, share, clip_norm)
    # In two halves, which two cores work off side by side: a step is many operations, each too small to share.
    n_units = tf.shape(examples)[0]
    half = tf.maximum(n_units // 2, 1)
    rest = tf.minimum(half, n_units - 1)  # a single unit is in both halves, for TensorFlow fails at none
    once = tf.cast(n_units > 1, share.dtype)
    first = _sum(model, loss, examples[:half], targets[:half], share[:half], clip_norm)
    second = _sum(model, loss, examples[rest:], targets[rest:], share[rest:] * once, clip_norm)
    return [one + other for one, other in zip(first, second)]


def reference_sum(
    model: tf.keras.Model,
    loss: Callable,
    examples: tf.Tensor,
    targets: tf.Tensor,
    share: tf.Tensor,
    clip_norm: float,
) -> list[tf.Tensor]:
    """The same as `clipped_sum` by tensorflow-privacy's Keras optimizer: slow, and written by others.

    The optimizer never steps. It only clips and adds up, without noise, and is gone when this returns; so nobody can
    hand it a plain gradient, which it would apply without a word (`apply_gradients` without `minimize`).
    """
    # Takes seconds to import, and few need it.
    from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras_vectorized import VectorizedDPKerasSGDOptimizer

    def unit_losses() -> tf.Tensor:
        outputs = model(tf.reshape(examples, (-1, *examples.shape[2:])))
        losses = tf.reshape(loss(tf.reshape(targets, (-1,)), outputs), tf.shape(share))
        return tf.reduce_sum(losses * share, 1)

    optimizer = VectorizedDPKerasSGDOptimizer(clip_norm, noise_multiplier=0.0)
    pairs = optimizer._compute_gradients(unit_losses, model.trainable_variables)
    n_units = tf.cast(tf.shape(examples)[0], tf.float32)
    return [n_units * gradient for gradient, _ in pairs]  # it divides by the number of units


def check_layers(model: tf.keras.Sequential) -> None:
    """Refuses a model with a layer that mixes examples, or whose gradient by unit is not known here.

    Random layers are refused, too: a layer's random numbers go by an example's place in the batch, so that one unit
    more would change everybody else's gradient.

    Raises:
        ValueError: names the layer.
    """
    if not isinstance(model, tf.keras.Sequential):
        raise ValueError(
            f"model {model.name!r} ({type(model).__name__}): expected layers one behind the other, Sequential"
        )
    for layer in model.layers:
        settings = SETTINGS.get(type(layer))  # exactly this class: a subclass may do anything
        if settings is None and type(layer) not in WITHOUT_WEIGHTS:
            known = ", ".join(kind.__name__ for kind in (*SETTINGS, *WITHOUT_WEIGHTS))
            raise ValueError(
                f"layer {layer.name!r} ({type(layer).__name__}): cannot be clipped by unit; known here are {known}"
            )
        for name, value in (settings or {}).items():
            found = getattr(layer, name)
            if found != value:
                raise ValueError(f"layer {layer.name!r}: {name}={found!r}: expected {value!r}, to be clipped by unit")
        if not layer.trainable:
            raise ValueError(f"layer {layer.name!r} is frozen: leave it out of the model, or train it")
    if not model.built:
        raise ValueError(f"model {model.name!r} is not built: let it begin with layers.Input")
    values = tf.random.stateless_uniform((3, *model.input_shape[1:]), seed=(0, 0))
    for layer in model.layers:  # an activation may be any function
        together, alone = layer(values), tf.concat([layer(values[n : n + 1]) for n in range(3)], 0)
        if not np.allclose(together, alone, rtol=1e-3, atol=1e-5):
            raise ValueError(
                f"layer {layer.name!r} ({type(layer).__name__}) mixes examples: what it makes of one differs"
            )
        values = together


def _sum(model, loss, examples, targets, share, clip_norm: float) -> list[tf.Tensor]:
    """The clipped sum, of one unit at least."""
    with tf.GradientTape() as tape:
        outputs, taps = _forward(model, tf.reshape(examples, (-1, *examples.shape[2:])), examples.shape[1])
        losses = tf.ensure_shape(loss(tf.reshape(targets, (-1,)), outputs), (None,))
        total = tf.reduce_sum(losses * tf.reshape(share, (-1,)))
    slopes = tape.gradient(total, [preactivations for preactivations, _ in taps])
    parts = [part for (_, parts_from), slope in zip(taps, slopes) for part in parts_from(slope)]
    squared_norms = tf.add_n([part.squared_norms for part in parts])
    factors = tf.minimum(1.0, clip_norm * (1 - ROUNDING) * tf.math.rsqrt(tf.maximum(squared_norms, 1e-30)))
    factors = tf.where(tf.math.is_finite(squared_norms), factors, 0.0)  # else nobody knows whether it was clipped
    sums = {part.variable.ref(): part.total(factors) for part in parts}
    return [sums[variable.ref()] for variable in model.trainable_variables]


def _forward(model: tf.keras.Sequential, values: tf.Tensor, most_windows: int) -> tuple[tf.Tensor, list[tuple]]:
    """Runs the model; returns its outputs and, for each layer with weights, (pre-activations, slopes -> parts)."""
    taps = []
    for layer in model.layers:
        if type(layer) in _RUN:
            values, *tap = _RUN[type(layer)](layer, values, most_windows)
            taps.append(tap)
        else:
            values = layer(values)
    return values, taps


def _run_dense(layer: tf.keras.layers.Dense, values: tf.Tensor, most_windows: int) -> tuple:
    linear = tf.tensordot(values, layer.kernel, 1)
    preactivations = linear + layer.bias if layer.use_bias else linear

    def parts(slopes: tf.Tensor) -> list[Part]:
        kernel = _product(layer.kernel, values, slopes, most_windows)
        return [kernel, *_bias(layer, slopes, most_windows)]

    return layer.activation(preactivations), preactivations, parts


def _run_conv(layer: tf.keras.layers.Conv1D, values: tf.Tensor, most_windows: int) -> tuple:
    (size,), (stride,), padding = layer.kernel_size, layer.strides, layer.padding.upper()
    if padding == "CAUSAL":  # which the layer's own call does before its convolution
        values, padding = _pad(values, size - 1, 0), "VALID"
    linear = tf.nn.conv1d(values, layer.kernel, stride, padding)
    preactivations = tf.nn.bias_add(linear, layer.bias) if layer.use_bias else linear

    def kernel_sum(slopes: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.Conv2DBackpropFilter(
            input=values[:, None],
            filter_sizes=(1, *layer.kernel.shape),
            out_backprop=slopes[:, None],
            strides=(1, 1, stride, 1),
            padding=padding,
        )[0]

    def parts(slopes: tf.Tensor) -> list[Part]:
        if _held(layer.kernel, slopes, most_windows):
            kernel = _product(layer.kernel, _patches(values, size, stride, padding), slopes, most_windows)
        else:
            # The patches' Gram matrix is that of the values, added up along the diagonals that a patch covers.
            grams = _blocks(_grams(values, most_windows), most_windows)
            grams = tf.nn.conv2d(grams[..., None], tf.eye(size)[..., None, None], stride, padding)[..., 0]
            grams = _from_blocks(grams, most_windows)
            kernel = _ghost(layer.kernel, grams, slopes, most_windows, kernel_sum)
        return [kernel, *_bias(layer, slopes, most_windows)]

    return layer.activation(preactivations), preactivations, parts


def _run_lstm(layer: tf.keras.layers.LSTM, values: tf.Tensor, most_windows: int) -> tuple:
    cell = layer.cell
    linear = tf.tensordot(values, cell.kernel, 1)
    # The gates' pre-activations are these and what the state adds, so that the slopes of both are the same.
    from_inputs = tf.nn.bias_add(linear, cell.bias) if cell.use_bias else linear
    state = carry = tf.zeros_like(from_inputs[:, 0, : cell.units])
    states = [state]
    for from_input in tf.unstack(from_inputs, axis=1):
        enter, keep, new, leave = tf.split(from_input + tf.matmul(state, cell.recurrent_kernel), 4, axis=1)
        carry = cell.recurrent_activation(keep) * carry + cell.recurrent_activation(enter) * cell.activation(new)
        state = cell.recurrent_activation(leave) * cell.activation(carry)
        states.append(state)

    def parts(slopes: tf.Tensor) -> list[Part]:
        kernel = _product(cell.kernel, values, slopes, most_windows)
        recurrent = _product(cell.recurrent_kernel, tf.stack(states[:-1], axis=1), slopes, most_windows)
        return [kernel, recurrent, *_bias(cell, slopes, most_windows)]

    return tf.stack(states[1:], axis=1) if layer.return_sequences else state, from_inputs, parts


_RUN = {
    tf.keras.layers.Dense: _run_dense,
    tf.keras.layers.Conv1D: _run_conv,
    tf.keras.layers.LSTM: _run_lstm,
}


def _held(kernel: tf.Variable, slopes: tf.Tensor, most_windows: int) -> bool:
    """Whether a unit's gradient takes no more memory than its activations; for a single position it never pays."""
    channels_out = kernel.shape[-1]
    channels_in = kernel.shape.num_elements() // channels_out
    positions = most_windows * int(np.prod(slopes.shape[1:-1]))
    return positions > 1 and channels_in * channels_out <= positions * (channels_in + channels_out)


def _product(kernel: tf.Variable, inputs: tf.Tensor, slopes: tf.Tensor, most_windows: int) -> Part:
    """Of a kernel that each of the inputs is multiplied with: a unit's gradient is inputs^T slopes."""
    if _held(kernel, slopes, most_windows):
        inputs, slopes = (_by_unit(each, most_windows) for each in (inputs, slopes))
        return _known(kernel, tf.matmul(inputs, slopes, transpose_a=True))

    def kernel_sum(slopes: tf.Tensor) -> tf.Tensor:
        rows = (tf.reshape(each, (-1, each.shape[-1])) for each in (inputs, slopes))
        return tf.matmul(*rows, transpose_a=True)

    return _ghost(kernel, _grams(inputs, most_windows), slopes, most_windows, kernel_sum)


def _bias(layer, slopes: tf.Tensor, most_windows: int) -> list[Part]:
    """Of a bias, if there is one: a unit's gradient is the sum of its slopes."""
    if not layer.use_bias:
        return []
    return [_known(layer.bias, tf.reduce_sum(_by_unit(slopes, most_windows), 1))]


def _known(variable: tf.Variable, gradients: tf.Tensor) -> Part:
    """Of gradients that stand in memory, (n_units, ...)."""
    flat = tf.reshape(gradients, (-1, variable.shape.num_elements()))
    return Part(variable, _squares(flat), lambda factors: tf.reshape(tf.matmul(factors[None], flat), variable.shape))


def _ghost(variable, input_grams, slopes, most_windows: int, kernel_sum: Callable) -> Part:
    """Of gradients inputs^T slopes that are never made: their squared norms from the Gram matrices of both."""
    slope_grams = _grams(slopes, most_windows)
    squared = tf.reduce_sum(input_grams * slope_grams, (1, 2))
    # Where large terms cancel, what is left is rounding, here otherwise than in the sum: it must not pass unclipped.
    lengths = tf.sqrt(tf.linalg.diag_part(input_grams) * tf.linalg.diag_part(slope_grams))
    squared += CANCELLATION * tf.reduce_sum(lengths, 1) ** 2

    def total(factors: tf.Tensor) -> tf.Tensor:
        by_unit = tf.reshape(slopes, (-1, most_windows * int(np.prod(slopes.shape[1:]))))
        return kernel_sum(tf.reshape(by_unit * factors[:, None], (-1, *slopes.shape[1:])))

    return Part(variable, squared, total)


def _grams(values: tf.Tensor, most_windows: int) -> tf.Tensor:
    """Products of a unit's positions, each with each: (n, [positions,] channels) ->
    (n_units, most_windows * positions, most_windows * positions)."""
    by_unit = _by_unit(values, most_windows)
    if by_unit.shape[1] == 1:
        return _squares(by_unit[:, 0])[:, None, None]
    return tf.matmul(by_unit, by_unit, transpose_b=True)


def _blocks(grams: tf.Tensor, most_windows: int) -> tf.Tensor:
    """Cuts units' Gram matrices into those of pairs of windows, (n_units * most_windows**2, positions, positions)."""
    positions = grams.shape[1] // most_windows
    split = tf.reshape(grams, (-1, most_windows, positions, most_windows, positions))
    return tf.reshape(tf.transpose(split, (0, 1, 3, 2, 4)), (-1, positions, positions))


def _from_blocks(blocks: tf.Tensor, most_windows: int) -> tf.Tensor:
    """Puts together what `_blocks` cut."""
    positions = blocks.shape[1]
    split = tf.reshape(blocks, (-1, most_windows, most_windows, positions, positions))
    return tf.reshape(tf.transpose(split, (0, 1, 3, 2, 4)), (-1, most_windows * positions, most_windows * positions))


def _by_unit(values: tf.Tensor, most_windows: int) -> tf.Tensor:
    """(n, [positions,] channels) -> (n_units, most_windows * positions, channels)."""
    return tf.reshape(values, (-1, most_windows * int(np.prod(values.shape[1:-1])), values.shape[-1]))


def _squares(rows: tf.Tensor) -> tf.Tensor:
    """Squared norms, (n, width) -> (n,); by way of the norm, whose operation is three times as fast."""
    return tf.math.reduce_euclidean_norm(rows, 1) ** 2


def _patches(values: tf.Tensor, size: int, stride: int, padding: str) -> tf.Tensor:
    """What a convolution multiplies its kernel with: (n, steps, channels) -> (n, positions, size * channels)."""
    steps, channels = values.shape[1:]
    if padding == "SAME":
        positions = -(-steps // stride)
        missing = max((positions - 1) * stride + size - steps, 0)
        values = _pad(values, missing // 2, missing - missing // 2)
    else:
        positions = (steps - size) // stride + 1
    covered = stride * np.arange(positions)[:, None] + np.arange(size)
    return tf.reshape(tf.gather(values, covered.ravel(), axis=1), (-1, positions, size * channels))


def _pad(values: tf.Tensor, before: int, after: int) -> tf.Tensor:
    """Zeros before and after in time; by concatenation, which is three times as fast as `tf.pad`."""
    zeros = [tf.zeros((tf.shape(values)[0], length, values.shape[2])) for length in (before, after)]
    return tf.concat([zeros[0], values, zeros[1]], 1)
