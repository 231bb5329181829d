"""The accounting against closed forms, integrals, published figures and other accountants."""

import math
from dataclasses import replace

import dp_accounting
import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant
from promises import ONE_RELEASE, PROMISES, with_noise
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import binom, norm

from wearsynth import accounting
from wearsynth.accounting import Mechanism, gaussian_epsilon, group_epsilon, mixture_divergence, replacement_epsilon
from wearsynth.privacy import Promise, spent_together


@pytest.mark.parametrize("shift", [0.05, 0.5, 3.0, 30.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_a_gaussian_is_as_private_as_the_integral_over_its_densities_says(shift, delta):
    x = np.linspace(-40, 40 + shift, 400_001)
    epsilon = gaussian_epsilon(delta, shift)
    moved, unmoved = norm.logpdf(x, shift), norm.logpdf(x)
    integral = np.maximum(np.exp(moved) - np.exp(epsilon + unmoved), 0).sum() * (x[1] - x[0])
    assert integral == pytest.approx(delta, rel=1e-3) or (epsilon == 0 and integral < delta)


def test_a_gaussian_that_is_hardly_moved_costs_nothing():
    assert gaussian_epsilon(1e-3, 1e-4) == 0


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_steps_on_everybody_compose_as_one_gaussian_of_less_noise(steps):
    promise = replace(ONE_RELEASE, steps=100)
    expected = gaussian_epsilon(promise.delta, math.sqrt(steps) / promise.noise_multiplier)
    # A loss is rounded up to the next 1e-4, in each step.
    assert expected - 1e-6 <= promise.spent(steps) <= expected + 1e-3 + 1e-4 * math.sqrt(steps)


@pytest.mark.parametrize(
    "published, noise_multiplier, sampling_probability, steps",
    [
        (1.26, 4.0, 0.01, 10000),  # Abadi et al. 2016, section 3.2
        (1.18, 1.3, 250 / 60000, 3600),  # tensorflow-privacy's first walkthrough on MNIST
        (1.20, 1.2, 256 / 60000, 2343),  # its tutorials' table, 10 epochs
        (2.92, 1.12, 256 / 60000, 14062),  # the same, 60 epochs
        (8.68, 0.7, 256 / 60000, 16407),  # Bu et al. 2020, figure 4, 70 epochs
    ],
)
def test_against_published_figures_of_the_moments_accountant(published, noise_multiplier, sampling_probability, steps):
    """All at delta 1e-5, with the conversion of their time, rdp + log(1 / delta) / (order - 1)."""
    sampled = np.log([1 - sampling_probability, sampling_probability])
    epsilon = min(
        steps * mixture_divergence(order, noise_multiplier, sampled) + math.log(1e5) / (order - 1)
        for order in [*np.arange(1.5, 10, 0.5), *range(10, 33)]
    )
    assert epsilon == pytest.approx(published, abs=0.005)  # the last digit printed
    # That conversion costs about log(order) / (order - 1) more than today's, and today's some 10 % more than the truth.
    spent = with_noise(noise_multiplier, 1e-5, sampling_probability, steps).spent(steps)
    assert 0.6 * published <= spent <= published


@pytest.mark.parametrize(
    "low, high, delta, uses",
    [
        (1.9990, 2.0092, 1e-6, [(0.8, 0.005, 1000)]),
        (0.9418, 0.9519, 1e-5, [(4.0, 0.01, 10000)]),
        (2.4562, 2.4663, 1e-5, [(0.7, 0.01, 120)]),
        (1.1429, 1.1530, 1e-4, [(20.0, 0.5, 200)]),
        (2.8703, 2.8805, 1e-5, [(2.0, 0.1, 50), (5.0, 0.5, 30)]),
    ],
)
def test_lies_within_the_bounds_of_another_numerical_accountant(low, high, delta, uses):
    """Bounds by prv-accountant 0.2.0 (Gopi et al. 2021, arXiv 2106.02848) with eps_error=0.005, rounded outwards."""
    taken = [(with_noise(noise, delta, probability, steps), steps) for noise, probability, steps in uses]
    assert low <= spent_together(taken, delta) <= high


@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_two_releases_compose_as_one_gaussian(delta):
    first, second = ONE_RELEASE, replace(ONE_RELEASE, epsilon=0.3)
    mu = math.hypot(1 / first.noise_multiplier, 1 / second.noise_multiplier)
    exact = gaussian_epsilon(delta, mu)
    # Each rounds its loss upwards on a grid of 1e-4; what that adds to epsilon is of the same size.
    assert exact <= spent_together([(first, 1), (second, 1)], delta) <= exact + 1e-3


@pytest.mark.parametrize("order", [2, 7, 32, 64])  # between whole ones later accountants are looser
@pytest.mark.parametrize("probability", [0.01, 0.2, 1.0])
@pytest.mark.parametrize("noise_multiplier", [0.3, 1.0, 8.0])
def test_a_mixture_of_two_is_the_sampled_gaussian_of_dp_accounting(order, probability, noise_multiplier):
    accountant = RdpAccountant([order])
    accountant.compose(
        dp_accounting.PoissonSampledDpEvent(probability, dp_accounting.GaussianDpEvent(noise_multiplier))
    )
    divergence = mixture_divergence(order, noise_multiplier, binom.logpmf([0, 1], 1, probability))
    # Both sum numbers near 1 and take the logarithm: what is lost is 1e-16 over (order - 1).
    assert divergence == pytest.approx(accountant._rdp[0], rel=1e-3, abs=1e-12)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("noise_multiplier", [0.5, 3.0])
@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_a_mixture_of_many_is_its_multinomial_sum_at_order_two(size, noise_multiplier, probability):
    """Order 2, from N(0, s^2): sum over i and j of p_i p_j exp(i j / s^2), by hand."""
    drawn = binom.logpmf(np.arange(size + 1), size, probability)
    product = np.outer(np.arange(size + 1), np.arange(size + 1)) / noise_multiplier**2
    expected = logsumexp(product + drawn[:, None] + drawn)
    # The other direction may be the larger one, so this one is a lower bound; with Gaussians it is that by far.
    assert mixture_divergence(2, noise_multiplier, drawn) >= expected * (1 - 1e-9)
    if noise_multiplier == 3.0:
        assert mixture_divergence(2, noise_multiplier, drawn) <= expected * 1.25


@pytest.mark.parametrize("size", [1, 10, 72])
@pytest.mark.parametrize("noise_multiplier", [0.5, 50.0])
def test_a_whole_group_drawn_for_certain_is_a_gaussian_of_its_size(size, noise_multiplier):
    certain = binom.logpmf(np.arange(size + 1), size, 1.0)
    for order in (1.001, 2, 64):
        expected = order * size**2 / (2 * noise_multiplier**2)
        assert mixture_divergence(order, noise_multiplier, certain) == pytest.approx(expected, rel=1e-5)


def test_a_large_groups_rarest_draw_counts():
    """All of 1000 drawn has probability 1e-1699, which is 0 as a number, and with little noise gives the most away."""
    drawn = binom.logpmf(np.arange(1001), 1000, 0.02)
    of_all_drawn = 1000**2 / 0.3**2 + 2 * drawn[-1]  # its term alone of the sum by hand above
    # The quadrature's steps are three times the noise here, which costs it a part of one nat.
    assert mixture_divergence(2, 0.3, drawn) >= of_all_drawn - 1


@pytest.mark.parametrize("size", [2, 20, 300])
@pytest.mark.parametrize("probability", [0.02, 0.5])
def test_a_group_in_one_step_is_read_above_the_exact_integral(size, probability):
    """Delta of a single step, in both directions, is an integral over one dimension."""
    x = np.linspace(-400, 400 + size, 20001)
    shifts = np.arange(size + 1)
    without = norm.pdf(x, 0, 20)
    with_group = norm.pdf(x[:, None], shifts, 20) @ binom.pmf(shifts, size, probability)

    def delta(epsilon):
        excesses = (with_group - math.exp(epsilon) * without, without - math.exp(epsilon) * with_group)
        return max(np.maximum(excess, 0).sum() for excess in excesses) * (x[1] - x[0])

    exact = brentq(lambda epsilon: delta(epsilon) - 1e-4, 0, 100)
    # Renyi's conversion costs 7 to 20 %, and a third of the smallest epsilon.
    assert exact <= group_epsilon(Mechanism(20.0, probability, 1), size, 1e-4) <= 1.4 * exact


@pytest.mark.parametrize("size", [2, 20])
def test_a_group_in_every_step_reads_as_the_closed_form(size):
    promise = replace(ONE_RELEASE, steps=10)
    exact = gaussian_epsilon(promise.delta, size * math.sqrt(10) / promise.noise_multiplier)
    # Renyi's conversion stays above, by some 15 % at these budgets.
    assert exact <= group_epsilon(promise.mechanism(10), size, promise.delta) <= 1.2 * exact


def test_larger_groups_cost_more():
    for promise in PROMISES:
        groups = [group_epsilon(promise.mechanism(promise.steps), size, promise.delta) for size in (2, 3, 10, 40, 400)]
        assert promise.spent(promise.steps) <= groups[0]
        assert groups == sorted(groups) and len(set(groups)) == len(groups)


@pytest.mark.parametrize("epsilon, delta", [(0.2, 1e-6), (1.0, 1e-3)])
def test_replacing_is_read_above_the_closed_form_for_twice_the_sensitivity(epsilon, delta):
    promise = Promise("subject", epsilon, delta, sampling_probability=1.0, steps=4)
    exact = gaussian_epsilon(delta, 2 * math.sqrt(4) / promise.noise_multiplier)
    assert exact <= replacement_epsilon(promise.mechanism(4), delta, epsilon) <= 2 * exact


def test_replacing_with_the_draws_revealed_is_read_above_the_closed_form():
    """With everybody drawn nothing is left to reveal; Renyi's conversion costs less than a fifth there."""
    promise = Promise("subject", 1.0, 1e-3, sampling_probability=1.0, steps=4)
    exact = gaussian_epsilon(1e-3, 2 * math.sqrt(4) / promise.noise_multiplier)
    assert exact <= accounting._revealed_replacement_epsilon(promise.mechanism(4), 1e-3) <= 1.2 * exact
    rarely = Promise("subject", 10.0, 1e-3, sampling_probability=0.2, steps=30)
    assert rarely.spent(30) < rarely.epsilons(30, 2, 72)["window"] < math.inf


@pytest.mark.parametrize("probability", [0.02, 0.4])
def test_replacing_under_overwhelming_noise_costs_next_to_nothing(probability):
    # What is left is log(1 / delta) over the highest of Renyi's orders, 1001. A divergence this small must not be lost
    # to rounding as the logarithm of a sum near 1, times the steps.
    assert accounting._revealed_replacement_epsilon(Mechanism(1e9, probability, 30), 1e-9) < math.log(1e9) / 1000
