"""Attacks on people: against generators that remember, ones that know nobody, and slow obvious versions."""

import json
import math

import numpy as np
import pytest
from scipy.stats import norm

from wearsynth import generators, shadows
from wearsynth.overlap import Encoder
from wearsynth.privacy import Promise
from wearsynth.studies import WESAD
from wearsynth.windows import Windows, concatenate, make_windows

MEASURES = ("closest_window", "means", "slices")


def person(number, n=20, spread=0.3, seconds=24):
    """Somebody's windows: noise about a level of their own in each signal."""
    rng = np.random.default_rng(number)
    level = 0.5 + spread * (rng.random((1, 1, 2)) - 0.5)
    values = np.clip(level + 0.03 * rng.standard_normal((n, seconds, 2)), 0, 1).astype(np.float32)
    return Windows(values, np.arange(n) % 2, np.full(n, f"S{number}"), ("EDA", "HR"))


def generated(people, seed):
    """What a generator puts out that has learned people by heart, a synthetic person for each; and some of its own."""
    copies = [Windows(each.values, each.labels, np.full(len(each), f"syn{n}"), each.signals) for n, each in people]
    own = person(seed)
    return concatenate([*copies, Windows(own.values, own.labels, np.full(len(own), "syn99"), own.signals)])


@pytest.fixture(scope="module")
def cohort():
    return concatenate([person(number) for number in range(8)])


@pytest.fixture(scope="module")
def encoder():
    return Encoder(concatenate([person(number) for number in range(100, 110)]))


def test_a_fold_without_somebody_is_found_where_generators_remember(cohort, encoder):
    names = [f"S{number}" for number in (3, 0, 5, 6)]  # in another order than that of the windows
    by_fold = {
        name: generated([(n, cohort.of(f"S{n}")) for n in range(8) if f"S{n}" != name], 1000 + order)
        for order, name in enumerate(names)
    }
    records = shadows.attacks_on_people(cohort, by_fold, encoder)
    assert [*records] == [f"people_by_{name}" for name in MEASURES]
    for found in records.values():
        assert found["score"] == 1 and found["folds"] == 4
    assert json.loads(json.dumps(records)) == records
    assert shadows.attacks_on_people(cohort, dict(list(by_fold.items())[:2]), encoder) == {}


def test_nobody_is_found_where_generators_know_nobody(encoder):
    """Of 40 people, so that the score's standard error is .05 at most: three of these."""
    many = concatenate([person(number, 6) for number in range(40)])
    blind = {f"S{number}": concatenate([person(1000 + number), person(2000 + number)]) for number in range(40)}
    for name, found in shadows.attacks_on_people(many, blind, encoder).items():
        assert found["score"] == pytest.approx(0.5, abs=0.15), name


def test_likelihood_ratios_find_as_many_as_normal_answers_allow():
    rng, effect = np.random.default_rng(0), 1.5
    saw = np.array([rng.permutation(400) < 200 for _ in range(30)])
    close = {"toy": effect * saw + rng.standard_normal(saw.shape)}
    found = shadows.attacks_by_shadows(close, saw)["shadows_by_toy"]
    # Two normal distributions, `effect` apart; 12,000 answers, so the standard error is .003, estimation included .01.
    assert found["score"] == pytest.approx(norm.cdf(effect / math.sqrt(2)), abs=0.02)
    assert found["true_positive_rates"]["0.01"]["rate"] == pytest.approx(norm.sf(norm.isf(0.01) - effect), abs=0.04)
    blind = shadows.attacks_by_shadows({"toy": rng.standard_normal(saw.shape)}, saw)["shadows_by_toy"]
    assert blind["score"] == pytest.approx(0.5, abs=0.02)


def test_a_generator_is_judged_by_the_others_alone():
    """Leaving itself out, as a loop does."""
    rng = np.random.default_rng(0)
    saw, close = rng.random((1, 9)) < 0.5, rng.standard_normal((1, 9))
    ratios = shadows._likelihood_ratios(close, saw)[0]
    means = np.array(
        [[close[0][[i for i in range(9) if saw[0][i] == side and i != j]].mean() for j in range(9)] for side in (1, 0)]
    )
    residual = close[0] - np.where(saw[0], *means)
    densities = [norm.logpdf(close[0], mean, np.sqrt((residual**2).mean() + shadows.ROUNDING)) for mean in means]
    np.testing.assert_allclose(ratios, densities[0] - densities[1])


def test_people_are_found_again_by_slices():
    apart = concatenate([person(number) for number in range(6)])
    found = shadows.reidentification(apart)
    assert found["score"] > 0.9 and found["chance"] == pytest.approx(1 / 6)
    alike = concatenate([person(number, 40, spread=0.0) for number in range(6)])
    # 240 slices; of 39 others one's own and of 200 other people's: .163, standard error .024; three of these.
    assert shadows.reidentification(alike)["score"] == pytest.approx(39 / 239, abs=0.08)


def test_slice_distances_are_those_of_dynamic_time_warping():
    ours, theirs = person(1, 3), person(2, 4)
    found = shadows.slice_distances(ours, theirs)

    def warped(one, other):
        n, cost = len(one), np.full((len(one) + 1, len(other) + 1), np.inf)
        cost[0, 0] = 0
        for i in range(1, n + 1):
            for j in range(1, len(other) + 1):
                if abs(i - j) < shadows.WARPING:
                    step = np.sum((one[i - 1].astype(float) - other[j - 1]) ** 2)
                    cost[i, j] = step + min(cost[i - 1, j], cost[i, j - 1], cost[i - 1, j - 1])
        return math.sqrt(cost[n, n])

    middle = slice(2, 22)
    loop = [[warped(a[middle], b[middle]) for b in theirs.values] for a in ours.values]
    np.testing.assert_allclose(found, loop, rtol=1e-9)


def test_shadow_generators_see_half_of_the_people_and_those_without_privacy_are_caught(make_table, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # in this process
    stretches = [(f"S{n}", condition, 300, 60) for n in range(6) for condition in ("baseline", "stress")]
    table = make_table(stretches)
    real, training = (make_windows(table, "EDA,HR", scaling, 60, 60) for scaling in ("subject", "public"))
    codec = generators.codec_of("levels", generators.make_prior(generators.find_cohort("public"), "EDA,HR", 60))
    asked = []

    def remember(windows, planned, seed, name):
        assert planned.promise.unit == "subject" and name is None
        asked.append(set(windows.subjects))
        return windows

    monkeypatch.setattr(shadows, "train", remember)
    monkeypatch.setattr(shadows, "draw_people", lambda windows, *_: table[table["subject"].isin(windows.subjects)])
    planned = generators.Plan("levels", Promise("subject", math.inf), codec, None)
    close, saw = shadows.train_shadows(
        real,
        training,
        Encoder(real),
        planned,
        WESAD.read_schedule("baseline 5, stress 5"),
        lambda drawn: make_windows(drawn, "EDA,HR", "subject", 60, 60),
        6,
        0,
    )
    assert saw.shape == (6, 6) and (saw.sum(axis=0) == 3).all() and (saw.sum(axis=1) == 3).all()
    assert asked == [{f"S{n}" for n in np.flatnonzero(each)} for each in saw.T]
    assert shadows.attacks_by_shadows(close, saw)["shadows_by_closest_window"]["score"] == 1
