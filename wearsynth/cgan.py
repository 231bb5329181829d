"""The conditional GAN: generator, discriminator, the training loop, saving and loading."""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.fft import idct
from tqdm import tqdm

from wearsynth.clipping import clipped_sum
from wearsynth.dpsgd import PrivateGradient
from wearsynth.files import replacing, write_json
from wearsynth.parallel import n_processes, one_core_each
from wearsynth.privacy import Promise
from wearsynth.windows import Windows

LATENT_DIM = 32
SLOW_WAVES = 8  # cosines whose weights the generator sets one by one: level, slope and the slow curves
BANDS = 4  # of the faster cosines, whose strength it sets; their weights are noise
FEATURES_PER_SIGNAL = 2 * SLOW_WAVES + BANDS
N_FAKE = 128  # generated windows a step
STRESS_SHARE = 0.3  # public: the study's protocol has about 30 % stress, whoever takes part
LEARNING_RATES = {"generator": 2e-4, "discriminator": 2e-3}  # the slower generator cannot run away
INSTANCE_NOISE = 0.1  # on the discriminator's inputs, real and fake alike: it must not tell them apart by a hair
AVERAGING = 0.998  # of the generator's weights, a step: the average is kept, not a "best" one, which would cost budget


def build_generator(window_seconds: int, n_signals: int) -> tf.keras.Model:
    """Builds the generator: (latent, label, texture noise) -> windows in [0, 1].

    A window is put together from cosines over time (an inverse discrete cosine transform): the slow ones with weights
    from the network, the fast ones with noise whose strength in each band comes from the network. So structure in time
    is given, and its size is learned; free outputs for every second come out far too rough.

    Returns:
        Model of (n, LATENT_DIM), (n, 1) and (n, window_seconds - SLOW_WAVES, n_signals) to
        (n, window_seconds, n_signals).
    """
    layers = tf.keras.layers
    n_fast = window_seconds - SLOW_WAVES
    latent, label = layers.Input((LATENT_DIM,)), layers.Input((1,))
    texture = layers.Input((n_fast, n_signals))
    # Weights of their own for each class: next to 32 latent values, one label would hardly be heard.
    hidden = layers.Concatenate()([latent * label, latent * (1 - label), label, 1 - label])
    for _ in range(2):
        hidden = layers.Dense(128, activation=tf.nn.leaky_relu)(hidden)
    # It starts out more diverse than people are: a generator that starts with one window for all tends to stay there.
    diverse = tf.keras.initializers.VarianceScaling(2.0)
    slow = layers.Dense(SLOW_WAVES * n_signals, kernel_initializer=diverse)(hidden)
    slow = layers.Reshape((SLOW_WAVES, n_signals))(slow)
    quiet = tf.keras.initializers.Constant(-2.0)
    strength = layers.Dense(BANDS * n_signals, activation="softplus", bias_initializer=quiet)(hidden)
    strength = tf.gather(layers.Reshape((BANDS, n_signals))(strength), _band_of(n_fast), axis=1)
    size = tf.constant([1.0] + [0.35] * (SLOW_WAVES - 1))[:, None]  # curves start smaller than levels
    weights = tf.concat([slow * size, strength * texture / math.sqrt(n_fast)], axis=1)
    values = tf.sigmoid(tf.einsum("tk,nks->nts", _cosines(window_seconds), weights))
    return tf.keras.Model([latent, label, texture], values)


def build_discriminator(n_signals: int) -> tf.keras.Sequential:
    """Builds the discriminator: what `describe` says of windows -> logits (n, 1).

    It is small, and looks at features instead of seconds, because noise is added to every weight: the fewer, the less.
    """
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((2 * FEATURES_PER_SIGNAL * n_signals + 1,)),
            layers.Dense(32),
            layers.LeakyReLU(0.2),
            layers.Dense(1),
        ]
    )


def describe(values: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Describes windows as the generator makes them: slow cosines' weights, log power in bands of the others.

    The squares of the weights stand beside them: a generator whose windows are all alike has the right means, but the
    wrong squares. One fixed function describes real and generated windows alike, each by itself; it costs no budget.

    Args:
        values: (n, window_seconds, n_signals) in [0, 1].
        label: (n, 1), 1 stress, 0 not.

    Returns:
        (n, 2 * FEATURES_PER_SIGNAL * n_signals + 1): the features where the label is 1, where it is 0, and the label.
    """
    window_seconds, n_signals = values.shape[1:]
    n_fast = window_seconds - SLOW_WAVES
    weights = tf.einsum("tk,nts->nks", _cosines(window_seconds) / window_seconds, values - 0.5)
    # The factors bring all features to a size of about one; a window's level varies more than its curves do.
    slow = weights[:, :SLOW_WAVES] * tf.constant([4.0] + [12.0] * (SLOW_WAVES - 1))[:, None]
    bands = tf.one_hot(_band_of(n_fast), BANDS)
    power = tf.einsum("kb,nks->nbs", bands, weights[:, SLOW_WAVES:] ** 2)
    features = tf.concat([slow, slow**2, tf.math.log(power + 1e-5) / 4 + 2], axis=1)
    features = tf.reshape(features, (-1, FEATURES_PER_SIGNAL * n_signals))
    return tf.concat([features * label, features * (1 - label), label], axis=1)


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
        latent, texture = (rng.standard_normal((n_windows, *shape), np.float32) for shape in self.noise_shapes())
        values = self.model([latent, labels[:, None].astype(np.float32), texture]).numpy()
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
        with replacing(folder / "generator.weights.h5") as draft:
            self.generator.model.save_weights(draft)
        description = {
            "signals": self.generator.signals,
            "window_seconds": self.generator.window_seconds,
            "steps": self.steps,
            "seeded": self.seeded,
            "fake_loss": self.fake_loss.round(4).tolist(),
        }
        write_json(folder / "training.json", description)

    @classmethod
    def load(cls, folder: Path) -> "Training":
        """Reads what `save` wrote."""
        description = json.loads((folder / "training.json").read_text())
        signals, window_seconds = tuple(description["signals"]), description["window_seconds"]
        generator = Generator(build_generator(window_seconds, len(signals)), signals, window_seconds)
        generator.model.load_weights(folder / "generator.weights.h5")
        return cls(generator, description["steps"], description["seeded"], np.array(description["fake_loss"]))


def train_all(names: Sequence[str], windows: Windows, promise: Promise, seed: int, folder: Path) -> Iterator[str]:
    """Trains a generator for each name, several side by side, and saves it; other arguments as of `train`.

    Args:
        names: of the people to leave out; a name that is nobody's leaves out none.
        windows: everybody's.
        folder: each training goes into the one of its name in it.

    Yields:
        Each name, as soon as its generator is saved.
    """
    alone = n_processes(len(names)) == 1  # several would write their progress over one another's
    arguments = ((windows.without(name), promise, seed, folder / name, name if alone else None) for name in names)
    for saved in one_core_each(_train_and_save, arguments, len(names), "generator", in_order=False):
        yield saved.name


def _train_and_save(windows: Windows, promise: Promise, seed: int, folder: Path, name: str | None) -> Path:
    parent = os.getppid()
    training = train(windows, promise, seed, name=name)
    if os.getppid() != parent:
        # Left behind by a run that was killed: another may be at work in the folder, under another promise.
        raise RuntimeError(f"{folder}: the process that asked for this generator has ended")
    training.save(folder)
    return folder


def train(
    windows: Windows,
    promise: Promise,
    seed: int,
    noise_seed: int | None = None,
    name: str | None = "",
    mechanism: Callable[..., PrivateGradient] = PrivateGradient,
) -> Training:
    """Trains a conditional GAN whose discriminator sees the windows through DP-SGD only.

    The gradient of the discriminator's real half comes from the mechanism. That of its fake half, clipped alike so that
    the halves stay in balance, and all of the generator touch nothing private.

    Args:
        windows: real windows; private.
        promise: what is promised.
        seed: governs first weights and latent draws, and without privacy the sample, too.
        noise_seed: for tests; noise and sample from a seed protect nobody.
        name: stands before the progress line; None for no such line.
        mechanism: makes what reads the real windows; another one is for those who audit it.
    """
    window_seconds, n_signals = windows.values.shape[1:]
    tf.keras.utils.set_random_seed(seed)
    generator = Generator(build_generator(window_seconds, n_signals), windows.signals, window_seconds)
    discriminator = build_discriminator(n_signals)
    if noise_seed is None and not promise.private:
        noise_seed = seed
    real_half = mechanism(
        discriminator,
        _loss,
        promise,
        describe(windows.values, windows.labels.astype(np.float32)[:, None]).numpy(),
        np.ones(len(windows)),
        windows.subjects,
        rng=None if noise_seed is None else np.random.default_rng(noise_seed),
        instance_noise=INSTANCE_NOISE,
    )
    public_half = _PublicHalf(generator, discriminator, promise.clip_norm)
    fake_loss = np.zeros(promise.steps)
    with tqdm(range(promise.steps), desc=name, mininterval=5, unit="step", disable=name is None) as progress:
        for step in progress:
            # Only public numbers are shown: losses on real windows, and how many were clipped, are private.
            fake_loss[step] = public_half.step(real_half())
            progress.set_postfix(fake=f"{fake_loss[step]:.2f}", refresh=False)
    return Training(public_half.averaged(), real_half.steps, noise_seed is not None, fake_loss)


class _PublicHalf:
    """All of a training step but the private gradient: fake windows, both optimizers, the averaged generator."""

    def __init__(self, generator: Generator, discriminator: tf.keras.Sequential, clip_norm: float):
        self.generator, self.discriminator, self.clip_norm = generator, discriminator, clip_norm
        self.generator_optimizer = tf.keras.optimizers.Adam(LEARNING_RATES["generator"], beta_1=0.5)
        self.discriminator_optimizer = tf.keras.optimizers.Adam(LEARNING_RATES["discriminator"])
        self.average = [tf.Variable(weight, trainable=False) for weight in generator.model.weights]

    @tf.function
    def step(self, real_half: list[tf.Tensor]) -> tf.Tensor:
        """One step of the discriminator, then one of the generator; returns the loss on the fake windows."""
        weights, zeros = self.generator.model.trainable_variables, tf.zeros((N_FAKE, 1))
        with tf.GradientTape() as tape:
            fake = self._fake()
            with tape.stop_recording():
                self._step_discriminator(real_half, fake, zeros)
            logits = self.discriminator(fake)
            loss = tf.reduce_mean(_loss(zeros[:, 0] + 1, logits))
        self.generator_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        # The first steps count alike: otherwise a short training would keep its untrained weights.
        newest = tf.maximum(1 - AVERAGING, 1 / tf.cast(self.generator_optimizer.iterations, tf.float32))
        for average, weight in zip(self.average, self.generator.model.weights):
            average.assign_add(newest * (weight - average))
        return tf.reduce_mean(_loss(zeros[:, 0], logits))

    def averaged(self) -> Generator:
        """The generator, its weights replaced by their running average."""
        self.generator.model.set_weights([average.numpy() for average in self.average])
        return self.generator

    def _step_discriminator(self, real_half: list[tf.Tensor], fake: tf.Tensor, zeros: tf.Tensor) -> None:
        fake_half = clipped_sum(self.discriminator, _loss, fake[:, None], zeros, zeros + 1, self.clip_norm)
        gradient = [real + generated / N_FAKE for real, generated in zip(real_half, fake_half)]
        self.discriminator_optimizer.apply_gradients(zip(gradient, self.discriminator.trainable_variables))

    def _fake(self) -> tf.Tensor:
        """Generated windows as the discriminator sees them, labels in the public share."""
        latent, texture = (tf.random.normal((N_FAKE, *shape)) for shape in self.generator.noise_shapes())
        label = tf.cast(tf.random.uniform((N_FAKE, 1)) < STRESS_SHARE, tf.float32)
        description = describe(self.generator.model([latent, label, texture]), label)
        return description + tf.random.normal(description.shape, stddev=INSTANCE_NOISE)


def _cosines(window_seconds: int) -> tf.Tensor:
    """Basis of the discrete cosine transform, (seconds, waves), each wave of mean square 1."""
    waves = idct(np.eye(window_seconds), norm="ortho", axis=0) * math.sqrt(window_seconds)
    return tf.constant(waves, tf.float32)


def _band_of(n_fast: int) -> np.ndarray:
    """Which of the BANDS each fast wave belongs to, (n_fast,)."""
    return np.arange(n_fast) * BANDS // n_fast


def _loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example, (n,)."""
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits[:, 0])
