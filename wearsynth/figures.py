"""Every picture. Each function takes data and returns a figure; made from simulated recordings, its title says so.

`kind` is 'simulated' or 'real': what the recordings are. The windows cut from them carry that name in the legends, too,
beside 'synthetic', a generator's.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from wearsynth import fidelity
from wearsynth.detector import simple_features
from wearsynth.fidelity import CLASSES
from wearsynth.privacy import Promise
from wearsynth.windows import EXTENDED, LOG_SIGNALS, Windows

WIDTH = 11.0  # inches, a notebook's
KINDS = ("simulated", "real")
UNITS = {
    "BVP": "a.u.",
    "EDA": "µS",
    **dict.fromkeys(("ACC_x", "ACC_y", "ACC_z", "ACC_movement"), "g"),
    "TEMP": "°C",
    "HR": "1/min",
    "BVP_amplitude": "a.u.",
}
# Colours of seaborn's colour-blind-safe palette; the same thing has the same colour in every picture.
RECORDED, SYNTHETIC = "#0173B2", "#DE8F05"
CLASS_COLOURS = {0: "#029E73", 1: "#CC78BC"}
CONDITION_COLOURS = {"baseline": "#029E73", "stress": "#CC78BC", "amusement": "#ECE133", "meditation": "#949494"}
PROTOCOL_COLOURS = {"trtr": RECORDED, "tstr": SYNTHETIC, "augmented": "#56B4E9"}
PROTOCOL_MARKERS = {"trtr": "o", "tstr": "D", "augmented": "s"}
SCORE_NAMES = {"accuracy": "accuracy", "f1_stress": "F1 of stress", "auroc": "AUROC"}
MOST_EMBEDDED = 500  # windows of each source: t-SNE takes seconds

sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.75)
plt.rcParams.update({"figure.dpi": 100, "savefig.dpi": 100, "axes.spines.top": False, "axes.spines.right": False})


def recording(table: pd.DataFrame, subject: str, kind: str) -> Figure:
    """One person's 1 Hz signals over time, the conditions shaded.

    Args:
        table: as `recordings.py` makes it.
        subject: such as 'S2'.
        kind: 'simulated' or 'real'.
    """
    rows = table[table["subject"] == subject]
    signals = [name for name in EXTENDED if name in rows]
    figure, axes = _figure(f"One recording: {subject}", kind, len(signals), 1, height=0.85 * len(signals), sharex=True)
    minutes = rows["time"] / 60
    for ax, name in zip(axes.flat, signals):
        ax.plot(minutes, rows[name], color="#222222", linewidth=0.6)
        ax.set_ylabel(f"{name.replace('_', chr(10))}\n({UNITS[name]})", rotation=0, ha="right", va="center")
        ax.set_yscale("log" if name in LOG_SIGNALS else "linear")
        _shade(ax, rows)
    axes.flat[-1].set(xlabel="time (min)", xlim=(minutes.min(), minutes.max()))
    figure.align_ylabels()
    patches = [Patch(color=colour, alpha=0.35, label=name) for name, colour in CONDITION_COLOURS.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    return figure


def class_levels(windows: Windows, kind: str) -> Figure:
    """How high each signal lies under stress and otherwise: distribution of the windows' means.

    Args:
        windows: scaled windows.
        kind: 'simulated' or 'real'.
    """
    figure, axes = _signal_grid("Levels by class", kind, windows.signals)
    levels = windows.values.mean(axis=1)
    for k, ax in enumerate(axes):
        for label in CLASSES:
            _histogram(ax, levels[windows.labels == label, k], CLASS_COLOURS[label], filled=True)
        ax.set(xlim=(0, 1), yticks=[])
        ax.spines["left"].set_visible(False)
    figure.supxlabel("mean of a window, scaled to the signal's range", fontsize="medium")
    patches = [Patch(color=CLASS_COLOURS[label], alpha=0.5, label=name) for label, name in CLASSES.items()]
    _legend_below(figure, patches)
    return figure


def training(fake_losses: dict[str, np.ndarray], kind: str) -> Figure:
    """The discriminator's loss on generated windows, step by step, smoothed.

    Args:
        fake_losses: name of the training -> (steps,).
        kind: 'simulated' or 'real'.
    """
    figure, axes = _figure("Training", kind, 1, 1, height=3.6)
    ax = axes[0, 0]
    colours = sns.color_palette("viridis", len(fake_losses))
    for (name, losses), colour in zip(fake_losses.items(), colours):
        smoothed = pd.Series(losses).rolling(max(1, len(losses) // 50), min_periods=1).mean()
        ax.plot(np.arange(1, len(losses) + 1), smoothed, color=colour, linewidth=1.2, label=name)
    ax.axhline(math.log(2), color="black", linestyle=":", linewidth=1, label="cannot tell (log 2)")
    ax.set(xlabel="step", ylabel="discriminator's loss on\ngenerated windows (nats)", ylim=(0, None))
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


def spent(promise: Promise, kind: str) -> Figure:
    """Epsilon spent against the steps taken.

    Args:
        promise: what was promised.
        kind: 'simulated' or 'real'.
    """
    figure, axes = _figure("Privacy budget spent", kind, 1, 1, height=3.4)
    ax = axes[0, 0]
    steps = np.unique(np.linspace(1, promise.steps, 12).round().astype(int))
    ax.set(xlabel="step", ylabel=f"epsilon spent\nfor one {promise.unit}", xlim=(0, promise.steps * 1.02))
    if not promise.private:
        ax.set_yticks([])
        ax.text(0.5, 0.5, "no guarantee: epsilon is infinite from the first step", transform=ax.transAxes, ha="center")
        return figure
    ax.plot(steps, [promise.spent(int(step)) for step in steps], marker="o", color=SYNTHETIC, label="spent")
    ax.axhline(promise.epsilon, color="black", linestyle=":", label=f"promised: {promise.epsilon:g}")
    ax.set_ylim(0, promise.epsilon * 1.1)
    ax.legend(loc="lower right", frameon=False, title=f"delta {promise.delta:g}")
    return figure


def example_windows(real: Windows, synthetic: Windows, kind: str, seed: int = 0) -> Figure:
    """A few windows of each source and class, second by second.

    Args:
        real: scaled windows of people.
        synthetic: windows of a generator.
        kind: 'simulated' or 'real'.
        seed: of the choice.
    """
    signals, rng = real.signals, np.random.default_rng(seed)
    figure, axes = _figure("Example windows", kind, len(signals), 4, 0.85 * len(signals), sharex=True, sharey=True)
    panels = [(label, *source) for label in CLASSES for source in _sources(real, synthetic, kind)]
    for column, (label, name, windows, colour) in zip(axes.T, panels):
        candidates = np.flatnonzero(windows.labels == label)
        chosen = rng.choice(candidates, min(3, len(candidates)), replace=False)
        for k, ax in enumerate(column):
            for shade, values in zip((1.0, 0.65, 0.35), windows.values[chosen, :, k]):
                ax.plot(values, color=colour, alpha=shade, linewidth=1)
        column[0].set_title(f"{name}\n{CLASSES[label]}", color=colour)
    for ax, signal in zip(axes[:, 0], signals):
        ax.set_ylabel(signal.replace("_", "\n"), rotation=0, ha="right", va="center")
        ax.set(ylim=(-0.03, 1.03), yticks=[0, 1])
    axes[0, 0].set_xlim(0, real.values.shape[1] - 1)
    figure.supxlabel("second of the window; each signal scaled to its range", fontsize="medium")
    return figure


def distributions(real: Windows, synthetic: Windows, kind: str) -> Figure:
    """Distribution of each signal's values second by second, within each class.

    Args:
        real: scaled windows of people.
        synthetic: windows of a generator.
        kind: 'simulated' or 'real'.
    """
    signals = real.signals
    rows = math.ceil(len(signals) / 3)
    figure, axes = _figure("Distributions", kind, rows, 6, 1.75 * rows, sharex=True)
    panels = [(k, label) for k in range(len(signals)) for label in CLASSES]
    for ax, (k, label) in zip(axes.flat, panels):
        for name, windows, colour in _sources(real, synthetic, kind):
            values = windows.values[windows.labels == label, :, k].ravel()
            _histogram(ax, values, colour, filled=name == kind)
        ax.set(xlim=(0, 1), yticks=[], xticks=[0, 0.5, 1])
        ax.set_title(f"{signals[k]}\n{CLASSES[label]}", fontsize="small", color="black")
        ax.spines["left"].set_visible(False)
    figure.supxlabel("value, scaled to the signal's range", fontsize="medium")
    _legend_below(
        figure, [Patch(color=RECORDED, alpha=0.5, label=kind), Line2D([], [], color=SYNTHETIC, label="synthetic")]
    )
    return figure


def correlations(real: Windows, synthetic: Windows, kind: str) -> Figure:
    """Correlations between signals over all seconds, and their difference.

    Args:
        real: scaled windows of people.
        synthetic: windows of a generator.
        kind: 'simulated' or 'real'.
    """
    figure, axes = _figure("Correlations between signals", kind, 1, 3, height=4.2, sharey=True)
    ours, theirs = fidelity.correlations(real), fidelity.correlations(synthetic)
    panels = {kind: ours, "synthetic": theirs, f"synthetic minus {kind}": theirs - ours}
    for ax, (name, matrix) in zip(axes.flat, panels.items()):
        text = np.vectorize("{:.1f}".format)(matrix + 0.0)
        sns.heatmap(
            matrix, ax=ax, vmin=-1, vmax=1, cmap="vlag", cbar=False, square=True, annot=text, fmt="",
            annot_kws={"fontsize": 7}, xticklabels=real.signals, yticklabels=real.signals,
        )  # fmt: skip
        ax.set_title(name)
    figure.colorbar(axes[0, 0].collections[0], ax=axes, shrink=0.6, label="Pearson's r")
    return figure


def embeddings(real: Windows, synthetic: Windows, kind: str, seed: int = 0) -> Figure:
    """Windows as points in the plane: principal components and t-SNE of their simple features.

    Args:
        real: scaled windows of people.
        synthetic: windows of a generator.
        kind: 'simulated' or 'real'.
        seed: of the choice of windows and of t-SNE.
    """
    rng = np.random.default_rng(seed)
    sources = [(name, _some(windows, rng), colour) for name, windows, colour in _sources(real, synthetic, kind)]
    features = StandardScaler().fit_transform(np.concatenate([simple_features(part.values) for _, part, _ in sources]))
    perplexity = min(30, (len(features) - 1) / 3)
    maps = {
        "principal components": PCA(2, random_state=seed),
        "t-SNE": TSNE(perplexity=perplexity, init="pca", random_state=seed),
    }
    figure, axes = _figure("Windows in the plane", kind, 1, 2, height=5)
    for ax, (title, mapping) in zip(axes.flat, maps.items()):
        points = np.split(mapping.fit_transform(features), [len(sources[0][1])])
        for (name, part, colour), xy in zip(sources, points):
            for label, marker in {0: "o", 1: "^"}.items():
                chosen = xy[part.labels == label]
                name_and_class = f"{name}, {CLASSES[label]}"
                ax.scatter(*chosen.T, s=14, alpha=0.6, color=colour, marker=marker, linewidth=0, label=name_and_class)
        ax.set(title=title, xticks=[], yticks=[])
    _legend_below(figure, axes[0, 0].get_legend_handles_labels()[0])
    return figure


def spectra(real: Windows, synthetic: Windows, kind: str) -> Figure:
    """Power of each signal at each frequency; every recorded person is a thin line.

    Args:
        real: scaled windows of people.
        synthetic: windows of a generator.
        kind: 'simulated' or 'real'.
    """
    figure, axes = _signal_grid("Power spectra", kind, real.signals)
    people = [real.of(person) for person in np.unique(real.subjects)]
    lines = [(part, RECORDED, 0.5, 0.35) for part in people] + [(real, RECORDED, 2, 1), (synthetic, SYNTHETIC, 2, 1)]
    for windows, colour, width, alpha in lines:
        frequencies, power = fidelity.power_spectra(windows)
        for k, ax in enumerate(axes):
            ax.semilogy(frequencies, np.maximum(power[:, k], fidelity.POWER_FLOOR), color=colour, lw=width, alpha=alpha)
    figure.supxlabel("frequency (Hz)", fontsize="medium")
    figure.supylabel("power (1/Hz; the signal's range is 1)", fontsize="medium")
    names = {kind: (RECORDED, 2), f"one {kind} person": (RECORDED, 0.5), "synthetic": (SYNTHETIC, 2)}
    _legend_below(figure, [Line2D([], [], color=colour, lw=lw, label=name) for name, (colour, lw) in names.items()])
    return figure


def attacks(records: dict[str, dict], kind: str) -> Figure:
    """Each attack's score with its interval, against what guessing scores.

    Args:
        records: name -> record with `score`, `chance`, `ci95` and `folds`, as `attacks.py` makes them.
        kind: 'simulated' or 'real'.
    """
    figure, axes = _figure("Attacks", kind, 1, 1, height=1.4 + 0.45 * len(records))
    ax = axes[0, 0]
    for row, record in enumerate(records.values()):
        ax.plot([record["chance"]] * 2, [row - 0.35, row + 0.35], color="black", linestyle=":")
        if record["ci95"] is not None:
            ax.plot(record["ci95"], [row, row], color=SYNTHETIC, linewidth=3, alpha=0.5)
        if record["score"] is not None:
            ax.plot(record["score"], row, marker="o", color=SYNTHETIC)
    ax.set(xlim=(0, 1), ylim=(len(records) - 0.5, -0.5), xlabel="score (1: the attacker is always right)")
    ax.set_yticks(range(len(records)), [name.replace("_", " ") for name in records])
    dot = Line2D([], [], color=SYNTHETIC, marker="o", lw=3, alpha=0.7, label="mean and 95 % interval over folds")
    _legend_below(figure, [dot, Line2D([], [], color="black", linestyle=":", label="guessing")])
    return figure


def scores_by_subject(scores: pd.DataFrame, kind: str) -> Figure:
    """Scores of each held-out person, mean over seeds; a line at each protocol's mean over people.

    Args:
        scores: columns protocol, subject, seed, accuracy, f1_stress, auroc, and perhaps detector: one row of panels each.
        kind: 'simulated' or 'real'.
    """
    detectors = list(scores["detector"].unique()) if "detector" in scores else [None]
    people = list(scores["subject"].unique())
    protocols = list(scores["protocol"].unique())
    height = len(detectors) * (1.0 + 0.24 * len(people))
    figure, axes = _figure("Stress detection, person by person", kind, len(detectors), 3, height, sharey=True)
    for row, detector in zip(axes, detectors):
        chosen = scores if detector is None else scores[scores["detector"] == detector]
        for ax, (score, name) in zip(row, SCORE_NAMES.items()):
            for protocol in protocols:
                values = chosen[chosen["protocol"] == protocol].groupby("subject")[score].mean().reindex(people)
                colour, marker = PROTOCOL_COLOURS[protocol], PROTOCOL_MARKERS[protocol]
                ax.plot(values, range(len(people)), marker, color=colour, alpha=0.8, label=protocol)
                ax.axvline(values.mean(), color=colour, linewidth=1.5, alpha=0.8)
            ax.set(xlim=(-0.03, 1.03), title=name if detector is None else f"{detector.replace('_', ' ')}: {name}")
            ax.set_yticks(range(len(people)), people)
            ax.grid(axis="y", linewidth=0.4)
        row[0].invert_yaxis()
    _legend_below(figure, axes[0, 0].get_legend_handles_labels()[0])
    return figure


def confusion(matrices: dict[str, np.ndarray], kind: str) -> Figure:
    """Windows by true and predicted class, one panel a protocol.

    Args:
        matrices: protocol -> (2, 2) counts; rows are true classes, columns predicted ones.
        kind: 'simulated' or 'real'.
    """
    figure, axes = _figure("Confusion matrices", kind, 1, len(matrices), height=3.2, sharey=True)
    names = ["baseline and\namusement", "stress"]
    for ax, (protocol, counts) in zip(axes.flat, matrices.items()):
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        text = [[f"{part:.0%}\n{count:.0f}" for part, count in zip(*row)] for row in zip(share, counts)]
        sns.heatmap(
            share, ax=ax, vmin=0, vmax=1, cmap="Blues", cbar=False, square=True, annot=np.array(text), fmt="",
            xticklabels=names, yticklabels=names,
        )  # fmt: skip
        ax.set(title=protocol, xlabel="predicted")
        ax.tick_params(axis="y", rotation=0)
    axes[0, 0].set_ylabel("true")
    return figure


def _figure(title: str, kind: str, rows: int, columns: int, height: float, **shared) -> tuple[Figure, np.ndarray]:
    """An empty figure that says what the recordings are, and its axes, (rows, columns)."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected {' or '.join(map(repr, KINDS))}")
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, height + 0.6), layout="constrained", squeeze=False, **shared
    )
    figure.suptitle(f"{title} ({kind} recordings)", fontweight="bold")
    plt.close(figure)  # so that a notebook shows it once, as a cell's result
    return figure, axes


def _signal_grid(title: str, kind: str, signals: tuple[str, ...]) -> tuple[Figure, np.ndarray]:
    """A panel for each signal, three in a row."""
    rows = math.ceil(len(signals) / 3)
    figure, axes = _figure(title, kind, rows, 3, 1.7 * rows, sharex=True)
    for ax, signal in zip(axes.flat, signals):
        ax.set_title(signal)
    return figure, axes.flat[: len(signals)]


def _sources(real: Windows, synthetic: Windows, kind: str) -> list[tuple[str, Windows, str]]:
    """Name, windows and colour of both sources."""
    return [(kind, real, RECORDED), ("synthetic", synthetic, SYNTHETIC)]


def _some(windows: Windows, rng: np.random.Generator) -> Windows:
    """At most MOST_EMBEDDED windows."""
    return windows[rng.permutation(len(windows))[:MOST_EMBEDDED]]


def _shade(ax: Axes, rows: pd.DataFrame) -> None:
    """Colours the stretches of each condition."""
    change = rows["condition"].ne(rows["condition"].shift()).cumsum()
    for _, stretch in rows.groupby(change):
        colour = CONDITION_COLOURS.get(stretch["condition"].iloc[0])
        if colour is not None:
            ax.axvspan(
                stretch["time"].iloc[0] / 60, stretch["time"].iloc[-1] / 60, color=colour, alpha=0.3, linewidth=0
            )


def _histogram(ax: Axes, values: np.ndarray, colour: str, filled: bool) -> None:
    """Density of values in [0, 1]: an area or an outline."""
    style = {"histtype": "stepfilled", "alpha": 0.5} if filled else {"histtype": "step", "linewidth": 1.5}
    ax.hist(values, bins=np.linspace(0, 1, 41), density=True, color=colour, **style)


def _legend_below(figure: Figure, handles: list) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
