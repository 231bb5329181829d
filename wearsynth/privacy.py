"""What is promised: unit, epsilon, delta; noise, sampling and steps follow from it.

One frozen object, `Promise`, is read by the sampler, the mechanism and the accountant, so that the three cannot
disagree. Nothing here touches data or trains anything: `dpsgd.py` keeps what is promised here.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import dp_accounting
import numpy as np
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import compute_epsilon
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_ndtr, logsumexp
from scipy.stats import binom, norm

UNITS = ("window", "subject")
# What each kind of generator learns by: the share of the budget that its release spends; the steps get the rest.
RELEASE_SHARES = {"steered": 0.8, "cgan": 0.0, "released": 1.0, "levels": 1.0, "copula": 1.0, "lstm": 0.0}
AUDIBLE = 4.0  # below, the noise on the discriminator's weights drowns what the units have to say
# Below, the mass that the accountant cuts off (1e-15) is as large as delta itself: it finds noise that leaves nothing.
LEAST_DELTA = 1e-12
ENGINES = ("fused", "tensorflow_privacy")
EXCESS_ORDERS = (0.0101, 1000.0)  # Renyi's order less 1, from where dp-accounting still turns it into an epsilon


@dataclass(frozen=True)
class Promise:
    """The guarantee of one training run, and the mechanism that follows from it.

    Neighbouring data sets differ by adding or removing one unit: one window, or everything that one subject
    contributed. Each step draws every unit independently with `sampling_probability`, clips its gradient to `clip_norm`
    and adds Gaussian noise of `noise_multiplier * clip_norm` to the sum (Abadi et al. 2016, arXiv 1607.00133).

    Args:
        unit: 'window' or 'subject'.
        epsilon: the budget; infinite means no noise and no guarantee.
        delta: the budget's second part, from LEAST_DELTA to 1; well under one over the number of units.
        clip_norm: largest L2 norm of one unit's gradient.
        sampling_probability: probability of each unit to be drawn in a step, in (0, 1].
        steps: number of discriminator steps.
        windows_per_subject: under unit 'subject', at most this many of a drawn subject's windows, drawn anew each step,
            make up its gradient. It costs no budget: however they are drawn, the gradient is clipped as one.
        engine: who clips and sums: 'fused', our own `clipped_sum`, or 'tensorflow_privacy', that library's optimizer,
            to the same result and slower. Draws and noise do not depend on it.
        release_share: part of epsilon, from 0 to 1, that a release made once (`releases.py`) spends by itself, at the
            same delta; the steps get what is left of the budget. At 1 there are no steps.

    Raises:
        ValueError: a value is out of its range.
    """

    unit: str = "window"
    epsilon: float = 1.0
    delta: float = 1e-4
    clip_norm: float = 0.3
    sampling_probability: float = 0.5
    steps: int = 1000
    windows_per_subject: int = 100
    engine: str = "fused"
    release_share: float = 0.0

    def __post_init__(self):
        _expect(self.unit in UNITS, "unit", self.unit, "'window' or 'subject'")
        _expect(self.engine in ENGINES, "engine", self.engine, "'fused' or 'tensorflow_privacy'")
        _expect(self.epsilon > 0, "epsilon", self.epsilon, "a number above 0, or inf for training without privacy")
        _expect(LEAST_DELTA <= self.delta < 1, "delta", self.delta, f"a number from {LEAST_DELTA:g} to 1")
        _expect(0 < self.clip_norm < math.inf, "clip_norm", self.clip_norm, "a finite number above 0")
        _expect(
            0 < self.sampling_probability <= 1,
            "sampling_probability",
            self.sampling_probability,
            "a number above 0 and at most 1",
        )
        _expect(0 <= self.release_share <= 1, "release_share", self.release_share, "a number from 0 to 1")
        for name in ("steps", "windows_per_subject"):
            value = getattr(self, name)
            _expect(isinstance(value, (int, np.integer)) and value >= 1, name, value, "a whole number of at least 1")

    @property
    def private(self) -> bool:
        """Whether a guarantee is promised at all."""
        return math.isfinite(self.epsilon)

    @property
    def sentence(self) -> str:
        """The guarantee in words, as they follow 'learned from recordings'."""
        if not self.private:
            return "with no privacy guarantee"
        return f"under ({self.epsilon:g}, {self.delta:g})-differential privacy for one {self.unit}"

    @property
    def training_steps(self) -> int:
        """Steps that there are, after the release."""
        return self.steps if self.release_share < 1 else 0

    @cached_property
    def noise_multiplier(self) -> float:
        """Standard deviation of the steps' noise over `clip_norm`: the least that, after all of them and the release,
        keeps the promise; 0 where there are no steps."""
        return _least_noise_multiplier(self) if self.private and self.training_steps else 0.0

    @cached_property
    def release_noise_multiplier(self) -> float:
        """Standard deviation of the release's noise over the length of one unit's vector; 0 where there is none."""
        if not self.private or self.release_share == 0:
            return 0.0
        return _least_release_noise(self.release_share * self.epsilon, self.delta)

    def release_noise(self, n_units: int) -> float:
        """Noise of the release's sum, in clip norms, over the number of units: what a release tells goes by it."""
        return self.release_noise_multiplier / n_units

    def spent(self, steps: int) -> float:
        """Returns the epsilon, at `delta`, that the release and `steps` steps have spent for one unit."""
        return compose([(self, steps)], self.delta)

    def readings(self, steps: int, windows_per_second: int, most_windows_per_subject: int) -> dict[str, float]:
        """Reads the epsilon spent, at `delta`, for a window, an event (one second of signal) and a subject.

        Under unit 'window' a second or a subject is a group of windows. Under unit 'subject', taking away one window,
        or the windows over one second, replaces the subject's gradient by another: it removes one unit and adds one.

        Args:
            steps: steps really taken.
            windows_per_second: most windows that share one second of signal.
            most_windows_per_subject: most windows that one subject has.

        Returns:
            Upper bounds on epsilon under the keys 'window', 'event' and 'subject'.
        """
        if not self.private:
            return dict.fromkeys(("window", "event", "subject"), math.inf)
        own = self.spent(steps)
        if self.unit == "window":
            sizes = {"event": windows_per_second, "subject": most_windows_per_subject}
            return {"window": own} | {name: self._group_epsilon(steps, size) for name, size in sizes.items()}
        replaced = self._replacement_epsilon(steps)
        return {"window": replaced, "event": replaced, "subject": own}

    def event(self, noise_multiplier: float, steps: int) -> dp_accounting.DpEvent:
        """What the release and `steps` steps of some noise tell, in the accountant's words."""
        told = []
        if self.release_share:
            told.append(_gaussian(self.release_noise_multiplier))
        if steps:
            sampled = dp_accounting.PoissonSampledDpEvent(self.sampling_probability, _gaussian(noise_multiplier))
            # The accountant knows no sampling from what is not private.
            step = sampled if noise_multiplier else dp_accounting.NonPrivateDpEvent()
            told.append(dp_accounting.SelfComposedDpEvent(step, steps))
        return dp_accounting.ComposedDpEvent(told)

    def _group_epsilon(self, steps: int, size: int) -> float:
        """Epsilon at `delta` of adding or removing `size` units.

        A release alone is a Gaussian, moved by as many lengths. With steps it goes by Renyi divergence, which also
        bears huge values.

        A step in which j of the k units are drawn moves the sum by at most j clip norms, so that the pair is dominated
        by a Gaussian against a mixture of Gaussians with j ~ Binomial(k, q) (Ganesh 2024, arXiv 2401.10294).
        """
        if size == 1:
            return self.spent(steps)
        if steps == 0 and self.release_share:
            return gaussian_epsilon(self.delta, size / self.release_noise_multiplier)
        drawn = binom.logpmf(np.arange(size + 1), size, self.sampling_probability)

        def divergence(order: float) -> float:
            training = steps * mixture_divergence(order, self.noise_multiplier, drawn) if steps else 0.0
            return training + self._release_divergence(order, size)

        return _renyi_epsilon(divergence, self.delta)

    def _release_divergence(self, order: float, shift: float) -> float:
        """Renyi divergence of the release from itself, moved by `shift` clip norms."""
        return order * shift**2 / (2 * self.release_noise_multiplier**2) if self.release_share else 0.0

    def _replacement_epsilon(self, steps: int) -> float:
        """Epsilon at `delta` of replacing one unit: one removal and one addition.

        By the definition twice in a row, P <= e^e (e^e R + delta(e)) + delta(e): delta_2(2 e) <= (1 + e^e) delta(e).
        """
        if steps == 0 and self.release_share:
            return gaussian_epsilon(self.delta, 2 / self.release_noise_multiplier)
        accountant = _accountant(self.epsilon).compose(self.event(self.noise_multiplier, steps))

        def excess(epsilon: float) -> float:
            return accountant.get_delta(epsilon) * (1 + math.exp(epsilon)) - self.delta

        high = self.epsilon
        while high <= 500 and excess(high) > 0:
            high *= 2
        revealed = self._revealed_replacement_epsilon(steps)
        if high > 500:  # the profile falls too slowly, as it does where few steps draw a unit
            return revealed
        root = brentq(excess, 0.0, high, xtol=1e-6) if excess(0.0) > 0 else 0.0
        return min(2 * (root + 1e-6), revealed)

    def _revealed_replacement_epsilon(self, steps: int) -> float:
        """The same, were it told which steps drew the unit: only in these the sums differ, by at most two clip norms.

        To tell can but raise the Renyi divergence, whose exponential is jointly convex: each step has the mean of its
        two cases, nothing and a Gaussian moved by 2, 2 a (a - 1) / s^2 (van Erven and Harremoes 2014, arXiv 1206.2459).
        """
        not_drawn_or_drawn = [1 - self.sampling_probability, self.sampling_probability]

        def divergence(order: float) -> float:
            release = self._release_divergence(order, 2)
            if steps == 0:
                return release
            exponent = 2 * order * (order - 1) / self.noise_multiplier**2
            # Rounding can leave the logarithm of a number near 1 below 0, which no divergence is.
            return release + steps * max(0.0, logsumexp([0, exponent], b=not_drawn_or_drawn)) / (order - 1)

        return _renyi_epsilon(divergence, self.delta)


def check_generator(generator: str) -> None:
    """Raises ValueError for a kind of generator that there is not."""
    _expect(generator in RELEASE_SHARES, "generator", generator, ", ".join(map(repr, RELEASE_SHARES)))


def check_delta(unit: str, delta: float, n_units: int) -> None:
    """Raises ValueError for a delta that would let a mechanism publish one unit whole and keep the promise."""
    _expect(delta * n_units < 1, "delta", delta, f"less than one over the number of units, 1/{n_units} ({unit}s)")


def divide(promise: Promise, generator: str, n_units: int, n_weights: int) -> Promise:
    """Divides the budget between a generator's release and the steps of its discriminator.

    A steered generator spends all on the release where the steps would hear nothing: where as many unit vectors as
    there are units, all alike, are not longer than AUDIBLE times the noise that the budget puts on the weights, were it
    spent on them at once. How steps divide it further makes little difference to that.

    Args:
        promise: the budget.
        generator: one of RELEASE_SHARES.
        n_units: how many units there are; counts as public.
        n_weights: of the discriminator.

    Raises:
        ValueError: there is no such generator, or delta is too large for so many units.
    """
    check_generator(generator)
    if promise.private:
        check_delta(promise.unit, promise.delta, n_units)
    alone = replace(promise, release_share=1.0)
    if generator == "steered" and n_units < AUDIBLE * alone.release_noise_multiplier * math.sqrt(n_weights):
        return alone
    return replace(promise, release_share=RELEASE_SHARES[generator])


@cache  # it takes seconds, and there are many trainings under equal promises
def _least_noise_multiplier(promise: Promise) -> float:
    return dp_accounting.calibrate_dp_mechanism(
        lambda: _accountant(promise.epsilon),
        lambda noise_multiplier: promise.event(noise_multiplier, promise.steps),
        promise.epsilon,
        promise.delta,
        bracket_interval=dp_accounting.LowerEndpointAndGuess(0.0, 10.0),
        tol=1e-3,
    )


@cache
def _least_release_noise(epsilon: float, delta: float) -> float:
    return dp_accounting.calibrate_dp_mechanism(
        lambda: _accountant(epsilon),
        _gaussian,
        epsilon,
        delta,
        bracket_interval=dp_accounting.LowerEndpointAndGuess(0.0, 10.0),
        tol=1e-4,
    )


def _gaussian(noise_multiplier: float) -> dp_accounting.DpEvent:
    return dp_accounting.GaussianDpEvent(noise_multiplier) if noise_multiplier else dp_accounting.NonPrivateDpEvent()


def gaussian_epsilon(delta: float, shift: float) -> float:
    """Epsilon at `delta`, below a half, of a Gaussian that one data set moves by `shift` standard deviations.

    Balle and Wang 2018, arXiv 1805.06530, theorem 8.
    """

    def excess(epsilon: float) -> float:
        tails = log_ndtr([shift / 2 - epsilon / shift, -shift / 2 - epsilon / shift])
        return math.exp(tails[0]) - math.exp(epsilon + tails[1]) - delta

    if excess(0.0) <= 0:
        return 0.0
    high = shift**2 / 2 + shift * norm.isf(delta)  # where the first term alone is delta
    return brentq(excess, 0.0, high, xtol=1e-9 * high) + 1e-9 * high


def read_epsilons(text: str) -> list[float]:
    """Reads budgets from a list such as '0.1,1,10'; an empty one has none.

    Raises:
        ValueError: one is no finite number above 0.
    """
    epsilons = []
    for part in text.split(",") if text.strip() else []:
        try:
            epsilons.append(float(part))
        except ValueError:
            epsilons.append(math.nan)
        _expect(0 < epsilons[-1] < math.inf, "private_epsilons", part.strip(), "finite numbers above 0, as in 0.1,1,10")
    return epsilons


def compose(uses: Sequence[tuple[Promise, int]], delta: float) -> float:
    """Adds up what several trainings on the same data have spent for one unit.

    Args:
        uses: one (promise, steps really taken) for each training; the promises were made before any of them began.
        delta: of the epsilon asked for, in (0, 1).

    Returns:
        Epsilon at `delta`, an upper bound; infinite if one of the trainings is not private.

    Raises:
        ValueError: the promises protect different units.
    """
    units = sorted({promise.unit for promise, _ in uses})
    if len(units) > 1:
        raise ValueError(f"units {units}: expected one; what was promised for a window does not add to a subject's")
    if not all(promise.private for promise, _ in uses):
        return math.inf
    # Many trainings together have a large epsilon, and tell it as well in coarser steps.
    coarser = math.sqrt(max(1.0, len(uses) / 16))
    accountant = _accountant(max(promise.epsilon for promise, _ in uses) * coarser)
    for (promise, steps), count in Counter(uses).items():
        accountant.compose(promise.event(promise.noise_multiplier, steps), count)
    return float(accountant.get_epsilon(delta))


def mixture_divergence(order: float, noise_multiplier: float, log_probabilities: np.ndarray) -> float:
    """Renyi divergence between N(0, s^2) and the mixture of N(j, s^2) with probabilities p_j, by quadrature.

    Args:
        order: Renyi's alpha, above 1.
        noise_multiplier: s, the standard deviation of every component.
        log_probabilities: logarithms of p_0 ... p_k; as numbers, the last ones of a large group would be 0, and the
            result too small.

    Returns:
        The larger of the two directions, in nats.
    """
    shifts = np.arange(len(log_probabilities))
    reach = order * shifts[-1] + 12 * noise_multiplier  # the integrands' mass lies within
    x = np.linspace(-reach, reach, 4001)[:, None]
    log_ratio = logsumexp((2 * x - shifts) * shifts / (2 * noise_multiplier**2) + log_probabilities, axis=1)
    log_normal = norm.logpdf(x[:, 0], scale=noise_multiplier) + math.log(x[1, 0] - x[0, 0])
    directions = [logsumexp(log_normal + power * log_ratio) for power in (order, 1 - order)]
    return max(0.0, *directions) / (order - 1)


def _accountant(epsilon: float) -> PLDAccountant:
    # Coarser for a large budget, which would take minutes; any interval gives an upper bound.
    return PLDAccountant(value_discretization_interval=1e-4 * max(1.0, epsilon))


def _renyi_epsilon(divergence: Callable[[float], float], delta: float) -> float:
    """Least epsilon at `delta` over Renyi's orders: each gives an upper bound, so the search may miss the best one."""

    def epsilon(log_excess: float) -> float:
        order = 1 + math.exp(log_excess)
        return float(compute_epsilon([order], [divergence(order)], delta)[0])

    return minimize_scalar(epsilon, bounds=np.log(EXCESS_ORDERS), method="bounded", options={"xatol": 1e-2}).fun


def _expect(holds: bool, name: str, value, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name}={value!r}: expected {expected}")
