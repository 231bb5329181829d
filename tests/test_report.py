"""Tables of a report: whose numbers, and under which names."""

import math

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from wearsynth import report
from wearsynth.report import clean, difference_table, result_table, utility_points
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


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>link</a>",
    "<a href='java\tscript:alert(1)'>link</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>link</a>",
    "<iframe src='https://example.org'></iframe>",
    "<svg onload=alert(1)></svg>",
    "<style>@import 'https://example.org/x.css';</style>",
    "<link rel=stylesheet href='https://example.org/x.css'>",
    "<img src='https://example.org/x.png'>",
    "<table background='https://example.org/x.png'><tr><td onclick=alert(1)>cell</td></tr></table>",
    "<form action='https://example.org'><input></form>",
    "</div></body><script>alert(1)</script>",
)


@pytest.mark.parametrize("html", HOSTILE)
def test_nothing_that_runs_or_fetches_comes_onto_a_page(html):
    left = BeautifulSoup(clean(html), "html.parser")
    assert not left.find_all(["script", "iframe", "svg", "style", "link", "form", "input"])
    for tag in left.find_all():
        assert not {*tag.attrs} & {"onerror", "onclick", "onload", "src", "background", "action"}
        assert ":" not in tag.get("href", "")


def test_a_page_of_hostile_outputs_runs_nothing(tmp_path):
    """Cells as somebody else's run folder may hold them; what the page itself runs, it runs without them, too."""
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": html, "text/markdown": html, "text/plain": html})
        for html in HOSTILE
    ]
    outputs += [
        nbformat.v4.new_output("display_data", {"application/javascript": "alert(1)"}),
        nbformat.v4.new_output("display_data", {"image/svg+xml": "<svg onload=alert(1)></svg>"}),
        nbformat.v4.new_output("stream", name="stdout", text=HOSTILE[0]),
        nbformat.v4.new_output("error", ename=HOSTILE[0], evalue=HOSTILE[0], traceback=[HOSTILE[0]]),
    ]
    cells = [
        nbformat.v4.new_markdown_cell("\n\n".join(HOSTILE)),
        nbformat.v4.new_code_cell(HOSTILE[0], outputs=outputs),
    ]
    pages = []
    for content in (cells, []):
        report.write_page(nbformat.v4.new_notebook(cells=content), "title", tmp_path / "page.html")
        pages.append(BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser"))
    scripts = [[str(tag) for tag in page.find_all(["script", "link", "iframe", "svg"])] for page in pages]
    assert scripts[0] == scripts[1]
    for tag in pages[0].find("main").find_all():
        assert not any(name.startswith("on") for name in tag.attrs)
        assert not tag.get("href", "").startswith(("javascript", "data"))


def test_a_page_keeps_tables_and_pictures(tmp_path):
    table = pd.DataFrame({"a": [1]}).to_html()
    picture = '<img alt="picture" src="data:image/png;base64,AAAA">'
    left = BeautifulSoup(
        clean(f"<h2 id='x'>Title</h2>{table}<details><summary>s</summary>{picture}</details>"), "html.parser"
    )
    assert left.find("td").text == "1" and left.find("img")["src"].startswith("data:image/png")
    assert left.find("h2")["id"] == "x" and left.find("details")
