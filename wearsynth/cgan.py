"""The conditional GAN: generator, discriminator, the training loop, saving and loading."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from wearsynth.clipping import clipped_sum
from wearsynth.codecs import Codec, Seconds
from wearsynth.dpsgd import PrivateGradient
from wearsynth.ledger import Ledger
from wearsynth.parallel import n_processes, one_core_each
from wearsynth.privacy import Promise
from wearsynth.provenance import Origin, load_arrays, save_arrays
from wearsynth.releases import Moments, release
from wearsynth.windows import Windows

HIDDEN = 128  # units of each of the network's two hidden layers
LSTM_UNITS = 60  # of each layer of the published networks


class Recipe(NamedTuple):
    """How a GAN is built and trained.

    Args:
        network: (noise, label) -> what it adds to the coordinates of the generator's moments: a model of (n, size) and
            (n, 1) to (n, size).
        discriminator: what `seen` makes of coordinates -> logits (n, 1).
        seen: coordinates (n, size) and label (n, 1) -> what the discriminator sees, each window by itself. It is fixed,
            so it costs no budget.
        n_fake: generated windows a step.
        generator_rate: learning rate of the generator. A slow one cannot run away.
        discriminator_rate: learning rate of the discriminator.
        instance_noise: standard deviation of noise on what the discriminator sees, real and fake alike: it must not
            tell them apart by a hair.
        averaging: of the generator's weights, a step: the average is kept, not a "best" one, which would cost budget.
    """

    network: Callable[[Codec], tf.keras.Model]
    discriminator: Callable[[Codec], tf.keras.Sequential]
    seen: Callable[[Codec, tf.Tensor, tf.Tensor], tf.Tensor]
    n_fake: int
    generator_rate: float
    discriminator_rate: float
    instance_noise: float
    averaging: float


def build_network(codec: Codec) -> tf.keras.Model:
    """Builds a network that at first adds next to nothing to the moments."""
    layers = tf.keras.layers
    noise, label = layers.Input((codec.size,)), layers.Input((1,))
    hidden = layers.Concatenate()([noise, label, 1 - label])
    for _ in range(2):
        hidden = layers.Dense(HIDDEN, activation=tf.nn.leaky_relu)(hidden)
    # Past the hidden layers, too: to move a class, or to stretch a coordinate, takes a straight line.
    hidden = layers.Concatenate()([hidden, noise * label, noise * (1 - label), label])
    small = tf.keras.initializers.RandomNormal(stddev=1e-3)
    return tf.keras.Model([noise, label], layers.Dense(codec.size, kernel_initializer=small)(hidden))


def build_discriminator(codec: Codec) -> tf.keras.Sequential:
    """Builds a discriminator as small as can be, for noise is added to every weight: the fewer, the less.

    With a layer of 8 hidden units it heard no more without privacy, and less with it.
    """
    layers = tf.keras.layers
    return tf.keras.Sequential([layers.Input((4 * codec.size + 1,)), layers.Dense(1, kernel_initializer="zeros")])


def by_class(codec: Codec, coordinates: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Coordinates and their squares where the label is 1, where it is 0, and the label: (n, 4 * size + 1).

    A generator whose windows are all alike has the right means, but the wrong squares.
    """
    features = tf.concat([coordinates, (coordinates**2 - 1) / 2], axis=1)
    return tf.concat([features * label, features * (1 - label), label], axis=1)


def build_lstm_network(codec: Codec) -> tf.keras.Model:
    """Builds a generator like the published one, as far as it is described: two LSTMs, an output for every second."""
    layers = tf.keras.layers
    noise, label = layers.Input((codec.size,)), layers.Input((1,))
    hidden = layers.Reshape((codec.window_seconds, len(codec.signals)))(noise)
    hidden = layers.Concatenate()([hidden, layers.RepeatVector(codec.window_seconds)(label)])
    for _ in range(2):
        hidden = layers.LSTM(LSTM_UNITS, return_sequences=True)(hidden)
    values = layers.Dense(len(codec.signals), activation="sigmoid")(hidden)
    return tf.keras.Model([noise, label], layers.Flatten()(values))


def build_lstm_discriminator(codec: Codec) -> tf.keras.Sequential:
    """Builds a discriminator like the published one: two LSTMs."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((codec.window_seconds, len(codec.signals) + 1)),
            layers.LSTM(LSTM_UNITS, return_sequences=True),
            layers.LSTM(LSTM_UNITS),
            layers.Dense(1),
        ]
    )


def second_by_second(codec: Codec, coordinates: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Windows with the label beside each second: (n, window_seconds, n_signals + 1)."""
    values = tf.reshape(coordinates, (-1, codec.window_seconds, len(codec.signals)))
    return tf.concat([values, tf.repeat(label[:, None], codec.window_seconds, axis=1)], axis=2)


OWN = Recipe(build_network, build_discriminator, by_class, 128, 5e-5, 5e-3, 0.1, 0.999)
# Lange et al. 2024, doi 10.3390/s24103052
PUBLISHED = Recipe(build_lstm_network, build_lstm_discriminator, second_by_second, 8, 2e-4, 2e-4, 0.0, 0.0)


def recipe_for(codec: Codec) -> Recipe:
    """Returns the recipe of generators with this codec."""
    return PUBLISHED if isinstance(codec, Seconds) else OWN


def n_discriminator_weights(codec: Codec) -> int:
    """Returns how many weights the discriminator has, to each of which noise is added."""
    return recipe_for(codec).discriminator(codec).count_params()


@dataclass(frozen=True)
class Generator:
    """A trained generator.

    Args:
        codec: turns coordinates into windows.
        moments: of the coordinates: released, or of simulated people.
        network: as its recipe makes it; None where nothing was trained.
    """

    codec: Codec
    moments: Moments
    network: tf.keras.Model | None

    def sample(self, n_windows: int, seed: int) -> Windows:
        """Draws synthetic windows, the public share of them under stress.

        Returns:
            `n_windows` windows of the subject 'synthetic', the classes mixed.
        """
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.arange(n_windows) < round(n_windows * self.codec.stress_share)).astype(int)
        noise = rng.standard_normal((n_windows, self.codec.size))
        coordinates = self.moments(noise, labels)
        if self.network is not None:
            coordinates += self.network([noise.astype(np.float32), labels[:, None].astype(np.float32)]).numpy()
        values = self.codec.decode(coordinates, rng)
        return Windows(values, labels, np.full(n_windows, "synthetic"), self.codec.signals)


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

    def save(self, path: Path, origin: Origin) -> None:
        """Writes moments, weights and origin into one file; the codec has a file of its own."""
        moments, network = self.generator.moments, self.generator.network
        weights = [] if network is None else network.get_weights()
        save_arrays(
            path,
            origin,
            means=moments.means,
            covariances=moments.covariances,
            steps=self.steps,
            seeded=self.seeded,
            fake_loss=self.fake_loss.astype(np.float32),
            **{f"weights_{number}": each for number, each in enumerate(weights)},
        )

    @classmethod
    def load(cls, path: Path, codec: Codec, origin: Origin) -> "Training":
        """Reads what `save` wrote of a generator with this codec; raises StaleFileError if it is of another origin."""
        stored = load_arrays(path, origin)
        network = None
        if stored["steps"]:
            network = recipe_for(codec).network(codec)
            network.set_weights([stored[f"weights_{number}"] for number in range(len(network.weights))])
        generator = Generator(codec, Moments(stored["means"], stored["covariances"]), network)
        return cls(generator, int(stored["steps"]), bool(stored["seeded"]), stored["fake_loss"])


def train_all(
    names: Sequence[str],
    windows: Windows,
    promise: Promise,
    codec: Codec,
    seed: int,
    folder: Path,
    origin: Origin,
    ledger: Ledger | None,
) -> None:
    """Trains a generator for each name, several side by side, and saves it; other arguments as of `train`.

    Args:
        names: of the people to leave out; a name that is nobody's leaves out none.
        windows: everybody's.
        folder: each training goes into the file of its name in it.
        origin: of the generators.
        ledger: where each training is entered before it reads a window; None for people whom nobody was measured for.
    """
    alone = n_processes(len(names)) == 1  # several would write their progress over one another's
    arguments = (
        (windows.without(name), promise, codec, seed, folder / f"{name}.npz", origin, ledger, name if alone else None)
        for name in names
    )
    for _ in one_core_each(_train_and_save, arguments, len(names), "generator", in_order=False):
        pass


def _train_and_save(
    windows: Windows,
    promise: Promise,
    codec: Codec,
    seed: int,
    path: Path,
    origin: Origin,
    ledger: Ledger | None,
    name: str | None,
) -> None:
    parent = os.getppid()
    if ledger is not None:
        ledger.enter(windows.subjects, promise, origin.key)  # before, not after: a training that is killed has spent
    training = train(windows, promise, codec, seed, name=name)
    if os.getppid() != parent:
        # Left behind by a run that was killed: another may be at work in the folder, under another promise.
        raise RuntimeError(f"{path}: the process that asked for this generator has ended")
    training.save(path, origin)


def train(
    windows: Windows,
    promise: Promise,
    codec: Codec,
    seed: int,
    noise_seed: int | None = None,
    name: str | None = "",
    mechanism: Callable[..., PrivateGradient] = PrivateGradient,
) -> Training:
    """Trains a generator: releases the moments of windows' coordinates, then trains a conditional GAN on top of them.

    Either of the two may be left out; without a release the GAN starts from what the codec knows beforehand. The
    discriminator sees the windows through DP-SGD only: the gradient of its real half comes from the mechanism. That of
    its fake half, clipped alike so that the halves stay in balance, and all of the generator touch nothing private.

    Args:
        windows: real windows; private.
        promise: what is promised, and how the budget is divided.
        codec: for windows of these signals and this length.
        seed: governs first weights and latent draws, and without privacy the sample, too.
        noise_seed: for tests; noise and sample from a seed protect nobody.
        name: stands before the progress line; None for no such line.
        mechanism: makes what reads the real windows; another one is for those who audit it.
    """
    tf.keras.utils.set_random_seed(seed)
    if noise_seed is None and not promise.private:
        noise_seed = seed
    rng = None if noise_seed is None else np.random.default_rng(noise_seed)
    seeded = noise_seed is not None
    known = Moments(codec.means, codec.covariances)
    moments = release(windows, codec, promise, rng) if promise.release_share else known
    if promise.training_steps == 0:
        return Training(Generator(codec, moments, None), 0, seeded, np.zeros(0))
    recipe = recipe_for(codec)
    generator, discriminator = Generator(codec, moments, recipe.network(codec)), recipe.discriminator(codec)
    coordinates, labels = codec.encode(windows.values).astype(np.float32), windows.labels.astype(np.float32)
    real_half = mechanism(
        discriminator,
        _loss,
        promise,
        recipe.seen(codec, coordinates, labels[:, None]).numpy(),
        np.ones(len(windows)),
        windows.subjects,
        rng=rng,
        instance_noise=recipe.instance_noise,
    )
    public_half = _PublicHalf(recipe, generator, discriminator, promise.clip_norm)
    fake_loss = np.zeros(promise.steps)
    with tqdm(range(promise.steps), desc=name, mininterval=5, unit="step", disable=name is None) as progress:
        for step in progress:
            # Only public numbers are shown: losses on real windows, and how many were clipped, are private.
            fake_loss[step] = public_half.step(real_half())
            progress.set_postfix(fake=f"{fake_loss[step]:.2f}", refresh=False)
    return Training(public_half.averaged(), real_half.steps, seeded, fake_loss)


class _PublicHalf:
    """All of a training step but the private gradient: fake windows, both optimizers, the averaged generator."""

    def __init__(self, recipe: Recipe, generator: Generator, discriminator: tf.keras.Sequential, clip_norm: float):
        self.recipe = recipe
        self.generator, self.discriminator, self.clip_norm = generator, discriminator, clip_norm
        self.generator_optimizer = tf.keras.optimizers.Adam(recipe.generator_rate, beta_1=0.5)
        self.discriminator_optimizer = tf.keras.optimizers.Adam(recipe.discriminator_rate)
        self.average = [tf.Variable(weight, trainable=False) for weight in generator.network.weights]
        self.means = tf.constant(generator.moments.means, tf.float32)
        self.factors = tf.constant(generator.moments.factors, tf.float32)

    @tf.function
    def step(self, real_half: list[tf.Tensor]) -> tf.Tensor:
        """One step of the discriminator, then one of the generator; returns the loss on the fake windows."""
        weights, zeros = self.generator.network.trainable_variables, tf.zeros((self.recipe.n_fake, 1))
        with tf.GradientTape() as tape:
            fake = self._fake()
            with tape.stop_recording():
                self._step_discriminator(real_half, fake, zeros)
            logits = self.discriminator(fake)
            loss = tf.reduce_mean(_loss(zeros[:, 0] + 1, logits))
        self.generator_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        # The first steps count alike: otherwise a short training would keep its untrained weights.
        newest = tf.maximum(1 - self.recipe.averaging, 1 / tf.cast(self.generator_optimizer.iterations, tf.float32))
        for average, weight in zip(self.average, self.generator.network.weights):
            average.assign_add(newest * (weight - average))
        return tf.reduce_mean(_loss(zeros[:, 0], logits))

    def averaged(self) -> Generator:
        """The generator, its weights replaced by their running average."""
        self.generator.network.set_weights([average.numpy() for average in self.average])
        return self.generator

    def _step_discriminator(self, real_half: list[tf.Tensor], fake: tf.Tensor, zeros: tf.Tensor) -> None:
        fake_half = clipped_sum(self.discriminator, _loss, fake[:, None], zeros, zeros + 1, self.clip_norm)
        gradient = [real + generated / self.recipe.n_fake for real, generated in zip(real_half, fake_half)]
        self.discriminator_optimizer.apply_gradients(zip(gradient, self.discriminator.trainable_variables))

    def _fake(self) -> tf.Tensor:
        """Generated windows as the discriminator sees them, labels in the public share."""
        recipe, codec = self.recipe, self.generator.codec
        noise = tf.random.normal((recipe.n_fake, codec.size))
        label = tf.cast(tf.random.uniform((recipe.n_fake, 1)) < codec.stress_share, tf.float32)
        fake = recipe.seen(codec, self._coordinates(noise, label), label)
        return fake + tf.random.normal(fake.shape, stddev=recipe.instance_noise)

    def _coordinates(self, noise: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """What the generator makes of noise (n, size) and label (n, 1): as in `Generator.sample`, with a gradient."""
        of_class = self.means[:, None] + tf.einsum("nj,cij->cni", noise, self.factors)
        return tf.where(label == 1, of_class[1], of_class[0]) + self.generator.network([noise, label])


def _loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example, (n,)."""
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits[:, 0])
