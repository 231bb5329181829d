"""What an attacker learns from synthetic windows, in numbers.

The attacker holds somebody's recording and the synthetic windows, knows neither the generator's weights nor who was
recorded, and guesses whether the recording was used for training. Both attacks go by distance: a generator that remembers
puts synthetic windows close to those it was trained on.

An attack that fails proves nothing: distances pass generators from which better attacks read members ("The DCR delusion",
arXiv 2505.01524). What protects a person is the guarantee in `privacy.py`; an attack that succeeds shows it broken.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import bootstrap
from sklearn.metrics import pairwise_distances_argmin_min, roc_auc_score

from wearsynth.windows import Windows

CHANCE = 0.5


def membership_attacks(
    real: Windows, synthetic_all: Windows, synthetic_by_fold: dict[str, Windows]
) -> dict[str, dict[str, float | list[float] | int | None]]:
    """Runs both attacks on every fold.

    Args:
        real: windows of everybody.
        synthetic_all: windows of the generator that was trained on everybody.
        synthetic_by_fold: held-out person -> windows of the generator that never saw that person; may be empty.

    Returns:
        The record `attacks` of metrics.json: one record an attack, `score`, `chance`, `ci95` and `folds`.
    """

    def reference(person: str, synthetic: Windows) -> float:
        return reference_attack(real.of(person), synthetic_all, synthetic)

    def closest(person: str, synthetic: Windows) -> float:
        return membership_inference(real.without(person), real.of(person), synthetic)

    attacks = {"closest_window": closest, "reference_generator": reference}
    return {name: attack_over_folds(attack, synthetic_by_fold) for name, attack in attacks.items()}


def attack_over_folds(attack: Callable[[str, Windows], float], synthetic_by_fold: dict[str, Windows]) -> dict:
    """Runs one attack on every fold; people differ in how typical they are, so that a single fold says little.

    Args:
        attack: (held-out person, the fold's synthetic windows) -> score.
        synthetic_by_fold: held-out person -> windows of the generator that never saw that person.

    Returns:
        `score` (mean over folds; None without any), `chance`, `ci95` (bootstrap over folds; None below two), `folds`.
    """
    scores = np.array([attack(person, synthetic) for person, synthetic in synthetic_by_fold.items()])
    return {
        "score": float(scores.mean()) if len(scores) else None,
        "chance": CHANCE,
        "ci95": _interval(scores) if len(scores) > 1 else None,
        "folds": len(scores),
    }


def membership_inference(members: Windows, non_members: Windows, synthetic: Windows) -> float:
    """Black-box attack of GAN-Leaks (Chen et al. 2020, arXiv 1909.03935): what lies close to a synthetic window is a member.

    Args:
        members: windows that the generator was trained on.
        non_members: windows that it never saw.
        synthetic: what it made.

    Returns:
        Area under the ROC curve of members against non-members.
    """
    distances = np.concatenate([closest_distances(windows, synthetic) for windows in (members, non_members)])
    return float(roc_auc_score(np.arange(len(distances)) < len(members), -distances))


def reference_attack(person: Windows, synthetic_seen: Windows, synthetic_unseen: Windows) -> float:
    """Asks which of two generators saw a person: the one with the closer synthetic window.

    The second generator's distance stands for how typical a window is, as the reference model does in DOMIAS
    (arXiv 2302.12580) and LiRA (arXiv 2112.03570). The attacker thus knows one thing more than for `membership_inference`:
    synthetic windows of a generator that is the same but for this person.

    Args:
        person: windows of one person.
        synthetic_seen: windows of a generator that was trained on this person, too.
        synthetic_unseen: windows of one that was not.

    Returns:
        Share of the person's windows that lie closer to `synthetic_seen`; ties count half.
    """
    n = min(len(synthetic_seen), len(synthetic_unseen))  # of two sets, the larger one is closer to everything
    seen, unseen = (closest_distances(person, windows[np.arange(n)]) for windows in (synthetic_seen, synthetic_unseen))
    return float(np.mean((seen < unseen) + 0.5 * (seen == unseen)))


def closest_distances(windows: Windows, synthetic: Windows) -> np.ndarray:
    """Returns each window's Euclidean distance to the closest synthetic one, (n_windows,)."""
    flat = (each.values.reshape(len(each), -1).astype(float) for each in (windows, synthetic))
    return pairwise_distances_argmin_min(*flat)[1]


def _interval(scores: np.ndarray) -> list[float]:
    """95 % interval of the mean, by bootstrap over folds."""
    interval = bootstrap((scores,), np.mean, method="percentile", random_state=0).confidence_interval
    return [float(interval.low), float(interval.high)]
