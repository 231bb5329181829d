"""How long one discriminator gradient takes: clipped by unit, beside the plain one and tensorflow-privacy's.

    python -m benchmarks.discriminator_step

Times all of them interleaved in one process. Its rows of `benchmarks/results.json` are replaced, and
`benchmarks/results.png` is drawn anew.
"""

import functools
import itertools
import os
import time
from collections.abc import Callable

from tqdm import tqdm

from benchmarks.cases import (
    ARCHITECTURES,
    BATCHES,
    CLIP_NORM,
    FILTERS,
    KERNEL_SIZE,
    LEAK,
    LSTM_UNITS,
    PRIVACY_UNITS,
    STRIDE,
    WINDOW,
    WINDOWS_PER_SUBJECT,
)
from benchmarks.results import faster_plain, rows, save, time_interleaved
from wearsynth.clipping import clipped_sum, reference_sum
from wearsynth.quiet import tf

# A unit and window, as measured: tensorflow-privacy sends each unit's loss backwards through the whole batch.
REFERENCE_KILOBYTES = {"conv": 30, "lstm": 85}
MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # bytes


def build(architecture: str, filters: int = FILTERS) -> tf.keras.Sequential:
    """A discriminator of common size, windows -> logits (n, 1)."""
    layers = tf.keras.layers
    if architecture == "conv":
        leaky_relu = functools.partial(tf.nn.leaky_relu, alpha=LEAK)
        convolution = functools.partial(
            layers.Conv1D, filters, KERNEL_SIZE, strides=STRIDE, padding="same", activation=leaky_relu
        )
        hidden = [convolution(), convolution(), layers.Flatten()]
    else:
        hidden = [layers.LSTM(LSTM_UNITS, unroll=True)]
    return tf.keras.Sequential([layers.Input(WINDOW), *hidden, layers.Dense(1)])


def loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example, (n,)."""
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits[:, 0])


def draw_batch(unit: str, batch: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Examples (n_units, windows, seconds, signals), targets and shares, as `clipped_sum` takes them."""
    per_unit = WINDOWS_PER_SUBJECT if unit == "subject" else 1
    examples = tf.random.stateless_normal((batch // per_unit, per_unit, *WINDOW), seed=(0, 0))
    ones = tf.ones(examples.shape[:2])
    return examples, ones, ones / per_unit


def implementations(model: tf.keras.Sequential, batch: tuple) -> dict[str, Callable]:
    """The ways to get the gradient of such a batch, compiled for any number of units."""
    specs = [tf.TensorSpec((None, *values.shape[1:])) for values in batch]

    def plain(examples, targets, share):
        with tf.GradientTape() as tape:
            logits = model(tf.reshape(examples, (-1, *WINDOW)))
            total = tf.reduce_sum(loss(tf.reshape(targets, (-1,)), logits) * tf.reshape(share, (-1,)))
        return tape.gradient(total, model.trainable_variables)

    functions = {"plain": tf.function(plain, specs), "plain_xla": tf.function(plain, specs, jit_compile=True)}
    # Both compiled as `PrivateGradient` does it: what is timed is what trains.
    functions["fused"] = tf.function(lambda *batch: clipped_sum(model, loss, *batch, CLIP_NORM), specs)
    functions["tensorflow_privacy"] = tf.function(lambda *batch: reference_sum(model, loss, *batch, CLIP_NORM), specs)
    return functions


def seconds_of(function: Callable, batch: tuple) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    function(*batch)[0].numpy()
    return time.perf_counter() - start


def timers(architecture: str, unit: str, batch: int) -> dict[str, Callable[[], float]]:
    """By implementation, what takes one step on one and the same batch and returns its seconds."""
    examples = draw_batch(unit, batch)
    functions, n_units = implementations(build(architecture), examples), len(examples[0])
    gigabytes = REFERENCE_KILOBYTES[architecture] * n_units * batch / 1e6
    if gigabytes > MEMORY / 2e9:
        tqdm.write(f"{architecture}, {unit}, batch {batch}: without tensorflow-privacy, it takes {gigabytes:.0f} GB")
        del functions["tensorflow_privacy"]
    return {name: functools.partial(seconds_of, function, examples) for name, function in functions.items()}


def main() -> None:
    """Measures every case, prints the ratios, writes the results."""
    table = []
    for case in tqdm(list(itertools.product(ARCHITECTURES, PRIVACY_UNITS, BATCHES)), unit="case"):
        times = faster_plain(time_interleaved(timers(*case)))
        table += rows(*case, times)
        ratios = [f"{name} {row['milliseconds'] / times['plain']['milliseconds']:.2f}" for name, row in times.items()]
        tqdm.write(f"{', '.join(map(str, case))}: plain {times['plain']['milliseconds']:.1f} ms; {', '.join(ratios)}")
    save(table, {"plain", "fused", "tensorflow_privacy"})


if __name__ == "__main__":
    main()
