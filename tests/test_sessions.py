"""Sessions: synthetic people follow the schedule, in true units, without seams where there can be none."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from wearsynth.codecs import DescriptorCodec, LevelCodec
from wearsynth.generators import Generator
from wearsynth.public import find_cohort
from wearsynth.readers import read_table
from wearsynth.recordings import SIGNALS, RecordingError
from wearsynth.releases import Moments
from wearsynth.sessions import BEYOND, CHANGE, FADE, LEAST_EDA, Session, Sessions, draw_people
from wearsynth.studies import WESAD
from wearsynth.tables import load_table, save_table
from wearsynth.windows import PUBLIC_RANGES, make_windows

SCHEDULE = WESAD.read_schedule("baseline 10, stress 6.5, amusement 2")
SECONDS = {part.condition: part.seconds for part in SCHEDULE}


@pytest.fixture(scope="module")
def public():
    """Five of the public people."""
    table = find_cohort("public").table()
    return table[table["subject"].isin(["S2", "S3", "S4", "S5", "S6"])].reset_index(drop=True)


@pytest.fixture(scope="module")
def codec(public):
    return DescriptorCodec.from_table(public, "extended", 60)


@pytest.fixture(scope="module")
def prior(codec):
    """A generator that has learned nothing."""
    return Generator(codec, Moments(codec.means, codec.covariances))


@pytest.fixture(scope="module")
def people(prior):
    return draw_people(prior, 8, SCHEDULE, seed=1)


def test_a_schedule_is_read_in_minutes():
    assert WESAD.read_schedule(" stress 1.5,baseline 20") == (("stress", 90, 1), ("baseline", 1200, 0))


@pytest.mark.parametrize(
    "text",
    ["", "stress", "baseline 20", "stress 10", "baseline 20, stress ten", "baseline 20, stress 10, rest 5"]
    + [
        "baseline 20, stress 10, stress 10",
        "baseline 0.5, stress 10",
        "baseline 20, stress inf",
        "baseline nan, stress 9",
    ],
)
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(ValueError, match="schedule=.*expected"):
        WESAD.read_schedule(text)


def test_a_session_follows_the_schedule_and_every_second_one_turns_the_rest_round():
    for person, order in enumerate((["baseline", "stress", "amusement"], ["baseline", "amusement", "stress"])):
        session = Session.of(SCHEDULE, person, 60)
        changes = session.table["condition"] != session.table["condition"].shift()
        assert session.table["condition"][changes].tolist() == [order[0], "transient", order[1], "transient", order[2]]
        assert session.table["condition"].value_counts().to_dict() == SECONDS | {"transient": 2 * CHANGE}
        assert session.table["time"].tolist() == list(range(sum(SECONDS.values()) + 2 * CHANGE))
        known = session.table["condition"].map({"baseline": 0, "amusement": 0, "stress": 1}).astype("Int64")
        pd.testing.assert_series_equal(session.table["label"], known, check_names=False)
        # A minute is what most of its seconds are: at 390 s the change comes in its middle.
        by_minute = session.table.groupby(np.arange(len(session.table)) // 60)
        assert len(session.labels) == len(session.between) == by_minute.ngroups
        transient = by_minute["label"].agg(lambda labels: labels.isna().mean())
        assert (np.abs(session.between - transient) <= 0.5).all()
        clear = transient == 0
        np.testing.assert_array_equal(session.labels[clear], by_minute["label"].max()[clear].astype(int))


def test_between_conditions_coordinates_go_over_and_levels_are_right_over_each_condition():
    session = Session.of(WESAD.read_schedule("baseline 2, stress 1"), 0, 60)
    coordinates = np.column_stack([np.array([1.0, 3, 9, 9, 9, 9, 9, -3])])
    expected = [1, 3, 2, 1, 0, -1, -2, -3]
    np.testing.assert_allclose(session.across(coordinates)[:, 0], expected)
    values = np.random.default_rng(0).normal(size=480).cumsum()
    wanted = np.array([0.2, 0.4, 7, 7, 7, 7, 7, -0.6])
    added = session.level_of(wanted, values)
    moved = values + added
    assert moved[:120].mean() == pytest.approx(0.3) and moved[420:].mean() == pytest.approx(-0.6)
    assert np.ptp(added[:120]) == pytest.approx(0) == np.ptp(added[420:])
    np.testing.assert_allclose(np.diff(added[119:421]), np.diff(added[119:421]).mean())  # on a straight line


@pytest.mark.parametrize("seed", range(20))
def test_a_path_is_the_cheapest_of_all(seed):
    rng = np.random.default_rng(seed)
    donors = rng.normal(size=(6, 2))
    following = np.array([1, 2, -1, 4, 5, -1])
    people, others = np.array([0, 0, 0, 1, 1, 1]), rng.integers(6, size=4)
    sessions = Sessions(SimpleNamespace(donors=SimpleNamespace(people=people)))
    sessions.__dict__["_next"] = following
    everybody = np.tile(np.arange(6), (4, 1))
    index = SimpleNamespace(_fit_X=donors, n_samples_fit_=6, kneighbors=lambda *_, **__: everybody)
    query, seam = rng.normal(size=(4, 2)), rng.choice([0.1, 1.0, 4.0])

    def cost(path):
        near = sum(np.linalg.norm(donors[donor] - wanted) for donor, wanted in zip(path, query))
        seams = sum(following[one] != other for one, other in itertools.pairwise(path))
        return near + seam * seams + 16 * sum(people[donor] == people[other] for donor, other in zip(path, others))

    found = sessions._path(query, index, seam, np.ones(6, bool), others_than=others)
    assert cost(found) == pytest.approx(min(map(cost, itertools.product(range(6), repeat=4))))


def test_what_a_public_person_did_comes_back_as_it_was(codec, public):
    """Coordinates of their own minutes: donors that move together are these very minutes, unmoved."""
    donors, sessions = codec.donors, Sessions(codec)
    first = np.flatnonzero((donors.people == 2) & (sessions._lasting >= 10))[0]
    chosen = [first]
    while len(chosen) < 10:
        chosen.append(sessions._next[chosen[-1]])
    session = Session.of(SCHEDULE[:1], 0, 60)
    found = sessions.decode(codec.encode(donors.scaled[chosen]), session)
    start = donors.starts[first]
    known = donors.seconds[start : start + 600].astype(float)
    for signal in ("BVP", "EDA", "ACC_x", "ACC_y", "ACC_z", "ACC_movement", "BVP_amplitude"):
        number = donors.signals.index(signal)
        own = known[:, number] if signal not in ("ACC_movement", "BVP_amplitude") else np.exp(known[:, number])
        assert np.corrcoef(found[:, number], own)[0, 1] > 0.95, signal


def test_noise_is_standard_normal_over_the_public_people(codec):
    """In the means of the classes and the covariance within them, by construction; and a session's is one person's."""
    sessions, labels = Sessions(codec), codec.donors.labels
    classes = [sessions._noise[labels == label] for label in (0, 1)]
    for noise in classes:
        np.testing.assert_allclose(noise.mean(axis=0), 0, atol=1e-6)
    within = sum(share * np.cov(noise.T, bias=True) for share, noise in zip(codec.shares, classes))
    spread = np.linalg.eigvalsh(within)
    assert ((np.abs(spread - 1) < 1e-3) | (spread < 1e-3)).all()  # or a direction in which nobody varies
    rng = np.random.default_rng(0)
    asked = np.repeat([0, 1, 0], [8, 5, 3])
    for person in [*sessions.people] * 2:
        noise = sessions.noise(asked, person, rng)
        own = sessions._noise[codec.donors.people == person]
        assert all((own == minute).all(axis=1).any() for minute in noise)


def test_people_have_the_real_tables_columns_and_go_where_it_goes(people, public, tmp_path):
    assert list(people.columns) == list(public.columns)
    assert people["subject"].unique().tolist() == [f"syn{number:02d}" for number in range(1, 9)]
    save_table(people, tmp_path / "people.csv")
    read = load_table(tmp_path / "people.csv")
    pd.testing.assert_series_equal(read["label"], people["label"])
    reading = read_table(tmp_path / "people.csv")
    assert reading.quality.index.tolist() == people["subject"].unique().tolist()
    assert reading.quality["stress, min"].tolist() == [6.5] * 8
    windows = make_windows(read, "extended", "subject", 60, 30)
    assert len(windows) == 8 * (19 + 12 + 3) and windows.n_units("subject") == 8


def test_people_repeat_with_the_seed_and_do_not_depend_on_their_number(prior, people):
    fewer, other = draw_people(prior, 3, SCHEDULE, seed=1), draw_people(prior, 3, SCHEDULE, seed=2)
    pd.testing.assert_frame_equal(fewer, people[: len(fewer)])
    assert not np.allclose(fewer["HR"], other["HR"])


def test_units_are_true(people, public):
    """Medians lie within the spread of the public people who were learned, by class.

    Five people's extremes are not those of all, so that a quarter of their spread is let pass on either side.
    """
    known = public[public["label"].notna()].groupby(["label", "subject"])[list(SIGNALS)].median()
    found = people[people["label"].notna()].groupby(["label", "subject"])[list(SIGNALS)].median()
    for signal in ("EDA", "TEMP", "HR", "BVP_amplitude", "ACC_movement"):
        low, high = known[signal].min(), known[signal].max()
        margin = (high - low) / 4
        assert found[signal].between(low - margin, high + margin).mean() > 0.85, signal
    assert np.abs(people.groupby("subject")["BVP"].mean()).max() < 1
    assert people["EDA"].min() >= LEAST_EDA
    still = people["ACC_movement"] < 0.02
    length = np.sqrt((people.loc[still, ["ACC_x", "ACC_y", "ACC_z"]] ** 2).sum(axis=1))
    assert length.between(0.9, 1.1).mean() > 0.98


def test_what_changes_slowly_does_not_jump(people, public):
    """From one second to the next no further than ten times what public people's skin does in 999 of 1,000 seconds."""
    steps = people.groupby("subject")["TEMP"].diff().abs()
    assert steps.max() < 10 * public.groupby("subject")["TEMP"].diff().abs().quantile(0.999)


def test_nobody_strays_far_beyond_the_public_ranges(people):
    for signal in ("TEMP", "HR", "EDA"):
        low, high = PUBLIC_RANGES[signal]
        margin = BEYOND * (high - low)
        assert people[signal].between(low - margin, high + margin).all()


def test_no_two_people_are_made_alike(prior):
    """Of one's half-minutes of pulse less than half recur in any other, as long as each public person has one turn."""
    people = draw_people(prior, 5, SCHEDULE, seed=3)
    halves = {}
    for name, rows in people.groupby("subject"):
        own = np.lib.stride_tricks.sliding_window_view(rows["BVP"].to_numpy(), 30)
        own = own - own.mean(axis=1, keepdims=True)
        halves[name] = own / np.linalg.norm(own, axis=1, keepdims=True)
    for one, other in itertools.permutations(halves, 2):
        again = (halves[one][::30] @ halves[other].T).max(axis=1) > 0.999
        assert again.mean() < 0.5, (one, other)


def test_a_hundred_people_and_six_signals_have_their_table(tmp_path):
    table = find_cohort("public").table().query("subject == 'S2'").reset_index(drop=True)
    codec = DescriptorCodec.from_table(table, "published", 60)
    people = draw_people(
        Generator(codec, Moments(codec.means, codec.covariances)), 100, WESAD.read_schedule("baseline 1, stress 1")
    )
    assert people["subject"].iloc[[0, -1]].tolist() == ["syn01", "syn100"]
    save_table(people, tmp_path / "people.csv")
    assert list(load_table(tmp_path / "people.csv", codec.signals)) == list(people)


def test_stretches_fade_into_one_another(codec):
    sessions = Sessions(codec)
    path = np.array([0, sessions._next[0], 500, sessions._next[500], 900])
    pieces = list(sessions._pieces(path))
    assert [(piece.minutes.start, piece.minutes.stop) for piece in pieces] == [(0, 2), (2, 4), (4, 5)]
    total = np.zeros(300)
    for piece in pieces:
        assert len(piece.own) == len(piece.weight) == piece.seconds.stop - piece.seconds.start
        total[piece.seconds] += piece.weight
    np.testing.assert_allclose(total, 1)
    assert pieces[1].seconds == slice(120 - FADE, 240 + FADE)


def test_baselines_make_people_of_loose_minutes():
    codec = LevelCodec(("EDA", "HR"), 60)
    table = draw_people(Generator(codec, Moments(codec.means, codec.covariances)), 3, SCHEDULE, seed=0)
    assert list(table.columns) == ["subject", "time", "EDA", "HR", "condition", "label"]
    assert len(table) == 3 * (sum(SECONDS.values()) + 2 * CHANGE) and table["HR"].between(40, 160).all()


def test_a_table_that_is_no_cohort_is_refused(people, tmp_path):
    path, signals = tmp_path / "people.csv", list(SIGNALS)

    def refused(table, words):
        save_table(table, path)
        with pytest.raises(RecordingError, match=f"people.csv: {words}"):
            read_table(path)

    refused(people.replace({"subject": {"syn02": "../syn02"}}), "person '../syn02': expected up to 40 letters")
    refused(people[people["label"].ne(1).fillna(True)], "syn01: has no 60 s of stress")
    refused(people.replace({"subject": {"syn02": "everyone"}}), "person 'everyone': expected")
    axes = ["ACC_x", "ACC_y", "ACC_z"]
    refused(people.assign(**{axis: 64 * people[axis] for axis in axes}), "syn01: acceleration has a median length of 6")
    refused(people.assign(TEMP=1.8 * people["TEMP"] + 32), "syn01: TEMP has a median of .*degrees C")
    refused(
        people.assign(label=people["label"].fillna(1)),
        "syn01: label 1 of condition .transient. is not that of the study WESAD",
    )
    refused(pd.concat([people, people[:5]]), "syn01: expected their rows in a row; sort")
    twins = people.copy()
    twins.loc[twins["subject"] == "syn03", signals] = twins.loc[twins["subject"] == "syn01", signals].to_numpy()
    refused(twins, "syn03: is syn01 once more")
