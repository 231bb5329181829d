"""Stress detectors behind one interface: trained on windows, they give each window a probability of stress.

A detector is named by an entry of DETECTORS or, the user's own, by its import path, 'package.module:name'. What stands
there is a scikit-learn estimator, which is trained on `simple_features`, or a function that builds a Keras network.
"""

import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wearsynth.features import simple_features
from wearsynth.windows import Windows

DETECTORS = {
    "cnn": "wearsynth.networks:cnn",
    "cnn_lstm": "wearsynth.networks:cnn_lstm",
    "logistic_regression": "wearsynth.estimators:logistic_regression",
    "random_forest": "wearsynth.estimators:random_forest",
}


@dataclass(frozen=True)
class Detector:
    """A trained detector.

    Args:
        model: a scikit-learn estimator with `predict_proba`, or a Keras network with one output between 0 and 1, or one
            for each of more classes than two.
        inputs: windows' values (n, seconds, signals) -> what the model takes.
    """

    model: Any
    inputs: Callable[[np.ndarray], np.ndarray]

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Returns the probabilities of class 1 (stress), and of a third, of windows' values (n, seconds, signals).

        Returns:
            (n, n_classes - 1).
        """
        inputs = self.inputs(values)
        if hasattr(self.model, "predict_proba"):
            return self.model.predict_proba(inputs)[:, 1:]
        found = self.model(inputs, training=False).numpy().astype(float)
        return found if found.shape[1] == 1 else found[:, 1:]


def train(name: str, windows: Windows, seed: int, epochs: int) -> Detector:
    """Trains a detector.

    Classes count alike, whatever the detector: windows of rarer classes are repeated until all are alike in number.

    Args:
        name: one of DETECTORS, or an import path.
        windows: to train on, of every class.
        seed: of first weights, shuffling and everything else random.
        epochs: passes over the windows; scikit-learn's estimators go by their own rules.

    Raises:
        ValueError: nothing that can be trained has this name, or there is no window of a class.
    """
    found = find(name)
    windows = balanced(windows, seed)
    if hasattr(found, "predict_proba"):
        from sklearn.base import clone  # like TensorFlow below, it takes seconds to import

        estimator = clone(found)
        random = [parameter for parameter in estimator.get_params() if parameter.split("__")[-1] == "random_state"]
        estimator.set_params(**dict.fromkeys(random, seed))
        return Detector(estimator.fit(simple_features(windows.values), windows.labels), simple_features)
    from wearsynth.networks import train_classifier

    return Detector(train_classifier(found, windows.values, windows.labels, seed, epochs), _as_they_are)


def choose_detectors(names: str) -> list[str]:
    """Returns the detectors' names of a list such as 'cnn,my_package.my_module:my_detector'.

    Raises:
        ValueError: as `source_files`.
    """
    chosen = list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in chosen:
        source_files(name)  # finds it, if it is none of the package's own, which would import TensorFlow
    return chosen


def source_files(name: str) -> list[Path]:
    """Returns the files that a user's own detector comes from: a changed one makes another detector.

    Raises:
        ValueError: as `find`, or the detector stands in no file.
    """
    if name in DETECTORS:
        return []
    find(name)
    file = getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    if file is None:
        raise ValueError(f"detector {name!r}: expected one whose module is a file")
    path = Path(file)
    # What a package hands on may come from any of its files.
    return sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]


def find(name: str) -> Any:
    """Returns what a detector's name stands for: a scikit-learn estimator, or a function that builds a network.

    Raises:
        ValueError: the name is unknown, cannot be imported, or is of nothing that can be trained.
    """
    if name not in DETECTORS and ":" not in name:
        raise ValueError(
            f"detector {name!r}: expected {', '.join(DETECTORS)}, or an import path, 'package.module:name'"
        )
    try:
        found = pkgutil.resolve_name(DETECTORS.get(name, name))
        if isinstance(found, type) and hasattr(found, "fit"):
            found = found()
    except (Exception, SystemExit) as error:  # what is somebody else's may fail in any way
        reason = " ".join(str(error).split())  # of several lines, one
        raise ValueError(f"detector {name!r}: cannot be made: {type(error).__name__}: {reason}") from error
    if not hasattr(found, "predict_proba") and (hasattr(found, "fit") or not callable(found)):
        raise ValueError(
            f"detector {name!r}: expected an estimator with predict_proba, or a function that builds a network"
        )
    return found


def _as_they_are(values: np.ndarray) -> np.ndarray:
    return values


def balanced(windows: Windows, seed: int) -> Windows:
    """Repeats windows of rarer classes until all are alike in number.

    Raises:
        ValueError: there is no window of a class.
    """
    counts, rng = np.bincount(windows.labels, minlength=len(windows.classes)), np.random.default_rng(seed)
    if counts.min() == 0:
        raise ValueError(f"no window of {windows.classes[counts.argmin()]}: training takes some of each class")
    chosen = [np.arange(len(windows))]
    for label in np.flatnonzero(counts < counts.max()):
        own = rng.permutation(np.flatnonzero(windows.labels == label))
        chosen.append(np.resize(own, counts.max() - counts[label]))
    return windows[np.concatenate(chosen)]
