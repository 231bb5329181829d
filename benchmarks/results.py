"""How steps are timed side by side, and where the times go: one list, one picture."""

import json
import os
import platform
import re
import statistics
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.cases import ARCHITECTURES, BATCHES, PRIVACY_UNITS

RESULTS = Path(__file__).parent / "results.json"
REPETITIONS = 30
SLOW, SLOW_REPETITIONS = 1.0, 5  # a step of more than so many seconds is repeated so often
KEYS = ("architecture", "unit", "batch", "implementation")
STYLES = {  # the same implementation looks the same in every panel; colour-blind people can tell them apart
    "plain": ("no privacy", "#4D4D4D", "s"),
    "fused": ("wearsynth", "#0173B2", "o"),
    "jax": ("JAX, vmap", "#029E73", "^"),
    "opacus": ("Opacus", "#DE8F05", "D"),
    "opacus_ghost": ("Opacus, ghost clipping", "#CA9161", "v"),
    "tensorflow_privacy": ("tensorflow-privacy", "#CC78BC", "P"),
}


def time_interleaved(timers: dict[str, Callable[[], float]]) -> dict[str, dict]:
    """Times steps in turn, so that what else the machine does meets all of them alike.

    Args:
        timers: by implementation, a function that takes one step and returns its seconds.

    Returns:
        By implementation, `milliseconds` (the median) and `repetitions`.
    """
    every = {}
    for name, timer in timers.items():
        timer()  # traces and compiles
        slow = min(timer(), timer()) > SLOW
        every[name] = max(REPETITIONS // SLOW_REPETITIONS, 1) if slow else 1
    seconds = {name: [] for name in timers}
    for repetition in range(REPETITIONS):
        for name, timer in timers.items():
            if repetition % every[name] == 0:
                seconds[name].append(timer())
    return {
        name: {"milliseconds": round(1000 * statistics.median(values), 3), "repetitions": len(values)}
        for name, values in seconds.items()
    }


def faster_plain(times: dict[str, dict]) -> dict[str, dict]:
    """Replaces `plain_xla` and `plain` by the faster one, as `plain`; its field `xla` tells which."""
    plain = min((times[name] | {"xla": name == "plain_xla"} for name in ("plain", "plain_xla")), key=_milliseconds)
    return {name: value for name, value in times.items() if name != "plain_xla"} | {"plain": plain}


def rows(architecture: str, unit: str, batch: int, times: dict[str, dict]) -> list[dict]:
    """One row an implementation; each also holds the plain step's time of the same run, for the ratio."""
    case = {"architecture": architecture, "unit": unit, "batch": batch}
    plain = {"plain_milliseconds": times["plain"]["milliseconds"]}
    return [case | {"implementation": name} | value | plain | machine() for name, value in times.items()]


def machine() -> dict:
    """What the times depend on. Every implementation takes as many threads as there are cores."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else []
    processor = names[0] if names else platform.processor() or platform.machine()
    versions = {"python": platform.python_version(), "tensorflow": version("tensorflow")}
    return {"processor": processor, "cores": os.cpu_count(), "threads": os.cpu_count(), "versions": versions}


def save(new: list[dict], implementations: set[str], path: Path = RESULTS) -> None:
    """Puts new rows in the place of all rows of these implementations, and draws the list anew."""
    kept = json.loads(path.read_text()) if path.exists() else []
    kept = [row for row in kept if row["implementation"] not in implementations]
    orders = (ARCHITECTURES, PRIVACY_UNITS, BATCHES, tuple(STYLES))
    table = sorted(kept + new, key=lambda row: [order.index(row[key]) for order, key in zip(orders, KEYS)])
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in table) + "\n]\n")
    draw(table).savefig(path.with_suffix(".png"), dpi=120)


def draw(table: list[dict]) -> Figure:
    """Time over the plain step's, by batch; one panel a unit and architecture."""
    figure, axes = plt.subplots(
        len(ARCHITECTURES), len(PRIVACY_UNITS), figsize=(9, 7), sharex=True, sharey=True, layout="constrained"
    )
    for row_axes, architecture in zip(axes, ARCHITECTURES):
        for ax, unit in zip(row_axes, PRIVACY_UNITS):
            panel = [row for row in table if (row["architecture"], row["unit"]) == (architecture, unit)]
            _draw_panel(ax, panel)
            ax.set_title(f"{'convolutions' if architecture == 'conv' else 'LSTM'}, unit: {unit}", loc="left")
    figure.supxlabel("windows in the batch")
    figure.supylabel("time of a discriminator step, over the step without privacy")
    handles = {line.get_label(): line for ax in axes.flat for line in ax.get_lines()}
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=3, frameon=False)
    plt.close(figure)
    return figure


def _draw_panel(ax: plt.Axes, panel: list[dict]) -> None:
    """One line an implementation; the project's own points bear their ratio."""
    for implementation, (label, colour, marker) in STYLES.items():
        points = [row for row in panel if row["implementation"] == implementation]
        places = [BATCHES.index(row["batch"]) for row in points]
        ratios = [row["milliseconds"] / row["plain_milliseconds"] for row in points]
        ax.plot(places, ratios, marker=marker, color=colour, label=label)
        for place, ratio in zip(places, ratios):
            if implementation == "fused":
                ax.text(place, 0.5, f"{ratio:.1f}", color=colour, ha="center")
    ax.set(
        yscale="log", ylim=(0.4, None), xticks=range(len(BATCHES)), xticklabels=BATCHES, xlim=(-0.3, len(BATCHES) - 0.7)
    )
    ax.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}x"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(axis="y", color="#DDDDDD")
    ax.spines[["top", "right"]].set_visible(False)


def _milliseconds(time: dict) -> float:
    return time["milliseconds"]
