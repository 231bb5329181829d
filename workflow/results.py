"""Gathers finished runs into one table, seeds together: for those on all real people `results/table.csv`.

python -m workflow.results RUN [RUN ...]
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from wearsynth.files import replacing
from wearsynth.runs import RunFolder
from wearsynth.scores import SCORES, bootstrap_interval
from wearsynth.studies import WESAD

TABLE = Path(__file__).resolve().parent.parent / "results" / "table.csv"
TUNED_ON = ("S2", "S3", "S4", "S5", "S6")  # WESAD's people whom settings were chosen on; the others are untouched
FIDELITY = ("c2st_auroc", "psd_ratio", "acf_ratio", "c2st_worst")
RESULT = ["recordings", "unit", "epsilon", "delta", "generator", "prior", "signals", "scaling", "detector", "protocol"]
KEYS = [*RESULT[1:], "people"]
VARIED = (
    "generator",
    "prior",
    "signals",
    "scaling",
    "unit",
    "epsilon",
    "delta",
    "seed",
)  # parameters by which the table distinguishes runs
# These and what follows from them may differ, too: each detector has a row of its own.
APART = (*VARIED, "detectors", "detector_seeds", "private_epsilons", "run_folder", "recordings", "share", "protocols")


class UnfitRun(ValueError):
    """A run cannot stand in the table, or not beside another."""


def by_subject(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Lays out the detection results of one run.

    Args:
        metrics: the content of its metrics.json.

    Returns:
        One row a result and held-out `subject`: RESULT (`unit`, `epsilon`, `delta` are 'none', 'inf' and missing where
        nothing private was promised, `generator` and its `prior` are 'none' where no synthetic window took part), the
        run's `run_seed` and how many `seeds` its detectors have, SCORES, `leaky`, and for synthetic windows FIDELITY.
    """
    detection, privacy, run = metrics["detection"], metrics["privacy"], metrics["run"]
    public = {"unit": "none", "epsilon": "inf", "delta": None, "generator": "none", "prior": "none"}
    budget = {name: privacy[name] for name in ("unit", "epsilon", "delta")} if privacy["private"] else public
    fidelity = {name: metrics["fidelity"].get(name) for name in FIDELITY}
    generator, prior = (run["parameters"][name] for name in ("generator", "prior"))
    prior = "none" if privacy["prior"] == "none" else Path(prior).name
    synthetic = budget | {"generator": generator, "prior": prior} | fidelity
    results = [(public, "trtr", detection["majority"])]
    for records in (detection["protocols"], *detection["baselines"].values()):
        results += [(public if name == "trtr" else synthetic, name, record) for name, record in records.items()]
    for epsilon, detectors in detection["private"].items():
        promised = public | {"unit": privacy["unit"], "epsilon": float(epsilon), "delta": privacy["delta"]}
        results += [(promised, "trtr", records["trtr"]) for records in detectors.values()]
    about_run = {"recordings": run["recordings"]["kind"]}
    about_run |= {name: run["parameters"][name] for name in ("signals", "scaling")}
    return [
        about_run
        | about
        | {"detector": record["detector"], "protocol": protocol, "seeds": record["seeds"], "leaky": record["leaky"]}
        # Nothing is random about a guess that looks at no signal.
        | {"run_seed": 0 if record is detection["majority"] else run["parameters"]["seed"], "subject": subject}
        | scores
        for about, protocol, record in results
        for subject, scores in record["subjects"].items()
    ]


def collect(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """Puts runs together that differ in budget, seed or any other column of RESULT.

    What needs no generator comes out of every run; of those with one seed, the first one given stands for all.

    Args:
        runs: the content of each one's metrics.json.

    Returns:
        Rows as of `by_subject`.

    Raises:
        UnfitRun: people differ, or two runs have the same result.
    """
    first = runs[0]
    if any(
        (each["run"]["recordings"], each["model"]["folds"]) != (first["run"]["recordings"], first["model"]["folds"])
        for each in runs
    ):
        raise UnfitRun("the runs are not on the same recordings, with the same people held out: gather them apart")
    for name in sorted({name for each in runs for name in each["run"]["parameters"]} - {*APART}):
        values = {each["run"]["parameters"].get(name) for each in runs}
        if len(values) > 1:
            raise UnfitRun(f"the runs differ in {name}: {', '.join(map(str, values))}; gather them apart")
    columns = [*RESULT, "run_seed", "seeds", "subject", *SCORES, "leaky", *FIDELITY]
    table = pd.DataFrame([row for each in runs for row in by_subject(each)], columns=columns)
    again = table.duplicated([*RESULT, "run_seed", "subject"])
    twice = table[again & (table["generator"] != "none")]
    if len(twice):
        raise UnfitRun(f"two runs have the same {dict(twice.iloc[0][RESULT])}; give one of them")
    return table[~again]


def gather(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """Condenses runs, seeds and people together; see `collect`, whose errors it raises.

    Returns:
        One row a result and group of `people` ('all', of WESAD 'untouched', or the names of those held out): RESULT,
        `people`, how many `seeds` took part, the mean over people of each score (of each person, the mean over seeds)
        with the `_low` and `_high` ends of its 95 % interval over people and the standard deviation over runs of other
        seeds, `_sd_seeds`, `leaky`, and for synthetic windows FIDELITY, the mean over seeds.
    """
    rows = []
    for key, result in collect(runs).groupby(RESULT, sort=False, dropna=False):
        seeds = int(result.groupby("run_seed")["seeds"].first().sum())
        fidelity = result.groupby("run_seed")[list(FIDELITY)].first().mean()
        for people, chosen in _groups(runs[0], result).items():
            about = dict(zip(RESULT, key)) | {"people": people, "seeds": seeds, "leaky": result["leaky"].iloc[0]}
            rows.append(about | _with_spread(chosen) | fidelity.to_dict())
    scores = [score + ending for score in SCORES for ending in ("", "_low", "_high", "_sd_seeds")]
    return pd.DataFrame(rows, columns=[*KEYS, "seeds", *scores, "leaky", *FIDELITY, "recordings"])


def _groups(metrics: dict[str, Any], result: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The people whom a row of the table is about, with their rows."""
    folds, recordings = metrics["model"]["folds"], metrics["run"]["recordings"]
    if folds != recordings["subjects"]:
        return {",".join(folds): result}
    if recordings["kind"] == "simulated" or recordings["study"]["name"] != WESAD.name:
        return {"all": result}
    return {"all": result, "untouched": result[~result["subject"].isin(TUNED_ON)]}


def _with_spread(rows: pd.DataFrame) -> dict[str, float]:
    by_subject, by_seed = (rows.groupby(name, sort=False)[list(SCORES)].mean() for name in ("subject", "run_seed"))
    columns = {}
    for score in SCORES:
        low, high = bootstrap_interval(by_subject[score].to_numpy()) or (None, None)
        columns |= {score: by_subject[score].mean(), f"{score}_low": low, f"{score}_high": high}
        columns[f"{score}_sd_seeds"] = by_seed[score].std()
    return columns


def main(arguments: list[str] | None = None) -> int:
    """Writes the table of the runs given; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder of a finished run")
    parser.add_argument(
        "--out", type=Path, nargs="+", default=[TABLE], metavar="FILE", help="default: results/table.csv"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write table and curves into a page")
    parser.add_argument("--jobs", type=Path, metavar="DIR", help="what each job of a sweep took, for that page")
    options = parser.parse_args(arguments)
    try:
        runs = [read(run) for run in options.runs]
        table = gather(runs)
        about = table.iloc[0]
        if TABLE in map(Path.resolve, options.out) and (about["recordings"] != "real" or about["people"] != "all"):
            raise UnfitRun(
                f"{options.runs[0]}: {about['recordings']} recordings, held out: {about['people']}; the table of "
                "results is about all the real people: choose another file with --out"
            )
    except UnfitRun as error:
        print(error, file=sys.stderr)
        return 2
    remark = ""
    if len({metrics["run"].get("code") for metrics in runs}) > 1:
        remark = "The runs were made by different versions of the code, which may be why they differ."
        print(remark, file=sys.stderr)
    for path in options.out:
        with replacing(path) as draft:
            table.to_csv(draft, index=False, float_format="%.6g")
        print(f"{len(table)} results in {path}")
    if options.report:
        from workflow.report import write_sweep_report  # takes seconds to import

        jobs = options.jobs and read_jobs(options.jobs, [run.name for run in options.runs])
        write_sweep_report(options.report, table, collect(runs), options.runs, jobs, remark)
        print(f"report in {options.report}")
    return 0


def read_jobs(folder: Path, runs: list[str]) -> pd.DataFrame:
    """Reads what Snakemake has measured of the jobs of a sweep: of each, the last time that it was done.

    Args:
        folder: of files <kind>/<run>.tsv or <kind>/<run>/<fold>.tsv, as its directive `benchmark` writes them.
        runs: names of the runs; what else lies there is from before the grid was changed.

    Returns:
        One row a job: `kind`, `job`, `seconds`, `cpu_seconds`, `peak_mb` (resident memory, all processes of the job).
    """
    rows = []
    for file in sorted(folder.rglob("*.tsv")):
        kind, *job = str(file.relative_to(folder)).removesuffix(".tsv").split(os.sep)
        if kind != "prepare" and job[0] not in runs:
            continue
        measured = pd.read_csv(file, sep="\t").iloc[-1]
        about = {"kind": kind, "job": "/".join(job)}
        rows.append(about | dict(zip(("seconds", "cpu_seconds", "peak_mb"), measured[["s", "cpu_time", "max_rss"]])))
    return pd.DataFrame(rows)


def read(run: Path) -> dict[str, Any]:
    """Returns the metrics of a finished run; raises UnfitRun for any other."""
    metrics = RunFolder(run).metrics
    tested = metrics.get("detection", {}).get("majority", {}).get("subjects")
    if "fidelity" not in metrics or tested is None or set(tested) != set(metrics["model"]["folds"]):
        raise UnfitRun(f"{run}: expected a finished run")
    return metrics


if __name__ == "__main__":
    sys.exit(main())
