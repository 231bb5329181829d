"""Attacks against generators that remember everything, and against ones that remember nothing."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binom, norm
from sklearn.neighbors import KernelDensity

from wearsynth import attacks
from wearsynth.overlap import view
from wearsynth.windows import Windows, concatenate


def by_classifier(*sources):
    """The attack on windows, which by itself takes their views."""
    return attacks.classifier(*map(view, sources))


WITH_PUBLIC = (attacks.density_ratio, attacks.likelihood_ratio, by_classifier)


def draws(n, seed, subject):
    """Windows of one process: nobody is more typical than anybody else."""
    rng = np.random.default_rng(seed)
    return Windows(rng.random((n, 10, 2)), rng.integers(0, 2, n), np.full(n, subject), ("a", "b"))


def memory_of(windows):
    """What a generator puts out that remembers these windows up to float32, beside some of its own."""
    copies = Windows(windows.values.astype(np.float32), windows.labels, windows.subjects, windows.signals)
    return concatenate([copies, draws(50, 99, "synthetic")])


@pytest.fixture(scope="module")
def cohort():
    return concatenate([draws(100, seed, f"S{seed}") for seed in range(2, 7)])


def test_closest_distances_agree_with_a_loop():
    windows, synthetic = draws(5, 0, "S2"), draws(7, 1, "synthetic")
    loop = [min(np.linalg.norm(one - other) for other in synthetic.values) for one in windows.values]
    np.testing.assert_allclose(attacks.closest_distances(windows, synthetic), loop)


def auroc_of(guesses):
    return attacks.record([guesses])["score"]


def test_copies_are_found_by_their_distance(cohort):
    members, others = cohort.without("S2"), cohort.of("S2")
    assert auroc_of(attacks.closest_window(members, others, memory_of(members))) == 1


@pytest.mark.parametrize("attack", WITH_PUBLIC)
def test_copies_are_found_with_public_windows_at_hand(cohort, attack):
    members, others = cohort.without("S2"), cohort.of("S2")
    # Of windows that stand there a hundredfold, as a generator that knows nothing else would repeat them.
    few = members[np.arange(0, 400, 40)]
    repeated = concatenate([few] * 100)
    assert auroc_of(attack(few, others, repeated, draws(300, 51, "public"))) > 0.95


def test_nothing_is_found_in_independent_windows(cohort):
    members, others, synthetic = cohort.without("S2"), cohort.of("S2"), draws(300, 50, "synthetic")
    # 400 members, 100 others: an AUROC without information has a standard error of .032; three of these.
    assert auroc_of(attacks.closest_window(members, others, synthetic)) == pytest.approx(0.5, abs=0.1)
    public = draws(300, 51, "public")
    for attack in WITH_PUBLIC:
        assert auroc_of(attack(members, others, synthetic, public)) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("attack", WITH_PUBLIC)
def test_an_attack_with_public_windows_finds_whom_a_generator_resembles_and_not_who_is_typical(attack):
    """Members lie to one side, as the generator's windows do; typical ones, in the middle, are as public ones are."""
    rng = np.random.default_rng(0)

    def about(middle, spread, n):
        return Windows(middle + spread * rng.normal(size=(n, 10, 2)), np.zeros(n, int), np.full(n, "S"), ("a", "b"))

    members, others, synthetic, public = (
        about(middle, spread, 200) for middle, spread in ((0.6, 0.1), (0.5, 0.1), (0.6, 0.1), (0.5, 0.1))
    )
    assert auroc_of(attack(members, others, synthetic, public)) > 0.85
    assert auroc_of(attack(others, others, public, public)) == pytest.approx(0.5)


def test_the_likelihood_gained_is_that_of_a_density_with_one_more_window(cohort):
    synthetic, public, candidates = draws(60, 50, "synthetic"), draws(80, 51, "public"), cohort.of("S2")[np.arange(5)]
    found = attacks.likelihood_ratio(candidates, candidates, synthetic, public).members
    points, _, ours, theirs = attacks._points(candidates, candidates, synthetic, public)
    width = KernelDensity(bandwidth="scott").fit(theirs).bandwidth_
    for point, gained in zip(points, found):
        nearest = ours[np.argsort(np.linalg.norm(ours - point, axis=1))[: attacks.NEAREST]]
        before, after = (KernelDensity(bandwidth=width).fit(each).score(nearest) for each in (theirs, [*theirs, point]))
        assert gained == pytest.approx(after - before, abs=1e-6)


def test_reference_generator_finds_copies(cohort):
    person, others = cohort.of("S2"), cohort.without("S2")
    seen, unseen = memory_of(cohort), concatenate([memory_of(others), draws(100, 98, "synthetic")])
    assert auroc_of(attacks.reference_generator(person, others, seen, unseen)) == 1
    assert auroc_of(attacks.reference_generator(person, others, seen, seen)) == 0.5


def test_reference_generator_is_not_misled_by_one_closer_to_everybody(cohort):
    # The first set lies towards the middle of the cube and so closer to most windows: no sign of membership.
    drawn, wide = draws(300, 60, "synthetic"), draws(300, 61, "synthetic")
    close = Windows(0.5 + 0.6 * (drawn.values - 0.5), drawn.labels, drawn.subjects, drawn.signals)
    assert (attacks.closest_distances(cohort, close) < attacks.closest_distances(cohort, wide)).mean() > 0.8
    score = auroc_of(attacks.reference_generator(cohort.of("S2"), cohort.without("S2"), close, wide))
    assert score == pytest.approx(0.5, abs=0.1)


def test_reference_generator_compares_sets_of_one_size(cohort):
    person, others = cohort.of("S2"), cohort.without("S2")
    small, large = draws(100, 60, "synthetic"), draws(1000, 61, "synthetic")
    cut = attacks.reference_generator(person, others, small, large[np.linspace(0, 999, 100).astype(int)])
    found = attacks.reference_generator(person, others, small, large)
    assert all(np.array_equal(*pair) for pair in zip(found, cut))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=30),
    st.lists(st.integers(0, 20), min_size=1, max_size=200),
    st.sampled_from(attacks.FALSE_POSITIVES),
)
def test_a_true_positive_rate_is_the_best_at_so_many_false_positives(members, others, rate):
    """Against every threshold there is."""
    members, others = np.array(members), np.array(others)
    allowed = [level for level in (-1, *others) if np.mean(others > level) <= rate + 1e-12]
    best = max(np.mean(members > level) for level in allowed)
    assert attacks.true_positive_rate(attacks.Guesses(members, others), rate) == best


def test_a_true_positive_rate_of_all_folds_has_an_interval_and_implies_an_epsilon():
    rng = np.random.default_rng(0)
    folds = [attacks.Guesses(rng.normal(2, 1, 200), rng.normal(0, 1, 200)) for _ in range(10)]
    found = attacks.record(folds)["true_positive_rates"]["0.01"]
    expected = norm.sf(norm.isf(0.01) - 2)  # .37; with 2,000 windows its standard error is .03, threshold included
    assert found["rate"] == pytest.approx(expected, abs=0.1)
    low, high = found["ci95"]
    # 20 of 2,000 are accused wrongly; at a rate of 1.54 %, so few or fewer are in one case of forty.
    highest = brentq(lambda rate: binom.cdf(20, 2000, rate) - 0.025, 0.01, 0.1)
    assert highest == pytest.approx(0.0154, abs=1e-4)
    assert low < found["rate"] < high and found["epsilon_implied"] == pytest.approx(np.log(low / highest))
    blind = attacks.record([attacks.Guesses(rng.normal(size=200), rng.normal(size=200)) for _ in range(10)])
    assert blind["true_positive_rates"]["0.01"]["epsilon_implied"] < 1
    few = attacks.record([attacks.Guesses(np.ones(9), np.zeros(1)) for _ in range(15)])["true_positive_rates"]
    assert few["0.01"] == {"rate": None, "ci95": None, "epsilon_implied": 0.0}  # of 15 none is no sign of one in 100
    single = attacks.record(folds[:1])
    assert single["ci95"] is None and single["true_positive_rates"]["0.01"]["ci95"] is None


def test_records_of_a_generator_that_remembers(cohort):
    by_fold = {
        person: concatenate([memory_of(cohort.without(person)), draws(100, 98, "synthetic")])  # as many as of everybody
        for person in ("S2", "S3", "S4")
    }
    records = attacks.attacks_on_windows(cohort, memory_of(cohort), by_fold, draws(300, 51, "public"))
    assert list(records) == [
        *("closest_window", "density_ratio", "likelihood_ratio", "classifier", "reference_generator"),
    ]
    for name in ("closest_window", "reference_generator"):
        assert records[name]["score"] == 1 and records[name]["folds"] == 3
        assert records[name]["true_positive_rates"]["0.01"]["rate"] == 1
    assert json.loads(json.dumps(records)) == records


def test_nobody_held_out_gives_no_record(cohort):
    assert attacks.attacks_on_windows(cohort, cohort, {}, cohort) == {}
