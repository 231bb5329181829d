"""DP-SGD: draws and noise against their distributions, the mechanism against its parts."""

import numpy as np
import pytest
import tensorflow as tf
from per_unit_loop import SECONDS, SIGNALS, clip, cross_entropy, draw_batch, flat, unit_gradients
from promises import with_tf_privacy
from scipy import stats

from wearsynth import dpsgd, generators
from wearsynth.clipping import clipped_sum
from wearsynth.dpsgd import PrivateGradient, Units
from wearsynth.privacy import ENGINES, Promise
from wearsynth.randomness import normal, poisson_sample, uniform

layers = tf.keras.layers
ONES = np.ones((10, 1), np.float32)
FALSE_ALARM = 1e-6  # of draws that no seed fixes: such a test fails once in a million runs


def two_dense():
    tf.keras.utils.set_random_seed(0)
    return tf.keras.Sequential(
        [layers.Input((SECONDS, SIGNALS)), layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(1)]
    )


def test_uniform_stays_inside_the_open_interval():
    """The largest and the smallest 64 bits there are: a 0 or 1 would become infinite noise."""

    class Stuck:
        def __init__(self, bits):
            self.bits = bits

        def integers(self, low, high, size, dtype):
            return np.full(size, self.bits, dtype)

    for bits in (0, 2**64 - 1):
        assert 0 < uniform(1, Stuck(bits))[0] < 1
        assert np.isfinite(normal(1, Stuck(bits))[0])


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)], ids=["entropy", "seeded"])
def test_uniform_and_normal_have_their_distributions(rng):
    assert stats.kstest(uniform(20_000, rng), "uniform").pvalue > FALSE_ALARM
    assert stats.kstest(normal(20_000, rng), "norm").pvalue > FALSE_ALARM


def test_a_seed_repeats_and_entropy_does_not():
    first, second = (normal(5, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(normal(5), normal(5))


def chi_square_p(observed, expected):
    """Goodness of fit, neighbouring cells of fewer than five expected merged."""
    cells, tally = [], np.zeros(2)
    for pair in zip(observed, expected):
        tally += pair
        if tally[1] >= 5:
            cells.append(tally)
            tally = np.zeros(2)
    cells[-1] = cells[-1] + tally
    observed, expected = np.array(cells).T
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_draws_are_independent_coins(probability):
    """Seeded: passes or fails for good. 1e-3 is what one seed in a thousand would miss by chance."""
    n_units, n_draws = 12, 4000
    rng = np.random.default_rng(1)
    drawn = np.zeros((n_draws, n_units), int)
    for row in drawn:
        chosen = poisson_sample(n_units, probability, rng)
        assert len(np.unique(chosen)) == len(chosen)
        row[chosen] = 1
    sizes = np.bincount(drawn.sum(axis=1), minlength=n_units + 1)
    assert chi_square_p(sizes, n_draws * stats.binom.pmf(np.arange(n_units + 1), n_units, probability)) > 1e-3
    each = ((drawn.sum(axis=0) - n_draws * probability) ** 2).sum() / (n_draws * probability * (1 - probability))
    assert 1e-3 < stats.chi2.sf(each, n_units) < 1 - 1e-3
    # Of two units, and of one unit in two draws, each pattern is as common as independence says.
    pairs = [(drawn[:, i], drawn[:, j]) for i in range(n_units) for j in range(i)]
    pairs += [(drawn[:-1:2, i], drawn[1::2, i]) for i in range(n_units)]
    both = np.array([probability, 1 - probability])
    for one, other in pairs:
        observed = [np.sum((one == a) & (other == b)) for a in (1, 0) for b in (1, 0)]
        p = stats.chisquare(observed, len(one) * np.outer(both, both).ravel()).pvalue
        assert p > 1e-3 / len(pairs)


def test_certain_and_entropy_draws():
    assert poisson_sample(50, 1.0).tolist() == list(range(50))
    sizes = [len(poisson_sample(40, 0.3)) for _ in range(500)]
    expected = 500 * stats.binom.pmf(np.arange(41), 40, 0.3)
    assert chi_square_p(np.bincount(sizes, minlength=41), expected) > FALSE_ALARM


def test_units_hold_every_window_once_and_weigh_them_alike():
    subjects = np.array(["S3", "S2", "S3", "S3", "S10"])
    units = Units.group(subjects, "subject")
    held = [tuple(row[share > 0]) for row, share in zip(units.windows, units.share)]
    assert sorted(held) == [(0, 2, 3), (1,), (4,)]
    np.testing.assert_allclose(units.share.sum(axis=1), 1, rtol=1e-6)
    assert Units.group(subjects, "window").windows.tolist() == [[0], [1], [2], [3], [4]]
    for most_windows in (2, 5):
        windows, share = units.batch(np.array([], int), most_windows)
        assert windows.shape == share.shape == (0, min(most_windows, 3))


def test_of_a_large_unit_a_random_choice_stands_for_it():
    """Two of S3's five windows each time, all alike; S2 has but one; the shares make up a mean."""
    subjects = np.array(["S2", *["S3"] * 5])
    units, rng = Units.group(subjects, "subject"), np.random.default_rng(0)
    counts = np.zeros(6)
    for _ in range(1000):
        windows, share = units.batch(np.array([0, 1]), 2, rng)
        assert windows.shape == share.shape == (2, 2)
        assert share[0].tolist() == [1, 0] and windows[0, 0] == 0
        assert share[1].tolist() == [0.5, 0.5] and len(set(windows[1])) == 2
        counts[windows[1]] += 1
    assert counts[0] == 0
    # 2,000 choices among five, seeded. Without replacement they vary a little less than the test assumes.
    assert stats.chisquare(counts[1:]).pvalue > 1e-3
    whole, alone = (units.batch(np.array([0, 1]), most_windows)[1] for most_windows in (5, 1))
    assert whole[1].tolist() == [np.float32(0.2)] * 5 and alone.tolist() == [[1], [1]]


def test_units_of_one_window_know_no_choice():
    units = Units.group(np.array(["S2", "S2", "S3"]), "window")
    windows, share = units.batch(np.array([0, 2]), 1)
    assert windows.tolist() == [[0], [2]] and share.tolist() == [[1], [1]]


def test_padding_never_points_to_somebody_elses_window():
    """What stands in for a missing window weighs nothing, but nothing times infinity is not nothing."""
    subjects = np.array(["S2", "S3", "S3", "S4"])
    units = Units.group(subjects, "subject")
    for row in units.windows:
        assert len(set(subjects[row])) == 1


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_the_gans_own_discriminator_is_clipped_like_a_loop(make_toy_windows, toy_codec, unit):
    given = []

    def recorded(*args, **kwargs):
        given[:] = args
        return PrivateGradient(*args, **kwargs)

    windows = make_toy_windows()[np.arange(22)]  # one person has fewer than the others
    generators.fit(windows, Promise(unit, np.inf, steps=1), "cgan", toy_codec, mechanism=recorded)
    model, loss, _, examples, targets, subjects = given
    units = Units.group(subjects, unit)
    batch = examples[units.windows], np.asarray(targets, np.float32)[units.windows], units.share
    rows = unit_gradients(model, loss, *batch)
    for clip_norm in (1e-2, np.median(np.linalg.norm(rows, axis=1))):
        gradient = flat(clipped_sum(model, loss, *batch, clip_norm))
        np.testing.assert_allclose(gradient, clip(rows, clip_norm).sum(axis=0), rtol=1e-3, atol=3e-5 * clip_norm)


def mechanism(model, examples, subjects, promise, rng=None):
    return PrivateGradient(model, cross_entropy, promise, examples, np.ones(len(examples)), subjects, rng)


@with_tf_privacy
@pytest.mark.parametrize("unit", ["window", "subject"])
def test_both_engines_take_the_same_steps(unit):
    """Same draws, same windows of each subject, same noise; an empty draw is one of the steps."""
    examples, subjects = draw_batch(10, 1)[0][:, 0], np.repeat(["S2", "S3", "S4"], [1, 4, 5])
    steps = []
    for engine in ENGINES:
        promise = Promise(unit, 8.0, 1e-3, sampling_probability=0.2, steps=8, windows_per_subject=3, engine=engine)
        steps.append(mechanism(two_dense(), examples, subjects, promise, np.random.default_rng(2)))
    for _ in range(8):
        ours, theirs = (flat(step()) for step in steps)
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)  # single precision, and divided by 0.6 or more


def test_one_persons_missing_values_change_nobody_elses_part():
    """Everyone is drawn, without noise: the sum without a person is that with the person's values missing."""
    examples = draw_batch(7, 1)[0][:, 0]
    subjects = np.array(["S2", "S3", "S3", "S3", "S4", "S4", "S5"])
    promise = Promise("subject", np.inf, sampling_probability=1.0, steps=1)
    model = two_dense()
    missing = examples.copy()
    missing[0] = np.nan
    with_person, without_person = (
        (lambda step: step.expected_units * flat(step()))(mechanism(model, values, whose, promise))
        for values, whose in ((missing, subjects), (examples[1:], subjects[1:]))
    )
    np.testing.assert_allclose(with_person, without_person, rtol=1e-4, atol=1e-6)  # single precision
    assert np.abs(without_person).max() > 0


def test_the_mean_is_over_the_expected_units():
    """Half of the units drawn a step, without noise: the sum over the drawn ones over half of all."""
    examples = draw_batch(10, 1)[0][:, 0]
    model = two_dense()
    promise = Promise("window", np.inf, clip_norm=0.4, sampling_probability=0.5, steps=20)
    step = mechanism(model, examples, np.repeat("S2", 10), promise, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    clipped = clip(unit_gradients(model, cross_entropy, examples[:, None], ONES[:10], ONES[:10]), 0.4)
    sizes = set()
    for _ in range(20):
        drawn = poisson_sample(10, 0.5, rng)
        sizes.add(len(drawn))
        np.testing.assert_allclose(flat(step()), clipped[drawn].sum(axis=0) / 5, rtol=1e-3, atol=1e-5)
    assert len(sizes) > 3


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_a_sample_in_several_passes_is_clipped_and_noised_as_in_one(unit, monkeypatch):
    """Three windows a pass, ten in all; people of one to five windows are never cut in two."""
    examples, subjects = draw_batch(10, 1)[0][:, 0], np.repeat(["S2", "S3", "S4"], [1, 4, 5])
    promise = Promise(unit, 8.0, 1e-3, sampling_probability=0.7, steps=5)
    whole = mechanism(two_dense(), examples, subjects, promise, np.random.default_rng(2))
    expected = [flat(whole()) for _ in range(5)]
    monkeypatch.setattr(dpsgd, "MOST_WINDOWS", 3)
    passes = mechanism(two_dense(), examples, subjects, promise, np.random.default_rng(2))
    sums, own = [], passes._sum
    monkeypatch.setattr(passes, "_sum", lambda *batch: sums.append(len(batch[0])) or own(*batch))
    for each in expected:
        np.testing.assert_allclose(flat(passes()), each, rtol=1e-4, atol=1e-6)  # single precision
    assert len(sums) > 10 and max(sums) <= 3


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_the_noise_is_as_large_as_promised_for_every_weight(unit):
    """Nobody is ever drawn (probability 1e-9), so that every step is pure noise."""
    model = two_dense()
    subjects = np.array(["S2", "S2", "S3", "S4"])
    promise = Promise(unit, 1.0, 1e-5, clip_norm=0.7, sampling_probability=1e-9, steps=400)
    vars(promise)["noise_multiplier"] = 1.3  # so rare a draw would call for hardly any
    step = mechanism(model, draw_batch(4, 1)[0][:, 0], subjects, promise, np.random.default_rng(0))
    expected = 1.3 * 0.7 / step.expected_units
    gradients = [step() for _ in range(400)]
    assert [part.shape for part in gradients[0]] == [weight.shape for weight in model.trainable_variables]
    noise = np.array([flat(gradient) for gradient in gradients]) / expected
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3  # seeded: passes or fails for good
    # The sum of 400 squares is chi-square with 400 degrees of freedom: bounds for all weights at once.
    tail = 1e-3 / noise.shape[1]
    squares = (noise**2).sum(axis=0)
    assert (stats.chi2.ppf(tail, 400) < squares).all() and (squares < stats.chi2.isf(tail, 400)).all()
    # Independent between weights and between steps: no correlation beyond what 400 draws give by chance.
    for correlations in (np.corrcoef(noise.T), np.corrcoef(noise[:40])):
        beside = np.abs(correlations[np.triu_indices(len(correlations), 1)])
        assert beside.max() < 6 / np.sqrt(min(noise.shape[0], noise.shape[1]))


def test_noise_from_entropy_is_as_large_and_differs_from_step_to_step():
    model = two_dense()
    promise = Promise("window", 1.0, 1e-5, clip_norm=0.7, sampling_probability=1e-9, steps=30)
    vars(promise)["noise_multiplier"] = 1.3
    step = mechanism(model, draw_batch(4, 1)[0][:, 0], np.repeat("S2", 4), promise)
    noise = np.array([flat(step()) for _ in range(30)]) * step.expected_units / (1.3 * 0.7)
    assert stats.kstest(noise.ravel(), "norm").pvalue > FALSE_ALARM


def test_the_mechanism_reads_its_noise_from_the_promise():
    model, examples = two_dense(), draw_batch(4, 1)[0][:, 0]
    promise = Promise("window", 0.5, 1e-5, clip_norm=0.2, sampling_probability=1.0, steps=4)
    step = mechanism(model, examples, np.repeat("S2", 4), promise, np.random.default_rng(0))
    noise = flat(step()) * step.expected_units
    bare = flat(clipped_sum(model, cross_entropy, examples[:, None], ONES[:4], ONES[:4], 0.2))
    rng = np.random.default_rng(0)
    poisson_sample(4, 1.0, rng)
    expected = bare + promise.noise_multiplier * 0.2 * normal(len(bare), rng)
    np.testing.assert_allclose(noise, expected, rtol=1e-4, atol=1e-5)


def test_no_step_beyond_the_promise():
    promise = Promise("window", np.inf, steps=3)
    step = mechanism(two_dense(), draw_batch(4, 1)[0][:, 0], np.repeat("S2", 4), promise)
    for taken in (1, 2, 3):
        step()
        assert step.steps == taken
    with pytest.raises(RuntimeError, match="3 promised steps"):
        step()
    assert step.steps == 3


def test_instance_noise_is_drawn_anew_for_each_unit():
    """From entropy, so with bounds that chance breaks once in a million runs; 1,000 values."""
    promise = Promise(epsilon=np.inf, steps=1)
    step = PrivateGradient(
        two_dense(),
        cross_entropy,
        promise,
        np.zeros((4, SECONDS, SIGNALS), np.float32),
        np.ones(4),
        ["S2"] * 4,
        None,
        0.1,
    )
    first, second = (step._noisy(np.ones((10, 1, 50, 2), np.float32)) for _ in range(2))
    assert stats.kstest((first.ravel() - 1) / 0.1, "norm").pvalue > FALSE_ALARM
    rows = np.concatenate([first.reshape(10, -1), second.reshape(10, -1)])
    assert np.abs(np.corrcoef(rows)[np.triu_indices(20, 1)]).max() < 6 / np.sqrt(100)


def test_without_instance_noise_the_examples_stay_as_they_are():
    step = mechanism(two_dense(), draw_batch(4, 1)[0][:, 0], np.repeat("S2", 4), Promise(epsilon=np.inf))
    examples = draw_batch(4, 1)[0]
    assert step._noisy(examples) is examples
