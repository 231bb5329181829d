"""Tables of a report: whose numbers, and under which names. (The privacy statement: test_privacy.py.)"""

import math

import pytest

from wearsynth.report import difference_table, result_table, utility_points
from wearsynth.scores import SCORES


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
