"""Audit of the promise: a lower bound on epsilon, measured with canaries in the real discriminator's training, and in
releases.

How it works. A canary is an example made up to be recognised. For each of many, an independent coin decides whether it
takes part in a training. The adversary sees every noisy gradient that the mechanism releases, and with them all weights
of the discriminator; it chose the canaries and knows the real windows and all public randomness, but not the coins, the
draws and the noise. It scores each canary by how far the released gradients point along the canary's own, and guesses
the coins of the extreme scores. A release is made many times instead, with one canary each time; its noised sum is what
the adversary sees. Were epsilon as small as promised, hardly anybody could guess so many of the coins right: so the
number of right guesses gives a lower bound on epsilon, with 95 % confidence (Steinke, Nasr and Jagielski 2023,
arXiv 2305.08846; Mahloujifar, Melis and Chaudhuri 2024, arXiv 2410.22235).

What it does not prove. A bound below the promise is no proof of the promise: another adversary, or other canaries,
might find more. A bound above the promise disproves it, up to the 5 %. The audit covers what the discriminator's steps
reveal, or a release, and everything computed from either, the generator included; each is audited by itself, and how
the two compose is left to the accountant. It does not cover how the operating system draws its entropy.

`make audit` (`benchmarks/audit.py`) makes the long version.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import numpy as np
from dp_accounting.pld import privacy_loss_distribution
from tqdm import tqdm

from wearsynth import generators, releases
from wearsynth.clipping import clipped_sum
from wearsynth.codecs import DescriptorCodec
from wearsynth.dpsgd import PrivateGradient, Units
from wearsynth.generators import Plan
from wearsynth.privacy import Promise
from wearsynth.quiet import tf
from wearsynth.randomness import uniform
from wearsynth.releases import noised
from wearsynth.windows import Windows, concatenate

CANARY_SIZE = 15.0  # so large that its gradient is clipped, and not so large that the loss saturates: no gradient
GUESSED = 0.1  # share of the canaries guessed; fixed in advance: to choose it on the outcome would void the confidence
LEVEL = 0.05  # probability that a bound exceeds the truth
CONTROLS = {  # mechanisms that break the promise: factors of the clip norm, and of the noise itself
    "none": (1, 1),
    "clipping off": (1e6, 1),
    "noise off": (1, 0),
    "noise / 4": (1, 0.25),
}
EPSILONS = np.append(0.0, np.geomspace(0.02, 60, 60))  # at which a trade-off curve is described


@dataclass(frozen=True)
class BrokenPromise(Promise):
    """A promise whose mechanism breaks it, by one of CONTROLS; its clip norm is already multiplied by that one's."""

    control: str = "none"

    @property
    def noise_multiplier(self) -> float:
        clip_factor, noise_factor = CONTROLS[self.control]
        return noise_factor / clip_factor * super().noise_multiplier

    @property
    def release_noise_multiplier(self) -> float:
        clip_factor, noise_factor = CONTROLS[self.control]
        return noise_factor / clip_factor * super().release_noise_multiplier


class CanaryGradient(PrivateGradient):
    """The mechanism as it is, with canaries among its windows and an adversary who reads what it releases.

    Canary i has one large value, at feature i. Its gradient lies almost wholly in row i of the first kernel, where no
    other canary's does, so that hundreds of them share one training without interfering. Where canaries are
    subjects, each is a person with one window.

    Args:
        as of `PrivateGradient`; the examples are (n_windows, n_features), and `rng` tosses the canaries' coins, too.

    Attributes:
        included: (n_features,), the coins.
        scores: (n_features,), how far the gradients released so far point along each canary's.
    """

    def __init__(self, model, loss, promise, examples, targets, subjects, rng=None, **options):
        n_canaries = examples.shape[1]
        self.included = uniform(n_canaries, rng) < 0.5
        self.scores = np.zeros(n_canaries)
        self._canaries = CANARY_SIZE * np.eye(n_canaries, dtype=np.float32)
        super().__init__(
            model,
            loss,
            promise,
            np.concatenate([examples, self._canaries]),
            np.append(targets, np.ones(n_canaries)),
            np.append(subjects, [f"canary {number}" for number in range(n_canaries)]),
            rng,
            **options,
        )
        self._network, self._loss = model, loss
        units = Units.group(subjects, promise.unit)
        real_units = examples[units.windows], targets[units.windows].astype(np.float32), units.share
        self._real_units = tuple(map(tf.constant, real_units))

    def group(self, subjects: np.ndarray) -> Units:
        """Units of windows and canaries.

        A canary left out keeps its place, but has no share: the number of units is public and must not reveal coins.
        """
        units = super().group(subjects)
        left_out = len(subjects) - len(self.included) + np.flatnonzero(~self.included)
        taking_part = ~np.isin(units.windows[:, :1], left_out)
        return Units(units.windows, units.share * taking_part.astype(np.float32))

    def __call__(self) -> list[tf.Tensor]:
        """Takes one step of the mechanism, and reads it before the weights move."""
        released = super().__call__()
        self.scores += self._adversary(released[0]).numpy()
        return released

    @tf.function(autograph=False)
    def _adversary(self, released: tf.Tensor) -> tf.Tensor:
        """Scores of one step from the released gradient of the first kernel, in clip norms."""
        first, *others = self._network.layers
        hidden = first(self._canaries)
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            outputs = hidden
            for layer in others:
                outputs = layer(outputs)
            losses = self._loss(tf.ones(len(self._canaries)), outputs)
        directions = tf.math.l2_normalize(tape.gradient(losses, hidden), axis=1)
        # What real windows add on average hides the canaries, but the adversary knows the windows.
        real = clipped_sum(self._network, self._loss, *self._real_units, self.promise.clip_norm)[0]
        surplus = self.expected_units * released - self.promise.sampling_probability * real
        return tf.reduce_sum(surplus * directions, axis=1) / self.promise.clip_norm


def run_canaries(
    windows: Windows, promise: Promise, n_runs: int, noise_seed: int | None = None, name: str = "audit"
) -> tuple[np.ndarray, np.ndarray]:
    """Trains the GAN several times, each time with fresh canaries, coins, draws and noise.

    Args:
        windows: stand for the real ones.
        promise: what is promised.
        n_runs: number of trainings.
        noise_seed: for tests; without it coins, draws and noise are the operating system's entropy.
        name: stands before the progress line.

    Returns:
        Scores and whether the canary took part, (n_runs, n_canaries) each; there are as many canaries as features.
    """
    made, outcomes = [], []
    codec = DescriptorCodec.from_windows(windows)  # these windows are nobody's
    planned = Plan("cgan", promise, codec, None)

    def mechanism(*args, **kwargs) -> CanaryGradient:
        made.append(CanaryGradient(*args, **kwargs))
        return made[-1]

    for run in range(n_runs):
        seed = None if noise_seed is None else noise_seed + run
        generators.train(windows, planned, run, seed, f"{name}, run {run + 1} of {n_runs}", mechanism)
        finished = made.pop()  # with it go its network and its windows
        outcomes.append((finished.scores, finished.included))
    scores, included = map(np.array, zip(*outcomes))
    return scores, included


def run_release_canaries(
    windows: Windows,
    planned: Plan,
    n_runs: int,
    noise_seed: int | None = None,
    name: str = "audit",
) -> tuple[np.ndarray, np.ndarray]:
    """Makes a release many times, each time with or without a canary by the toss of a coin, and fresh noise.

    The canary is a person with a window of each class under unit 'subject', otherwise one window. Left out, it keeps
    its place: the sum does not depend on how many units there are.

    Args:
        windows: stand for the real ones.
        planned: what is asked of them, at what length vectors are clipped, and with how much noise.
        n_runs: number of releases.
        noise_seed: as for `run_canaries`, like the next one.
        name: see there.

    Returns:
        Scores and whether the canary took part, (n_runs,) each.
    """
    promise = planned.promise
    rng = None if noise_seed is None else np.random.default_rng(noise_seed)
    # Nobody's signals jump from end to end of their range: all its descriptors are as far off as they may be.
    jumping = np.broadcast_to((np.arange(windows.values.shape[1]) % 2)[:, None], windows.values.shape[1:])
    labels = np.array([0, 1] if promise.unit == "subject" else [1])
    values = np.repeat(jumping[None], len(labels), axis=0).astype(np.float32)
    canary = Windows(values, labels, np.repeat("canary", len(labels)), windows.signals)
    without, present = (
        releases.clipped_sum(each, planned.codec, planned.query, promise.unit)[0]
        for each in (windows, concatenate([windows, canary]))
    )
    own_sum = present - without
    direction = own_sum / np.linalg.norm(own_sum)
    included = uniform(n_runs, rng) < 0.5
    coins = tqdm(included, desc=name, mininterval=5, unit="release")
    sums = (noised(present if coin else without, planned.query, promise, rng) for coin in coins)
    return np.array([(each - without) @ direction for each in sums]) / planned.query.clip_norm, included


def count_correct(scores: np.ndarray, included: np.ndarray) -> tuple[int, int]:
    """Guesses that the canaries of the highest scores took part and those of the lowest did not, equally many of both.

    Args:
        scores: any shape; the higher, the more likely a canary took part.
        included: of the same shape, whether it did.

    Returns:
        Number of right guesses, and of guesses: the even number next to GUESSED times the canaries.
    """
    half = round(scores.size * GUESSED / 2)
    order = np.argsort(scores, axis=None)
    correct = np.sum(~included.ravel()[order[:half]]) + np.sum(included.ravel()[order[-half:]])
    return int(correct), 2 * half


def refuted(
    correct: int, guesses: int, canaries: int, epsilons: np.ndarray, deltas: np.ndarray, level: float = LEVEL
) -> bool:
    """Whether so many right guesses refute that a mechanism is (epsilon, delta)-private for all given pairs at once.

    After Mahloujifar et al. (2024, arXiv 2410.22235), for any adversary and any dependence between canaries. Let C be
    the number of right guesses, m the canaries, k the guesses, q_i = P[C >= i], and W the event that at least i guesses
    about *other* canaries are right. A coin turned over moves one unit and nothing of W. So privacy bounds P[canary
    guessed right, W], that is [right, C > i], by P[guessed wrong, W], that is [wrong, C >= i]. Averaged over canaries:

        sum_{j > i} j P[C = j] / m = ((i + 1) q_{i+1} + sum_{j > i+1} q_j) / m    is at most, by privacy, a function of
        sum_{j >= i} (k - j) P[C = j] / m = ((k - i) q_i - sum_{j > i} q_j) / m.

    This bounds q_i from below by an increasing function of q_{i+1}, q_{i+2}, ... Were q_correct >= level, all those
    below followed from it; when one of them comes out above 1, it was not.

    Args:
        correct: number of right guesses.
        guesses: how many were made; fixed in advance, about any of the canaries, from the mechanism's output alone.
        canaries: number of independent fair coins; those of independent runs add up.
        epsilons: (n_pairs,)
        deltas: (n_pairs,); each pair holds in both directions, for adding and for removing a unit.
        level: probability of refuting what is true, at most.
    """
    factors = np.exp(epsilons)
    tail, above = level, 0.0  # q_{i+1}, and the sum of those beyond it
    for i in range(correct - 1, -1, -1):
        right = ((i + 1) * tail + above) / canaries
        wrong = max(0.0, np.max((right - deltas) / factors), np.max(1 - deltas - factors * (1 - right)))
        above += tail
        tail = max(tail, (canaries * wrong + above) / (guesses - i))
        if tail > 1:
            return True
    return False


def lower_bound(correct: int, guesses: int, canaries: int, delta: float) -> float:
    """Lower bound on the epsilon, at `delta`, of any mechanism whatsoever, with confidence 1 - LEVEL.

    Args:
        correct: as for `refuted`, like the next two.
        guesses: see there.
        canaries: see there.
        delta: the delta that is promised.

    Returns:
        The largest epsilon refuted, at most 50; 0 if none is.
    """
    return _last_refuted(lambda epsilon: refuted(correct, guesses, canaries, [epsilon], delta), 0.0, 50.0) or 0.0


def lower_bound_dpsgd(correct: int, guesses: int, canaries: int, promise: Promise) -> float:
    """As `lower_bound`, but tighter, of a mechanism that is DP-SGD up to the size of its noise.

    It refutes whole trade-off curves, those of the Poisson-subsampled Gaussian mechanism with ever less noise. That the
    promise's own curve is refuted needs no assumption; that the result is an epsilon does: that the mechanism's curve
    is one of these. The curves are described by the accountant's upper bounds on delta, which err on the safe side.

    Args:
        correct: as for `refuted`, like the next two.
        guesses: see there.
        canaries: see there.
        promise: gives sampling, steps, delta, and the noise from 16 times which down to a 32nd is searched. Of one that
            is kept by a release alone, that is a Gaussian mechanism: one step that draws everybody.

    Returns:
        The epsilon, at the promise's delta, of the least noise refuted; 0 if none is.
    """

    noise, *sampled = (
        (promise.release_noise_multiplier, 1.0, 1)
        if promise.release_share == 1
        else (promise.noise_multiplier, promise.sampling_probability, promise.steps)
    )

    def curve(halvings: float) -> tuple[np.ndarray, float]:
        return _curve(noise / 2**halvings, *sampled, promise.delta)

    halvings = _last_refuted(lambda each: refuted(correct, guesses, canaries, EPSILONS, curve(each)[0]), -4.0, 5.0)
    return 0.0 if halvings is None else curve(halvings)[1]


@lru_cache
def _curve(noise_multiplier: float, sampling_probability: float, steps: int, delta: float) -> tuple[np.ndarray, float]:
    """Of the Poisson-subsampled Gaussian mechanism: delta at each of EPSILONS, and epsilon at `delta`."""
    losses = privacy_loss_distribution.from_gaussian_mechanism(
        noise_multiplier, value_discretization_interval=1e-3, sampling_prob=sampling_probability
    ).self_compose(steps)
    return losses.get_delta_for_epsilon(EPSILONS), float(losses.get_epsilon_for_delta(delta))


def _last_refuted(refutes: Callable[[float], bool], low: float, high: float) -> float | None:
    """Where refuting ends between two values, by bisection, rounded down; None if `low` already stands."""
    if not refutes(low):
        return None
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if refutes(middle) else (low, middle)
    return low


def audit(
    windows: Windows, promise: Promise, n_runs: int, control: str = "none", noise_seed: int | None = None
) -> dict[str, float]:
    """Audits one promise, or a mechanism that breaks it on purpose.

    Args:
        windows: as for `run_canaries`.
        promise: what is promised, by steps alone or by a release alone.
        n_runs: number of trainings, or of releases.
        control: one of CONTROLS.
        noise_seed: as for `run_canaries`.

    Returns:
        `mechanism` ('steps' or 'release'), `unit`, `promised` (epsilon), `delta`, `control`, `bound` (`lower_bound`),
        `bound_dpsgd` (`lower_bound_dpsgd`), `runs`, `canaries`, `guesses`, `correct`, `seconds`.
    """
    start = time.perf_counter()
    if control not in CONTROLS:
        raise ValueError(f"control={control!r}: expected {', '.join(map(repr, CONTROLS))}")
    mechanism = "release" if promise.release_share == 1 else "steps"
    name = f"{mechanism}, {promise.unit}, epsilon {promise.epsilon:g}, control {control}"
    kept = replace(promise, clip_norm=CONTROLS[control][0] * promise.clip_norm)
    broken = BrokenPromise(**asdict(kept), control=control)
    if mechanism == "release":
        codec = DescriptorCodec.from_windows(windows)  # these windows are nobody's
        noise = promise.release_noise_multiplier / windows.n_units(promise.unit)
        query = releases.choose_query(codec, noise)
        query = replace(query, clip_norm=CONTROLS[control][0] * query.clip_norm)
        planned = Plan("released", broken, codec, query)
        scores, included = run_release_canaries(windows, planned, n_runs, noise_seed, name)
    else:
        scores, included = run_canaries(windows, broken, n_runs, noise_seed, name)
    correct, guesses = count_correct(scores, included)
    return {
        "mechanism": mechanism,
        "unit": promise.unit,
        "promised": promise.epsilon,
        "delta": promise.delta,
        "control": control,
        "bound": lower_bound(correct, guesses, scores.size, promise.delta),
        "bound_dpsgd": lower_bound_dpsgd(correct, guesses, scores.size, promise),
        "runs": n_runs,
        "canaries": scores.size,
        "guesses": guesses,
        "correct": correct,
        "seconds": time.perf_counter() - start,
    }
