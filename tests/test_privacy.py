"""The promise: its noise and what it spends, against closed forms and by what is monotone; bad values."""

import math
from dataclasses import replace

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import INFINITE, ONE_RELEASE, PROMISES, SUBJECT, WithNoise
from scipy.optimize import brentq

from wearsynth.accounting import gaussian_epsilon
from wearsynth.privacy import Promise, spent_together


@pytest.mark.parametrize(
    "promise", [*PROMISES, SUBJECT, ONE_RELEASE], ids=lambda promise: f"{promise.unit}-{promise.epsilon}"
)
def test_noise_keeps_the_promise_and_is_no_larger_than_it_takes(promise):
    spent = promise.spent(promise.steps)
    # The search ends within 0.001 of the least noise; epsilon falls about in proportion, and noise is above 0.5 here.
    assert 0.99 * promise.epsilon <= spent <= promise.epsilon


@pytest.mark.parametrize("epsilon, delta", [(0.1, 1e-6), (1.0, 1e-3), (1.0, 1e-9), (3.0, 1e-6)])
def test_one_release_is_the_analytic_gaussian_mechanism(epsilon, delta):
    promise = Promise(epsilon=epsilon, delta=delta, sampling_probability=1.0, steps=1)
    least = 1 / brentq(lambda mu: gaussian_epsilon(delta, mu) - epsilon, 1e-3, 20, xtol=1e-12)
    # Never less; more by the search's tolerance of 0.001 and by rounding upwards on a grid of losses 1e-4 apart.
    assert least - 1e-6 <= promise.noise_multiplier <= least + 2e-3
    assert promise.spent(1) == pytest.approx(gaussian_epsilon(delta, 1 / promise.noise_multiplier), abs=1e-3)


@pytest.mark.parametrize("epsilon", [10.0, 100.0])
def test_a_large_budget_is_read_more_coarsely_and_still_from_above(epsilon):
    promise = Promise(epsilon=epsilon, delta=1e-5, sampling_probability=1.0, steps=100)
    exact = gaussian_epsilon(promise.delta, math.sqrt(100) / promise.noise_multiplier)
    # Losses lie on a grid of 1e-4 of the budget, each of 100 steps rounds to it, and the errors add up as noise does.
    assert exact <= promise.spent(100) <= exact + 10 * 1e-4 * epsilon


def test_spent_grows_with_steps():
    promise = PROMISES[0]
    spent = [promise.spent(steps) for steps in (1, 10, 100, 2000, 4000)]
    assert spent == sorted(spent) and len(set(spent)) == len(spent)
    assert spent[-1] > promise.epsilon  # the promise is for its own steps, not for more


def test_two_trainings_compose_as_one_longer_one_in_any_order():
    promise, other = PROMISES[0], replace(PROMISES[1], delta=1e-4)
    # The same sums in another order, in double precision, whose tails are cut off at 1e-15.
    assert spent_together([(promise, 1500), (promise, 500)], 1e-4) == pytest.approx(promise.spent(2000), rel=1e-6)
    both = spent_together([(promise, 500), (other, 700)], 1e-4)
    assert both == pytest.approx(spent_together([(other, 700), (promise, 500)], 1e-4), rel=1e-6)
    assert max(promise.spent(500), other.spent(700)) < both


def test_composing_refuses_what_does_not_add_up():
    with pytest.raises(ValueError, match=r"^units \['subject', 'window'\]: expected one; "):
        spent_together([(SUBJECT, 10), (PROMISES[0], 10)], 1e-4)
    assert spent_together([(PROMISES[0], 10), (INFINITE, 10)], 1e-4) == math.inf


def test_the_clip_norm_costs_nothing_and_the_rest_does():
    promise = PROMISES[1]
    assert replace(promise, clip_norm=100.0).noise_multiplier == promise.noise_multiplier
    for dearer in ({"epsilon": 0.09}, {"delta": 1e-6}, {"sampling_probability": 0.03}, {"steps": 4000}):
        assert replace(promise, **dearer).noise_multiplier > promise.noise_multiplier


def test_no_step_taken_spends_nothing():
    assert PROMISES[0].spent(0) == 0


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: f"{promise.epsilon}")
def test_epsilons_of_the_window_unit(promise):
    epsilons = promise.epsilons(promise.steps, windows_per_second=2, most_windows_per_subject=72)
    assert list(epsilons) == ["window", "event", "subject"]
    assert epsilons["window"] == promise.spent(promise.steps) <= promise.epsilon
    assert epsilons["window"] < epsilons["event"] < epsilons["subject"]


def test_epsilons_of_windows_that_share_no_second():
    epsilons = PROMISES[0].epsilons(1000, windows_per_second=1, most_windows_per_subject=1)
    assert epsilons["event"] == epsilons["subject"] == epsilons["window"]


def test_epsilons_of_the_subject_unit():
    promise = SUBJECT
    epsilons = promise.epsilons(promise.steps, windows_per_second=2, most_windows_per_subject=72)
    assert epsilons["subject"] == promise.spent(promise.steps) <= promise.epsilon
    # Replacing a gradient may move the sum twice as far as removing it, and is read as a removal and an addition.
    assert epsilons["subject"] < epsilons["window"] == epsilons["event"]


def test_the_subject_unit_bears_a_large_budget():
    # Spends a good 15; to find the noise that spends 30 takes half a minute.
    promise = WithNoise("subject", epsilon=30.0, delta=1e-3, sampling_probability=1.0, steps=1, noise=0.25)
    assert promise.epsilons(1, 2, 72)["window"] >= promise.spent(1) > 10


def test_a_budget_beyond_the_exponentials_range_is_read_too():
    promise = replace(SUBJECT, epsilon=1000.0)
    epsilons = promise.epsilons(promise.steps, 2, 72)
    assert promise.epsilon < epsilons["window"] == epsilons["event"] < math.inf


def test_infinite_epsilon_promises_nothing():
    assert INFINITE.noise_multiplier == 0
    assert not INFINITE.private and Promise().private
    assert INFINITE.spent(1) == math.inf
    assert INFINITE.epsilons(1, 2, 72) == {"window": math.inf, "event": math.inf, "subject": math.inf}


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
    epsilons = promise.epsilons(50, 2, 72)
    assert epsilons["window"] == promise.spent(50) < epsilons["event"] < epsilons["subject"]


@pytest.mark.parametrize(
    "unit, sizes", [("window", {"event": 2, "subject": 72}), ("subject", {"window": 2, "event": 2})]
)
def test_epsilons_of_a_release_alone_are_those_of_a_gaussian(unit, sizes):
    """Adding or removing k units moves it by k lengths, replacing one by two; the accountant is another way there."""
    promise = Promise(unit, 1.0, 1e-3, release_share=1.0)
    epsilons = promise.epsilons(0, windows_per_second=2, most_windows_per_subject=72)
    for name, size in sizes.items():
        assert epsilons[name] == pytest.approx(gaussian_epsilon(1e-3, size / promise.release_noise_multiplier))
    accountant = PLDAccountant().compose(dp_accounting.GaussianDpEvent(promise.release_noise_multiplier / 2))
    assert epsilons["event"] == pytest.approx(accountant.get_epsilon(1e-3), abs=1e-3)
    assert epsilons[unit] == promise.spent(0) <= 1.0
