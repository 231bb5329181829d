"""Synthetic against real, in numbers: windows scaled to [0, 1], and whole people in physical units.

Nothing here asks where a window came from: real people can stand in the place of the synthetic set, as a reference.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.signal import periodogram
from scipy.stats import ks_2samp

from wearsynth.two_sample import two_sample_tests
from wearsynth.windows import EXTENDED, LOG_SIGNALS, PUBLIC_RANGES, Windows

LAGS = 30  # s, half a window: further out too few pairs of seconds are left
POWER_FLOOR = 1e-7  # 1/Hz; spread over all frequencies, a standard deviation of 0.0002; real windows stay far above it
CONSTANT = 1e-10  # variance below which a window holds nothing but rounding
CROSS_LAGS = 10  # s, of cross-correlations, either way
DRIFT_MINUTES = 5  # after which minutes are still compared
LEAST_SPREAD = 1e-6  # between people, in a signal's units
FLAT_SECONDS = 5  # that do not change are a flat stretch

Distance = Callable[[Windows, Windows], float]


def compare(real: Windows, synthetic: Windows, seed: int) -> dict:
    """Compares two sets of windows by every metric of this module.

    Args:
        real: windows of at least two people.
        synthetic: windows to compare with them.
        seed: of the splits and the classifiers in the two-sample tests.

    Returns:
        The record `fidelity` of metrics.json: `ks` (class -> signal -> value), `ks_mean`, `correlation_difference`,
        `psd_distance`, `acf_distance`, `psd_ratio`, `acf_ratio`, `flat_share`,
        `crosscorrelation_distance`, `c2st` (test -> AUROC), `c2st_auroc` (on simple features) and `c2st_worst`.

    Raises:
        ValueError: fewer than two real people, no window of one class, or different signals.
    """
    _check(real, synthetic)
    ks, tests = ks_statistics(real, synthetic), two_sample_tests(real, synthetic, seed)
    return {
        "ks": ks.to_dict(),
        "ks_mean": float(ks.to_numpy().mean()),
        "correlation_difference": correlation_difference(real, synthetic),
        "psd_distance": spectral_distance(real, synthetic),
        "acf_distance": autocorrelation_distance(real, synthetic),
        "psd_ratio": relative_to_people(spectral_distance, real, synthetic),
        "acf_ratio": relative_to_people(autocorrelation_distance, real, synthetic),
        "flat_share": flat_share(synthetic),
        "crosscorrelation_distance": crosscorrelation_distance(real, synthetic),
        "c2st": tests,
        "c2st_auroc": tests["simple features"],
        "c2st_worst": max(tests.values()),
    }


def people_levels(table: pd.DataFrame) -> pd.DataFrame:
    """Each person's level of each signal by class: medians in physical units.

    Args:
        table: 1 Hz table, as `readers.read_table` makes it.

    Returns:
        One row a label and person (index `label`, `subject`), one column a signal.
    """
    signals = [name for name in EXTENDED if name in table]
    return table[table["label"].notna()].groupby(["label", "subject"])[signals].median()


def responses(table: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """How far each person's level rises or falls from class 0 to class 1: does the heart speed up, the skin cool?

    Args:
        table: 1 Hz table of the people who are described.
        reference: of those whose differences are the yardstick.

    Returns:
        One row a person who has both classes, one column a signal: the change of the median, of strengths of its
        logarithm, in standard deviations between the reference's people at class 0 (Glass's delta).
    """
    levels, at_rest = _log_strengths(people_levels(table)), _log_strengths(people_levels(reference)).loc[0]
    return (levels.loc[1] - levels.loc[0]).dropna() / np.maximum(at_rest.std(), LEAST_SPREAD)


def compare_people(real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, float]:
    """Compares people of two 1 Hz tables, in physical units; strengths as logarithms.

    Returns:
        `level_difference`: between means over people of their levels, in standard deviations between real people;
        `dispersion_ratio`: standard deviation between people, over that between real ones (geometric mean);
        `drift_difference`: between correlations of a minute's mean with those of the next DRIFT_MINUTES within a
        condition. Each is averaged over signals, the first two also over classes.
    """
    ours, theirs = (_log_strengths(people_levels(table)).groupby("label") for table in (real, synthetic))
    spread = np.maximum(ours.std(), LEAST_SPREAD)
    drifts = (minute_correlations(table) for table in (real, synthetic))
    return {
        "level_difference": float(((theirs.mean() - ours.mean()).abs() / spread).to_numpy().mean()),
        "dispersion_ratio": float(np.exp(np.log(np.maximum(theirs.std(), LEAST_SPREAD) / spread).to_numpy().mean())),
        "drift_difference": float(np.abs(np.subtract(*drifts)).mean()),
    }


def minute_correlations(table: pd.DataFrame) -> np.ndarray:
    """Correlations of minutes' means with those of later minutes, each person and condition freed of their own mean.

    Returns:
        (DRIFT_MINUTES, n_signals), after 1 minute, 2 minutes ...
    """
    labelled = table[table["label"].notna()]
    changes = (labelled[["subject", "condition"]] != labelled[["subject", "condition"]].shift()).any(axis=1)
    stretch = (changes | labelled["time"].diff().ne(1)).cumsum()
    minute = labelled.groupby(stretch).cumcount() // 60
    signals = [name for name in EXTENDED if name in table]
    minutes = _log_strengths(labelled[signals]).groupby([stretch.to_numpy(), minute.to_numpy()])
    means = minutes.mean()[(minutes.size() == 60).to_numpy()]
    means -= means.groupby(level=0).transform("mean")
    variance = (means**2).mean().to_numpy() + CONSTANT
    later = (means.groupby(level=0).shift(-lag) for lag in range(1, 1 + DRIFT_MINUTES))
    return np.stack([(means * each).mean().to_numpy() / variance for each in later])


def _log_strengths(table: pd.DataFrame) -> pd.DataFrame:
    logged = [name for name in LOG_SIGNALS if name in table]
    return table.assign(**{name: np.log(np.maximum(table[name], PUBLIC_RANGES[name][0])) for name in logged})


def ks_statistics(real: Windows, synthetic: Windows) -> pd.DataFrame:
    """Compares the distributions of the values second by second, by the two-sample Kolmogorov-Smirnov statistic.

    Returns:
        One row a signal, one column a class, as the real windows call it. 0: equal, 1: disjoint.
    """
    columns = {}
    for label, name in enumerate(real.classes):
        ours, theirs = (windows.values[windows.labels == label] for windows in (real, synthetic))
        columns[name] = [
            float(ks_2samp(ours[..., k].ravel(), theirs[..., k].ravel(), method="asymp").statistic)
            for k in range(len(real.signals))
        ]
    return pd.DataFrame(columns, index=list(real.signals))


def correlations(windows: Windows) -> np.ndarray:
    """Pearson's correlations between signals over all seconds, (n_signals, n_signals); a constant signal has 0."""
    seconds = windows.values.reshape(-1, len(windows.signals)).astype(float)
    centred = seconds - seconds.mean(axis=0)
    deviation = centred.std(axis=0)
    constant = deviation**2 < CONSTANT
    standardised = np.where(constant, 0, centred / np.where(constant, 1, deviation))
    return standardised.T @ standardised / len(seconds)


def correlation_difference(real: Windows, synthetic: Windows) -> float:
    """Returns the mean absolute difference of the correlations between pairs of different signals."""
    pairs = np.triu_indices(len(real.signals), k=1)
    return float(np.abs(correlations(real) - correlations(synthetic))[pairs].mean())


def power_spectra(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Mean power spectral density over windows, each freed of its own mean.

    Returns:
        Frequencies above 0 in Hz, (n_frequencies,), and one-sided power in 1/Hz, (n_frequencies, n_signals). The sum of
        the power times the frequencies' spacing is the mean variance within a window.
    """
    frequencies, power = periodogram(windows.values.astype(float), fs=1.0, detrend="constant", axis=1)
    return frequencies[1:], power[:, 1:].mean(axis=0)


def autocorrelations(windows: Windows, lags: int = LAGS) -> np.ndarray:
    """Mean autocorrelation over windows, each freed of its own mean.

    Each lag's products are averaged over the pairs there are. Subtracting a window's own mean pulls the values down, by
    about 1 / window_seconds for white noise and more for slower signals: compare windows of the same length only.

    Args:
        windows: any.
        lags: longest lag, s, below the length of a window.

    Returns:
        (lags + 1, n_signals). A window that never changes equals itself at every lag: 1.
    """
    centred = windows.values - windows.values.mean(axis=1, keepdims=True, dtype=float)
    variance = np.mean(centred**2, axis=1)
    constant = variance < CONSTANT
    seconds = centred.shape[1]
    covariance = (np.mean(centred[:, : seconds - lag] * centred[:, lag:], axis=1) for lag in range(lags + 1))
    divisor = np.where(constant, 1, variance)
    return np.stack([np.where(constant, 1, product / divisor).mean(axis=0) for product in covariance])


def crosscorrelations(windows: Windows, lags: int = CROSS_LAGS) -> np.ndarray:
    """Mean cross-correlation over windows between pairs of signals, the second one later by -lags to lags seconds.

    Returns:
        (2 * lags + 1, n_signals, n_signals). As for `autocorrelations`, compare windows of the same length only; a
        signal that never changes has 0.
    """
    centred = windows.values - windows.values.mean(axis=1, keepdims=True, dtype=float)
    deviation = np.sqrt(np.mean(centred**2, axis=1, keepdims=True))
    constant = deviation**2 < CONSTANT
    standardised = np.where(constant, 0, centred / np.where(constant, 1, deviation))
    seconds = standardised.shape[1]
    later = [
        np.einsum("nta,ntb->ab", standardised[:, : seconds - lag], standardised[:, lag:])
        / (len(standardised) * (seconds - lag))
        for lag in range(lags + 1)
    ]
    return np.stack([each.T for each in later[:0:-1]] + later)


def crosscorrelation_distance(a: Windows, b: Windows) -> float:
    """Returns the mean over pairs of different signals and lags of the absolute difference of cross-correlations."""
    between = ~np.eye(len(a.signals), dtype=bool)
    return float(np.abs(crosscorrelations(a) - crosscorrelations(b))[:, between].mean())


def nearest_correlations(windows: Windows, others: Windows) -> dict[str, float]:
    """How near windows are to the nearest of others: signal -> median over windows of the largest correlation in time.

    Level and gain do not count: 1 is a copy but for these. Slow signals have few shapes, and come near by chance.

    Args:
        windows: any.
        others: windows of the same length and signals.
    """

    def shapes(values: np.ndarray) -> np.ndarray:
        centred = values.astype(np.float32) - values.mean(axis=1, keepdims=True, dtype=np.float32)
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.sqrt(CONSTANT))

    nearest = {}
    for number, signal in enumerate(windows.signals):
        correlations = shapes(windows.values[..., number]) @ shapes(others.values[..., number]).T
        nearest[signal] = float(np.median(correlations.max(axis=1)))
    return nearest


def flat_share(windows: Windows) -> float:
    """Returns the share of windows and signals that hold FLAT_SECONDS in a row that do not change."""
    still = np.diff(windows.values, axis=1) == 0
    runs = np.lib.stride_tricks.sliding_window_view(still, FLAT_SECONDS - 1, axis=1).all(axis=-1)
    return float(runs.any(axis=1).mean())


def spectral_distance(a: Windows, b: Windows) -> float:
    """Returns the mean over signals and frequencies of |log10(power of a / power of b)|: 1 is a factor of ten.

    Power falls by orders of magnitude from slow waves to fast ones. A difference would be that of the slowest waves
    alone; with the ratio, a texture that is ten times too strong counts as much as a drift that is.
    """
    ours, theirs = (np.log10(np.maximum(power_spectra(windows)[1], POWER_FLOOR)) for windows in (a, b))
    return float(np.abs(ours - theirs).mean())


def autocorrelation_distance(a: Windows, b: Windows) -> float:
    """Returns the mean over signals and lags 1 to LAGS of the absolute difference of the autocorrelations."""
    return float(np.abs(autocorrelations(a) - autocorrelations(b))[1:].mean())


def relative_to_people(distance: Distance, real: Windows, synthetic: Windows) -> float:
    """Puts a distance on the scale of how much people differ.

    Returns:
        Distance of synthetic to real over the mean distance of one real person to all the others. At 1 the synthetic
        set is as far from these people as one of them is from the rest; a set of several people is closer than one.
    """
    between = [distance(real.of(person), real.without(person)) for person in np.unique(real.subjects)]
    return float(distance(synthetic, real) / np.mean(between))


def _check(real: Windows, synthetic: Windows) -> None:
    """Refuses what cannot be compared."""
    people = np.unique(real.subjects)
    if len(people) < 2:
        raise ValueError(f"real windows of {len(people)} people: expected two or more, to see how people differ")
    if real.signals != synthetic.signals:
        raise ValueError(f"signals differ: real {real.signals}, synthetic {synthetic.signals}")
    for label, name in enumerate(real.classes):
        for source, windows in {"real": real, "synthetic": synthetic}.items():
            if label not in windows.labels:
                raise ValueError(f"no {source} window of the class {name!r}: expected both classes")
