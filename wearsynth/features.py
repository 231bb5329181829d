"""What a window is in simple numbers."""

import numpy as np

DESCRIPTORS = ("level", "spread", "above", "below", "slope", "roughness")
LEAST_SPREAD = 1e-3  # of a window's signal; below, there is no shape to speak of
# Standard deviations from its mean, beyond which the CNN and logistic regression see a feature no farther. One that
# hardly varies among synthetic people lies many of them away for real ones, and would outweigh all others.
FEATURE_BOUND = 3.0


def simple_features(values: np.ndarray) -> np.ndarray:
    """Describes each window by mean, standard deviation, minimum, maximum, slope and mean absolute difference of each
    signal.

    Args:
        values: (n_windows, window_seconds, n_signals).

    Returns:
        (n_windows, 6 * n_signals).
    """
    time = np.linspace(-1, 1, values.shape[1])
    slope = np.einsum("t,nts->ns", time / np.sum(time**2), values)
    roughness = np.abs(np.diff(values, axis=1)).mean(axis=1)
    moments = [statistic(values, axis=1) for statistic in (np.mean, np.std, np.min, np.max)]
    return np.concatenate([*moments, slope, roughness], axis=1)


def describe(values: np.ndarray) -> np.ndarray:
    """Describes each signal of each window, by `DESCRIPTORS`' names.

    Returns:
        (n, n_signals, 6): mean; logarithm of the standard deviation; logarithms of the reach above and below the mean,
        slope, and logarithm of the mean absolute difference between seconds, each of these over the standard deviation.
    """
    mean, spread, low, high, slope, rough = np.split(simple_features(values.astype(float)), 6, axis=1)
    spread = np.maximum(spread, LEAST_SPREAD)
    reach = (np.log(np.maximum(far, LEAST_SPREAD / 2) / spread) for far in (high - mean, mean - low))
    rough = np.log(np.maximum(rough, LEAST_SPREAD / 20) / spread)
    return np.stack([mean, np.log(spread), *reach, slope / spread, rough], axis=2)
