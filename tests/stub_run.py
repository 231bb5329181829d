"""Stands in for run.py in the tests of the workflow: the same command line and the same files, in no time.

It notes each call in calls.txt in the sweep's folder. A file `fail` there holds the folder that is to fail, a file
`hang` the one that is to wait.
"""

import argparse
import json
import sys
import time
from pathlib import Path

SCORES = ("accuracy", "f1_stress", "f1_macro", "balanced_accuracy", "auroc", "brier")
RECORDINGS = {"kind": "simulated", "subjects": ["S2", "S3", "S4"]}

parser = argparse.ArgumentParser()
parser.add_argument("--out")
parser.add_argument("--from", action="append", dest="start_from", default=[])
parser.add_argument("--prepare", action="store_true")
parser.add_argument("-p", nargs=2, action="append", default=[])
options = parser.parse_args()
parameters = dict(options.p) | {
    "generator": "cgan",
    "prior": "public",
    "signals": "extended",
    "scaling": "subject",
    "seed": 0,
}


def told(what):
    return Path(what).exists() and Path(what).read_text() == options.out


with open("calls.txt", "a") as calls:
    calls.write(options.out + "\n")
if told("fail"):
    sys.exit("run.py: 02-Model, cell 5: ValueError: asked to fail")
while told("hang"):
    time.sleep(0.1)
assert all((Path(folder) / "metrics.json").exists() for folder in options.start_from)

metrics = {"run": {"recordings": RECORDINGS}}
if not options.prepare:
    folds, epsilon = parameters["folds"].split(","), float(parameters["epsilon"])
    scores = {name: dict.fromkeys(SCORES, 0.75 if epsilon > 1 else 0.5) for name in folds}
    record = {"detector": "cnn", "seeds": 1, "leaky": False, "subjects": scores}
    metrics["run"]["parameters"] = parameters
    metrics["model"] = {"folds": folds}
    metrics["privacy"] = {
        "private": epsilon == 1,
        "unit": "window",
        "epsilon": epsilon,
        "delta": 1e-4,
        "prior": "24 people",
    }
    metrics["fidelity"] = {"c2st_auroc": 1.0, "psd_ratio": 2.0, "acf_ratio": 3.0}
    protocols = {"trtr": record, "tstr": record, "augmented": record}
    metrics["detection"] = {"majority": record | {"detector": "majority"}, "protocols": protocols}
    metrics["detection"] |= {"baselines": {}, "private": {}}
folder = Path(options.out)
folder.mkdir(parents=True, exist_ok=True)
(folder / "report.html").write_text("report")
(folder / "metrics.json").write_text(json.dumps(metrics))
written = "windows/prior.npz" if options.prepare else "finished/05-Stress_Detection.json"
(folder / "data" / written).parent.mkdir(parents=True, exist_ok=True)
(folder / "data" / written).write_text("{}")
