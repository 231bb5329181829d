"""The people of the prior: simulated ones are kept from run to run, and come back as they were made."""

import pandas as pd
import pytest

from wearsynth import public
from wearsynth.simulation import simulate_table


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(public, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(public, "N_SIMULATED", 1)
    return tmp_path / "cache"


def test_simulated_people_come_back_as_they_were_made(cache, monkeypatch):
    cohort, expected = public.find_cohort("simulated"), simulate_table(1, public.COHORT)
    pd.testing.assert_frame_equal(cohort.table(), expected, check_exact=True)
    monkeypatch.setattr(public, "simulate_table", None)  # not made again
    pd.testing.assert_frame_equal(cohort.table(), expected, check_exact=True)


@pytest.mark.parametrize("how", ["damaged", "of another code", "nowhere to write"])
def test_they_are_made_anew_where_they_cannot_be_read(cache, monkeypatch, how):
    cohort, expected = public.find_cohort("simulated"), simulate_table(1, public.COHORT)
    if how == "nowhere to write":
        cache.write_text("a file")
    else:
        cohort.table()
        (kept,) = cache.iterdir()
        if how == "damaged":
            kept.write_bytes(kept.read_bytes()[:-100])
        else:
            monkeypatch.setattr(public, "source_of", lambda *modules: "another")
    made = []
    monkeypatch.setattr(public, "simulate_table", lambda *given: made.append(given) or expected)
    pd.testing.assert_frame_equal(cohort.table(), expected)
    assert made == [(1, public.COHORT)]
