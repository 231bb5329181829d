"""What an attacker learns from synthetic windows, in numbers: membership inference, window by window.

The attacker holds windows of a person and guesses whether that person's windows were used for training. What else is at
hand differs from attack to attack: the synthetic windows alone; also public windows, which say how typical a window is;
also those of a generator that was trained alike, on other people. `shadows.py` guesses of whole people.

An attack that fails proves nothing: generators pass by distance from which better attacks read members ("The DCR
delusion", arXiv 2505.01524). What protects people is the guarantee in `privacy.py`; an attack that succeeds shows harm.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp
from scipy.stats import beta
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import pairwise_distances, pairwise_distances_argmin_min
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wearsynth.features import simple_features
from wearsynth.overlap import view
from wearsynth.parallel import on_one_core, one_core_each
from wearsynth.scores import auroc, bootstrap_interval
from wearsynth.windows import Windows

CHANCE = 0.5
ROUNDING = 1e-4  # distance under which two windows are the same
FALSE_POSITIVES = (0.01, 0.001)  # rates at which true positives are counted
COMPONENTS = 10  # of simple features, whose density is estimated
NEAREST = 50  # synthetic windows about a window, whose likelihood is asked for
RESAMPLED = 300  # times, for the interval of a true positive rate


class Guesses(NamedTuple):
    """What an attack says of windows, or people, of one fold: the higher, the more it takes them for members.

    Args:
        members: (n_members,), of those that the generator was trained on.
        others: (n_others,), of those that it never saw.
    """

    members: np.ndarray
    others: np.ndarray


@on_one_core
def attacks_on_windows(
    real: Windows, synthetic_all: Windows, synthetic_by_fold: dict[str, Windows], public: Windows
) -> dict[str, dict]:
    """Runs every attack of this module on every fold.

    Args:
        real: windows of everybody.
        synthetic_all: windows of the generator that was trained on everybody.
        synthetic_by_fold: held-out person -> windows of the generator that never saw that person.
        public: windows of the prior's people.

    Returns:
        By attack a record as `record` makes it. Empty if nobody was held out.
    """
    views = view(real), view(public)  # the same in every fold
    arguments = ((real, name, synthetic_all, own, public, *views) for name, own in synthetic_by_fold.items())
    folds = list(one_core_each(_attack_fold, arguments, len(synthetic_by_fold), "fold"))
    return {name: record([fold[name] for fold in folds]) for name in (folds[0] if folds else ())}


def record(folds: list[Guesses]) -> dict:
    """Sums up what an attack has said; people differ in how typical they are, so that a single fold says little.

    Returns:
        `score`, mean over folds of the area under the ROC curve; `chance`, what guessing scores; `ci95`, the score's
        95 % bootstrap interval over folds, None for a single one; `folds`, how many; and `true_positive_rates`: for
        each of FALSE_POSITIVES the share of members that is found, of all folds together, its `ci95`, and the
        `epsilon_implied`: a mechanism for which that rate is true has this epsilon at least (0: none is implied). The
        rate is None where there are too few others to see so few false positives: the people of a study, mostly.
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

    n_others = sum(len(guesses.others) for guesses in folds)
    if n_others * rate < 1 - 1e-9:
        return {"rate": None, "ci95": None, "epsilon_implied": 0.0}

    def of(chosen: np.ndarray) -> float:
        together = Guesses(*(np.concatenate(parts) for parts in zip(*(folds[number] for number in chosen))))
        return true_positive_rate(together, rate)

    found, rng, n = of(np.arange(len(folds))), np.random.default_rng(0), len(folds)
    if n < 2:
        return {"rate": found, "ci95": None, "epsilon_implied": 0.0}
    resampled = [of(rng.integers(0, n, n)) for _ in range(RESAMPLED)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    # Of the low end, as a rate may be high by luck, and of the highest rate of false positives that goes with
    # so few among the others (Clopper and Pearson). Windows of one person are alike: it is no bound.
    false_positives = int(rate * n_others + 1e-9)
    highest = beta.ppf(0.975, false_positives + 1, n_others - false_positives)
    implied = float(np.log(max(low / highest, 1.0)))
    return {"rate": found, "ci95": [float(low), float(high)], "epsilon_implied": implied}


def _attack_fold(
    real: Windows,
    person: str,
    synthetic_all: Windows,
    synthetic: Windows,
    public: Windows,
    real_view: np.ndarray,
    public_view: np.ndarray,
) -> dict[str, Guesses]:
    """Every attack on the fold that holds a person out, by name."""
    members, others, held_out = real.without(person), real.of(person), real.subjects == person
    return {
        "closest_window": closest_window(members, others, synthetic),
        "density_ratio": density_ratio(members, others, synthetic, public),
        "likelihood_ratio": likelihood_ratio(members, others, synthetic, public),
        "classifier": classifier(real_view[~held_out], real_view[held_out], view(synthetic), public_view),
        "reference_generator": reference_generator(others, members, synthetic_all, synthetic),
    }


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
    *candidates, ours, theirs = _points(members, others, synthetic, public)
    ours, theirs = (KernelDensity(bandwidth="scott").fit(points) for points in (ours, theirs))
    return Guesses(*(ours.score_samples(points) - theirs.score_samples(points) for points in candidates))


def likelihood_ratio(members: Windows, others: Windows, synthetic: Windows, public: Windows) -> Guesses:
    """Takes windows for members that make the synthetic ones about them more likely (Gen-LRA, Ward et al. 2025).

    How likely these are is told by a density of public windows, without and with the window in question; arguments as
    of `density_ratio`.
    """
    *candidates, ours, theirs = _points(members, others, synthetic, public)
    density = KernelDensity(bandwidth="scott").fit(theirs)
    likely, width, n = density.score_samples(ours), density.bandwidth_, len(theirs)

    def gained(points: np.ndarray) -> np.ndarray:
        squares = pairwise_distances(points, ours, "sqeuclidean")
        nearest = np.argsort(squares, axis=1)[:, :NEAREST]
        constant = -0.5 * ours.shape[1] * np.log(2 * np.pi * width**2)
        kernel = constant - np.take_along_axis(squares, nearest, axis=1) / (2 * width**2)
        before = likely[nearest]
        after = logsumexp([before + np.log(n / (n + 1)), kernel - np.log(n + 1)], axis=0)
        return (after - before).sum(axis=1)

    return Guesses(*map(gained, candidates))


def classifier(members: np.ndarray, others: np.ndarray, synthetic: np.ndarray, public: np.ndarray) -> Guesses:
    """Takes windows for members that a classifier takes for synthetic ones rather than for public ones.

    It sees random convolutions and simple features; arguments as of `density_ratio`, by `overlap.view`.
    """
    detector = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(0, 5, 6), class_weight="balanced"))
    detector.fit(np.concatenate([synthetic, public]), np.repeat([1, 0], [len(synthetic), len(public)]))
    return Guesses(*map(detector.decision_function, (members, others)))


def _points(*sources: Windows) -> list[np.ndarray]:
    """Windows as points: simple features along the main axes of the last two sources, COMPONENTS at most."""
    features = [simple_features(windows.values.astype(float)) for windows in sources]
    components = min(COMPONENTS, len(features[-2]) - 1, len(features[-1]) - 1)
    axes = make_pipeline(StandardScaler(), PCA(components, whiten=True, random_state=0))
    axes.fit(np.concatenate(features[-2:]))
    return [axes.transform(each) for each in features]


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
    seen, unseen = (thinned(windows, n) for windows in (seen, unseen))

    def times_closer(windows: Windows) -> np.ndarray:
        closer, farther = (np.maximum(closest_distances(windows, each), ROUNDING) for each in (seen, unseen))
        return farther / closer

    return Guesses(times_closer(person), times_closer(others))


def thinned(windows: Windows, most: int) -> Windows:
    """As many windows at most, evenly spaced."""
    return windows[np.linspace(0, len(windows) - 1, min(len(windows), most)).astype(int)]


def closest_distances(windows: Windows, synthetic: Windows) -> np.ndarray:
    """Returns each window's Euclidean distance to the closest synthetic one, (n_windows,)."""
    flat = (each.values.reshape(len(each), -1).astype(float) for each in (windows, synthetic))
    return pairwise_distances_argmin_min(*flat)[1]


def _auroc(members: np.ndarray, others: np.ndarray) -> float:
    """Probability that one of the members is above one of the others; ties count half."""
    return auroc(np.repeat([1, 0], [len(members), len(others)]), np.concatenate([members, others]))
