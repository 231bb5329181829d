"""Classifier two-sample tests (C2ST): can synthetic windows be separated from real ones?

Each test is a view of a window and a classifier on it. A generator that is good in one view may be bad in another, so
the worst of them is the one to quote: a release of simple features is judged least by a test on simple features.

Split by window, remembering people would do: neighbouring windows of one person look alike, and windows of six people
are separated from those of six others at .998. So nobody's windows lie on both sides of a split.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wearsynth.features import simple_features
from wearsynth.parallel import one_core_each
from wearsynth.protocols import random_halves, splits_by_person
from wearsynth.scores import auroc
from wearsynth.windows import Windows, concatenate

MOST_SPLITS = 4  # of the people
FLAT = 1e-5  # standard deviation of a signal in a window, below which it correlates with nothing
N_KERNELS = 400  # random convolutions
EPOCHS = 15  # of the small CNN


class Test(NamedTuple):
    """One two-sample test.

    Args:
        view: values (n, seconds, signals) -> what the classifier takes; fixed, and of each window by itself.
        classifier: seed -> scikit-learn classifier, unfitted.
    """

    view: Callable[[np.ndarray], np.ndarray]
    classifier: Callable[[int], Any]


def joint_features(values: np.ndarray) -> np.ndarray:
    """How signals move together: correlations between them within a window, of values and of absolute differences.

    Args:
        values: (n, seconds, signals).

    Returns:
        (n, signals * (signals - 1)); 0 where a signal is flat.
    """
    return np.hstack([_correlations(values), _correlations(np.abs(np.diff(values, axis=1)))])


def random_convolutions(values: np.ndarray, n_kernels: int = N_KERNELS) -> np.ndarray:
    """ROCKET's features (Dempster, Petitjean and Webb 2020, doi 10.1007/s10618-020-00701-z): random kernels of random
    length, dilation and bias over some of the signals; of each the share of positive values, and the largest.

    Args:
        values: (n, seconds, signals), of about the same size in each signal.
        n_kernels: how many; always the same ones.

    Returns:
        (n, 2 * n_kernels).
    """
    rng, (n, seconds, n_signals) = np.random.default_rng(0), values.shape
    by_signal = np.ascontiguousarray(values.transpose(2, 1, 0))
    features = []
    for _ in range(n_kernels):
        length = rng.choice([length for length in (7, 9, 11) if length < seconds])
        weights = rng.standard_normal((length, n_signals)) * (rng.random(n_signals) < min(1, 3 / n_signals))
        weights -= weights.mean(axis=0)
        dilation = int(2 ** rng.uniform(0, np.log2((seconds - 1) / (length - 1))))
        outputs, used = np.arange(seconds - (length - 1) * dilation), np.flatnonzero(weights.any(axis=0))
        # As one product with a matrix of bands, which is several times as fast as tap by tap.
        bands = np.zeros((len(outputs), len(used), seconds))
        for tap in range(length):
            bands[outputs, :, outputs + tap * dilation] = weights[tap, used]
        taken = by_signal[used].reshape(len(used) * seconds, n)
        output = bands.reshape(len(outputs), len(used) * seconds) @ taken + rng.uniform(-1, 1)
        features += [(output > 0).mean(axis=0), output.max(axis=0)]
    return np.stack(features, axis=1)


class SmallCnn:
    """The small convolutional network that detects stress, as a classifier of windows; as scikit-learn's."""

    def __init__(self, seed: int):
        self.seed = seed

    def fit(self, values: np.ndarray, labels: np.ndarray) -> "SmallCnn":
        from wearsynth.networks import train_classifier, two_sample_cnn  # seconds to import

        rarer = np.flatnonzero(labels == np.bincount(labels).argmin())
        repeated = np.resize(rarer, max(0, len(labels) - 2 * len(rarer)))
        rows = np.append(np.arange(len(labels)), repeated)
        self.network = train_classifier(two_sample_cnn, values[rows], labels[rows], self.seed, EPOCHS)
        return self

    def decision_function(self, values: np.ndarray) -> np.ndarray:
        return self.network(values, training=False).numpy()[:, 0]


def _forest(seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(200, min_samples_leaf=2, class_weight="balanced", random_state=seed)


def _linear(seed: int) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=3000, class_weight="balanced"))


def _ridge(seed: int) -> Any:
    return make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 10), class_weight="balanced"))


TESTS = {
    "simple features": Test(simple_features, _forest),
    "joint behaviour, linear": Test(joint_features, _linear),
    "joint behaviour, forest": Test(joint_features, _forest),
    "random convolutions": Test(lambda values: random_convolutions(4 * (values - 0.5)), _ridge),
    "small CNN": Test(lambda values: values.astype(np.float32), SmallCnn),
}


def two_sample_tests(real: Windows, synthetic: Windows, seed: int) -> dict[str, float]:
    """Runs all of TESTS.

    Args:
        real: windows of at least two people.
        synthetic: windows of one generator, whose halves are drawn at random; or of people, who stay whole.
        seed: of splits and classifiers.

    Returns:
        By test the area under the ROC curve, mean over up to MOST_SPLITS splits: 0.5 is chance, 1 always right.
    """
    arguments = ((real, synthetic, seed, name) for name in TESTS)
    return dict(zip(TESTS, one_core_each(two_sample_auroc, arguments, len(TESTS), "two-sample test")))


def two_sample_auroc(real: Windows, synthetic: Windows, seed: int, name: str = "simple features") -> float:
    """Runs one of TESTS; as `two_sample_tests`."""
    test = TESTS[name]
    view, is_synthetic = (
        test.view(concatenate([real, synthetic]).values),
        np.repeat([0, 1], [len(real), len(synthetic)]),
    )
    scores = []
    for ours, theirs in zip(splits_by_person(real, MOST_SPLITS, seed), random_halves(synthetic, seed)):
        trained, tested = (np.append(own, len(real) + other) for own, other in zip(ours, theirs))
        classifier = test.classifier(seed).fit(view[trained], is_synthetic[trained])
        score = getattr(classifier, "predict_proba", None)
        score = classifier.decision_function(view[tested]) if score is None else score(view[tested])[:, 1]
        scores.append(auroc(is_synthetic[tested], score))
    return float(np.mean(scores))


def _correlations(values: np.ndarray) -> np.ndarray:
    """Pearson's correlations between signals within each window, (n, n_pairs)."""
    centred = values - values.mean(axis=1, keepdims=True, dtype=float)
    deviation = centred.std(axis=1, keepdims=True)
    standardised = np.where(deviation > FLAT, centred / np.maximum(deviation, FLAT), 0)
    matrices = np.einsum("nta,ntb->nab", standardised, standardised) / values.shape[1]
    return matrices[(slice(None), *np.triu_indices(values.shape[2], k=1))]
