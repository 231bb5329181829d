"""Detectors: scores against scikit-learn and by hand, features against a loop, and no way from the test person in."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from wearsynth.detector import (
    COUNTS,
    DETECTORS,
    PROTOCOLS,
    SCORES,
    confusion,
    cross_validate,
    majority,
    scores,
    simple_features,
    summarize,
    train_cnn,
    training_windows,
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([0, 0.2, 0.49, 0.5, 0.51, 1])), min_size=2, max_size=30
    ).filter(lambda pairs: len({label for label, _ in pairs}) == 2)
)
def test_scores_by_hand_and_by_sklearn(pairs):
    labels, probabilities = (np.array(column) for column in zip(*pairs))
    scored = scores(labels, probabilities)
    assert set(scored) == {*COUNTS, *SCORES}
    stress, guessed = labels == 1, probabilities >= 0.5
    tp, fp, fn, tn = (
        np.sum(both) for both in (stress & guessed, ~stress & guessed, stress & ~guessed, ~stress & ~guessed)
    )
    assert [scored[name] for name in COUNTS] == [tn, fp, fn, tp]

    def f1(hits, misses):
        return 2 * hits / (2 * hits + misses) if hits else 0.0  # nothing guessed and nothing there counts as 0

    by_hand = {
        "accuracy": (tp + tn) / len(pairs),
        "f1_stress": f1(tp, fp + fn),
        "f1_macro": (f1(tp, fp + fn) + f1(tn, fp + fn)) / 2,
        "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
        # The share of pairs of a window with and one without stress that are in order, ties counting half.
        "auroc": np.mean(
            [(a > b) + 0.5 * (a == b) for a in probabilities[stress] for b in probabilities[~stress]],
        ),
    }
    by_sklearn = {
        "accuracy": metrics.accuracy_score(labels, guessed),
        "f1_stress": metrics.f1_score(labels, guessed, zero_division=0),
        "f1_macro": metrics.f1_score(labels, guessed, average="macro", zero_division=0),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, guessed),
        "auroc": metrics.roc_auc_score(labels, probabilities),
    }
    for name in SCORES:
        assert scored[name] == pytest.approx(by_hand[name], abs=1e-12)
        assert scored[name] == pytest.approx(by_sklearn[name], abs=1e-12)


def test_never_guessing_stress_scores_zero_there_and_warns_nobody(recwarn):
    scored = scores(np.array([0, 0, 1]), np.zeros(3))
    assert (scored["f1_stress"], scored["balanced_accuracy"], scored["auroc"]) == (0, 0.5, 0.5)
    assert not recwarn.list


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], [1]])
def test_one_class_only_is_refused(labels):
    with pytest.raises(ValueError, match="one class only"):
        scores(np.array(labels), np.full(len(labels), 0.5))


def test_simple_features_are_those_of_a_loop(make_toy_windows):
    values = make_toy_windows(people=2, seconds=17, signals=("EDA", "HR", "TEMP")).values.astype(float)
    rows = []
    for window in values:
        row = []
        for describe in (np.mean, np.std, np.min, np.max):
            row += [describe(window[:, signal]) for signal in range(3)]
        row += [
            np.polyfit(np.linspace(-1, 1, 17), window[:, signal], 1)[0] for signal in range(3)
        ]  # a half window's rise
        row += [np.mean([abs(window[t + 1, signal] - window[t, signal]) for t in range(16)]) for signal in range(3)]
        rows.append(row)
    np.testing.assert_allclose(simple_features(values), rows, atol=1e-12)


def test_training_windows_of_each_protocol(make_toy_windows):
    real = make_toy_windows(people=3)
    synthetic = replace(make_toy_windows(people=1, each=9, seed=5), subjects=np.full(9, "synthetic"))
    expected = {
        "trtr": real.without("S3").values,
        "tstr": synthetic.values,
        "augmented": np.concatenate([real.without("S3").values, synthetic.values]),
    }
    assert set(expected) == set(PROTOCOLS)
    for protocol, values in expected.items():
        windows = training_windows(protocol, real, synthetic, "S3")
        np.testing.assert_array_equal(windows.values, values)
        assert "S3" not in windows.subjects


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_held_out_persons_windows_train_nothing(make_toy_windows, detector):
    """The person's windows for training are poisoned, those for the test are not: every score stays the same bits."""
    real, test = make_toy_windows(people=3), make_toy_windows(people=3, seed=1)
    synthetic = {"S3": replace(make_toy_windows(people=1, each=9, seed=5), subjects=np.full(9, "synthetic"))}
    theirs = real.subjects == "S3"
    poisoned = replace(
        real,
        values=np.where(theirs[:, None, None], np.float32(99), real.values),
        labels=np.where(theirs, 1 - real.labels, real.labels),
    )
    clean, dirty = (cross_validate(detector, each, test, synthetic, range(1), epochs=2) for each in (real, poisoned))
    pd.testing.assert_frame_equal(clean, dirty, check_exact=True)
    assert clean["protocol"].tolist() == list(PROTOCOLS)


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_score_is_that_of_the_held_out_person(make_toy_windows, detector):
    """Two people whose classes are the other way round: what is learned of one is all wrong for the other."""
    real = make_toy_windows(people=2, each=18)
    theirs = real.subjects == "S3"
    real = replace(real, values=np.where(theirs[:, None, None], 1 - real.values, real.values))
    synthetic = {"S2": real.of("S2"), "S3": real.of("S3")}  # leaky on purpose: right for the one who is tested
    table = cross_validate(detector, real, real, synthetic, range(1), epochs=15)
    assert table["subject"].tolist() == ["S2", "S3"] * 3
    assert (table[table["protocol"] == "trtr"]["auroc"] < 0.1).all()
    assert (table[table["protocol"] == "tstr"]["auroc"] > 0.9).all()


def test_the_cnns_seed_repeats_and_another_differs(make_toy_windows):
    windows = make_toy_windows(people=2)
    first, again, other = (train_cnn(windows, seed, epochs=1)(windows.values) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (len(windows),) and (first >= 0).all() and (first <= 1).all()


def random_rows(people, seeds, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {"protocol": "trtr", "detector": "cnn", "subject": person, "seed": number}
            | dict(zip(COUNTS, rng.integers(0, 9, 4)))
            | dict(zip(SCORES, rng.uniform(size=5)))
            for person in people
            for number in seeds
        ]
    )


def test_summarize_against_a_slow_version():
    people, seeds = ["S2", "S3", "S10"], range(4)
    table = random_rows(people, seeds)
    summary = summarize(table)
    rows = table.to_dict("records")
    for score in SCORES:
        by_person = [np.mean([row[score] for row in rows if row["subject"] == person]) for person in people]
        by_seed = [np.mean([row[score] for row in rows if row["seed"] == seed]) for seed in seeds]
        centre = sum(by_seed) / 4
        assert summary["mean"][score] == pytest.approx(sum(by_person) / 3)
        assert summary["sd_seeds"][score] == pytest.approx(
            math.sqrt(sum((value - centre) ** 2 for value in by_seed) / 3)
        )
        for person, value in zip(people, by_person):
            assert summary["subjects"][person][score] == pytest.approx(value)
        # With three people there are 27 resamples, alike likely: 1/27 of them is the lowest person three times, so
        # that the interval's ends, at 2.5 %, are the lowest and the highest person.
        assert summary["ci95"][score] == pytest.approx([min(by_person), max(by_person)])
    assert list(summary["subjects"]) == people
    assert (summary["detector"], summary["seeds"], summary["leaky"]) == ("cnn", 4, False)


def test_the_interval_is_that_of_resampled_people():
    table = random_rows([f"S{number}" for number in range(15)], range(1), seed=1)
    values = table["accuracy"].to_numpy()
    rng = np.random.default_rng(7)
    means = rng.choice(values, (100_000, 15)).mean(axis=1)
    # Theirs are 10,000 resamples: the 2.5 % point is off by some sqrt(.025 * .975 / 10000) / density = 0.0023 of a
    # standard deviation of the mean over 0.06, 0.03; five times that is allowed.
    np.testing.assert_allclose(
        summarize(table)["ci95"]["accuracy"], np.quantile(means, [0.025, 0.975]), atol=0.15 * means.std()
    )


def test_the_interval_of_one_person_and_of_equal_people():
    assert summarize(random_rows(["S2"], range(2)))["ci95"]["auroc"] is None
    equal = random_rows(["S2", "S3"], range(1)).assign(auroc=0.5)
    assert summarize(equal)["ci95"]["auroc"] == [0.5, 0.5]


def test_confusion_adds_up_people_and_seeds():
    table = random_rows(["S2", "S3"], range(2))
    tn, fp, fn, tp = (sum(table[name]) for name in COUNTS)
    assert confusion(table).tolist() == [[tn, fp], [fn, tp]]


def test_the_majority_never_guesses_stress(make_toy_windows):
    windows = make_toy_windows(people=3, each=10)  # 4 of 10 with stress
    summary = majority(windows, ["S2", "S4"])
    assert list(summary["subjects"]) == ["S2", "S4"]
    assert summary["mean"] == {
        "accuracy": 0.6,
        "f1_stress": 0,
        "f1_macro": pytest.approx(0.75 / 2),
        "balanced_accuracy": 0.5,
        "auroc": 0.5,
    }
