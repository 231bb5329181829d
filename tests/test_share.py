"""What is handed over: it is whole, true of the table, and silent on its owner; whoever receives it can tell."""

import hashlib
import json
import re
import shutil
import socket
import subprocess
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from wearsynth import __version__, figures, share
from wearsynth.datasheet import COLUMNS, FORBIDDEN
from wearsynth.figures import SIGNAL_UNITS
from wearsynth.files import PACKAGE, write_json
from wearsynth.generators import prior_of
from wearsynth.privacy import Promise
from wearsynth.public import find_cohort
from wearsynth.runs import SHARED, RunFolder
from wearsynth.share import CHECKSUMS, ShareError, check, check_licence, main, write_share
from wearsynth.statement import statement
from wearsynth.studies import of_content, read_study
from wearsynth.tables import save_table
from wearsynth.windows import EXTENDED

RELEASE = Promise(epsilon=1.0, delta=1e-4, release_share=1.0)
PEOPLE = {"Mia-Musterfrau": "d1ge57" * 5, "Otto-Obermann": "0bde57" * 5, "Ada-Amtmann": "ada157" * 5}
LEDGER = "/home/musterfrau/private-ledger.jsonl"
THIRD = read_study("wesad_three")
WARD = of_content(
    {"name": "Pain | ward", "positive": ["pain"], "negative": ["rest", "nap"], "schedule": "rest 1, pain 1, nap 1"}
)


def synthetic_table(study, signals=EXTENDED, people=3):
    """A table of synthetic people's form: a minute of each condition of the schedule, and half a one in between."""
    rng, parts = np.random.default_rng(0), []
    for number in range(1, people + 1):
        named = [name for part in study.read_schedule(study.schedule) for name in [part.condition] * 60]
        conditions = pd.Series([*named[:60], *["transient"] * 30, *named[60:]])
        values = rng.normal(20, 5, (len(conditions), len(signals)))
        person = pd.DataFrame(values, columns=list(signals))
        person.insert(0, "subject", f"syn{number:02d}")
        person.insert(1, "time", np.arange(len(conditions)))
        parts.append(person.assign(condition=conditions, label=study.label(conditions)))
    return pd.concat(parts, ignore_index=True)


def made_up_run(path, study=None, promise=RELEASE, kind="real", signals=EXTENDED, generator="steered"):
    """A run folder as it is when the synthetic people are drawn: of people whose names nobody may read."""
    study, run = study or read_study("wesad"), RunFolder(path / "musterfrau" / "run")
    about = {"kind": kind, "sha256": "5ha256" * 10, "people": PEOPLE, "subjects": [*PEOPLE]}
    run.record("run", {"recordings": about | {"study": study.public_facts}})
    so_far = {"file": LEDGER, "trainings": 15, "not_private": 0, "window": 12.3} if kind == "real" else None
    prior = prior_of(generator, find_cohort("public", kind))
    sizes = {"n_units": 432, "windows_per_second": 2, "most_windows_per_subject": 72}
    privacy = statement(promise, 0, seeded=False, uses=3, so_far=so_far, prior=prior, **sizes)
    run.record("model", {"key": "key", "promise": promise.sentence, "prior": prior, "folds": [*PEOPLE]})
    run.record("privacy", privacy)
    for name in ("02-Model", "01-Data"):
        run.finish(name, {})
    table = synthetic_table(study, signals)
    for suffix in (".csv", ".parquet"):
        save_table(table, run.shared_table.with_suffix(suffix))
    return run


def shared(path, licence="CC-BY-4.0", **changes):
    """The folder that such a run hands over, and its table."""
    run = made_up_run(path, **changes)
    write_share(run, run.study.read_schedule(run.study.schedule), licence)
    return run.share


@pytest.fixture(autouse=True, scope="module")
def no_pictures():
    """Drawing them takes most of the time; the chain of tests/test_run.py does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "as_png", lambda figure: b"")
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return shared(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def copy(whole, tmp_path):
    """One of its own for a test, as somebody receives it: with nothing around it."""
    return shutil.copytree(whole, tmp_path / "received")


def seal(folder):
    """Makes the checksums fit again, as whoever changes a file on purpose does."""
    names = [name for name in SHARED if name != CHECKSUMS]
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / CHECKSUMS).write_text("".join(sums))


CASES = {
    "wesad": {},
    "three classes": {"study": THIRD},
    "a study with five signals": {"study": WARD, "signals": ("EDA", "ACC_x", "ACC_y", "ACC_z", "ACC_movement")},
    "public": {"kind": "public", "study": read_study("stress_predict")},
    "simulated": {"kind": "simulated"},
    "without privacy": {"promise": Promise(epsilon=np.inf)},
    "for a person": {"promise": replace(RELEASE, unit="subject", epsilon=10.0, delta=1e-3)},
    "without a prior": {"generator": "levels"},
}


@pytest.mark.parametrize("case", CASES)
def test_all_of_it_is_there_and_passes_the_receivers_check(case, tmp_path):
    folder = shared(tmp_path, **CASES[case])
    assert {path.name for path in folder.iterdir()} == {*SHARED}
    promise = CASES[case].get("promise", RELEASE).sentence
    files, people, said = check(folder)
    assert files.startswith("9 files") and people.startswith("3 people") and promise in said
    for name in share.TELLING:
        assert promise in (folder / name).read_text(encoding="utf-8")
    for path in folder.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\{\w*\}|None|nan\b", text) and not re.search(r"  +\n|\n\n\n", text)


@pytest.mark.parametrize("case", CASES)
def test_nothing_of_the_owners_house_is_in_it(case, tmp_path):
    """No name of a person recorded, no digest, no ledger, no path of this machine."""
    folder = shared(tmp_path, **CASES[case])
    private = [*PEOPLE, *PEOPLE.values(), "5ha256", "ledger.jsonl", "musterfrau", str(tmp_path), str(PACKAGE)]
    for path in folder.iterdir():
        text = path.read_bytes().decode(errors="ignore").casefold()
        if path.suffix == ".parquet":
            text += pd.read_parquet(path).to_csv().casefold()
        assert not [name for name in private if name.casefold() in text], path.name
        assert not re.search(r"(?<![:/\w])/(home|root|tmp|work|usr|users)/", text), path.name


def test_the_promise_is_the_statement_but_for_the_ledgers_place(whole):
    run = RunFolder(whole.parent)
    told, stated = json.loads((whole / "privacy.json").read_text(encoding="utf-8")), run.metrics["privacy"]
    assert stated["spent_so_far"].pop("file") == LEDGER
    assert {name: value for name, value in told.items() if name in stated} == stated
    assert told.keys() - stated.keys() == {"promise", "learned_from", "software"}
    assert told["software"] == f"wearsynth {__version__}"
    page = (whole / "privacy.md").read_text(encoding="utf-8")
    assert "15 trainings under a promise" in page and "From the ledger" not in page
    assert all(line in page for line in stated["outside_guarantee"]) and "delta_times_units" in page


def examples(folder, language):
    return re.findall(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("case, signal", [("wesad", "HR"), ("a study with five signals", "EDA")])
def test_its_lines_of_python_load_it(case, signal, tmp_path, monkeypatch):
    folder = shared(tmp_path, **CASES[case])
    monkeypatch.chdir(folder)
    (lines,) = examples(folder, "python")
    names = {}
    exec(lines, names)  # noqa: S102
    study = CASES[case].get("study", read_study("wesad"))
    expected = synthetic_table(study, CASES[case].get("signals", EXTENDED))
    assert [*names["people"]] == [*expected] and len(names["people"]) == len(expected)
    of_first = expected.query("subject == 'syn01' and label == 1")[signal].mean()
    assert names["means"].loc["syn01", 1] == pytest.approx(of_first, rel=1e-7)
    assert f"aggregate({signal} ~" in examples(folder, "r")[0]


@pytest.mark.parametrize("case", ["wesad", "three classes", "a study with five signals"])
def test_the_columns_described_are_those_of_the_table(case, tmp_path):
    folder = shared(tmp_path, **CASES[case])
    table = pd.read_csv(folder / "synthetic_1hz.csv")
    page = (folder / "README.md").read_text(encoding="utf-8")
    rows = [line[2:-2].split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert [row[0].strip("`") for row in rows] == [*table]
    for (_, meaning, unit, reach), name in zip(rows, table):
        assert meaning.startswith(COLUMNS[name][0]) and unit == COLUMNS[name][1]
        if name in EXTENDED:
            low, high = (float(end) for end in reach.split(" to "))
            assert (low, high) == pytest.approx((table[name].min(), table[name].max()), rel=1e-3)  # four digits
    study = CASES[case].get("study", read_study("wesad"))
    assert rows[-1][1].endswith(
        f": 0: {' or '.join(study.negative)}; 1: {study.positive[0]}"
        + "; 2: amusement" * (len(study.classes) > 2)
        + "; empty in between"
    )


def test_the_page_to_look_at_tells_what_follows_from_the_table_and_the_promise(whole):
    """No number of the run but the privacy statement's is there to be read, and no table of people recorded."""
    page = BeautifulSoup((whole / "report.html").read_text(encoding="utf-8"), "html.parser")
    answers = {row.find("td").text: row.find_all("td")[1].text for row in page.select(".answers tbody tr")}
    asked = ["Is it useful?", "Is it lifelike?", "What does an attacker gain?"]
    assert answers == {"What is promised to a person?": "✘ bad"} | dict.fromkeys(asked, "– left out")
    text = " ".join(page.text.split())
    assert "without noise" in text and "epsilon at most" in text and "not to be passed on" not in text
    assert all(use.rstrip(".") in text for use in FORBIDDEN) and "CC-BY-4.0" in text
    names, *rows = [[cell.text for cell in row.find_all(["th", "td"])] for row in page.select(".dataframe")[-1]("tr")]
    levels = {row[0]: dict(zip(names, row)) for row in rows}
    table = pd.read_csv(whole / "synthetic_1hz.csv").query("condition == 'stress'")
    each = [rows["HR"].median() for _, rows in table.groupby("subject")]
    mean, spread = (float(part) for part in levels["HR (beats/min)"]["stress"].split(" ± "))
    assert mean == pytest.approx(np.mean(each), rel=5e-3) and spread == pytest.approx(np.std(each, ddof=1), rel=5e-2)
    assert names == ["", "baseline", "stress", "amusement"]


def test_units_of_pictures_and_pages_are_those_of_the_signals():
    assert {name: SIGNAL_UNITS[name] for name in EXTENDED} == {
        **{"BVP": "a.u.", "EDA": "µS", "ACC_x": "g", "ACC_y": "g", "ACC_z": "g", "TEMP": "°C"},
        **{"HR": "beats/min", "BVP_amplitude": "a.u.", "ACC_movement": "g"},
    }


@pytest.fixture
def offline(monkeypatch):
    """Whoever asks for a connection fails."""

    def refuse(*_):
        raise AssertionError("asks for a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("case", ["wesad", "three classes", "a study with five signals"])
def test_croissants_own_reader_accepts_the_metadata_and_loads_the_table(case, tmp_path, offline):
    """By the reference implementation: from the file, beside the table, and with nothing fetched."""
    import mlcroissant

    folder = shared(tmp_path, **CASES[case])
    metadata = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    paths = {name: folder / name for name in ("synthetic_1hz.csv", "synthetic_1hz.parquet")}
    assert not mlcroissant.Dataset(jsonld=metadata, mapping=paths).metadata.ctx.issues.errors
    dataset = mlcroissant.Dataset(jsonld=folder / "croissant.json")
    assert dataset.metadata.license == ["https://spdx.org/licenses/CC-BY-4.0"]
    for name in ("data_collection", "data_biases", "personal_sensitive_information", "data_use_cases"):
        assert getattr(dataset.metadata, name), name
    assert dataset.metadata.data_limitations and dataset.metadata.data_release_maintenance_plan
    table = pd.read_csv(folder / "synthetic_1hz.csv")
    for record, (_, row) in zip(dataset.records("seconds"), table.head(100).iterrows()):
        assert [*record] == [f"seconds/{name}" for name in table]
        for name, expected in row.items():
            value = record[f"seconds/{name}"]
            value = value.decode() if isinstance(value, bytes) else value
            assert (value is None and np.isnan(expected)) or value == expected, name
    for file in metadata["distribution"]:
        assert file["sha256"] == hashlib.sha256(paths[file["name"]].read_bytes()).hexdigest()
        assert file["contentSize"] == f"{paths[file['name']].stat().st_size} B"


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="takes sha256sum")
def test_checksums_are_those_that_sha256sum_finds(whole):
    done = subprocess.run(["sha256sum", "--strict", "-c", CHECKSUMS], cwd=whole, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == len(SHARED) - 1 and not done.stderr


def test_licence_citations_and_the_public_peoples_notice_go_along(tmp_path):
    page = (shared(tmp_path, "LicenseRef-ward") / "README.md").read_text(encoding="utf-8")
    assert "\nLicenseRef-ward\n" in page and "spdx.org" not in page
    assert "doi 10.3390/s22218135" in page and "10.1145/3242969.3242985" in page
    notice = (PACKAGE.parent / "data" / "public" / "LICENSE").read_text(encoding="utf-8").strip()
    assert f"```text\n{notice}\n```" in page
    without = (shared(tmp_path / "levels", generator="levels") / "README.md").read_text(encoding="utf-8")
    assert "MIT" not in without and "Stress-Predict" not in without


def test_the_datasheet_asks_all_that_gebru_and_others_ask(whole):
    page = (whole / "datasheet.md").read_text(encoding="utf-8")
    titles = ["Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution", "Maintenance"]
    assert re.findall("^## (.*)$", page, re.MULTILINE) == titles
    assert "10.1145/3458723" in page and "3 people, 720 s" not in page and "3 people" in page
    assert re.search(r"On \d{4}-\d\d-\d\d\.", page) and str(date.today().year) in page


@pytest.mark.parametrize("licence", ["CC-BY-4.0", "CC0-1.0", "MIT", "0BSD", "GPL-2.0+", "LicenseRef-our-own.1"])
def test_identifiers_of_licences_pass(licence):
    check_licence(licence)


@pytest.mark.parametrize("licence", ["", " ", "CC BY 4.0", "MIT\n", "4.0", "-MIT", "x/y", "a" * 99, "é"])
def test_what_is_no_identifier_is_refused_with_the_way_out(licence):
    with pytest.raises(ValueError, match="^licence=.*expected an SPDX identifier, such as CC-BY-4.0") as caught:
        check_licence(licence)
    assert "\n" not in str(caught.value)


def with_json(name, change):
    """Changes a JSON file of a folder."""

    def tamper(folder):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        change(content)
        write_json(folder / name, content)

    return tamper


def with_table(change, *names):
    """Changes the table in files of a folder, CSV and Parquet alike, and says so in the metadata."""

    def tamper(folder):
        table = change(pd.read_csv(folder / "synthetic_1hz.csv"))
        for name in names:
            save_table(table, folder / name)
        digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
        fit = with_json(
            "croissant.json",
            lambda content: [
                file.update(sha256=digests.get(file["name"], file["sha256"])) for file in content["distribution"]
            ],
        )
        fit(folder)

    return tamper


def one_byte(folder):
    path = folder / "synthetic_1hz.csv"
    content = path.read_bytes()
    path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])


BOTH = ("synthetic_1hz.csv", "synthetic_1hz.parquet")
TAMPERINGS = {  # what is done, and what is said; whoever does it makes the checksums fit
    "a removed page": (lambda folder: (folder / "datasheet.md").unlink(), "datasheet.md is missing"),
    "a file more": (lambda folder: (folder / "real.csv").write_text("S2"), "real.csv is none of the files"),
    "a draft left": (lambda folder: (folder / ".7.privacy.json").write_text("{}"), ".7.privacy.json is none of"),
    "one byte": (one_byte, "synthetic_1hz.csv is not the file that croissant.json describes"),
    "a smaller epsilon": (
        with_json("privacy.json", lambda privacy: privacy.update(epsilon=0.1)),
        "and its numbers .*under \\(0.1, 0.0001\\)",
    ),
    "a smaller epsilon, in words too": (
        with_json(
            "privacy.json",
            lambda privacy: privacy.update(epsilon=2, promise=privacy["promise"].replace("(1,", "(2,")),
        ),
        "README.md does not say .*under \\(2, 0.0001\\).*as privacy.json does",
    ),
    "another unit": (with_json("privacy.json", lambda privacy: privacy.update(unit="subject")), "for one subject"),
    "more spent": (
        with_json("privacy.json", lambda privacy: privacy["spent"].update(window=3)),
        "has spent more than it promises",
    ),
    "no guarantee": (with_json("privacy.json", lambda privacy: privacy.update(private=False)), "no privacy guarantee"),
    "another page": (
        lambda folder: (folder / "README.md").write_text("under (0.1, 0.0001)-differential privacy for one window"),
        "README.md does not say",
    ),
    "a column more": (
        with_table(lambda table: table.assign(name="Mia"), *BOTH),
        "synthetic_1hz.csv has the columns .*label, name, and croissant.json",
    ),
    "a column less": (with_table(lambda table: table.drop(columns="EDA"), *BOTH), "has the columns subject, time, BVP"),
    "other units": (
        with_table(lambda table: table.assign(TEMP=table["TEMP"] * 1.8 + 32), *BOTH),
        "TEMP does not reach from",
    ),
    "a row less": (with_table(lambda table: table.iloc[:-1], BOTH[1]), "synthetic_1hz.parquet is another table"),
    "another person": (
        with_table(lambda table: table.assign(subject=table["subject"].replace("syn02", "syn9")), BOTH[1]),
        "synthetic_1hz.parquet is another table than synthetic_1hz.csv: see subject",
    ),
    "a gap": (with_table(lambda table: table.assign(EDA=np.nan), *BOTH), "cannot be read .*missing or infinite"),
    "damaged metadata": (lambda folder: (folder / "croissant.json").write_text("[" * 10**5), "cannot be read"),
    "metadata of nothing": (lambda folder: (folder / "croissant.json").write_text("[]"), "cannot be read"),
    "a promise of nothing": (lambda folder: (folder / "privacy.json").write_text("{}"), "cannot be read"),
    "no table at all": (lambda folder: (folder / "synthetic_1hz.parquet").write_bytes(b"\0PAR"), "is not the file"),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_each_kind_of_tampering_is_found(what, copy):
    assert check(copy)
    tamper, said = TAMPERINGS[what]
    tamper(copy)
    if (copy / "datasheet.md").exists():
        seal(copy)
    with pytest.raises(ShareError, match=f"^{copy}: .*{said}.*; ask for the folder anew$") as caught:
        check(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in SHARED if name != CHECKSUMS])
def test_a_changed_byte_is_found_in_any_file(name, copy):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ShareError, match=f"{name} is not as it was handed over"):
        check(copy)


def test_the_command_ends_with_a_status_and_one_line(copy, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["share", str(copy)])
    assert main() == 0 and capsys.readouterr().out.count("\n") == 3
    one_byte(copy)
    assert main() == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("share: ") and not said.out
    monkeypatch.setattr("sys.argv", ["share", str(copy / "nowhere")])
    assert main() == 1 and "No such file" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["share"])
    assert main() == 2


@pytest.mark.parametrize("notebook", ["01-Data", "02-Model", "03-Generator"])
def test_nothing_stale_stays(notebook, tmp_path):
    folder = shared(tmp_path)
    (folder / ".123.synthetic_1hz.csv").write_text("a draft of somebody who was killed")
    run = RunFolder(folder.parent)
    run.begin(notebook)
    assert not folder.exists()


def test_what_somebody_has_put_there_is_theirs(tmp_path):
    folder = shared(tmp_path)
    (folder / "letter.txt").write_text("Dear all")
    RunFolder(folder.parent).begin("03-Generator")
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


def test_whoever_is_stopped_leaves_no_checksums(tmp_path, monkeypatch):
    """So nobody takes half of it for whole."""
    run = made_up_run(tmp_path)
    monkeypatch.setattr(share.shutil, "copyfile", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_share(run, run.study.read_schedule(run.study.schedule), "MIT")
    assert (run.share / "README.md").exists() and not list(run.share.glob("*synthetic*"))
    with pytest.raises(ShareError, match=f"{CHECKSUMS} is missing"):
        check(run.share)


def test_a_run_that_starts_from_another_takes_it_over_whole(tmp_path):
    folder = shared(tmp_path)
    new = RunFolder(tmp_path / "new")
    new.start_from([RunFolder(folder.parent)])
    assert check(new.share) == check(folder)
