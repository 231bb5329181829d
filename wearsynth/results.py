"""Gathers finished runs on real people into one table, `results/table.csv`.

python -m wearsynth.results RUN [RUN ...]
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from wearsynth.runs import RunFolder
from wearsynth.scores import SCORES, bootstrap_interval

TABLE = Path(__file__).parent.parent / "results" / "table.csv"
TUNED_ON = ("S2", "S3", "S4", "S5", "S6")  # WESAD's people whom settings were chosen on; the others are untouched
FIDELITY = ("c2st_auroc", "psd_ratio", "acf_ratio")
KEYS = ["unit", "epsilon", "delta", "generator", "signals", "detector", "protocol", "people"]


def gather(metrics: dict[str, Any]) -> pd.DataFrame:
    """Lays out the detection results of one run.

    Args:
        metrics: the content of its metrics.json.

    Returns:
        One row a detector, protocol and group of `people` ('all', 'untouched'): `unit`, `epsilon`, `delta` ('none',
        'inf' and missing where nothing private was promised), `generator` ('none' where no synthetic window took part),
        `signals`, `detector`, `protocol`, `people`, `seeds`, each score with the `_low` and `_high` ends of its 95 %
        interval over people, `leaky`, and for synthetic windows `c2st_auroc`, `psd_ratio`, `acf_ratio`.
    """
    detection, privacy = metrics["detection"], metrics["privacy"]
    public = {"unit": "none", "epsilon": "inf", "delta": None, "generator": "none"}
    budget = {name: privacy[name] for name in ("unit", "epsilon", "delta")} if privacy["private"] else public
    synthetic = budget | {"generator": "cgan"} | {name: metrics["fidelity"][name] for name in FIDELITY}
    results = [(public, "trtr", detection["majority"])]
    for records in (detection["protocols"], *detection["baselines"].values()):
        results += [(public if name == "trtr" else synthetic, name, record) for name, record in records.items()]
    for epsilon, detectors in detection["private"].items():
        promised = public | {"unit": privacy["unit"], "epsilon": float(epsilon), "delta": privacy["delta"]}
        results += [(promised, "trtr", records["trtr"]) for records in detectors.values()]
    signals = metrics["run"]["parameters"]["signals"]
    rows = [
        about
        | {"signals": signals, "detector": record["detector"], "protocol": protocol, "people": people}
        | {"seeds": record["seeds"], "leaky": record["leaky"]}
        | _scores(record["subjects"], people)
        for about, protocol, record in results
        for people in ("all", "untouched")
    ]
    scores = [column for score in SCORES for column in (score, f"{score}_low", f"{score}_high")]
    return pd.DataFrame(rows, columns=[*KEYS, "seeds", *scores, "leaky", *FIDELITY])


def _scores(subjects: dict[str, dict[str, float]], people: str) -> dict[str, float]:
    table = pd.DataFrame(subjects).T
    if people == "untouched":
        table = table.drop(index=list(TUNED_ON), errors="ignore")
    columns = {}
    for score in SCORES:
        low, high = bootstrap_interval(table[score].to_numpy()) or (None, None)
        columns |= {score: table[score].mean(), f"{score}_low": low, f"{score}_high": high}
    return columns


def main(arguments: list[str] | None = None) -> int:
    """Writes the table of the runs given; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder of a finished run")
    parser.add_argument("--out", type=Path, default=TABLE, help="default: results/table.csv")
    options = parser.parse_args(arguments)
    tables = []
    for run in options.runs:
        metrics = RunFolder(run).metrics
        about = metrics.get("run", {})
        if "detection" not in metrics or about["recordings"]["kind"] != "real":
            print(f"{run}: expected a finished run on real recordings", file=sys.stderr)
            return 2
        if about["folds"] != about["recordings"]["subjects"]:
            print(f"{run}: only {', '.join(about['folds'])} were held out; expected everybody", file=sys.stderr)
            return 2
        tables.append(gather(metrics))
    table = pd.concat(tables)
    twice = table[table.duplicated(KEYS) & (table["generator"] != "none")]
    if len(twice):
        print(f"two runs have the same {dict(twice.iloc[0][KEYS])}; give one of them", file=sys.stderr)
        return 2
    # What needs no generator comes out of every run; that of the first one given stands for all.
    table = table.drop_duplicates(KEYS)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out, index=False, float_format="%.6g")
    print(f"{len(table)} results in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
