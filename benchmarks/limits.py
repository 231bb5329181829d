"""What limits a budget: how well stress is found in people unlike those of the prior.

    python -m benchmarks.limits

The prior of generators comes from simulated people. Here the real ones are simulated, too, from
populations that were altered, each in its own way, until they were about as far off as WESAD's S2 to S6. Unlike those,
there are enough of them to see the whole course from nothing learned to all of it. Writes limits.csv and limits.png.
The committed ones are of an earlier simulation, whose sizes were all chosen by hand.
"""

import math
import os
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from wearsynth.codecs import DescriptorCodec, make_prior, moments_of
from wearsynth.detector import train
from wearsynth.generators import Generator, fit, plan
from wearsynth.parallel import one_core_each
from wearsynth.privacy import Promise
from wearsynth.public import find_cohort
from wearsynth.releases import Moments
from wearsynth.scores import scores
from wearsynth.sessions import draw_people
from wearsynth.simulation import POPULATION, Phase, Population, simulate_table
from wearsynth.windows import Windows, make_windows

RESULT = Path(__file__).parent / "limits.csv"
N_POPULATIONS = 10
SIZE = 1.5  # of their alteration
COHORT = 5000  # seed of the first one's people
N_PEOPLE, N_LEARNED_FROM = 24, 14  # the others are tested; 14 learn when one of WESAD's 15 is left out
N_SYNTHETIC, EPOCHS = 15, 40
SCHEDULE = {"baseline": 1200, "stress": 600, "amusement": 390}
PROMISES = [
    *(Promise("window", epsilon, 1e-4) for epsilon in (10, 1, 0.1)),
    *(Promise("subject", epsilon, 1e-3) for epsilon in (10, 3, 1)),
]
# Traits that would be none at all if they were 0; the other ones may have either sign, or are far from it.
POSITIVE_TRAITS = ("breathing_rate", "scr_rate", "scr_rate_response", "respiratory_variability", "heart_rate_response")
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
    prior = make_prior(find_cohort("simulated"), "extended", 60)
    arguments = ((number, prior) for number in range(N_POPULATIONS))
    tables = one_core_each(measure, arguments, N_POPULATIONS, "population")
    table = pd.DataFrame([row for rows in tables for row in rows])
    kinds = table.groupby(["trained_on", "unit", "epsilon"], sort=False)
    summary = kinds[["accuracy", "f1_stress", "auroc"]].agg(["mean", "sem"])
    summary.columns = ["_".join(column) for column in summary.columns]
    summary = summary.assign(noise=kinds["noise"].mean()).round(4).reset_index()
    summary.to_csv(RESULT, index=False)
    draw(summary).savefig(RESULT.with_suffix(".png"), dpi=120)
    print(summary.to_string(index=False))


def measure(number: int, prior: DescriptorCodec) -> list[dict]:
    """Trains a detector on each kind of windows, and tests it on people of the population who gave nothing.

    Returns:
        A row a kind: `trained_on`, `unit` and `epsilon` of the promise, `noise` in clip norms over the number of units,
        and scores, means over people.
    """
    training, real, test = population(number)
    means, _ = moments_of(prior.encode(training.values), training.labels, (0, 1))
    drawn = {
        ("not private", "", math.inf, 0.0): fit(training, Promise(epsilon=math.inf), "released", prior),
        ("means", "", math.inf, 0.0): Generator(prior, Moments(means, prior.covariances)),
        ("simulated", "", 0.0, math.inf): Generator(prior, Moments(prior.means, prior.covariances)),
    }
    for kind in GENERATORS:
        for promise in PROMISES:
            n_units = training.n_units(promise.unit)
            noise = plan(promise, kind, prior, n_units).promise.release_noise_multiplier / n_units
            # A seed protects nobody, and is repeated more easily.
            drawn[kind, promise.unit, promise.epsilon, noise] = fit(training, promise, kind, prior, noise_seed=number)
    kinds = {("real", "", math.inf, 0.0): real}
    for key, generator in drawn.items():
        people = draw_people(generator, N_SYNTHETIC, SCHEDULE, number)
        kinds[key] = make_windows(people, "extended", "subject", 60, 30)
    names = ("trained_on", "unit", "epsilon", "noise")
    return [dict(zip(names, key)) | tested(windows, test, number) for key, windows in kinds.items()]


def population(number: int) -> tuple[Windows, Windows, Windows]:
    """Windows of the people who are learned from, for generators and for detectors, and of those who are tested."""
    other = altered(POPULATION, SIZE, np.random.default_rng(number))
    table = simulate_table(N_PEOPLE, COHORT + number, other)
    learned_from = table["subject"].isin(table["subject"].unique()[:N_LEARNED_FROM])
    training, real = (
        make_windows(table[learned_from], "extended", scaling, 60, 30) for scaling in ("public", "subject")
    )
    return training, real, make_windows(table[~learned_from], "extended", "subject", 60, 60)


def altered(population: Population, size: float, rng: np.random.Generator) -> Population:
    """Draws another population, unlike a given one: what if real people are not what the simulation takes them for?

    Args:
        population: the given one.
        size: of the change; 1 moves a trait's range by about half its width, and stretches it by about 0.4.
        rng: draws it.
    """

    def moved(low: float, high: float) -> tuple[float, float]:
        half = (high - low) / 2
        middle = low + half * (1 + size * rng.normal())
        half *= np.exp(0.4 * size * rng.normal())
        return middle - half, middle + half

    def moved_factor(ends: tuple[float, float]) -> tuple[float, float]:
        return tuple(np.exp(moved(*np.log(ends))))

    def changed(phase: Phase) -> Phase:
        standing = phase.standing + 0.3 * size * rng.normal()
        return phase._replace(
            arousal=phase.arousal + 0.2 * size * rng.normal(),
            bursts=phase.bursts * np.exp(0.5 * size * rng.normal()),
            standing=float(np.clip(standing, 0, 1)) if phase.standing else 0.0,
        )

    traits = {name: moved(*ends) for name, ends in population.traits.items()}
    for name in POSITIVE_TRAITS:
        traits[name] = tuple(np.maximum(traits[name], 0.5))
    skewed = {name: moved_factor(ends) for name, ends in population.skewed_traits.items()}
    wear = population.wear._replace(
        skin_conductance=moved_factor(population.wear.skin_conductance),
        thermal_lability=moved_factor(population.wear.thermal_lability),
        medians=tuple(map(moved_factor, population.wear.medians)),
        spreads=tuple(map(moved_factor, population.wear.spreads)),
    )
    non_responders = float(np.clip(population.non_responders + 0.15 * size * rng.normal(), 0, 0.4))
    phases = {phase: changed(phase) for phase in dict.fromkeys(sum(population.orders, ()))}
    orders = tuple(tuple(phases[phase] for phase in order) for order in population.orders)
    return replace(
        population,
        traits=traits,
        skewed_traits=skewed,
        non_responders=non_responders,
        orders=orders,
        wear=wear,
    )


def tested(windows: Windows, test: Windows, seed: int) -> dict[str, float]:
    """Scores of a CNN trained on these windows, means over the people tested."""
    detector = train("cnn", windows, seed, EPOCHS)
    of_person = [test.of(person) for person in np.unique(test.subjects)]
    rows = [scores(own.labels, detector.probabilities(own.values)) for own in of_person]
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
