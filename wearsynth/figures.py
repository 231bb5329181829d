"""Every picture. Each function takes data and returns a figure.

Everywhere `kind` is one of `provenance.KINDS`, what the recordings are, or 'synthetic' where synthetic people stand
alone. Every title says it, and in the legends the windows cut from the recordings bear that name, beside 'synthetic'.
`real` are windows of people, whichever kind, `synthetic` those of a generator; both are scaled to [0, 1].
"""

import io
import itertools
import math

import matplotlib
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
from sklearn.metrics import roc_curve
from sklearn.preprocessing import StandardScaler

from wearsynth import fidelity
from wearsynth.attacks import FALSE_POSITIVES
from wearsynth.datasheet import COLUMNS
from wearsynth.features import simple_features
from wearsynth.privacy import Promise
from wearsynth.protocols import PROTOCOLS
from wearsynth.provenance import KINDS
from wearsynth.runs import EVERYONE
from wearsynth.scores import (
    THRESHOLD,
    auroc,
    bootstrap_interval,
    calibration,
    calibration_error,
    intervals_at_once,
    predicted_classes,
    probabilities_of,
    score_table,
)
from wearsynth.studies import NO_CONDITION
from wearsynth.windows import EXTENDED, LOG_SIGNALS, PUBLIC_RANGES, Windows, class_names

matplotlib.rcdefaults()  # whatever the user has set for pictures of their own, as usetex, which takes LaTeX
WHOSE = KINDS | {"synthetic": "synthetic people"}
WIDTH = 11.0  # inches, a notebook's
SIGNAL_UNITS = {name: unit for name, (_, unit) in COLUMNS.items()}
# The same thing has the same colour in every picture; colour-blind people can tell them apart.
RECORDED, PRIOR, SYNTHETIC = "#0173B2", "#949494", "#DE8F05"
# Of the classes' conditions, in the order in which a table has them; those of no class are grey.
CONDITION_COLOURS = {0: ("#029E73", "#ECE133", "#56B4E9"), 1: ("#CC78BC", "#D55E00", "#CA9161"), 2: ("#ECE133",)}
CLASS_COLOURS = {label: colours[0] for label, colours in CONDITION_COLOURS.items()}
NO_CLASS = "#949494"
# A leaky protocol has a hollow marker: its scores promise more than they hold.
PROTOCOL_STYLES = {
    "trtr": {"color": RECORDED, "marker": "o", "linestyle": "-"},
    "tstr": {"color": SYNTHETIC, "marker": "D", "linestyle": "--"},
    "augmented": {"color": "#4D4D4D", "marker": "s", "linestyle": ":"},
    "trts": {"color": "#56B4E9", "marker": "^", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
    "tstr_leaky": {"color": "#A50026", "marker": "v", "linestyle": "-.", "markerfacecolor": "none"},
}
# Detectors are called what the notebook calls them, so these go by their order.
DETECTOR_COLOURS = ("#332288", "#CC6677", "#117733", "#882255", "#88CCEE", "#999933", "#44AA99", "#AA4499")
DETECTOR_MARKERS = "oDs^vPX*"
SCORES = {"accuracy": "accuracy", "f1_stress": "F1", "auroc": "AUROC"}
MOST_EMBEDDED = 500  # windows of each source, so that t-SNE takes seconds
FALSE_POSITIVE_RATES = np.linspace(0, 1, 101)  # at which ROC curves are averaged

sns.set_theme(style="ticks", palette="colorblind", font_scale=0.75)
plt.rcParams.update({"figure.dpi": 200, "savefig.dpi": 200, "axes.spines.top": False, "axes.spines.right": False})


def as_png(figure: Figure) -> bytes:
    """A figure as a file, for pages that need no other."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def recording(table: pd.DataFrame, subject: str, kind: str) -> Figure:
    """One person's signals over time, as `readers.read_table` makes the table, the conditions shaded."""
    rows = table[table["subject"] == subject]
    signals = [name for name in EXTENDED if name in rows]
    figure, axes = _figure(f"Signals of {subject}", kind, len(signals), 1, 0.85 * len(signals), sharex=True)
    minutes, colours = rows["time"] / 60, _condition_colours(table)
    for ax, name in zip(axes.flat, signals):
        ax.plot(minutes, rows[name], color="#222222", linewidth=0.6)
        _row_label(ax, name, f"\n({SIGNAL_UNITS[name]})")
        if name in LOG_SIGNALS:
            ax.set_yscale("log")
            ax.set_ylim(bottom=PUBLIC_RANGES[name][0])  # below lies rounding; an exact 0 would squeeze all the rest
        _shade(ax, rows, colours)
    axes.flat[-1].set(xlabel="time (min)", xlim=(minutes.min(), minutes.max()))
    figure.align_ylabels()
    _legend(figure, [Patch(color=colour, alpha=0.35, label=name) for name, colour in colours.items()])
    return figure


def conditions(table: pd.DataFrame, kind: str) -> Figure:
    """Everybody's conditions over time, as `readers.read_table` makes the table."""
    people, colours = table.groupby("subject", sort=False), _condition_colours(table)
    figure, axes = _figure("Conditions", kind, people.ngroups, 1, 0.3 * people.ngroups + 0.8, sharex=True)
    for ax, (person, rows) in zip(axes.flat, people):
        _shade(ax, rows, colours)
        _row_label(ax, person)
        ax.set_yticks([])
    axes.flat[-1].set(xlabel="time (min)", xlim=(0, table["time"].max() / 60))
    _legend(figure, [Patch(color=colour, alpha=0.35, label=name) for name, colour in colours.items()])
    return figure


def people_levels(tables: dict[str, pd.DataFrame], kind: str) -> Figure:
    """Each person's level of each signal by class, in physical units.

    Args:
        tables: at 1 Hz, by the name of whose they are: `kind`, 'synthetic', or both.
        kind: one of KINDS, or 'synthetic'.
    """
    levels = {whose: fidelity.people_levels(table) for whose, table in tables.items()}
    signals, classes = list(levels[kind].columns), _in_lines(class_names(tables[kind]))
    colours = [SYNTHETIC if whose == "synthetic" else RECORDED for whose in levels]
    figure, axes = _figure("Levels of people", kind, math.ceil(len(signals) / 5), min(5, len(signals)), 4.4)
    for ax, signal in zip(axes.flat, signals):
        for aside, table, colour in zip(0.35 * _around_zero(len(levels)), levels.values(), colours):
            for label in range(len(classes)):
                values, place = np.sort(table.loc[label, signal].to_numpy()), label + aside
                ax.plot(place + np.linspace(-0.1, 0.1, len(values)), values, "o", color=colour, markersize=3)
                ax.hlines(np.median(values), place - 0.14, place + 0.14, color=colour, linewidth=1.5)
        ax.set(title=f"{signal} ({SIGNAL_UNITS[signal]})", xticks=range(len(classes)), xticklabels=classes)
        ax.set_xlim(-0.4, len(classes) - 0.6)
        if signal in LOG_SIGNALS:
            ax.set_yscale("log")
    for ax in axes.flat[len(signals) :]:
        ax.set_axis_off()
    _legend(figure, [Patch(color=colour, label=whose) for whose, colour in zip(levels, colours)])
    return figure


def responses(changes: dict[str, pd.DataFrame], classes: tuple[str, ...], kind: str) -> Figure:
    """How far people's levels rise or fall from class 0 to class 1: each person a dot, and the mean with its interval.

    Args:
        changes: as `fidelity.responses` makes them, by the name of whose they are: `kind` and 'synthetic'.
        classes: what they are called.
        kind: one of KINDS.
    """
    signals = changes[kind].columns
    figure, axes = _figure(f"From {classes[0]} to {classes[1]}", kind, 1, 1, 0.4 * len(signals) + 0.6)
    ax = axes[0, 0]
    ax.axvline(0, color="black", linestyle=":", linewidth=1)
    for (whose, table), aside, colour in zip(changes.items(), (-0.17, 0.17), (RECORDED, SYNTHETIC)):
        for row, signal in enumerate(signals):
            values, place = table[signal].to_numpy(), row + aside
            ax.plot(values, np.full(len(values), place), "o", color=colour, markersize=3, alpha=0.4)
            ax.plot(bootstrap_interval(values) or [], [place] * 2, color=colour, linewidth=3, alpha=0.6)
            ax.plot(values.mean(), place, "o", color=colour, label=whose if row == 0 else None)
    ax.set_yticks(range(len(signals)), signals)
    ax.set(ylim=(len(signals) - 0.5, -0.5), xlabel="change of a person's level, in standard deviations between people")
    person = Line2D([], [], color="black", marker="o", markersize=3, linestyle="none", alpha=0.5, label="one person")
    interval = Line2D([], [], color="black", linewidth=3, alpha=0.6, label="95 % interval of the mean over people")
    _legend(figure, [*ax.get_legend_handles_labels()[0], person, interval])
    return figure


def class_levels(windows: Windows, kind: str) -> Figure:
    """How high each signal lies in each class: distribution of the windows' means."""
    figure, axes = _grid("Levels by class", kind, windows.signals, 3, "mean of a window, scaled")
    levels = windows.values.mean(axis=1)
    for k, ax in enumerate(axes):
        for label in range(len(windows.classes)):
            for filled in (True, False):
                _histogram(ax, levels[windows.labels == label, k], CLASS_COLOURS[label], filled)
    _legend(figure, [Patch(color=CLASS_COLOURS[k], alpha=0.6, label=name) for k, name in enumerate(windows.classes)])
    return figure


def training(fake_losses: dict[str, np.ndarray], kind: str) -> Figure:
    """The discriminator's loss on generated windows, smoothed: name of the training -> (steps,)."""
    figure, axes = _figure("Training", kind, 1, 1, 3.6)
    ax = axes[0, 0]
    for name in sorted(fake_losses, key=lambda name: name == EVERYONE):  # that of everybody on top
        losses = fake_losses[name]
        smoothed = pd.Series(losses).rolling(max(1, len(losses) // 50), min_periods=1).mean()
        style = {"color": SYNTHETIC, "linewidth": 1.5} if name == EVERYONE else {"color": "#949494", "linewidth": 0.8}
        label = name if name == EVERYONE else "without one person"
        ax.plot(np.arange(1, len(losses) + 1), smoothed, **style, label=label)
    ax.axhline(math.log(2), color="black", linestyle=":", linewidth=1, label="chance (log 2)")
    ax.set(xlabel="step", ylabel="discriminator's loss on\ngenerated windows (nats)", ylim=(0, None))
    lines = {line.get_label(): line for line in ax.lines}  # one of those without somebody stands for all
    figure.legend(handles=list(lines.values()), loc="outside right upper", frameon=False, fontsize="small")
    return figure


def spent(promise: Promise, kind: str) -> Figure:
    """Epsilon spent against the steps taken."""
    figure, axes = _figure("Privacy budget spent", kind, 1, 1, 3.2)
    ax = axes[0, 0]
    first, last = 0 if promise.release_share else 1, promise.training_steps  # at 0, the release has been made
    steps = np.unique(np.linspace(first, last, 12).round().astype(int))
    ax.set(xlabel="step", ylabel=f"epsilon spent for one {promise.unit}", xlim=(0, max(last, 1) * 1.02))
    if not promise.private:
        ax.set_yticks([])
        ax.text(0.5, 0.5, "no guarantee: epsilon is infinite from the first step", transform=ax.transAxes, ha="center")
        return figure
    ax.plot(steps, [promise.spent(int(step)) for step in steps], marker="o", color=SYNTHETIC, label="spent")
    ax.axhline(promise.epsilon, color="black", linestyle=":", label=f"promised: {promise.epsilon:g}")
    ax.set_ylim(0, promise.epsilon * 1.1)
    ax.legend(loc="lower right", frameon=False, title=f"at delta {promise.delta:g}")
    return figure


def example_windows(real: Windows, prior: Windows, synthetic: Windows, kind: str, seed: int = 0) -> Figure:
    """One window of each source and class, all signals of it below one another: what moves together stands together.

    Of a class that the prior's people lack, the prior has none.
    """
    signals, classes, rng = real.signals, _in_lines(real.classes), np.random.default_rng(seed)
    sources = [(kind, real, RECORDED), ("prior", prior, PRIOR), ("synthetic", synthetic, SYNTHETIC)]
    panels = [(label, *source) for label in range(len(real.classes)) for source in sources if label in source[1].labels]
    figure, axes = _figure(
        "Example windows, scaled", kind, len(signals), len(panels), 0.75 * len(signals), sharex=True, sharey=True
    )
    for column, (label, name, windows, colour) in zip(axes.T, panels):
        candidates = np.flatnonzero(windows.labels == label)
        values = windows.values[rng.choice(candidates)]
        for k, ax in enumerate(column):
            ax.plot(values[:, k], color=colour, linewidth=1)
        column[0].set_title(f"{name}\n{classes[label]}", color=colour)
        column[-1].set_xlabel("second")
    for ax, signal in zip(axes[:, 0], signals):
        _row_label(ax, signal)
    axes[0, 0].set(xlim=(0, real.values.shape[1] - 1), ylim=(-0.03, 1.03), yticks=[0, 1])
    return figure


def distributions(real: Windows, synthetic: Windows, kind: str) -> Figure:
    """Distribution of each signal's values second by second, within each class."""
    panels = [(k, label) for k in range(len(real.signals)) for label in range(len(real.classes))]
    gaps = fidelity.ks_statistics(real, synthetic).to_numpy()
    titles = [f"{real.signals[k]}: KS {gaps[k, label]:.2f}\n{real.classes[label]}" for k, label in panels]
    figure, axes = _grid("Distributions", kind, titles, 6, "value, scaled")
    for ax, (k, label) in zip(axes, panels):
        for name, windows, colour in _sources(real, synthetic, kind):
            _histogram(ax, windows.values[windows.labels == label, :, k].ravel(), colour, filled=name == kind)
    outline = Line2D([], [], color=SYNTHETIC, label="synthetic")
    _legend(figure, [Patch(color=RECORDED, alpha=0.4, label=kind), outline])
    return figure


def correlations(real: Windows, synthetic: Windows, kind: str) -> Figure:
    """Correlations between signals over all seconds, and their difference."""
    figure, axes = _figure("Correlations between signals", kind, 1, 3, 3.9, sharey=True)
    ours, theirs = fidelity.correlations(real), fidelity.correlations(synthetic)
    panels = {kind: ours, "synthetic": theirs, f"synthetic minus {kind}": theirs - ours}
    for ax, (name, matrix) in zip(axes.flat, panels.items()):
        _heatmap(ax, matrix, (matrix.round(1) + 0.0).astype(str), real.signals, vmin=-1, vmax=1, cmap="vlag")
        ax.set_title(name)
    figure.colorbar(axes[0, 0].collections[0], ax=axes, shrink=0.6, label="Pearson's r")
    return figure


def embeddings(real: Windows, synthetic: Windows, kind: str, seed: int = 0) -> Figure:
    """Windows as points in the plane: principal components and t-SNE of their simple features."""
    rng = np.random.default_rng(seed)
    sources = [
        (name, windows[rng.permutation(len(windows))[:MOST_EMBEDDED]], colour)
        for name, windows, colour in _sources(real, synthetic, kind)
    ]
    features = StandardScaler().fit_transform(np.concatenate([simple_features(part.values) for _, part, _ in sources]))
    tsne = TSNE(perplexity=min(30, (len(features) - 1) / 3), init="pca", random_state=seed)
    figure, axes = _figure("Windows in the plane", kind, 1, 2, 5)
    for ax, (title, mapping) in zip(axes.flat, {"principal components": PCA(2), "t-SNE": tsne}.items()):
        points = np.split(mapping.fit_transform(features), [len(sources[0][1])])
        for (name, part, colour), xy in zip(sources, points):
            for label, marker in zip(range(len(real.classes)), "o^s"):
                style = {"s": 14, "alpha": 0.6, "linewidth": 0, "color": colour, "marker": marker}
                ax.scatter(*xy[part.labels == label].T, label=f"{name}, {real.classes[label]}", **style)
        ax.set(title=title, xticks=[], yticks=[])
    _legend(figure, axes[0, 0].get_legend_handles_labels()[0])
    return figure


def spectra(real: Windows, synthetic: Windows, kind: str) -> Figure:
    """Power of each signal at each frequency, with each recorded person as a thin line."""
    figure, axes = _grid("Power spectra", kind, real.signals, 3, "frequency (Hz)")
    people = [(real.of(person), RECORDED, 0.5) for person in np.unique(real.subjects)]
    for windows, colour, width in [*people, (real, RECORDED, 2), (synthetic, SYNTHETIC, 2)]:
        frequencies, power = fidelity.power_spectra(windows)
        for ax, of_signal in zip(axes, power.T):
            floored = np.maximum(of_signal, fidelity.POWER_FLOOR)
            ax.semilogy(frequencies, floored, color=colour, linewidth=width, alpha=min(1, 0.3 + width / 2))
    figure.supylabel("power (1/Hz, of the scaled signal)", fontsize="medium")
    lines = {kind: (RECORDED, 2), f"one {kind} person": (RECORDED, 0.5), "synthetic": (SYNTHETIC, 2)}
    _legend(figure, [Line2D([], [], color=colour, lw=width, label=name) for name, (colour, width) in lines.items()])
    return figure


def attacks(records: dict[str, dict], kind: str) -> Figure:
    """Each attack's scores with their intervals, as `attacks.py` makes the records, against what guessing scores."""
    rates = {f"true positive rate at {rate:.1%} false positives": rate for rate in FALSE_POSITIVES}
    at_once = intervals_at_once(records)
    figure, axes = _figure("Attacks", kind, 1, 1 + len(rates), 1.4 + 0.45 * max(len(records), 1), sharey=True)
    for row, (name, record) in enumerate(records.items()):
        if name in at_once:
            axes[0, 0].plot(at_once[name], [row, row], color=SYNTHETIC, linewidth=1)
        _interval(axes[0, 0], row, record["score"], record["ci95"], record["chance"])
        for ax, rate in zip(axes[0, 1:], FALSE_POSITIVES):
            found = record["true_positive_rates"][str(rate)]
            if found["rate"] is None:
                ax.text(0.03, row, "too few people to tell", va="center", fontsize="small", color="#4D4D4D")
            else:
                _interval(ax, row, found["rate"], found["ci95"], rate)
    axes[0, 0].set(ylim=(max(len(records), 1) - 0.5, -0.5))
    axes[0, 0].set_yticks(range(len(records)), [name.replace("_", " ") for name in records])
    axes[0, 0].set(xlim=(-0.02, 1.02), xlabel="area under the ROC curve")
    for ax, title in zip(axes[0, 1:], rates):
        widest = max([0.1, *(end for line in ax.lines for end in line.get_xdata())])
        ax.set(xlim=(-0.02 * widest, 1.02 * widest), xlabel=title)
    if not records:
        axes[0, 0].text(0.5, 0, "no attack: nobody was held out", ha="center", va="center")
    dot = Line2D([], [], color=SYNTHETIC, marker="o", lw=3, alpha=0.7, label="95 % interval over people")
    line = Line2D([], [], color=SYNTHETIC, lw=1, label="holds for all attacks at once")
    _legend(figure, [dot, line, Line2D([], [], color="black", linestyle=":", label="guessing")])
    return figure


def scores_by_subject(scores: pd.DataFrame, kind: str) -> Figure:
    """Scores of each held-out person, mean over seeds; a line stands at each protocol's mean over people.

    Args:
        scores: as `scores.score_table` makes it. Each detector has a row of panels. Protocols that test on synthetic
            windows are left out: these are nobody's.
        kind: one of KINDS.
    """
    scores = scores[[PROTOCOLS[protocol].tested_on == "real" for protocol in scores["protocol"]]]
    people, protocols = scores["subject"].unique(), scores["protocol"].unique()
    detectors = scores.groupby("detector", sort=False)
    height = detectors.ngroups * (0.9 + 0.3 * len(people))
    figure, axes = _figure("Stress detection", kind, detectors.ngroups, 3, height, sharex=True, sharey=True)
    for row, (detector, rows) in zip(axes, detectors):
        for ax, (score, name) in zip(row, SCORES.items()):
            values = rows.pivot_table(score, "subject", "protocol").reindex(index=people, columns=protocols)
            for protocol, offset in zip(protocols, _around_zero(len(protocols))):
                _dots(ax, values[protocol], 0.17 * offset, protocol)
            ax.set_title(f"{detector}: {name}".replace("_", " "))
            ax.grid(axis="y", linewidth=0.4)
    lowest = math.floor(scores[list(SCORES)].min(axis=None) * 10) / 10
    axes[0, 0].set(xlim=(lowest - 0.02, 1.02), ylim=(len(people) - 0.5, -0.5))  # the first person on top
    axes[0, 0].set_yticks(range(len(people)), people)
    _legend(figure, axes[0, 0].get_legend_handles_labels()[0], rows=2)
    return figure


def confusion(matrices: dict[str, np.ndarray], classes: tuple[str, ...], kind: str) -> Figure:
    """Windows by true (rows) and predicted class (columns), as shares of the true one: protocol -> counts."""
    figure, axes = _figure("Confusion matrices", kind, 1, len(matrices), 3.2, sharey=True)
    for ax, (protocol, counts) in zip(axes.flat, matrices.items()):
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        text = [[f"{part:.0%}\n{count:.0f}" for part, count in zip(*row)] for row in zip(share, counts)]
        _heatmap(ax, share, np.array(text), _in_lines(classes), vmin=0, vmax=1, cmap="Blues")
        ax.set(title=protocol, xlabel="predicted")
    axes[0, 0].set_ylabel("true")
    axes[0, 0].tick_params(axis="y", rotation=0)
    return figure


def roc(predictions: pd.DataFrame, kind: str) -> Figure:
    """ROC curves and calibration, a column for each protocol: each held-out person's curve, mean over seeds, and their
    mean; below, how often class 1 came true where it was said with some probability, of all windows.

    Args:
        predictions: of one detector, as `protocols.cross_validate` makes them.
        kind: one of KINDS.
    """
    (detector,) = predictions["detector"].unique()
    by_protocol = predictions.groupby("protocol", sort=False)
    title = f"ROC curves and calibration of {detector}"
    figure, axes = _figure(title, kind, 2, by_protocol.ngroups, 5.6, sharey=True)
    ends, ticks = (-0.02, 1.02), [0, 0.5, 1]
    for ax in axes.flat:
        ax.set(xlim=ends, ylim=ends, xticks=ticks, yticks=ticks, box_aspect=1)
    for (ax, below), (protocol, rows) in zip(axes.T, by_protocol):
        _roc(ax, _roc_curves(rows), PROTOCOL_STYLES[protocol]["color"])
        area = rows.groupby(["subject", "seed"])[["label", "probability"]].apply(_auroc_of_positive)
        auroc = area.groupby("subject").mean().mean()
        ax.set(title=f"{protocol}\nmean AUROC {auroc:.2f}", xlabel="false positive rate")
        _calibration(below, rows, PROTOCOL_STYLES[protocol]["color"])
    axes[0, 0].set_ylabel("true positive rate")
    axes[1, 0].set_ylabel("share of class 1")
    lines = {"one person": (0.6, "-"), "mean over people": (2, "-"), "guessing; as said": (1, ":")}
    handles = [Line2D([], [], color="black", lw=width, ls=line, label=name) for name, (width, line) in lines.items()]
    _legend(figure, [*handles, Patch(color="black", alpha=0.25, lw=0, label="95 % interval over people")])
    return figure


def utility_privacy(points: pd.DataFrame, unit: str, kind: str) -> Figure:
    """What detectors score against the epsilon of their training, budgets side by side; dashed lines need no budget.

    Args:
        points: columns `detector` (its name in the legend), `epsilon` (may be infinite), `score` (of SCORES), `mean`,
            `low` and `high` (NaN where there is no interval).
        unit: what a budget is for.
        kind: one of KINDS.
    """
    styles = _detector_styles(points["detector"].unique())
    of_budgets = points[points["detector"].isin(points.loc[np.isfinite(points["epsilon"]), "detector"])]
    epsilons = np.unique(of_budgets["epsilon"])
    figure, axes = _figure("Stress detection against privacy", kind, 1, 3, 3.8, sharex=True)
    for ax, (score, name) in zip(axes.flat, SCORES.items()):
        own = points[points["score"] == score]
        for detector, rows in of_budgets.assign(place=_places(of_budgets, epsilons)).groupby("detector", sort=False):
            _along_budgets(ax, rows[rows["score"] == score].sort_values("epsilon"), detector, styles[detector])
        for row in own[~own["detector"].isin(of_budgets["detector"])].itertuples():
            ax.axhline(row.mean, **styles[row.detector] | {"marker": "", "linestyle": "--"}, label=row.detector)
        # Who looks at no signal lies far below: from there, nothing could be seen of how the others differ.
        shown = own[own["detector"] != "majority"]
        bottom = max(0, shown[["mean", "low"]].min(axis=None) - 0.03)
        ax.set(title=name, ylim=(bottom, 1.01), xlabel=f"epsilon, for one {unit}")
        for below in own.loc[own["mean"] < bottom].itertuples():
            ax.annotate(f"{below.detector}: {below.mean:.2f}", (0.02, 0.02), xycoords="axes fraction", fontsize="small")
        ax.set_xticks(range(len(epsilons)), [f"{epsilon:g}".replace("inf", "\u221e") for epsilon in epsilons])
        ax.grid(axis="y", linewidth=0.4)
    axes[0, 0].set_ylabel("mean and 95 % interval over people")
    handles = axes[0, 0].get_legend_handles_labels()[0]
    _legend(figure, handles, rows=math.ceil(len(handles) / 3))  # their names are long
    return figure


def hardest_subjects(test: Windows, predictions: pd.DataFrame, kind: str, most: int = 3) -> Figure:
    """The people a detector fails most: their signals, the probability of class 1 it gave, and its mistakes.

    Args:
        test: everybody's windows for tests, in order of time.
        predictions: on these, of one detector under one protocol, as `protocols.cross_validate` makes them.
        kind: one of KINDS.
        most: people to show.
    """
    ((detector, protocol),) = predictions[["detector", "protocol"]].drop_duplicates().to_numpy()
    accuracies = score_table(predictions).groupby("subject", sort=False)["accuracy"].mean().nsmallest(most)
    n = len(test.signals)
    layout = {"sharex": "col", "sharey": "row", "gridspec_kw": {"height_ratios": [1] * n + [3]}}
    title = f"Hardest people for {detector}, {protocol}"
    figure, axes = _figure(title, kind, n + 1, len(accuracies), 0.45 * (n + 3), **layout)
    for column, (person, accuracy) in zip(axes.T, accuracies.items()):
        windows, rows = test.of(person), predictions[predictions["subject"] == person]
        _shade_positive(column, windows)
        _signals(column[:-1], windows)
        _probabilities(column[-1], rows, windows, PROTOCOL_STYLES[protocol]["color"])
        column[0].set_title(f"{person}: accuracy {accuracy:.2f}")
    for ax, name in zip(axes[:, 0], test.signals):
        _row_label(ax, name)
    _row_label(axes[-1, 0], "probability", f"\nof {test.classes[1]}")
    figure.align_ylabels()
    positive = Patch(color=CLASS_COLOURS[1], alpha=0.35, label=test.classes[1])
    _legend(figure, [*axes[-1, 0].get_legend_handles_labels()[0], positive])
    return figure


def _figure(title: str, kind: str, rows: int, columns: int, height: float, **shared) -> tuple[Figure, np.ndarray]:
    """An empty figure that says what the recordings are, and its axes, (rows, columns)."""
    if kind not in WHOSE:
        raise ValueError(f"kind={kind!r}: expected {', '.join(map(repr, WHOSE))}")
    size = (WIDTH, height + 0.6)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **shared)
    figure.suptitle(f"{title} ({WHOSE[kind]})", fontweight="bold")
    plt.close(figure)  # so that a notebook shows it once, as a cell's result
    return figure, axes


def _grid(title: str, kind: str, titles: list[str], columns: int, xlabel: str) -> tuple[Figure, np.ndarray]:
    """A figure with a small panel for each title, row by row; the panels, (n_titles,)."""
    rows = math.ceil(len(titles) / columns)
    figure, axes = _figure(title, kind, rows, columns, 1.75 * rows, sharex=True)
    for ax, text in zip(axes.flat, titles):
        ax.set_title(text, fontsize="small" if columns > 3 else "medium")
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    return figure, axes.flat[: len(titles)]


def _sources(real: Windows, synthetic: Windows, kind: str) -> list[tuple[str, Windows, str]]:
    """Name, windows and colour of both sources."""
    return [(kind, real, RECORDED), ("synthetic", synthetic, SYNTHETIC)]


def _condition_colours(table: pd.DataFrame) -> dict[str, str]:
    """A colour for each condition of a 1 Hz table, by its class."""
    labels = table.groupby("condition", sort=False)["label"].first()
    colours = {label: itertools.cycle(of_class) for label, of_class in CONDITION_COLOURS.items()}
    return {
        condition: NO_CLASS if pd.isna(label) else next(colours[label])
        for condition, label in labels.items()
        if condition != NO_CONDITION
    }


def _in_lines(classes: tuple[str, ...]) -> list[str]:
    """Names of classes, each condition in a line of its own."""
    return [name.replace(" and ", " and\n") for name in classes]


def _shade(ax: Axes, rows: pd.DataFrame, colours: dict[str, str]) -> None:
    """Colours the stretches of each condition."""
    change = rows["condition"].ne(rows["condition"].shift()).cumsum()
    for _, stretch in rows.groupby(change):
        colour = colours.get(stretch["condition"].iloc[0])
        if colour is not None:
            first, last = stretch["time"].iloc[[0, -1]] / 60
            ax.axvspan(first, last, color=colour, alpha=0.3, linewidth=0)


def _around_zero(n: int) -> np.ndarray:
    """Places for n things side by side, one apart, (n,)."""
    return np.arange(n) - (n - 1) / 2


def _dots(ax: Axes, values: pd.Series, offset: float, protocol: str) -> None:
    """A dot for each person, a little beside its row lest protocols hide each other, and a line at the mean."""
    style = PROTOCOL_STYLES[protocol]
    dots = style | {"linestyle": "none", "markersize": 5, "alpha": 0.85, "markeredgewidth": 1.2}
    ax.plot(values, np.arange(len(values)) + offset, **dots, label=protocol)
    line = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 1.5}
    ax.axvline(values.mean(), **line, label=f"{protocol}, mean")


def _calibration(ax: Axes, rows: pd.DataFrame, colour: str) -> None:
    """How often class 1 came true against how probable it was said to be; a dot's area goes by its windows."""
    table = calibration(rows)
    ax.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle=":")
    ax.plot(table["said"], table["true"], color=colour, linewidth=1)
    ax.scatter(table["said"], table["true"], s=150 * table["windows"] / table["windows"].max(), color=colour, alpha=0.7)
    ax.set(title=f"calibration error {calibration_error(rows):.2f}", xlabel="probability of class 1")


def _interval(ax: Axes, row: int, value: float, interval: list[float] | None, chance: float) -> None:
    """A dot in a row with its interval, and what guessing gives."""
    ax.plot([chance] * 2, [row - 0.35, row + 0.35], color="black", linestyle=":")
    if interval is not None:
        ax.plot(interval, [row, row], color=SYNTHETIC, linewidth=3, alpha=0.5)
    ax.plot(value, row, marker="o", color=SYNTHETIC)


def _roc_curves(rows: pd.DataFrame) -> np.ndarray:
    """True positive rates of each person, mean over seeds, at FALSE_POSITIVE_RATES: (n_people, n_rates)."""
    curves = []
    for _, of_person in rows.groupby("subject", sort=False):
        by_seed = [roc_curve(test["label"] == 1, test["probability"])[:2] for _, test in of_person.groupby("seed")]
        curves.append(np.mean([np.interp(FALSE_POSITIVE_RATES, *curve) for curve in by_seed], axis=0))
    return np.array(curves)


def _auroc_of_positive(rows: pd.DataFrame) -> float:
    return auroc(rows["label"] == 1, rows["probability"])


def _roc(ax: Axes, curves: np.ndarray, colour: str) -> None:
    """ROC curves, (n_people, n_rates), with their mean and its band."""
    ax.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1)
    ax.plot(FALSE_POSITIVE_RATES, curves.T, color=colour, linewidth=0.6, alpha=0.5)
    ax.plot(FALSE_POSITIVE_RATES, curves.mean(axis=0), color=colour, linewidth=2)
    if len(curves) > 1:
        band = np.transpose([bootstrap_interval(rates) for rates in curves.T])
        ax.fill_between(FALSE_POSITIVE_RATES, *band, color=colour, alpha=0.25, linewidth=0)


def _detector_styles(detectors: np.ndarray) -> dict[str, dict]:
    """Colour and marker of each, by order."""
    styles = itertools.cycle(zip(DETECTOR_COLOURS, DETECTOR_MARKERS))
    return {name: {"color": colour, "marker": marker} for name, (colour, marker) in zip(detectors, styles)}


def _places(rows: pd.DataFrame, epsilons: np.ndarray) -> np.ndarray:
    """Where to draw each row: at its epsilon's number, a little aside by detector, lest intervals hide each other."""
    numbers, detectors = pd.factorize(rows["detector"])
    aside = _around_zero(len(detectors)) * min(0.1, 0.7 / max(len(detectors), 1))
    return np.searchsorted(epsilons, rows["epsilon"]) + aside[numbers]


def _along_budgets(ax: Axes, rows: pd.DataFrame, detector: str, style: dict) -> None:
    """Means with their intervals, joined by a line."""
    ax.vlines(rows["place"], rows["low"], rows["high"], color=style["color"], linewidth=1.5, alpha=0.6)
    ax.plot(rows["place"], rows["mean"], **style, linewidth=1.2, markersize=5, label=detector)


def _signals(column: np.ndarray, windows: Windows) -> None:
    """One person's windows end to end, a row for each signal."""
    seconds = windows.values.reshape(-1, len(windows.signals))
    for ax, values in zip(column, seconds.T):
        ax.plot(np.arange(len(values)) / 60, values, color="#222222", linewidth=0.5)
        ax.set(ylim=(-0.05, 1.05), yticks=[])
        ax.tick_params(bottom=False)


def _probabilities(ax: Axes, rows: pd.DataFrame, windows: Windows, colour: str) -> None:
    """Probability of stress of each of one person's windows over seeds, the mistaken ones crossed."""
    table = rows.groupby("window")["probability"].agg(["mean", "min", "max"])
    edges = np.arange(len(windows) + 1) * windows.values.shape[1] / 60
    several = rows["seed"].nunique() > 1
    if several:
        ax.stairs(
            table["max"], edges, baseline=table["min"], fill=True, color=colour, alpha=0.3, label="range over seeds"
        )
    name = "mean over seeds" if several else "probability"
    ax.stairs(table["mean"], edges, baseline=None, color=colour, linewidth=1.5, label=name)
    ax.axhline(THRESHOLD, color="black", linestyle=":", linewidth=1)
    mean, middles = table["mean"].to_numpy(), (edges[:-1] + edges[1:]) / 2
    by_window = rows.groupby("window").mean(numeric_only=True)
    mistaken = predicted_classes(probabilities_of(by_window)) != windows.labels
    style = {"color": "black", "linestyle": "none", "marker": "x", "markersize": 5, "markeredgewidth": 1.5}
    ax.plot(middles[mistaken], mean[mistaken], **style, label="mistaken")
    ax.set(ylim=(-0.05, 1.05), yticks=[0, THRESHOLD, 1], xlim=edges[[0, -1]], xlabel="windows end to end (min)")


def _shade_positive(column: np.ndarray, windows: Windows) -> None:
    """Colours one person's windows of class 1 in all rows."""
    conditions = np.where(np.repeat(windows.labels, windows.values.shape[1]) == 1, "positive", "other")
    for ax in column:
        rows = pd.DataFrame({"time": np.arange(len(conditions)), "condition": conditions})
        _shade(ax, rows, {"positive": CLASS_COLOURS[1]})


def _histogram(ax: Axes, values: np.ndarray, colour: str, filled: bool) -> None:
    """Density of values in [0, 1], as an area or an outline."""
    style = {"histtype": "stepfilled", "alpha": 0.4} if filled else {"histtype": "step", "linewidth": 1.4}
    ax.hist(values, bins=np.linspace(0, 1, 41), density=True, color=colour, **style)
    ax.set(xlim=(0, 1), xticks=[0, 0.5, 1], yticks=[])
    ax.spines["left"].set_visible(False)


def _heatmap(ax: Axes, matrix: np.ndarray, text: np.ndarray, names: list[str], **scale) -> None:
    """A heatmap with a text in each cell."""
    small = {"fontsize": 7} if len(matrix) > 3 else {}
    labels = {"xticklabels": names, "yticklabels": names}
    ax.tick_params(length=0)
    sns.heatmap(matrix, ax=ax, annot=text, fmt="", annot_kws=small, cbar=False, **labels, **scale)


def _row_label(ax: Axes, signal: str, unit: str = "") -> None:
    """A signal's name and perhaps unit left of its row."""
    name = signal.replace("_", "\n") if len(signal) > 5 else signal
    ax.set_ylabel(f"{name}{unit}", rotation=0, ha="right", va="center")


def _legend(figure: Figure, handles: list, rows: int = 1) -> None:
    """A legend under the panels."""
    columns = math.ceil(len(handles) / rows)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
