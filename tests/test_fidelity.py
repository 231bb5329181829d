"""Fidelity against closed forms: equal and disjoint sets, white noise, a sine wave, an autoregressive process."""

import json

import numpy as np
import pandas as pd
import pytest

from wearsynth import fidelity
from wearsynth.windows import Windows


def windows_of(values, n_people=1, seed=0, labels=None):
    """Windows (n, seconds, signals), assigned to people and classes at random."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, len(values)) if labels is None else labels
    subjects = np.array([f"S{number}" for number in rng.permutation(np.arange(len(values)) % n_people)])
    return Windows(values, labels, subjects, tuple("abcdefghi"[: values.shape[2]]))


def white(n, seed, seconds=60, n_signals=2, deviation=0.1):
    return 0.5 + deviation * np.random.default_rng(seed).standard_normal((n, seconds, n_signals))


def people(n_people, seed, n_windows=30):
    """White noise about a level of each person's own: neighbouring windows give a person away."""
    rng = np.random.default_rng(seed)
    parts = [white(n_windows, rng) + rng.normal(0, 0.3, 2) for _ in range(n_people)]
    labels = np.tile([0, 1], n_people * n_windows // 2)
    subjects = np.repeat([f"{seed}-{number}" for number in range(n_people)], n_windows)
    return Windows(np.concatenate(parts), labels, subjects, ("a", "b"))


def test_ks_is_zero_for_the_same_and_one_for_disjoint_values():
    windows = windows_of(white(20, 0))
    shifted = Windows(windows.values + 10, windows.labels, windows.subjects, windows.signals)
    assert (fidelity.ks_statistics(windows, windows) == 0).all(axis=None)
    assert (fidelity.ks_statistics(windows, shifted) == 1).all(axis=None)


def test_ks_is_the_largest_gap_of_the_cumulative_curves():
    ramp = np.linspace(0, 1, 1000).reshape(10, 100, 1)
    labels = np.tile([0, 1], 5)
    halved = fidelity.ks_statistics(windows_of(ramp, labels=labels), windows_of(ramp / 2, labels=labels))
    # Uniform on [0, 1] against [0, 1/2]: the gap is 1/2 at 1/2; each class holds every other stretch of 1/10.
    np.testing.assert_allclose(halved.to_numpy(), 0.5, atol=0.1)
    assert list(halved.columns) == ["no stress", "stress"] and list(halved.index) == ["a"]


def test_correlation_difference():
    noise = white(50, 0)
    one = noise[..., :1]
    tied, opposed = (windows_of(np.concatenate([one, sign * one], axis=2)) for sign in (1, -1))
    assert fidelity.correlation_difference(tied, tied) == 0
    assert fidelity.correlation_difference(tied, opposed) == pytest.approx(2)
    flat = windows_of(np.concatenate([one, 0 * one], axis=2))
    assert fidelity.correlation_difference(tied, flat) == pytest.approx(1)  # a constant is tied to nothing


def test_correlations_agree_with_numpy():
    values = np.cumsum(white(20, 0, n_signals=3), axis=1)
    np.testing.assert_allclose(
        fidelity.correlations(windows_of(values)), np.corrcoef(values.reshape(-1, 3), rowvar=False), atol=1e-12
    )


def test_spectrum_of_white_noise_is_flat_and_holds_its_variance():
    windows = windows_of(white(2000, 0))
    frequencies, power = fidelity.power_spectra(windows)
    np.testing.assert_allclose(frequencies, np.arange(1, 31) / 60)
    # One-sided density 2 * variance below Nyquist, half of it there; the mean of 2000 periodograms strays by
    # 1/sqrt(2000), at Nyquist by sqrt(2/2000): five of these.
    np.testing.assert_allclose(power[:-1], 0.02, rtol=5 / np.sqrt(2000))
    np.testing.assert_allclose(power[-1], 0.01, rtol=5 * np.sqrt(2 / 2000))
    np.testing.assert_allclose(power.sum(axis=0) / 60, windows.values.var(axis=1).mean(axis=0))  # Parseval


def test_spectrum_of_a_sine_is_one_line():
    sine = 0.3 * np.sin(2 * np.pi * 6 / 60 * np.arange(60))
    frequencies, power = fidelity.power_spectra(windows_of(np.tile(sine[:, None], (3, 1, 1))))
    assert frequencies[power[:, 0].argmax()] == pytest.approx(0.1)
    assert power[:, 0].max() / 60 == pytest.approx(0.3**2 / 2)
    assert np.delete(power[:, 0], power[:, 0].argmax()).max() < 1e-12


def test_spectral_distance_counts_factors_of_ten():
    windows = windows_of(white(50, 0))
    ten_times = windows_of(windows.values * np.sqrt(10))
    assert fidelity.spectral_distance(windows, windows) == 0
    assert fidelity.spectral_distance(windows, ten_times) == pytest.approx(1)
    constant = windows_of(np.full((50, 60, 2), 0.5))
    assert 4 < fidelity.spectral_distance(windows, constant) < np.inf


def test_autocorrelation_of_an_autoregressive_process():
    rng, phi, seconds = np.random.default_rng(0), 0.8, 3000
    series = np.zeros((100, seconds, 1))
    for second in range(1, seconds):
        series[:, second] = phi * series[:, second - 1] + rng.standard_normal((100, 1))
    # Subtracting the mean costs (1 + phi) / (1 - phi) / seconds = 0.003; the mean of 100 windows strays by at most
    # sqrt((1 + phi^2) / (1 - phi^2) / (100 * seconds)) = 0.004 (Bartlett): the bias and five of these.
    expected = phi ** np.arange(31)[:, None]
    np.testing.assert_allclose(fidelity.autocorrelations(windows_of(series)), expected, atol=0.023)


def test_autocorrelation_of_constant_windows_is_one():
    constant = windows_of(np.full((5, 60, 2), 0.1, np.float32))
    assert (fidelity.autocorrelations(constant) == 1).all()
    # White noise has 0 but for what its mean takes, 1/60; so the distance is nearly 1.
    assert fidelity.autocorrelation_distance(constant, windows_of(white(500, 0))) == pytest.approx(1, abs=0.05)


def test_crosscorrelation_finds_the_lag_and_the_sign():
    first = white(400, 0, n_signals=1)
    second = -np.roll(first, 3, axis=1)  # what the first one does, turned over, 3 s later
    found = fidelity.crosscorrelations(windows_of(np.concatenate([first, second], axis=2)))[:, 0, 1]
    assert found.argmin() == fidelity.CROSS_LAGS + 3 and found.min() < -0.95
    # White noise has 0 elsewhere, but for what its means take, 1/60, and what wraps around.
    assert np.abs(np.delete(found, found.argmin())).max() < 0.05
    both = windows_of(np.concatenate([first, second], axis=2))
    assert fidelity.crosscorrelation_distance(both, both) == 0
    assert fidelity.crosscorrelation_distance(both, windows_of(white(400, 1))) == pytest.approx(1 / 21, abs=0.03)


def test_flat_stretches_are_counted():
    values = white(10, 0)
    values[:3, 10:15, 0] = 1.0  # clipped for five seconds
    values[3:6, 10:14, 1] = 1.0  # for four
    assert fidelity.flat_share(windows_of(values)) == 3 / 20


def test_relative_to_people_is_one_for_a_person_like_the_others():
    windows = people(5, seed=1)
    levels = {person: windows.of(person).values.mean() for person in np.unique(windows.subjects)}

    def distance(a, b):
        return abs(a.values.mean() - b.values.mean())

    others = [np.mean([levels[other] for other in levels if other != person]) for person in levels]
    between = np.mean(np.abs(np.array(list(levels.values())) - others))
    shifted = Windows(windows.values + between, windows.labels, windows.subjects, windows.signals)
    assert fidelity.relative_to_people(distance, windows, shifted) == pytest.approx(1)


def test_compare_gives_plain_numbers_also_for_people_in_the_place_of_the_synthetic():
    record = fidelity.compare(people(3, seed=0), people(2, seed=1), seed=0)
    assert json.loads(json.dumps(record)) == record
    numbers = {"ks_mean", "correlation_difference", "c2st_auroc", "c2st_worst"}
    numbers |= {"flat_share", "crosscorrelation_distance"}
    numbers |= {f"{what}_{how}" for what in ("psd", "acf") for how in ("distance", "ratio")}
    assert set(record) == numbers | {"ks", "c2st"}
    assert all(isinstance(record[name], float) for name in numbers)
    assert set(record["ks"]) == {"no stress", "stress"} and set(record["ks"]["stress"]) == {"a", "b"}


def test_compare_refuses_what_it_cannot_compare():
    many, single = people(3, seed=0), people(1, seed=0)
    with pytest.raises(ValueError, match="1 people: expected two or more"):
        fidelity.compare(single, many, seed=0)
    with pytest.raises(ValueError, match="no synthetic window of the class 'stress'"):
        fidelity.compare(many, many[many.labels == 0], seed=0)
    with pytest.raises(ValueError, match="signals differ"):
        fidelity.compare(many, Windows(many.values, many.labels, many.subjects, ("a", "c")), seed=0)


def test_nearest_correlations_are_numpys_and_a_copy_is_found_whatever_its_level_and_gain():
    """Of 40 windows, of which the last is one of the others, stretched and moved."""
    others = windows_of(white(30, 1))
    values = white(40, 2)
    values[-1] = 0.2 + 3 * others.values[7]
    largest = [
        max(np.corrcoef(own, other)[0, 1] for other in others.values[..., 0])
        for own in windows_of(values).values[..., 0]
    ]
    assert largest[-1] == pytest.approx(1)
    assert fidelity.nearest_correlations(windows_of(values), others)["a"] == pytest.approx(np.median(largest), abs=1e-5)
    copies = windows_of(0.3 + 0.1 * others.values)
    assert fidelity.nearest_correlations(copies, others) == pytest.approx({"a": 1, "b": 1})
    assert fidelity.nearest_correlations(windows_of(np.full((3, 60, 2), 0.5)), others) == {"a": 0, "b": 0}


def people_of(n_people, level=0.0, spread=1.0, drift=0.0, seed=0):
    """A 1 Hz table of two signals: each person's own level, and a drift of so many minutes' memory."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(n_people):
        own, state = level + spread * rng.normal(), 0.0
        for condition, label in (("baseline", 0), ("stress", 1)):
            for minute in range(30):
                state = drift * state + np.sqrt(1 - drift**2) * rng.normal()
                rows.append((f"P{number}", condition, label, minute + 30 * label, own + 2 * label + state))
    minutes = pd.DataFrame(rows, columns=["subject", "condition", "label", "minute", "TEMP"])
    table = minutes.loc[minutes.index.repeat(60)].reset_index(drop=True).assign(ACC_movement=0.1)
    return table.assign(time=60 * table.pop("minute") + np.tile(np.arange(60), len(minutes)))


def test_people_are_compared_by_level_dispersion_and_drift():
    """Against what the tables were made with; tolerances are three standard errors of 60 people's moments."""
    real = people_of(60)
    same, other = people_of(60, seed=1), people_of(60, level=3.0, spread=2.0, drift=0.9, seed=1)
    found = fidelity.compare_people(real, same)
    assert found["level_difference"] < 0.4 and found["dispersion_ratio"] == pytest.approx(1, abs=0.2)
    assert found["drift_difference"] < 0.05
    found = fidelity.compare_people(real, other)
    assert found["level_difference"] == pytest.approx(3 / 2, abs=0.3)  # of two signals the other is constant
    assert found["dispersion_ratio"] == pytest.approx(np.sqrt(2), abs=0.2)  # geometric mean, as above
    correlations = fidelity.minute_correlations(people_of(60, drift=0.9))[:, 0]
    # Freed of its own mean over 30 minutes, a process with memory loses some of its correlation.
    expected = [np.mean(_freed(0.9, lag)) for lag in range(1, 6)]
    np.testing.assert_allclose(correlations, expected, atol=0.06)


def test_a_response_is_counted_in_what_people_differ_by():
    """Levels rise by 2, and people differ by 1 or, in the reference, by 2. Means over 60 people have a standard error
    of .04, standard deviations one of .09 of themselves: three of them."""
    people = people_of(60)
    for spread in (1.0, 2.0):
        found = fidelity.responses(people, people_of(60, spread=spread, seed=1))
        assert found["TEMP"].mean() == pytest.approx(2 / spread, rel=3 * 0.1)
        assert len(found) == 60 and (found["ACC_movement"] == 0).all()
    levels = fidelity.people_levels(people)["TEMP"]
    expected = (levels[1, "P7"] - levels[0, "P7"]) / np.std(levels[0], ddof=1)
    assert fidelity.responses(people, people).loc["P7", "TEMP"] == pytest.approx(expected)
    calm = people[(people["subject"] != "P3") | (people["label"] == 0)]
    assert "P3" not in fidelity.responses(calm, people).index


def _freed(memory, lag, n=30):
    """Expected products of minutes `lag` apart, over the expected square, each freed of the mean of n minutes."""
    covariance = memory ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    freeing = np.eye(n) - 1 / n
    freed = freeing @ covariance @ freeing
    return np.diagonal(freed, lag) / np.trace(freed) * n


def test_levels_of_people_are_medians_in_their_units(make_table):
    table = make_table(
        [("S2", "baseline", 5, 0), ("S2", "stress", 4, 0), ("S3", "amusement", 3, 0), ("S3", "transient", 9, 0)]
    )
    found = fidelity.people_levels(table)
    assert found.index.tolist() == [(0, "S2"), (0, "S3"), (1, "S2")]
    assert found.loc[(1, "S2"), "EDA"] == np.median(table["EDA"][5:9])
