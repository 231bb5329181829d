"""Windows: cutting, scaling and splitting, against slow and obvious versions."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearsynth import windows
from wearsynth.windows import (
    DEVIATIONS,
    EXTENDED,
    LOG_SIGNALS,
    MIN_SECONDS,
    PUBLIC_RANGES,
    PUBLISHED,
    SCALINGS,
    Windows,
    concatenate,
    make_windows,
    most_windows_per_second,
    scale,
    signal_names,
    signals_of,
    unscale,
)

STRETCHES = st.lists(
    st.tuples(
        st.sampled_from(["S2", "S3", "S10"]),
        st.sampled_from(["baseline", "stress", "amusement", "transient"]),
        st.integers(1, 3 * MIN_SECONDS),  # s, length
        st.sampled_from([0, 0, 1, 3]),  # s, lost before it
    ),
    min_size=1,
    max_size=10,
)


def slow_starts(table, window_seconds, hop_seconds):
    """Row numbers of windows' starts in the whole table: walks along, and gives up at the first thing that changes."""
    starts, row = [], 0
    rows = table.to_dict("records")
    while row < len(rows):
        end = row + 1
        while (
            end < len(rows)
            and rows[end]["subject"] == rows[row]["subject"]
            and rows[end]["condition"] == rows[row]["condition"]
            and rows[end]["time"] == rows[end - 1]["time"] + 1
        ):
            end += 1
        if rows[row]["condition"] != "transient":
            start = row
            while start + window_seconds <= end:
                starts.append(start)
                start += hop_seconds
        row = end
    return starts


def slow_scale(table, names, scaling):
    """Scaled values of the labelled rows by row number, one number at a time."""
    labelled = [(number, row) for number, row in enumerate(table.to_dict("records")) if row["condition"] != "transient"]

    def warped(name, value):
        return math.log(max(value, PUBLIC_RANGES[name][0])) if name in LOG_SIGNALS else value

    scaled = {}
    for number, row in labelled:
        for name in names:
            low, high = (warped(name, bound) for bound in PUBLIC_RANGES[name])
            theirs = [(other, each) for other, each in labelled if each["subject"] == row["subject"]]
            enrolled = dict([(other, each) for other, each in theirs if each["label"] == 0][: windows.ENROLMENT])
            if scaling == "enrolment" and number in enrolled:
                continue
            if scaling == "enrolment":
                mean = statistics.fmean(warped(name, each[name]) for each in enrolled.values())
                value = min(max(0.5 + (warped(name, row[name]) - mean) / (high - low), 0), 1)
            elif scaling == "public":
                value = min(max((warped(name, row[name]) - low) / (high - low), 0), 1)
            else:
                own = [warped(name, each[name]) for _, each in theirs]
                deviation = DEVIATIONS * statistics.pstdev(own)
                value = (warped(name, row[name]) - statistics.fmean(own) + deviation) / (2 * deviation or 1)
                value = min(max(value, 0), 1)
            scaled.setdefault(number, []).append(value)
    return scaled


def test_signals_are_named_by_sets_or_one_by_one(make_table):
    assert signal_names("published") == PUBLISHED and signal_names("TEMP,HR,EDA") == ("EDA", "TEMP", "HR")
    for wrong in ("EDA", "EDA,EDA", "EDA,hr", ""):
        with pytest.raises(ValueError, match="expected 'published' or 'extended', or 2 or more of BVP"):
            signal_names(wrong)
    table = make_table([("S2", "baseline", 60, 0)])
    fewer = table.drop(columns=["BVP", "HR"])
    assert signals_of(table, "extended") == "extended" and signals_of(table, "HR,EDA") == "HR,EDA"
    assert signal_names(signals_of(fewer, "extended")) == tuple(name for name in EXTENDED if name in fewer)
    with pytest.raises(ValueError, match="the table has no HR"):
        make_windows(fewer, "EDA,HR", "public", 60, 30)


def test_windows_know_what_their_classes_are_called(make_table, origin, tmp_path):
    table = make_table([("S2", "baseline", 60, 0), ("S2", "stress", 60, 0), ("S2", "amusement", 60, 0)])
    windows = make_windows(table, "extended", "public", 60, 60)
    windows.save(tmp_path / "windows.npz", origin)
    for each in (
        windows,
        windows[[0]],
        concatenate([windows, windows]),
        Windows.load(tmp_path / "windows.npz", origin),
    ):
        assert each.classes == ("baseline and amusement", "stress")


@settings(max_examples=60, deadline=None)
@given(stretches=STRETCHES, window_seconds=st.integers(MIN_SECONDS, MIN_SECONDS + 4), hop_seconds=st.integers(1, 15))
def test_windows_are_those_of_a_slow_walk_along_the_table(make_table, stretches, window_seconds, hop_seconds):
    table = make_table(stretches)
    starts = slow_starts(table, window_seconds, hop_seconds)
    if not starts:
        with pytest.raises(ValueError, match=f"window_seconds={window_seconds}"):
            make_windows(table, "published", "public", window_seconds, hop_seconds)
        return
    windows = make_windows(table, "published", "public", window_seconds, hop_seconds)
    scaled = slow_scale(table, PUBLISHED, "public")
    expected = [[scaled[start + second] for second in range(window_seconds)] for start in starts]
    np.testing.assert_allclose(windows.values, expected, atol=1e-6)  # single precision
    assert windows.labels.tolist() == table["label"][starts].tolist()
    assert windows.subjects.tolist() == table["subject"][starts].tolist()
    assert windows.signals == PUBLISHED
    # Nothing straddles, said once more without the walk: all of a window's rows agree.
    for start in starts:
        rows = table.iloc[start : start + window_seconds]
        assert rows["subject"].nunique() == rows["condition"].nunique() == 1
        assert rows["time"].diff().dropna().eq(1).all()


@pytest.mark.parametrize("window_seconds, hop_seconds", [(60, 30), (60, 60), (60, 25), (15, 17), (14, 1)])
def test_a_second_lies_in_no_more_windows_than_announced(make_table, window_seconds, hop_seconds):
    seconds = 200
    windows = make_windows(
        make_table([("S2", "stress", seconds, 0)]), "published", "public", window_seconds, hop_seconds
    )
    cover = np.zeros(seconds)
    for number in range(len(windows)):
        cover[number * hop_seconds : number * hop_seconds + window_seconds] += 1
    assert cover.max() == most_windows_per_second(window_seconds, hop_seconds)


@pytest.fixture
def short_enrolment(monkeypatch):
    monkeypatch.setattr(windows, "ENROLMENT", 12)


def test_an_enrolment_that_leaves_nothing_is_refused(make_table):
    table = make_table([("S2", "baseline", 400, 0), ("S3", "stress", 60, 0), ("S3", "baseline", 300, 0)])
    with pytest.raises(ValueError, match="S3 has 300 s of 'baseline', and the first 300 s tell .* choose 'subject'"):
        make_windows(table, "extended", "enrolment", 60, 60)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaling_is_that_of_a_loop_over_labelled_rows(make_table, short_enrolment, scaling):
    stretches = [("transient", 9, 0), ("stress", 36, 0), ("baseline", 24, 2), ("amusement", 12, 0)]
    table = make_table([(person, *stretch) for person in ("S2", "S3") for stretch in stretches], seed=1)
    table.loc[table["condition"] == "transient", list(EXTENDED)] = 1e6  # must count for nothing
    made = make_windows(table, "extended", scaling, 12, 12)  # the conditions last whole windows: all rows are in
    expected = list(slow_scale(table, EXTENDED, scaling).values())
    np.testing.assert_allclose(made.values.reshape(-1, 9), expected, atol=1e-6)  # single precision
    assert made.values.dtype == np.float32 and len(made) == 2 * (5 if scaling == "enrolment" else 6)
    if scaling == "subject":
        for person in ("S2", "S3"):
            own = made.of(person).values
            np.testing.assert_allclose(own.mean(axis=(0, 1)), 0.5, atol=1e-5)
            np.testing.assert_allclose(own.std(axis=(0, 1)), 1 / (2 * DEVIATIONS), atol=1e-5)


def test_a_signal_that_never_changes_becomes_zero(make_table):
    table = make_table([("S2", "stress", 20, 0)]).assign(TEMP=33.0)
    windows = make_windows(table, "published", "subject", 20, 20)
    assert (windows.values[..., PUBLISHED.index("TEMP")] == 0).all()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_unscale_undoes_public_scaling_within_the_bounds(make_table, data):
    table = make_table([("S2", "stress", 3, 0)])
    for name in EXTENDED:
        table[name] = data.draw(st.lists(st.floats(*PUBLIC_RANGES[name]), min_size=3, max_size=3))
    back = unscale(scale(table, EXTENDED, "public"), EXTENDED)
    for column, name in enumerate(EXTENDED):
        low, high = PUBLIC_RANGES[name]
        # Single precision in [0, 1] is good to 6e-8 of the range; on a log scale, of log(high / low) times the value.
        tolerance = 1e-7 * (high * math.log(high / low) if name in LOG_SIGNALS else high - low)
        np.testing.assert_allclose(back[:, column], table[name], rtol=0, atol=tolerance)


def test_public_scaling_clips_to_the_bounds(make_table):
    table = make_table([("S2", "stress", 4, 0)])
    for name in EXTENDED:
        low, high = PUBLIC_RANGES[name]
        table[name] = [low - 1, low, high, high + 1]
    np.testing.assert_allclose(scale(table, EXTENDED, "public"), np.repeat([[0], [0], [1], [1]], 9, axis=1), atol=1e-7)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_nothing_of_a_held_out_person_reaches_the_others(make_table, short_enrolment, scaling):
    people = [(person, condition, 30, 0) for person in ("S2", "S3", "S4") for condition in ("baseline", "stress")]
    table = make_table(people)
    poisoned = table.copy()
    poisoned.loc[poisoned["subject"] == "S3", list(EXTENDED)] *= 1e5
    clean, dirty = (make_windows(each, "extended", scaling, 15, 5) for each in (table, poisoned))
    assert not np.array_equal(clean.of("S3").values, dirty.of("S3").values)
    for field in ("values", "labels", "subjects"):
        np.testing.assert_array_equal(getattr(clean.without("S3"), field), getattr(dirty.without("S3"), field))


def test_of_and_without_part_the_windows(make_toy_windows):
    windows = make_toy_windows(people=3)
    assert set(windows.of("S3").subjects) == {"S3"}
    assert set(windows.without("S3").subjects) == {"S2", "S4"}
    assert len(windows.of("S3")) + len(windows.without("S3")) == len(windows)
    np.testing.assert_array_equal(windows.without("nobody").values, windows.values)
    assert windows.n_units("window") == sum(windows.of(person).n_units("window") for person in ("S2", "S3", "S4"))
    assert windows.n_units("subject") == 3


def test_concatenate_joins_and_refuses_other_signals(make_toy_windows):
    first, second = make_toy_windows(people=1), make_toy_windows(people=2, seed=1)
    joined = concatenate([first, second])
    np.testing.assert_array_equal(joined[np.arange(len(first))].values, first.values)
    np.testing.assert_array_equal(joined.labels, [*first.labels, *second.labels])
    with pytest.raises(ValueError, match="TEMP"):
        concatenate([first, replace(second, signals=("EDA", "TEMP"))])


def test_save_and_load(make_toy_windows, tmp_path, origin):
    windows = make_toy_windows()
    windows.save(tmp_path / "new" / "windows.npz", origin)
    loaded = Windows.load(tmp_path / "new" / "windows.npz", origin)
    for field in ("values", "labels", "subjects"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(windows, field))
        assert getattr(loaded, field).dtype == getattr(windows, field).dtype
    assert loaded.signals == windows.signals


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("signals", "all", "'published' or 'extended'"),
        ("scaling", "none", "'subject' or 'enrolment' or 'public'"),
        ("window_seconds", MIN_SECONDS - 1, f"at least {MIN_SECONDS}"),
        ("hop_seconds", -1, "at least 1"),
    ],
)
def test_settings_out_of_range_name_themselves(make_table, name, value, expected):
    settings = {"signals": "published", "scaling": "public", "window_seconds": 20, "hop_seconds": 1} | {name: value}
    with pytest.raises(ValueError, match=f"{name}={value!r}.*{expected}"):
        make_windows(make_table([("S2", "stress", 30, 0)]), **settings)
