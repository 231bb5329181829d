"""What attacks learn at several promises, and of a generator that remembers everything: a table.

    python run.py --recordings DIR --prepare --out RUN
    python -m benchmarks.membership RUN [--shadows 64]

For each promise a generator of everybody, one without each person, and shadow generators of half of the people each are
trained; the one that remembers puts out the very windows that it saw. Writes `results/attacks.csv`, which holds scores
of attacks and nobody's name. Nothing trained here is kept, so that no ledger has it.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd

from wearsynth import attacks, generators, shadows
from wearsynth.overlap import Encoder
from wearsynth.parallel import one_core_each
from wearsynth.privacy import Promise
from wearsynth.runs import EVERYONE, RunFolder
from wearsynth.sessions import draw_people
from wearsynth.windows import Windows

RESULT = Path(__file__).parents[1] / "results" / "attacks.csv"
PROMISES = {
    "no privacy": Promise("window", math.inf, 1e-4),
    "epsilon 1 for a window": Promise("window", 1.0, 1e-4),
    "epsilon 10 for a person": Promise("subject", 10.0, 1e-3),
}
MEMORY = "the very windows"


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder whose windows are prepared")
    parser.add_argument("--shadows", type=int, default=64, help="shadow generators at each promise")
    options = parser.parse_args()
    run = RunFolder(options.run)
    tables = [remembered(run, options.shadows)]
    tables += [promised(run, promise, options.shadows).assign(generator=name) for name, promise in PROMISES.items()]
    table = pd.concat(tables).set_index(["generator", "attack"]).round(3)
    print(table.to_string())
    table.to_csv(RESULT)


def promised(run: RunFolder, promise: Promise, n_shadows: int) -> pd.DataFrame:
    """Attacks the generators that are trained under a promise; a row an attack, as `rows`."""
    real, training, public = (run.windows(what) for what in ("real", "training", "public"))
    plans = [
        generators.plan(promise, "steered", run.prior(), n_units)
        for n_units in (training.n_units(promise.unit), training.n_units(promise.unit) // 2)
    ]
    names = [EVERYONE, *real.people]
    arguments = ((run, training.without(name), plans[0], number) for number, name in enumerate(names))
    synthetic = dict(zip(names, one_core_each(drawn, arguments, len(names), "generator")))
    schedule = run.study.read_schedule(run.study.schedule)
    encoder = Encoder(public)
    close, saw = shadows.train_shadows(real, training, encoder, plans[1], schedule, run.cut, n_shadows, seed=0)
    return rows(real, synthetic.pop(EVERYONE), synthetic, public, encoder, close, saw)


def drawn(run: RunFolder, training: Windows, planned: generators.Plan, seed: int) -> Windows:
    """Windows of synthetic people of a generator, which is trained here."""
    generator = generators.train(training, planned, seed, name=None)
    return run.cut(draw_people(generator, 15, run.study.read_schedule(run.study.schedule), seed))


def remembered(run: RunFolder, n_shadows: int) -> pd.DataFrame:
    """Attacks what puts out the windows that it saw: what does not find these is no attack."""
    real, public = run.windows("real"), run.windows("public")
    people, rng = np.array(real.people), np.random.default_rng(0)
    saw = np.array([rng.permutation(len(people)) < len(people) // 2 for _ in range(n_shadows)])
    seen = [real[np.isin(real.subjects, people[each])] for each in saw]
    encoder = Encoder(public)
    measured = shadows.measures(real, encoder)
    close = {name: np.transpose([measure(each) for each in seen]) for name, measure in measured.items()}
    table = rows(real, real, {name: real.without(name) for name in people}, public, encoder, close, saw.T)
    return table.assign(generator=MEMORY)


def rows(
    real: Windows,
    everyone: Windows,
    by_fold: dict[str, Windows],
    public: Windows,
    encoder: Encoder,
    close: dict[str, np.ndarray],
    saw: np.ndarray,
) -> pd.DataFrame:
    """Runs every attack; a row each: `score`, its interval `low` and `high`, and what is found at 1 % and at 0.1 %."""
    records = attacks.attacks_on_windows(real, everyone, by_fold, public)
    records |= shadows.attacks_on_people(real, by_fold, encoder) | shadows.attacks_by_shadows(close, saw)
    table = []
    for name, record in records.items():
        low, high = record["ci95"]
        found = {  # empty where there are too few people to tell
            f"found_at_{rate}": record["true_positive_rates"][str(rate)]["rate"] for rate in attacks.FALSE_POSITIVES
        }
        implied = max(each["epsilon_implied"] for each in record["true_positive_rates"].values())
        table.append({"attack": name, "score": record["score"], "low": low, "high": high} | found)
        table[-1]["epsilon_implied"] = implied
    return pd.DataFrame(table)


if __name__ == "__main__":
    main()
