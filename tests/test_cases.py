"""Data sets that look right to whoever made them, of the kinds that people have asked about: the verdict on each."""

import pickle
import shutil

import numpy as np
import pytest

from wearsynth.readers import read_table
from wearsynth.recordings import RecordingError
from wearsynth.simulation import write_cohort
from wearsynth.windows import make_windows

PEOPLE = ("S2", "S3", "S4")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three simulated people, and what `read_table` makes of them."""
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, len(PEOPLE))
    return folder, read_table(folder).table


@pytest.fixture
def with_one_changed(cohort, tmp_path):
    """A function that writes the cohort with the last person's content changed."""

    def write(change, protocol=2):
        folder = shutil.copytree(cohort[0], tmp_path / "cohort")
        path = folder / "S4" / "S4.pkl"
        content = pickle.loads(path.read_bytes(), encoding="latin1")
        change(content)
        path.write_bytes(pickle.dumps(content, protocol))
        return folder

    return write


def wrist(name, function):
    def change(content):
        content["signal"]["wrist"][name] = function(np.array(content["signal"]["wrist"][name], float))

    return change


def but_for_a_sample(values):
    values[4:] = values[4]
    return values


def as_rest_and_stress(content):
    content["label"] = (content["label"] == 2).astype(np.int32)


def as_heart_rates(content):
    content |= {"activity": np.zeros((100, 1)), "rpeaks": np.arange(10), "questionnaire": {"AGE": 30}}
    content["label"] = np.full(len(content["label"]) // 1400, 70.0)


def every_thousandth_lost(content):
    for name in ("EDA", "TEMP"):
        values = content["signal"]["wrist"][name]
        content["signal"]["wrist"][name] = values[: int(len(values) * 0.999)]


REFUSED = {
    "dead electrodes": (wrist("EDA", but_for_a_sample), "S4.pkl: EDA is dead.*leave the recording out"),
    "acceleration in g": (wrist("ACC", lambda acc: acc / 64), "S4.pkl: the norm of ACC has a median.*times 64"),
    "fahrenheit": (wrist("TEMP", lambda temp: temp * 9 / 5 + 32), r"S4.pkl: TEMP has a median.*\(t - 32\) \* 5 / 9"),
    "other labels": (
        as_rest_and_stress,
        "S4.pkl: has no 60 s of stress.*its label holds 0, 1: name the conditions in a study file",
    ),
    "a heart rate as the label": (as_heart_rates, "S4.pkl: is laid out as PPG-DaLiA's recordings are"),
    "no labels": (lambda content: content.update(label=0 * content["label"]), "S4.pkl: has no 60 s of stress"),
    "a much slower clock": (
        wrist("EDA", lambda eda: eda[: int(len(eda) * 0.99)]),
        "S4.pkl: EDA lasts .* expected the same within .* check the rates",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_way_out(with_one_changed, change, message):
    with pytest.raises(RecordingError, match=message) as caught:
        read_table(with_one_changed(change))
    assert "\n" not in str(caught.value) and "download" not in str(caught.value)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("subject", ["S4", 4])
def test_any_pickle_of_arrays_is_read_whatever_it_calls_the_person(cohort, with_one_changed, protocol, subject):
    table = read_table(with_one_changed(lambda content: content.update(subject=subject), protocol)).table
    assert table.equals(cohort[1])


def test_a_gap_is_left_out_and_the_rest_kept(cohort, with_one_changed):
    """25 s of one signal: these seconds have no label, all others have theirs, and no window holds the gap."""

    def lose(eda):
        eda[4000:4100] = np.nan
        return eda

    reading = read_table(with_one_changed(wrist("EDA", lose)))
    of_s4, whole = (table[table["subject"] == "S4"].reset_index() for table in (reading.table, cohort[1]))
    gap = of_s4["time"].between(1000, 1024)
    assert of_s4["label"][gap].isna().all() and of_s4["label"][~gap].equals(whole["label"][~gap])
    assert reading.quality.loc["S4", "missing, s"] == 25
    before, after = (make_windows(table, "extended", "subject", 60, 30) for table in (cohort[1], reading.table))
    assert 0 < len(before) - len(after) <= 4


def test_minutes_on_the_table_are_left_out(cohort, with_one_changed):
    rates = {"ACC": (32, (0, 0, 64)), "BVP": (64, 0.0), "EDA": (4, 0.0), "TEMP": (4, 22.0)}

    def take_off(content):
        start = np.flatnonzero(content["label"] == 1)[0] // 700 + 200
        for name, (rate, value) in rates.items():
            values = np.array(content["signal"]["wrist"][name], float)
            values[start * rate : (start + 300) * rate] = value
            content["signal"]["wrist"][name] = values

    reading = read_table(with_one_changed(take_off))
    assert reading.quality.loc["S4", "off_wrist, s"] == 300
    of_s4, whole = (table[table["subject"] == "S4"].reset_index() for table in (reading.table, cohort[1]))
    assert whole["label"].count() - of_s4["label"].count() == 300
    # Far from the gap nothing has changed, near it nothing but the interpolation's end.
    far = ~of_s4["time"].between(*of_s4["time"][of_s4["label"].isna() & whole["label"].notna()].agg(["min", "max"]))
    assert np.abs(of_s4["TEMP"] - whole["TEMP"])[far].max() < 0.5


def test_a_clock_that_loses_seconds_an_hour_is_stretched(cohort, with_one_changed):
    reading = read_table(with_one_changed(every_thousandth_lost))
    assert 2 < reading.quality.loc["S4", "stretched, s"] < 7
    assert len(reading.table) == len(cohort[1])
