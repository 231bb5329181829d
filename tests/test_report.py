"""Tables of a report: whose numbers, and under which names."""

import math

import pandas as pd
import pytest

from wearsynth.report import difference_table, result_table, utility_points
from wearsynth.scores import SCORES
from workflow.report import budget_points, job_table


def record(detector, mean, half_width=0.1, leaky=False):
    interval = None if half_width is None else [mean - half_width, mean + half_width]
    return {
        "detector": detector,
        "leaky": leaky,
        "mean": dict.fromkeys(SCORES, mean),
        "ci95": dict.fromkeys(SCORES, interval),
    }


DETECTION = {
    "majority": record("majority", 0.5, half_width=None),
    "protocols": {
        "trtr": record("cnn", 0.8),
        "tstr": record("cnn", 0.7),
        "tstr_leaky": record("cnn", 0.75, leaky=True),
    },
    "baselines": {"random_forest": {"trtr": record("random_forest", 0.6)}},
    "differences": {"tstr - trtr": {"mean": {"accuracy": -0.1}, "ci95": {"accuracy": [-0.15, 0.02]}}},
    # As metrics.json has it, where a key is a string.
    "private": {"0.1": {"private_cnn": {"trtr": record("private_cnn", 0.3)}}},
}


def test_result_table_has_a_row_a_detector_and_protocol():
    table = result_table(DETECTION)
    assert table.columns.tolist() == list(SCORES)
    assert table["accuracy"].to_dict() == {
        ("majority", "-"): "0.500",
        ("cnn", "trtr"): "0.800 [0.700, 0.900]",
        ("cnn", "tstr"): "0.700 [0.600, 0.800]",
        ("cnn", "tstr_leaky (LEAKY)"): "0.750 [0.650, 0.850]",
        ("random_forest", "trtr"): "0.600 [0.500, 0.700]",
        ("private_cnn", "trtr, epsilon 0.1"): "0.300 [0.200, 0.400]",
    }


def test_difference_table_names_what_is_subtracted():
    assert difference_table(DETECTION).loc["tstr - trtr", "accuracy"] == "-0.100 [-0.150, 0.020]"


@pytest.mark.parametrize("epsilon", [1.0, "inf"])
def test_utility_points_put_each_way_to_a_detector_at_its_budget(epsilon):
    points = utility_points(DETECTION, epsilon).query("score == 'auroc'").set_index("detector")
    assert points["epsilon"].to_dict() == {
        "majority": math.inf,
        "cnn on real windows, not private": math.inf,
        "cnn on synthetic windows": float(epsilon),
        "private_cnn on real windows": 0.1,
    }
    assert points.loc["cnn on synthetic windows", ["mean", "low", "high"]].tolist() == pytest.approx([0.7, 0.6, 0.8])
    assert points.loc["majority", ["low", "high"]].isna().all()


def test_budget_points_put_what_is_not_private_beside_each_budget():
    rows = [
        ("none", "inf", "none", "majority", "trtr", 0.5),
        ("none", "inf", "none", "cnn", "trtr", 0.9),
        ("none", "inf", "cgan", "cnn", "tstr", 0.85),
        ("window", 1.0, "cgan", "cnn", "tstr", 0.8),
        ("window", 1.0, "cgan", "cnn", "augmented", 0.87),
        ("window", 1.0, "cgan", "random_forest", "tstr", 0.7),
        ("window", 1.0, "steered", "cnn", "tstr", 0.83),
        ("window", 1.0, "none", "private_cnn", "trtr", 0.75),
        ("subject", 10.0, "cgan", "cnn", "tstr", 0.6),
    ]
    table = pd.DataFrame(rows, columns=["unit", "epsilon", "generator", "detector", "protocol", "auroc"])
    table["prior"] = table["generator"].map({"none": "none"}).fillna("public")
    table = table.assign(auroc_low=table["auroc"] - 0.1, auroc_high=table["auroc"] + 0.1)
    points = budget_points(table, "window").set_index(["detector", "epsilon"])
    assert points["mean"].to_dict() == {
        ("majority", math.inf): 0.5,
        ("cnn on real windows, not private", math.inf): 0.9,
        ("cnn on cgan windows", math.inf): 0.85,
        ("cnn on cgan windows", 1.0): 0.8,
        ("cnn on both real and cgan windows", 1.0): 0.87,
        ("cnn on steered windows", 1.0): 0.83,
        ("private_cnn on real windows", 1.0): 0.75,
    }
    assert (points["mean"] - points["low"]).to_numpy() == pytest.approx(0.1)


def test_job_table_adds_up_each_kind():
    jobs = pd.DataFrame(
        [("fold", 10.0, 900.0), ("fold", 30.0, 950.0), ("run", 5.0, 100.0)], columns=["kind", "seconds", "peak_mb"]
    )
    assert job_table(jobs).loc["fold"].tolist() == [2, 20, 40, 950]
