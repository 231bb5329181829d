"""Releases that pay once: sensitivity, noise, and what is made of them, against closed forms and slow versions."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from wearsynth import releases
from wearsynth.codecs import choose_codec, moments_of
from wearsynth.privacy import Promise
from wearsynth.releases import REACH, Moments, clipped, release
from wearsynth.windows import STRESS_SHARE, Windows

ALONE = Promise(release_share=1.0)


def vectors(windows, codec, unit):
    return releases._vectors(windows, codec, unit)


def slow_vectors(windows, codec, unit):
    """The same by loops: one window, one pair of coordinates after the other."""
    variances, directions = np.linalg.eigh(codec.covariance)
    whitening = directions @ np.diag(variances**-0.5) @ directions.T
    rows = []
    for index, label in enumerate(windows.labels):
        difference = codec.encode(windows.values[index : index + 1])[0] - codec.means[label]
        white = whitening @ difference
        products = [
            codec.product_weight * (1 if i == j else math.sqrt(2)) * (white[i] * white[j] - (i == j))
            for i in range(codec.size)
            for j in range(i, codec.size)
        ]
        rows.append((label, difference * codec.weights, np.array(products)))
    if unit == "window":
        return [np.concatenate([own * (label == 0), own * (label == 1), products]) for label, own, products in rows]
    result = []
    for person in np.unique(windows.subjects):
        mine = [row for row, subject in zip(rows, windows.subjects) if subject == person]
        parts = [[own for label, own, _ in mine if label == wanted] for wanted in (0, 1)]
        means = [np.mean(part, axis=0) if part else np.zeros(codec.size) for part in parts]
        result.append(np.concatenate([*means, np.mean([products for *_, products in mine], axis=0)]))
    return result


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_vectors_equal_a_loops(make_toy_windows, toy_codec, unit):
    windows = make_toy_windows()[np.r_[0, 3, 4:22]]  # the first person has windows with stress only, the last few
    found, counts = vectors(windows, toy_codec, unit)
    np.testing.assert_allclose(found, slow_vectors(windows, toy_codec, unit), rtol=1e-9, atol=1e-9)
    n = len(windows) if unit == "window" else 4
    expected = [n * (1 - STRESS_SHARE), n * STRESS_SHARE, n] if unit == "window" else [n, n, n]
    assert counts.shape == (len(found[0]),) and set(counts) == set(expected)


@pytest.mark.parametrize("unit", ["window", "subject"])
def test_one_unit_more_moves_the_sum_by_a_clip_norm_at_most(make_toy_windows, toy_codec, unit):
    """Whatever a unit holds: extreme values, or some that are not finite at all."""
    clip_norm = REACH * np.linalg.norm(toy_codec.weights)
    windows = make_toy_windows()
    for value in (0.0, 1.0, 1e30, np.nan, np.inf):
        others = np.isin(windows.subjects, ["S2", "S3", "S4"])
        values = np.where(others[:, None, None], windows.values, np.float32(value))
        found, _ = vectors(replace(windows, values=values), toy_codec, unit)
        lengths = np.linalg.norm(clipped(found, clip_norm), axis=1)
        assert np.isfinite(lengths).all() and lengths.max() <= clip_norm * (1 + 1e-9)
        without, _ = vectors(windows[others], toy_codec, unit)
        # The others' vectors are what they were: nothing of a unit gets into another's.
        np.testing.assert_allclose(found[: len(without)], without, atol=1e-9)


def test_clipping_shortens_what_is_longer_and_nothing_else():
    found = clipped(np.array([[3.0, 4.0], [0.3, 0.4], [0, 0], [np.nan, 1]]), 1.0)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.3, 0.4], [0, 0], [0, 0]])


def test_the_noise_is_the_promised_one(make_toy_windows, toy_codec, monkeypatch):
    """What is released less what it is without noise, over the promised scale, is standard normal."""
    given = []
    monkeypatch.setattr(releases, "_moments", lambda mean, *_: given.append(mean))
    windows = make_toy_windows()
    release(windows, toy_codec, Promise(epsilon=math.inf, release_share=1.0))
    for _ in range(20):
        release(windows, toy_codec, ALONE)
    _, counts = vectors(windows, toy_codec, "window")
    scale = ALONE.release_noise_multiplier * REACH * np.linalg.norm(toy_codec.weights)
    noise = (np.array(given[1:]) - given[0]) * counts / scale
    assert kstest(noise.ravel(), "norm").pvalue > 1e-4
    assert not np.array_equal(given[1], given[2])


@pytest.mark.parametrize("generator", ["released", "copula", "levels"])
def test_without_noise_and_clipping_the_moments_are_the_windows_own(
    make_toy_windows, toy_codec, generator, monkeypatch
):
    monkeypatch.setattr(releases, "REACH", 1e6)
    codec, windows = choose_codec(generator, toy_codec), make_toy_windows(people=10, each=20)
    windows = windows[np.r_[: len(windows)]]
    labels = (np.arange(len(windows)) % 10 < 10 * STRESS_SHARE).astype(int)  # exactly in the public share
    windows = Windows(windows.values, labels, windows.subjects, windows.signals)
    found = release(windows, codec, Promise(epsilon=math.inf, release_share=1.0))
    means, covariance = moments_of(codec.encode(windows.values), windows.labels)
    np.testing.assert_allclose(found.means, means, atol=1e-9)
    if generator == "levels":
        covariance = codec.covariance  # public
    scale = np.sqrt(np.diag(codec.covariance))
    variances = np.linalg.eigvalsh(covariance / np.outer(scale, scale))
    if variances.min() > releases.LEAST_VARIANCE:
        np.testing.assert_allclose(found.covariance, covariance, atol=1e-9)
    assert np.linalg.eigvalsh(found.covariance).min() > 0


def test_drowned_in_noise_the_moments_stay_as_known_beforehand(make_toy_windows, toy_codec):
    found = release(make_toy_windows(), toy_codec, Promise(epsilon=1e-3, release_share=1.0))
    spread = np.sqrt(np.diag(toy_codec.covariance))
    # Twenty-four windows say nothing at this budget. To believe every released number would move means by hundreds.
    assert np.abs((found.means - toy_codec.means) / spread).max() < 15
    assert np.isfinite(found.covariance).all() and np.linalg.eigvalsh(found.covariance).min() > 0


def test_belief_is_the_posterior_mean_of_normal_numbers():
    """Of numbers whose variances are known up to a factor: close to what the true factor would give."""
    rng = np.random.default_rng(0)
    variances = rng.uniform(0.2, 2, 3000)
    truth = rng.normal(0, np.sqrt(0.25 * variances))
    noisy = truth + rng.normal(0, 0.6, 3000)
    best = noisy * 0.25 * variances / (0.25 * variances + 0.36)
    found = releases._believed(noisy, 0.36, variances)
    errors = [np.mean((each - truth) ** 2) for each in (found, best, noisy, 0 * noisy)]
    assert errors[0] < 1.02 * errors[1] < min(errors[2:])
    np.testing.assert_array_equal(releases._believed(noisy, 0.0, variances), noisy)


def test_moments_draw_what_they_say():
    covariance = np.array([[2.0, 0.6], [0.6, 0.5]])
    moments = Moments(np.array([[0.0, 1.0], [3.0, -1.0]]), covariance)
    labels = np.arange(40000) % 2
    drawn = moments(np.random.default_rng(0).normal(size=(40000, 2)), labels)
    means, found = moments_of(drawn, labels)
    np.testing.assert_allclose(means, moments.means, atol=0.04)
    np.testing.assert_allclose(found, covariance, atol=0.05)
