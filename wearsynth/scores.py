"""What predictions are worth, in numbers: scores a person, means with intervals over people, paired differences."""

import math
import warnings

import numpy as np
import pandas as pd
from scipy import stats
from sklearn import metrics

from wearsynth.protocols import PROBABILITIES, PROTOCOLS
from wearsynth.windows import Windows, indicators

SCORES = ("accuracy", "f1_stress", "f1_macro", "balanced_accuracy", "auroc", "brier")
BINS = 10  # of probabilities, of equal width, by which calibration goes
THRESHOLD = 0.5  # probability from which a window counts as stress, where there are two classes


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Scores predictions, as a rule those of one person.

    Args:
        labels: (n_windows,), 1 stress, 0 not, 2 a third class.
        probabilities: (n_windows, n_classes - 1), predicted probabilities of all classes but 0.

    Returns:
        SCORES, each between 0 and 1. `f1_stress` is that of class 1. Of three classes, `auroc` is the mean of each
        against the others. Of `brier` alone, half of the squared error of all classes' probabilities, less is better:
        of two classes, the mean squared error of one's.

    Raises:
        ValueError: a class is not there, so that most scores mean nothing.
    """
    of_all = _of_all_classes(probabilities)
    classes = np.arange(of_all.shape[1])
    if not np.isin(classes, labels).all():
        raise ValueError("no window of one class: a test takes some of each")
    predicted, true = predicted_classes(probabilities), labels[:, None] == classes
    against_others = [1] if len(classes) == 2 else classes
    return {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "f1_stress": metrics.f1_score(true[:, 1], predicted == 1, zero_division=0),
        "f1_macro": metrics.f1_score(labels, predicted, average="macro", zero_division=0),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "auroc": float(np.mean([auroc(true[:, label], of_all[:, label]) for label in against_others])),
        "brier": float(np.mean(np.sum((of_all - true) ** 2, axis=1)) / 2),
    }


def predicted_classes(probabilities: np.ndarray) -> np.ndarray:
    """The likeliest class of each window, (n,); of two that are alike, class 1. Probabilities as of `scores`."""
    order = np.r_[1, 0, 2 : 1 + probabilities.shape[1]]
    return order[_of_all_classes(probabilities)[:, order].argmax(axis=1)]


def _of_all_classes(probabilities: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - probabilities.sum(axis=1), probabilities])


def probabilities_of(predictions: pd.DataFrame) -> np.ndarray:
    """Probabilities (n_windows, n_classes - 1) in a table of predictions."""
    return predictions[[name for name in PROBABILITIES if name in predictions]].to_numpy()


def auroc(labels: np.ndarray, values: np.ndarray) -> float:
    """Area under the ROC curve: how probably a positive lies above a negative; ties count half.

    scikit-learn adds up trapezoids, whose rounding can leave an area of 1.0000000000000002.
    """
    return float(np.clip(metrics.roc_auc_score(labels, values), 0, 1))


def calibration(rows: pd.DataFrame) -> pd.DataFrame:
    """Bins predictions by the probability of class 1: what was said, and how often it came true.

    Args:
        rows: of a table of predictions, of any people and seeds together: those of one person are too few.

    Returns:
        A row for each of BINS bins that is not empty: `said`, the mean probability, `true`, the share of class 1, and
        `windows`, how many there are.
    """
    bins = np.digitize(rows["probability"], np.linspace(0, 1, BINS + 1)[1:-1])
    binned = rows.assign(true=rows["label"] == 1).groupby(bins)
    return binned.agg(said=("probability", "mean"), true=("true", "mean"), windows=("true", "size"))


def calibration_error(rows: pd.DataFrame) -> float:
    """Expected calibration error (Naeini et al. 2015, doi 10.1609/aaai.v29i1.9602): how far what was said is from what
    came true, on average over windows; `rows` as of `calibration`."""
    table = calibration(rows)
    return float(np.average((table["said"] - table["true"]).abs(), weights=table["windows"]))


def calibration_errors(predictions: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Detector -> protocol -> `calibration_error`, of a table of predictions."""
    return {
        detector: {protocol: calibration_error(rows) for protocol, rows in own.groupby("protocol", sort=False)}
        for detector, own in predictions.groupby("detector", sort=False)
    }


def score_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Scores every test in a table of predictions.

    Args:
        predictions: one row a tested window, as `protocols.cross_validate` makes them.

    Returns:
        One row a test: `detector`, `protocol`, `subject`, `seed` and SCORES.
    """
    keys = ["detector", "protocol", "subject", "seed"]
    rows = [
        dict(zip(keys, key)) | scores(rows["label"].to_numpy(), probabilities_of(rows))
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
    """Scores the majority-class baseline: always the same probabilities, the classes' shares among the others.

    Args:
        real: everybody's windows for training.
        test: everybody's windows for tests.
        held_out: the people tested on.

    Returns:
        As `summarize`, for the detector 'majority'.
    """
    rows = []
    for person in held_out:
        labels, others = test.of(person).labels, real.without(person).labels
        shares = indicators(others, len(real.classes)).mean(axis=0, dtype=float)
        rows.append({"subject": person, "seed": 0} | scores(labels, np.tile(shares, (len(labels), 1))))
    return summarize(pd.DataFrame(rows).assign(detector="majority", protocol="trtr"))


def confusion(predictions: pd.DataFrame) -> np.ndarray:
    """Counts windows over people and seeds, (n_classes, n_classes): true label by predicted one, class 0 first."""
    return metrics.confusion_matrix(predictions["label"], predicted_classes(probabilities_of(predictions)))


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


def intervals_at_once(records: dict[str, dict]) -> dict[str, list[float]]:
    """Widens 95 % intervals until all of them hold at once (Bonferroni), as of many scores one is far off by luck.

    Args:
        records: name -> with `score`, from 0 to 1, and `ci95`; those without an interval are left out.

    Returns:
        name -> [low, high].
    """
    known = {name: record for name, record in records.items() if record["ci95"] is not None}
    wider = stats.norm.ppf(1 - 0.025 / max(len(known), 1)) / stats.norm.ppf(0.975)
    return {
        name: [float(np.clip(record["score"] + wider * (end - record["score"]), 0, 1)) for end in record["ci95"]]
        for name, record in known.items()
    }


def _intervals(by_subject: pd.DataFrame) -> dict[str, list[float] | None]:
    return {score: bootstrap_interval(by_subject[score].to_numpy()) for score in by_subject}
