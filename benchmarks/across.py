"""Detectors across studies: learned from one study's people, real or synthetic, tested on the real ones of another.

    python run.py --recordings DIR --prepare --out RUN
    python -m benchmarks.across RUN

RUN has a study's table, say WESAD's. The other study is half of Stress-Predict's people; the other half are the prior
of both, so that nobody who is tested has a part in it. Generators keep epsilon 1 for a window. Within a study, people
are tested by what never saw them. By each scaling of windows, as what a detector must know of a person differs. Writes
`results/across.csv`: means over the people tested, with 95 % intervals. Nothing trained here is kept, so that no ledger
has it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from wearsynth import detector, generators
from wearsynth.codecs import DescriptorCodec, make_prior
from wearsynth.parallel import one_core_each
from wearsynth.parameters import defaults
from wearsynth.privacy import Promise
from wearsynth.public import STRESS_PREDICT, Cohort, find_cohort, halves
from wearsynth.runs import EVERYONE, RunFolder
from wearsynth.scores import bootstrap_interval, scores
from wearsynth.sessions import draw_people
from wearsynth.studies import Study, read_study
from wearsynth.tables import load_table
from wearsynth.windows import SCALINGS, Windows, make_windows

RESULT = Path(__file__).parents[1] / "results" / "across.csv"
PROMISE = Promise("window", 1.0, 1e-4)
DETECTORS = ("cnn", "logistic_regression")
SHOWN = ("accuracy", "f1_stress", "auroc")


class Side(NamedTuple):
    """One of the two studies: its name, 1 Hz table and study file."""

    name: str
    table: pd.DataFrame
    study: Study

    @property
    def names(self) -> list[str]:
        """What to learn from: everyone, and everyone but each person."""
        return [EVERYONE, *self.table["subject"].unique()]


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder that is prepared")
    run = RunFolder(parser.parse_args().run)
    other, cohort = half_of_stress_predict()
    table = compare([Side(run.study.name, load_table(run.table), run.study), other], cohort)
    print(table.round(3).to_string(index=False))
    table.round(5).to_csv(RESULT, index=False)


def half_of_stress_predict() -> tuple[Side, Cohort]:
    """Half of the public people as a study, and the other half, from whom the simulation's numbers come, as a prior."""
    tested = halves()[1]
    without = tuple(tested["subject"].unique())
    cohort = Cohort("half", find_cohort("public").sentence, (STRESS_PREDICT,), without)
    return Side("Stress-Predict", tested, read_study("stress_predict")), cohort


def compare(sides: list[Side], cohort: Cohort) -> pd.DataFrame:
    """Learns from each study, real and synthetic people, and tests on each; a row a result."""
    rows = []
    for side in sides:
        prior = make_prior(cohort, "extended", 60, side.study)
        arguments = ((side, prior, name, number) for number, name in enumerate(side.names))
        people = dict(zip(side.names, one_core_each(drawn, arguments, len(side.names), "generator")))
        for scaling in SCALINGS:
            real = cut(side.table, scaling, 30)
            learned = {
                "real": {name: real.without(name) for name in side.names},
                "synthetic": {name: cut(table, scaling, 30) for name, table in people.items()},
            }
            for other in sides:
                test = cut(other.table, scaling, 60)
                tests = [(*pair, kind) for kind in learned for pair in pairs(learned[kind], test, other is side)]
                jobs = [(name, *each) for name in DETECTORS for each in tests]
                found = pd.concat(one_core_each(tested, jobs, len(jobs), "detector"))
                about = {"learned_from": side.name, "tested_on": other.name, "scaling": scaling}
                rows += [about | row for row in condensed(found)]
    return pd.DataFrame(rows)


def drawn(side: Side, prior: DescriptorCodec, name: str, seed: int) -> pd.DataFrame:
    """The table of 15 synthetic people of a generator that is trained here, without somebody."""
    training = cut(side.table, "public", 30).without(name)
    planned = generators.plan(PROMISE, "steered", prior, training.n_units(PROMISE.unit))
    generator = generators.train(training, planned, seed, name=None)
    return draw_people(generator, 15, side.study.read_schedule(side.study.schedule), seed)


def cut(table: pd.DataFrame, scaling: str, hop: int) -> Windows:
    """Windows of a minute."""
    return make_windows(table, "extended", scaling, 60, hop)


def pairs(learned: dict[str, Windows], test: Windows, same_study: bool) -> Iterator[tuple[Windows, Windows]]:
    """What to learn from, and whom to test: within a study, each person by what never saw them."""
    if not same_study:
        yield learned[EVERYONE], test
        return
    for person in test.people:
        yield learned[person], test.of(person)


def tested(name: str, windows: Windows, test: Windows, kind: str) -> pd.DataFrame:
    """Trains a detector and scores it on each person, a row each."""
    trained = detector.train(name, windows, seed=0, epochs=defaults()["detector_epochs"])
    people = ((person, test.of(person)) for person in test.people)
    rows = [scores(own.labels, trained.probabilities(own.values)) | {"subject": person} for person, own in people]
    return pd.DataFrame(rows).assign(detector=name, people=kind)


def condensed(found: pd.DataFrame) -> Iterator[dict]:
    """Means over people with their intervals: a row a detector and kind of people learned from."""
    for (name, kind), rows in found.groupby(["detector", "people"], sort=False):
        row = {"people": kind, "detector": name, "tested": len(rows)}
        for score in SHOWN:
            low, high = bootstrap_interval(rows[score].to_numpy())
            row |= {score: rows[score].mean(), f"{score}_low": low, f"{score}_high": high}
        yield row


if __name__ == "__main__":
    main()
