"""The statement: what it says is what was promised and spent, and what others say of the same run."""

import json
import re
from dataclasses import fields, replace
from functools import cache

import pytest
from promises import INFINITE, PROMISES, SUBJECT, with_noise, with_tf_privacy

from wearsynth.accounting import group_epsilon
from wearsynth.files import write_json
from wearsynth.privacy import Promise, spent_together
from wearsynth.statement import cross_check, statement, statement_text
from wearsynth.tf_privacy import why_missing

POISSON = r"Poisson sampling \(\*\): +(\S+)"  # of tensorflow-privacy's statement


@cache
def check(promise):
    """What others say of all the steps, with 432 units."""
    return cross_check(promise, promise.steps, n_units=432)


def figure_of(text):
    """The figure for Poisson sampling in tensorflow-privacy's statement."""
    (figure,) = re.findall(POISSON, text)
    return float(figure)


@pytest.mark.parametrize("promise", [*PROMISES, SUBJECT], ids=lambda promise: f"{promise.unit}-{promise.epsilon}")
def test_the_renyi_accountant_agrees_from_above(promise):
    # Renyi's conversion to (epsilon, delta) is an upper bound, by some 5 to 25 %; more would be another mechanism.
    assert promise.spent(promise.steps) <= check(promise)["rdp_epsilon"] <= 1.4 * promise.spent(promise.steps)


@with_tf_privacy
@pytest.mark.parametrize("promise", [*PROMISES, SUBJECT], ids=lambda promise: f"{promise.unit}-{promise.epsilon}")
def test_tensorflow_privacy_states_the_same_figure(promise):
    # It is told these promises' sampling and steps exactly, and prints three decimals.
    found = figure_of(check(promise)["tensorflow_privacy"])
    assert found == pytest.approx(check(promise)["rdp_epsilon"], abs=0.0005)


@pytest.mark.slow
@with_tf_privacy
@pytest.mark.parametrize("promise", [*PROMISES, SUBJECT], ids=lambda promise: f"{promise.unit}-{promise.epsilon}")
def test_tensorflow_privacys_group_privacy_stays_above_the_reading_for_a_group(promise):
    """It starts from epsilon and delta alone; so the statement leaves its figure for a user out."""
    from tensorflow_privacy.privacy.analysis.compute_dp_sgd_privacy_lib import compute_dp_sgd_privacy_statement

    q, steps, multiplier = promise.sampling_probability, promise.steps, promise.noise_multiplier
    text = compute_dp_sgd_privacy_statement(432, q * 432, q * steps, multiplier, promise.delta, False, 72)
    _, user = re.findall(POISSON, text)
    assert float(user) > group_epsilon(promise.mechanism(steps), 72, promise.delta)


@with_tf_privacy
def test_tensorflow_privacy_rounds_the_safe_way():
    promise = with_noise(2.0, 1e-5, 0.1, 3)  # 3 * 0.1 / 0.1 is more than 3 in floating point
    found = figure_of(check(promise)["tensorflow_privacy"])
    one_more = cross_check(promise, 4, n_units=432)["rdp_epsilon"]
    assert check(promise)["rdp_epsilon"] < found == pytest.approx(one_more, abs=0.0005)


@cache
def state(promise, steps=None, **changes):
    settings = {"seeded": False, "uses": 3, "n_units": 432}
    sizes = {"windows_per_second": 2, "most_windows_per_subject": 72}
    return statement(promise, promise.training_steps if steps is None else steps, **settings | sizes | changes)


def test_the_statement_says_what_was_promised_and_spent(tmp_path):
    promise = PROMISES[0]
    said = state(promise)
    assert said["private"] is True
    for field in fields(promise):
        assert said[field.name] == getattr(promise, field.name)
    assert said["noise_multiplier"] == promise.noise_multiplier
    assert said["engine"] == "fused"
    assert said["accountant"].startswith("PLD")
    assert said["spent"] == promise.epsilons(promise.steps, 2, 72)
    assert (
        said["spent_all_generators"] == spent_together([(promise, promise.steps)] * 3, promise.delta) > promise.epsilon
    )
    assert said["cross_check"] == check(promise)
    assert all(isinstance(line, str) for line in said["outside_guarantee"])
    write_json(tmp_path / "metrics.json", {"privacy": said})
    assert json.loads((tmp_path / "metrics.json").read_text())["privacy"] == said


def test_seeded_noise_is_not_private():
    assert state(PROMISES[0], seeded=True)["private"] is False
    assert "seed" in state(PROMISES[0], seeded=True)["noise_source"]
    assert state(INFINITE)["private"] is False
    assert state(INFINITE)["cross_check"] is state(PROMISES[0], seeded=True)["cross_check"] is None


def test_the_statement_reads_the_steps_really_taken():
    promise = PROMISES[0]
    said = state(promise, 10, uses=1)
    assert said["steps"] == 10
    assert said["spent"]["window"] == said["spent_all_generators"] == promise.spent(10) < promise.epsilon / 4
    assert said["spent"]["window"] <= said["cross_check"]["rdp_epsilon"] < promise.epsilon / 4


def test_the_text_shows_what_others_say():
    text = statement_text(state(PROMISES[0]))
    check = state(PROMISES[0])["cross_check"]
    sentences = " ".join(text.split())
    assert f"gives epsilon {check['rdp_epsilon']:.3g} for a window" in sentences
    if check["missing"]:
        assert why_missing() == check["missing"] and f"is left out: {why_missing()}.)" in sentences
    else:
        assert f"```text\n{check['tensorflow_privacy']}```" in text
        assert "over 432 examples" in sentences
    assert "clipped by fused" in sentences and "windows of a drawn subject" not in sentences


def test_the_text_for_a_subject_names_the_most_windows_of_a_step():
    said = state(replace(SUBJECT, windows_per_subject=7))
    sentences = " ".join(statement_text(said).split())
    assert "at most 7 windows of a drawn subject, clipped by fused" in sentences


def test_the_text_without_a_guarantee_says_nothing_else():
    for said in (state(INFINITE), state(PROMISES[0], seeded=True)):
        text = statement_text(said)
        assert text.startswith("**No privacy guarantee**") and "tensorflow" not in text


def test_a_statement_of_a_release_speaks_of_no_steps():
    said = state(Promise(epsilon=1.0, release_share=1.0), steps=0)
    assert said["private"] and said["steps"] == 0 and said["release_share"] == 1
    assert said["spent"]["window"] <= 1 <= said["cross_check"]["rdp_epsilon"]
    assert said["cross_check"]["tensorflow_privacy"] is None
    text = statement_text(said)
    assert "one release of clipped vectors" in text and "DP-SGD" not in text


def test_the_prior_is_named_wherever_there_is_a_guarantee():
    text = statement_text(state(PROMISES[0], prior="the people of somewhere"))
    assert "\nPrior: the people of somewhere.\n" in text


def test_a_large_delta_is_named_and_a_usual_one_is_not():
    """At a tenth of one over the number of units lies what the field takes for the most."""
    usual, large = (statement_text(state(PROMISES[0], n_units=n)) for n in (1000, 1100))
    assert "Delta is large" not in usual
    assert "**Delta is large**: 0.11 of one over the number of units" in " ".join(large.split())


def test_the_text_says_what_was_released_before():
    so_far = {"file": "ledger.jsonl", "trainings": 32, "not_private": 2, "window": 12.345}
    text = " ".join(statement_text(state(PROMISES[0]) | {"spent_so_far": so_far | {"whole": True}}).split())
    assert "32 trainings under a promise have seen one person's data: together epsilon 12.3 for a window, were" in text
    assert "2 more had no guarantee at all. (From the ledger, `ledger.jsonl`.)" in text
    assert "too low" not in text and "so far" not in statement_text(state(PROMISES[0]))


def test_a_ledger_that_lacks_this_runs_trainings_is_no_sum():
    so_far = {"file": "ledger.jsonl", "trainings": 1, "not_private": 1, "window": 1.0}
    for uses, whole in ((2, True), (3, False)):
        said = state.__wrapped__(Promise(release_share=1.0), 0, so_far=so_far, uses=uses, cross_checked=False)
        assert said["spent_so_far"] == so_far | {"whole": whole}
        text = statement_text(said | {"cross_check": state(PROMISES[0])["cross_check"]})
        assert ("That is too low" not in text) == whole
