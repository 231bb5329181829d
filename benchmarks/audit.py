"""Audits the promise at length, with canaries: what is planned, and how the bounds are drawn.

python -m benchmarks.audit

Writes docs/audit.json and images/audit.png; `wearsynth/audit.py` has the method.
"""

import json
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from wearsynth.audit import CONTROLS, audit
from wearsynth.privacy import Promise
from wearsynth.windows import EXTENDED, Windows


def draw(table: pd.DataFrame) -> plt.Figure:
    """Draws the bounds over what was promised: audits of the mechanism below the diagonal, its controls above it."""
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    limits = [0.3, 60]
    ax.plot(limits, limits, color="grey", linewidth=1)
    ax.fill_between(limits, limits, limits[1], color="tab:red", alpha=0.08, linewidth=0)
    ax.text(0.35, 40, "promise refuted", color="tab:red")
    groups = table.groupby(["mechanism", "unit", "control"], sort=False)
    aside = np.geomspace(0.94, 1 / 0.94, groups.ngroups)  # lest markers hide each other
    for factor, ((mechanism, unit, control), rows) in zip(aside, groups):
        marker = {"none": "o" if unit == "window" else "s", "clipping off": "^", "noise off": "v"}.get(control, "D")
        label = f"a {unit}'s promise, kept" if control == "none" else f"control: {control}"
        fill = "full" if mechanism == "steps" else "none"
        ax.plot(factor * rows["promised"], rows["bound_dpsgd"], marker, fillstyle=fill, label=f"{mechanism}: {label}")
    ax.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(FixedLocator([0.5, 1, 2, 4, 10, 20, 40]))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())
    ax.set(xlabel="epsilon promised", ylabel="epsilon measured, lower bound at 95 % confidence")
    figure.legend(loc="outside right center", frameon=False)
    return figure


def nobodys_windows(of_each: int = 16) -> Windows:
    """Windows of 15 people that never were."""
    labels = np.tile([0, 0, 1], 5 * of_each)
    noise = np.random.default_rng(0).normal(size=(len(labels), 60, 9))
    values = np.clip(0.3 + 0.4 * labels[:, None, None] + 0.1 * noise, 0, 1).astype(np.float32)
    return Windows(values, labels, np.repeat([f"S{number}" for number in range(2, 17)], of_each), EXTENDED)


def planned() -> list[tuple[Windows, Promise, int, str]]:
    """Audits of steps and releases, both units, and the three controls: windows, promise, runs, control."""
    # What a release asks goes by how many windows there are: here as many as in WESAD. Steps take long on so many.
    few, many = nobodys_windows(), nobodys_windows(70)
    promised = partial(Promise, "window", delta=1e-4, steps=100)
    controls = [control for control in CONTROLS if control != "none"]
    audits = [(few, promised(1.0), 60, "none"), (few, promised(4.0), 24, "none"), (few, promised(10.0), 24, "none")]
    audits += [(few, Promise("subject", 10.0, 1e-3, steps=100), 24, "none")]
    audits += [(few, promised(1.0), 6, control) for control in controls]
    released = partial(promised, release_share=1.0)
    audits += [(many, released(epsilon), 50_000, "none") for epsilon in (1.0, 10.0)]
    audits += [(many, Promise("subject", 10.0, 1e-3, release_share=1.0), 50_000, "none")]
    return audits + [(many, released(1.0), 2000, control) for control in controls]


def main(folder: Path = Path(".")) -> None:
    """Makes the audits that are planned; writes docs/audit.json and images/audit.png."""
    table = pd.DataFrame([audit(*each) for each in planned()])
    table["tightness"] = table["bound_dpsgd"] / table["promised"]
    print(table.round(4).to_string(index=False))
    for name in ("docs", "images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "docs" / "audit.json").write_text(json.dumps(table.round(4).to_dict("records"), indent=2) + "\n")
    draw(table).savefig(folder / "images" / "audit.png", dpi=150)


if __name__ == "__main__":
    main()
