"""Simulated people: the format's round trip, the protocol, and whether the physiology says what the module claims."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.signal import find_peaks
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wearsynth import simulation
from wearsynth.readers import find_recordings
from wearsynth.recordings import SIGNALS
from wearsynth.resampling import one_hertz
from wearsynth.simulation import POPULATION, simulate_recording, write_cohort
from wearsynth.wesad import read_recording

BASELINE, STRESS, AMUSEMENT = 1, 2, 3


@pytest.fixture(scope="module")
def cohort():
    """Twelve people as (recording, true heart rate); the default cohort is the first six."""
    return [simulate_recording(f"S{number}", seed=0) for number in range(2, 14)]


def seconds_of(recording, signal, rate):
    """A signal cut into seconds, `(n_seconds, rate, ...)`, and the label of each."""
    return signal.reshape(-1, rate, *signal.shape[1:]), recording.label[::700]


def stress_effect(cohort, measure):
    """Mean of `measure(person, stress) - measure(person, baseline)` over people, in standard errors of that mean.

    The seed is fixed, so nothing here fails by chance; three standard errors say that the effect is the simulation's
    and not that of a lucky seed.
    """
    effects = np.array([measure(*person, STRESS) - measure(*person, BASELINE) for person in cohort])
    return effects.mean() / (effects.std(ddof=1) / np.sqrt(len(effects)))


def test_same_seed_same_bytes(tmp_path):
    first, second = write_cohort(tmp_path / "a", 2, seed=3), write_cohort(tmp_path / "b", 2, seed=3)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_larger_cohort_starts_with_the_same_people(tmp_path):
    small, large = write_cohort(tmp_path / "a", 2), write_cohort(tmp_path / "b", 3)
    assert [path.read_bytes() for path in small] == [path.read_bytes() for path in large[:2]]


def test_people_and_seeds_differ(cohort):
    (s2, _), (s4, _) = cohort[0], cohort[2]  # both in the same order of conditions
    other_seed, _ = simulate_recording("S2", seed=1)
    for other in (s4, other_seed):
        n = min(len(s2.bvp), len(other.bvp))
        assert abs(np.corrcoef(s2.bvp[:n], other.bvp[:n])[0, 1]) < 0.1


def test_people_differ_in_their_levels(cohort):
    rest = [rate[recording.label[::700] == BASELINE].mean() for recording, rate in cohort]
    conductance = [np.median(recording.eda) for recording, _ in cohort]
    assert max(rest) - min(rest) > 10  # beats/min
    assert max(conductance) / min(conductance) > 4


def test_reading_gives_back_what_was_simulated(tmp_path, cohort):
    paths = write_cohort(tmp_path, 2)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["S2/S2.pkl", "S3/S3.pkl"]
    assert find_recordings(tmp_path) == paths
    assert not list(tmp_path.rglob("*.part"))
    for path, (simulated, _) in zip(paths, cohort):
        read = read_recording(path)
        for field in ("subject", "acc", "bvp", "eda", "temp", "label"):
            np.testing.assert_array_equal(getattr(read, field), getattr(simulated, field))


def test_shapes_rates_and_ranges(cohort):
    for recording, heart_rate in cohort:
        n_seconds = len(heart_rate)
        assert recording.acc.shape == (32 * n_seconds, 3)
        assert recording.bvp.shape == (64 * n_seconds,)
        assert recording.eda.shape == recording.temp.shape == (4 * n_seconds,)
        assert recording.label.shape == (700 * n_seconds,)
        assert np.abs(recording.acc).max() <= 2  # the band's range in g
        np.testing.assert_array_equal(recording.acc * 64, np.round(recording.acc * 64))
        assert recording.eda.min() > 0 and recording.eda.max() < 100
        assert recording.temp.min() > 28 and recording.temp.max() < 37
        assert heart_rate.min() > 30 and heart_rate.max() < 220


def test_gravity_is_one_g_at_rest(cohort):
    for recording, _ in cohort:
        assert np.median(np.linalg.norm(recording.acc, axis=1)) == pytest.approx(1, abs=1 / 64)  # a step of the sensor


def test_protocol(cohort):
    for recording, _ in cohort:
        seconds = np.bincount(recording.label[::700], minlength=5)
        assert len(seconds) == 5 and 50 * 60 < seconds.sum() < 75 * 60
        np.testing.assert_allclose(seconds[1:4] / 60, [20, 11, 6.5], rtol=0.1, atol=1 / 60)  # a second for rounding
        share = seconds[STRESS] / seconds[1:4].sum()
        assert 0.25 < share < 0.35  # 0.3 in WESAD
        assert recording.label[0] == recording.label[-1] == 0
        changes = np.flatnonzero(np.diff(recording.label))
        assert all(0 in recording.label[[i, i + 1]] for i in changes)  # a gap between any two conditions


def test_both_orders_occur_in_the_default_cohort(cohort):
    stress_first = [
        np.argmax(person.label == STRESS) < np.argmax(person.label == AMUSEMENT) for person, _ in cohort[:6]
    ]
    assert sum(stress_first) == 3


def test_beats_in_the_undisturbed_pulse_are_the_true_heart_rate(undisturbed):
    for number in range(2, 8):
        recording, heart_rate = simulate_recording(f"S{number}", 0, undisturbed)
        pulse = recording.bvp[640:-640]
        height = pd.Series(np.ptp(pulse.reshape(-1, 64), axis=1)).rolling(61, center=True, min_periods=1).median()
        pulse = pulse / np.repeat(height, 64)
        peaks, _ = find_peaks(pulse, distance=0.4 * 64, prominence=0.4)  # the dicrotic wave has about 0.2
        counted = 60 * 64 * (len(peaks) - 1) / (peaks[-1] - peaks[0])
        assert counted == pytest.approx(heart_rate[10:-10].mean(), rel=0.001)


def test_stress_raises_the_heart_rate(cohort):
    assert stress_effect(cohort, lambda person, rate, label: rate[person.label[::700] == label].mean()) > 3


def test_stress_makes_pulses_smaller(undisturbed):
    """The pulse itself: the BVP holds artefacts in still seconds, too, and more of them under stress."""
    cohort = [simulate_recording(f"S{number}", 0, undisturbed) for number in range(2, 14)]

    def log_amplitude(person, _, label):
        bvp, labels = seconds_of(person, person.bvp, 64)
        return np.log(np.median(bvp[labels == label].std(axis=1)))

    assert stress_effect(cohort, log_amplitude) < -3


def test_stress_leaves_artefacts_as_large_as_they_are(monkeypatch):
    monkeypatch.setattr(simulation, "CALM", 0.0)  # no pulse, and nothing else in the BVP

    def artefacts(vasoconstriction):
        traits = POPULATION.traits | {"vasoconstriction": (vasoconstriction, vasoconstriction)}
        return simulate_recording("S2", 0, replace(POPULATION, traits=traits))[0].bvp

    np.testing.assert_array_equal(artefacts(0.3), artefacts(1.0))


def test_stress_makes_skin_conductance_responses_more_frequent():
    """Of people whose electrodes keep their contact: jumps of it are as large as responses."""
    *medians, _ = POPULATION.wear.medians
    firm = replace(POPULATION, wear=POPULATION.wear._replace(medians=(*medians, (1e-9, 1e-9))))
    cohort = [simulate_recording(f"S{number}", 0, firm) for number in range(2, 14)]

    def responses_a_minute(person, _, label):
        # of the level: those of dry wrists stay below the usual 0.05 uS
        peaks, _ = find_peaks(person.eda, prominence=0.02 * np.median(person.eda))
        during = person.label[::175] == label
        return 240 * during[peaks].sum() / during.sum()

    assert stress_effect(cohort, responses_a_minute) > 3


def test_skin_cools_through_stress(cohort):
    def change(person, _, label):
        during = np.flatnonzero(person.label[::175] == label)
        return person.temp[during[-1]] - person.temp[during[0]]

    assert stress_effect(cohort, change) < -3


def test_movement_disturbs_the_pulse(cohort):
    for recording, _ in cohort:
        bvp, _ = seconds_of(recording, recording.bvp, 64)
        movement = np.linalg.norm(seconds_of(recording, recording.acc, 32)[0], axis=2).std(axis=1)[:-2]
        amplitude = bvp[2:].std(axis=1)  # the BVP lags behind
        moving = movement > np.quantile(movement, 0.95)
        assert np.median(amplitude[moving]) > 1.3 * np.median(amplitude[~moving])


def test_stress_is_found_in_people_never_seen_but_not_always(cohort):
    windows = [minute_features(one_hertz(recording)) for recording, _ in cohort[:6]]
    accuracy = []
    for held_out, (features, labels) in enumerate(windows):
        others = [window for person, window in enumerate(windows) if person != held_out]
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
        model.fit(np.concatenate([x for x, _ in others]), np.concatenate([y for _, y in others]))
        accuracy.append(model.score(features, labels))
    assert 0.8 < np.mean(accuracy) < 0.99  # always saying "no stress" scores 0.7


def minute_features(table):
    """Mean and spread of each signal, scaled by person, in whole minutes of one condition: `(n, 18)` and `(n,)`."""
    table = table[table["label"].notna()].reset_index(drop=True)
    signals = list(SIGNALS)
    table[signals] = (table[signals] - table[signals].mean()) / table[signals].std()
    minutes = table.groupby(["condition", table.groupby("condition").cumcount() // 60])
    whole = minutes.size() == 60
    features = pd.concat([minutes[signals].mean(), minutes[signals].std()], axis=1)[whole]
    return features.to_numpy(), minutes["label"].first()[whole].to_numpy(int)


@pytest.mark.parametrize("subject", ["2", "X2", "S", "S2b", ""])
def test_bad_subject_is_refused(subject):
    with pytest.raises(ValueError, match="expected 'S' and a number"):
        simulate_recording(subject, seed=0)
