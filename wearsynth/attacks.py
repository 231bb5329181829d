"""What an attacker learns from synthetic windows, in numbers: membership inference, of windows and of people.

The attacker holds windows of a person and guesses whether that person's windows were used for training. What else is at
hand differs from attack to attack: the synthetic windows alone; also public windows, which say how typical a window is;
also those of generators that were trained alike, on other people.

An attack that fails proves nothing: generators pass by distance from which better attacks read members ("The DCR
delusion", arXiv 2505.01524). What protects people is the guarantee in `privacy.py`; an attack that succeeds shows harm.
"""

from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wearsynth.features import simple_features
from wearsynth.scores import auroc, bootstrap_interval
from wearsynth.windows import Windows

CHANCE = 0.5
ROUNDING = 1e-4  # distance under which two windows are the same
FALSE_POSITIVES = (0.01, 0.001)  # rates at which true positives are counted
COMPONENTS = 10  # of simple features, whose density is estimated
RESAMPLED = 300  # times, for the interval of a true positive rate


class Guesses(NamedTuple):
    """What an attack says of windows, or people, of one fold: the higher, the more it takes them for members.

    Args:
        members: (n_members,), of those that the generator was trained on.
        others: (n_others,), of those that it never saw.
    """

    members: np.ndarray
    others: np.ndarray


def membership_attacks(
    real: Windows, synthetic_all: Windows, synthetic_by_fold: dict[str, Windows], public: Windows
) -> dict[str, dict]:
    """Runs every attack on every fold.

    Args:
        real: windows of everybody.
        synthetic_all: windows of the generator that was trained on everybody.
        synthetic_by_fold: held-out person -> windows of the generator that never saw that person.
        public: windows of the prior's people.

    Returns:
        The record `attacks` of metrics.json: by attack a record as `record` makes it; 'shadow_generators' of people,
        the others of windows. Empty if nobody was held out.
    """
    folds = synthetic_by_fold.items()
    attacks = {
        "closest_window": [closest_window(real.without(name), real.of(name), own) for name, own in folds],
        "density_ratio": [density_ratio(real.without(name), real.of(name), own, public) for name, own in folds],
        "reference_generator": [
            reference_generator(real.of(name), real.without(name), synthetic_all, own) for name, own in folds
        ],
        "shadow_generators": shadow_generators(real, synthetic_by_fold),
    }
    return {name: record(guesses) for name, guesses in attacks.items() if guesses}


def record(folds: list[Guesses]) -> dict:
    """Sums up what an attack has said; people differ in how typical they are, so that a single fold says little.

    Returns:
        `score`, mean over folds of the area under the ROC curve; `chance`, what guessing scores; `ci95`, the score's
        95 % bootstrap interval over folds, None for a single one; `folds`, how many; and `true_positive_rates`: for
        each of FALSE_POSITIVES the share of members that is found, of all folds together, its `ci95`, and the
        `epsilon_implied`: a mechanism for which that rate is true has this epsilon at least (0: none is implied).
    """
    scores = np.array([_auroc(*guesses) for guesses in folds])
    return {
        "score": float(scores.mean()),
        "chance": CHANCE,
        "ci95": bootstrap_interval(scores),
        "folds": len(scores),
        "true_positive_rates": {str(rate): _found(folds, rate) for rate in FALSE_POSITIVES},
    }


def true_positive_rate(guesses: Guesses, false_positive_rate: float) -> float:
    """Share of members above the lowest threshold above which no more of the others lie than that rate."""
    others = np.sort(guesses.others)[::-1]
    return float(np.mean(guesses.members > others[int(false_positive_rate * len(others) + 1e-9)]))


def _found(folds: list[Guesses], rate: float) -> dict:
    """The true positive rate at a rate of false positives, with its interval over folds, and what it implies."""

    def of(chosen: np.ndarray) -> float:
        together = Guesses(*(np.concatenate(parts) for parts in zip(*(folds[number] for number in chosen))))
        return true_positive_rate(together, rate)

    found, rng, n = of(np.arange(len(folds))), np.random.default_rng(0), len(folds)
    if n < 2:
        return {"rate": found, "ci95": None, "epsilon_implied": 0.0}
    resampled = [of(rng.integers(0, n, n)) for _ in range(RESAMPLED)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    # Of the interval's low end, as a rate may be high by luck. Windows of one person are alike: it is no bound.
    return {"rate": found, "ci95": [float(low), float(high)], "epsilon_implied": float(np.log(max(low / rate, 1.0)))}


def closest_window(members: Windows, others: Windows, synthetic: Windows) -> Guesses:
    """Takes windows close to a synthetic one for members (GAN-Leaks, Chen et al. 2020, arXiv 1909.03935).

    Args:
        members: windows that the generator was trained on.
        others: windows that it never saw.
        synthetic: what it made.
    """
    return Guesses(*(-closest_distances(windows, synthetic) for windows in (members, others)))


def density_ratio(members: Windows, others: Windows, synthetic: Windows, public: Windows) -> Guesses:
    """Takes windows for members where synthetic ones are denser than public ones (DOMIAS, arXiv 2302.12580).

    Densities are of principal components of simple features; other arguments as of `closest_window`.

    Args:
        public: windows of people whom no generator was trained to resemble.
    """
    sources = [simple_features(windows.values.astype(float)) for windows in (synthetic, public)]
    components = min(COMPONENTS, len(sources[0]) - 1, len(sources[1]) - 1)
    view = make_pipeline(StandardScaler(), PCA(components, whiten=True, random_state=0)).fit(np.concatenate(sources))
    ours, theirs = (KernelDensity(bandwidth="scott").fit(view.transform(source)) for source in sources)

    def denser(windows: Windows) -> np.ndarray:
        points = view.transform(simple_features(windows.values.astype(float)))
        return ours.score_samples(points) - theirs.score_samples(points)

    return Guesses(denser(members), denser(others))


def reference_generator(person: Windows, others: Windows, seen: Windows, unseen: Windows) -> Guesses:
    """Guesses whom only one of two generators saw: whose windows are closer to its output than to the other's.

    The second generator says how typical a window is, as in LiRA (arXiv 2112.03570). Two trainings differ by luck, too,
    and one may come closer to everybody: so windows of people whom both saw are the measure.

    Args:
        person: windows of one person.
        others: windows of people whom both generators saw.
        seen: windows of a generator that saw everybody.
        unseen: windows of one that saw the others only.
    """
    n = min(len(seen), len(unseen))  # of two sets, the larger one is closer to everything
    seen, unseen = (windows[np.arange(n)] for windows in (seen, unseen))

    def times_closer(windows: Windows) -> np.ndarray:
        closer, farther = (np.maximum(closest_distances(windows, each), ROUNDING) for each in (seen, unseen))
        return farther / closer

    return Guesses(times_closer(person), times_closer(others))


def shadow_generators(real: Windows, synthetic_by_fold: dict[str, Windows]) -> list[Guesses]:
    """Guesses of a person whether a generator saw them, by all the others, which were trained alike.

    Of each generator the attacker asks how close it comes to the person's windows, on average. Those that saw the
    person say how close is usual: one that stays farther away did not. A person is a fold of its own: all generators
    but one saw them.

    Args:
        real: windows of everybody.
        synthetic_by_fold: held-out person -> windows of the generator that never saw that person.
    """
    if len(synthetic_by_fold) < 3:  # fewer say nothing of what is usual
        return []
    n = min(map(len, synthetic_by_fold.values()))
    cut = {name: windows[np.arange(n)] for name, windows in synthetic_by_fold.items()}
    near = np.array(
        [
            [-np.log(np.maximum(closest_distances(real.of(person), each), ROUNDING)).mean() for each in cut.values()]
            for person in cut
        ]
    )
    near -= near.mean(axis=0)  # some generators come closer to everybody,
    near /= near.std(axis=1, keepdims=True) + ROUNDING  # and some people are always farther from one than another
    own = np.eye(len(cut), dtype=bool)
    return [Guesses(row[~of_self], row[of_self]) for row, of_self in zip(near, own)]


def closest_distances(windows: Windows, synthetic: Windows) -> np.ndarray:
    """Returns each window's Euclidean distance to the closest synthetic one, (n_windows,)."""
    flat = (each.values.reshape(len(each), -1).astype(float) for each in (windows, synthetic))
    return pairwise_distances_argmin_min(*flat)[1]


def _auroc(members: np.ndarray, others: np.ndarray) -> float:
    """Probability that one of the members is above one of the others; ties count half."""
    return auroc(np.repeat([1, 0], [len(members), len(others)]), np.concatenate([members, others]))
