"""Readers: the same recording is the same table, in whatever layout it comes; and what is refused."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import run
from wearsynth import exports, wesad
from wearsynth.public import find_cohort
from wearsynth.readers import find_people, find_recordings, read_table
from wearsynth.recordings import SIGNALS, RecordingError
from wearsynth.resampling import one_hertz
from wearsynth.runs import RunFolder
from wearsynth.simulation import simulate_recording, write_cohort
from wearsynth.studies import WESAD, Study, read_study
from wearsynth.tables import load_table, save_table
from wearsynth.windows import make_windows

SHARED = Path(__file__).parents[2] / "shared"
START = 1_644_227_574  # s since 1970
FILES = {"ACC": "acc", "BVP": "bvp", "EDA": "eda", "TEMP": "temp"}


@pytest.fixture(scope="module")
def people():
    return {name: simulate_recording(name, 0)[0] for name in ("S2", "S3")}


@pytest.fixture(scope="module")
def tables(people):
    return {name: one_hertz(person) for name, person in people.items()}


def export(recording, folder, start=START, seconds=slice(None), late=None):
    """Writes a recording as the wristband's maker does; `late` signals start so many seconds before the others."""
    folder.mkdir(parents=True)
    for name, (rate, _) in wesad.WRIST.items():
        values = getattr(recording, FILES[name]) * (64 if name == "ACC" else 1)
        values = values.reshape(len(values), -1)[slice(*(at and at * rate for at in (seconds.start, seconds.stop)))]
        before = (late or {}).get(name, 0)
        values = np.concatenate([np.repeat(values[:1], before * rate, axis=0), values])
        head = np.full((2, values.shape[1]), [[start - before], [rate]])
        np.savetxt(folder / f"{name}.csv", np.concatenate([head, values]), fmt="%.9f", delimiter=",")


def state(folder, recordings, start=0, how=str):
    """Writes who was in which condition when."""
    rows = []
    for name, recording in recordings.items():
        code = recording.label[::700]
        edges = np.flatnonzero(np.diff(np.r_[-1, code, -1]))
        rows += [
            (name, how(start + begin), how(start + end), WESAD.codes[code[begin]])
            for begin, end in zip(edges, edges[1:])
            if code[begin]
        ]
    pd.DataFrame(rows, columns=exports.COLUMNS).to_csv(folder / exports.CONDITIONS, index=False)


def assert_same(table, expected):
    """Files hold nine digits behind the point."""
    pd.testing.assert_frame_equal(table[["condition", "label"]], expected[["condition", "label"]])
    for name in SIGNALS:
        np.testing.assert_allclose(table[name], expected[name], atol=1e-5, err_msg=name)


# Sessions as the wristband exports them


@pytest.fixture(scope="module")
def exported_once(people, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    for name, person in people.items():
        export(person, folder / name)
    state(folder, people)
    return folder


@pytest.fixture
def exported(exported_once, tmp_path):
    """A copy of them, which a test may change."""
    return shutil.copytree(exported_once, tmp_path, dirs_exist_ok=True)


def test_exports_give_what_pickles_give(exported, tables):
    table, quality, _ = read_table(exported)
    assert find_people(exported) == list(quality.index) == ["S2", "S3"] and len(find_recordings(exported)) == 9
    for name, expected in tables.items():
        assert_same(table[table["subject"] == name].reset_index(drop=True), expected)


def test_so_do_zips_of_them(exported, tables):
    for name in ("S2", "S3"):
        shutil.make_archive(exported / name, "zip", *((exported / name,) if name == "S2" else (exported, name)))
        shutil.rmtree(exported / name)
    table = read_table(exported).table
    for name, expected in tables.items():
        assert_same(table[table["subject"] == name].reset_index(drop=True), expected)


@pytest.mark.parametrize(
    "how",
    [
        lambda seconds: f"{START + seconds}.0",
        lambda seconds: pd.Timestamp(START + seconds, unit="s", tz="UTC").isoformat(),
        lambda seconds: pd.Timestamp(START + seconds, unit="s", tz="UTC").tz_convert("Asia/Kolkata").isoformat(),
    ],
    ids=["since 1970", "UTC", "another time zone"],
)
def test_whatever_a_time_is_written_as(exported, people, tables, how):
    state(exported, people, how=how)
    assert_same(read_table(exported).table.query("subject == 'S2'"), tables["S2"])


def test_times_may_be_tags(exported, people):
    label = people["S2"].label[::700]
    begin = int(np.argmax(label == 2))
    end = begin + int(np.argmin(label[begin:] == 2))
    (exported / "S2" / "tags.csv").write_text(f"{START + begin}.00\n{START + end}.00\n")
    rest = (exported / exports.CONDITIONS).read_text().splitlines()
    kept = [row for row in rest if not (row.startswith("S2") and row.endswith("stress"))]
    (exported / exports.CONDITIONS).write_text("\n".join([*kept, "S2,tag 1,tag 2,stress"]))
    assert read_table(exported).quality.loc["S2", "stress, min"] == round((end - begin) / 60, 1)


def test_signals_that_start_earlier_are_cut(people, tables, tmp_path):
    export(people["S2"], tmp_path / "S2", late={"EDA": 7, "ACC": 3})
    state(tmp_path, {"S2": people["S2"]})
    reading = read_table(tmp_path)
    assert_same(reading.table, tables["S2"])
    assert reading.quality["drift, s/h"].tolist() == [0]  # they end together


def test_the_drift_of_exports_is_in_how_far_apart_they_end(exported, people):
    """They are cut to what they share: the table itself does not show it."""
    n_seconds = len(people["S2"].eda) // 4
    lines = (exported / "S2" / "TEMP.csv").read_text().splitlines(keepends=True)
    (exported / "S2" / "TEMP.csv").write_text("".join(lines[:-8]))
    assert read_table(exported).quality["drift, s/h"].tolist() == [round(2 * 3600 / n_seconds, 1), 0]


def test_several_sessions_stand_on_one_clock_and_no_time_is_made_up(people, tmp_path):
    n_seconds = len(people["S2"].eda) // 4
    export(people["S2"], tmp_path / "S2" / "morning", seconds=slice(0, n_seconds // 2))
    later = START + n_seconds // 2 + 3600
    export(people["S2"], tmp_path / "S2" / "noon", start=later, seconds=slice(n_seconds // 2, n_seconds))
    rows = [
        "person,start,end,condition",
        "S2,60,300,baseline",
        "S2,300,360,reading",
        f"S2,{later + 60},{later + 400},stress",
    ]
    (tmp_path / exports.CONDITIONS).write_text("\n".join(rows))
    table = read_table(tmp_path).table
    assert len(table) == n_seconds and table["time"].diff().max() == 3601
    assert table.query("label == 1")["time"].agg(["min", "max"]).tolist() == [later - START + 60, later - START + 399]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real exports are not there (../shared/stress_predict)")
def test_real_exports_give_the_embedded_table(tmp_path):
    shutil.copy(SHARED / "stress_predict" / "e4_sessions" / "S02.zip", tmp_path)
    rows = ["person,start,end,condition", "S02,10,622,baseline", "S02,tag 1,tag 2,stress"]
    (tmp_path / exports.CONDITIONS).write_text("\n".join(rows))
    table = read_table(tmp_path, read_study("stress_predict")).table
    embedded = find_cohort("public").table().query("subject == 'S2'")
    steps = {"BVP": 0.01, "EDA": 1e-4, "TEMP": 1e-3, "HR": 0.01, "BVP_amplitude": 1e-3, "ACC_movement": 1e-5}
    for name in SIGNALS:  # to which the embedded one is rounded
        np.testing.assert_allclose(table[name], embedded[name], atol=0.51 * steps.get(name, 1e-4), err_msg=name)


def in_file(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


SPOILED = {
    "no table of conditions": (lambda at: (at / exports.CONDITIONS).unlink(), "conditions.csv: no such file"),
    "other columns": (lambda at: in_file(at / exports.CONDITIONS, "person", "who"), "expected person,start,end"),
    "no offset": (
        lambda at: in_file(at / exports.CONDITIONS, "\nS2,", "\nS2,2026-10-25T14:30:00,9999,baseline\nS2,"),
        "'2026-10-25T14:30:00': expected .*offset from UTC",
    ),
    "no such tag": (
        lambda at: in_file(at / exports.CONDITIONS, "\nS2,", "\nS2,tag 1,tag 2,stress\nS2,"),
        "'tag 1': expected a number from 1 to 0",
    ),
    "backwards": (
        lambda at: in_file(at / exports.CONDITIONS, "\nS2,", "\nS2,50,40,stress\nS2,"),
        "S2, stress: from 50 to 40: expected an end after the start",
    ),
    "another rate": (lambda at: in_file(at / "S2" / "EDA.csv", "\n4.0", "\n8.0"), "EDA.csv: has a rate of 8 Hz"),
    "words": (lambda at: in_file(at / "S2" / "EDA.csv", "\n", "\nabc\n"), "EDA.csv: cannot be read"),
    "a file less": (lambda at: (at / "S2" / "TEMP.csv").unlink(), "TEMP.csv: no such file; expected an Empatica E4's"),
    "empty": (lambda at: (at / "S2" / "TEMP.csv").write_text(""), "TEMP.csv: cannot be read"),
    "no zip": (lambda at: (at / "S4.zip").write_text("<html>"), "S4.zip: cannot be read as a zip"),
    "twice": (lambda at: shutil.make_archive(at / "S2", "zip", at / "S2"), "S2 is there once more"),
    "a twin": (lambda at: shutil.copytree(at / "S2", at / "S9"), "S9: has no 60 s of"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED)
def test_exports_that_are_refused(exported, spoil, message):
    spoil(exported)
    with pytest.raises(RecordingError, match=message) as caught:
        read_table(exported)
    assert str(caught.value).startswith(str(exported)) and "\n" not in str(caught.value)


def test_a_zip_that_announces_what_nobody_has_the_memory_for_is_refused(exported, monkeypatch):
    monkeypatch.setattr(exports, "MOST_BYTES", 1000)
    with pytest.raises(RecordingError, match="csv: has [0-9]+ bytes: expected at most 1000"):
        read_table(exported)


# WESAD, as it is downloaded


def test_wesad_is_read_as_folder_parent_and_zip(tmp_path):
    write_cohort(tmp_path / "unpacked" / "WESAD", 2)
    shutil.make_archive(tmp_path / "wesad", "zip", tmp_path / "unpacked")
    expected = read_table(tmp_path / "unpacked" / "WESAD")
    for path in (tmp_path / "unpacked", tmp_path / "wesad.zip"):
        assert find_people(path) == ["S2", "S3"]
        table, quality, _ = read_table(path)
        pd.testing.assert_frame_equal(table, expected.table)
        pd.testing.assert_frame_equal(quality, expected.quality)
    assert find_recordings(tmp_path / "wesad.zip") == [tmp_path / "wesad.zip"]


def test_wesads_own_exports_beside_its_pickles_are_no_other_layout(people, tmp_path):
    write_cohort(tmp_path, 2)
    export(people["S2"], tmp_path / "S2" / "S2_E4_Data")
    shutil.make_archive(tmp_path / "S2" / "S2_E4_Data", "zip", tmp_path / "S2" / "S2_E4_Data")
    assert find_people(tmp_path) == ["S2", "S3"] and len(find_recordings(tmp_path)) == 2


def test_a_damaged_zip_is_refused(tmp_path):
    write_cohort(tmp_path / "WESAD", 1)
    path = Path(shutil.make_archive(tmp_path / "wesad", "zip", tmp_path, "WESAD"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=r"S2\.pkl: cannot be read as a pickle .*Get it again"):
        read_table(path)
    path.write_text("<html>not found</html>")
    with pytest.raises(RecordingError, match="wesad.zip: is no folder, no zip and no table"):
        read_table(path)


def test_a_pickle_in_a_zip_is_read_within_what_it_announces(tmp_path):
    with zipfile.ZipFile(tmp_path / "wesad.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("S2/S2.pkl", b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + bytes(10**6))
    with pytest.raises(RecordingError, match="it ends before what it announces"):
        read_table(tmp_path / "wesad.zip")


def test_two_layouts_at_once_are_refused(people, tmp_path):
    write_cohort(tmp_path, 1)
    export(people["S3"], tmp_path / "S3")
    with pytest.raises(RecordingError, match="WESAD's layout.* and an Empatica E4's exports.* at once"):
        read_table(tmp_path)


def test_numbers_of_a_pickle_stand_for_the_studys_conditions(tmp_path):
    write_cohort(tmp_path, 1)
    (tmp_path / "study.yaml").write_text(
        "name: x\npositive: [jury]\nnegative: [rest]\nschedule: rest 20, jury 10\ncodes: {1: rest, 2: jury}\n"
    )
    table = read_table(tmp_path, read_study(tmp_path / "study.yaml")).table
    expected = read_table(tmp_path).table["condition"].replace({"baseline": "rest", "stress": "jury"})
    known = expected.isin(["rest", "jury"])
    assert (table["condition"][known] == expected[known]).all() and (table["condition"][~known] == "transient").all()
    assert table["label"].isna().equals(~known)


# Tables


@pytest.fixture
def plain(tables):
    return pd.concat(tables.values(), ignore_index=True).drop(columns="label")


def read_back(table, path, study=WESAD):
    table.to_parquet(path, index=False) if path.suffix == ".parquet" else table.to_csv(path, index=False)
    return read_table(path, study)


def test_a_table_comes_back_as_it_was(plain, tables, tmp_path):
    expected = pd.concat(tables.values(), ignore_index=True)
    for name in ("table.csv", "table.csv.gz", "table.parquet"):
        pd.testing.assert_frame_equal(read_back(plain, tmp_path / name).table, expected)
    by_label = expected.drop(columns="condition")
    table = read_back(by_label, tmp_path / "labels.csv").table
    pd.testing.assert_series_equal(table["label"], expected["label"])
    assert set(table["condition"]) == {"baseline", "stress", "transient"}


def test_a_table_may_lack_signals(plain, tables, tmp_path):
    absent = ["BVP", "TEMP", "ACC_y", "BVP_amplitude"]
    expected = pd.concat(tables.values(), ignore_index=True).drop(columns=absent)
    table = read_back(plain.drop(columns=absent), tmp_path / "fewer.csv").table
    pd.testing.assert_frame_equal(table, expected)
    save_table(table, tmp_path / "written.csv")
    pd.testing.assert_frame_equal(load_table(tmp_path / "written.csv"), expected, rtol=1e-7)


def test_time_stamps_and_more_rows_a_second_become_seconds(plain, tables, tmp_path):
    """Four rows a second about the second's value, in local time, over the night in which clocks are put back."""
    often = plain.loc[plain.index.repeat(4)].reset_index(drop=True)
    quarter = np.tile([0, 0.25, 0.5, 0.75], len(plain))
    often[list(SIGNALS)] += np.tile([-0.3, 0.1, 0.3, -0.1], len(plain))[:, None]
    begin = pd.Timestamp("2026-10-25T00:30:00Z")
    stamps = (begin + pd.to_timedelta(often["time"] + quarter, unit="s")).dt.tz_convert("Europe/Berlin")
    expected = pd.concat(tables.values(), ignore_index=True)
    for time, name in ((stamps.map(pd.Timestamp.isoformat), "often.csv"), (stamps, "often.parquet")):
        table = read_back(often.assign(time=time), tmp_path / name).table
        np.testing.assert_allclose(table[list(SIGNALS)], expected[list(SIGNALS)], atol=1e-9)
        pd.testing.assert_frame_equal(table[["time", "condition", "label"]], expected[["time", "condition", "label"]])


def test_short_gaps_are_filled_and_long_ones_have_no_label(plain, tmp_path):
    labelled = np.flatnonzero(plain["condition"] == "baseline")[100:]
    plain.loc[labelled[:5], "EDA"] = np.nan
    plain.loc[labelled[50:60], "HR"] = np.nan
    table, quality, _ = read_back(plain, tmp_path / "gaps.csv")
    assert table[list(SIGNALS)].notna().all(axis=None)
    assert (table["condition"][labelled[50:60]] == "transient").all() and table["label"][labelled[:5]].eq(0).all()
    assert quality.loc["S2", ["filled, s", "missing, s"]].tolist() == [5, 10]
    table, quality, _ = read_back(plain, tmp_path / "gaps.csv", replace(WESAD, longest_gap=10))
    assert table["label"][labelled[50:60]].eq(0).all()
    assert quality.loc["S2", ["filled, s", "missing, s"]].tolist() == [15, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="time"), "has no column time: expected"),
        (lambda table: table[["subject", "time", "HR", "condition"]], "has no column for a second signal: expected"),
        (lambda table: table.rename(columns={"ACC_x": "acc x (g)"}), "column 'acc x .g.': call it ACC_x"),
        (lambda table: table.drop(columns="condition"), "has no column condition or label: expected"),
        (lambda table: table.assign(label=3).drop(columns="condition"), "S2: label 3.*: expected 0, 1 or nothing"),
        (lambda table: table.assign(HR="high"), "expected numbers"),
        (lambda table: table.assign(time=table["time"].map("2026-10-25T02:30:{:05}".format)), "no offset from UTC"),
        (lambda table: table.assign(EDA=np.nan), "S2: EDA is missing in 100% of the seconds"),
        (lambda table: table[::-1], "expected rows in order of time"),
    ],
)
def test_tables_that_are_refused(plain, tmp_path, change, message):
    with pytest.raises(RecordingError, match=message):
        read_back(change(plain), tmp_path / "table.csv")


# The same recording, told in another way


def windows_of(table):
    return make_windows(table, "extended", "public", 60, 30)


@settings(max_examples=20, deadline=None)
@given(
    cut=st.integers(0, 60),
    shift=st.integers(-(10**6), 10**9),
    zone=st.sampled_from([None, "UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
    rate=st.sampled_from([1, 2, 5]),
)
def test_a_table_told_in_another_way_gives_the_same_windows(tables, tmp_path_factory, cut, shift, zone, rate):
    """To the bit but for rounding: before the first label nothing is lost, and of several rows the mean counts."""
    person = tables["S2"].iloc[cut:1500].drop(columns="label")
    often = person.loc[person.index.repeat(rate)].reset_index(drop=True)
    often["time"] += shift + np.tile(np.arange(rate) / rate, len(person))
    if zone is not None:
        stamps = pd.to_datetime(often["time"], unit="s", utc=True).dt.round("ms").dt.tz_convert(zone)
        often["time"] = stamps.map(pd.Timestamp.isoformat)
    path = tmp_path_factory.mktemp("table") / "table.csv"
    often.to_csv(path, index=False)
    found, expected = windows_of(read_table(path).table), windows_of(tables["S2"].iloc[:1500])
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    np.testing.assert_array_equal(found.labels, expected.labels)


@settings(max_examples=6, deadline=None)
@given(cut=st.integers(1, 50))
def test_native_signals_cut_half_a_minute_before_the_first_label_give_nearly_the_same_windows(people, cut):
    """Fourier's method takes a recording for a circle, so that where it begins reaches a little into it: by less than
    a hundredth of the public ranges."""
    whole, rates = people["S2"], {"acc": 32, "bvp": 64, "eda": 4, "temp": 4, "label": 700}
    part = replace(whole, **{name: getattr(whole, name)[cut * rate :] for name, rate in rates.items()})
    found, expected = windows_of(one_hertz(part)), windows_of(one_hertz(whole))
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert np.abs(found.values - expected.values).max() < 0.01


# People whose recordings cannot be used

LEFT_OUT = Study("x", ("stress",), ("baseline",), "baseline 20, stress 10", on_bad_person="leave_out")


def test_bad_people_are_left_out_where_the_study_says_so(exported, plain, tmp_path):
    """The others' table is as if the bad ones had never been there."""
    study = replace(LEFT_OUT, negative=("baseline", "amusement"))
    expected = read_table(exported, study)
    assert expected.left_out == {}
    for spoil in ("another rate", "words"):
        shutil.copytree(exported / "S2", exported / spoil[:1], dirs_exist_ok=True)
        in_file(exported / spoil[:1] / "EDA.csv", "\n4.0", "\n8.0" if spoil == "another rate" else "\nabc")
    shutil.copytree(exported / "S2", exported / "twin")
    reading = read_table(exported, study)
    pd.testing.assert_frame_equal(reading.table, expected.table)
    assert reading.left_out.keys() == {"a", "w", "twin"} and "has a rate of 8 Hz" in reading.left_out["a"]
    bad = plain[plain["subject"] == "S2"].assign(subject="bad", TEMP=70.0)
    pd.concat([bad, plain]).to_csv(tmp_path / "table.csv", index=False)
    reading = read_table(tmp_path / "table.csv", study)
    assert {*reading.table["subject"]} == {"S2", "S3"} and "expected degrees C" in reading.left_out["bad"]


def test_nobody_left_is_refused(exported):
    for name in ("S2", "S3"):
        (exported / name / "TEMP.csv").unlink()
    with pytest.raises(RecordingError, match="nobody's recording can be used; S2: .*TEMP.csv: no such file"):
        read_table(exported, LEFT_OUT)


# Into a run


def test_exports_and_a_study_file_become_a_runs_windows(people, tmp_path, monkeypatch, capsys):
    """From another folder, by relative paths; a study file that is changed is read again."""
    people = people | {"S4": simulate_recording("S4", 0)[0]}
    for name, person in people.items():
        export(person, tmp_path / "recordings" / name.replace("S", "P0"))
    state(tmp_path / "recordings", {name.replace("S", "P0"): person for name, person in people.items()})
    study = "name: x\npositive: [stress]\nnegative: [baseline]\nschedule: baseline 20, stress 5\n"
    (tmp_path / "study.yaml").write_text(study)
    monkeypatch.chdir(tmp_path)
    command = ["--recordings", "recordings", "-p", "study", "study.yaml", "--out", str(tmp_path / "run"), "--prepare"]
    assert run.main(command) == 0
    folder = RunFolder(tmp_path / "run")
    assert folder.prior().shares[1] == 0.2 and folder.kind == "real"
    assert {*folder.windows("test").subjects} == {"P02", "P03", "P04"}
    assert folder.study == read_study("study.yaml")
    (tmp_path / "study.yaml").write_text(study.replace("[baseline]", "[baseline, amusement]"))
    assert run.main(command) == 0 and "amusement" in folder.study.negative
    assert run.main(command) == 0 and "01-Data: finished before" in capsys.readouterr().out
    (tmp_path / "study.yaml").write_text(study.replace("name", "nane"))
    assert run.main(command) == 2
    assert "study.yaml: 'nane': did you mean 'name'?" in capsys.readouterr().err
