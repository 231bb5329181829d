"""What an attacker learns from synthetic windows, in numbers.

The attacker holds windows of a person and the synthetic windows, not the generator, and guesses whether that person's
windows were used for training. Both attacks go by distance: a generator that remembers puts synthetic windows close to
those it was trained on.

An attack that fails proves nothing: generators pass by distance from which better attacks read members ("The DCR
delusion", arXiv 2505.01524). What protects people is the guarantee in `privacy.py`; an attack that succeeds shows harm.
"""

from collections.abc import Callable

import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min

from wearsynth.scores import auroc, bootstrap_interval
from wearsynth.windows import Windows

CHANCE = 0.5
ROUNDING = 1e-4  # distance under which two windows are the same


def membership_attacks(
    real: Windows, synthetic_all: Windows, synthetic_by_fold: dict[str, Windows]
) -> dict[str, dict[str, float | list[float] | int | None]]:
    """Runs both attacks on every fold.

    Args:
        real: windows of everybody.
        synthetic_all: windows of the generator that was trained on everybody.
        synthetic_by_fold: held-out person -> windows of the generator that never saw that person.

    Returns:
        The record `attacks` of metrics.json: for 'closest_window' and for 'reference_generator' a record as
        `attack_over_folds` makes it. Empty if nobody was held out.
    """

    def closest(person: str, synthetic: Windows) -> float:
        return membership_inference(real.without(person), real.of(person), synthetic)

    def reference(person: str, synthetic: Windows) -> float:
        return reference_attack(real.of(person), real.without(person), synthetic_all, synthetic)

    attacks = {"closest_window": closest, "reference_generator": reference}
    return {name: attack_over_folds(attack, synthetic_by_fold) for name, attack in attacks.items() if synthetic_by_fold}


def attack_over_folds(attack: Callable[[str, Windows], float], synthetic_by_fold: dict[str, Windows]) -> dict:
    """Runs one attack on every fold; people differ in how typical they are, so that a single fold says little.

    Args:
        attack: (held-out person, the fold's synthetic windows) -> score.
        synthetic_by_fold: held-out person -> windows of the generator that never saw that person; one or more.

    Returns:
        `score`, the mean over folds; `chance`, what guessing scores; `ci95`, the score's 95 % bootstrap interval over
        folds, None for a single one; `folds`, how many.
    """
    scores = np.array([attack(person, synthetic) for person, synthetic in synthetic_by_fold.items()])
    interval = bootstrap_interval(scores)
    return {"score": float(scores.mean()), "chance": CHANCE, "ci95": interval, "folds": len(scores)}


def membership_inference(members: Windows, non_members: Windows, synthetic: Windows) -> float:
    """Guesses that windows close to a synthetic one are members (GAN-Leaks, Chen et al. 2020, arXiv 1909.03935).

    Args:
        members: windows that the generator was trained on.
        non_members: windows that it never saw.
        synthetic: what it made.

    Returns:
        Area under the ROC curve of members against non-members.
    """
    return _auroc(*(-closest_distances(windows, synthetic) for windows in (members, non_members)))


def reference_attack(person: Windows, others: Windows, synthetic_seen: Windows, synthetic_unseen: Windows) -> float:
    """Guesses whom only one of two generators saw: whose windows are closer to its output than to the other's.

    The second generator says how typical a window is, as the reference does in DOMIAS (arXiv 2302.12580) and in LiRA
    (arXiv 2112.03570). Two trainings differ by luck, too, and one may come closer to everybody: so windows of people
    whom both saw are the measure. The attacker holds more than for `membership_inference`: the second one's windows.

    Args:
        person: windows of one person.
        others: windows of people whom both generators saw.
        synthetic_seen: windows of a generator that saw everybody.
        synthetic_unseen: windows of one that saw the others only.

    Returns:
        Area under the ROC curve of the person's windows against the others', by how many times closer the first is.
    """
    n = min(len(synthetic_seen), len(synthetic_unseen))  # of two sets, the larger one is closer to everything
    seen, unseen = (windows[np.arange(n)] for windows in (synthetic_seen, synthetic_unseen))

    def times_closer(windows: Windows) -> np.ndarray:
        closer, farther = (np.maximum(closest_distances(windows, each), ROUNDING) for each in (seen, unseen))
        return farther / closer

    return _auroc(times_closer(person), times_closer(others))


def closest_distances(windows: Windows, synthetic: Windows) -> np.ndarray:
    """Returns each window's Euclidean distance to the closest synthetic one, (n_windows,)."""
    flat = (each.values.reshape(len(each), -1).astype(float) for each in (windows, synthetic))
    return pairwise_distances_argmin_min(*flat)[1]


def _auroc(higher: np.ndarray, lower: np.ndarray) -> float:
    """Probability that one of `higher` is above one of `lower`; ties count half."""
    return auroc(np.repeat([1, 0], [len(higher), len(lower)]), np.concatenate([higher, lower]))
