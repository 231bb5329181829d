"""Figures: what they say about the recordings, how many panels, and whether what is drawn is what was given."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

from wearsynth import figures
from wearsynth.fidelity import power_spectra
from wearsynth.privacy import Promise
from wearsynth.protocols import PROTOCOLS
from wearsynth.scores import score_table
from wearsynth.windows import SIGNAL_SETS, Windows

PEOPLE = ("S2", "S3", "S4")
RECORDS = {
    "closest_window": {"score": 0.53, "chance": 0.5, "ci95": [0.47, 0.58], "folds": 3}
    | {"true_positive_rates": dict.fromkeys(("0.01", "0.001"), {"rate": 0.02, "ci95": [0.0, 0.1]})},
    "reference_generator": {"score": 0.55, "chance": 0.5, "ci95": None, "folds": 1}
    | {"true_positive_rates": {"0.01": {"rate": 0.02, "ci95": None}, "0.001": {"rate": None, "ci95": None}}},
}


def windows_of(signals, subjects, seed):
    rng = np.random.default_rng(seed)
    values = rng.random((len(subjects), 60, len(SIGNAL_SETS[signals]))).astype(np.float32)
    return Windows(values, np.arange(len(subjects)) % 2, np.array(subjects), SIGNAL_SETS[signals])


LABELS = pd.array([pd.NA] * 60 + [0] * 120 + [1] * 60, "Int64")


def table_of(signals):
    conditions = ["transient"] * 60 + ["baseline"] * 120 + ["stress"] * 60
    values = np.random.default_rng(0).random((240, len(SIGNAL_SETS[signals]))) + 0.1
    table = pd.DataFrame(values, columns=SIGNAL_SETS[signals])
    return table.assign(subject="S2", time=np.arange(240), condition=conditions, label=LABELS)


def predictions_of(*detectors, people=PEOPLE, n_windows=20):
    """As cross_validate makes them: labels of everybody's windows alternate, probabilities are random."""
    keys = [
        {"protocol": protocol, "detector": detector, "subject": person, "seed": seed}
        for detector in detectors
        for protocol in PROTOCOLS
        for person in people
        for seed in (0, 1)
    ]
    windows = pd.DataFrame({"window": np.arange(n_windows), "label": np.arange(n_windows) % 2})
    table = pd.DataFrame(keys).merge(windows, how="cross")
    noise = np.random.default_rng(0).normal(size=len(table))
    return table.assign(probability=1 / (1 + np.exp(-noise - table["label"])))


def points_of(*rows):
    """Detector, epsilon, mean, low and high of each row, the same for all scores."""
    table = pd.DataFrame(rows, columns=["detector", "epsilon", "mean", "low", "high"])
    return table.merge(pd.DataFrame({"score": list(figures.SCORES)}), how="cross")


POINTS = points_of(
    ("private_cnn", 4.0, 0.8, 0.75, 0.83),
    ("private_cnn", 1.0, 0.7, 0.6, 0.75),
    ("private_logistic_regression", 1.0, 0.65, np.nan, np.nan),
    ("cnn on synthetic windows", 1.0, 0.6, 0.55, 0.7),
    ("cnn on synthetic windows", math.inf, 0.85, 0.8, 0.9),
    ("cnn on real windows", math.inf, 0.95, 0.9, 0.97),
    ("majority", math.inf, 0.5, 0.5, 0.5),
)


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def every_figure(signals, kind):
    """Name -> (figure, number of panels)."""
    n = len(SIGNAL_SETS[signals])
    real, synthetic = windows_of(signals, PEOPLE * 10, 0), windows_of(signals, ["synthetic"] * 30, 1)
    pair = (real, synthetic, kind)
    predictions = predictions_of("cnn", "logistic_regression")
    labelled = table_of(signals)
    changes = pd.DataFrame(np.random.default_rng(0).normal(size=(3, n)), PEOPLE, SIGNAL_SETS[signals])
    cnn = predictions[predictions["detector"] == "cnn"]
    test, tstr = windows_of(signals, np.repeat(PEOPLE, 20), 0), cnn[cnn["protocol"] == "tstr"]
    return {
        "recording": (figures.recording(table_of(signals), "S2", kind), n),
        "class_levels": (figures.class_levels(real, kind), n),
        "conditions": (figures.conditions(table_of(signals), kind), 1),
        "people_levels": (figures.people_levels({kind: labelled, "synthetic": labelled}, kind), 5 * math.ceil(n / 5)),
        "responses": (figures.responses(dict.fromkeys((kind, "synthetic"), changes), real.classes, kind), 1),
        "training": (figures.training({"everyone": np.ones(100), "S2": np.zeros(100)}, kind), 1),
        "spent": (figures.spent(Promise(epsilon=math.inf), kind), 1),
        "example_windows": (figures.example_windows(real, real, synthetic, kind), 6 * n),
        "distributions": (figures.distributions(*pair), 2 * n),
        "correlations": (figures.correlations(*pair), 4),  # with the colour bar
        "embeddings": (figures.embeddings(*pair), 2),
        "spectra": (figures.spectra(*pair), n),
        "attacks": (figures.attacks(RECORDS, kind), 3),
        "no_attacks": (figures.attacks({}, kind), 3),
        "scores_by_subject": (figures.scores_by_subject(score_table(predictions), kind), 6),
        "confusion": (figures.confusion(dict.fromkeys(PROTOCOLS, np.array([[9, 1], [2, 3]])), real.classes, kind), 5),
        "roc": (figures.roc(cnn, kind), 10),
        "utility_privacy": (figures.utility_privacy(POINTS, "window", kind), 3),
        "hardest_subjects": (figures.hardest_subjects(test, tstr, kind), 3 * (n + 1)),
    }


@pytest.mark.parametrize(
    "signals, kind", [pytest.param("published", "real", marks=pytest.mark.slow), ("extended", "simulated")]
)
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


def test_synthetic_people_stand_alone_where_nothing_real_may_be_seen():
    table = table_of("extended")
    alone = figures.people_levels({"synthetic": table}, "synthetic")
    assert legend_of(alone) == ["synthetic"]
    for figure in (alone, figures.recording(table, "S2", "synthetic")):
        assert figure.get_suptitle().endswith(" (synthetic people)")


def test_of_a_class_that_the_prior_lacks_there_is_no_example():
    real = windows_of("published", ["S2"] * 6, 0)
    three = replace(real, labels=np.arange(6) % 3, classes=("rest", "pain", "film"))
    figure = figures.example_windows(three, real, three, "real")
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert [title for title in titles if "film" in title] == ["real\nfilm", "synthetic\nfilm"] and len(titles) == 8


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind='fake': expected 'real', 'public', 'simulated', 'synthetic'"):
        figures.attacks(RECORDS, "fake")


def test_figures_are_shown_once():
    figures.attacks(RECORDS, "real")
    assert figures.plt.get_fignums() == []


def test_recording_draws_the_table_and_shades_the_conditions():
    table = table_of("extended")
    figure = figures.recording(table, "S2", "simulated")
    for ax, signal in zip(figure.axes, SIGNAL_SETS["extended"]):
        (line,) = ax.lines
        np.testing.assert_array_equal(line.get_ydata(), table[signal])
        np.testing.assert_allclose(line.get_xdata(), np.arange(240) / 60)
        assert figures.SIGNAL_UNITS[signal] in ax.get_ylabel()
        assert len(ax.patches) == 2  # baseline and stress


def test_conditions_of_everybody_are_a_row_each():
    table = pd.concat([table_of("extended"), table_of("extended").assign(subject="S3")])
    axes = figures.conditions(table, "real").axes
    assert [ax.get_ylabel() for ax in axes] == ["S2", "S3"]
    assert all(len(ax.patches) == 2 for ax in axes)  # baseline and stress


def test_training_names_everybodys_and_those_without_somebody_once():
    figure = figures.training({name: np.ones(9) for name in ("everyone", "S2", "S3")}, "real")
    assert legend_of(figure) == ["without one person", "everyone", "chance (log 2)"]


def test_example_windows_are_whole_and_come_from_their_source_and_class():
    real, prior = windows_of("published", PEOPLE * 10, 0), windows_of("published", PEOPLE * 5, 2)
    synthetic = windows_of("published", ["synthetic"] * 30, 1)
    axes = np.reshape(figures.example_windows(real, prior, synthetic, "real").axes, (6, 6))
    for column, (windows, label) in zip(
        axes.T, [(each, label) for label in (0, 1) for each in (real, prior, synthetic)]
    ):
        shown = np.stack([ax.lines[0].get_ydata() for ax in column], axis=1)
        assert all(len(ax.lines) == 1 for ax in column)
        assert (windows.values[windows.labels == label] == shown).all(axis=(1, 2)).any()


def test_synthetic_levels_are_called_synthetic():
    synthetic = windows_of("published", ["synthetic"] * 30, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a histogram of nothing: a class that there is not
        assert "synthetic people" in figures.class_levels(synthetic, "synthetic").get_suptitle()


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
    scores = score_table(predictions_of("cnn"))
    figure = figures.scores_by_subject(scores, "simulated")
    for ax, score in zip(figure.axes, figures.SCORES):
        drawn = {line.get_label(): line for line in ax.lines}
        for protocol in ("trtr", "tstr", "augmented", "tstr_leaky"):
            expected = scores[scores["protocol"] == protocol].groupby("subject")[score].mean()
            np.testing.assert_allclose(drawn[protocol].get_xdata(), expected.loc[list(PEOPLE)])
            assert drawn[f"{protocol}, mean"].get_xdata()[0] == pytest.approx(expected.mean())
    assert [ax.get_title() for ax in figure.axes] == ["cnn: accuracy", "cnn: F1", "cnn: AUROC"]
    low, high = figure.axes[0].get_xlim()
    assert low < scores[list(figures.SCORES)].min(axis=None) and high > 1


def test_dots_of_a_person_lie_by_its_name_without_hiding_each_other():
    figure = figures.scores_by_subject(score_table(predictions_of("cnn")), "simulated")
    ax = figure.axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(PEOPLE)
    heights = np.array([line.get_ydata() for line in ax.lines if line.get_label() in PROTOCOLS])
    assert heights.shape == (4, 3) and len(np.unique(heights)) == 12
    np.testing.assert_array_equal(heights.round(), [[0, 1, 2]] * 4)


def test_scores_on_synthetic_windows_are_nobodys():
    scores = score_table(predictions_of("cnn"))
    assert "trts" in set(scores["protocol"])
    scores.loc[scores["protocol"] == "trts", list(figures.SCORES)] = 0.0  # nor do they stretch the axis
    figure = figures.scores_by_subject(scores, "simulated")
    names = ["trtr", "tstr", "augmented", "tstr_leaky"]
    assert legend_of(figure) == [text for name in names for text in (name, f"{name}, mean")]
    assert figure.axes[0].get_xlim()[0] > 0


def test_a_detector_without_a_protocol_keeps_its_place_empty():
    scores = score_table(predictions_of("cnn", "random_forest"))
    scores = scores[(scores["detector"] == "cnn") | (scores["protocol"] == "trtr")]
    axes = figures.scores_by_subject(scores, "real").axes
    tstr = [line for line in axes[3].lines if line.get_label() == "tstr"]
    assert axes[3].get_title() == "random forest: accuracy"
    assert np.isnan(tstr[0].get_xdata()).all()


def test_protocols_look_different_and_leaky_ones_hollow():
    assert set(figures.PROTOCOL_STYLES) == set(PROTOCOLS)
    for part in ("color", "marker", "linestyle"):
        assert len({style[part] for style in figures.PROTOCOL_STYLES.values()}) == len(PROTOCOLS), part
    figure = figures.scores_by_subject(score_table(predictions_of("cnn")), "simulated")
    dots = {line.get_label(): line for line in figure.axes[0].lines if line.get_label() in PROTOCOLS}
    assert {name for name, line in dots.items() if line.get_markerfacecolor() == "none"} == {"tstr_leaky"}
    assert [name for name, protocol in PROTOCOLS.items() if protocol.leaky] == ["tstr_leaky"]


def test_roc_is_the_mean_over_seeds_then_over_people():
    predictions = predictions_of("cnn")
    figure = figures.roc(predictions, "simulated")
    for ax, protocol in zip(figure.axes, PROTOCOLS):
        rows, expected, aurocs = predictions[predictions["protocol"] == protocol], [], []
        for person in PEOPLE:
            tests = [rows[(rows["subject"] == person) & (rows["seed"] == seed)] for seed in (0, 1)]
            curves = [roc_curve(test["label"], test["probability"]) for test in tests]
            expected.append(np.mean([np.interp(0.37, *curve[:2]) for curve in curves]))
            aurocs.append(np.mean([roc_auc_score(test["label"], test["probability"]) for test in tests]))
        guessing, *people, mean = ax.lines
        at = np.argmin(abs(mean.get_xdata() - 0.37))
        assert mean.get_xdata()[at] == pytest.approx(0.37)
        np.testing.assert_allclose([line.get_ydata()[at] for line in people], expected)
        assert mean.get_ydata()[at] == pytest.approx(np.mean(expected))
        np.testing.assert_array_equal(guessing.get_xdata(), guessing.get_ydata())
        assert ax.get_title() == f"{protocol}\nmean AUROC {np.mean(aurocs):.2f}"
    assert "ROC curves and calibration of cnn" in figure.get_suptitle()


def test_roc_band_holds_the_mean_and_narrows_with_people():
    widths = []
    for n_people in (4, 16):
        predictions = predictions_of("cnn", people=[f"S{k}" for k in range(n_people)])
        ax = figures.roc(predictions[predictions["protocol"] == "trtr"], "simulated").axes[0]
        mean, (band,) = ax.lines[-1], ax.collections
        corners = band.get_paths()[0].vertices
        ends = np.array([corners[np.isclose(corners[:, 0], rate), 1] for rate in mean.get_xdata()[1:-1]])
        low, high = ends.min(axis=1), ends.max(axis=1)
        assert (low <= mean.get_ydata()[1:-1] + 1e-8).all() and (mean.get_ydata()[1:-1] <= high + 1e-8).all()
        widths.append((high - low).mean())
    assert widths[0] > widths[1] > 0


def test_roc_of_one_person_has_no_band_and_two_detectors_are_refused():
    ax = figures.roc(predictions_of("cnn", people=["S2"]), "simulated").axes[0]
    assert not ax.collections
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), ax.lines[2].get_ydata())  # the person is the mean
    with pytest.raises(ValueError, match="too many values"):
        figures.roc(predictions_of("cnn", "random_forest"), "simulated")


def test_roc_of_people_equal_but_for_rounding_has_a_band_everywhere():
    seeds = predictions_of("cnn", people=["0", "1", "2"], n_windows=30).query("protocol == 'trtr' and seed == 0")
    people = [
        seeds.assign(seed=(seeds["subject"].astype(int) + shift) % 3, subject=f"S{shift}") for shift in range(3)
    ]  # the same three tests, added in another order
    ax = figures.roc(pd.concat(people), "simulated").axes[0]
    assert len(ax.collections[0].get_paths()) == 1  # a gap would make it several


def test_utility_rises_with_epsilon_between_the_ends_of_its_intervals():
    figure = figures.utility_privacy(POINTS, "window", "real")
    assert [ax.get_title() for ax in figure.axes] == list(figures.SCORES.values())
    for ax in figure.axes:
        assert ax.get_xlabel() == "epsilon, for one window"
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "4", "\u221e"]
        lines = {line.get_label(): line for line in ax.lines}
        np.testing.assert_array_equal(lines["private_cnn"].get_ydata(), [0.7, 0.8])  # by epsilon
        np.testing.assert_allclose(lines["private_cnn"].get_xdata(), [0, 1], atol=0.4)  # the numbers of 1 and 4
        np.testing.assert_allclose(lines["cnn on synthetic windows"].get_xdata(), [0, 2], atol=0.4)
        np.testing.assert_array_equal(lines["cnn on synthetic windows"].get_ydata(), [0.6, 0.85])
        bars = ax.collections[0].get_segments()
        np.testing.assert_allclose([bar[:, 1] for bar in bars], [[0.6, 0.75], [0.75, 0.83]])
        np.testing.assert_allclose([bar[:, 0] for bar in bars], np.transpose([lines["private_cnn"].get_xdata()] * 2))


def test_utility_at_one_epsilon_stands_side_by_side():
    ax = figures.utility_privacy(POINTS, "window", "real").axes[0]
    at_one = [line.get_xdata()[0] for line in ax.lines if line.get_marker() != ""]
    assert len(at_one) == 3 and (np.diff(at_one) > 0).all()
    low, high = ax.get_xlim()
    assert low < min(at_one) and high > 2


def test_utility_that_needs_no_budget_is_a_dashed_line_and_what_lies_far_below_a_number():
    figure = figures.utility_privacy(POINTS, "window", "real")
    for ax in figure.axes:
        dashed = {line.get_label(): line for line in ax.lines if line.get_linestyle() == "--"}
        heights = {name: line.get_ydata()[0] for name, line in dashed.items()}
        assert heights == {"cnn on real windows": 0.95, "majority": 0.5}
        assert all(list(line.get_xdata()) == [0, 1] for line in dashed.values())  # of the panel's width
        # The lowest end of an interval is at 0.55.
        assert ax.get_ylim() == pytest.approx((0.52, 1.01))
        assert [text.get_text() for text in ax.texts] == ["majority: 0.50"]
    promised = ["private_cnn", "private_logistic_regression", "cnn on synthetic windows"]
    assert sorted(legend_of(figure)) == sorted([*promised, *heights])


def test_utility_without_any_promise_has_no_epsilons():
    ax = figures.utility_privacy(POINTS[np.isinf(POINTS["epsilon"])], "window", "real").axes[0]
    assert len(ax.lines) == 3 and len(ax.get_xticks()) == 0


HARD = {"S2": 0.75, "S3": 0.25, "S4": 1.0, "S5": 0.5}  # share of windows right, without seeds' disagreement


def hard_case():
    """Four people of eight windows, four of them stress in the middle; the first windows are mistaken."""
    rng, people = np.random.default_rng(0), np.repeat(list(HARD), 8)
    labels = np.tile([0, 0, 1, 1, 1, 1, 0, 0], 4)
    values = rng.random((32, 60, 6)).astype(np.float32)
    test = Windows(values, labels, people, SIGNAL_SETS["published"])
    right = np.tile(np.arange(8), 4) >= 8 * (1 - np.array([HARD[person] for person in people]))
    tables = [
        pd.DataFrame({"subject": people, "window": np.tile(np.arange(8), 4), "label": labels, "seed": seed}).assign(
            detector="cnn", protocol="tstr", probability=np.where(labels == right, 0.7, 0.3) + sign * 0.1
        )
        for seed, sign in ((0, -1), (1, 1))
    ]
    return test, pd.concat(tables, ignore_index=True)


def test_hardest_people_come_first_with_their_accuracy():
    test, predictions = hard_case()
    axes = np.reshape(figures.hardest_subjects(test, predictions, "real").axes, (7, 3))
    assert [ax.get_title() for ax in axes[0]] == ["S3: accuracy 0.25", "S5: accuracy 0.50", "S2: accuracy 0.75"]
    assert len(figures.hardest_subjects(test, predictions, "real", most=1).axes) == 7
    assert len(figures.hardest_subjects(test, predictions, "real", most=9).axes) == 7 * 4


def test_hardest_people_show_their_signals_end_to_end_and_their_stress():
    test, predictions = hard_case()
    axes = np.reshape(figures.hardest_subjects(test, predictions, "real").axes, (7, 3))
    for column, person in zip(axes.T, ("S3", "S5", "S2")):
        for k, ax in enumerate(column[:-1]):
            np.testing.assert_array_equal(ax.lines[0].get_ydata(), np.concatenate(test.of(person).values)[:, k])
        for ax in column:
            stress = ax.patches[0].get_extents().transformed(ax.transData.inverted())
            np.testing.assert_allclose([stress.x0, stress.x1], [2, 6], atol=1 / 59)  # of the eight minutes
            np.testing.assert_allclose(ax.patches[0].get_facecolor()[:3], to_rgb(figures.CLASS_COLOURS[1]))
    assert [ax.get_ylabel() for ax in axes[:-1, 0]] == list(SIGNAL_SETS["published"])


def test_hardest_people_have_a_cross_at_every_mistake():
    test, predictions = hard_case()
    shuffled = predictions.sample(frac=1, random_state=0)  # `window` gives the order, not the row
    figure = figures.hardest_subjects(test, shuffled, "real")
    for ax, person in zip(figure.axes[-3:], ("S3", "S5", "S2")):
        by_window = predictions[predictions["subject"] == person].groupby("window")
        mean, labels = by_window["probability"].mean(), by_window["label"].first()
        wrong = np.flatnonzero((mean >= 0.5) != labels)
        assert len(wrong) == 8 * (1 - HARD[person])
        (crosses,) = [line for line in ax.lines if line.get_marker() == "x"]
        np.testing.assert_allclose(crosses.get_xdata(), wrong + 0.5)
        np.testing.assert_allclose(crosses.get_ydata(), mean[wrong])
        steps = {patch.get_label(): patch.get_data() for patch in ax.patches if hasattr(patch, "get_data")}
        np.testing.assert_allclose(steps["mean over seeds"].values, mean)
        np.testing.assert_allclose(steps["range over seeds"].values, mean + 0.1)
        np.testing.assert_allclose(steps["range over seeds"].baseline, mean - 0.1)
    assert legend_of(figure) == ["range over seeds", "mean over seeds", "mistaken", "stress"]


def test_confusion_tells_counts_and_shares_of_the_true_class():
    figure = figures.confusion({"trtr": np.array([[9, 1], [2, 6]])}, ("rest and videos", "pain"), "real")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["rest and\nvideos", "pain"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["90%\n9", "10%\n1", "25%\n2", "75%\n6"]
