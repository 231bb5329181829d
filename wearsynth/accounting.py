"""The mathematics of a privacy budget: calibration, composition, group privacy. It takes numbers, and touches no data.

All here is about one family of mechanisms: a Gaussian mechanism applied once (the release), followed by steps of the
Poisson-subsampled Gaussian mechanism (DP-SGD). Every epsilon is an upper bound.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import dp_accounting
import numpy as np
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant, compute_epsilon
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_ndtr, logsumexp
from scipy.stats import binom, norm

EXCESS_ORDERS = (0.0101, 1000.0)  # Renyi's order less 1, from where dp-accounting still turns it into an epsilon
WHOLE_ORDERS = [*range(2, 65), 128, 256, 512]  # of the cross-check: later accountants are looser between whole ones


@dataclass(frozen=True)
class Mechanism:
    """A release and steps of DP-SGD, in the numbers that an accountant takes.

    Args:
        noise_multiplier: standard deviation of a step's noise over the clip norm; 0 for steps that are not private.
        sampling_probability: probability of each unit to be drawn in a step.
        steps: how many; there may be none.
        release_noise_multiplier: the same of the release; 0 where it is not private, None where there is none.
    """

    noise_multiplier: float
    sampling_probability: float
    steps: int
    release_noise_multiplier: float | None = None

    @property
    def event(self) -> dp_accounting.DpEvent:
        """The same, in dp-accounting's words."""
        events = []
        if self.release_noise_multiplier is not None:
            events.append(_gaussian(self.release_noise_multiplier))
        if self.steps:
            step = _gaussian(self.noise_multiplier)
            if self.noise_multiplier:  # the accountant knows no sampling from what is not private
                step = dp_accounting.PoissonSampledDpEvent(self.sampling_probability, step)
            events.append(dp_accounting.SelfComposedDpEvent(step, self.steps))
        return dp_accounting.ComposedDpEvent(events)

    def release_divergence(self, order: float, shift: float) -> float:
        """Renyi divergence of the release from itself, moved by `shift` clip norms: a Gaussian's, a shift^2 / 2 s^2."""
        if self.release_noise_multiplier is None:
            return 0.0
        return order * shift**2 / (2 * self.release_noise_multiplier**2)


@cache  # it takes seconds, and there are many trainings with equal mechanisms
def calibrate_steps(mechanism: Mechanism, epsilon: float, delta: float) -> float:
    """Returns the least noise multiplier of a mechanism's steps that, with its release, stays within a budget."""

    def event(noise_multiplier: float) -> dp_accounting.DpEvent:
        return replace(mechanism, noise_multiplier=noise_multiplier).event

    return _calibrate(event, epsilon, delta, tolerance=1e-3)


@cache
def calibrate_release(epsilon: float, delta: float) -> float:
    """Returns the least noise multiplier of a Gaussian mechanism that stays within a budget by itself."""
    return _calibrate(_gaussian, epsilon, delta, tolerance=1e-4)


def composed_epsilon(mechanisms: Mapping[Mechanism, int], delta: float, budget: float) -> float:
    """Epsilon of several mechanisms on the same data, for one unit, by privacy loss distributions.

    Args:
        mechanisms: each with how often it was applied; all of them chosen before the first one was.
        delta: of the epsilon asked for, in (0, 1).
        budget: epsilon of about the size of the result: the larger, the coarser the distributions.
    """
    accountant = _accountant(budget)
    for mechanism, count in mechanisms.items():
        accountant.compose(mechanism.event, count)
    return float(accountant.get_epsilon(delta))


def rdp_epsilon(mechanism: Mechanism, delta: float) -> float:
    """Epsilon of a mechanism for one unit by Renyi divergences (RDP), a looser bound: a cross-check."""
    return float(RdpAccountant(WHOLE_ORDERS).compose(mechanism.event).get_epsilon(delta))


def group_epsilon(mechanism: Mechanism, size: int, delta: float) -> float:
    """Epsilon of adding or removing a group of `size` units, two or more (group privacy).

    A release alone is a Gaussian, moved by as many clip norms. With steps it goes by Renyi divergence, which also
    bears huge values. A step in which j of the k units are drawn moves the sum by at most j clip norms, so that the
    pair is dominated by a Gaussian against a mixture of Gaussians with j ~ Binomial(k, q) (Ganesh 2024, arXiv
    2401.10294).
    """
    if mechanism.steps == 0:
        return gaussian_epsilon(delta, size / mechanism.release_noise_multiplier)
    drawn = binom.logpmf(np.arange(size + 1), size, mechanism.sampling_probability)

    def divergence(order: float) -> float:
        step = mixture_divergence(order, mechanism.noise_multiplier, drawn)
        return mechanism.steps * step + mechanism.release_divergence(order, size)

    return _renyi_epsilon(divergence, delta)


def replacement_epsilon(mechanism: Mechanism, delta: float, budget: float) -> float:
    """Epsilon of replacing one unit: one removal and one addition.

    By the definition twice in a row, P <= e^e (e^e R + delta(e)) + delta(e): delta_2(2 e) <= (1 + e^e) delta(e).

    Args:
        mechanism: private.
        delta: of the epsilon asked for.
        budget: the mechanism's epsilon for one removal, or about that.
    """
    if mechanism.steps == 0:
        return gaussian_epsilon(delta, 2 / mechanism.release_noise_multiplier)
    accountant = _accountant(budget).compose(mechanism.event)

    def excess(epsilon: float) -> float:
        return accountant.get_delta(epsilon) * (1 + math.exp(epsilon)) - delta

    high = budget
    while high <= 500 and excess(high) > 0:
        high *= 2
    revealed = _revealed_replacement_epsilon(mechanism, delta)
    if high > 500:  # the profile falls too slowly, as it does where few steps draw a unit
        return revealed
    root = brentq(excess, 0.0, high, xtol=1e-6) if excess(0.0) > 0 else 0.0
    return min(2 * (root + 1e-6), revealed)


def _revealed_replacement_epsilon(mechanism: Mechanism, delta: float) -> float:
    """The same, were it known which steps drew the unit: only in these the sums differ, by at most two clip norms.

    Knowing more can but raise the Renyi divergence, whose exponential is jointly convex: each step has the mean of its
    two cases, nothing and a Gaussian moved by 2, 2 a (a - 1) / s^2 (van Erven and Harremoes 2014, arXiv 1206.2459).
    """
    q = mechanism.sampling_probability

    def divergence(order: float) -> float:
        exponent = 2 * order * (order - 1) / mechanism.noise_multiplier**2
        # log(1 - q + q e^x); near 1 the logarithm of a sum would be rounding, and times the steps no small one.
        moment = np.log1p(q * np.expm1(exponent)) if exponent < 1 else logsumexp([0, exponent], b=[1 - q, q])
        return mechanism.release_divergence(order, 2) + mechanism.steps * moment / (order - 1)

    return _renyi_epsilon(divergence, delta)


def gaussian_epsilon(delta: float, shift: float) -> float:
    """Epsilon at `delta`, below a half, of a Gaussian that one data set moves by `shift` standard deviations.

    Balle and Wang 2018, arXiv 1805.06530, theorem 8: delta = F(shift/2 - e/shift) - exp(e) F(-shift/2 - e/shift), where
    F is the standard normal distribution function.
    """

    def excess(epsilon: float) -> float:
        tails = log_ndtr([shift / 2 - epsilon / shift, -shift / 2 - epsilon / shift])
        return math.exp(tails[0]) - math.exp(epsilon + tails[1]) - delta

    if excess(0.0) <= 0:
        return 0.0
    high = shift**2 / 2 + shift * norm.isf(delta)  # where the first term alone is delta
    return brentq(excess, 0.0, high, xtol=1e-9 * high) + 1e-9 * high


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


def _calibrate(
    event: Callable[[float], dp_accounting.DpEvent], epsilon: float, delta: float, tolerance: float
) -> float:
    return dp_accounting.calibrate_dp_mechanism(
        lambda: _accountant(epsilon),
        event,
        epsilon,
        delta,
        bracket_interval=dp_accounting.LowerEndpointAndGuess(0.0, 10.0),
        tol=tolerance,
    )


def _gaussian(noise_multiplier: float) -> dp_accounting.DpEvent:
    return dp_accounting.GaussianDpEvent(noise_multiplier) if noise_multiplier else dp_accounting.NonPrivateDpEvent()


def _accountant(budget: float) -> PLDAccountant:
    # Coarser for a large budget, which would take minutes; any interval gives an upper bound.
    return PLDAccountant(value_discretization_interval=1e-4 * max(1.0, budget))


def _renyi_epsilon(divergence: Callable[[float], float], delta: float) -> float:
    """Least epsilon at `delta` over Renyi's orders: each gives an upper bound, so the search may miss the best one."""

    def epsilon(log_excess: float) -> float:
        order = 1 + math.exp(log_excess)
        return float(compute_epsilon([order], [divergence(order)], delta)[0])

    return minimize_scalar(epsilon, bounds=np.log(EXCESS_ORDERS), method="bounded", options={"xatol": 1e-2}).fun
