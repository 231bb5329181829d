"""The report's first screen: each answer on either side of its limits."""

import math

import pytest
from scipy.optimize import linprog

from wearsynth.answers import SIGNS, answers, most_found

PRIVACY = {"private": True, "delta": 1e-4, "spent": {"subject": 0.5}}


def metrics(**changes):
    """A run whose answers are all good."""
    made = {
        "score": 0.95,
        "interval": [0.9, 0.98],
        "difference": [-0.03, 0.02],
        "worst": 0.6,
        "half": 0.58,
        "attack": [0.45, 0.55],
        "privacy": {},
        "kind": "real",
    } | changes
    tstr = {"mean": {"auroc": made["score"]}, "ci95": {"auroc": made["interval"]}}
    differences = {} if made["difference"] is None else {"tstr - trtr": {"ci95": {"auroc": made["difference"]}}}
    interval = made["attack"]
    attack = {"score": sum(interval) / 2 if isinstance(interval, list) else 0.5, "ci95": interval}
    return {
        "run": {"recordings": {"kind": made["kind"]}},
        "detection": {"protocols": {"tstr": tstr, "trtr": tstr}, "differences": differences},
        "fidelity": {"c2st_worst": made["worst"]},
        "yardstick": {"c2st_worst": made["half"]},
        "attacks": {} if made["attack"] == "none" else {"closest_window": attack, "people_by_means": attack},
        "privacy": PRIVACY | made["privacy"],
    }


def signs(**changes):
    return [answer.sign for answer in answers(metrics(**changes))]


def test_all_may_be_good_and_all_bad():
    assert signs() == ["good"] * 5
    bad = {"difference": [-0.2, -0.06], "worst": 0.81, "attack": [0.65, 0.9], "privacy": {"private": False}}
    assert signs(**bad) == ["bad"] * 5


@pytest.mark.parametrize(
    ("number", "changes", "sign"),
    [
        (0, {"difference": [-0.06, 0.02]}, "fair"),
        (0, {"difference": [-0.05, 0.02]}, "good"),
        (0, {"difference": [-0.2, -0.051]}, "bad"),
        (0, {"interval": [0.5, 0.7]}, "bad"),
        (0, {"difference": None}, "open"),
        (0, {"interval": None}, "open"),
        (1, {"worst": 0.64}, "fair"),
        (1, {"worst": 0.55, "half": 0.3}, "good"),
        (1, {"worst": 0.801}, "bad"),
        (2, {"attack": [0.51, 0.6]}, "fair"),
        (2, {"attack": [0.61, 0.7]}, "bad"),
        (2, {"attack": [0.501, 0.59]}, "good"),  # of two attacks one reaches as far by luck
        (2, {"attack": [0.4, 0.7]}, "open"),
        (2, {"attack": None}, "open"),
        (2, {"attack": "none"}, "open"),
        (3, {"privacy": {"spent": {"subject": 1.6}}}, "good"),
        (3, {"privacy": {"spent": {"subject": 1.61}}}, "fair"),
        (3, {"privacy": {"spent": {"subject": 10.0}}}, "bad"),
        (3, {"privacy": {"spent": {"subject": "inf"}}}, "bad"),
        (4, {"privacy": {"spent": {"subject": 10.0}}}, "bad"),
        (4, {"kind": "public", "privacy": {"private": False}}, "good"),
    ],
)
def test_each_answer_goes_by_its_limits(number, changes, sign):
    assert signs(**changes)[number] == sign and sign in SIGNS


def test_every_answer_shows_its_figure_and_its_reason():
    for answer in answers(metrics()):
        assert answer.question.endswith("?") and answer.figure and answer.reason
    assert "no protection" in answers(metrics(privacy={"spent": {"subject": 10.0}}))[4].reason
    assert "4%" in answers(metrics(privacy={"spent": {"subject": 1.4}}))[3].figure  # e^1.4 of 1 %


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 4.0, 10.0])
@pytest.mark.parametrize("delta", [0.0, 1e-3])
def test_the_most_that_is_found_is_the_best_of_all_tests(epsilon, delta):
    """By linear programming: the highest true positive rate that both inequalities of the definition allow."""
    # Over (true positives, false positives): t <= e^epsilon f + delta, and the same of those who are let go.
    factor, rate = math.exp(epsilon), 0.01
    best = linprog(
        [-1, 0],
        A_ub=[[1, -factor], [factor, -1]],
        b_ub=[delta, delta + factor - 1],
        A_eq=[[0, 1]],
        b_eq=[rate],
        bounds=[(0, 1), (0, 1)],
    )
    assert most_found(epsilon, delta) == pytest.approx(-best.fun, abs=1e-9)
