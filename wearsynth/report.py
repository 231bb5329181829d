"""A run's report: the five executed notebooks behind one summary page, in one file that needs no other."""

import base64
import math
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bleach
import nbformat
import numpy as np
import pandas as pd
from nbconvert import HTMLExporter

from wearsynth.files import replacing
from wearsynth.privacy import Promise
from wearsynth.runs import RunFolder
from wearsynth.scores import bootstrap_interval
from wearsynth.statement import statement_text

TAGS = {  # of HTML, that a page may hold
    *("a", "b", "blockquote", "br", "code", "details", "div", "em", "h1", "h2", "h3", "h4", "hr", "i", "img", "li"),
    *("ol", "p", "pre", "span", "strong", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
SUMMARY_FIGURES = ("example_windows", "scores_by_subject")
SHOWN_SCORES = ("accuracy", "f1_stress", "auroc")  # of a sweep; its table has all
INDEX = ["signals", "scaling", "unit", "epsilon", "generator", "detector", "protocol"]  # of a sweep's results


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
    report = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(_summary(folder))])
    for name in folder.NOTEBOOKS:
        notebook = nbformat.read(folder.path / f"{name}.ipynb", as_version=4)
        report.cells.append(nbformat.v4.new_markdown_cell(f'<a id="{name}"></a>\n\n---'))
        for cell in notebook.cells:
            if cell.cell_type == "code":  # progress lines were for those who waited
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        report.cells.extend(notebook.cells)
        report.metadata = notebook.metadata
    _write_page(report, f"wearsynth: {folder.kind} recordings", folder.report)


def write_sweep_report(
    path: Path, table: pd.DataFrame, tests: pd.DataFrame, runs: list[Path], jobs: pd.DataFrame | None, remark: str = ""
) -> None:
    """Writes what came out of a sweep, and what it took, into one page; its curves also stand beside it as pictures.

    Args:
        path: of the page.
        table: as `results.gather` makes it.
        tests: as `results.collect` makes them.
        runs: the run folders, to be linked to.
        jobs: as `results.read_jobs` makes it; None where nobody has counted.
        remark: stands above all.
    """
    from wearsynth import figures  # imports much

    kind, people = table.iloc[0][["recordings", "people"]]
    shown, everybody = table[table["people"] == people], "all people" if people == "all" else people
    parts = [f"# What budgets buy, on {kind} recordings", f"Held out, one after the other: {everybody}. {remark}"]
    alike = ["unit", "signals", "scaling"]
    for unit, signals, scaling in shown.loc[shown["unit"] != "none", alike].drop_duplicates().to_numpy():
        points = budget_points(shown[(shown["signals"] == signals) & (shown["scaling"] == scaling)], unit)
        curves = path.with_name(f"curves_{unit}_{signals}_{scaling}.png")
        figures.utility_privacy(points, unit, kind).savefig(curves, bbox_inches="tight")
        parts += [f"## Unit {unit}, {signals} signals, {scaling} scaling", _embedded(curves)]
    parts += ["## All results", "Mean over people with the 95 % interval over them.", _budget_table(shown).to_html()]
    parts += ["## Against real windows", "Difference from a detector trained on real windows, person by person."]
    parts += [differences(tests).to_html(), "## Each person", "Mean over seeds."]
    parts += [_folded(score, person_table(tests, score).to_html(float_format="%.3f")) for score in SHOWN_SCORES]
    if jobs is not None:
        parts += ["## What it took", job_table(jobs).to_html(), _folded("Each job", jobs.round(1).to_html(index=False))]
    links = [f"- [{run.name}]({os.path.relpath(run, path.parent)}/report.html)" for run in runs]
    parts += ["## Runs", "Each with its notebooks and its privacy statement.", "\n".join(links)]
    cell = nbformat.v4.new_markdown_cell("\n\n".join(parts))
    _write_page(nbformat.v4.new_notebook(cells=[cell]), f"wearsynth: a sweep, {kind} recordings", path)


def budget_points(table: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Lays out what each way to a detector costs in budget, as `utility_points` does, for runs of several budgets.

    Args:
        table: as `results.gather` makes it, of one group of people and one set of signals.
        unit: of the budgets; what is not private has its place beside each.
    """
    main = table.loc[table["detector"] != "majority", "detector"].iloc[0]
    table = table[table["unit"].isin(["none", unit])]
    mains = table["detector"] == main
    ways = {
        "majority": table["detector"] == "majority",
        f"{main} on real windows, not private": mains & (table["protocol"] == "trtr"),
    }
    for generator in table.loc[table["generator"] != "none", "generator"].unique():
        own = mains & (table["generator"] == generator)
        ways[f"{main} on {generator} windows"] = own & (table["protocol"] == "tstr")
        ways[f"{main} on both real and {generator} windows"] = own & (table["protocol"] == "augmented")
    private = table[(table["generator"] == "none") & (table["unit"] != "none")]
    ways |= {f"{name} on real windows": table["detector"] == name for name in private["detector"].unique()}
    columns = {"mean": "", "low": "_low", "high": "_high"}
    scores = [name.removesuffix("_low") for name in table if name.endswith("_low")]
    points = [
        {"detector": way, "epsilon": float(row["epsilon"]), "score": score}
        | {name: row[score + ending] for name, ending in columns.items()}
        for way, chosen in ways.items()
        for _, row in table[chosen].iterrows()
        for score in scores
    ]
    return pd.DataFrame(points)


def person_table(tests: pd.DataFrame, score: str) -> pd.DataFrame:
    """Lays out what each person scored, mean over seeds: one row a result, a column a person.

    Args:
        tests: as `results.collect` makes them.
        score: one of SCORES.
    """
    return tests.groupby([*INDEX, "subject"], sort=False, dropna=False)[score].mean().unstack("subject")


def differences(tests: pd.DataFrame) -> pd.DataFrame:
    """How far each result lies from that of the same detector trained on real windows of the same signals, as text.

    Args:
        tests: as `results.collect` makes them.

    Returns:
        One row a result; for each score the mean difference, person by person, and its 95 % interval over people.
    """
    scores = tests.groupby([*INDEX, "subject"], sort=False, dropna=False)[list(SHOWN_SCORES)].mean().reset_index()
    real = scores[(scores["protocol"] == "trtr") & (scores["unit"] == "none")]
    both = scores[scores["generator"] != "none"].merge(
        real, on=["signals", "scaling", "detector", "subject"], suffixes=("", "_real")
    )
    for score in SHOWN_SCORES:
        both[score] -= both[f"{score}_real"]
    return both.groupby(INDEX, sort=False)[list(SHOWN_SCORES)].agg(
        lambda values: _with_interval(values.mean(), bootstrap_interval(values.to_numpy()))
    )


def job_table(jobs: pd.DataFrame) -> pd.DataFrame:
    """Condenses what the jobs of a sweep took: one row a kind of job.

    Args:
        jobs: as `results.read_jobs` makes it.
    """
    kinds = jobs.groupby("kind", sort=False)
    return pd.DataFrame(
        {
            "jobs": kinds.size(),
            "seconds, median": kinds["seconds"].median().round(),
            "seconds, sum": kinds["seconds"].sum().round(),
            "peak memory, MB": kinds["peak_mb"].max().round(),
        }
    )


def clean(html: str) -> str:
    """Leaves of HTML what shows something, and nothing that runs or fetches: a run may start from somebody else's."""
    without_styles = re.sub(r"<style.*?</style\s*>", "", str(html), flags=re.DOTALL | re.IGNORECASE)
    return bleach.clean(without_styles, TAGS, _harmless, {"http", "https", "data"}, strip=True)


def _harmless(tag: str, name: str, value: str) -> bool:
    """Whether an attribute may stay."""
    if name == "src":
        return tag == "img" and value.startswith("data:image/png;base64,")
    if name == "href":
        return tag == "a" and re.fullmatch(r"#.*|https?://.*|[^:]*", value) is not None
    return name in ("alt", "class", "colspan", "id", "rowspan", "title")


def _summary(folder: RunFolder) -> str:
    metrics = folder.metrics
    recordings = metrics["run"]["recordings"]
    links = " · ".join(f"[{name}](#{name})" for name in folder.NOTEBOOKS)
    figures = "\n\n".join(_embedded(folder.figures / f"{name}.png") for name in SUMMARY_FIGURES)
    fidelity = pd.Series({name: value for name, value in metrics["fidelity"].items() if isinstance(value, float)})
    return f"""# Synthetic smartwatch windows from {folder.kind} recordings

{len(recordings["subjects"])} people, {recordings["seconds"] / 3600:.1f} hours. The notebooks of this run: {links}

## What was promised

{statement_text(metrics["privacy"])}

## Stress detection on people whom neither generator nor detector saw

Mean over held-out people, with the 95 % bootstrap interval over them.

{result_table(metrics["detection"]).to_html()}

## Fidelity

{fidelity.to_frame("value").round(3).to_html()}

{figures}
"""


def _table(records: dict[Any, dict]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: {score: _with_interval(mean, record["ci95"][score]) for score, mean in record["mean"].items()}
            for name, record in records.items()
        }
    ).T


def _with_interval(mean: float, interval: list[float] | None) -> str:
    return f"{mean:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n{content}\n</details>"


def _budget_table(table: pd.DataFrame) -> pd.DataFrame:
    shown = table[[*INDEX, "seeds"]].copy()
    shown["protocol"] += np.where(table["leaky"], " (LEAKY)", "")
    for score in SHOWN_SCORES:
        ends = table[[f"{score}_low", f"{score}_high"]].to_numpy(float)
        shown[score] = [
            _with_interval(mean, None if np.isnan(low) else [low, high])
            for mean, (low, high) in zip(table[score], ends)
        ]
    for name in ("c2st_auroc", "psd_ratio", "acf_ratio"):
        shown[name] = table[name].map("{:.2f}".format).where(table[name].notna(), "")
    return shown.set_index(INDEX)


def _embedded(picture: Path) -> str:
    return f'<img alt="{picture.stem}" src="data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}">'


def _write_page(notebook: nbformat.NotebookNode, title: str, path: Path) -> None:
    exporter = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True, sanitize_html=True)
    exporter.register_filter("clean_html", clean)
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    with replacing(path) as draft:
        draft.write_text(page, encoding="utf-8")
