"""How detectors are tested: leave-one-subject-out (LOSO), by several protocols, of which one is marked leaky."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd

from wearsynth.detector import source_files, train
from wearsynth.files import fingerprint, replacing, source_of
from wearsynth.parallel import one_core_each
from wearsynth.privacy import Promise
from wearsynth.provenance import DAMAGED
from wearsynth.windows import SHARES, Windows, concatenate

ROUNDING = 1e-6  # by which a probability may miss 0 or 1
PROBABILITIES = ("probability", "probability_2")  # of class 1 and class 2


class Protocol(NamedTuple):
    """What a detector is trained and tested on.

    Args:
        trained_on: 'real' windows of the others, 'synthetic' ones of a generator that never saw the held-out person,
            'both', or 'shared': synthetic ones of the generator that saw everybody.
        tested_on: 'real' windows of the held-out person, or 'synthetic' ones, again of a generator that never saw it.
        meaning: the same in words.
    """

    trained_on: str
    tested_on: str
    meaning: str

    @property
    def leaky(self) -> bool:
        """Whether the person tested on had a part in what the detector was trained on."""
        return self.trained_on == "shared"


PROTOCOLS = {
    "trtr": Protocol("real", "real", "trained on real windows of other people, tested on a real person"),
    "tstr": Protocol(
        "synthetic",
        "real",
        "trained on synthetic windows of a generator that never saw the person, tested on the real person",
    ),
    "augmented": Protocol("both", "real", "trained on both, tested on the real person"),
    "trts": Protocol(
        "real", "synthetic", "trained on real windows, tested on synthetic ones: are they what their labels say?"
    ),
    "tstr_leaky": Protocol(
        "shared",
        "real",
        "LEAKY, the published way: trained on synthetic windows of a generator that saw the person, too",
    ),
}


def choose_protocols(names: str) -> list[str]:
    """Returns the protocols of a list such as 'trtr,tstr'; 'all' stands for all.

    Raises:
        ValueError: one is unknown, or 'tstr' is not among them: what synthetic windows are worth is what is asked.
    """
    chosen = list(PROTOCOLS) if names == "all" else [name.strip() for name in names.split(",")]
    if not {"tstr"} <= {*chosen} <= {*PROTOCOLS}:
        raise ValueError(f"protocols={names!r}: expected 'all', or 'tstr' and others of {', '.join(PROTOCOLS)}")
    return chosen


def choose_folds(subjects: list[str], folds: str) -> list[str]:
    """Returns the people for leave-one-subject-out (LOSO) cross-validation.

    Args:
        subjects: everybody there is.
        folds: 'all', or names such as 'S2,S5'.

    Raises:
        ValueError: a name is nobody's, or fewer than two people are there for a fold to leave one out.
    """
    chosen = list(subjects) if folds == "all" else [name.strip() for name in folds.split(",")]
    for name in chosen:
        if name not in subjects:
            raise ValueError(f"folds={folds!r}: no recording of {name!r}; there are {', '.join(subjects)}")
    if len(subjects) < 2:
        raise ValueError(f"folds={folds!r}: holding one person out takes at least two, there is only {subjects[0]}")
    return list(dict.fromkeys(chosen))


def splits_by_person(windows: Windows, most: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices for training and testing, in up to `most` splits; each person is tested once."""
    from sklearn.model_selection import GroupKFold  # takes a second to import, and few who import this module need it

    people = np.unique(windows.subjects)
    shuffled = np.random.default_rng(seed).permutation(len(people))
    groups = shuffled[np.searchsorted(people, windows.subjects)]
    yield from GroupKFold(min(most, len(people))).split(windows.values, groups=groups)


def random_halves(windows: Windows, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless random halves, as indices: of the people, if there are several, otherwise of the windows."""
    people, units = np.unique(windows.subjects, return_inverse=True)
    if len(people) == 1:
        units = np.arange(len(windows))
    rng = np.random.default_rng(seed)
    while True:
        first = rng.permutation(units.max() + 1)[units] <= units.max() // 2
        yield np.flatnonzero(first), np.flatnonzero(~first)


@dataclass(frozen=True)
class Folds:
    """All that one test over held-out people is made of.

    Args:
        real: everybody's windows for training.
        test: everybody's windows for tests; these do not overlap.
        synthetic: held-out person -> windows of synthetic people, of a generator that never saw that person.
        shared: windows of the generator that saw everybody; None where there is none.
        shares: each class's share of the protocol, public: private detectors go by it.

    Raises:
        ValueError: there are fewer than two people, a held-out one lacks a class, or windows differ in length or
            signals.
    """

    real: Windows
    test: Windows
    synthetic: dict[str, Windows]
    shared: Windows | None
    shares: tuple[float, ...] = SHARES

    def __post_init__(self):
        check_people(self.real, self.test, list(self.synthetic))
        synthetic = {f"synthetic without {name}": windows for name, windows in self.synthetic.items()}
        shared = {} if self.shared is None else {"synthetic": self.shared}
        for name, windows in {"test": self.test, **synthetic, **shared}.items():
            if (windows.signals, windows.values.shape[1:]) != (self.real.signals, self.real.values.shape[1:]):
                raise ValueError(
                    f"windows {name!r} have {windows.values.shape[1]} s of {', '.join(windows.signals)}: expected "
                    f"{self.real.values.shape[1]} s of {', '.join(self.real.signals)}; run 02-Model and 03-Generator"
                )

    @classmethod
    def among(cls, windows: Windows, most: int) -> "Folds":
        """Of one set of people, each held out from the others; of the first ones, as it takes a training each."""
        people = windows.people[:most]
        chosen = windows.of(*people)
        return cls(chosen, chosen, dict.fromkeys(people, chosen), None)

    @property
    def protocols(self) -> list[str]:
        """Those of PROTOCOLS that these windows allow: the leaky one takes a generator that saw everybody."""
        return [name for name, protocol in PROTOCOLS.items() if not (protocol.leaky and self.shared is None)]

    def training_windows(self, trained_on: str, held_out: str) -> Windows:
        """What a detector is trained on when `held_out` is tested; `trained_on` as in Protocol."""
        if trained_on == "shared":
            return self.shared
        if trained_on == "synthetic":
            return self.synthetic[held_out]
        others = self.real.without(held_out)
        return others if trained_on == "real" else concatenate([others, self.synthetic[held_out]])

    def test_windows(self, tested_on: str, held_out: str) -> Windows:
        """What it is tested on; `tested_on` as in Protocol."""
        return self.test.of(held_out) if tested_on == "real" else self.synthetic[held_out]


def check_people(real: Windows, test: Windows, held_out: Sequence[str]) -> None:
    """Raises ValueError where holding people out makes no sense."""
    people = np.unique(real.subjects)
    if len(people) < 2:
        raise ValueError(f"windows of {', '.join(people)} only: holding one person out takes at least two")
    for person in held_out:
        for whose, labels in (("own", test.of(person).labels), ("the others'", real.without(person).labels)):
            for label, name in enumerate(real.classes):
                if label not in labels:
                    raise ValueError(
                        f"{person}: none of {whose} {len(labels)} windows is {name}, and it takes every class; leave "
                        f"{person} out of the folds, or give longer recordings"
                    )


class _Training(NamedTuple):
    """One detector to be trained, and the tests (protocol, held-out person) that it serves."""

    detector: str
    seed: int
    trained_on: str
    held_out: str
    tests: list[tuple[str, str]]


def cross_validate(
    detectors: Sequence[str],
    protocols: Sequence[str],
    folds: Folds,
    seeds: Sequence[int],
    epochs: int,
    cache: Path,
    promise: Promise | None = None,
) -> pd.DataFrame:
    """Trains detectors and tests them, for each of the protocols, held-out people and seeds.

    Several are trained side by side, one on each core. What is finished lies in `cache`: the same call, made again
    after it was stopped, does only the rest.

    Args:
        detectors: names as `detector.train` knows them; with a promise, of PRIVATE_DETECTORS.
        protocols: of PROTOCOLS.
        folds: the windows.
        seeds: of the detectors' first weights and shuffling.
        epochs: passes over the training windows; private detectors go by steps.
        cache: folder for finished pieces.
        promise: trains with DP-SGD, each detector under this promise.

    Returns:
        One row a tested window: `detector`, `protocol`, `subject` (the held-out person), `seed`, `window` (its number
        in the test), `label`, `probability` of class 1, and `probability_2` where there are three.

    Raises:
        ValueError: a detector or a protocol is unknown, or a detector gives no probabilities.
    """
    if promise is not None:
        promise, epochs = replace(promise), 0  # a copy that has not worked out its noise: that would be another key
    for name in protocols:
        if name not in PROTOCOLS:
            raise ValueError(f"protocol {name!r}: expected one of {', '.join(PROTOCOLS)}")
    own = source_of("detector", "estimators", "private_detectors")
    code = {name: fingerprint(own, *([] if promise else source_files(name))) for name in detectors}
    trainings = _trainings(detectors, protocols, list(folds.synthetic), seeds)

    def tests(training: _Training) -> list[Windows]:
        return [folds.test_windows(PROTOCOLS[protocol].tested_on, person) for protocol, person in training.tests]

    # Windows are put together when their turn comes: all at once would fill the memory.
    arguments = (
        (
            cache,
            code[training.detector],
            training.detector,
            folds.training_windows(training.trained_on, training.held_out),
            training.seed,
            epochs,
            [windows.values for windows in tests(training)],
            promise,
            folds.shares,
        )
        for training in trainings
    )
    results = one_core_each(_predict_once, arguments, len(trainings), "detector")
    # Results first: what makes them counts the last one when it is asked for one more.
    tables = [_predictions(training, tests(training), found) for found, training in zip(results, trainings)]
    return pd.concat(tables, ignore_index=True)


def _trainings(
    detectors: Sequence[str], protocols: Sequence[str], held_out: list[str], seeds: Sequence[int]
) -> list[_Training]:
    """What has to be trained. Protocols that train on the same share a training; so do all folds on shared windows."""
    tests = {}
    for protocol in protocols:
        trained_on = PROTOCOLS[protocol].trained_on
        for person in held_out:
            key = (trained_on, held_out[0] if trained_on == "shared" else person)
            tests.setdefault(key, []).append((protocol, person))
    return [
        _Training(detector, seed, *key, those)
        for detector in detectors
        for seed in seeds
        for key, those in tests.items()
    ]


def _predict_once(
    cache: Path, code: str, detector: str, windows: Windows, seed: int, epochs: int, tests: list[np.ndarray], *budget
) -> list[np.ndarray]:
    """As `_predict` with these arguments, unless that is finished. It is kept as numbers, which cannot run as code."""
    arguments = (detector, windows, seed, epochs, tests, *budget)
    path = cache / f"{joblib.hash((code, *arguments))}.npz"
    try:
        with np.load(path) as stored:
            return [stored[f"arr_{number}"].reshape(len(values), -1) for number, values in enumerate(tests)]
    except DAMAGED:  # or not there
        probabilities = _predict(*arguments)
    with replacing(path) as draft:
        np.savez(draft, *probabilities)
    return probabilities


def _predict(
    detector: str,
    windows: Windows,
    seed: int,
    epochs: int,
    tests: list[np.ndarray],
    promise: Promise | None,
    shares: tuple[float, ...],
) -> list[np.ndarray]:
    """Trains one detector and returns its probabilities for each of the tests."""
    if promise is None:
        trained = train(detector, windows, seed, epochs)
    else:
        from wearsynth.private_detectors import train_private

        trained = train_private(detector, windows, promise, seed, shares=shares)
    probabilities = [trained.probabilities(values) for values in tests]
    for each in probabilities:
        if not ((each >= -ROUNDING) & (each <= 1 + ROUNDING)).all():  # neither does a NaN lie there
            raise ValueError(f"detector {detector!r}: expected probabilities between 0 and 1")
    return [np.clip(each, 0, 1) for each in probabilities]


def _predictions(training: _Training, tests: list[Windows], probabilities: list[np.ndarray]) -> pd.DataFrame:
    """One training's part of what `cross_validate` returns."""
    tables = []
    for (protocol, person), windows, probability in zip(training.tests, tests, probabilities):
        about = {"detector": training.detector, "protocol": protocol, "subject": person, "seed": training.seed}
        said = {"window": np.arange(len(windows)), "label": windows.labels}
        said |= dict(zip(PROBABILITIES, probability.T))
        tables.append(pd.DataFrame(about | said))
    return pd.concat(tables)
