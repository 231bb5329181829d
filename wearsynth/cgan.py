"""The conditional GAN: what the discriminator sees, and the training loop around the private gradient."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from wearsynth import networks
from wearsynth.clipping import clipped_sum
from wearsynth.codecs import Codec
from wearsynth.dpsgd import PrivateGradient
from wearsynth.privacy import Promise
from wearsynth.quiet import tf
from wearsynth.releases import Moments, white_axes
from wearsynth.windows import Windows, indicators
from wearsynth.workers import ALONE, Alone

PRODUCT_WEIGHT = 0.1  # of a product of coordinates, where a coordinate counts 1: there are so many


class Recipe(NamedTuple):
    """How a GAN is built and trained.

    Args:
        network: codec -> generator network: (noise (n, size), label as of `windows.indicators`) to what it adds to the
            coordinates that the moments make of the noise.
        discriminator: codec -> network: what `seen` makes of coordinates -> logits (n, 1).
        seen: (codec, coordinates (n, size), label) -> what the discriminator sees, each window by itself. It is fixed,
            so it costs no budget.
        n_fake: generated windows a step.
        generator_rate: learning rate of the generator. A slow one cannot run away.
        discriminator_rate: learning rate of the discriminator.
        instance_noise: standard deviation of noise on what the discriminator sees, real and fake alike, so that no
            tiny difference separates the two.
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


def features_by_class(codec: Codec, coordinates: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Coordinates and their squares for each class, 0 where it is not the window's, and the label.

    A generator whose windows are all alike has the right means, but the wrong squares.
    """
    return _by_class(tf.concat([coordinates, (coordinates**2 - 1) / 2], axis=1), label)


def products_by_class(codec: Codec, coordinates: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """The same with all products of coordinates. How they go together is seen, too.

    Coordinates are shown as differences from the prior means, on axes on which their prior covariance is 1.
    """
    means = tf.constant(codec.means, tf.float32)
    white = (coordinates - networks.one_hot(label) @ means) @ white_axes(codec).astype(np.float32)
    first, second = np.triu_indices(codec.size)
    products = tf.gather(white, first, axis=1) * tf.gather(white, second, axis=1) - (first == second)
    return _by_class(tf.concat([white, PRODUCT_WEIGHT * products], axis=1), label)


def _by_class(features: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    by_class = features[:, None] * networks.one_hot(label)[..., None]
    return tf.concat([tf.reshape(by_class, (-1, features.shape[1] * by_class.shape[1])), label], axis=1)


def seconds_with_label(codec: Codec, coordinates: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Windows with the label beside each second: (n, window_seconds, n_signals + n_classes - 1)."""
    values = tf.reshape(coordinates, (-1, codec.window_seconds, len(codec.signals)))
    return tf.concat([values, tf.repeat(label[:, None], codec.window_seconds, axis=1)], axis=2)


def _n_seen(codec: Codec, n_features: int) -> int:
    """How many numbers `_by_class` makes of so many."""
    return len(codec.shares) * (n_features + 1) - 1


OWN_RECIPE = Recipe(
    network=lambda codec: networks.residual_generator(codec.size, len(codec.shares)),
    # As small as can be, as noise is added to every weight: with a layer of 8 hidden units it learned no more without
    # privacy, and less with it.
    discriminator=lambda codec: networks.linear((_n_seen(codec, 2 * codec.size),)),
    seen=features_by_class,
    n_fake=128,
    generator_rate=5e-5,
    discriminator_rate=5e-3,
    instance_noise=0.1,
    averaging=0.999,
)
# Where there is so little noise that many weights have a sufficient signal-to-noise ratio.
JOINT_RECIPE = OWN_RECIPE._replace(
    discriminator=lambda codec: networks.linear((_n_seen(codec, codec.size * (codec.size + 3) // 2),)),
    seen=products_by_class,
    generator_rate=4e-4,
    discriminator_rate=2e-3,
)
# Lange et al. 2024, doi 10.3390/s24103052
PUBLISHED_RECIPE = Recipe(
    network=lambda codec: networks.lstm_generator(codec.window_seconds, len(codec.signals), len(codec.shares)),
    discriminator=lambda codec: networks.lstm_discriminator(
        codec.window_seconds, len(codec.signals) + len(codec.shares) - 1
    ),
    seen=seconds_with_label,
    n_fake=8,
    generator_rate=2e-4,
    discriminator_rate=2e-4,
    instance_noise=0.0,
    averaging=0.0,
)


def train(
    windows: Windows,
    codec: Codec,
    moments: Moments,
    promise: Promise,
    recipe: Recipe,
    rng: np.random.Generator | None = None,
    name: str | None = "",
    workers: Alone = ALONE,
    mechanism: Callable[..., PrivateGradient] = PrivateGradient,
) -> tuple[tf.keras.Model, np.ndarray]:
    """Trains a generator network against a discriminator, on top of moments; TensorFlow's seed is the caller's.

    The discriminator sees the windows through DP-SGD only: the gradient of its real half comes from the mechanism. That
    of its fake half, clipped alike so that the halves stay in balance, and all of the generator touch nothing private.

    Args:
        windows: real windows; private.
        codec: of windows like these.
        moments: of the coordinates, that the network is to improve on: released, or the prior's.
        promise: what is promised, and how many steps there are.
        recipe: the networks and their rates.
        rng: for tests; noise and sample from a seed protect nobody.
        name: stands before the progress line; None for no such line.
        workers: whom it is one training with; the windows are those of one of them.
        mechanism: makes what reads the real windows; another one is for those who audit it.

    Returns:
        The network with averaged weights, and the discriminator's loss on generated windows, (steps,).
    """
    network, discriminator = recipe.network(codec), recipe.discriminator(codec)
    coordinates, labels = codec.encode(windows.values).astype(np.float32), windows.labels
    real_half = mechanism(
        discriminator,
        _loss,
        promise,
        recipe.seen(codec, coordinates, tf.constant(indicators(labels, len(codec.shares)))).numpy(),
        np.ones(len(windows)),
        windows.subjects,
        rng=rng,
        instance_noise=recipe.instance_noise,
        workers=workers,
    )
    public_half = _PublicHalf(recipe, codec, moments, network, discriminator, promise.clip_norm)
    fake_loss = np.zeros(promise.steps)
    with tqdm(range(promise.steps), desc=name, mininterval=5, unit="step", disable=name is None) as progress:
        for step in progress:
            # Only public numbers are shown: losses on real windows, and how many were clipped, are private.
            fake_loss[step] = public_half.step(real_half())
            progress.set_postfix(fake=f"{fake_loss[step]:.2f}", refresh=False)
    return public_half.averaged(), fake_loss


class _PublicHalf:
    """All of a training step but the private gradient: fake windows, both optimizers, the averaged generator."""

    def __init__(
        self,
        recipe: Recipe,
        codec: Codec,
        moments: Moments,
        network: tf.keras.Model,
        discriminator: tf.keras.Sequential,
        clip_norm: float,
    ):
        self.recipe, self.codec = recipe, codec
        self.network, self.discriminator, self.clip_norm = network, discriminator, clip_norm
        self.generator_optimizer = tf.keras.optimizers.Adam(recipe.generator_rate, beta_1=0.5)
        self.discriminator_optimizer = tf.keras.optimizers.Adam(recipe.discriminator_rate)
        self.average = [tf.Variable(weight, trainable=False) for weight in network.weights]
        self.means = tf.constant(moments.means, tf.float32)
        self.factors = tf.constant(moments.factors, tf.float32)

    @tf.function(autograph=False)
    def step(self, real_half: list[tf.Tensor]) -> tf.Tensor:
        """One step of the discriminator, then one of the generator; returns the loss on the fake windows."""
        weights, zeros = self.network.trainable_variables, tf.zeros((self.recipe.n_fake, 1))
        with tf.GradientTape() as tape:
            fake = self._fake()
            with tape.stop_recording():
                self._step_discriminator(real_half, fake, zeros)
            logits = self.discriminator(fake)
            loss = tf.reduce_mean(_loss(zeros[:, 0] + 1, logits))
        self.generator_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        # The first steps count alike: otherwise a short training would keep its untrained weights.
        newest = tf.maximum(1 - self.recipe.averaging, 1 / tf.cast(self.generator_optimizer.iterations, tf.float32))
        for average, weight in zip(self.average, self.network.weights):
            average.assign_add(newest * (weight - average))
        return tf.reduce_mean(_loss(zeros[:, 0], logits))

    def averaged(self) -> tf.keras.Model:
        """The network, its weights replaced by their running average."""
        self.network.set_weights([average.numpy() for average in self.average])
        return self.network

    def _step_discriminator(self, real_half: list[tf.Tensor], fake: tf.Tensor, zeros: tf.Tensor) -> None:
        fake_half = clipped_sum(self.discriminator, _loss, fake[:, None], zeros, zeros + 1, self.clip_norm)
        gradient = [real + generated / self.recipe.n_fake for real, generated in zip(real_half, fake_half)]
        self.discriminator_optimizer.apply_gradients(zip(gradient, self.discriminator.trainable_variables))

    def _fake(self) -> tf.Tensor:
        """Generated windows as the discriminator sees them, labels in the public share."""
        recipe, codec = self.recipe, self.codec
        noise = tf.random.normal((recipe.n_fake, codec.size))
        places, ends = tf.random.uniform((recipe.n_fake, 1)), np.cumsum(codec.shares[1:], dtype=np.float32)
        below = tf.cast(places < ends, tf.float32)
        label = tf.concat([below[:, :1], below[:, 1:] - below[:, :-1]], axis=1)
        fake = recipe.seen(codec, self._coordinates(noise, label), label)
        return fake + tf.random.normal(fake.shape, stddev=recipe.instance_noise)

    def _coordinates(self, noise: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """What the generator makes of noise (n, size) and label: as `Generator.coordinates`, with a gradient."""
        of_class = self.means + tf.einsum("nj,cij->nci", noise, self.factors)
        return tf.einsum("nc,nci->ni", networks.one_hot(label), of_class) + self.network([noise, label])


def _loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example, (n,)."""
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits[:, 0])
