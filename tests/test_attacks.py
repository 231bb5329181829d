"""Attacks against generators that remember everything, and against ones that remember nothing."""

import json

import numpy as np
import pytest

from wearsynth import attacks
from wearsynth.windows import Windows, concatenate


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


def test_membership_inference_finds_copies(cohort):
    members, non_members = cohort.without("S2"), cohort.of("S2")
    assert attacks.membership_inference(members, non_members, memory_of(members)) == 1


def test_membership_inference_finds_nothing_in_independent_windows(cohort):
    # 400 members, 100 others: an AUROC without information has a standard error of .032; three of these.
    score = attacks.membership_inference(cohort.without("S2"), cohort.of("S2"), draws(300, 50, "synthetic"))
    assert score == pytest.approx(0.5, abs=0.1)


def test_reference_attack_finds_copies(cohort):
    person, others = cohort.of("S2"), cohort.without("S2")
    seen, unseen = memory_of(cohort), concatenate([memory_of(others), draws(100, 98, "synthetic")])
    assert attacks.reference_attack(person, others, seen, unseen) == 1
    assert attacks.reference_attack(person, others, seen, seen) == 0.5


def test_reference_attack_is_not_misled_by_a_generator_closer_to_everybody(cohort):
    # The first set lies towards the middle of the cube and so closer to most windows: no sign of membership.
    drawn, wide = draws(300, 60, "synthetic"), draws(300, 61, "synthetic")
    close = Windows(0.5 + 0.6 * (drawn.values - 0.5), drawn.labels, drawn.subjects, drawn.signals)
    assert (attacks.closest_distances(cohort, close) < attacks.closest_distances(cohort, wide)).mean() > 0.8
    score = attacks.reference_attack(cohort.of("S2"), cohort.without("S2"), close, wide)
    assert score == pytest.approx(0.5, abs=0.1)


def test_reference_attack_compares_sets_of_one_size(cohort):
    person, others = cohort.of("S2"), cohort.without("S2")
    small, large = draws(100, 60, "synthetic"), draws(1000, 61, "synthetic")
    cut = attacks.reference_attack(person, others, small, large[np.arange(100)])
    assert attacks.reference_attack(person, others, small, large) == cut


def test_records_of_a_generator_that_remembers(cohort):
    by_fold = {person: memory_of(cohort.without(person)) for person in ("S2", "S3", "S4")}
    records = attacks.membership_attacks(cohort, memory_of(cohort), by_fold)
    assert set(records) == {"closest_window", "reference_generator"}
    assert records["closest_window"] == {"score": 1.0, "chance": 0.5, "ci95": [1.0, 1.0], "folds": 3}
    assert records["reference_generator"]["score"] == 1
    assert json.loads(json.dumps(records)) == records


def test_interval_holds_the_score_and_needs_two_folds():
    scores = {"S2": 0.4, "S3": 0.6, "S4": 0.5, "S5": 0.7}
    record = attacks.attack_over_folds(lambda person, synthetic: scores[person], dict.fromkeys(scores))
    assert record["score"] == pytest.approx(0.55) and record["folds"] == 4
    assert 0.4 <= record["ci95"][0] < 0.55 < record["ci95"][1] <= 0.7
    single = attacks.attack_over_folds(lambda person, synthetic: 0.4, {"S2": None})
    assert single == {"score": 0.4, "chance": 0.5, "ci95": None, "folds": 1}


def test_nobody_held_out_gives_no_record(cohort):
    assert attacks.membership_attacks(cohort, cohort, {}) == {}
