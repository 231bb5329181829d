"""Private detectors: what they learn comes from the mechanism alone, and its noise is that of their own steps."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax
from sklearn import metrics

from wearsynth import private_detectors
from wearsynth.dpsgd import PrivateGradient
from wearsynth.privacy import Promise
from wearsynth.private_detectors import PRIVATE_DETECTORS, train_private
from wearsynth.windows import MIN_SECONDS, SHARES

WITHOUT_PRIVACY = Promise(epsilon=math.inf, sampling_probability=1.0)


@pytest.mark.parametrize("window_seconds", [MIN_SECONDS, MIN_SECONDS + 1, 61])
def test_windows_of_any_allowed_length_are_looked_at(window_seconds):
    values = np.random.default_rng(0).uniform(size=(3, window_seconds, 2)).astype(np.float32)
    for recipe in PRIVATE_DETECTORS.values():
        inputs = recipe.inputs(values)
        logits = recipe.build(inputs.shape[1:])(inputs).numpy()
        assert logits.shape == (3, 1) and np.isfinite(logits).all()


@pytest.fixture
def few_steps(monkeypatch):
    """As many as it takes to learn what is easy."""
    monkeypatch.setattr(private_detectors, "PRIVATE_STEPS", 30)


def flat(model):
    return np.concatenate([np.ravel(weight) for weight in model.get_weights()])


def private_weights(trained):
    """Of the network below the last sigmoid."""
    return flat(trained.model.layers[0])


def trained_weights(name, windows, promise, seed=0, noise_seed=7):
    return private_weights(train_private(name, windows, promise, seed, np.random.default_rng(noise_seed)))


def start(name, windows, seed=0):
    recipe = PRIVATE_DETECTORS[name]
    tf.keras.utils.set_random_seed(seed)
    return flat(recipe.build(recipe.inputs(windows.values).shape[1:]))


@pytest.mark.parametrize("name", PRIVATE_DETECTORS)
def test_the_promise_is_taken_at_the_steps_of_a_detector_and_kept(make_toy_windows, monkeypatch, name):
    made, steps = [], 6

    class Counted(PrivateGradient):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(private_detectors, "PRIVATE_STEPS", steps)
    monkeypatch.setattr(private_detectors, "PrivateGradient", Counted)
    promise = Promise("subject", epsilon=2.0, delta=1e-3, sampling_probability=1.0, windows_per_subject=5, steps=999)
    train_private(name, make_toy_windows(), promise, seed=0)
    (gradient,) = made
    assert gradient.steps == gradient.promise.steps == steps
    own = {"steps": steps, "sampling_probability": private_detectors.PRIVATE_SAMPLING}
    own["clip_norm"] = PRIVATE_DETECTORS[name].clip_norm
    assert gradient.promise == replace(promise, **own)  # all else as promised
    with pytest.raises(RuntimeError, match="promised steps"):
        gradient()
    # The noise is that of these steps, not of the generator's: 2.0 is spent by the last of them, within the 1e-3 of a
    # noise multiplier to which it is calibrated.
    assert gradient.promise.spent(gradient.steps) == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("name", PRIVATE_DETECTORS)
def test_without_noise_an_easy_task_is_learned_and_the_seeds_repeat(make_toy_windows, few_steps, name):
    windows, test = make_toy_windows(each=24), make_toy_windows(each=24, seed=9)
    trained = train_private(name, windows, WITHOUT_PRIVACY, 0, np.random.default_rng(7))
    probability = trained.probabilities(test.values)[:, 0]
    assert probability.shape == (len(test),) and (probability >= 0).all() and (probability <= 1).all()
    assert metrics.roc_auc_score(test.labels, probability) > 0.95
    np.testing.assert_array_equal(trained_weights(name, windows, WITHOUT_PRIVACY), private_weights(trained))


@pytest.mark.parametrize("name", PRIVATE_DETECTORS)
def test_noise_takes_the_place_of_what_was_learned(make_toy_windows, few_steps, name):
    """All labels the other way round: without noise it leads elsewhere, under much of it hardly.

    The optimizer brings gradients of any size to steps of one size, so that it is not the weights' size that tells.
    """
    windows = make_toy_windows()
    turned = replace(windows, labels=1 - windows.labels)
    begun = start(name, windows)

    def learned_and_moved(promise):
        weights, of_turned = (trained_weights(name, each, promise) for each in (windows, turned))
        return np.linalg.norm(weights - of_turned), np.linalg.norm(weights - begun), weights

    learned, moved, _ = learned_and_moved(WITHOUT_PRIVACY)
    assert learned > 0.5 * moved
    strict = Promise(epsilon=1e-3)
    learned, moved, weights = learned_and_moved(strict)
    assert learned < 0.1 * moved
    assert np.linalg.norm(weights - trained_weights(name, windows, strict, noise_seed=8)) > 0.5 * moved


def test_noise_repeats_for_nobody(make_toy_windows, monkeypatch):
    monkeypatch.setattr(private_detectors, "PRIVATE_STEPS", 4)
    monkeypatch.setattr(Promise, "noise_multiplier", 1.0)  # any will do, and calibrating takes seconds
    first, second = (
        private_weights(train_private("private_logistic_regression", make_toy_windows(), Promise(), seed=0))
        for _ in range(2)
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", PRIVATE_DETECTORS)
def test_nothing_but_the_mechanism_moves_a_weight(make_toy_windows, monkeypatch, name):
    """Without its gradients the first weights stay, which know nothing of the windows but their shape."""

    class Silent(PrivateGradient):
        def __call__(self):
            return [tf.zeros_like(gradient) for gradient in super().__call__()]

    monkeypatch.setattr(private_detectors, "PRIVATE_STEPS", 8)  # the mean of the last four is exact
    monkeypatch.setattr(private_detectors, "PrivateGradient", Silent)
    windows = make_toy_windows()
    np.testing.assert_array_equal(trained_weights(name, windows, WITHOUT_PRIVACY), start(name, windows))


@pytest.mark.parametrize("name", PRIVATE_DETECTORS)
def test_where_nobody_is_drawn_other_windows_lead_to_the_same_weights(make_toy_windows, monkeypatch, name):
    monkeypatch.setattr(private_detectors, "PRIVATE_STEPS", 5)
    # Calibrated to draws this rare it would take minutes, and be 0 or nearly so.
    monkeypatch.setattr(Promise, "noise_multiplier", 1e-9)
    windows = make_toy_windows()
    others = replace(make_toy_windows(seed=9), labels=1 - windows.labels)
    promise = Promise("subject")
    monkeypatch.setattr(private_detectors, "PRIVATE_SAMPLING", 1e-12)
    blind = [trained_weights(name, each, promise) for each in (windows, others)]
    np.testing.assert_array_equal(*blind)
    assert not np.array_equal(blind[0], start(name, windows))  # the noise did move them
    monkeypatch.setattr(private_detectors, "PRIVATE_SAMPLING", 1.0)
    assert not np.array_equal(*(trained_weights(name, each, promise) for each in (windows, others)))


@pytest.mark.parametrize("name", PRIVATE_DETECTORS)
def test_what_a_private_network_takes_of_a_window_is_that_windows_own(make_toy_windows, name):
    """Bit for bit whatever stands beside it, or one window would reach another's gradient past the clipping."""
    windows, inputs = make_toy_windows(), PRIVATE_DETECTORS[name].inputs
    together = inputs(windows.values)
    alone = np.concatenate([inputs(windows.values[number : number + 1]) for number in range(len(windows))])
    np.testing.assert_array_equal(together, alone)
    poisoned = windows.values.copy()
    poisoned[1:] = 99
    np.testing.assert_array_equal(inputs(poisoned)[0], together[0])
    assert together.dtype == np.float32


def test_the_balanced_loss_by_hand():
    labels = np.array([1, 0, 1, 0, 1], np.float32)
    logits = np.array([2.0, -1.0, -3.0, 0.5, 0.0], np.float32)
    stress = 1 / (1 + np.exp(-logits.astype(float)))
    by_hand = [
        -math.log(p) * 0.5 / SHARES[1] if label else -math.log(1 - p) * 0.5 / SHARES[0]
        for label, p in zip(labels, stress)
    ]
    np.testing.assert_allclose(private_detectors._balanced_loss(labels, logits[:, None], SHARES), by_hand, rtol=1e-6)


def test_the_balanced_loss_of_three_classes_by_scipy():
    rng, shares = np.random.default_rng(0), (0.5, 0.3, 0.2)
    labels, logits = rng.integers(0, 3, 40), rng.normal(size=(40, 2)).astype(np.float32)
    log = log_softmax(np.column_stack([np.zeros(40), logits]), axis=1)
    expected = -log[np.arange(40), labels] / (3 * np.array(shares)[labels])
    np.testing.assert_allclose(private_detectors._balanced_loss(labels, logits, shares), expected, rtol=1e-5)


def test_in_the_public_share_both_classes_weigh_alike():
    """A logit of 0 is the best guess there is for all, where nothing can be told."""
    n = 1000
    labels = tf.constant(np.arange(n) < round(n * SHARES[1]), tf.float32)
    losses = [
        float(tf.reduce_mean(private_detectors._balanced_loss(labels, tf.fill((n, 1), bias), SHARES)))
        for bias in (-0.1, 0.0, 0.1)
    ]
    assert losses[1] == pytest.approx(math.log(2), rel=1e-5)
    assert losses[1] < min(losses[0], losses[2])


def test_the_last_half_of_the_steps_is_averaged(make_toy_windows, monkeypatch):
    """Against the same steps taken one by one."""
    monkeypatch.setattr(private_detectors, "PRIVATE_STEPS", 7)
    name, windows, promise = "private_logistic_regression", make_toy_windows(), Promise(epsilon=math.inf)
    averaged = trained_weights(name, windows, promise)
    recipe = PRIVATE_DETECTORS[name]
    promise = replace(promise, steps=7, clip_norm=recipe.clip_norm)
    inputs = recipe.inputs(windows.values)
    model = recipe.build(inputs.shape[1:])
    balanced_loss = partial(private_detectors._balanced_loss, shares=SHARES)
    gradient = PrivateGradient(
        model, balanced_loss, promise, inputs, windows.labels, windows.subjects, np.random.default_rng(7)
    )
    optimizer, path = tf.keras.optimizers.Adam(recipe.learning_rate), []
    for _ in range(7):
        optimizer.apply_gradients(zip(gradient(), model.trainable_variables))
        path.append(flat(model))
    np.testing.assert_allclose(averaged, np.mean(path[3:], axis=0), rtol=1e-5)
