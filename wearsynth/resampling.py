"""Native rates -> one row a second."""

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, resample, sosfiltfilt

from wearsynth.recordings import ACC_RATE, BVP_RATE, Recording, RecordingError, whole_seconds
from wearsynth.studies import NO_CONDITION, WESAD, Study

PLAUSIBLE_RATES = (45, 160)  # beats a minute, of people who sit or stand
MEDIAN_SECONDS = 61  # odd, so that it is centred
NO_PULSE = "BVP holds no pulse: expected heartbeats, sampled at 64 Hz; leave the recording out"


def one_hertz(recording: Recording, study: Study = WESAD) -> pd.DataFrame:
    """Turns a recording into one row a second.

    Args:
        recording: one person's signals.
        study: what conditions mean.

    Returns:
        A data frame with the columns
            subject: name such as "S2".
            time: seconds from the start of the person's first recording, integer.
            BVP (a.u.), EDA (microsiemens), ACC_x, ACC_y, ACC_z (g), TEMP (degrees Celsius): the native signals,
                Fourier-resampled over the whole recording, as in the published table.
            HR: heart rate, beats a minute, as from `heart_rate`.
            BVP_amplitude: standard deviation of the band-passed BVP within the second, a.u.
            ACC_movement: standard deviation of the acceleration's norm within the second, g.
            condition: the one at the second's start; NO_CONDITION from one to the next.
            label: 1 stress, or whatever the study looks for; 0 without it; missing otherwise (Int64).

    Raises:
        RecordingError: the BVP holds no pulse.
    """
    n_seconds = len(recording.label) // recording.label_rate
    bvp = whole_seconds(recording.bvp, BVP_RATE, n_seconds)
    movement = np.linalg.norm(whole_seconds(recording.acc, ACC_RATE, n_seconds), axis=1)
    codes = recording.label[:: recording.label_rate][:n_seconds]
    # 5 to 7, "to be ignored" in WESAD (questionnaires), are no condition of the study: like 0, the time in between
    conditions = pd.Series([recording.conditions.get(int(code), NO_CONDITION) for code in codes])
    acc = resample(recording.acc, n_seconds)
    try:
        rate = heart_rate(bvp)
    except RecordingError as error:
        raise RecordingError(f"{recording.subject}: {error}") from None
    return pd.DataFrame(
        {
            "subject": recording.subject,
            "time": round(recording.start) + np.arange(n_seconds),
            "BVP": resample(recording.bvp, n_seconds),
            "EDA": resample(recording.eda, n_seconds),
            **{f"ACC_{axis}": acc[:, i] for i, axis in enumerate("xyz")},
            "TEMP": resample(recording.temp, n_seconds),
            "HR": rate,
            "BVP_amplitude": _pulse(bvp).reshape(n_seconds, BVP_RATE).std(axis=1),
            "ACC_movement": movement.reshape(n_seconds, ACC_RATE).std(axis=1),
            "condition": conditions,
            "label": study.label(conditions),
        }
    )


def _pulse(bvp):
    """The BVP between 0.5 and 3 Hz: the pulse without its harmonics, which are lost in movement."""
    return sosfiltfilt(butter(2, (0.5, 3), "bandpass", fs=BVP_RATE, output="sos"), bvp)


def heart_rate(bvp: np.ndarray) -> np.ndarray:
    """Measures the heart rate: the median over a minute of the intervals between pulse peaks.

    Peaks are NeuroKit2's (Elgendi et al. 2013, doi 10.1371/journal.pone.0076585). The rate at a second draws on the
    recording for half a minute to either side; while the hand moves it is uncertain by several beats a minute.

    Args:
        bvp: (n,) blood volume pulse at 64 Hz, any unit.

    Returns:
        (n // 64,) heart rate in beats a minute, within 45 to 160.

    Raises:
        RecordingError: no two peaks lie as far apart as heartbeats do.
    """
    if np.ptp(bvp) == 0:  # the detector would take the filter's rounding for a pulse
        raise RecordingError(NO_PULSE)
    pulse = _pulse(bvp)
    # The detector's threshold follows the whole recording's mean power: a pulse made small by narrow vessels, as stress
    # does, would stay below it in favour of loud movement elsewhere. So every minute is brought to the same power.
    power = uniform_filter1d(pulse**2, size=MEDIAN_SECONDS * BVP_RATE)
    level = np.sqrt(np.maximum(power, 1e-6 * power.max() + np.finfo(float).tiny))
    import neurokit2  # takes a second to import, and who reads a finished table does without

    peaks = neurokit2.ppg_findpeaks(pulse / level, sampling_rate=BVP_RATE, method="elgendi")["PPG_Peaks"]
    rates = 60 * BVP_RATE / np.diff(peaks)
    slowest, fastest = PLAUSIBLE_RATES
    plausible = (rates >= slowest) & (rates <= fastest)  # a missed beat halves the rate, a false one doubles it
    if not plausible.any():
        raise RecordingError(NO_PULSE)
    middles = (peaks[1:] + peaks[:-1]) / 2 / BVP_RATE
    per_second = np.interp(np.arange(len(bvp) // BVP_RATE) + 0.5, middles[plausible], rates[plausible])
    return pd.Series(per_second).rolling(MEDIAN_SECONDS, center=True, min_periods=1).median().to_numpy()
