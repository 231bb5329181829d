"""Benchmarks: no command loses another's rows, ratios are to the faster plain step; populations altered by size."""

import json

import numpy as np
import pytest

from benchmarks import results
from benchmarks.limits import altered
from wearsynth.recordings import one_hertz
from wearsynth.simulation import POPULATION, simulate_recording


def test_results_of_other_implementations_stay(tmp_path):
    def rows(implementation, milliseconds):
        times = {"plain": {"milliseconds": 2.0}, implementation: {"milliseconds": milliseconds}}
        return results.rows("conv", "window", 64, times)

    path = tmp_path / "results.json"
    results.save(rows("fused", 3.0), {"plain", "fused"}, path)
    results.save(rows("jax", 9.0)[1:], {"jax"}, path)
    results.save(rows("fused", 4.0), {"plain", "fused"}, path)
    times = {row["implementation"]: row["milliseconds"] for row in json.loads(path.read_text())}
    assert times == {"plain": 2.0, "fused": 4.0, "jax": 9.0}
    assert path.with_suffix(".png").exists()


def test_the_faster_plain_step_is_the_yardstick():
    times = {"plain": {"milliseconds": 3.0}, "plain_xla": {"milliseconds": 2.0}, "fused": {"milliseconds": 4.0}}
    assert results.faster_plain(times) == {"fused": {"milliseconds": 4.0}, "plain": {"milliseconds": 2.0, "xla": True}}


def test_population_altered_by_nothing_is_the_same():
    same = altered(POPULATION, 0, np.random.default_rng(0))
    assert same.orders == POPULATION.orders and same.non_responders == POPULATION.non_responders
    assert same.traits == pytest.approx({name: pytest.approx(ends) for name, ends in POPULATION.traits.items()})
    for name, ends in POPULATION.skewed_traits.items():
        assert same.skewed_traits[name] == pytest.approx(ends)


def test_altered_populations_move_by_their_size():
    moves, stretches = [], []
    for seed in range(100):
        other = altered(POPULATION, 1.5, np.random.default_rng(seed))
        for name, (low, high) in other.traits.items():
            before = POPULATION.traits[name]
            assert low <= high
            if before[0] < 0 or name == "skin_temperature":  # the others may be cut off at the bottom
                moves.append((low + high - sum(before)) / (before[1] - before[0]))
                stretches.append(np.log((high - low) / (before[1] - before[0])))
        assert all(0 < low < high for low, high in other.skewed_traits.values())
        phases = set(sum(other.orders, ()))
        assert len(phases) == len(set(sum(POPULATION.orders, ()))) and all(0 <= phase.standing <= 1 for phase in phases)
    # 200 draws each: a standard error of 5 % of a standard deviation, and 7 % of it for a mean
    assert np.std(moves) == pytest.approx(1.5, rel=0.2) and abs(np.mean(moves)) < 0.35
    assert np.std(stretches) == pytest.approx(0.6, rel=0.2) and abs(np.mean(stretches)) < 0.14


def test_altered_people_can_be_recorded():
    for seed in range(3):
        other = altered(POPULATION, 1.5, np.random.default_rng(seed))
        recording, heart_rate = simulate_recording("S2", 0, other)
        table = one_hertz(recording)
        assert np.isfinite(table.select_dtypes("number")).all(axis=None)
        assert recording.eda.min() > 0 and heart_rate.min() > 30 and set(recording.label) == {0, 1, 2, 3, 4}
