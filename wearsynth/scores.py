"""What predictions are worth, in numbers: scores a person, means with intervals over people, paired differences."""

import math
import warnings

import numpy as np
import pandas as pd
from scipy import stats
from sklearn import metrics

from wearsynth.protocols import PROTOCOLS
from wearsynth.windows import Windows

COUNTS = ("true_negatives", "false_positives", "false_negatives", "true_positives")
SCORES = ("accuracy", "f1_stress", "f1_macro", "balanced_accuracy", "auroc", "brier")
THRESHOLD = 0.5  # probability from which a window counts as stress


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Scores predictions, as a rule those of one person.

    Args:
        labels: (n_windows,), 1 stress, 0 not.
        probabilities: (n_windows,), predicted probability of stress.

    Returns:
        SCORES, each between 0 and 1, and COUNTS of windows. Of `brier` alone, the mean squared error of the
        probabilities, less is better.

    Raises:
        ValueError: only one class is there, so that most scores mean nothing.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("windows of one class only: a test takes some of each")
    predicted = probabilities >= THRESHOLD
    counts = metrics.confusion_matrix(labels, predicted).ravel()
    return dict(zip(COUNTS, counts)) | {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "f1_stress": metrics.f1_score(labels, predicted, zero_division=0),
        "f1_macro": metrics.f1_score(labels, predicted, average="macro", zero_division=0),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "auroc": auroc(labels, probabilities),
        "brier": metrics.brier_score_loss(labels, probabilities),
    }


def auroc(labels: np.ndarray, values: np.ndarray) -> float:
    """Area under the ROC curve: how probably a positive lies above a negative; ties count half.

    scikit-learn adds up trapezoids, whose rounding can leave an area of 1.0000000000000002.
    """
    return float(np.clip(metrics.roc_auc_score(labels, values), 0, 1))


def score_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Scores every test in a table of predictions.

    Args:
        predictions: one row a tested window: `detector`, `protocol`, `subject`, `seed`, `label`, `probability`.

    Returns:
        One row a test: `detector`, `protocol`, `subject`, `seed`, COUNTS and SCORES.
    """
    keys = ["detector", "protocol", "subject", "seed"]
    rows = [
        dict(zip(keys, key)) | scores(rows["label"].to_numpy(), rows["probability"].to_numpy())
        for key, rows in predictions.groupby(keys, sort=False)
    ]
    return pd.DataFrame(rows)


def summarize(table: pd.DataFrame) -> dict:
    """Condenses the scores of one detector under one protocol.

    Args:
        table: rows as `score_table` makes them.

    Returns:
        `detector`, `seeds` (how many), `leaky`, `subjects` (each one's scores, mean over seeds), `mean` over people,
        `sd_seeds` (standard deviation over seeds of that mean; none for one seed) and `ci95` (bootstrap interval of the
        mean over people; none for one person).
    """
    by_subject = table.groupby("subject", sort=False)[list(SCORES)].mean()
    by_seed = table.groupby("seed")[list(SCORES)].mean()
    return {
        "detector": table["detector"].iloc[0],
        "seeds": len(by_seed),
        "leaky": PROTOCOLS[table["protocol"].iloc[0]].leaky,
        "subjects": by_subject.to_dict("index"),
        "mean": by_subject.mean().to_dict(),
        "sd_seeds": by_seed.std().to_dict(),
        "ci95": _intervals(by_subject),
    }


def summarize_all(table: pd.DataFrame) -> dict[str, dict[str, dict]]:
    """Condenses a whole table of scores: detector -> protocol -> record as `summarize` makes it."""
    return {
        detector: {protocol: summarize(tests) for protocol, tests in rows.groupby("protocol", sort=False)}
        for detector, rows in table.groupby("detector", sort=False)
    }


def paired_difference(record: dict, other: dict) -> dict:
    """Compares two results person by person, so that how hard a person is cancels out.

    Args:
        record: as `summarize` makes it.
        other: the same on the same people, to be subtracted.

    Returns:
        `mean` over people of each score's difference, and its `ci95`.

    Raises:
        ValueError: the people are not the same.
    """
    if set(record["subjects"]) != set(other["subjects"]):
        raise ValueError(f"people differ: {sorted(record['subjects'])} and {sorted(other['subjects'])}")
    ours, theirs = (pd.DataFrame(each["subjects"]).T for each in (record, other))
    differences = ours - theirs.loc[ours.index]
    return {"mean": differences.mean().to_dict(), "ci95": _intervals(differences)}


def difference(record: dict, other: dict) -> dict:
    """Compares results on different people; arguments and result as of `paired_difference`, the interval by Welch's t.

    Returns:
        See there; no interval where either has one person.
    """
    ours, theirs = (pd.DataFrame(each["subjects"]).T for each in (record, other))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of scores that are the same for all, as 1 often is
        interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    ends = {score: list(pair) for score, *pair in zip(ours, *map(np.ndarray.tolist, interval))}
    known = {score: pair if np.isfinite(pair).all() else None for score, pair in ends.items()}
    return {"mean": (ours.mean() - theirs.mean()).to_dict(), "ci95": known}


def majority(real: Windows, test: Windows, held_out: list[str]) -> dict:
    """Scores the majority-class baseline: always the same probability, the share of stress among the others.

    Args:
        real: everybody's windows for training.
        test: everybody's windows for tests.
        held_out: the people tested on.

    Returns:
        As `summarize`, for the detector 'majority'.
    """
    rows = []
    for person in held_out:
        labels = test.of(person).labels
        rows.append(
            {"subject": person, "seed": 0} | scores(labels, np.full(len(labels), real.without(person).labels.mean()))
        )
    return summarize(pd.DataFrame(rows).assign(detector="majority", protocol="trtr"))


def confusion(table: pd.DataFrame) -> np.ndarray:
    """Counts windows over people and seeds, (2, 2): true label by predicted one, not stress first."""
    return table[list(COUNTS)].sum().to_numpy().reshape(2, 2)


def bootstrap_interval(values: np.ndarray) -> list[float] | None:
    """Returns the 95 % bootstrap interval of the mean of one value a person; none for fewer than two people.

    Plain percentiles cover too seldom with few people: about 89 % with 15 whose scores crowd at 1. So the interval is
    bias corrected and accelerated (BCa), and its level raised as far as Student's t lies beyond the normal distribution
    (as Hesterberg 2015, doi 10.1080/00031305.2015.1089789, does for percentiles). It stays within what people scored.
    """
    n = len(values)
    if n < 2:
        return None
    if n == 2 or np.ptp(values) < 1e-9:  # equal but for rounding
        return [float(values.min()), float(values.max())]
    quantile = stats.t.ppf(0.975, n - 1) * math.sqrt(n / (n - 1))
    result = stats.bootstrap(
        (values,),
        np.mean,
        method="BCa",
        confidence_level=1 - 2 * stats.norm.sf(quantile),
        rng=np.random.default_rng(0),
    )
    return [float(end) for end in result.confidence_interval]


def _intervals(by_subject: pd.DataFrame) -> dict[str, list[float] | None]:
    return {score: bootstrap_interval(by_subject[score].to_numpy()) for score in by_subject}
