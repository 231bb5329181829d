"""What a study of so many people can expect: usefulness, likeness and what an attacker learns, by size of the cohort.

    python -m benchmarks.scaling

Everybody is simulated, as there are no public recordings of so many. Those who are protected come from populations of
which each was altered in its own way, within what the sensors can record; generators begin with people of the
population that was not, so that there is something to learn. Whether it was learned is told by people of the same
altered population who gave nothing. Writes results/scaling.csv and images/scaling.png; an hour on two cores.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from wearsynth.accounting import gaussian_epsilon
from wearsynth.codecs import DescriptorCodec, make_prior
from wearsynth.detector import train
from wearsynth.generators import Generator, fit, plan
from wearsynth.overlap import Encoder
from wearsynth.parallel import one_core_each
from wearsynth.privacy import Promise
from wearsynth.public import find_cohort
from wearsynth.releases import Moments
from wearsynth.scores import auroc, scores
from wearsynth.sessions import draw_people
from wearsynth.shadows import measures
from wearsynth.simulation import POPULATION, Phase, Population, simulate_table
from wearsynth.studies import WESAD
from wearsynth.two_sample import two_sample_auroc
from wearsynth.windows import Windows, concatenate, make_windows

ROOT = Path(__file__).parents[1]
RESULT, PICTURE = ROOT / "results" / "scaling.csv", ROOT / "images" / "scaling.png"
N_POPULATIONS = 4
ALTERATION = 1.5  # about as far from the simulation as WESAD's S2 to S6
MOST_AT_ENDS = 0.1  # of a signal's seconds at an end of the public range; of WESAD's movement it is .09
COHORT = 5000  # seed of the first population's people
SIZES = (15, 50, 150, 500, 1500)  # of the cohort that is learned from
N_UNSEEN = 50  # people of each population, for all tests
N_SYNTHETIC = 30  # people drawn from each generator
# One delta for all sizes: under one over the number of the largest cohort's windows, or people.
PROMISES = {
    "no privacy": Promise(epsilon=math.inf),
    "epsilon 1 for a window": Promise("window", 1.0, 1e-6),
    "epsilon 10 for a person": Promise("subject", 10.0, 1e-4),
    "epsilon 3 for a person": Promise("subject", 3.0, 1e-4),
    "epsilon 1 for a person": Promise("subject", 1.0, 1e-4),
}
PRIOR_ALONE = "the prior alone"
KINDS = ("released", "steered")  # without DP-SGD, and with it where it learns
MEASURES = {
    "gain": "F1 of stress, beyond that of the prior alone",
    "auroc_gain": "AUROC of stress, likewise",
    "worst_c2st": "worse C2ST of two",
    "attack": "AUROC of an attack on people",
}
LIKENESS = ("simple features", "random convolutions")  # one of these two-sample tests is the worst in most runs
# Traits that would be none at all if they were 0; the other ones may have either sign, or are far from it.
POSITIVE_TRAITS = ("breathing_rate", "scr_rate", "scr_rate_response", "respiratory_variability", "heart_rate_response")


def main() -> None:
    """Measures, prints and writes the table and the picture."""
    prior = make_prior(find_cohort("simulated"), "extended", 60)
    arguments = ((number, prior) for number in populations())
    tables = list(one_core_each(measure, arguments, N_POPULATIONS, "population"))
    table = pd.concat(tables, ignore_index=True)
    table.round(4).to_csv(RESULT, index=False)
    summary = summarize(table)
    draw(summary).savefig(PICTURE, dpi=120)
    print(summary.round(3).to_string(index=False))
    print("\nThe same noise for each person, epsilon for a person by number of people:")
    print(same_noise().round(3).to_string())


def populations() -> list[int]:
    """Numbers of the first altered populations whose recordings lie in the public ranges as far as real ones do.

    Nobody's skin conductance is at 100 uS all day; what saturates says nothing to a generator, and much to a detector.
    """

    def at_ends(number: int) -> float:
        table = simulate_table(12, COHORT + number, altered_population(number))
        values = make_windows(table, "extended", "public", 60, 60).values
        return ((values <= 0) | (values >= 1)).mean(axis=(0, 1)).max()

    inside = (number for number in itertools.count() if at_ends(number) <= MOST_AT_ENDS)
    return list(itertools.islice(inside, N_POPULATIONS))


def altered_population(number: int) -> Population:
    """The altered population of a number."""
    return altered(POPULATION, ALTERATION, np.random.default_rng(number))


def same_noise() -> pd.DataFrame:
    """Epsilon for a person, by size of the cohort, at which a release has as much noise for each of them as one to the
    smallest cohort has at epsilon 10, 3 and 1, a row each."""
    delta, rows = PROMISES["epsilon 1 for a person"].delta, []
    for epsilon in (10.0, 3.0, 1.0):
        noise = Promise("subject", epsilon, delta, release_share=1.0).release_noise_multiplier
        rows.append([gaussian_epsilon(delta, SIZES[0] / (noise * size)) for size in SIZES])
    return pd.DataFrame(rows, columns=SIZES)


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Means over populations and their standard errors, a row each promise, kind of generator and size of cohort.

    Populations differ in how hard stress is to find; `gain` and `auroc_gain` are differences to what the prior alone
    gives in the same population.
    """
    alone = table[table["trained_on"] == PRIOR_ALONE].set_index("population")
    gains = {
        gain: table[score] - table["population"].map(alone[score])
        for gain, score in {"gain": "f1_stress", "auroc_gain": "auroc"}.items()
    }
    groups = table.assign(**gains).groupby(["trained_on", "generator", "people"], sort=False)
    summary = groups[["f1_stress", *MEASURES]].agg(["mean", "sem"])
    summary.columns = ["_".join(column) for column in summary.columns]
    return summary.reset_index()


def measure(number: int, prior: DescriptorCodec) -> pd.DataFrame:
    """Learns from cohorts of every size of one population, and measures what comes out.

    Returns:
        A row a cohort, promise and kind of generator: `population`, `trained_on`, `generator`, `people`, and what was
        measured: `f1_stress` and `auroc` of logistic regression, `worst_c2st` and `attack`.
    """
    cohort = Cohorts(number, prior)
    drawn = Generator(prior, Moments(prior.means, prior.covariances))
    rows = [{"trained_on": PRIOR_ALONE, "generator": "-", "people": 0} | cohort.of_synthetic(drawn, number)]
    for size in SIZES:
        rows.append({"trained_on": "real people", "generator": "-", "people": size} | cohort.of_real(size))
        for name, promise in PROMISES.items():
            rows += cohort.of_promise(size, name, promise, number)
    return pd.DataFrame(rows).assign(population=number)


class Cohorts:
    """People of one altered population: those who are learned from, of whom the first ones are the smaller cohorts, and
    those who gave nothing."""

    def __init__(self, number: int, prior: DescriptorCodec):
        table = simulate_table(N_UNSEEN + max(SIZES), COHORT + number, altered_population(number))
        people = table["subject"].unique()
        self.prior, self.members = prior, people[N_UNSEEN:]
        self.training = make_windows(table, "extended", "public", 60, 30)
        self.real = make_windows(table, "extended", "subject", 60, 30)
        unseen = table[table["subject"].isin(people[:N_UNSEEN])]
        self.test = make_windows(unseen, "extended", "subject", 60, 60)
        self.unseen = make_windows(unseen, "extended", "public", 60, 60)
        self.encoder = Encoder(make_windows(find_cohort("simulated").table(), "extended", "public", 60, 60))

    def of_real(self, size: int) -> dict[str, float]:
        """What the real windows of the first people are worth."""
        return self._detected(self.real.of(*self.members[:size]))

    def of_promise(self, size: int, name: str, promise: Promise, seed: int) -> Iterator[dict]:
        """Learns from the first people under a promise: a row a kind of generator."""
        training = self.training.of(*self.members[:size])
        planned = {}
        for kind in KINDS:
            share = plan(promise, kind, self.prior, training.n_units(promise.unit)).promise.release_share
            if share not in planned:  # else it is the very generator before: no step learns beside the release
                # A seed protects nobody, and is repeated more easily.
                generator = fit(training, promise, kind, self.prior, seed=seed, noise_seed=seed, name=None)
                planned[share] = self.of_synthetic(generator, seed, training.of(*self.members[:N_UNSEEN]))
            yield {"trained_on": name, "generator": kind, "people": size} | planned[share]

    def of_synthetic(self, generator: Generator, seed: int, members: Windows | None = None) -> dict[str, float]:
        """What a generator's people are worth, and whether one finds `members` in them rather than the unseen."""
        table = draw_people(generator, N_SYNTHETIC, WESAD.read_schedule(WESAD.schedule), seed)
        likeness = make_windows(table, "extended", "subject", 60, 60)
        found = self._detected(make_windows(table, "extended", "subject", 60, 30))
        found["worst_c2st"] = max(two_sample_auroc(self.test, likeness, seed, name) for name in LIKENESS)
        if members is not None:
            found["attack"] = self._found(members, make_windows(table, "extended", "public", 60, 60))
        return found

    def _detected(self, windows: Windows) -> dict[str, float]:
        """Scores of logistic regression trained on these windows, means over the unseen people."""
        detector = train("logistic_regression", windows, seed=0, epochs=0)
        of_person = [self.test.of(person) for person in self.test.people]
        rows = [scores(own.labels, detector.probabilities(own.values)) for own in of_person]
        return pd.DataFrame(rows)[["f1_stress", "auroc"]].mean().to_dict()

    def _found(self, members: Windows, synthetic: Windows) -> float:
        """AUROC of an attack on people: by how the means of a generator's classes lean towards theirs."""
        both = concatenate([members, self.unseen])
        leaning = measures(both, self.encoder)["means"](synthetic)
        is_member = np.isin(both.people, members.people)
        return auroc(is_member, leaning)


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


def draw(summary: pd.DataFrame) -> Figure:
    """Each measure against the size of the cohort, a line a promise; the prior alone, which has none, as a level."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained", sharex=True)
    lines = summary[summary["generator"].isin(["-", "steered"]) & (summary["people"] > 0)]
    alone = summary[summary["trained_on"] == PRIOR_ALONE].iloc[0]
    groups = lines.groupby("trained_on", sort=False)
    colours = sns.color_palette("colorblind", groups.ngroups)
    for ax, (measured, label) in zip(axes.flat, MEASURES.items()):
        for side, (colour, (name, rows)) in enumerate(zip(colours, groups)):
            bars = 1.96 * rows[f"{measured}_sem"]
            beside = rows["people"] * 1.05 ** (side - groups.ngroups / 2)  # or the bars would hide one another
            ax.errorbar(beside, rows[f"{measured}_mean"], bars, color=colour, marker="o", capsize=2, label=name)
        ax.axhline(alone[f"{measured}_mean"], color="0.5", linestyle=":", label=PRIOR_ALONE)
        ax.set(xscale="log", ylabel=label)
        ax.set_xticks(SIZES, SIZES)
        ax.minorticks_off()
        sns.despine(ax=ax)
    for ax in axes[1]:
        ax.set_xlabel("people learned from")
    axes[1, 1].axhline(0.5, color="0.8", zorder=0)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"What a study of so many people can expect: means over {N_POPULATIONS} simulated populations")
    plt.close(figure)
    return figure


if __name__ == "__main__":
    main()
