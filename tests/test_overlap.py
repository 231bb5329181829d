"""Clouds against closed forms and slow loops; and every number puts better windows before worse ones."""

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import rbf_kernel

from wearsynth import overlap
from wearsynth.windows import Windows

N_PEOPLE, EACH, SECONDS = 8, 40, 30


def people(seed, shift=0.0):
    """Slow waves about a level that the class sets; people differ a little."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], N_PEOPLE * EACH // 2)
    subjects = np.repeat([f"S{number}" for number in range(N_PEOPLE)], EACH)
    level = 0.35 + shift + 0.3 * labels + np.repeat(rng.normal(0, 0.02, N_PEOPLE), EACH)
    phase, time = rng.uniform(0, 2 * np.pi, (2, len(labels), 1)), np.arange(SECONDS)
    waves = np.stack([np.sin(2 * np.pi * time / length + each) for length, each in zip((12, 7), phase)], axis=2)
    values = level[:, None, None] + 0.08 * waves + 0.01 * rng.standard_normal(waves.shape)
    return Windows(values, labels, subjects, ("a", "b"))


@pytest.fixture(scope="module")
def ranked():
    """What is compared with the real windows, each clearly better than those below it."""
    real, good, rng = people(0), people(1), np.random.default_rng(2)
    noise = real.values.mean() + real.values.std() * rng.standard_normal(good.values.shape)
    sets = {
        "others": good,
        "shifted": people(3, shift=0.1),
        "shuffled labels": Windows(good.values, rng.permutation(good.labels), good.subjects, good.signals),
        "matched noise": Windows(noise, good.labels, good.subjects, good.signals),
        "one window": Windows(np.repeat(good.values[:1], len(good), axis=0), good.labels, good.subjects, good.signals),
    }
    encoder = overlap.Encoder(people(4))
    return {name: overlap.compare_clouds(real, windows, encoder) for name, windows in sets.items()}


SMALL_WHERE_BETTER = {"wasserstein", "frechet_distance", "mmd", "prediction_ratio"}
BLIND = {
    # Most of each cloud still lies within the other: how deep points lie, and which ones are reached, hardly changes.
    "shifted": {"alpha_precision", "beta_recall", "prediction_ratio"},
    "shuffled labels": {"beta_recall", "prediction_ratio"},
    "matched noise": set(),
    "one window": {"density"},  # it lies in the middle of all the others
}


@pytest.mark.parametrize("worse", [*BLIND])
def test_other_people_overlap_more_than_worse_windows(ranked, worse):
    for name in {*ranked["others"]} - BLIND[worse]:
        better_by = ranked[worse][name] - ranked["others"][name]
        assert (better_by if name in SMALL_WHERE_BETTER else -better_by) > 0, name


def test_the_same_windows_overlap_wholly():
    windows = people(0)
    same = overlap.compare_clouds(windows, windows, overlap.Encoder(people(1)))
    assert same["wasserstein"] == 0 and same["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert same["coverage"] == 1
    assert same["alpha_precision"] == pytest.approx(1, abs=0.02)  # shares of so few windows are coarse
    assert same["beta_recall"] == pytest.approx(1, abs=0.02)
    assert same["density"] == pytest.approx(1, abs=0.25)  # a point lies in its own neighbourhood, too: 6 / 5


def test_frechet_distance_of_normal_clouds_is_that_of_their_moments():
    rng = np.random.default_rng(0)
    ours, theirs = rng.standard_normal((20_000, 3)), 2 * rng.standard_normal((20_000, 3)) + [3, 0, 0]
    # Squared: 9 of the means, and (2 - 1)^2 for each axis. Means and deviations stray by less than 1 %: .05.
    assert overlap.frechet_distance(ours, theirs) == pytest.approx(np.sqrt(12), abs=0.05)


def test_mmd_is_that_of_the_kernels_mean():
    rng = np.random.default_rng(0)
    ours, theirs = rng.standard_normal((60, 3)), rng.standard_normal((50, 3)) + 1
    width = np.median(pairwise_distances(ours)[np.triu_indices(60, k=1)])
    within, between, others = (
        rbf_kernel(*pair, gamma=1 / (2 * width**2)) for pair in ((ours, ours), (ours, theirs), (theirs, theirs))
    )
    squared = (within.sum() - 60) / (60 * 59) - 2 * between.mean() + (others.sum() - 50) / (50 * 49)
    assert overlap.mmd(ours, theirs) == pytest.approx(np.sqrt(squared), rel=1e-6)
    assert overlap.mmd(ours, rng.standard_normal((50, 3)) + 100) == pytest.approx(np.sqrt(2), abs=0.35)


def test_density_and_coverage_count_neighbourhoods():
    real = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [100.0]])
    reach = [sorted(abs(real[:, 0] - point))[5] for point in real[:, 0]]  # of 7 points, the fifth nearest other one
    synthetic = np.array([[0.5], [2.5], [300.0]])
    inside = np.array(
        [[abs(point - other) <= far for other in synthetic[:, 0]] for point, far in zip(real[:, 0], reach)]
    )
    assert overlap.density(real, synthetic) == pytest.approx(inside.sum() / 5 / 3)
    assert overlap.coverage(real, synthetic) == pytest.approx(inside.any(axis=1).mean())


def test_alpha_precision_and_beta_recall_know_the_middle_from_the_whole():
    rng = np.random.default_rng(0)
    real, same, middle = (
        rng.standard_normal((400, 2)),
        rng.standard_normal((400, 2)),
        0.01 * rng.standard_normal((400, 2)),
    )
    assert overlap.alpha_precision(real, same) > 0.9 and overlap.beta_recall(real, same) > 0.85
    assert overlap.alpha_precision(real, middle) < 0.1  # all within every ball: the gaps' mean is that of 1 - alpha
    assert overlap.beta_recall(real, middle) < 0.3
    assert overlap.alpha_precision(real, same + 50) == pytest.approx(0)


def test_numbers_do_not_depend_on_the_order_of_windows():
    real, synthetic, encoder = people(0), people(1), overlap.Encoder(people(2))
    shuffled = synthetic[np.random.default_rng(0).permutation(len(synthetic))]
    once, again = (overlap.compare_clouds(real, each, encoder) for each in (synthetic, shuffled))
    assert once == pytest.approx(again, rel=1e-6)
