"""Stress detectors and their test protocols: trained on some windows, tested on people who gave none of them."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.stats import bootstrap
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from wearsynth.windows import Windows, concatenate

PROTOCOLS = {
    "trtr": "trained on real windows of other people, tested on a real person",
    "tstr": "trained on synthetic windows of a generator that never saw the person, tested on the real person",
    "augmented": "trained on both, tested on the real person",
}
COUNTS = ("true_negatives", "false_positives", "false_negatives", "true_positives")
SCORES = ("accuracy", "f1_stress", "f1_macro", "balanced_accuracy", "auroc")
EPOCHS = 40  # fixed beforehand: stopping early would need real people to stop on

Predictor = Callable[[np.ndarray], np.ndarray]


def simple_features(values: np.ndarray) -> np.ndarray:
    """Describes each window by mean, standard deviation, minimum, maximum, slope and mean absolute difference of each
    signal.

    Args:
        values: (n_windows, window_seconds, n_signals).

    Returns:
        (n_windows, 6 * n_signals).
    """
    time = np.linspace(-1, 1, values.shape[1])
    slope = np.einsum("t,nts->ns", time / np.sum(time**2), values)
    roughness = np.abs(np.diff(values, axis=1)).mean(axis=1)
    moments = [statistic(values, axis=1) for statistic in (np.mean, np.std, np.min, np.max)]
    return np.concatenate([*moments, slope, roughness], axis=1)


def train_cnn(windows: Windows, seed: int, epochs: int = EPOCHS) -> Predictor:
    """Trains a small convolutional network; returns values (n, seconds, signals) -> probability of stress (n,)."""
    tf.keras.backend.clear_session()  # or each of many trainings would be slower than the last
    tf.keras.utils.set_random_seed(seed)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input(windows.values.shape[1:]),
            layers.Conv1D(32, 5, activation="relu"),
            layers.MaxPooling1D(2),
            layers.Conv1D(64, 5, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(tf.keras.optimizers.Adam(1e-3), "binary_crossentropy", steps_per_execution=16)
    model.fit(windows.values, windows.labels, batch_size=32, epochs=epochs, verbose=0)
    return lambda values: model(values, training=False).numpy()[:, 0]


def train_logistic_regression(windows: Windows, seed: int, epochs: int = EPOCHS) -> Predictor:
    """Fits logistic regression on simple features, without epochs; returns the same as `train_cnn`."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, random_state=seed))
    model.fit(simple_features(windows.values), windows.labels)
    return lambda values: model.predict_proba(simple_features(values))[:, 1]


DETECTORS = {"cnn": train_cnn, "logistic_regression": train_logistic_regression}


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Scores one person's predictions; a window counts as stress from probability 0.5 on.

    Args:
        labels: (n_windows,), 1 stress, 0 not.
        probabilities: (n_windows,), predicted probability of stress.

    Returns:
        SCORES, each between 0 and 1, and COUNTS of windows.

    Raises:
        ValueError: only one class is there, so that most scores mean nothing.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("windows of one class only: a test takes some with stress and some without")
    predicted = probabilities >= 0.5
    counts = metrics.confusion_matrix(labels, predicted).ravel()
    return dict(zip(COUNTS, counts)) | {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "f1_stress": metrics.f1_score(labels, predicted, zero_division=0),
        "f1_macro": metrics.f1_score(labels, predicted, average="macro", zero_division=0),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "auroc": metrics.roc_auc_score(labels, probabilities),
    }


def training_windows(protocol: str, real: Windows, synthetic: Windows, held_out: str) -> Windows:
    """What a detector is trained on when `held_out` is tested.

    Args:
        protocol: one of PROTOCOLS.
        real: everybody's windows.
        synthetic: from a generator that never saw `held_out`.
        held_out: the test person.
    """
    others = real.without(held_out)
    return {"trtr": others, "tstr": synthetic, "augmented": concatenate([others, synthetic])}[protocol]


def cross_validate(
    detector: str,
    real: Windows,
    test: Windows,
    synthetic: dict[str, Windows],
    seeds: range,
    epochs: int = EPOCHS,
) -> pd.DataFrame:
    """Trains a detector for each of PROTOCOLS, held-out person and seed, and scores it on that person.

    Args:
        detector: one of DETECTORS.
        real: everybody's windows for training.
        test: everybody's windows for tests; these do not overlap.
        synthetic: for each held-out person, windows of a generator that never saw it.
        seeds: of the detector's first weights and shuffling.
        epochs: passes over the training windows (the CNN).

    Returns:
        One row a protocol, subject and seed: `protocol`, `detector`, `subject`, `seed`, COUNTS and SCORES.
    """
    jobs = [(protocol, held_out, seed) for protocol in PROTOCOLS for held_out in synthetic for seed in seeds]
    rows = []
    for protocol, held_out, seed in tqdm(jobs, desc=detector, unit="detector", mininterval=5):
        windows = training_windows(protocol, real, synthetic[held_out], held_out)
        predict = DETECTORS[detector](windows, seed, epochs)
        person = test.of(held_out)
        row = {"protocol": protocol, "detector": detector, "subject": held_out, "seed": seed}
        rows.append(row | scores(person.labels, predict(person.values)))
    return pd.DataFrame(rows)


def summarize(table: pd.DataFrame) -> dict:
    """Condenses the rows of one protocol and detector.

    Args:
        table: rows as `cross_validate` makes them.

    Returns:
        `detector`, `seeds`, `leaky`, `subjects` (each one's scores, mean over seeds), `mean` over people, `sd_seeds`
        (standard deviation over seeds of that mean) and `ci95` (bootstrap interval of the mean over people; none for
        one person).
    """
    by_subject = table.groupby("subject", sort=False)[list(SCORES)].mean()
    by_seed = table.groupby("seed")[list(SCORES)].mean()
    return {
        "detector": table["detector"].iloc[0],
        "seeds": len(by_seed),
        "leaky": False,
        "subjects": by_subject.to_dict("index"),
        "mean": by_subject.mean().to_dict(),
        "sd_seeds": by_seed.std().to_dict(),
        "ci95": {score: bootstrap_interval(by_subject[score].to_numpy()) for score in SCORES},
    }


def confusion(table: pd.DataFrame) -> np.ndarray:
    """Counts windows over people and seeds, (2, 2): true label by predicted one, not stress first."""
    return table[list(COUNTS)].sum().to_numpy().reshape(2, 2)


def majority(test: Windows, held_out: list[str]) -> dict:
    """Scores, as `summarize`, of always guessing the commoner class, no stress."""
    rows = [
        {"subject": name, "seed": 0} | scores(test.of(name).labels, np.zeros(len(test.of(name)))) for name in held_out
    ]
    return summarize(pd.DataFrame(rows).assign(detector="majority"))


def bootstrap_interval(values: np.ndarray) -> list[float] | None:
    """Returns the 95 % bootstrap interval of the mean of one value a person; none for fewer than two people."""
    if len(values) < 2:
        return None
    if len(np.unique(values)) == 1:
        return [float(values[0])] * 2
    result = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0))
    return [float(end) for end in result.confidence_interval]
