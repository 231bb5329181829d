"""A run's report: the five executed notebooks behind one summary page, in one file that needs no other."""

import math
from dataclasses import asdict
from typing import Any

import nbformat
import pandas as pd

from wearsynth.answers import answer_table, answers
from wearsynth.pages import embedded, folded, write_page
from wearsynth.privacy import Promise
from wearsynth.provenance import KINDS
from wearsynth.runs import RunFolder
from wearsynth.statement import statement_text

SUMMARY_FIGURES = {  # what each shows
    "scores_by_subject": "Scores of each held-out person, a mark a protocol",
    "example_windows": "One window of people, of the prior and of synthetic people, by class and signal",
}


def result_table(detection: dict[str, Any]) -> pd.DataFrame:
    """Returns the detection scores as text, `mean [95 % interval over held-out people]`.

    Args:
        detection: as in metrics.json.

    Returns:
        One row a detector and protocol, a column a score; what was trained privately stands at the end.
    """
    rows = {("majority", "-"): detection["majority"]}
    for records in (detection["protocols"], *detection["baselines"].values()):
        rows |= {
            (record["detector"], protocol + " (LEAKY)" * record["leaky"]): record
            for protocol, record in records.items()
        }
    for name, records in detection.get("among_synthetic", {}).items():
        rows[name, "trtr, among synthetic people"] = records["trtr"]
    for epsilon, detectors in detection.get("private", {}).items():
        rows |= {(name, f"trtr, epsilon {epsilon}"): records["trtr"] for name, records in detectors.items()}
    return _table(rows).rename_axis(["detector", "protocol"])


def difference_table(detection: dict[str, Any]) -> pd.DataFrame:
    """Returns the paired differences between protocols as text, as `result_table`; `detection` as in metrics.json."""
    return _table(detection["differences"])


def mechanism(promise: Promise) -> dict[str, Any]:
    """Returns all that a promise says, and the noise multiplier that follows from it."""
    return asdict(promise) | {"noise_multiplier": promise.noise_multiplier}


def utility_points(detection: dict[str, Any], epsilon: float | str) -> pd.DataFrame:
    """Lays out what each way to a detector costs in budget, and what it is worth.

    Args:
        detection: as in metrics.json.
        epsilon: the budget of the generators.

    Returns:
        `detector`, `epsilon` (infinite for what is not private), `score`, `mean` over people, and its interval's `low`
        and `high`.
    """
    main = detection["protocols"]
    name = main["tstr"]["detector"]
    records = [
        ("majority", math.inf, detection["majority"]),
        (f"{name} on synthetic windows", float(epsilon), main["tstr"]),
    ]
    if "trtr" in main:
        records.append((f"{name} on real windows, not private", math.inf, main["trtr"]))
    for budget, detectors in detection["private"].items():
        records += [(f"{private} on real windows", float(budget), each["trtr"]) for private, each in detectors.items()]
    rows = []
    for detector, budget, record in records:
        for score, mean in record["mean"].items():
            low, high = record["ci95"][score] or (math.nan, math.nan)
            rows.append((detector, budget, score, mean, low, high))
    return pd.DataFrame(rows, columns=["detector", "epsilon", "score", "mean", "low", "high"])


def write_report(folder: RunFolder) -> None:
    """Joins summary and executed notebooks into `report.html`.

    Args:
        folder: a run folder with all five notebooks executed.
    """
    parts = [_summary(folder)]
    for name in folder.NOTEBOOKS:
        notebook = nbformat.read(folder.path / f"{name}.ipynb", as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":  # progress lines were for those who waited
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        parts += [f'<a id="{name}"></a>\n\n---', *notebook.cells]
    write_page(parts, f"wearsynth: {KINDS[folder.kind]}", folder.report, folder.kind == "real")


def _summary(folder: RunFolder) -> str:
    metrics = folder.metrics
    recordings = metrics["run"]["recordings"]
    links = " · ".join(f"[{name}](#{name})" for name in folder.NOTEBOOKS)
    scores, windows = (
        embedded((folder.figures / f"{name}.png").read_bytes(), alt) for name, alt in SUMMARY_FIGURES.items()
    )
    detection = result_table(metrics["detection"]).to_html()
    rows = {"synthetic windows": metrics["fidelity"], "half of the people": metrics["yardstick"]}
    numbers = {
        whose: {name: each for name, each in row.items() if isinstance(each, float)} for whose, row in rows.items()
    }
    fidelity = pd.DataFrame(numbers).dropna().round(3).to_html()
    promised = metrics["model"]["promise"]
    if "one window" in promised:
        seconds, epsilon = metrics["windows"]["settings"][2], metrics["privacy"]["spent"]["subject"]
        promised += f" of {seconds} s; for all that a person gave, that is epsilon {epsilon:.3g}"
    return f"""# Synthetic smartwatch recordings from {KINDS[folder.kind]}

{len(recordings["subjects"])} people, {recordings["seconds"] / 3600:.1f} hours.

{answer_table(answers(metrics))}

By fixed rules, the same for every run: docs/method.md has them. The notebooks of this run: {links}

## What was promised

The synthetic people were learned {promised}. Prior: {metrics["model"]["prior"]}.

{folded("The statement: every epsilon, and what it leaves out", statement_text(metrics["privacy"]))}

## Stress detection on people who were held out

{scores}

{folded("Every detector and protocol: mean over held-out people, and its 95 % bootstrap interval", detection)}

## Fidelity

{windows}

{folded("Distances between synthetic windows and people's, and between those of two halves of the people", fidelity)}
"""


def _table(records: dict[Any, dict]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: {score: with_interval(mean, record["ci95"][score]) for score, mean in record["mean"].items()}
            for name, record in records.items()
        }
    ).T


def with_interval(mean: float, interval: list[float] | None) -> str:
    """A mean and its 95 % interval, as text."""
    return f"{mean:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
