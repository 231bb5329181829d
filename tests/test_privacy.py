"""The promise: noise and readings against closed forms, published figures, other accountants, and what is monotone."""

import math
from dataclasses import replace

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import INFINITE, ONE_RELEASE, PROMISES, SUBJECT, with_noise
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import binom, norm

from wearsynth.privacy import (
    Promise,
    compose,
    divide,
    gaussian_epsilon,
    mixture_divergence,
)


@pytest.mark.parametrize(
    "promise", [*PROMISES, SUBJECT, ONE_RELEASE], ids=lambda promise: f"{promise.unit}-{promise.epsilon}"
)
def test_noise_keeps_the_promise_and_is_no_larger_than_it_takes(promise):
    spent = promise.spent(promise.steps)
    # The search ends within 0.001 of the least noise; epsilon falls about in proportion, and noise is above 0.5 here.
    assert 0.99 * promise.epsilon <= spent <= promise.epsilon


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


@pytest.mark.parametrize("epsilon, delta", [(0.1, 1e-6), (1.0, 1e-3), (1.0, 1e-9), (3.0, 1e-6)])
def test_one_release_is_the_analytic_gaussian_mechanism(epsilon, delta):
    promise = Promise(epsilon=epsilon, delta=delta, sampling_probability=1.0, steps=1)
    least = 1 / brentq(lambda mu: gaussian_epsilon(delta, mu) - epsilon, 1e-3, 20, xtol=1e-12)
    # Never less; more by the search's tolerance of 0.001 and by rounding upwards on a grid of losses 1e-4 apart.
    assert least - 1e-6 <= promise.noise_multiplier <= least + 2e-3
    assert promise.spent(1) == pytest.approx(gaussian_epsilon(delta, 1 / promise.noise_multiplier), abs=1e-3)


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_steps_on_everybody_compose_as_one_gaussian_of_less_noise(steps):
    promise = replace(ONE_RELEASE, steps=100)
    expected = gaussian_epsilon(promise.delta, math.sqrt(steps) / promise.noise_multiplier)
    # A loss is rounded up to the next 1e-4, in each step.
    assert expected - 1e-6 <= promise.spent(steps) <= expected + 1e-3 + 1e-4 * math.sqrt(steps)


@pytest.mark.parametrize("epsilon", [10.0, 100.0])
def test_a_large_budget_is_read_more_coarsely_and_still_from_above(epsilon):
    promise = Promise(epsilon=epsilon, delta=1e-5, sampling_probability=1.0, steps=100)
    exact = gaussian_epsilon(promise.delta, math.sqrt(100) / promise.noise_multiplier)
    # Losses lie on a grid of 1e-4 of the budget, each of 100 steps rounds to it, and the errors add up as noise does.
    assert exact <= promise.spent(100) <= exact + 10 * 1e-4 * epsilon


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
    assert low <= compose(taken, delta) <= high


def test_spent_grows_with_steps():
    promise = PROMISES[0]
    spent = [promise.spent(steps) for steps in (1, 10, 100, 2000, 4000)]
    assert spent == sorted(spent) and len(set(spent)) == len(spent)
    assert spent[-1] > promise.epsilon  # the promise is for its own steps, not for more


@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_two_releases_compose_as_one_gaussian(delta):
    first, second = ONE_RELEASE, replace(ONE_RELEASE, epsilon=0.3)
    mu = math.hypot(1 / first.noise_multiplier, 1 / second.noise_multiplier)
    exact = gaussian_epsilon(delta, mu)
    # Each rounds its loss upwards on a grid of 1e-4; what that adds to epsilon is of the same size.
    assert exact <= compose([(first, 1), (second, 1)], delta) <= exact + 1e-3


def test_two_trainings_compose_as_one_longer_one_in_any_order():
    promise, other = PROMISES[0], replace(PROMISES[1], delta=1e-4)
    # The same sums in another order, in double precision, whose tails are cut off at 1e-15.
    assert compose([(promise, 1500), (promise, 500)], 1e-4) == pytest.approx(promise.spent(2000), rel=1e-6)
    both = compose([(promise, 500), (other, 700)], 1e-4)
    assert both == pytest.approx(compose([(other, 700), (promise, 500)], 1e-4), rel=1e-6)
    assert max(promise.spent(500), other.spent(700)) < both


def test_composing_refuses_what_does_not_add_up():
    with pytest.raises(ValueError, match=r"^units \['subject', 'window'\]: expected one; "):
        compose([(SUBJECT, 10), (PROMISES[0], 10)], 1e-4)
    assert compose([(PROMISES[0], 10), (INFINITE, 10)], 1e-4) == math.inf


def test_the_clip_norm_costs_nothing_and_the_rest_does():
    promise = PROMISES[1]
    assert replace(promise, clip_norm=100.0).noise_multiplier == promise.noise_multiplier
    for dearer in ({"epsilon": 0.09}, {"delta": 1e-6}, {"sampling_probability": 0.03}, {"steps": 4000}):
        assert replace(promise, **dearer).noise_multiplier > promise.noise_multiplier


def test_no_step_taken_spends_nothing():
    assert PROMISES[0].spent(0) == 0


@pytest.mark.parametrize("order", [1.01, 1.5, 2, 7, 32, 64])
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
    assert exact <= with_noise(20.0, 1e-4, probability, 1)._group_epsilon(1, size) <= 1.4 * exact


@pytest.mark.parametrize("size", [2, 20])
def test_a_group_in_every_step_reads_as_the_closed_form(size):
    promise = replace(ONE_RELEASE, steps=10)
    exact = gaussian_epsilon(promise.delta, size * math.sqrt(10) / promise.noise_multiplier)
    # Renyi's conversion stays above, by some 15 % at these budgets.
    assert exact <= promise._group_epsilon(10, size) <= 1.2 * exact


def test_a_group_of_one_is_no_cheaper_than_one_and_larger_groups_cost_more():
    for promise in PROMISES:
        groups = [promise._group_epsilon(promise.steps, size) for size in (1, 2, 3, 10, 40, 400)]
        assert promise.spent(promise.steps) <= groups[0]
        assert groups == sorted(groups) and len(set(groups)) == len(groups)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: f"{promise.epsilon}")
def test_readings_of_the_window_unit(promise):
    readings = promise.readings(promise.steps, windows_per_second=2, most_windows_per_subject=72)
    assert list(readings) == ["window", "event", "subject"]
    assert readings["window"] == promise.spent(promise.steps) <= promise.epsilon
    assert readings["window"] < readings["event"] < readings["subject"]


def test_readings_of_windows_that_share_no_second():
    readings = PROMISES[0].readings(1000, windows_per_second=1, most_windows_per_subject=1)
    assert readings["event"] == readings["subject"] == readings["window"]


def test_readings_of_the_subject_unit():
    promise = SUBJECT
    readings = promise.readings(promise.steps, windows_per_second=2, most_windows_per_subject=72)
    assert readings["subject"] == promise.spent(promise.steps) <= promise.epsilon
    # Replacing a gradient may move the sum twice as far as removing it, and is read as a removal and an addition.
    assert readings["subject"] < readings["window"] == readings["event"]


@pytest.mark.parametrize("epsilon, delta", [(0.2, 1e-6), (1.0, 1e-3)])
def test_replacing_is_read_above_the_closed_form_for_twice_the_sensitivity(epsilon, delta):
    promise = Promise("subject", epsilon, delta, sampling_probability=1.0, steps=4)
    exact = gaussian_epsilon(delta, 2 * math.sqrt(4) / promise.noise_multiplier)
    assert exact <= promise._replacement_epsilon(4) <= 2 * exact


def test_replacing_with_the_draws_revealed_is_read_above_the_closed_form():
    """With everybody drawn nothing is left to reveal; Renyi's conversion costs less than a fifth there."""
    promise = Promise("subject", 1.0, 1e-3, sampling_probability=1.0, steps=4)
    exact = gaussian_epsilon(1e-3, 2 * math.sqrt(4) / promise.noise_multiplier)
    assert exact <= promise._revealed_replacement_epsilon(4) <= 1.2 * exact
    rarely = Promise("subject", 10.0, 1e-3, sampling_probability=0.2, steps=30)
    assert rarely.spent(30) < rarely.readings(30, 2, 72)["window"] < math.inf


@pytest.mark.parametrize("probability", [0.02, 0.4])
def test_replacing_under_overwhelming_noise_costs_nothing(probability):
    # Rounding leaves the divergence below 0 here, which dp-accounting refuses.
    assert with_noise(1e9, 1e-9, probability, 30)._revealed_replacement_epsilon(30) == pytest.approx(0, abs=1e-6)


def test_the_subject_unit_bears_a_large_budget():
    promise = Promise("subject", epsilon=30.0, delta=1e-3, sampling_probability=1.0, steps=1)
    vars(promise)["noise_multiplier"] = 0.25  # spends a good 15; to find what spends 30 takes half a minute
    assert promise.readings(1, 2, 72)["window"] >= promise.spent(1) > 10


def test_a_budget_beyond_the_exponentials_range_is_read_too():
    promise = replace(SUBJECT, epsilon=1000.0)
    readings = promise.readings(promise.steps, 2, 72)
    assert promise.epsilon < readings["window"] == readings["event"] < math.inf


def test_infinite_epsilon_promises_nothing():
    assert INFINITE.noise_multiplier == 0
    assert not INFINITE.private and Promise().private
    assert INFINITE.spent(1) == math.inf
    assert INFINITE.readings(1, 2, 72) == {"window": math.inf, "event": math.inf, "subject": math.inf}


@pytest.mark.parametrize(
    "name, value",
    [
        ("unit", "persons"),
        ("engine", "opacus"),
        ("epsilon", 0.0),
        ("epsilon", -1.0),
        ("epsilon", math.nan),
        ("delta", 0.0),
        ("delta", 1.0),
        ("delta", math.nan),
        ("clip_norm", 0.0),
        ("clip_norm", math.inf),
        ("clip_norm", math.nan),
        ("sampling_probability", 0.0),
        ("sampling_probability", 1.01),
        ("sampling_probability", math.nan),
        ("steps", 0),
        ("steps", -3),
        ("steps", 1.5),  # a counter of whole steps would never meet it, and never stop
        ("steps", math.nan),
        ("steps", math.inf),
        ("windows_per_subject", 0),
        ("windows_per_subject", 2.5),
        ("windows_per_subject", math.nan),
    ],
)
def test_a_bad_value_names_itself(name, value):
    with pytest.raises(ValueError, match=f"^{name}={value!r}: expected "):
        Promise(**{name: value})


@settings(max_examples=3, deadline=None, derandomize=True)
@given(
    epsilon=st.floats(0.05, 1),
    delta=st.floats(1e-8, 1e-2),
    sampling_probability=st.floats(0.01, 1),
    steps=st.integers(1, 500),
)
def test_any_promise_is_kept(epsilon, delta, sampling_probability, steps):
    promise = Promise("window", epsilon, delta, 1.0, sampling_probability, steps)
    assert promise.spent(steps) <= epsilon


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_a_release_alone_has_the_closed_forms_noise(epsilon):
    promise = Promise(epsilon=epsilon, release_share=1.0)
    assert promise.training_steps == 0 and promise.noise_multiplier == 0
    # The accountant's bound is an upper one: never too little noise, and hardly too much.
    assert gaussian_epsilon(promise.delta, 1 / promise.release_noise_multiplier) <= epsilon
    assert gaussian_epsilon(promise.delta, 1 / (0.99 * promise.release_noise_multiplier)) > epsilon
    assert promise.spent(0) <= epsilon


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_release_and_steps_together_spend_the_budget(share):
    promise = Promise(epsilon=2.0, steps=50, release_share=share)
    assert promise.spent(0) == pytest.approx(2 * share, rel=1e-2)
    assert 0.98 * 2 < promise.spent(50) <= 2
    assert promise.release_noise_multiplier == Promise(epsilon=2 * share, release_share=1.0).release_noise_multiplier
    assert promise.noise_multiplier > Promise(epsilon=2.0, steps=50).noise_multiplier
    readings = promise.readings(50, 2, 72)
    assert readings["window"] == promise.spent(50) < readings["event"] < readings["subject"]


@pytest.mark.parametrize(
    "unit, sizes", [("window", {"event": 2, "subject": 72}), ("subject", {"window": 2, "event": 2})]
)
def test_readings_of_a_release_alone_are_those_of_a_gaussian(unit, sizes):
    """Adding or removing k units moves it by k lengths, replacing one by two; the accountant is another way there."""
    promise = Promise(unit, 1.0, 1e-3, release_share=1.0)
    readings = promise.readings(0, windows_per_second=2, most_windows_per_subject=72)
    for name, size in sizes.items():
        assert readings[name] == pytest.approx(gaussian_epsilon(1e-3, size / promise.release_noise_multiplier))
    accountant = PLDAccountant().compose(dp_accounting.GaussianDpEvent(promise.release_noise_multiplier / 2))
    assert readings["event"] == pytest.approx(accountant.get_epsilon(1e-3), abs=1e-3)
    assert readings[unit] == promise.spent(0) <= 1.0


def test_the_budget_is_divided_by_one_rule():
    """Four fifths for the release; all of it for the release where the steps would hear nothing."""
    for generator, share in {"cgan": 0.0, "released": 1.0, "levels": 1.0, "copula": 1.0}.items():
        assert divide(Promise(), generator, 1, 10**6).release_share == share
    for promise, n_units, share in (
        (Promise(), 1042, 0.8),
        (Promise(epsilon=0.1), 1042, 1.0),
        (Promise(epsilon=0.1, delta=9e-5), 10420, 0.8),
        (Promise("subject", 10.0, 1e-3), 15, 1.0),
        (Promise(epsilon=math.inf), 1, 0.8),
    ):
        assert divide(promise, "steered", n_units, 218).release_share == share
    with pytest.raises(ValueError, match="generator='gan'"):
        divide(Promise(), "gan", 1, 1)


@pytest.mark.parametrize(
    ("unit", "delta", "n_units"), [("window", 1e-4, 10_000), ("subject", 0.1, 15), ("subject", 0.999, 2)]
)
def test_a_delta_that_would_allow_to_publish_somebody_is_refused(unit, delta, n_units):
    """A mechanism that publishes each unit with probability delta, and nothing else, keeps (0, delta)."""
    with pytest.raises(
        ValueError, match=f"delta={delta}: expected less than one over the number of units, 1/{n_units}"
    ):
        divide(Promise(unit, 1.0, delta), "released", n_units, 1)
    divide(Promise(unit, 1.0, 0.9 / n_units), "released", n_units, 1)
    divide(Promise(unit, math.inf, delta), "released", n_units, 1)  # without privacy there is no delta
