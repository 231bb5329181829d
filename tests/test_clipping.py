"""Clipped sums: against loops over units and tensorflow-privacy; the clip norm against whatever a unit may hold."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from per_unit_loop import SECONDS, SIGNALS, clip, cross_entropy, draw_batch, flat, unit_gradients
from promises import with_tf_privacy

from wearsynth import cgan
from wearsynth.clipping import check_layers, clipped_sum, reference_sum
from wearsynth.dpsgd import PrivateGradient
from wearsynth.privacy import Promise

layers = tf.keras.layers


def last(*before):
    """What a net ends with."""
    return [*before, lambda: layers.Dense(1)]


def conv(*args, **kwargs):
    return lambda: layers.Conv1D(*args, activation="tanh", **kwargs)


def lstm(*args, **kwargs):
    return lambda: layers.LSTM(*args, **kwargs)


NETS = {
    "dense": last(layers.Flatten),
    "dense without bias": [layers.Flatten, lambda: layers.Dense(1, use_bias=False)],
    "dense by second": last(lambda: layers.Dense(4, "tanh"), layers.GlobalAveragePooling1D),
    "wide dense by second": last(
        lambda: layers.Dense(40, "tanh"), lambda: layers.Dense(160), layers.GlobalAveragePooling1D
    ),
    "two dense": last(layers.Flatten, lambda: layers.Dense(5, "relu")),
    "pooling": last(
        conv(4, 3, padding="same"), lambda: layers.MaxPooling1D(2), conv(3, 2), lambda: layers.AveragePooling1D(2)
    )[:-1]
    + last(layers.Flatten),
    "reshaped": last(lambda: layers.Reshape((SIGNALS, SECONDS)), lambda: layers.Dense(2), layers.Flatten),
    "lstm": last(lstm(5)),
    "lstm by second": last(lstm(4, return_sequences=True, activation="relu"), layers.GlobalAveragePooling1D),
    "two lstm": last(lstm(3, return_sequences=True), lstm(2, use_bias=False)),
    "wide lstm": last(lstm(24)),
}
for padding in ("valid", "same", "causal"):
    for strides in (1, 2, 3):
        for size in (2, 5):
            settings_ = {"strides": strides, "padding": padding, "use_bias": strides != 2}
            NETS[f"conv {padding} {strides} {size}"] = last(conv(4, size, **settings_), layers.Flatten)
        # So wide that its gradients are not held.
        NETS[f"wide conv {padding} {strides}"] = last(conv(160, 5, strides=strides, padding=padding), layers.Flatten)


def build(name, seed=0):
    tf.keras.utils.set_random_seed(seed)
    return tf.keras.Sequential([layers.Input((SECONDS, SIGNALS)), *(make() for make in NETS[name])])


@pytest.mark.parametrize("most_windows", [1, 4])
@pytest.mark.parametrize("name", NETS)
def test_clipped_sum_is_that_of_a_loop(name, most_windows):
    model = build(name)
    check_layers(model)
    batch = draw_batch(6, most_windows)
    rows = unit_gradients(model, cross_entropy, *batch)
    for clip_norm in (1e-2, np.median(np.linalg.norm(rows, axis=1)), 1e3):  # all, half, and none are clipped
        gradient = clipped_sum(model, cross_entropy, *batch, clip_norm)
        assert [part.shape for part in gradient] == [weight.shape for weight in model.trainable_variables]
        expected = clip(rows, clip_norm).sum(axis=0)
        # Single precision, and the clip norm is undercut by 1e-5 to make up for it.
        np.testing.assert_allclose(flat(gradient), expected, rtol=1e-3, atol=3e-5 * min(clip_norm, np.abs(rows).max()))


@pytest.mark.parametrize("most_windows", [1, 3])
@with_tf_privacy
@pytest.mark.parametrize("name", ["dense by second", "pooling", "conv same 2 5", "lstm"])
def test_clipped_sum_is_that_of_tensorflow_privacy(name, most_windows):
    model, batch = build(name), draw_batch(5, most_windows)
    norms = np.linalg.norm(unit_gradients(model, cross_entropy, *batch), axis=1)
    for clip_norm in (np.median(norms), 2 * norms.max()):
        theirs, ours = (flat(each(model, cross_entropy, *batch, clip_norm)) for each in (reference_sum, clipped_sum))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=3e-5 * clip_norm)


def test_one_unit_alone_is_summed_once():
    """The two halves that a sum is worked off in are the same unit then."""
    for most_windows in (1, 3):
        model, batch = build("conv same 2 5"), draw_batch(1, most_windows)
        rows = unit_gradients(model, cross_entropy, *batch)
        gradient = clipped_sum(model, cross_entropy, *batch, 1e3)
        np.testing.assert_allclose(flat(gradient), rows[0], rtol=1e-3, atol=1e-6)


def largest_of_a_window(total, model):
    """Elements a window of the largest tensor in the graph of a sum over any number of windows."""
    shapes = [(None, 1, SECONDS, SIGNALS), (None, 1), (None, 1)]
    step = tf.function(lambda *batch: total(model, cross_entropy, *batch, 1.0))
    graph = step.get_concrete_function(*(tf.TensorSpec(shape) for shape in shapes)).graph
    tensors = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    shapes = [tensor.shape.as_list() for tensor in tensors if tensor.shape.rank]
    return max(np.prod(shape[1:]) for shape in shapes if shape[0] is None and None not in shape[1:])


@pytest.mark.parametrize("name", ["wide conv same 2", "wide lstm", "wide dense by second"])
def test_no_windows_gradient_stands_in_memory(name):
    """Memory grows with windows times activations, not with windows times weights."""
    model = build(name)
    weights = max(weight.shape.num_elements() for weight in model.trainable_variables)
    assert largest_of_a_window(clipped_sum, model) < weights / 2


@with_tf_privacy
def test_tensorflow_privacy_holds_every_windows_gradient():
    """What the test above would find."""
    model = build("wide conv same 2")
    assert largest_of_a_window(reference_sum, model) >= 5 * SIGNALS * 160


MECHANISMS = {}


def mechanism_sum(name, most_windows, clip_norm):
    """The sum as the mechanism takes it, before the noise; traced once for each net."""
    key = name, most_windows, clip_norm
    if key not in MECHANISMS:
        promise = Promise("subject", np.inf, clip_norm=clip_norm)
        examples = draw_batch(most_windows, 1)[0][:, 0]
        MECHANISMS[key] = PrivateGradient(
            build(name), cross_entropy, promise, examples, np.ones(most_windows), np.repeat("S2", most_windows)
        )
    return MECHANISMS[key]._sum


WINDOW_VALUES = st.one_of(
    st.sampled_from([0.0, 1.0, 1e5, -1e15, 1e30, 3e38, np.nan, np.inf, -np.inf]),
    st.floats(-10, 10, width=32),
)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["dense", "two dense", "pooling", "conv same 2 5", "wide conv valid 2", "lstm"]),
    most_windows=st.sampled_from([1, 3]),
    clip_norm=st.sampled_from([0.1, 1.0]),
    n_units=st.integers(0, 4),
    scale=WINDOW_VALUES,
    shift=WINDOW_VALUES,
    full=st.booleans(),
    data=st.data(),
)
def test_no_unit_moves_the_sum_by_more_than_the_clip_norm(
    name, most_windows, clip_norm, n_units, scale, shift, full, data
):
    total = mechanism_sum(name, most_windows, clip_norm)
    examples, targets, share = draw_batch(n_units + 1, most_windows, seed=data.draw(st.integers(0, 5)))
    if full:
        share[-1] = 1 / most_windows
    if data.draw(st.booleans()) and n_units:
        examples[-1], targets[-1], share[-1] = examples[0], targets[0], share[0]  # somebody twice
    else:
        with np.errstate(all="ignore"):
            examples[-1] = examples[-1] * np.float32(scale) + np.float32(shift)
    place = data.draw(st.integers(0, n_units))
    order = np.insert(np.arange(n_units), place, n_units)  # the last one, first or in between
    before, after = (
        flat(total(*(each[rows] for each in (examples, targets, share)))) for rows in (order[order < n_units], order)
    )
    assert np.isfinite(after).all()
    # Sums of n units in single precision differ by some 1e-7 of n clip norms, in the order of adding alone.
    assert np.linalg.norm(after - before) <= clip_norm * (1 + 1e-5)


def test_values_that_cancel_do_not_slip_past_the_clip_norm():
    """A gradient that is a small difference of huge terms, its norm from Gram matrices: it is rounded otherwise."""
    tf.keras.utils.set_random_seed(0)
    first = layers.Dense(40, use_bias=False, kernel_initializer="zeros")
    model = tf.keras.Sequential([layers.Input((40,)), first, layers.Dense(1)])
    for seed in range(100):
        values = np.float32(1e10) * np.random.default_rng(seed).normal(size=(1, 3, 40)).astype(np.float32)
        values[0, -1] = -values[0, :-1].sum(axis=0)
        ones = np.ones((1, 3), np.float32)
        assert np.linalg.norm(flat(clipped_sum(model, cross_entropy, values, ones, ones / 3, 1.0))) <= 1


@pytest.mark.parametrize("name", ["two dense", "wide dense by second", "conv same 2 5", "wide conv same 2", "lstm"])
def test_single_precision_does_not_carry_a_clipped_gradient_over_the_norm(name):
    model, (examples, targets, share) = build(name), draw_batch(8, 1)
    for unit in range(8):
        batch = (each[unit : unit + 1] for each in (examples, targets, share))
        assert np.linalg.norm(flat(clipped_sum(model, cross_entropy, *batch, 0.01))) <= 0.01


def test_the_discriminator_has_no_memory_and_no_order(toy_codec):
    """One window more moves the sum by at most the clip norm wherever it stands, and no later sum at all."""
    model = cgan.OWN_RECIPE.discriminator(toy_codec)
    examples, targets, share = draw_batch(9, 1, shape=model.input_shape[1:])
    compiled = tf.function(lambda *batch: clipped_sum(model, cross_entropy, *batch, 0.3))
    before = flat(compiled(examples[:-1], targets[:-1], share[:-1]))
    for place in (0, 4, 8):
        rows = np.insert(np.arange(8), place, 8)
        after = flat(compiled(examples[rows], targets[rows], share[rows]))
        assert 0 < np.linalg.norm(after - before) <= 0.3 * (1 + 1e-5)
    np.testing.assert_array_equal(flat(compiled(examples[:-1], targets[:-1], share[:-1])), before)


def test_products_are_not_rounded_to_ten_bits():
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.mark.parametrize(
    "layer",
    [
        layers.BatchNormalization(name="culprit"),
        layers.GaussianNoise(0.1, name="culprit"),
        layers.Dropout(0.1, name="culprit"),
        layers.LayerNormalization(name="culprit"),
        layers.GRU(3, return_sequences=True, name="culprit"),
        layers.LSTM(3, return_sequences=True, dropout=0.1, name="culprit"),
        layers.LSTM(3, return_sequences=True, go_backwards=True, name="culprit"),
        layers.LSTM(3, return_sequences=True, stateful=True, name="culprit"),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="culprit"),
        layers.Conv1D(3, 2, groups=3, name="culprit"),
        layers.Conv1D(3, 2, dilation_rate=2, name="culprit"),
        layers.Conv1D(3, 2, trainable=False, name="culprit"),
        layers.Conv1DTranspose(3, 2, name="culprit"),  # a subclass of Conv1D with another kernel
        layers.SeparableConv1D(3, 2, name="culprit"),
        layers.Conv1D(3, 2, data_format="channels_first", name="culprit"),
        layers.Dense(3, trainable=False, name="culprit"),
        layers.Embedding(3, 2, name="culprit"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_that_cannot_be_clipped_by_unit_is_named(layer):
    model = tf.keras.Sequential([layers.Dense(3), layer])
    with pytest.raises(ValueError, match="culprit"):
        check_layers(model)
    examples = draw_batch(4, 1)[0][:, 0]
    with pytest.raises(ValueError, match="culprit"):
        PrivateGradient(model, cross_entropy, Promise(epsilon=np.inf), examples, np.ones(4), np.repeat("S2", 4))


class Minus(layers.ReLU):
    """A known layer's subclass that does something else."""

    def call(self, values):
        return values - tf.reduce_mean(values, 0)


def minus_mean(values):
    return values - tf.reduce_mean(values, 0)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(3, minus_mean, name="culprit"),
        layers.Activation(minus_mean, name="culprit"),
        layers.LSTM(3, activation=minus_mean, return_sequences=True, name="culprit"),
        Minus(name="culprit"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_that_mixes_examples_is_named(layer):
    model = tf.keras.Sequential([layers.Input((SECONDS, SIGNALS)), layers.Dense(3), layer])
    with pytest.raises(ValueError, match="culprit"):
        check_layers(model)


def test_a_model_without_input_is_refused():
    with pytest.raises(ValueError, match="begin with layers.Input"):
        check_layers(tf.keras.Sequential([layers.Dense(3)]))


def test_a_model_that_is_no_plain_sequence_is_refused():
    inputs = layers.Input((4,))
    hidden = layers.Dense(4)(inputs)
    model = tf.keras.Model(inputs, layers.Dense(1)(layers.Flatten()(hidden)) + layers.Dense(1)(inputs))
    with pytest.raises((ValueError, TypeError)):
        check_layers(model)
    two_ways = layers.Dense(4)
    branched = tf.keras.Model(inputs, two_ways(two_ways(inputs)))  # only layers that are known, in no simple order
    with pytest.raises((ValueError, TypeError)):
        check_layers(branched)
