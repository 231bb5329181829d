"""Clipped sums the slow and obvious way: a loop over units, each with a tape of its own."""

import numpy as np
import tensorflow as tf

SECONDS, SIGNALS = 11, 3


def cross_entropy(targets, logits):
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits[:, 0])


def draw_batch(n_units, most_windows, seed=0, shape=(SECONDS, SIGNALS)):
    """Examples, targets and shares; with more than one window a unit, some are padding."""
    rng = np.random.default_rng(seed)
    examples = rng.normal(size=(n_units, most_windows, *shape)).astype(np.float32)
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
    return np.concatenate([np.ravel(tf.convert_to_tensor(part)) for part in gradient]).astype(float)


def clip(rows, clip_norm):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, clip_norm / np.maximum(norms, 1e-300))
