"""Side by side: what comes out is what a loop gives, in how many processes it is done, and what is shown of it."""

import os
import threading

import joblib
import pytest
from tqdm import tqdm

from wearsynth import parallel


def doubled(number):
    return 2 * number, (os.getpid(), threading.get_ident())


def doubled_inside(number):
    """As `doubled`, of three numbers side by side within what is side by side."""
    found = list(parallel.one_core_each(doubled, ((number + more,) for more in range(3)), 3, "number"))
    return [value for value, _ in found], {place for _, place in found}, (os.getpid(), threading.get_ident())


def refused(number):
    raise ValueError(f"{number} is refused")


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)


@pytest.mark.parametrize("most", [None, 1, 2])
def test_it_gives_what_a_loop_gives_in_no_more_processes_than_it_may(most):
    found = list(parallel.one_core_each(doubled, ((number,) for number in range(12)), 12, "number", most=most))
    assert [value for value, _ in found] == [2 * number for number in range(12)]
    processes = {process for _, (process, _) in found}
    assert 1 <= len(processes) <= (most or 4) and (processes == {os.getpid()}) == (most == 1)


def test_within_one_of_the_processes_all_is_done_in_that_one_thread():
    for values, places, own in parallel.one_core_each(doubled_inside, ((0,), (10,)), 2, "number"):
        assert places == {own} and own[0] != os.getpid() and values in ([0, 2, 4], [20, 22, 24])


@pytest.mark.parametrize("most", [None, 1])
def test_what_the_first_of_them_to_fail_raises_is_raised_here(most):
    with pytest.raises(ValueError, match="[01] is refused"):
        list(parallel.one_core_each(refused, ((0,), (1,)), 2, "number", most=most))


def test_what_takes_no_time_or_is_not_to_be_shown_shows_nothing(capsys):
    for progress in (True, False):
        list(parallel.one_core_each(doubled, ((1,), (2,)), 2, "number", progress=progress, most=1))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("progress", [True, False])
def test_progress_of_what_takes_long_is_shown_where_it_is_wanted(progress, monkeypatch, capsys):
    monkeypatch.setattr(parallel, "tqdm", lambda *args, **how: tqdm(*args, **how | {"delay": 0}))
    list(parallel.one_core_each(doubled, ((1,), (2,)), 2, "number", progress=progress, most=1))
    assert ("2/2" in capsys.readouterr().err) == progress
