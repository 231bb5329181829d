"""What an attacker learns of whole people: was somebody among those that a generator was trained on?

The attacker knows how generators are trained, and has some that were trained alike: *shadow generators*, with and
without the person. Each of them is asked, in several ways, how close it comes to the person's windows. What those that
saw the person answer, and those that did not, tells what the answer of another one means (LiRA, arXiv 2112.03570).

And, as a measure of what synthetic data is there against: how well people are found again in recordings without names.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from dtaidistance import dtw_ndim

from wearsynth.attacks import ROUNDING, Guesses, closest_distances, record, thinned
from wearsynth.generators import Plan, train
from wearsynth.overlap import Encoder
from wearsynth.parallel import on_one_core, one_core_each
from wearsynth.scores import bootstrap_interval
from wearsynth.sessions import draw_people
from wearsynth.studies import Part
from wearsynth.windows import Windows

SLICE_SECONDS, WARPING = 20, 5  # s: length of a slice, and how far its seconds may be shifted against another's
MOST_SLICES = 300  # of each set of windows
FEWEST_GENERATORS = 3  # fewer say nothing of what is usual
PEOPLE_DRAWN = 15  # from each shadow generator

Measure = Callable[[Windows], np.ndarray]  # windows of a generator -> how close it comes to each person, (n_people,)


@on_one_core
def attacks_on_people(real: Windows, synthetic_by_fold: dict[str, Windows], encoder: Encoder) -> dict[str, dict]:
    """Guesses of each person whether a fold's generator saw them: all but one did.

    Those that saw the person say how close is usual: one that stays farther away did not.

    Args:
        real: windows of everybody.
        synthetic_by_fold: held-out person -> windows of the generator that never saw that person.
        encoder: of the prior's people's windows.

    Returns:
        By measure of closeness a record as `attacks.record` makes it; a person is a fold. Empty for a few folds.
    """
    if len(synthetic_by_fold) < FEWEST_GENERATORS:
        return {}
    rows = [real.people.index(name) for name in synthetic_by_fold]
    own = np.eye(len(rows), dtype=bool)
    records = {}
    for name, measure in measures(real, encoder).items():
        close = _standardised(np.transpose([measure(each) for each in synthetic_by_fold.values()])[rows])
        records[f"people_by_{name}"] = record(
            [Guesses(row[~of_self], row[of_self]) for row, of_self in zip(close, own)]
        )
    return records


def attacks_by_shadows(close: dict[str, np.ndarray], saw: np.ndarray) -> dict[str, dict]:
    """Guesses of each person whether a generator saw them, by all the other generators (LiRA, both sides).

    Args:
        close: by measure, how close each generator came to each person, (n_people, n_generators).
        saw: whether it was trained on them, of the same shape.

    Returns:
        As `attacks_on_people`; of each person, generators that saw them against those that did not.
    """
    records = {}
    for name, each in close.items():
        ratios = _likelihood_ratios(_standardised(each), saw)
        records[f"shadows_by_{name}"] = record([Guesses(row[seen], row[~seen]) for row, seen in zip(ratios, saw)])
    return records


def train_shadows(
    real: Windows,
    training: Windows,
    encoder: Encoder,
    planned: Plan,
    schedule: tuple[Part, ...],
    cut: Callable[[Any], Windows],
    n_generators: int,
    seed: int,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Trains shadow generators, each on a random half of the people, and asks how close each comes to everybody.

    They are an attacker's, not the owner's: neither they nor what they make is kept, and no ledger has them.

    Args:
        real: windows of everybody, scaled as `cut` does.
        training: the same people's, on the public scale.
        encoder: of the prior's people's windows, scaled as `cut` does.
        planned: how to train, for half of the people.
        schedule: of the synthetic people.
        cut: turns a table of synthetic people into windows.
        n_generators: how many to train, 4 at least.
        seed: which people; of the noise and the sample only without privacy.

    Returns:
        What `attacks_by_shadows` takes.
    """
    people, rng = np.array(real.people), np.random.default_rng(seed)
    measured = measures(real, encoder)
    # In pairs of one half and the other: everybody is seen as often as not.
    halves = [rng.permutation(len(people)) < len(people) // 2 for _ in range((n_generators + 1) // 2)]
    saw = np.array([side for half in halves for side in (half, ~half)][:n_generators])
    arguments = (
        (training.of(*people[each]), planned, schedule, cut, measured, seed + number) for number, each in enumerate(saw)
    )
    answers = list(one_core_each(_train_and_measure, arguments, n_generators, "shadow generator"))
    return {name: np.transpose([each[name] for each in answers]) for name in measured}, saw.T


def measures(real: Windows, encoder: Encoder) -> dict[str, Measure]:
    """Ways to ask how close a generator comes to people; what is the same for all generators is worked out here.

    Args:
        real: the people's windows.
        encoder: of the prior's people's windows.

    Returns:
        'closest_window': by windows' distance to the closest synthetic one; 'means': by how the means of classes lean
        towards the person's, in the encoder's axes; 'slices': by dynamic time warping of SLICE_SECONDS.
    """
    points, slices_of = encoder(real), thinned(real, MOST_SLICES)

    def closest(synthetic: Windows) -> np.ndarray:
        return _by_person(-np.log(np.maximum(closest_distances(real, synthetic), ROUNDING)), real)

    def means(synthetic: Windows) -> np.ndarray:
        theirs, leaning = encoder(synthetic), 0.0
        for label in range(len(real.classes)):
            rows = real.labels == label
            own = np.array([points[rows & (real.subjects == person)].mean(axis=0) for person in real.people])
            leaning += (own - own.mean(axis=0)) @ (theirs[synthetic.labels == label].mean(axis=0) - own.mean(axis=0))
        return leaning

    def slices(synthetic: Windows) -> np.ndarray:
        return _by_person(-np.log(np.maximum(slice_distances(slices_of, synthetic).min(axis=1), ROUNDING)), slices_of)

    return {"closest_window": closest, "means": means, "slices": slices}


def reidentification(windows: Windows) -> dict[str, Any]:
    """Finds people again: whose is the slice that is closest to a slice of somebody's? (Lange et al. 2023, arXiv
    2308.08310.) It shows what recordings without names give away, and so what the attacks by slices are able to.

    Args:
        windows: of people, on a scale that keeps their levels.

    Returns:
        `score`, share of slices whose closest other one is the same person's, mean over people; its 95 % bootstrap
        interval over people, `ci95`; and `chance`, that of guessing.
    """
    some = thinned(windows, MOST_SLICES)
    distances = slice_distances(some, some)
    np.fill_diagonal(distances, np.inf)
    scores = _by_person(some.subjects[distances.argmin(axis=1)] == some.subjects, some)
    return {"score": float(scores.mean()), "ci95": bootstrap_interval(scores), "chance": 1 / len(scores)}


def slice_distances(windows: Windows, others: Windows) -> np.ndarray:
    """Distances by dynamic time warping between slices in the middle of windows; of the others MOST_SLICES at most.

    Returns:
        (n_windows, n_others).
    """
    slices, candidates = (_middle(each.values) for each in (windows, thinned(others, MOST_SLICES)))
    both = [*slices, *candidates]
    block = ((0, len(slices)), (len(slices), len(both)))
    found = dtw_ndim.distance_matrix_fast(
        both, len(windows.signals), block=block, compact=True, parallel=False, window=WARPING
    )
    return np.reshape(found, (len(slices), len(candidates)))


def _train_and_measure(
    training: Windows,
    planned: Plan,
    schedule: tuple[Part, ...],
    cut: Callable[[Any], Windows],
    measured: dict[str, Measure],
    seed: int,
) -> dict[str, np.ndarray]:
    synthetic = cut(draw_people(train(training, planned, seed, name=None), PEOPLE_DRAWN, schedule, seed))
    return {name: measure(synthetic) for name, measure in measured.items()}


def _standardised(close: np.ndarray) -> np.ndarray:
    """Frees (n_people, n_generators) of which generators come closer to everybody, and which people are typical."""
    close = close - close.mean(axis=0)
    close -= close.mean(axis=1, keepdims=True)
    return close / (close.std(axis=1, keepdims=True) + ROUNDING)


def _likelihood_ratios(close: np.ndarray, saw: np.ndarray) -> np.ndarray:
    """Log likelihood ratios of having seen a person, (n_people, n_generators): normal, by all the other generators."""

    def others_mean(of: np.ndarray) -> np.ndarray:
        return ((close * of).sum(axis=1, keepdims=True) - close * of) / (of.sum(axis=1, keepdims=True) - of)

    seen, unseen = others_mean(saw), others_mean(~saw)
    residual = close - np.where(saw, seen, unseen)
    variance = (residual**2).mean(axis=1, keepdims=True) + ROUNDING
    return (seen - unseen) * (close - (seen + unseen) / 2) / variance


def _by_person(numbers: np.ndarray, windows: Windows) -> np.ndarray:
    return np.array([numbers[windows.subjects == person].mean() for person in windows.people])


def _middle(values: np.ndarray) -> np.ndarray:
    start = max(0, (values.shape[1] - SLICE_SECONDS) // 2)
    return np.ascontiguousarray(values[:, start : start + SLICE_SECONDS], dtype=float)
