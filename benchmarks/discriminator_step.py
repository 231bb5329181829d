"""How long one discriminator gradient takes: clipped by unit, beside the plain one.

    python -m benchmarks.discriminator_step

Times both interleaved in one process and writes `benchmarks/results.json`.
"""

import json
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from wearsynth.dpsgd import clipped_sum

WINDOW = (60, 10)  # seconds, nine signals and the label
WINDOWS_PER_SUBJECT = 64
REPETITIONS = 30
RESULTS = Path(__file__).parent / "results.json"


def build_conv() -> tf.keras.Sequential:
    """A convolutional discriminator of common size, windows -> logits (n, 1)."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input(WINDOW),
            layers.Conv1D(64, 5, strides=2, padding="same", activation=tf.nn.leaky_relu),
            layers.Conv1D(64, 5, strides=2, padding="same", activation=tf.nn.leaky_relu),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


def loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example, (n,)."""
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits[:, 0])


def implementations(model: tf.keras.Sequential) -> dict:
    """The ways to get a gradient of a batch (n_units, windows, seconds, signals), compiled."""

    @tf.function
    def plain(examples, targets, share):
        with tf.GradientTape() as tape:
            logits = model(tf.reshape(examples, (-1, *WINDOW)))
            total = tf.reduce_sum(loss(tf.reshape(targets, (-1,)), logits) * tf.reshape(share, (-1,)))
        return tape.gradient(total, model.trainable_variables)

    @tf.function
    def fused(examples, targets, share):
        return clipped_sum(model, loss, examples, targets, share, clip_norm=0.3)

    return {"plain": plain, "fused": fused}


def measure(unit: str, batch: int) -> dict[str, float]:
    """Median milliseconds of each implementation on one batch of windows."""
    per_unit = WINDOWS_PER_SUBJECT if unit == "subject" else 1
    examples = tf.random.stateless_normal((batch // per_unit, per_unit, *WINDOW), seed=(0, 0))
    targets, share = tf.ones(examples.shape[:2]), tf.ones(examples.shape[:2]) / per_unit
    functions = implementations(build_conv())
    seconds = {name: [] for name in functions}
    for repetition in range(REPETITIONS + 3):  # the first ones compile and warm up
        for name, function in functions.items():
            start = time.perf_counter()
            function(examples, targets, share)[0].numpy()
            if repetition >= 3:
                seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measures every case, prints the ratios, writes the results."""
    machine = {"processor": platform.processor() or platform.machine(), "tensorflow": version("tensorflow")}
    rows = []
    for unit, batch in tqdm([(unit, batch) for unit in ("window", "subject") for batch in (64, 256, 512)], unit="case"):
        medians = measure(unit, batch)
        tqdm.write(f"conv, {unit}, batch {batch}: fused over plain {medians['fused'] / medians['plain']:.2f}")
        for implementation, milliseconds in medians.items():
            case = {"architecture": "conv", "unit": unit, "batch": batch, "implementation": implementation}
            rows.append(case | {"milliseconds": round(milliseconds, 3)} | machine)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
