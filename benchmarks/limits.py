"""What limits a budget: how well stress is found in people unlike those whom generators begin with.

    python -m benchmarks.limits

Generators begin with simulated people and learn what real ones are like. Here the real ones are simulated, too, from
populations that were altered, each in its own way, until they were about as far off as WESAD's S2 to S6. Unlike those,
there are enough of them to see the whole course from nothing learned to all of it. Writes limits.csv and limits.png.
"""

import math
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from wearsynth.cgan import Generator
from wearsynth.codecs import Codec, SimulatedPeople, choose_codec, moments_of
from wearsynth.detector import train
from wearsynth.parallel import one_core_each
from wearsynth.privacy import Promise
from wearsynth.releases import Moments, release
from wearsynth.scores import scores
from wearsynth.simulation import POPULATION, simulate_table
from wearsynth.windows import Windows, make_windows

RESULT = Path(__file__).parent / "limits.csv"
N_POPULATIONS = 10
SIZE = 1.5  # of their alteration
COHORT = 5000  # seed of the first one's people
N_PEOPLE, N_LEARNED_FROM = 24, 14  # the others are tested; 14 learn when one of WESAD's 15 is left out
N_WINDOWS, EPOCHS = 1000, 40
PROMISES = [
    *(Promise("window", epsilon, 1e-4, release_share=1.0) for epsilon in (10, 1, 0.1)),
    *(Promise("subject", epsilon, 1e-3, release_share=1.0) for epsilon in (10, 3, 1)),
]
GENERATORS = {  # colour, mark and what is released
    "released": ("#0173B2", "o", "descriptors, from simulated people on (released)"),
    "levels": ("#DE8F05", "s", "levels, from nothing on (levels)"),
}
LINES = {
    "real": ("#4D4D4D", "-", "real windows"),
    "not private": ("#0173B2", "--", "descriptors, without noise"),
    "means": ("#029E73", "-.", "means without noise, all else of simulated people"),
    "simulated": ("#CC78BC", ":", "simulated people alone"),
}


def main() -> None:
    """Measures, prints and writes limits.csv and limits.png."""
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"  # what is timed takes all cores; this takes one in each process
    people = SimulatedPeople.simulate("extended", "subject", 60, 30)
    arguments = ((number, people) for number in range(N_POPULATIONS))
    tables = one_core_each(measure, arguments, N_POPULATIONS, "population")
    table = pd.DataFrame([row for rows in tables for row in rows])
    kinds = table.groupby(["trained_on", "unit", "epsilon"], sort=False)
    summary = kinds[["accuracy", "f1_stress", "auroc"]].agg(["mean", "sem"])
    summary.columns = ["_".join(column) for column in summary.columns]
    summary = summary.assign(noise=kinds["noise"].mean()).round(4).reset_index()
    summary.to_csv(RESULT, index=False)
    draw(summary).savefig(RESULT.with_suffix(".png"), dpi=120)
    print(summary.to_string(index=False))


def measure(number: int, people: SimulatedPeople) -> list[dict]:
    """Trains a detector on each kind of windows, and tests it on people of the population who gave nothing.

    Returns:
        A row a kind: `trained_on`, `unit` and `epsilon` of the promise, `noise` in clip norms over the number of units,
        and scores, means over people.
    """
    real, test = population(number)
    means, _ = moments_of(people.encode(real.values), real.labels)
    plain = Promise(epsilon=math.inf)
    kinds = {
        ("real", "", math.inf, 0.0): real,
        ("not private", "", math.inf, 0.0): draw_windows(people, release(real, people, plain), number),
        ("means", "", math.inf, 0.0): draw_windows(people, Moments(means, people.covariances), number),
        ("simulated", "", 0.0, math.inf): draw_windows(people, Moments(people.means, people.covariances), number),
    }
    for generator in GENERATORS:
        for promise in PROMISES:
            rng = np.random.default_rng(number)  # what protects nobody is repeated more easily
            noise = promise.release_noise(real.n_units(promise.unit))
            codec = choose_codec(generator, people).for_noise(noise)
            key = (generator, promise.unit, promise.epsilon, noise)
            kinds[key] = draw_windows(codec, release(real, codec, promise, rng), number)
    names = ("trained_on", "unit", "epsilon", "noise")
    return [dict(zip(names, key)) | tested(windows, test, number) for key, windows in kinds.items()]


def population(number: int) -> tuple[Windows, Windows]:
    """Windows of the people who are learned from, and of those who are tested, of an altered population."""
    altered = POPULATION.altered(SIZE, np.random.default_rng(number))
    table = simulate_table(N_PEOPLE, COHORT + number, altered)
    learned_from = table["subject"].isin(table["subject"].unique()[:N_LEARNED_FROM])
    real = make_windows(table[learned_from], "extended", "subject", 60, 30)
    return real, make_windows(table[~learned_from], "extended", "subject", 60, 60)


def draw_windows(codec: Codec, moments: Moments, seed: int) -> Windows:
    """Windows of these moments; no discriminator has a part in them."""
    return Generator(codec, moments, None).sample(N_WINDOWS, seed)


def tested(windows: Windows, test: Windows, seed: int) -> dict[str, float]:
    """Scores of a CNN trained on these windows, means over the people tested."""
    detector = train("cnn", windows, seed, EPOCHS)
    of_person = [test.of(person) for person in np.unique(test.subjects)]
    rows = [scores(own.labels, detector.stress_probability(own.values)) for own in of_person]
    return pd.DataFrame(rows)[["accuracy", "f1_stress", "auroc"]].mean().to_dict()


def draw(summary: pd.DataFrame) -> Figure:
    """Accuracy against the noise of the release; lines for what does not depend on it."""
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, (colour, style, label) in LINES.items():
        row = summary[summary["trained_on"] == name].iloc[0]
        ax.axhline(row["accuracy_mean"], color=colour, linestyle=style, label=label)
    for name, (colour, marker, label) in GENERATORS.items():
        rows = summary[summary["trained_on"] == name].sort_values("noise")
        bars = 1.96 * rows["accuracy_sem"]
        ax.errorbar(rows["noise"], rows["accuracy_mean"], bars, color=colour, marker=marker, capsize=2, label=label)
    ax.set(xscale="log", xlabel="noise of the release, in clip norms, over the number of units")
    ax.set(ylabel="accuracy: mean over populations, 95 % interval")
    budgets = summary[summary["trained_on"] == "released"]
    names = budgets["unit"] + budgets["epsilon"].map(" {:g}".format)
    top = ax.secondary_xaxis("top")
    top.set_xticks(budgets["noise"], names, rotation=75, ha="left", fontsize="small")
    top.xaxis.set_minor_locator(NullLocator())
    figure.suptitle(f"What a CNN is trained on, tested on unseen people of {N_POPULATIONS} altered populations")
    ax.spines["right"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    plt.close(figure)
    return figure


if __name__ == "__main__":
    main()
