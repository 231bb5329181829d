"""What `attack_peers.py` runs in the peers' environment: attacks on each set of a folder, into `found.csv` there."""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"  # of tsgm's, of which nothing here takes any

import numpy as np
import pandas as pd
import tsgm
from anonymeter.evaluators import InferenceEvaluator, LinkabilityEvaluator, SinglingOutEvaluator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import OneClassSVM

ATTACKS, MOST_ATTEMPTS = 200, 20_000


def one_class(windows: dict[str, np.ndarray]) -> list[float]:
    """tsgm's attack: shares of members and of others that lie within the class which a support vector machine makes of
    synthetic windows; half of these do."""
    data = (tsgm.dataset.Dataset(windows[name], y=None) for name in ("members", "synthetic", "others"))
    attacker = make_pipeline(FunctionTransformer(lambda values: np.reshape(values, (len(values), -1))), OneClassSVM())

    def shares(guessed: np.ndarray, true: list[int]) -> np.ndarray:
        return np.array([np.mean(guessed[np.equal(true, which)] == 1) for which in (1, -1)])

    missed = tsgm.metrics.PrivacyMembershipInferenceMetric(attacker, shares)(*data)  # 1 less what it is
    return [float(1 - share) for share in missed]


def attacks(members: pd.DataFrame, others: pd.DataFrame, synthetic: pd.DataFrame):
    """Name -> evaluator, each with its settings."""
    signals = [name for name in members if name != "stress"]
    slow = [name for name in signals if name.startswith(("EDA", "TEMP", "HR"))]
    quick = [name for name in signals if name not in slow]
    n = min(ATTACKS, len(members), len(others))
    data = {"ori": members, "syn": synthetic, "control": others, "n_attacks": n}
    heart = [name for name in signals if not name.startswith("HR")]
    yield (
        "singling out",
        SinglingOutEvaluator(**data, n_cols=4, max_attempts=MOST_ATTEMPTS, seed=0),
        {"mode": "multivariate"},
    )
    yield "linkability", LinkabilityEvaluator(**data, aux_cols=(slow, quick)), {"n_jobs": 1}
    yield "inference of stress", InferenceEvaluator(**data, aux_cols=signals, secret="stress"), {"n_jobs": 1}
    yield (
        "inference of heart rate",
        InferenceEvaluator(**data, aux_cols=heart, secret="HR_mean", regression=True),
        {"n_jobs": 1},
    )


def main() -> None:
    """Runs the command line: a folder of generators, halves and their tables."""
    folder, rows = Path(sys.argv[1]), []
    for half in sorted(folder.glob("*/*/")):
        np.random.seed(0)  # noqa: NPY002, which is where Anonymeter draws from
        sets = [pd.read_csv(half / f"{name}.csv") for name in ("members", "others", "synthetic")]
        for name, evaluator, settings in attacks(*sets):
            found = evaluator.evaluate(**settings).results()
            rates = (found.attack_rate.value, found.control_rate.value, found.baseline_rate.value)
            rows.append((half.parent.name, name, *rates))
        with np.load(half / "windows.npz") as windows:
            rows.append((half.parent.name, "one class (tsgm)", *one_class(dict(windows)), 0.5))
        print(f"{half.parent.name}, half {half.name}", flush=True)
    columns = ["generator", "attack", "members", "others", "guessing"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "found.csv", index=False)


if __name__ == "__main__":
    main()
