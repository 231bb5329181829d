"""The audit: its bound against mechanisms whose truth is known, and the real training, kept and broken on purpose."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import ndtr, ndtri
from scipy.stats import binom, norm

from benchmarks.audit import nobodys_windows, planned
from wearsynth import audit, cgan
from wearsynth.audit import EPSILONS, LEVEL, CanaryGradient, count_correct, lower_bound, lower_bound_dpsgd, refuted
from wearsynth.codecs import DescriptorCodec
from wearsynth.generators import plan
from wearsynth.privacy import Promise
from wearsynth.windows import EXTENDED


def gaussian_deltas(shift, epsilons=EPSILONS):
    """Of telling N(0, 1) from N(shift, 1) (Balle and Wang 2018, arXiv 1805.06530)."""
    return norm.cdf(shift / 2 - epsilons / shift) - np.exp(epsilons) * norm.cdf(-shift / 2 - epsilons / shift)


def coins(canaries, probability):
    """P[C >= c] for c = 0 ... canaries, of independent guesses."""
    return binom.sf(np.arange(-1, canaries), canaries, probability)


def mixed(weight, one, other):
    """One mechanism for all canaries at once with that probability, else the other: as dependent as can be."""
    return weight * one + (1 - weight) * other


N = 60
KNOWN = {  # P[C >= c], epsilons, deltas
    "randomised response": (coins(N, 1 / (1 + np.exp(-0.7))), [0.7], [0.0]),
    "independent Gaussians": (coins(N, norm.cdf(0.5)), EPSILONS, gaussian_deltas(1.0)),
    "tells all, or nothing": (mixed(0.2, np.ones(N + 1), coins(N, 0.5)), [0.0], [0.2]),
    "all loud, or all silent": (
        mixed(0.1, coins(N, norm.cdf(1.5)), coins(N, 0.5)),
        EPSILONS,
        0.1 * gaussian_deltas(3.0),
    ),
    "all loud, or all soft": (
        mixed(0.06, coins(N, norm.cdf(1.0)), coins(N, norm.cdf(0.1))),
        EPSILONS,
        mixed(0.06, gaussian_deltas(2.0), gaussian_deltas(0.2)),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_truth_is_refuted_no_more_often_than_the_level_says(name):
    tails, epsilons, deltas = KNOWN[name]
    deltas = np.asarray(deltas)
    for level in (1e-3, 0.05, 0.3, 0.9):
        refuting = [c for c in range(N + 1) if refuted(c, N, N, epsilons, deltas, level)]
        assert not refuting or tails[min(refuting)] <= level


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_one_canary_is_judged_exactly(epsilon):
    """Guessing one coin right has probability e^epsilon / (1 + e^epsilon), for two Gaussians Phi(shift / 2)."""
    chance = 1 / (1 + np.exp(-epsilon))
    assert refuted(1, 1, 1, [epsilon], 0.0, chance + 1e-9)
    assert not refuted(1, 1, 1, [epsilon], 0.0, chance - 1e-9)
    chance, fine = norm.cdf(epsilon / 2), np.linspace(0, 30, 30_001)
    assert refuted(1, 1, 1, fine, gaussian_deltas(epsilon, fine), chance + 1e-5)
    assert not refuted(1, 1, 1, fine, gaussian_deltas(epsilon, fine), chance - 1e-5)


def published(correct, guesses, canaries, shift, level):
    """The algorithm as Mahloujifar et al. print it (arXiv 2410.22235), with the Gaussian's own curve."""
    right, wrong = level * correct / canaries, level * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        before, wrong = wrong, max(wrong, ndtr(ndtri(right) - shift))
        right += i / (guesses - i) * (wrong - before)
    return right + wrong > guesses / canaries


@pytest.mark.parametrize("guesses, canaries", [(100, 100), (100, 1000), (300, 1000)])
def test_the_refutation_is_the_published_one(guesses, canaries):
    shifts = np.geomspace(0.01, 5, 40)
    for correct in (guesses * np.array([0.52, 0.6, 0.7, 0.8, 0.95, 1])).astype(int):
        theirs = [published(correct, guesses, canaries, shift, LEVEL) for shift in shifts]
        ours = [refuted(correct, guesses, canaries, EPSILONS, gaussian_deltas(shift)) for shift in shifts]
        assert theirs == sorted(theirs, reverse=True) and ours == sorted(ours, reverse=True)
        # A curve by its tangents lies a little lower, so that one shift in 40 may pass; none may be refuted in excess.
        assert 0 <= sum(theirs) - sum(ours) <= 1


GAUSSIAN = Promise("window", 4.0, 1e-4, sampling_probability=1.0, steps=1)


@pytest.fixture(scope="module")
def gaussian_audits():
    """Bounds from 30 audits of independent Gaussians of epsilon 4: (30, 2), for any mechanism and by its curve."""
    rng = np.random.default_rng(0)
    included = rng.integers(0, 2, (30, 1500)).astype(bool)
    scores = included + GAUSSIAN.noise_multiplier * rng.normal(size=included.shape)
    counts = [count_correct(*pair) for pair in zip(scores, included)]
    bounds = {each: (lower_bound(*each, 1500, 1e-4), lower_bound_dpsgd(*each, 1500, GAUSSIAN)) for each in set(counts)}
    return np.array([bounds[each] for each in counts])


def test_bounds_stay_under_the_truth(gaussian_audits):
    """With 95 % confidence each: of 30 sound audits more than 7 would fail once in ten thousand."""
    assert ((gaussian_audits > 4.0).sum(axis=0) <= binom.isf(1e-4, 30, LEVEL)).all()


def test_bounds_come_near_the_truth(gaussian_audits):
    """Where no canary drowns out another, what is lost is lost to the proof, which allows for any dependence."""
    by_any, by_curve = np.median(gaussian_audits, axis=0) / 4.0
    assert by_curve > 0.45 and by_any > 0.35


def test_guesses_no_better_than_chance_give_no_bound():
    for correct in (0, 50):
        assert lower_bound(correct, 100, 1000, 1e-4) == lower_bound_dpsgd(correct, 100, 1000, GAUSSIAN) == 0


def test_guesses_are_made_at_both_ends():
    scores = np.arange(100.0).reshape(4, 25)
    assert count_correct(scores, scores >= 50) == (10, 10)
    assert count_correct(scores, scores < 50) == (0, 10)
    assert count_correct(scores, (scores > 96) | (scores < 2)) == (3 + 3, 10)


@pytest.fixture(scope="module")
def windows(make_toy_windows):
    return make_toy_windows(signals=EXTENDED)


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_the_real_training_keeps_its_promise(windows, unit):
    """Seeded: passes or fails for good. The lower limits show that the audit is not deaf."""
    promise = Promise(unit, 10.0, 1e-4, steps=20, windows_per_subject=5)  # fewer than people here have
    record = audit.audit(windows, promise, n_runs=4, noise_seed=0)
    assert record["canaries"] == 4 * 217
    assert 0.3 * 10 < record["bound_dpsgd"] <= 10
    assert 0.2 * 10 < record["bound"] <= 10


@pytest.mark.parametrize("control", ["clipping off", "noise off", "noise / 4"])
def test_a_broken_training_is_found_out(windows, control):
    """The same audit, of a training that breaks its promise, must say so, by either bound."""
    record = audit.audit(windows, Promise("window", 1.0, 1e-4, steps=20), n_runs=1, control=control, noise_seed=0)
    assert record["bound"] > 1
    assert record["bound_dpsgd"] > 1


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_a_real_release_keeps_its_promise(unit):
    """Seeded, like the trainings above."""
    record = audit.audit(nobodys_windows(), Promise(unit, 4.0, 1e-4, release_share=1.0), n_runs=1200, noise_seed=0)
    assert record["mechanism"] == "release" and record["canaries"] == 1200
    assert 0.3 * 4 < record["bound_dpsgd"] <= 4
    assert 0.2 * 4 < record["bound"] <= 4


@pytest.mark.parametrize("control", ["clipping off", "noise off", "noise / 4"])
def test_a_broken_release_is_found_out(control):
    promise = Promise("window", 1.0, 1e-4, release_share=1.0)
    record = audit.audit(nobodys_windows(), promise, n_runs=600, control=control, noise_seed=0)
    assert record["bound"] > 1
    assert record["bound_dpsgd"] > 1


def test_every_query_is_audited():
    prior = DescriptorCodec.from_windows(nobodys_windows())
    audited = [
        plan(promise, "released", prior, windows.n_units(promise.unit)).query
        for windows, promise, _, control in planned()
        if promise.release_share and control == "none"
    ]
    assert {len(query.paired) for query in audited} == {prior.size, len(prior.levels), 0}


def test_an_unknown_control_is_refused(windows):
    with pytest.raises(ValueError, match="control='noise on'"):
        audit.audit(windows, Promise(steps=1), n_runs=1, control="noise on")


def linear(n_features):
    return tf.keras.Sequential([tf.keras.layers.Input((n_features,)), tf.keras.layers.Dense(1)])


@pytest.mark.parametrize("seed", [None, 1], ids=["entropy", "seeded"])
def test_every_training_has_coins_of_its_own(seed):
    model, examples = linear(217), np.zeros((4, 217), np.float32)
    rng = None if seed is None else np.random.default_rng(seed)
    promise = Promise("window", np.inf)
    make = partial(CanaryGradient, model, cgan._loss, promise, examples, np.ones(4), np.repeat("S2", 4), rng=rng)
    first, second = (make().included for _ in range(2))
    for heads in (first, second, first == second):
        # Of 217 fair coins; so far from a half come less than one in 10^11.
        assert abs(np.mean(heads) - 0.5) < 7 * 0.5 / np.sqrt(217)


def test_the_number_of_units_does_not_tell_the_coins():
    model, examples = linear(81), np.zeros((4, 81), np.float32)
    for seed in range(3):
        mechanism = CanaryGradient(
            model,
            cgan._loss,
            Promise(epsilon=np.inf),
            examples,
            np.ones(4),
            np.repeat("S2", 4),
            np.random.default_rng(seed),
        )
        assert mechanism.expected_units == (4 + 81) * 0.5
