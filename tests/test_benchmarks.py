"""The benchmarks' list of results: no command loses another's rows, and ratios are to the faster plain step."""

import json

from benchmarks import results


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
