"""Protocols: what is trained on what, and that no way leads from the held-out person into what is tested on it."""

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from wearsynth import detector, estimators, generators, networks, private_detectors, protocols, windows
from wearsynth.codecs import DescriptorCodec
from wearsynth.detector import Detector
from wearsynth.privacy import Promise
from wearsynth.protocols import (
    PROTOCOLS,
    Folds,
    check_people,
    choose_folds,
    choose_protocols,
    cross_validate,
    random_halves,
    splits_by_person,
)
from wearsynth.releases import choose_query
from wearsynth.scores import score_table
from wearsynth.sessions import draw_people
from wearsynth.simulation import simulate_table
from wearsynth.studies import WESAD
from wearsynth.windows import SCALINGS, SIGNAL_SETS, concatenate, make_windows

TRAINED_APART = [name for name in PROTOCOLS if name != "trts"]  # which shares its training with trtr


def synthetic(windows):
    return replace(windows, subjects=np.full(len(windows), "synthetic"))


@pytest.fixture(scope="module")
def folds(make_toy_windows):
    """Three people, two of whom are held out, one after the other; classes that overlap."""

    def blurred(seed, people=1, each=12):
        windows = make_toy_windows(people=people, each=each, seed=seed)
        noise = np.random.default_rng(seed).uniform(size=windows.values.shape)
        return replace(windows, values=(0.1 * windows.values + 0.9 * noise).astype(np.float32))

    return Folds(
        blurred(0, people=3),
        blurred(1, people=3, each=9),
        {"S2": synthetic(blurred(2)), "S3": synthetic(blurred(3, each=15))},
        synthetic(blurred(4)),
    )


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(protocols.joblib, "cpu_count", lambda: 1)


@pytest.fixture
def trainings(monkeypatch, in_this_process):
    """The list of all that is trained: (detector, windows, seed, epochs, the trained one)."""
    done = []

    def counted(name, windows, seed, epochs):
        trained = detector.train(name, windows, seed, epochs)
        done.append((name, windows, seed, epochs, trained))
        return trained

    monkeypatch.setattr(protocols, "train", counted)
    return done


def test_one_protocol_is_leaky():
    assert {name for name, protocol in PROTOCOLS.items() if protocol.leaky} == {"tstr_leaky"}
    assert PROTOCOLS["tstr_leaky"].meaning.startswith("LEAKY")


def same(one, other):
    for field in ("values", "labels", "subjects"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    return one.signals == other.signals


@pytest.mark.parametrize("person", ["S2", "S3"])
def test_what_each_protocol_trains_and_tests_on(folds, person):
    others = folds.real[folds.real.subjects != person]
    assert len(others) == 24
    theirs, made = folds.test[folds.test.subjects == person], folds.synthetic[person]
    expected = {
        "trtr": (others, theirs),
        "tstr": (made, theirs),
        "augmented": (concatenate([others, made]), theirs),
        "trts": (others, made),
        "tstr_leaky": (folds.shared, theirs),
    }
    assert set(expected) == set(PROTOCOLS)
    for name, (trained_on, tested_on) in expected.items():
        training = folds.training_windows(PROTOCOLS[name].trained_on, person)
        assert same(training, trained_on)
        assert same(folds.test_windows(PROTOCOLS[name].tested_on, person), tested_on)
        assert person not in training.subjects


@pytest.mark.parametrize("name", ["test", "S3", "shared"])
@pytest.mark.parametrize("other", ["length", "signals", "number of signals"])
def test_windows_that_do_not_fit_are_refused(folds, name, other):
    def misfit(windows):
        if other == "length":
            return replace(windows, values=windows.values[:, :12])
        if other == "signals":
            return replace(windows, signals=("EDA", "TEMP"))
        return replace(windows, values=windows.values[:, :, :1], signals=("EDA",))

    changed = {"synthetic": folds.synthetic | {"S3": misfit(folds.synthetic["S3"])}}
    if name != "S3":
        changed = {name: misfit(getattr(folds, name))}
    found = {"length": "12 s of EDA, HR", "signals": "16 s of EDA, TEMP", "number of signals": "16 s of EDA"}[other]
    named = {"test": "test", "S3": "synthetic without S3", "shared": "synthetic"}[name]
    expected = f"windows '{named}' have {found}: expected 16 s of EDA, HR; run 02-Model and 03-Generator"
    with pytest.raises(ValueError) as raised:
        replace(folds, **changed)
    assert str(raised.value) == expected


@pytest.mark.parametrize("label", [0, 1, None])
def test_a_person_who_cannot_be_tested_is_refused_by_name(folds, label):
    kept = (folds.test.subjects != "S3") | (folds.test.labels == label)
    n_theirs, lacks = sum(kept & (folds.test.subjects == "S3")), "stress" if label == 0 else "no stress"
    with pytest.raises(ValueError, match=f"^S3: none of own {n_theirs} windows is {lacks}.*leave S3 out of the folds"):
        replace(folds, test=folds.test[kept])
    with pytest.raises(ValueError, match="^S3: "):
        check_people(folds.real, folds.test[kept], ["S2", "S3"])
    check_people(folds.real, folds.test[kept], ["S2", "S4"])  # whoever is not held out need not be tested


def test_a_person_without_whom_nothing_is_left_to_learn_is_refused_by_name(folds):
    real = replace(folds.real, labels=np.where(folds.real.subjects == "S3", folds.real.labels, 0))
    with pytest.raises(ValueError, match="^S3: none of the others' .* is stress.*leave S3 out of the folds"):
        replace(folds, real=real)


def test_among_each_other_everybody_is_held_out_once(make_toy_windows):
    windows = make_toy_windows(people=5)
    among = Folds.among(windows, most=4)
    assert list(among.synthetic) == ["S2", "S3", "S4", "S5"] and set(among.real.subjects) == set(among.synthetic)
    for person in among.synthetic:
        assert set(among.training_windows("real", person).subjects) == set(among.synthetic) - {person}
        assert set(among.test_windows("real", person).subjects) == {person}


def test_nobody_can_be_left_out_of_one_person(folds):
    for kept, named in ((folds.real.subjects == "S2", "S2 only"), (folds.real.subjects == "nobody", "")):
        with pytest.raises(ValueError, match=f"{named}.*at least two"):
            replace(folds, real=folds.real[kept])


def test_one_row_a_tested_window_each_as_trained_by_hand(folds, in_this_process, tmp_path):
    detectors, seeds = ["logistic_regression", "sklearn.naive_bayes:GaussianNB"], [3, 0]
    table = cross_validate(detectors, list(PROTOCOLS), folds, seeds, 1, tmp_path)
    assert list(table) == ["detector", "protocol", "subject", "seed", "window", "label", "probability"]
    keys = ["detector", "protocol", "subject", "seed"]
    assert table.groupby(keys).ngroups == 2 * len(PROTOCOLS) * 2 * 2
    assert not table.duplicated([*keys, "window"]).any()
    for (name, protocol, person, seed), rows in table.groupby(keys):
        training = folds.training_windows(PROTOCOLS[protocol].trained_on, person)
        test = folds.test_windows(PROTOCOLS[protocol].tested_on, person)
        probability = detector.train(name, training, seed, 1).probabilities(test.values)[:, 0]
        assert rows["window"].tolist() == list(range(len(test)))
        assert rows["label"].tolist() == test.labels.tolist()
        np.testing.assert_array_equal(rows["probability"], probability)


def test_protocols_that_train_alike_share_a_training(folds, trainings, tmp_path):
    cross_validate(["logistic_regression"], list(PROTOCOLS), folds, [0, 1], 4, tmp_path)
    expected = [
        folds.training_windows(trained_on, person)
        for trained_on in ("real", "synthetic", "both")  # trtr and trts are both of the first
        for person in ("S2", "S3")
    ]
    expected.append(folds.shared)  # of tstr_leaky, whoever is held out
    assert [training[2] for training in trainings] == [0] * 7 + [1] * 7
    assert {(training[0], training[3]) for training in trainings} == {("logistic_regression", 4)}

    def content(windows):
        return windows.values.tobytes(), windows.labels.tobytes()

    trained = Counter(content(training[1]) for training in trainings)
    assert trained == Counter(2 * [content(windows) for windows in expected])


def test_the_score_is_that_of_the_held_out_person(make_toy_windows, in_this_process, tmp_path):
    """Two people whose classes are the other way round: what is learned of one is all wrong for the other."""
    real = make_toy_windows(people=2, each=18)
    theirs = real.subjects == "S3"
    real = replace(real, values=np.where(theirs[:, None, None], 1 - real.values, real.values))
    own = {"S2": real.of("S2"), "S3": real.of("S3")}  # leaky on purpose: right for the one who is tested
    table = cross_validate(["logistic_regression"], ["trtr", "tstr"], Folds(real, real, own, real), [0], 1, tmp_path)
    scores = score_table(table).set_index(["protocol", "subject"])["auroc"]
    assert set(scores.index) == {(protocol, person) for protocol in ("trtr", "tstr") for person in ("S2", "S3")}
    assert (scores["trtr"] < 0.1).all() and (scores["tstr"] > 0.9).all()


def test_one_process_and_two_find_the_same(folds, trainings, monkeypatch, tmp_path):
    detectors = ["logistic_regression", "sklearn.naive_bayes:GaussianNB"]
    alone = cross_validate(detectors, list(PROTOCOLS), folds, [0], 1, tmp_path / "1")
    assert len(trainings) == 14
    monkeypatch.setattr(protocols.joblib, "cpu_count", lambda: 2)
    pd.testing.assert_frame_equal(
        cross_validate(detectors, list(PROTOCOLS), folds, [0], 1, tmp_path / "2"), alone, check_exact=True
    )
    assert len(trainings) == 14  # the other 14 were elsewhere
    monkeypatch.setattr(protocols.joblib, "cpu_count", lambda: 1)
    cross_validate(detectors, list(PROTOCOLS), folds, [0], 1, tmp_path / "2")
    assert len(trainings) == 14  # and count here, too
    # So they do of arrays that are large enough to be handed over in a file instead: more than a megabyte.
    large = replace(folds, real=folds.real[np.resize(np.arange(len(folds.real)), 20_000)])
    for n_processes in (2, 1):
        monkeypatch.setattr(protocols.joblib, "cpu_count", lambda n=n_processes: n)
        cross_validate(detectors[1:], ["trtr"], large, [0], 1, tmp_path / "large")
    assert len(trainings) == 14


def test_a_network_that_another_process_trains_is_the_same(folds, monkeypatch, tmp_path):
    found = []
    for n_processes in (1, 2):
        monkeypatch.setattr(protocols.joblib, "cpu_count", lambda n=n_processes: n)
        found.append(cross_validate(["cnn"], ["tstr"], folds, [0], 1, tmp_path / str(n_processes)))
    pd.testing.assert_frame_equal(*found, check_exact=True)


def test_what_was_finished_before_a_stop_is_not_done_again(folds, in_this_process, monkeypatch, tmp_path):
    names, done, stop_at = ["tstr", "trtr", "tstr_leaky"], [], 3

    def interrupted(*args):
        if len(done) == stop_at:
            raise KeyboardInterrupt
        done.append(args)
        return detector.train(*args)

    monkeypatch.setattr(protocols, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(["logistic_regression"], names, folds, [0], 1, tmp_path / "stopped")
    stop_at = None
    resumed = cross_validate(["logistic_regression"], names, folds, [0], 1, tmp_path / "stopped")
    assert len(done) == 5
    again = cross_validate(["logistic_regression"], names, folds, [0], 1, tmp_path / "stopped")
    assert len(done) == 5
    in_one_go = cross_validate(["logistic_regression"], names, folds, [0], 1, tmp_path / "in one go")
    assert len(done) == 10
    for table in (resumed, again):
        pd.testing.assert_frame_equal(table, in_one_go, check_exact=True)


def test_only_the_same_work_counts_as_finished(folds, trainings, monkeypatch, tmp_path):
    """More protocols or seeds add to what is there; all that a training depends on makes it another one."""

    def new(name="logistic_regression", names=("trtr",), folds=folds, seeds=(0,), epochs=1):
        before = len(trainings)
        cross_validate([name], names, folds, seeds, epochs, tmp_path)
        return len(trainings) - before

    assert (new(), new()) == (2, 0)
    assert new(names=("trtr", "tstr")) == 2
    assert new(seeds=(0, 1)) == 2
    assert new(epochs=2) == 2
    assert new("sklearn.naive_bayes:GaussianNB") == 2
    values = folds.real.values.copy()
    values[folds.real.subjects == "S2", 0, 0] += 1
    assert new(folds=replace(folds, real=replace(folds.real, values=values))) == 1  # S2 is in S3's fold only
    labels = np.where(folds.real.subjects == "S4", 1 - folds.real.labels, folds.real.labels)
    assert new(folds=replace(folds, real=replace(folds.real, labels=labels))) == 2
    monkeypatch.setattr(protocols, "fingerprint", lambda *parts: "another package")
    assert (new(), new()) == (2, 0)


def test_what_is_kept_is_numbers_and_what_is_damaged_is_done_again(folds, trainings, tmp_path):
    """No pickle that a folder from elsewhere could hold is read; half a file, or another's, is no finished piece."""

    def new():
        before = len(trainings)
        table = cross_validate(["logistic_regression"], ["trtr"], folds, [0], 1, tmp_path)
        return len(trainings) - before, table

    (n, first), files = new(), sorted(tmp_path.rglob("*"))
    assert n == 2 and len(files) == 2 and {path.suffix for path in files} == {".npz"}
    whole = [path.read_bytes() for path in files]
    for damaged in (b"", whole[0][:50], whole[0][:-30], pickle.dumps(Marker(tmp_path / "marker"))):
        files[0].write_bytes(damaged)
        n, again = new()
        assert n == 1 and again.equals(first) and files[0].read_bytes() == whole[0]
    np.savez(files[0], np.zeros(3))
    assert new()[0] == 1
    assert not (tmp_path / "marker").exists()


class Marker:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_users_changed_detector_is_trained_again(folds, trainings, monkeypatch, tmp_path):
    module = tmp_path / "changing_detectors.py"
    module.write_text("from sklearn.naive_bayes import GaussianNB as chosen\n")
    monkeypatch.syspath_prepend(tmp_path)

    def new():
        before = len(trainings)
        cross_validate(["changing_detectors:chosen"], ["trtr"], folds, [0], 1, tmp_path / "cache")
        return len(trainings) - before

    assert (new(), new()) == (2, 0)
    module.write_text(module.read_text() + "# changed\n")
    assert (new(), new()) == (2, 0)


def test_an_unknown_detector_is_refused_by_name(folds, in_this_process, tmp_path):
    for name in ("no_such_package:svm", "svm"):
        with pytest.raises(ValueError, match=f"^detector '{name}': "):
            cross_validate([name], ["trtr"], folds, [0], 1, tmp_path)


def test_a_promise_trains_privately_and_once(folds, in_this_process, monkeypatch, tmp_path):
    """Whether its noise has been asked for before or not: to train again would spend the budget again."""
    seen = []

    def train_private(name, windows, promise, seed, shares):
        seen.append((name, promise, seed, set(windows.subjects)))
        return Detector(lambda values, training: networks.tf.fill((len(values), 1), 0.25), lambda values: values)

    monkeypatch.setattr(private_detectors, "train_private", train_private)
    asked, fresh = (Promise(epsilon=2.0, sampling_probability=1.0, steps=5) for _ in range(2))
    assert asked.noise_multiplier > 0
    table = cross_validate(["private_cnn"], ["trtr"], folds, [4], 1, tmp_path, asked)
    assert set(table["probability"]) == {0.25} and set(table["detector"]) == {"private_cnn"}
    assert seen == [("private_cnn", asked, 4, {"S3", "S4"}), ("private_cnn", asked, 4, {"S2", "S4"})]
    cross_validate(["private_cnn"], ["trtr"], folds, [4], 1, tmp_path, fresh)
    assert len(seen) == 2
    cross_validate(["private_cnn"], ["trtr"], folds, [4], 1, tmp_path, replace(fresh, epsilon=1.0))
    assert len(seen) == 4


PERSON = "S3"


@pytest.fixture(scope="module")
def tables(make_table):
    """Three people's recordings, and the same with one person's replaced by wild values of turned labels, some lost."""
    stretches = [("baseline", 84, 0), ("stress", 60, 5), ("amusement", 36, 2)]
    clean = make_table([(person, *stretch) for person in ("S2", "S3", "S4") for stretch in stretches])
    theirs = clean["subject"] == PERSON
    poisoned = clean.copy()
    signals = clean.columns.difference(["subject", "time", "condition", "label"])
    shape = (theirs.sum(), len(signals))
    poisoned.loc[theirs, signals] = 1e4 * np.random.default_rng(1).standard_cauchy(shape)
    poisoned.loc[theirs, "label"] = 1 - clean.loc[theirs, "label"]
    poisoned = poisoned.drop(index=poisoned.index[theirs & (clean["time"] < 30)])
    return clean, poisoned


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("signals", SIGNAL_SETS)
def test_a_person_has_no_part_in_how_others_are_scaled_and_cut(tables, signals, scaling, monkeypatch):
    monkeypatch.setattr(windows, "ENROLMENT", 20)
    clean, poisoned = (make_windows(table, signals, scaling, window_seconds=12, hop_seconds=4) for table in tables)
    assert same(clean.without(PERSON), poisoned.without(PERSON))
    assert len(clean.of(PERSON)) > len(poisoned.of(PERSON)) > 0
    n = len(poisoned.of(PERSON))
    assert not (clean.of(PERSON).values[-n:] == poisoned.of(PERSON).values).all(axis=(1, 2)).any()


def everything_trained(table, trainings, cache):
    """(what, protocol) -> all that was learned: by the generators, and by detectors under each protocol."""
    real = make_windows(table, "published", "subject", window_seconds=12, hop_seconds=4)
    test = make_windows(table, "published", "subject", window_seconds=12, hop_seconds=12)
    windows = make_windows(table, "published", "public", window_seconds=12, hop_seconds=4)
    prior = DescriptorCodec.from_table(simulate_table(1, seed=9), "published", window_seconds=12)
    promise = Promise(steps=4, release_share=0.5)
    planned = generators.Plan("steered", promise, prior, choose_query(prior, 0.0))
    blind, shared = (
        generators.train(seen, planned, seed=0, noise_seed=7) for seen in (windows.without(PERSON), windows)
    )
    learned = {
        ("generator", "tstr"): [*blind.network.get_weights(), blind.moments.means, blind.moments.covariances],
        ("generator", "tstr_leaky"): [*shared.network.get_weights(), shared.moments.means, shared.moments.covariances],
    }
    people = (draw_people(each, 3, WESAD.read_schedule("baseline 2, stress 1"), seed=1) for each in (blind, shared))
    of_blind, of_shared = (make_windows(each, "published", "subject", 12, 12) for each in people)
    folds = Folds(real, test, {PERSON: of_blind}, of_shared)
    for protocol in TRAINED_APART:
        trainings.clear()
        cross_validate(["cnn", "logistic_regression", "random_forest"], [protocol], folds, [0], 1, cache)
        assert len(trainings) == 3
        for name, *_, trained in trainings:
            learned[name, protocol] = content(trained.model)
    for name in private_detectors.PRIVATE_DETECTORS:
        for protocol, seen in {"trtr": folds.training_windows("real", PERSON), "everybody": real}.items():
            trained = private_detectors.train_private(name, seen, Promise(), 0, np.random.default_rng(7))
            trained.probabilities(test.values)  # or it has no weights yet
            learned[name, protocol] = content(trained.model)
    return learned


def content(model):
    """All that was learned, as arrays."""
    if hasattr(model, "get_weights"):
        return model.get_weights()
    if hasattr(model, "steps"):
        scaler, _, regression = model
        return [scaler.mean_, scaler.scale_, regression.coef_, regression.intercept_]
    trees = [tree.tree_ for tree in model.estimators_]
    return [np.concatenate([part for tree in trees for part in (tree.feature, tree.threshold, tree.value.ravel())])]


def test_the_held_out_persons_recording_reaches_no_weight(tables, trainings, monkeypatch, tmp_path):
    """From the table on: bit for bit the same generator and detectors with another recording of that person.

    But for the leaky protocol and what everybody trained, of which every array changes: the poison does reach what it
    may reach.
    """
    monkeypatch.setattr(Promise, "release_noise_multiplier", 1.0)
    monkeypatch.setattr(Promise, "noise_multiplier", 1.0)  # any will do, and calibrating takes seconds
    monkeypatch.setattr(private_detectors, "PRIVATE_STEPS", 4)
    monkeypatch.setattr(estimators, "random_forest", clone(estimators.random_forest).set_params(n_estimators=10))
    clean, poisoned = (
        everything_trained(table, trainings, tmp_path / name) for name, table in zip(("clean", "poisoned"), tables)
    )
    assert clean.keys() == poisoned.keys() and len(clean) == 2 + 3 * 4 + 2 * 2
    for what, protocol in clean:
        assert len(clean[what, protocol]) == len(poisoned[what, protocol]) > 0
        same = [np.array_equal(*pair) for pair in zip(clean[what, protocol], poisoned[what, protocol])]
        leaky = protocol in ("tstr_leaky", "everybody")
        assert not any(same) if leaky else all(same), (what, protocol)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_is_said_of_a_person_does_not_depend_on_their_windows_for_training(folds, in_this_process, tmp_path, name):
    """Through all of a cross-validation: S2's windows for training are poisoned, those for the test are not."""
    theirs = folds.real.subjects == "S2"
    values = np.where(theirs[:, None, None], np.float32(99), folds.real.values)
    real = replace(folds.real, values=values, labels=np.where(theirs, 1 - folds.real.labels, folds.real.labels))
    clean, dirty = (
        cross_validate(["logistic_regression"], [name], part, [0], 1, tmp_path)
        for part in (folds, replace(folds, real=real))
    )
    unchanged = clean["probability"] == dirty["probability"]
    assert unchanged[clean["subject"] == "S2"].all()
    if PROTOCOLS[name].trained_on in ("real", "both"):
        assert not unchanged[clean["subject"] == "S3"].any()  # who did learn from S2


def test_protocols_are_chosen_by_name():
    assert choose_protocols("all") == list(PROTOCOLS)
    assert choose_protocols("tstr, trtr") == ["tstr", "trtr"]
    for wrong in ("trtr", "tstr,real", ""):
        with pytest.raises(ValueError, match="expected 'all', or 'tstr' and others"):
            choose_protocols(wrong)


def test_folds():
    people = ["S2", "S3", "S10"]
    assert choose_folds(people, "all") == people
    assert choose_folds(people, "S10, S2") == ["S10", "S2"]
    for folds in ("S4", "S2,S4", ""):
        with pytest.raises(ValueError, match="S2, S3, S10"):
            choose_folds(people, folds)
    with pytest.raises(ValueError, match="at least two"):
        choose_folds(["S2"], "all")


def test_folds_named_twice_are_held_out_once():
    assert choose_folds(["S2", "S3"], "S3,S3") == ["S3"]


def test_splits_keep_everybody_on_one_side(make_toy_windows):
    windows = make_toy_windows(people=5)
    tested = []
    for train, test in splits_by_person(windows, 4, seed=0):
        assert not set(windows.subjects[train]) & set(windows.subjects[test])
        tested += [*np.unique(windows.subjects[test])]
    assert sorted(tested) == sorted(np.unique(windows.subjects))
    halves = random_halves(windows, seed=0)
    first, second = next(halves)
    assert not set(windows.subjects[first]) & set(windows.subjects[second])
    assert len(first) + len(second) == len(windows)
