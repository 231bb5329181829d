"""The page of a sweep: what came out of its runs, and what it took."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from wearsynth import figures
from wearsynth.pages import embedded, folded, write_page
from wearsynth.report import with_interval
from wearsynth.scores import bootstrap_interval

SHOWN_SCORES = ("accuracy", "f1_stress", "auroc")  # the table has all
INDEX = ["signals", "scaling", "unit", "epsilon", "generator", "prior", "detector", "protocol"]


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
    kind, people = table.iloc[0][["recordings", "people"]]
    shown, everybody = table[table["people"] == people], "all people" if people == "all" else people
    parts = [f"# Usefulness by privacy budget, on {kind} recordings", f"Leave-one-subject-out: {everybody}. {remark}"]
    alike = ["unit", "signals", "scaling"]
    for unit, signals, scaling in shown.loc[shown["unit"] != "none", alike].drop_duplicates().to_numpy():
        points = budget_points(shown[(shown["signals"] == signals) & (shown["scaling"] == scaling)], unit)
        curves = path.with_name(f"curves_{unit}_{signals}_{scaling}.png")
        figures.utility_privacy(points, unit, kind).savefig(curves, bbox_inches="tight")
        picture = embedded(curves.read_bytes(), f"Scores against epsilon for a {unit}")
        parts += [f"## Unit {unit}, {signals} signals, {scaling} scaling", picture]
    parts += ["## All results", "Mean over people with the 95 % interval over them.", _budget_table(shown).to_html()]
    parts += ["## Against real windows", "Difference from a detector trained on real windows, person by person."]
    parts += [differences(tests).to_html(), "## Each person", "Mean over seeds."]
    parts += [folded(score, person_table(tests, score).to_html(float_format="%.3f")) for score in SHOWN_SCORES]
    if jobs is not None:
        parts += ["## What it took", job_table(jobs).to_html(), folded("Each job", jobs.round(1).to_html(index=False))]
    links = [f"- [{run.name}]({os.path.relpath(run, path.parent)}/report.html)" for run in runs]
    parts += ["## Runs", "Each with its notebooks and its privacy statement.", "\n".join(links)]
    write_page(parts, f"wearsynth: a sweep, {kind} recordings", path, kind == "real")


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
    for generator, prior in (
        table.loc[table["generator"] != "none", ["generator", "prior"]].drop_duplicates().to_numpy()
    ):
        own = mains & (table["generator"] == generator) & (table["prior"] == prior)
        windows = f"{generator} windows" + ("" if prior in ("none", "public") else f", prior {prior}")
        ways[f"{main} on {windows}"] = own & (table["protocol"] == "tstr")
        ways[f"{main} on both real and {windows}"] = own & (table["protocol"] == "augmented")
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
        lambda values: with_interval(values.mean(), bootstrap_interval(values.to_numpy()))
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


def _budget_table(table: pd.DataFrame) -> pd.DataFrame:
    shown = table[[*INDEX, "seeds"]].copy()
    shown["protocol"] += np.where(table["leaky"], " (LEAKY)", "")
    for score in SHOWN_SCORES:
        ends = table[[f"{score}_low", f"{score}_high"]].to_numpy(float)
        shown[score] = [
            with_interval(mean, None if np.isnan(low) else [low, high]) for mean, (low, high) in zip(table[score], ends)
        ]
    for name in ("c2st_worst", "c2st_auroc", "psd_ratio", "acf_ratio"):
        shown[name] = table[name].map("{:.2f}".format).where(table[name].notna(), "")
    return shown.set_index(INDEX)
