"""The table of results: one row a result, its numbers those of metrics.json."""

import copy

import numpy as np
import pandas as pd
import pytest

from wearsynth.files import write_json
from wearsynth.runs import RunFolder
from wearsynth.scores import SCORES, bootstrap_interval
from workflow import results
from workflow.report import budget_points, differences, person_table

PEOPLE = ("S2", "S6", "S7", "S9", "S11")


def record(detector, first, leaky=False):
    """Five people's scores, rising from `first`."""
    subjects = {name: dict.fromkeys(SCORES, first + 0.01 * number) for number, name in enumerate(PEOPLE)}
    return {"detector": detector, "seeds": 3, "leaky": leaky, "subjects": subjects}


@pytest.fixture
def metrics():
    protocols = {"trtr": record("cnn", 0.9), "tstr": record("cnn", 0.7), "tstr_leaky": record("cnn", 0.8, leaky=True)}
    private = {"private_cnn": {"trtr": record("private_cnn", 0.6)}}
    return {
        "run": {
            "parameters": {
                "generator": "cgan",
                "prior": "public",
                "signals": "extended",
                "scaling": "subject",
                "seed": 0,
            },
            "recordings": {"kind": "real", "subjects": list(PEOPLE), "study": {"name": "WESAD"}},
        },
        "model": {"folds": list(PEOPLE)},
        "privacy": {"private": True, "unit": "window", "epsilon": 1.0, "delta": 1e-4, "prior": "24 people"},
        "fidelity": {"c2st_auroc": 0.99, "psd_ratio": 2.0, "acf_ratio": 3.5, "ks_mean": 0.1},
        "detection": {
            "majority": record("majority", 0.5),
            "protocols": protocols,
            "baselines": {"logistic_regression": {"trtr": record("logistic_regression", 0.85)}},
            "private": {"0.1": private, "1.0": private},
        },
    }


def test_a_row_says_what_was_promised_and_what_took_part(metrics):
    table = results.gather([metrics]).query("people == 'all'")
    for protocol, leaky in {"tstr": False, "tstr_leaky": True}.items():
        (row,) = table[table["protocol"] == protocol].to_dict("records")
        promised = [row[name] for name in ("unit", "epsilon", "delta", "generator", "prior", "leaky", "c2st_auroc")]
        assert promised == ["window", 1.0, 1e-4, "cgan", "public", leaky, 0.99]
    for detector in ("majority", "cnn", "logistic_regression"):
        row = table[(table["detector"] == detector) & (table["protocol"] == "trtr")].iloc[0]
        assert (row["unit"], row["epsilon"], row["generator"], row["prior"]) == ("none", "inf", "none", "none")
        assert row[["delta", "c2st_auroc", "psd_ratio", "acf_ratio"]].isna().all()
    private = table.query("detector == 'private_cnn'")
    assert private["epsilon"].tolist() == [0.1, 1.0] and set(private["unit"]) == {"window"}
    assert set(private["generator"]) == {"none"}


def test_without_privacy_no_unit_is_named(metrics):
    metrics["privacy"] |= {"private": False, "epsilon": "inf"}
    row = results.gather([metrics]).query("protocol == 'tstr'").iloc[0]
    assert (row["unit"], row["epsilon"], row["generator"]) == ("none", "inf", "cgan")


def test_a_generator_has_a_row_for_each_prior(metrics):
    simulated, plain = copy.deepcopy(metrics), copy.deepcopy(metrics)
    simulated["run"]["parameters"]["prior"] = "simulated"
    plain["run"]["parameters"]["generator"], plain["privacy"]["prior"] = "levels", "none"
    table = results.gather([metrics, simulated, plain]).query("people == 'all' and protocol == 'tstr'")
    found = table[["generator", "prior"]].to_numpy().tolist()
    assert found == [["cgan", "public"], ["cgan", "simulated"], ["levels", "none"]]
    ways = budget_points(results.gather([metrics, simulated]).query("people == 'all'"), "window")["detector"].unique()
    assert {"cnn on cgan windows", "cnn on cgan windows, prior simulated"} < set(ways)


def test_untouched_people_are_those_that_no_setting_was_chosen_on(metrics):
    rows = results.gather([metrics]).query("detector == 'cnn' and protocol == 'tstr'").set_index("people")
    everybody, untouched = [0.70, 0.71, 0.72, 0.73, 0.74], [0.72, 0.73, 0.74]
    for people, values in {"all": everybody, "untouched": untouched}.items():
        low, high = bootstrap_interval(pd.Series(values).to_numpy())
        for score in SCORES:
            assert rows.loc[people, score] == pytest.approx(sum(values) / len(values))
            assert (rows.loc[people, f"{score}_low"], rows.loc[people, f"{score}_high"]) == pytest.approx((low, high))
        assert rows.loc[people, "seeds"] == 3


def test_of_another_study_nobody_is_called_untouched(metrics):
    """Nor touched: its S2 to S6 are other people than WESAD's."""
    metrics["run"]["recordings"]["study"]["name"] = "pain"
    assert set(results.gather([metrics])["people"]) == {"all"}


def with_seed(metrics, seed, more):
    """The same run with another seed, in which every score is higher."""
    other = copy.deepcopy(metrics)
    other["run"]["parameters"]["seed"] = seed
    other["fidelity"]["psd_ratio"] += more
    detection = other["detection"]
    for kind in (detection["protocols"], *detection["baselines"].values(), *detection["private"]["1.0"].values()):
        for each in kind.values():
            for scores in each["subjects"].values():
                scores.update({name: score + more for name, score in scores.items()})
    return other


def test_seeds_are_put_together_person_by_person(metrics):
    runs = [metrics, with_seed(metrics, 1, 0.02), with_seed(metrics, 2, 0.04)]
    alone = results.gather(runs[:1]).set_index(results.KEYS)
    table = results.gather(runs).set_index(results.KEYS)
    assert table.index.equals(alone.index)
    guess = table.index.get_level_values("detector") == "majority"
    for score in SCORES:
        assert (table[score] - alone[score])[~guess].to_numpy() == pytest.approx(0.02)
        assert table[score][guess].tolist() == alone[score][guess].tolist()
        assert table[f"{score}_sd_seeds"][~guess].to_numpy() == pytest.approx(0.02)  # of 0, 0.02 and 0.04
        assert alone[f"{score}_sd_seeds"].isna().all() and table[f"{score}_sd_seeds"][guess].isna().all()
    assert set(table["seeds"][guess]) == {3} and set(table["seeds"][~guess]) == {9}  # three detectors a run
    assert set(table["psd_ratio"].dropna().round(9)) == {2.02}


def test_what_needs_no_generator_counts_once_for_each_seed(metrics):
    other_budget = copy.deepcopy(metrics)
    other_budget["privacy"]["epsilon"] = 10.0
    table = results.gather([metrics, other_budget]).query("people == 'all' and detector == 'cnn'")
    assert table["protocol"].tolist() == ["trtr", "tstr", "tstr_leaky", "tstr", "tstr_leaky"]
    assert set(table["seeds"]) == {3}


def test_results_are_held_against_real_windows_person_by_person(metrics):
    """The people rise by 0.01 alike under both protocols, so that no difference has any spread."""
    tests = results.collect([metrics, with_seed(metrics, 1, 0.02)])
    found = differences(tests).reset_index()
    assert found["protocol"].tolist() == ["tstr", "tstr_leaky"]
    for score in ("accuracy", "f1_stress", "auroc"):
        assert found[score].tolist() == ["-0.200 [-0.200, -0.200]", "-0.100 [-0.100, -0.100]"]
    table = person_table(tests, "accuracy").reset_index().query("protocol == 'tstr'")
    assert table[list(PEOPLE)].to_numpy().ravel() == pytest.approx(0.71 + 0.01 * np.arange(5))  # of both seeds


def test_some_people_are_called_by_their_names(metrics):
    metrics["model"]["folds"] = ["S7", "S9"]
    assert set(results.gather([metrics])["people"]) == {"S7,S9"}
    metrics["model"]["folds"] = list(PEOPLE)
    metrics["run"]["recordings"]["kind"] = "simulated"
    table = results.gather([metrics])
    assert set(table["people"]) == {"all"} and set(table["recordings"]) == {"simulated"}


def test_runs_on_other_people_do_not_stand_in_one_table(metrics):
    other = copy.deepcopy(metrics)
    other["model"]["folds"] = ["S7"]
    with pytest.raises(results.UnfitRun, match="the same people"):
        results.gather([metrics, other])


def test_runs_that_were_made_otherwise_are_not_averaged(metrics):
    other = with_seed(metrics, 1, 0.0)
    metrics["run"]["parameters"]["steps"], other["run"]["parameters"]["steps"] = 2000, 500
    with pytest.raises(results.UnfitRun, match="differ in steps"):
        results.gather([metrics, other])


def test_what_jobs_took_is_read_as_snakemake_writes_it(tmp_path):
    header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    path = tmp_path / "fold" / "epsilon=1.0" / "S2.tsv"
    path.parent.mkdir(parents=True)
    path.write_text(header + "61.5\t0:01:01\t904.66\t3340.46\t784.5\t822.1\t0.27\t1.68\t39.9\t54.7\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "epsilon=9.0.tsv").write_text(path.read_text())  # no longer in the grid
    assert results.read_jobs(tmp_path, ["epsilon=1.0"]).to_dict("records") == [
        {"kind": "fold", "job": "epsilon=1.0/S2", "seconds": 61.5, "cpu_seconds": 54.7, "peak_mb": 904.66}
    ]


def test_runs_are_gathered_into_one_file_without_repetition(metrics, tmp_path):
    for name, epsilon in {"one": 1.0, "ten": 10.0}.items():
        metrics["privacy"]["epsilon"] = epsilon
        write_json(RunFolder(tmp_path / name).metrics_file, metrics)
    out = tmp_path / "results" / "table.csv"
    assert results.main([str(tmp_path / "one"), str(tmp_path / "ten"), "--out", str(out)]) == 0
    table = pd.read_csv(out, keep_default_na=False)
    tstr = table.query("protocol == 'tstr' and people == 'all'")
    assert tstr["epsilon"].astype(float).tolist() == [1.0, 10.0]
    assert not table.duplicated(results.KEYS).any()
    assert len(table.query("detector == 'cnn' and protocol == 'trtr'")) == 2  # all, and untouched


def refused(folders, tmp_path, capsys, monkeypatch):
    """The one line with which the runs are refused for the table of results."""
    out = tmp_path / "table.csv"
    monkeypatch.setattr(results, "TABLE", out)
    assert results.main([*map(str, folders), "--out", str(out)]) == 2 and not out.exists()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def hold_out_one(metrics):
    metrics["model"]["folds"] = ["S7"]
    metrics["detection"]["majority"]["subjects"] = {"S7": dict.fromkeys(SCORES, 0.5)}


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda metrics: metrics.pop("detection"), "expected a finished run"),
        (lambda metrics: metrics["detection"]["majority"]["subjects"].pop("S7"), "expected a finished run"),
        (lambda metrics: metrics["run"]["recordings"].update(kind="simulated"), "simulated recordings, held out: all"),
        (hold_out_one, "real recordings, held out: S7"),
    ],
    ids=["not finished", "detection of another run", "simulated", "some people only"],
)
def test_a_run_that_cannot_stand_in_the_table_is_refused(metrics, change, expected, tmp_path, capsys, monkeypatch):
    change(metrics)
    write_json(RunFolder(tmp_path / "run").metrics_file, metrics)
    assert expected in refused([tmp_path / "run"], tmp_path, capsys, monkeypatch)


def test_two_runs_for_one_row_are_refused(metrics, tmp_path, capsys, monkeypatch):
    for name in ("one", "again"):
        write_json(RunFolder(tmp_path / name).metrics_file, metrics)
    assert "two runs have the same" in refused([tmp_path / "one", tmp_path / "again"], tmp_path, capsys, monkeypatch)


def test_runs_of_different_code_are_remarked_on_in_the_report(metrics, tmp_path, capsys):
    for name, epsilon, code in (("one", 1.0, "a"), ("ten", 10.0, "b")):
        metrics["privacy"]["epsilon"] = epsilon
        metrics["run"]["code"] = code
        write_json(RunFolder(tmp_path / name).metrics_file, metrics)
    runs = [str(tmp_path / "one"), str(tmp_path / "ten")]
    for given, remarked in ((runs[:1], False), (runs, True)):
        arguments = [*given, "--out", str(tmp_path / "table.csv"), "--report", str(tmp_path / "report.html")]
        assert results.main(arguments) == 0
        said = "different versions of the code"
        assert (said in capsys.readouterr().err, said in (tmp_path / "report.html").read_text()) == (remarked, remarked)
