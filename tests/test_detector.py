"""Detectors: features against a loop, classes that count alike against weights, and whatever has a name is trained."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics
from sklearn.base import clone

from wearsynth import networks
from wearsynth.detector import (
    DETECTORS,
    Detector,
    balanced,
    choose_detectors,
    find,
    simple_features,
    source_files,
    train,
)
from wearsynth.privacy import Promise
from wearsynth.private_detectors import PRIVATE_DETECTORS, train_private
from wearsynth.scores import predicted_classes
from wearsynth.windows import Windows

OWN = (
    "sklearn.neighbors:KNeighborsClassifier",  # a class
    "sklearn.naive_bayes:GaussianNB",
    "own_detectors:neighbours",  # an estimator
    "own_detectors:small_forest",
    "own_detectors:network",  # a function
    "own_detectors:compiled",
    "own_detectors:part",  # no function, but called like one
)
RANDOM = ("cnn", "cnn_lstm", "random_forest", "own_detectors:small_forest", "own_detectors:network")  # beyond repeats


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


def marked(labels):
    """Windows of the given labels, the number of each in its first value."""
    values = np.zeros((len(labels), 12, 1), np.float32)
    values[:, 0, 0] = np.arange(len(labels))
    return Windows(values, np.array(labels), np.array([f"S{n % 3}" for n in range(len(labels))]), ("EDA",))


@pytest.mark.parametrize(("rare", "common"), [(1, 6), (4, 7), (5, 13)])
@pytest.mark.parametrize("rarer", [0, 1])
def test_balanced_repeats_the_rarer_class_only(rare, common, rarer):
    windows = marked(np.random.default_rng(0).permutation([rarer] * rare + [1 - rarer] * common))
    alike = balanced(windows, seed=3)
    assert np.bincount(alike.labels).tolist() == [common, common]
    number = alike.values[:, 0, 0].astype(int)
    np.testing.assert_array_equal(alike.labels, windows.labels[number])  # a copy is whole: its label, its person
    np.testing.assert_array_equal(alike.subjects, windows.subjects[number])
    times = np.bincount(number, minlength=len(windows))
    assert set(times[windows.labels != rarer]) == {1}
    of_rarer = times[windows.labels == rarer]
    assert of_rarer.min() >= 1 and of_rarer.max() - of_rarer.min() <= 1  # none stands for many while others do not


def test_of_three_classes_all_become_alike_in_number():
    windows = replace(marked([0] * 9 + [1] * 4 + [2] * 7), classes=("rest", "pain", "film"))
    alike = balanced(windows, seed=0)
    assert np.bincount(alike.labels).tolist() == [9, 9, 9]
    assert {*alike.values[:, 0, 0].astype(int)} == {*range(20)}
    with pytest.raises(ValueError, match="no window of film"):
        balanced(windows[windows.labels < 2], seed=0)


@pytest.mark.parametrize("name", [*DETECTORS, *PRIVATE_DETECTORS])
def test_three_classes_are_learned(make_toy_windows, name):
    """Their levels lie .2 apart, where windows of one spread by .03: each is found, and probabilities add up to one."""
    windows = make_toy_windows(people=6, each=12)
    labels = np.arange(len(windows)) % 3
    level = 0.3 + 0.2 * labels[:, None, None] - windows.values.mean(axis=(1, 2), keepdims=True)
    values = np.clip(windows.values + level, 0, 1)
    windows = replace(windows, values=values.astype(np.float32), labels=labels, classes=("rest", "pain", "film"))
    if name in PRIVATE_DETECTORS:
        trained = train_private(name, windows, Promise(epsilon=math.inf), 0, shares=(1 / 3, 1 / 3, 1 / 3))
    else:
        trained = train(name, windows, 0, epochs=60)
    found = trained.probabilities(windows.values)
    assert found.shape == (len(windows), 2) and (found >= 0).all() and (found.sum(axis=1) <= 1 + 1e-6).all()
    assert np.mean(predicted_classes(found) == labels) > 0.9


def test_balanced_leaves_alike_classes_as_they_are():
    windows = marked([0, 1, 1, 0])
    np.testing.assert_array_equal(balanced(windows, seed=0).values, windows.values)


def test_which_windows_are_repeated_goes_by_the_seed():
    windows = marked([1] * 20 + [0] * 30)
    first, again, other = (balanced(windows, seed).values for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", ["logistic_regression", "cnn"])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_cannot_be_learned(make_toy_windows, name, label):
    windows = make_toy_windows()
    with pytest.raises(ValueError, match="no window of .*: training takes some of each class"):
        train(name, windows[windows.labels == label], 0, epochs=1)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("svm", "expected cnn, .*'package.module:name'"),
        ("", "expected cnn, .*'package.module:name'"),
        ("no_such_package:svm", "cannot be made.*no_such_package"),
        ("sklearn.no_such_module:SVC", "cannot be made.*no_such_module"),
        ("sklearn.svm:NoSuchMachine", "cannot be made.*NoSuchMachine"),
        ("sklearn.svm:", "expected an estimator with predict_proba"),  # the module itself
        ("not a path:name", "cannot be made"),
        ("sklearn.svm:LinearSVC", "expected an estimator with predict_proba"),
        ("sklearn.svm:SVC", "expected an estimator with predict_proba"),  # it has that only when it is told to
        ("own_detectors:selection", "expected an estimator with predict_proba"),
        ("own_detectors:number", "expected an estimator with predict_proba"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(name, fault, make_toy_windows):
    for refuse in (find, choose_detectors, lambda name: train(name, make_toy_windows(), 0, epochs=1)):
        with pytest.raises(ValueError, match=fault) as raised:
            refuse(name)
        message = str(raised.value)
        assert message.startswith(f"detector {name!r}: ") and "\n" not in message


def test_a_module_that_fails_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "broken_detectors.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="detector 'broken_detectors:any': cannot be made: .*division by zero"):
        find("broken_detectors:any")


def test_detectors_are_chosen_once_each_in_their_order():
    assert choose_detectors("random_forest, cnn,own_detectors:network,cnn") == [
        "random_forest",
        "cnn",
        "own_detectors:network",
    ]


def test_the_source_of_a_users_own_detector_is_found():
    (file,) = source_files("own_detectors:network")
    assert file.name == "own_detectors.py" and "def network(" in file.read_text()
    assert source_files("cnn") == source_files("logistic_regression") == []


def test_all_files_count_of_a_package_that_hands_a_detector_on(tmp_path, monkeypatch):
    package = tmp_path / "handing_on"
    package.mkdir()
    (package / "__init__.py").write_text("from handing_on.inner import chosen\n")
    (package / "inner.py").write_text("from sklearn.naive_bayes import GaussianNB as chosen\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [file.name for file in source_files("handing_on:chosen")] == ["__init__.py", "inner.py"]


def test_a_detector_that_stands_in_no_file_is_refused_by_name():
    with pytest.raises(ValueError, match="detector 'builtins:len': expected one whose module is a file"):
        choose_detectors("builtins:len")


@pytest.fixture(scope="module")
def toy(make_toy_windows):
    """Windows to train on, and other people's for a test."""
    return make_toy_windows(each=24), make_toy_windows(each=24, seed=9)


@pytest.mark.parametrize("name", [*DETECTORS, *OWN])
def test_an_easy_task_is_learned_and_the_seed_alone_decides(toy, name):
    """The classes lie four standard deviations of a second's noise apart, and are alike in number: nothing is repeated.

    Windows between the two are added to the test: there, what is random shows.
    """
    windows, test = balanced(toy[0], 0), toy[1]
    between = np.random.default_rng(0).uniform(size=(20, *test.values.shape[1:])).astype(np.float32)
    values = np.concatenate([test.values, between])
    trained = train(name, windows, 0, epochs=15)
    first = trained.probabilities(values)[:, 0]
    assert first.shape == (len(values),) and (first >= 0).all() and (first <= 1).all()
    assert metrics.roc_auc_score(test.labels, first[: len(test)]) > 0.95
    # A window's probability is its own, whoever else is asked about; single precision may round it otherwise.
    np.testing.assert_allclose(trained.probabilities(values[5:8])[:, 0], first[5:8], atol=1e-6)
    np.testing.assert_array_equal(train(name, windows, 0, epochs=15).probabilities(values)[:, 0], first)
    if name in RANDOM:
        assert not np.array_equal(train(name, windows, 1, epochs=15).probabilities(values)[:, 0], first)


def test_every_random_state_is_the_seed(toy):
    for name in ("random_forest", "own_detectors:small_forest", "logistic_regression"):
        parameters = train(name, toy[0], 5, epochs=1).model.get_params()
        states = [value for parameter, value in parameters.items() if parameter.split("__")[-1] == "random_state"]
        assert states == [5]


@pytest.mark.parametrize("name", ["logistic_regression", "own_detectors:neighbours"])
def test_training_leaves_the_named_estimator_untrained(toy, name):
    trained = train(name, toy[0], 0, epochs=1)
    assert trained.model is not find(name)
    assert not hasattr(find(name)[0], "mean_") and hasattr(trained.model[0], "mean_")


def test_repeating_windows_is_weighting_classes(toy):
    """A third of the windows is with stress: each counts twice, as class_weight='balanced' says but for a factor.

    That makes both classes together count as many as there are windows, 3/4 of what repeating gives; C takes it up.
    """
    windows = toy[0]
    fitted = train("logistic_regression", windows, 0, epochs=1).model
    scaler, within, regression = (clone(step) for _, step in find("logistic_regression").steps)
    features, weights = simple_features(windows.values), np.where(windows.labels, 2.0, 1.0)
    scaled = within.transform(scaler.fit(features, sample_weight=weights).transform(features))
    np.testing.assert_allclose(fitted[0].mean_, scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(fitted[0].scale_, scaler.scale_, rtol=1e-5)
    regression.set_params(class_weight="balanced", C=regression.C * 4 / 3).fit(scaled, windows.labels)
    # Both stop where the gradient is below 1e-4; weights are of size 0.1 to 1.
    np.testing.assert_allclose(fitted[-1].coef_, regression.coef_, atol=2e-3)
    np.testing.assert_allclose(fitted[-1].intercept_, regression.intercept_, atol=2e-3)
    unweighted = clone(regression).set_params(class_weight=None).fit(scaled, windows.labels)
    assert np.abs(fitted[-1].intercept_ - unweighted.intercept_) > 0.05


def test_a_feature_that_hardly_varies_in_training_outweighs_no_other(toy):
    """However far off it is: three of its deviations count as much as three thousand."""
    steady = toy[0].values.copy()
    steady[..., 0] = 0.5 + 1e-4 * np.random.default_rng(0).standard_normal(steady.shape[:2])
    far = steady[:6] + np.array([0.1, *np.zeros(steady.shape[2] - 1)])
    farther = far + np.array([0.3, *np.zeros(steady.shape[2] - 1)])
    trained = train("logistic_regression", replace(toy[0], values=steady), 0, epochs=1)
    np.testing.assert_allclose(trained.probabilities(far), trained.probabilities(farther), rtol=1e-6)
    assert not np.allclose(trained.probabilities(far), trained.probabilities(steady[:6]), rtol=1e-6)


def test_a_network_keeps_the_optimizer_it_was_compiled_with(toy):
    own, ours = (train(f"own_detectors:{name}", toy[0], 0, epochs=1).model for name in ("compiled", "network"))
    assert own.loss == "mse" and own.optimizer.__class__.__name__ == "SGD"
    assert own.optimizer.learning_rate.numpy() == 0.125
    assert ours.loss == "binary_crossentropy" and ours.optimizer.__class__.__name__ == "Adam"


def test_estimators_see_features_and_networks_see_windows(toy):
    values = toy[1].values
    assert train("logistic_regression", toy[0], 0, epochs=1).inputs is simple_features
    assert train("own_detectors:network", toy[0], 0, epochs=1).inputs(values) is values


def test_the_probability_is_that_of_stress():
    """Of two columns the second; and the only one of a network."""

    class Estimator:
        def predict_proba(self, features):
            return np.array([[0.9, 0.1], [0.2, 0.8]])

    assert Detector(Estimator(), simple_features).probabilities(np.zeros((2, 12, 1))).tolist() == [[0.1], [0.8]]
    model = networks.tf.keras.Sequential([networks.layers.Input((12, 1)), networks.layers.Flatten()])
    values = np.zeros((2, 12, 1), np.float32)
    values[:, 0, 0] = [0.25, 0.75]
    model.add(networks.layers.Lambda(lambda flat: flat[:, :1]))
    assert Detector(model, lambda values: values).probabilities(values).tolist() == [[0.25], [0.75]]


def test_neither_class_is_expected_beforehand(toy):
    """With an intercept the mean probability is the share that was trained on: a half, though 5 of 60 are stress."""
    windows = toy[0]
    chosen = np.concatenate([np.flatnonzero(windows.labels == 0)[:55], np.flatnonzero(windows.labels == 1)[:5]])
    noise = np.random.default_rng(0).uniform(size=(60, *windows.values.shape[1:]))
    windows = replace(windows[chosen], values=noise)
    probability = train("logistic_regression", windows, 7, epochs=1).probabilities(balanced(windows, 7).values)[:, 0]
    assert probability.mean() == pytest.approx(0.5, abs=1e-4)  # the solver stops at a gradient of 1e-4
