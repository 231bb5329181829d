"""What turning the acceleration as a vector adds, and what it adds that public watches are there both ways round.

    python run.py --recordings DIR --prepare --out RUN
    python -m benchmarks.turning RUN

Synthetic people of the same released moments, made of the same public people in three ways, against the real people of
RUN: by each two-sample test, and as what logistic regression learns from for people left out. Writes
`results/turning.csv`. Nothing trained here is kept, so that no ledger has it.
"""

import argparse
import math
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from benchmarks.across import cut, tested
from wearsynth import sessions
from wearsynth.codecs import DescriptorCodec, make_prior
from wearsynth.donors import Donors
from wearsynth.generators import fit
from wearsynth.parallel import one_core_each
from wearsynth.privacy import Promise
from wearsynth.public import find_cohort
from wearsynth.runs import EVERYONE, RunFolder
from wearsynth.studies import Study
from wearsynth.tables import load_table
from wearsynth.two_sample import TESTS, two_sample_auroc
from wearsynth.windows import Windows

RESULT = Path(__file__).parents[1] / "results" / "turning.csv"
PROMISES = (Promise(epsilon=math.inf), Promise("window", 1.0, 1e-4), Promise("subject", 10.0, 1e-3))
METHOD, ONE_WAY, AS_WORN = "turned, both ways round", "turned, one way round", "as worn"
SEEDS = range(3)


class OneWayRound(Donors):
    """Minutes without the watch turned by half a turn."""

    turns = 1


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder that is prepared")
    run = RunFolder(parser.parse_args().run)
    table = compare(load_table(run.table), run.study)
    print(table.round(3).to_string(index=False))
    table.round(4).to_csv(RESULT, index=False)


def compare(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """A row a promise and way: the two-sample tests, the worst of them, and scores of logistic regression."""
    prior = make_prior(find_cohort("public"), "extended", 60, study)
    jobs = [(promise, way, seed) for promise in PROMISES for way in (METHOD, ONE_WAY, AS_WORN) for seed in SEEDS]
    arguments = ((table, study, prior, *job) for job in jobs)
    rows = pd.DataFrame(list(one_core_each(measure, arguments, len(jobs), "way")))
    return rows.groupby(["unit", "epsilon", "way"], sort=False, as_index=False).mean().drop(columns="seed")


def one_way_round(prior: DescriptorCodec) -> DescriptorCodec:
    """The same prior, whose minutes' watches are there as they were worn alone."""
    minutes = {field.name: getattr(prior.donors, field.name) for field in fields(Donors)}
    return replace(prior, donors=OneWayRound(**minutes))


def measure(
    table: pd.DataFrame, study: Study, prior: DescriptorCodec, promise: Promise, way: str, seed: int
) -> dict[str, str | float]:
    """Makes synthetic people in one way, and measures what they are worth: a row."""
    training, test = cut(table, "public", 30), cut(table, "subject", 60)
    prior = prior if way == METHOD else one_way_round(prior)  # once, as its minutes are described and indexed anew
    people = {
        name: drawn(training.without(name), study, prior, promise, way == AS_WORN, seed)
        for name in (EVERYONE, *test.people)
    }
    found = {name: two_sample_auroc(test, cut(people[EVERYONE], "subject", 60), seed, name) for name in TESTS}
    scores = [
        tested("logistic_regression", cut(people[name], "subject", 30), test.of(name), "synthetic")
        for name in test.people
    ]
    about = {"unit": promise.unit if promise.private else "none", "epsilon": promise.epsilon, "way": way, "seed": seed}
    return about | found | {"worst": max(found.values())} | pd.concat(scores)[["f1_stress", "auroc"]].mean().to_dict()


def drawn(
    training: Windows, study: Study, prior: DescriptorCodec, promise: Promise, as_worn: bool, seed: int
) -> pd.DataFrame:
    """The table of 15 synthetic people; what is learned of real people is the same, whichever way they are made."""
    # Windows and noise of one seed, so that ways differ by nothing else; it protects nobody.
    generator = fit(training, promise, "released", prior, seed=seed, noise_seed=seed, name=None)
    with patch.object(sessions, "rotations", _none) if as_worn else nullcontext():
        return sessions.draw_people(generator, 15, study.read_schedule(study.schedule), seed)


def _none(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """In the place of `donors.rotations`: turns nothing."""
    return np.broadcast_to(np.eye(3), (len(start), 3, 3))


if __name__ == "__main__":
    main()
