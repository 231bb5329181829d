"""How the promise is kept: Poisson draws, clipped sums of gradients, noise.

Everything that training reads of real windows passes through `PrivateGradient`. `clipping.py` clips and sums for it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wearsynth.clipping import check_layers, clipped_sum, reference_sum
from wearsynth.privacy import Promise
from wearsynth.quiet import tf
from wearsynth.randomness import normal, poisson_sample, uniform
from wearsynth.workers import ALONE, Alone

MOST_WINDOWS = 4096  # of a pass: a larger sample takes several, under one noise, and no more memory


@dataclass(frozen=True)
class Units:
    """Which windows belong to a unit, as a table padded to the largest unit.

    Args:
        windows: (n_units, most_windows), indices of windows; padding repeats one of the unit's own.
        share: (n_units, most_windows), float32, a window's weight in its unit's mean gradient; 0 for padding.
    """

    windows: np.ndarray
    share: np.ndarray

    def __len__(self) -> int:
        return len(self.windows)

    @classmethod
    def group(cls, subjects: np.ndarray, unit: str) -> "Units":
        """Groups windows into units.

        Args:
            subjects: (n_windows,), whose window each is.
            unit: 'window' or 'subject'.
        """
        if unit == "window":
            return cls(np.arange(len(subjects))[:, None], np.ones((len(subjects), 1), np.float32))
        groups = [np.flatnonzero(subjects == subject) for subject in np.unique(subjects)]
        most = max(map(len, groups))
        # Nobody else's window as padding: weight 0 does not silence one that is infinite or missing.
        windows = np.stack([np.pad(group, (0, most - len(group)), mode="edge") for group in groups])
        share = np.stack([np.pad(np.full(len(group), 1 / len(group)), (0, most - len(group))) for group in groups])
        return cls(windows, share.astype(np.float32))

    def batch(
        self, drawn: np.ndarray, most_windows: int, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws windows of the drawn units.

        Args:
            drawn: indices of units; there may be none.
            most_windows: of a unit that has more, a random choice of so many stands for it.
            rng: as in `randomness.uniform`.

        Returns:
            (n_drawn, at most most_windows) each: windows, and each one's share in its unit's mean gradient.
        """
        windows, share = self.windows[drawn], self.share[drawn]
        if windows.shape[1] > most_windows:
            order = np.where(share > 0, uniform(share.size, rng).reshape(share.shape), 1.0)  # padding comes last
            chosen = np.argsort(order, axis=1)[:, :most_windows]
            windows, share = (np.take_along_axis(each, chosen, axis=1) for each in (windows, share))
            share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
        return windows, share


class PrivateGradient:
    """The mechanism: each call is one step of DP-SGD on the units of a promise, and is counted.

    Args:
        model: the network whose gradient is released.
        loss: (targets, outputs) -> (n,), each example's own loss.
        promise: what is promised.
        examples: (n_windows, ...) float32; private.
        targets: (n_windows,); private.
        subjects: (n_windows,), whose window each is.
        rng: a seeded generator for sample and noise, which voids the guarantee; without one, the operating system's
            entropy.
        instance_noise: standard deviation of noise on the examples, drawn anew for each drawn unit; it takes no part in
            the guarantee.
        workers: whom it is one mechanism with; the windows are those of one of them.

    Raises:
        ValueError: the model has a layer whose gradient cannot be clipped by unit.
    """

    def __init__(
        self,
        model: tf.keras.Sequential,
        loss: Callable,
        promise: Promise,
        examples: np.ndarray,
        targets: np.ndarray,
        subjects: np.ndarray,
        rng: np.random.Generator | None = None,
        instance_noise: float = 0.0,
        workers: Alone = ALONE,
    ):
        check_layers(model)
        self.promise, self._workers = promise, workers
        self.steps = 0
        self._examples, self._targets, self._rng, self._instance_noise = examples, targets, rng, instance_noise
        self._instance_rng = np.random.default_rng() if rng is None else rng.spawn(1)[0]  # the former from entropy
        self._units = self.group(subjects)
        self._n_units = workers.total(len(self._units))
        self._shapes = [weight.shape for weight in model.trainable_variables]
        self._noise_scale = promise.noise_multiplier * promise.clip_norm
        width = min(self._units.windows.shape[1], promise.windows_per_subject)
        sum_of_engine = clipped_sum if promise.engine == "fused" else reference_sum
        self._clipped_sum = tf.function(
            lambda *batch: sum_of_engine(model, loss, *batch, promise.clip_norm),
            input_signature=[
                tf.TensorSpec((None, width, *shape), tf.float32) for shape in (examples.shape[1:], (), ())
            ],
            autograph=False,  # which would take seconds to read the code, and finds nothing to translate
        )

    def group(self, subjects: np.ndarray) -> Units:
        """The units that windows of these subjects make up, under the promise."""
        return Units.group(subjects, self.promise.unit)

    @property
    def expected_units(self) -> float:
        """Units that a step draws on average, of all workers."""
        return self._n_units * self.promise.sampling_probability

    def __call__(self) -> list[tf.Tensor]:
        """Draws, clips, sums, adds noise, and divides by the expected number of units.

        Returns:
            One tensor for each of the model's trainable variables.

        Raises:
            RuntimeError: all promised steps have been taken.
        """
        if self.steps >= self.promise.steps:
            raise RuntimeError(f"all {self.steps} promised steps are taken: one more would break the promise")
        self.steps += 1
        drawn = poisson_sample(len(self._units), self.promise.sampling_probability, self._rng)
        windows, share = self._units.batch(drawn, self.promise.windows_per_subject, self._rng)
        sums = [np.zeros(shape, np.float32) for shape in self._shapes]
        for rows in np.array_split(np.arange(len(drawn)), max(1, -(-windows.size // MOST_WINDOWS))):
            examples = self._noisy(self._examples[windows[rows]])
            part = self._sum(examples, self._targets[windows[rows]].astype(np.float32), share[rows])
            sums = [one + other for one, other in zip(sums, part)]
        if self._workers.is_first:  # one noise for all
            sums = [total + self._noise(total.shape) for total in sums]
        # The expected number of units, not the drawn one, which is private.
        totals = self._workers.add_up(sums)
        return [tf.constant(total / self.expected_units, tf.float32) for total in totals]

    def _noisy(self, examples: np.ndarray) -> np.ndarray:
        """Examples with instance noise.

        It must be the unit's own. Were it known by the place in the batch, like that of a layer with a public seed, one
        unit more would move all others to other noise, and the sum by far more than one clip norm.
        """
        if self._instance_noise == 0:
            return examples
        noise = self._instance_rng.standard_normal(examples.shape, np.float32)
        return examples + np.float32(self._instance_noise) * noise

    def _sum(self, examples: np.ndarray, targets: np.ndarray, share: np.ndarray) -> list[np.ndarray]:
        """The clipped sum over any units: none, or some whose gradient overflows, which count as nothing."""
        if len(examples):
            sums = [total.numpy() for total in self._clipped_sum(examples, targets, share)]
            if all(np.isfinite(total).all() for total in sums):
                return sums
        if len(examples) <= 1:
            return [np.zeros(shape, np.float32) for shape in self._shapes]
        # One NaN would reveal that its unit was drawn: by halves, until it is found.
        half = len(examples) // 2
        first, second = (
            self._sum(examples[part], targets[part], share[part]) for part in (slice(half), slice(half, None))
        )
        return [one + other for one, other in zip(first, second)]

    def _noise(self, shape: tuple[int, ...]) -> np.ndarray:
        if self._noise_scale == 0:
            return np.zeros(shape, np.float32)
        values = self._noise_scale * normal(int(np.prod(shape)), self._rng)
        return values.reshape(shape).astype(np.float32)
