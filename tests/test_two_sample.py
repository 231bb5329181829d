"""Two-sample tests: draws of one process cannot be separated, each view sees its own, and nobody is remembered."""

import numpy as np
import pytest
from test_fidelity import people, white, windows_of

from wearsynth import two_sample
from wearsynth.two_sample import TESTS, joint_features, random_convolutions, two_sample_auroc
from wearsynth.windows import Windows


@pytest.mark.parametrize("name", TESTS)
def test_draws_of_one_process_cannot_be_separated(name):
    # 300 windows against 300, each tested about once: an AUROC without information has a standard error of .024.
    real, synthetic = windows_of(white(300, 0), n_people=4), windows_of(white(300, 1))
    assert two_sample_auroc(real, synthetic, 0, name) == pytest.approx(0.5, abs=4 * 0.024)


def test_a_shift_is_seen():
    real, synthetic = windows_of(white(60, 0), n_people=4), windows_of(white(60, 1) + 0.3)
    assert two_sample_auroc(real, synthetic, seed=0) > 0.99


def test_the_test_is_not_won_by_remembering_people():
    # Everyone has a level of their own, from one distribution. Were the others' windows split one by one, as a
    # generator's are, the forest would know them by their levels again; as people, it meets nobody twice.
    real, others = people(12, seed=0), people(12, seed=1)
    one_by_one = Windows(others.values, others.labels, np.full(len(others), "synthetic"), others.signals)
    assert two_sample_auroc(real, one_by_one, seed=0) > 0.8
    assert two_sample_auroc(real, others, seed=0) < 0.65


def moved_together(n, seed, together):
    """Two signals in bursts of noise, at the same time or not: each by itself looks the same."""
    rng = np.random.default_rng(seed)
    bursts = rng.random((n, 60, 2)) < 0.1
    if together:
        bursts[..., 1] = bursts[..., 0]
    return 0.5 + 0.02 * rng.standard_normal((n, 60, 2)) + 0.2 * bursts * rng.standard_normal((n, 60, 2))


def test_joint_behaviour_is_seen_where_each_signal_by_itself_is_as_it_should_be():
    real, synthetic = windows_of(moved_together(200, 0, True), n_people=4), windows_of(moved_together(200, 1, False))
    names = ("simple features", "joint behaviour, forest", "joint behaviour, linear")
    found = {name: two_sample_auroc(real, synthetic, 0, name) for name in names}
    # Of 200 windows against 200 an AUROC without information has a standard error of .029.
    assert found["simple features"] < 0.5 + 4 * 0.029
    assert found["joint behaviour, forest"] > 0.85 and found["joint behaviour, linear"] > 0.85


def test_joint_features_are_correlations():
    values = np.cumsum(white(5, 0, n_signals=3), axis=1)
    values[0, :, 1] = 0.3  # flat: correlates with nothing
    found, pairs = joint_features(values), np.triu_indices(3, 1)
    for row, window in zip(found[1:], values[1:]):
        own, differences = (np.corrcoef(each.T)[pairs] for each in (window, np.abs(np.diff(window, axis=0))))
        np.testing.assert_allclose(row, [*own, *differences], atol=1e-9)
    assert found[0, 0] == found[0, 2] == 0 and np.isfinite(found).all()


def test_random_convolutions_are_those_of_a_loop():
    values = white(3, 0, seconds=30, n_signals=2) - 0.5
    found, rng = random_convolutions(values, 5), np.random.default_rng(0)
    for kernel in range(5):
        length = rng.choice([7, 9, 11])
        weights = rng.standard_normal((length, 2)) * (rng.random(2) < 1)
        weights -= weights.mean(axis=0)
        dilation = int(2 ** rng.uniform(0, np.log2(29 / (length - 1))))
        bias = rng.uniform(-1, 1)
        for window, row in zip(values, found):
            last = 30 - (length - 1) * dilation
            output = [
                bias + sum(window[start + tap * dilation] @ weights[tap] for tap in range(length))
                for start in range(last)
            ]
            np.testing.assert_allclose(row[2 * kernel : 2 * kernel + 2], [np.mean(np.array(output) > 0), max(output)])


def test_the_worst_counts():
    real, synthetic = windows_of(moved_together(60, 0, True), n_people=4), windows_of(moved_together(60, 1, False))
    found = two_sample.two_sample_tests(real, synthetic, seed=0)
    assert set(found) == set(TESTS) and max(found.values()) > 0.9
