"""DP-SGD: clipped sums against per-unit loops and tensorflow-privacy, draws and noise against their distributions."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from tensorflow_privacy import VectorizedDPKerasSGDOptimizer

from wearsynth import cgan
from wearsynth.dpsgd import (
    PrivateGradient,
    Units,
    check_layers,
    clipped_sum,
    normal,
    poisson_sample,
    uniform,
)
from wearsynth.privacy import Promise

layers = tf.keras.layers
SECONDS, SIGNALS = 11, 3
ONES = np.ones((10, 1), np.float32)
FALSE_ALARM = 1e-6  # of draws that no seed fixes: such a test fails once in a million runs
NETS = {
    "dense": [layers.Flatten, lambda: layers.Dense(1)],
    "dense without bias": [layers.Flatten, lambda: layers.Dense(1, use_bias=False)],
    "dense by second": [lambda: layers.Dense(4, "tanh"), layers.GlobalAveragePooling1D, lambda: layers.Dense(1)],
    "two dense": [layers.Flatten, lambda: layers.Dense(5, "relu"), lambda: layers.Dense(1)],
    "pooling": [
        lambda: layers.Conv1D(4, 3, padding="same"),
        layers.ReLU,
        lambda: layers.MaxPooling1D(2),
        lambda: layers.Conv1D(3, 2, activation="tanh"),
        lambda: layers.AveragePooling1D(2),
        layers.Flatten,
        lambda: layers.Dense(1),
    ],
    "wide": [lambda: layers.Conv1D(24, 5, strides=4), layers.LeakyReLU, layers.Flatten, lambda: layers.Dense(1)],
    "reshaped": [
        lambda: layers.Reshape((SIGNALS, SECONDS)),
        lambda: layers.Dense(2),
        layers.Flatten,
        lambda: layers.Dense(1),
    ],
}
for padding in ("valid", "same", "causal"):
    for strides in (1, 2, 3):
        for size in (2, 5):
            NETS[f"conv {padding} {strides} {size}"] = [
                lambda size=size, strides=strides, padding=padding: layers.Conv1D(
                    4, size, strides, padding, activation="tanh", use_bias=strides != 2
                ),
                layers.Flatten,
                lambda: layers.Dense(1),
            ]


def build(name, seed=0):
    tf.keras.utils.set_random_seed(seed)
    return tf.keras.Sequential([layers.Input((SECONDS, SIGNALS)), *(make() for make in NETS[name])])


def cross_entropy(targets, logits):
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits[:, 0])


def draw_batch(n_units, most_windows, seed=0):
    """Examples, targets and shares; with more than one window a unit, some are padding."""
    rng = np.random.default_rng(seed)
    examples = rng.normal(size=(n_units, most_windows, SECONDS, SIGNALS)).astype(np.float32)
    targets = rng.integers(0, 2, (n_units, most_windows)).astype(np.float32)
    share = np.zeros((n_units, most_windows), np.float32)
    for unit in range(n_units):
        size = rng.integers(1, most_windows + 1)
        share[unit, :size] = 1 / size
    return examples, targets, share


def unit_gradients(model, loss, examples, targets, share):
    """Each unit's gradient by a tape of its own, flat: (n_units, n_weights), double precision."""
    rows = []
    for unit in range(len(examples)):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(share[unit] * loss(targets[unit], model(examples[unit], training=False)))
        rows.append(flat(tape.gradient(total, model.trainable_variables)))
    return np.array(rows)


def flat(gradient):
    return np.concatenate([np.ravel(part) for part in gradient]).astype(float)


def clip(rows, clip_norm):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, clip_norm / np.maximum(norms, 1e-300))


def test_uniform_stays_inside_the_open_interval():
    """The largest and the smallest 64 bits there are: a 0 or 1 would become infinite noise."""

    class Stuck:
        def __init__(self, bits):
            self.bits = bits

        def integers(self, low, high, size, dtype):
            return np.full(size, self.bits, dtype)

    for bits in (0, 2**64 - 1):
        assert 0 < uniform(1, Stuck(bits))[0] < 1
        assert np.isfinite(normal(1, Stuck(bits))[0])


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)], ids=["entropy", "seeded"])
def test_uniform_and_normal_have_their_distributions(rng):
    assert stats.kstest(uniform(20_000, rng), "uniform").pvalue > FALSE_ALARM
    assert stats.kstest(normal(20_000, rng), "norm").pvalue > FALSE_ALARM


def test_a_seed_repeats_and_entropy_does_not():
    first, second = (normal(5, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(normal(5), normal(5))


def chi_square_p(observed, expected):
    """Goodness of fit, neighbouring cells of fewer than five expected merged."""
    cells, tally = [], np.zeros(2)
    for pair in zip(observed, expected):
        tally += pair
        if tally[1] >= 5:
            cells.append(tally)
            tally = np.zeros(2)
    cells[-1] = cells[-1] + tally
    observed, expected = np.array(cells).T
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_draws_are_independent_coins(probability):
    """Seeded: passes or fails for good. 1e-3 is what one seed in a thousand would miss by chance."""
    n_units, n_draws = 12, 4000
    rng = np.random.default_rng(1)
    drawn = np.zeros((n_draws, n_units), int)
    for row in drawn:
        chosen = poisson_sample(n_units, probability, rng)
        assert len(np.unique(chosen)) == len(chosen)
        row[chosen] = 1
    sizes = np.bincount(drawn.sum(axis=1), minlength=n_units + 1)
    assert chi_square_p(sizes, n_draws * stats.binom.pmf(np.arange(n_units + 1), n_units, probability)) > 1e-3
    each = ((drawn.sum(axis=0) - n_draws * probability) ** 2).sum() / (n_draws * probability * (1 - probability))
    assert 1e-3 < stats.chi2.sf(each, n_units) < 1 - 1e-3
    # Of two units, and of one unit in two draws, each pattern is as common as independence says.
    pairs = [(drawn[:, i], drawn[:, j]) for i in range(n_units) for j in range(i)]
    pairs += [(drawn[:-1:2, i], drawn[1::2, i]) for i in range(n_units)]
    both = np.array([probability, 1 - probability])
    for one, other in pairs:
        observed = [np.sum((one == a) & (other == b)) for a in (1, 0) for b in (1, 0)]
        p = stats.chisquare(observed, len(one) * np.outer(both, both).ravel()).pvalue
        assert p > 1e-3 / len(pairs)


def test_certain_and_entropy_draws():
    assert poisson_sample(50, 1.0).tolist() == list(range(50))
    sizes = [len(poisson_sample(40, 0.3)) for _ in range(500)]
    expected = 500 * stats.binom.pmf(np.arange(41), 40, 0.3)
    assert chi_square_p(np.bincount(sizes, minlength=41), expected) > FALSE_ALARM


def test_units_hold_every_window_once_and_weigh_them_alike():
    subjects = np.array(["S3", "S2", "S3", "S3", "S10"])
    units = Units.group(subjects, "subject")
    held = [tuple(row[share > 0]) for row, share in zip(units.windows, units.share)]
    assert sorted(held) == [(0, 2, 3), (1,), (4,)]
    np.testing.assert_allclose(units.share.sum(axis=1), 1, rtol=1e-6)
    assert Units.group(subjects, "window").windows.tolist() == [[0], [1], [2], [3], [4]]
    windows, share = units.batch(np.array([], int))
    assert windows.shape == share.shape == (1, 3) and not share.any()


def test_padding_never_points_to_somebody_elses_window():
    """What stands in for a missing window weighs nothing, but nothing times infinity is not nothing."""
    subjects = np.array(["S2", "S3", "S3", "S4"])
    units = Units.group(subjects, "subject")
    for row in units.windows:
        assert len(set(subjects[row])) == 1


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


def test_clipped_sum_is_that_of_tensorflow_privacy():
    examples, targets, share = draw_batch(8, 1)
    for name in ("two dense", "pooling", "conv same 2 5"):
        model = build(name)
        for clip_norm in (0.05, 0.7, 100.0):
            optimizer = VectorizedDPKerasSGDOptimizer(clip_norm, noise_multiplier=0.0, learning_rate=1.0)
            pairs = optimizer._compute_gradients(
                lambda model=model: cross_entropy(targets[:, 0], model(examples[:, 0])), model.trainable_variables
            )
            theirs = len(examples) * flat([gradient for gradient, _ in pairs])  # they divide by the batch
            ours = flat(clipped_sum(model, cross_entropy, examples, targets, share, clip_norm))
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=3e-5 * clip_norm)


class Recorder(PrivateGradient):
    """The mechanism as it is, and what it was given."""

    made = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.made.append((self, args))


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_the_gans_own_discriminator_is_clipped_like_a_loop(monkeypatch, make_toy_windows, unit):
    monkeypatch.setattr(cgan, "PrivateGradient", Recorder)
    windows = make_toy_windows()[np.arange(22)]  # one person has fewer than the others
    cgan.train(windows, Promise(unit, np.inf, steps=1), seed=0)
    _, (model, loss, _, examples, targets, subjects) = Recorder.made.pop()
    for layer in model.layers:
        if isinstance(layer, layers.GaussianNoise):
            layer.stddev = 0.0  # leaves the loop and the sum with the same inputs
    units = Units.group(subjects, unit)
    batch = examples[units.windows], np.asarray(targets, np.float32)[units.windows], units.share
    rows = unit_gradients(model, loss, *batch)
    for clip_norm in (1e-2, np.median(np.linalg.norm(rows, axis=1))):
        gradient = flat(clipped_sum(model, loss, *batch, clip_norm))
        np.testing.assert_allclose(gradient, clip(rows, clip_norm).sum(axis=0), rtol=1e-3, atol=3e-5 * clip_norm)


COMPILED = {}


def compiled_sum(name, most_windows, clip_norm):
    """The clipped sum traced once, as the mechanism does it; eager calls would make the search slow."""
    key = name, most_windows, clip_norm
    if key not in COMPILED:
        model = build(name)
        shapes = [(None, most_windows, SECONDS, SIGNALS), (None, most_windows), (None, most_windows)]
        COMPILED[key] = tf.function(
            lambda *batch: clipped_sum(model, cross_entropy, *batch, clip_norm),
            input_signature=[tf.TensorSpec(shape, tf.float32) for shape in shapes],
        )
    return COMPILED[key]


WINDOW_VALUES = st.one_of(
    st.sampled_from([0.0, 1.0, 1e5, -1e15, 1e30, 3e38, np.nan, np.inf, -np.inf]),
    st.floats(-10, 10, width=32),
)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["dense", "two dense", "pooling", "conv same 2 5"]),
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
    total = compiled_sum(name, most_windows, clip_norm)
    examples, targets, share = draw_batch(n_units + 1, most_windows, seed=data.draw(st.integers(0, 5)))
    if full:
        share[-1] = 1 / most_windows
    if data.draw(st.booleans()) and n_units:
        examples[-1], targets[-1], share[-1] = examples[0], targets[0], share[0]  # somebody twice
    else:
        with np.errstate(all="ignore"):
            examples[-1] = examples[-1] * np.float32(scale) + np.float32(shift)
    if n_units:
        before = flat(total(examples[:-1], targets[:-1], share[:-1]))
    else:
        before = flat(total(examples[:1], targets[:1], 0 * share[:1])) * 0
    after = flat(total(examples, targets, share))
    assert np.isfinite(after).all()
    # Sums of n units in single precision differ by some 1e-7 of n clip norms, in the order of adding alone.
    assert np.linalg.norm(after - before) <= clip_norm * (1 + 1e-5)


def test_values_that_cancel_do_not_slip_past_the_clip_norm():
    """The gradient is a small difference of huge terms: its norm and its sum are rounded in different orders."""
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.Sequential([layers.Input((1,)), layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    for seed in range(100):
        values = np.float32(1e10) * np.random.default_rng(seed).normal(size=(1, 3, 1)).astype(np.float32)
        values[0, -1] = -values[0, :-1].sum()
        ones = np.ones((1, 3), np.float32)
        assert abs(flat(clipped_sum(model, cross_entropy, values, ones, ones / 3, 1.0))[0]) <= 1


def mechanism(model, examples, subjects, promise, rng=None):
    return PrivateGradient(model, cross_entropy, promise, examples, np.ones(len(examples)), subjects, rng)


def test_one_persons_missing_values_change_nobody_elses_part():
    """Everyone is drawn, without noise: the sum without a person is that with the person's values missing."""
    examples = draw_batch(7, 1)[0][:, 0]
    subjects = np.array(["S2", "S3", "S3", "S3", "S4", "S4", "S5"])
    promise = Promise("subject", np.inf, sampling_probability=1.0, steps=1)
    model = build("two dense")
    missing = examples.copy()
    missing[0] = np.nan
    with_person, without_person = (
        (lambda step: step.expected_units * flat(step()))(mechanism(model, values, whose, promise))
        for values, whose in ((missing, subjects), (examples[1:], subjects[1:]))
    )
    np.testing.assert_allclose(with_person, without_person, rtol=1e-4, atol=1e-6)  # single precision
    assert np.abs(without_person).max() > 0


def test_the_mean_is_over_the_expected_units():
    """Half of the units drawn a step, without noise: the sum over the drawn ones over half of all."""
    examples = draw_batch(10, 1)[0][:, 0]
    model = build("two dense")
    promise = Promise("window", np.inf, clip_norm=0.4, sampling_probability=0.5, steps=20)
    step = mechanism(model, examples, np.repeat("S2", 10), promise, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    clipped = clip(unit_gradients(model, cross_entropy, examples[:, None], ONES[:10], ONES[:10]), 0.4)
    sizes = set()
    for _ in range(20):
        drawn = poisson_sample(10, 0.5, rng)
        sizes.add(len(drawn))
        np.testing.assert_allclose(flat(step()), clipped[drawn].sum(axis=0) / 5, rtol=1e-3, atol=1e-5)
    assert len(sizes) > 3


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_the_noise_is_as_large_as_promised_for_every_weight(unit):
    """Nobody is ever drawn (probability 1e-9), so that every step is pure noise."""
    model = build("two dense")
    subjects = np.array(["S2", "S2", "S3", "S4"])
    promise = Promise(unit, 1.0, 1e-5, clip_norm=0.7, sampling_probability=1e-9, steps=400)
    vars(promise)["noise_multiplier"] = 1.3  # so rare a draw would call for hardly any
    step = mechanism(model, draw_batch(4, 1)[0][:, 0], subjects, promise, np.random.default_rng(0))
    expected = 1.3 * 0.7 / step.expected_units
    gradients = [step() for _ in range(400)]
    assert [part.shape for part in gradients[0]] == [weight.shape for weight in model.trainable_variables]
    noise = np.array([flat(gradient) for gradient in gradients]) / expected
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3  # seeded: passes or fails for good
    # The sum of 400 squares is chi-square with 400 degrees of freedom: bounds for all weights at once.
    tail = 1e-3 / noise.shape[1]
    squares = (noise**2).sum(axis=0)
    assert (stats.chi2.ppf(tail, 400) < squares).all() and (squares < stats.chi2.isf(tail, 400)).all()
    # Independent between weights and between steps: no correlation beyond what 400 draws give by chance.
    for correlations in (np.corrcoef(noise.T), np.corrcoef(noise[:40])):
        beside = np.abs(correlations[np.triu_indices(len(correlations), 1)])
        assert beside.max() < 6 / np.sqrt(min(noise.shape[0], noise.shape[1]))


def test_noise_from_entropy_is_as_large_and_differs_from_step_to_step():
    model = build("two dense")
    promise = Promise("window", 1.0, 1e-5, clip_norm=0.7, sampling_probability=1e-9, steps=30)
    vars(promise)["noise_multiplier"] = 1.3
    step = mechanism(model, draw_batch(4, 1)[0][:, 0], np.repeat("S2", 4), promise)
    noise = np.array([flat(step()) for _ in range(30)]) * step.expected_units / (1.3 * 0.7)
    assert stats.kstest(noise.ravel(), "norm").pvalue > FALSE_ALARM


def test_the_mechanism_reads_its_noise_from_the_promise():
    model, examples = build("two dense"), draw_batch(4, 1)[0][:, 0]
    promise = Promise("window", 0.5, 1e-5, clip_norm=0.2, sampling_probability=1.0, steps=4)
    step = mechanism(model, examples, np.repeat("S2", 4), promise, np.random.default_rng(0))
    noise = flat(step()) * step.expected_units
    bare = flat(clipped_sum(model, cross_entropy, examples[:, None], ONES[:4], ONES[:4], 0.2))
    rng = np.random.default_rng(0)
    poisson_sample(4, 1.0, rng)
    expected = bare + promise.noise_multiplier * 0.2 * normal(len(bare), rng)
    np.testing.assert_allclose(noise, expected, rtol=1e-4, atol=1e-5)


def test_no_step_beyond_the_promise():
    promise = Promise("window", np.inf, steps=3)
    step = mechanism(build("dense"), draw_batch(4, 1)[0][:, 0], np.repeat("S2", 4), promise)
    for taken in (1, 2, 3):
        step()
        assert step.steps == taken
    with pytest.raises(RuntimeError, match="3 promised steps"):
        step()
    assert step.steps == 3


def test_noise_within_a_public_layer_does_not_tell_how_many_were_drawn():
    """The size of a private draw must not shift the random numbers that the public half gets from the same layer."""

    def public_noise(n_drawn):
        tf.keras.utils.set_random_seed(0)
        noise = layers.GaussianNoise(0.1)
        private, public = (tf.function(lambda values: noise(values, training=True)) for _ in range(2))
        private(tf.zeros((n_drawn, 6)))
        return public(tf.zeros((2, 6))).numpy()

    np.testing.assert_array_equal(public_noise(3), public_noise(4))


@pytest.mark.parametrize(
    "layer",
    [
        layers.BatchNormalization(name="culprit"),
        layers.LayerNormalization(name="culprit"),
        layers.LSTM(3, return_sequences=True, name="culprit"),
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
    with pytest.raises(ValueError, match="culprit"):
        mechanism(model, draw_batch(4, 1)[0][:, 0], np.repeat("S2", 4), Promise(epsilon=np.inf))


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
