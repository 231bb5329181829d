"""Figures: what they say about the recordings, how many panels, and whether what is drawn is what was given."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from wearsynth import figures
from wearsynth.fidelity import power_spectra
from wearsynth.privacy import Promise
from wearsynth.windows import SIGNALS, Windows

PEOPLE = ("S2", "S3", "S4")
RECORDS = {
    "closest_window": {"score": 0.53, "chance": 0.5, "ci95": [0.47, 0.58], "folds": 3},
    "reference_generator": {"score": 0.55, "chance": 0.5, "ci95": None, "folds": 1},
}


def windows_of(signals, subjects, seed):
    rng = np.random.default_rng(seed)
    values = rng.random((len(subjects), 60, len(SIGNALS[signals]))).astype(np.float32)
    return Windows(values, np.arange(len(subjects)) % 2, np.array(subjects), SIGNALS[signals])


def table_of(signals):
    conditions = ["transient"] * 60 + ["baseline"] * 120 + ["stress"] * 60
    values = np.random.default_rng(0).random((240, len(SIGNALS[signals]))) + 0.1
    table = pd.DataFrame(values, columns=SIGNALS[signals])
    return table.assign(subject="S2", time=np.arange(240), condition=conditions)


def scores_of(*detectors):
    columns = ["accuracy", "f1_stress", "f1_macro", "balanced_accuracy", "auroc"]
    rows = [
        {"protocol": protocol, "detector": detector, "subject": person, "seed": seed}
        for detector in detectors
        for protocol in ("trtr", "tstr", "augmented")
        for person in PEOPLE
        for seed in (0, 1)
    ]
    values = np.random.default_rng(0).uniform(0.4, 1, (len(rows), 5))
    return pd.concat([pd.DataFrame(rows), pd.DataFrame(values, columns=columns)], axis=1)


def every_figure(signals, kind):
    """Name -> (figure, number of panels)."""
    n = len(SIGNALS[signals])
    real, synthetic = windows_of(signals, PEOPLE * 10, 0), windows_of(signals, ["synthetic"] * 30, 1)
    pair = (real, synthetic, kind)
    return {
        "recording": (figures.recording(table_of(signals), "S2", kind), n),
        "class_levels": (figures.class_levels(real, kind), n),
        "training": (figures.training({"everyone": np.ones(100), "S2": np.zeros(100)}, kind), 1),
        "spent": (figures.spent(Promise(epsilon=math.inf), kind), 1),
        "example_windows": (figures.example_windows(*pair), 4 * n),
        "distributions": (figures.distributions(*pair), 2 * n),
        "correlations": (figures.correlations(*pair), 4),  # with the colour bar
        "embeddings": (figures.embeddings(*pair), 2),
        "spectra": (figures.spectra(*pair), n),
        "attacks": (figures.attacks(RECORDS, kind), 1),
        "no_attacks": (figures.attacks({}, kind), 1),
        "scores_by_subject": (figures.scores_by_subject(scores_of("cnn", "logistic_regression"), kind), 6),
        "confusion": (figures.confusion({"trtr": np.array([[9, 1], [2, 3]]), "tstr": np.eye(2)}, kind), 2),
    }


@pytest.mark.parametrize("signals, kind", [("published", "real"), ("extended", "simulated")])
def test_every_figure_says_its_kind_fits_a_notebook_and_has_its_panels(signals, kind):
    for name, (figure, n_panels) in every_figure(signals, kind).items():
        assert isinstance(figure, Figure) and len(figure.axes) == n_panels, name
        assert f"({kind} recordings)" in figure.get_suptitle(), name
        figure.draw_without_rendering()
        tight = figure.get_tightbbox()
        # Half a pixel aside, nothing sticks out: a label that does would be cut off in the file.
        assert tight.x0 > -0.05 and tight.y0 > -0.05, name
        assert tight.x1 < figure.get_figwidth() + 0.05 and tight.y1 < figure.get_figheight() + 0.05, name
        assert figure.get_figwidth() == figures.WIDTH, name


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind='fake': expected 'simulated' or 'real'"):
        figures.attacks(RECORDS, "fake")


def test_figures_are_shown_once():
    figures.attacks(RECORDS, "real")
    assert figures.plt.get_fignums() == []


def test_recording_draws_the_table_and_shades_the_conditions():
    table = table_of("extended")
    figure = figures.recording(table, "S2", "simulated")
    for ax, signal in zip(figure.axes, SIGNALS["extended"]):
        (line,) = ax.lines
        np.testing.assert_array_equal(line.get_ydata(), table[signal])
        np.testing.assert_allclose(line.get_xdata(), np.arange(240) / 60)
        assert figures.UNITS[signal] in ax.get_ylabel()
        assert len(ax.patches) == 2  # baseline and stress


def test_example_windows_come_from_their_source_and_class():
    real, synthetic = windows_of("published", PEOPLE * 10, 0), windows_of("published", ["synthetic"] * 30, 1)
    axes = np.reshape(figures.example_windows(real, synthetic, "real").axes, (6, 4))
    for column, (windows, label) in zip(axes.T, [(real, 0), (synthetic, 0), (real, 1), (synthetic, 1)]):
        for k, ax in enumerate(column):
            candidates = windows.values[windows.labels == label][:, :, k]
            assert len(ax.lines) == 3
            assert all((candidates == line.get_ydata()).all(axis=1).any() for line in ax.lines)


def test_synthetic_levels_are_called_synthetic():
    synthetic = windows_of("published", ["synthetic"] * 30, 1)
    assert "synthetic windows" in figures.class_levels(synthetic, "real").get_suptitle()


def test_training_draws_losses_smoothed():
    losses = np.random.default_rng(0).random(200)
    ax = figures.training({"everyone": losses}, "simulated").axes[0]
    smoothed = ax.lines[0].get_ydata()
    assert len(smoothed) == 200
    assert smoothed[-1] == pytest.approx(losses[-4:].mean())  # a fiftieth of the steps


def test_spent_ends_at_the_promise():
    promise = Promise(epsilon=2.0, sampling_probability=1.0, steps=50)
    line = figures.spent(promise, "simulated").axes[0].lines[0]
    assert len(line.get_xdata()) == 12 and line.get_xdata()[-1] == 50
    assert line.get_ydata()[-1] == pytest.approx(promise.spent(50))
    assert (np.diff(line.get_ydata()) > 0).all() and line.get_ydata()[-1] <= 2.0


def test_spectra_draw_everybody_and_both_sources():
    real, synthetic = windows_of("published", PEOPLE * 10, 0), windows_of("published", ["synthetic"] * 30, 1)
    for k, ax in enumerate(figures.spectra(real, synthetic, "real").axes):
        assert len(ax.lines) == len(PEOPLE) + 2
        for line, windows in zip(ax.lines[-2:], (real, synthetic)):
            np.testing.assert_allclose(line.get_ydata(), power_spectra(windows)[1][:, k])


def test_embeddings_show_a_window_once_and_leave_some_of_many_out(monkeypatch):
    monkeypatch.setattr(figures, "MOST_EMBEDDED", 40)
    real, synthetic = windows_of("published", PEOPLE * 10, 0), windows_of("published", ["synthetic"] * 60, 1)
    for ax in figures.embeddings(real, synthetic, "real").axes:
        sizes = {points.get_label(): len(points.get_offsets()) for points in ax.collections}
        assert sum(size for label, size in sizes.items() if label.startswith("real")) == 30
        assert sum(size for label, size in sizes.items() if label.startswith("synthetic")) == 40


def test_scores_are_means_over_seeds_and_lines_means_over_people():
    scores = scores_of("cnn").drop(columns="detector")
    figure = figures.scores_by_subject(scores, "simulated")
    dots, mean = figure.axes[0].lines[:2]
    expected = scores[scores["protocol"] == "trtr"].groupby("subject")["accuracy"].mean()
    np.testing.assert_allclose(dots.get_xdata(), expected.loc[list(PEOPLE)])
    assert mean.get_xdata()[0] == pytest.approx(expected.mean())
    assert [ax.get_title() for ax in figure.axes] == ["accuracy", "F1 of stress", "AUROC"]
    low, high = figure.axes[0].get_xlim()
    assert low < scores[list(figures.SCORES)].min(axis=None) and high > 1


def test_confusion_tells_counts_and_shares_of_the_true_class():
    figure = figures.confusion({"trtr": np.array([[9, 1], [2, 6]])}, "real")
    assert [text.get_text() for text in figure.axes[0].texts] == ["90%\n9", "10%\n1", "25%\n2", "75%\n6"]
