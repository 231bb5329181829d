"""The conditional GAN: generator, discriminator, the training loop, saving and loading."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.fft import idct
from tqdm import tqdm

from wearsynth.dpsgd import PrivateGradient, clipped_sum
from wearsynth.privacy import Promise
from wearsynth.windows import Windows

LATENT_DIM = 32
SLOW_WAVES = 8  # cosines whose weights the generator sets one by one: level, slope and the slow curves
BANDS = 4  # of the faster cosines, whose strength it sets; their weights are noise
N_FAKE = 128  # generated windows a step
STRESS_SHARE = 0.3  # public: the study's protocol has about 30 % stress, whoever takes part
GENERATOR_LEARNING_RATE = 1e-3
DISCRIMINATOR_LEARNING_RATE = 5e-4
INSTANCE_NOISE = 0.1
AVERAGING = 0.99  # of the generator's weights, a step: the average is kept instead of a "best" one, which costs budget


def build_generator(window_seconds: int, n_signals: int) -> tf.keras.Model:
    """Builds the generator: (latent, label, texture noise) -> windows in [0, 1].

    A window is put together from cosines (an inverse discrete cosine transform over time): the slow ones with weights from
    the network, the fast ones with noise whose strength in each band comes from the network. So structure in time is given,
    and only its size is learned; free outputs for every second come out far too rough.

    Returns:
        Model of (n, LATENT_DIM), (n, 1) and (n, window_seconds - SLOW_WAVES, n_signals) to (n, window_seconds, n_signals).
    """
    layers = tf.keras.layers
    latent = layers.Input((LATENT_DIM,))
    label = layers.Input((1,))
    n_fast = window_seconds - SLOW_WAVES
    texture = layers.Input((n_fast, n_signals))
    hidden = layers.Concatenate()([latent, label])
    for _ in range(2):
        hidden = layers.Dense(128, activation=tf.nn.leaky_relu)(hidden)
    slow = layers.Reshape((SLOW_WAVES, n_signals))(layers.Dense(SLOW_WAVES * n_signals)(hidden))
    strength = layers.Dense(BANDS * n_signals, activation="softplus", bias_initializer=tf.keras.initializers.Constant(-2.0))(
        hidden
    )
    strength = layers.Reshape((BANDS, n_signals))(strength)
    waves = tf.constant(idct(np.eye(window_seconds), norm="ortho", axis=0) * math.sqrt(window_seconds), tf.float32)
    fast = tf.gather(strength, np.arange(n_fast) * BANDS // n_fast, axis=1) * texture / math.sqrt(n_fast)
    weights = tf.concat([slow / math.sqrt(SLOW_WAVES), fast], axis=1)
    return tf.keras.Model([latent, label, texture], tf.sigmoid(tf.einsum("tk,nks->nts", waves, weights)))


def build_discriminator(window_seconds: int, n_signals: int) -> tf.keras.Sequential:
    """Builds the discriminator: (n, window_seconds, n_signals + 1), the label as one more signal, -> logits (n, 1)."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((window_seconds, n_signals + 1)),
            layers.GaussianNoise(INSTANCE_NOISE),
            layers.Conv1D(32, 5, strides=2, padding="same"),
            layers.LeakyReLU(0.2),
            layers.Conv1D(32, 5, strides=2, padding="same"),
            layers.LeakyReLU(0.2),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


@dataclass(frozen=True)
class Generator:
    """A trained generator and what its output means.

    Args:
        model: as `build_generator` makes it.
        signals: the n_signals names of its outputs.
        window_seconds: length of a window, s.
    """

    model: tf.keras.Model
    signals: tuple[str, ...]
    window_seconds: int

    def sample(self, n_windows: int, seed: int) -> Windows:
        """Draws synthetic windows, a fixed share of them (STRESS_SHARE) under stress.

        Returns:
            `n_windows` windows of the subject 'synthetic', the classes mixed.
        """
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.arange(n_windows) < round(n_windows * STRESS_SHARE)).astype(int)
        latent, texture = (rng.standard_normal((n_windows, *shape)) for shape in self.noise_shapes())
        values = self.model.predict([latent, labels[:, None], texture], batch_size=1024, verbose=0)
        return Windows(values, labels, np.full(n_windows, "synthetic"), self.signals)

    def noise_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of one window's latent values and texture noise."""
        return (LATENT_DIM,), (self.window_seconds - SLOW_WAVES, len(self.signals))


@dataclass(frozen=True)
class Training:
    """What a training run leaves behind; nothing in it was read from real windows outside the mechanism.

    Args:
        generator: with averaged weights.
        steps: discriminator steps really taken.
        seeded: whether sample and noise came from a seed.
        fake_loss: (steps,), the discriminator's loss on generated windows.
    """

    generator: Generator
    steps: int
    seeded: bool
    fake_loss: np.ndarray

    def save(self, folder: Path) -> None:
        """Writes weights and description into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.generator.model.save_weights(folder / "generator.weights.h5")
        description = {
            "signals": self.generator.signals,
            "window_seconds": self.generator.window_seconds,
            "steps": self.steps,
            "seeded": self.seeded,
            "fake_loss": self.fake_loss.round(4).tolist(),
        }
        (folder / "training.json").write_text(json.dumps(description))

    @classmethod
    def load(cls, folder: Path) -> "Training":
        """Reads what `save` wrote."""
        description = json.loads((folder / "training.json").read_text())
        signals, window_seconds = tuple(description["signals"]), description["window_seconds"]
        generator = Generator(build_generator(window_seconds, len(signals)), signals, window_seconds)
        generator.model.load_weights(folder / "generator.weights.h5")
        return cls(generator, description["steps"], description["seeded"], np.array(description["fake_loss"]))


def train(windows: Windows, promise: Promise, seed: int, noise_seed: int | None = None, name: str = "") -> Training:
    """Trains a conditional GAN whose discriminator sees the windows through DP-SGD only.

    The gradient of the discriminator's real half comes from the mechanism; that of its fake half, clipped alike so that the
    halves stay in balance, and all of the generator touch nothing private.

    Args:
        windows: real windows; private.
        promise: what is promised.
        seed: governs first weights and latent draws, and without privacy the sample, too.
        noise_seed: for tests; noise and sample from a seed protect nobody.
        name: stands before the progress line.
    """
    window_seconds, n_signals = windows.values.shape[1:]
    tf.keras.utils.set_random_seed(seed)
    generator = Generator(build_generator(window_seconds, n_signals), windows.signals, window_seconds)
    discriminator = build_discriminator(window_seconds, n_signals)
    if noise_seed is None and not promise.private:
        noise_seed = seed
    real_half = PrivateGradient(
        discriminator,
        _loss,
        promise,
        _with_label(windows.values, windows.labels.astype(np.float32)[:, None]).numpy(),
        np.ones(len(windows)),
        windows.subjects,
        rng=None if noise_seed is None else np.random.default_rng(noise_seed),
    )
    public_half = _PublicHalf(generator, discriminator, promise.clip_norm)
    fake_loss = np.zeros(promise.steps)
    with tqdm(range(promise.steps), desc=name, mininterval=5, unit="step") as progress:
        for step in progress:
            # Only public numbers are shown: losses on real windows, and how many were clipped, are private.
            fake_loss[step] = public_half.step(real_half())
            progress.set_postfix(fake=f"{fake_loss[step]:.2f}", refresh=False)
    return Training(public_half.averaged(), real_half.steps, noise_seed is not None, fake_loss)


class _PublicHalf:
    """All of a training step but the private gradient: fake windows, both optimizers, the averaged generator."""

    def __init__(self, generator: Generator, discriminator: tf.keras.Sequential, clip_norm: float):
        self.generator, self.discriminator, self.clip_norm = generator, discriminator, clip_norm
        self.generator_optimizer = tf.keras.optimizers.Adam(GENERATOR_LEARNING_RATE, beta_1=0.5)
        self.discriminator_optimizer = tf.keras.optimizers.Adam(DISCRIMINATOR_LEARNING_RATE, beta_1=0.5)
        self.average = [tf.Variable(weight, trainable=False) for weight in generator.model.weights]

    @tf.function
    def step(self, real_half: list[tf.Tensor]) -> tf.Tensor:
        """One step of the discriminator, then one of the generator; returns the loss on the fake windows."""
        fake = self._fake(self._draw())
        ones = tf.ones((N_FAKE, 1))
        fake_half = clipped_sum(self.discriminator, _loss, fake[:, None], 0 * ones, ones, self.clip_norm)
        gradient = [real + fake / N_FAKE for real, fake in zip(real_half, fake_half)]
        self.discriminator_optimizer.apply_gradients(zip(gradient, self.discriminator.trainable_variables))
        draw, weights = self._draw(), self.generator.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.discriminator(self._fake(draw), training=True)
            loss = tf.reduce_mean(_loss(ones[:, 0], logits))
        self.generator_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        for average, weight in zip(self.average, self.generator.model.weights):
            average.assign(AVERAGING * average + (1 - AVERAGING) * weight)
        return tf.reduce_mean(_loss(0 * ones[:, 0], logits))

    def averaged(self) -> Generator:
        """The generator, its weights replaced by their running average."""
        self.generator.model.set_weights([average.numpy() for average in self.average])
        return self.generator

    def _draw(self) -> list[tf.Tensor]:
        """Latent values, labels in the public share, texture noise."""
        latent, texture = (tf.random.normal((N_FAKE, *shape)) for shape in self.generator.noise_shapes())
        label = tf.cast(tf.random.uniform((N_FAKE, 1)) < STRESS_SHARE, tf.float32)
        return [latent, label, texture]

    def _fake(self, draw: list[tf.Tensor]) -> tf.Tensor:
        """Generated windows as the discriminator sees them."""
        return _with_label(self.generator.model(draw), draw[1])


def _with_label(values: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """(n, seconds, signals) and (n, 1) -> (n, seconds, signals + 1): the label as one more, constant signal."""
    return tf.concat([values, tf.repeat(label[:, None], values.shape[1], axis=1)], axis=2)


def _loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example, (n,)."""
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits[:, 0])
