"""Made-up smartwatch recordings in WESAD's own file format: the data that the project runs on out of the box.

Nobody was measured for them. All signals follow one hidden course of arousal, driven by WESAD's protocol [1]. Stress
raises the heart rate [2, 3] and takes away some of its respiratory variability, narrows the vessels of the skin
(smaller pulses [4], skin that slowly cools [5]) and makes sweat glands fire more often [6, 7]. People differ in every
level and in how strongly each signal answers; they stand up, fidget, and are stirred by other things than stress, so
that a detector has something to be wrong about.

The sources give the directions of what stress does, and numbers for the heart rate at rest, the wrist's temperature and
the rate of skin conductance responses. How movement disturbs all signals together, how often and how much, where
gravity lies, and how people differ in that are estimated from twelve people of a public cohort (`wear.py`). The other
sizes are chosen by hand: of disturbances and slow signals with the same twelve people in view, of responses to stress
so that it can be found but not always. Five two-sample tests tell simulated people from the cohort's other twelve at
areas under the ROC curve of .74 to .89 (`benchmarks/simulation.json`), and the twelve public people at .46 to .53; that
was in view while the sizes were chosen.

Responses to stress, the protocol's phases and the courses of arousal and heart rate were first set by somebody who had
seen some of WESAD's recordings.

A plain detector, logistic regression on means and spreads of minutes, is right in .83 to .90 of the minutes of unseen
people over eight cohorts of six (.83 in the default one, .87 on average), and in .58 to 1 of one person's. The rise of
the skin conductance level was set with these cohorts in view; over the next sixteen it is .86 on average, .76 to .94.

NeuroKit2's simulators hold rate and amplitude constant (`ppg_simulate`) or space the skin conductance responses evenly
(`eda_simulate`); stress is a change of just these, hence the short generators of this module.

1. Schmidt et al. 2018, WESAD: orders, labels, sensors and rates, durations. doi 10.1145/3242969.3242985
2. Nunan et al. 2010, rest: mean RR interval 0.93 s, variability. doi 10.1111/j.1540-8159.2010.02841.x
3. Kirschbaum et al. 1993, the heart rate rises in the Trier Social Stress Test, doi 10.1159/000119004; Kudielka et al.
   2004, by amounts that differ with age and sex, International Journal of Behavioral Medicine 11:116-121
4. Iani et al. 2004, smaller pulse waves under mental effort. doi 10.1111/j.1469-8986.2004.00200.x
5. Vinkers et al. 2013, distal skin cools in the Trier Social Stress Test. doi 10.3109/10253890.2013.807243; Wei and
   Boger 2021, awake wrists at 32.5 (SD 0.8) degrees C. doi 10.2196/26462
6. Boucsein 2012, Electrodermal Activity, doi 10.1007/978-1-4614-1126-0; Dawson et al. 2016, The Electrodermal System,
   doi 10.1017/9781107415782.010: levels, shapes and rates, people who do not respond.
7. van Dooren et al. 2012, the arm sweats less than the palm: lower levels. doi 10.1016/j.physbeh.2012.01.020
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.signal import butter, lfilter, sosfilt

from wearsynth.files import replacing
from wearsynth.recordings import (
    ACC_RATE,
    ACC_UNITS_PER_G,
    BVP_RATE,
    EDA_RATE,
    TEMP_RATE,
    Recording,
)
from wearsynth.resampling import one_hertz
from wearsynth.studies import WESAD
from wearsynth.wear import DISTURBANCES, ESTIMATED, NORMAL_QUANTILES, TIME_CONSTANTS, Wear
from wearsynth.wesad import LABEL_RATE

# What people differ in, drawn evenly between two ends. A response is the change at full arousal.
TRAITS = {
    "heart_rate": (54, 78),  # beats/min, seated rest [2]
    "heart_rate_response": (8, 28),  # beats/min [3]
    "respiratory_variability": (1, 5),  # beats/min, amplitude at rest [2]
    "breathing_rate": (11, 18),  # breaths/min
    "vasoconstriction": (0.3, 1),  # fall of the log of the pulse amplitude [4]
    "tonic_response": (0.5, 1),  # rise of the log of the skin conductance level [6]
    "scr_rate": (1, 3),  # spontaneous skin conductance responses a minute at rest [6]
    "scr_rate_response": (4, 14),  # more of them a minute [6]
    "skin_temperature": (31.2, 34.2),  # degrees C when the band is put on [5]
    "skin_warming": (-0.3, 1.5),  # degrees C, in the first minutes under the band, times `thermal_lability`
    "cooling": (0.3, 1),  # degrees C [5], likewise
}
# The same for what differs by factors: drawn evenly on a log scale. More of them are in `wear.Wear.skewed_traits`.
SKEWED_TRAITS = {
    "scr_amplitude": (0.01, 0.08),  # share of the level [6]; small, as those of arms are [7]
    "fidgeting": (0.5, 2),  # jolts, times those of the phase
}
NON_RESPONDERS = 0.1  # share of people without skin conductance responses [6]


# Found by trying a few values on the twelve public people whom the estimates come from.
JOLTS = (0.7, 0.8, 1.6, 0.7)  # what a jolt of mean size adds to each disturbance's hidden course
JOLT_SECONDS, UNSTEADY_SECONDS = 1.5, 64.0  # how long a jolt lasts; a restless or steady stretch
UNSTEADY_SHARED, UNSTEADY_SLOW = 0.8, 0.4  # of unsteadiness: by all disturbances; by their slow course
TURN_SECONDS, EXCURSION_SECONDS = 0.5, 2.0  # a turn keeps its direction; a hand that was moved away comes back
CONTACT_REACH, CONTACT_EXCURSIONS = 0.15, 0.7  # of the electrodes' contact: as of `Wear.reach`, `Wear.excursions`
MOST_CONTACT_LOST = 0.5  # of the skin conductance, in one second
CALM = 0.6  # pulse in a calm second, over a median second's amplitude of the BVP
LEAST_ARTEFACT = 0.3  # of the BVP's amplitude
BVP_DELAY = 1.5  # s, by which the BVP lags behind the acceleration
CORE_TEMP = 37.0  # degrees C
# What the sensors add. Steps as the band stores them, noise as of still minutes.
EDA_STEP, EDA_NOISE = 0.00128, 0.004  # microsiemens; share of the level
TEMP_STEP, TEMP_NOISE = 0.02, 0.009  # degrees C, of one reading a second
ARTEFACT_BAND = np.vstack(  # Hz, what the band's filters leave of a jolt: it rings for about a second
    [
        butter(1, 0.4, "highpass", fs=BVP_RATE, output="sos"),
        butter(2, 1.5, "lowpass", fs=BVP_RATE, output="sos"),
    ]
)
SHAKING_BAND = butter(1, (1.5, 5), "bandpass", fs=ACC_RATE, output="sos")  # Hz, of hands


class Phase(NamedTuple):
    """A stretch of the protocol; seconds vary by a tenth between people."""

    label: int
    seconds: int
    arousal: float  # 0 seated rest, 1 the person's full response
    bursts: float  # jolts of movement, a minute
    standing: float  # probability


GAP = Phase(label=0, seconds=90, arousal=0.3, bursts=8, standing=0.6)
BASELINE = Phase(label=1, seconds=1200, arousal=0.05, bursts=2.5, standing=0.4)
SPEECH = Phase(label=2, seconds=330, arousal=1.0, bursts=7, standing=0.9)
ARITHMETIC = Phase(label=2, seconds=330, arousal=0.8, bursts=4, standing=0.7)
AMUSEMENT = Phase(label=3, seconds=390, arousal=0.15, bursts=2, standing=0.0)
MEDITATION = Phase(label=4, seconds=420, arousal=-0.2, bursts=0.5, standing=0.0)

STRESS_TEST = (SPEECH, ARITHMETIC)
ORDERS = (
    (GAP, BASELINE, GAP, *STRESS_TEST, GAP, MEDITATION, GAP, AMUSEMENT, GAP, MEDITATION, GAP),
    (GAP, BASELINE, GAP, AMUSEMENT, GAP, MEDITATION, GAP, *STRESS_TEST, GAP, MEDITATION, GAP),
)


@dataclass(frozen=True)
class Population:
    """Whom people are drawn from, and what they go through.

    Args:
        traits: name -> the two ends between which people differ evenly.
        skewed_traits: the same on a log scale.
        non_responders: share of people without skin conductance responses.
        orders: of the protocol's phases, for people of even numbers and of odd ones.
        wear: how a wristband's signals are disturbed, and people's `Wear.skewed_traits`.
    """

    traits: dict[str, tuple[float, float]]
    skewed_traits: dict[str, tuple[float, float]]
    non_responders: float
    orders: tuple[tuple[Phase, ...], tuple[Phase, ...]]
    wear: Wear = ESTIMATED


POPULATION = Population(TRAITS, SKEWED_TRAITS, NON_RESPONDERS, ORDERS)


def simulate_recording(subject: str, seed: int, population: Population = POPULATION) -> tuple[Recording, np.ndarray]:
    """Simulate one person's session.

    Args:
        subject: `S` and a number. The number picks the person among those of a seed, and the order: the stress test
            before the amusement if even, after it if odd (counterbalanced, as in WESAD).
        seed: the cohort.
        population: whom the person is drawn from.

    Returns:
        The recording, and the true heart rate of every second, shape `(n_seconds,)`, beats/min.

    Raises:
        ValueError: if `subject` is not `S` and a number.
    """
    if not (subject[:1] == "S" and subject[1:].isdecimal()):
        raise ValueError(f"subject={subject!r}: expected 'S' and a number, such as 'S2'")
    number = int(subject[1:])
    # a branch of the seed for each person: a larger cohort starts with the same people
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    person = _draw_person(rng, population)
    session = _draw_session(rng, population.orders[number % 2])
    arousal = _arousal(rng, session)
    disturbance = _disturbances(rng, person, session, population.wear)
    heart_rate = _heart_rate(rng, person, session, arousal)
    recording = Recording(
        subject=subject,
        acc=_acceleration(rng, person, session, disturbance, population.wear),
        bvp=_blood_volume_pulse(rng, person, arousal, heart_rate, disturbance),
        eda=_skin_conductance(rng, person, arousal, disturbance),
        temp=_skin_temperature(rng, person, arousal),
        label=np.repeat(session.label.to_numpy(np.int32), LABEL_RATE),
        label_rate=LABEL_RATE,
        conditions=WESAD.codes,
    )
    return recording, heart_rate.reshape(-1, BVP_RATE).mean(axis=1)


def simulate_table(n_subjects: int, seed: int, population: Population = POPULATION) -> pd.DataFrame:
    """The 1 Hz table (`resampling.one_hertz`) of simulated people; other parameters as of `write_cohort`.

    >>> simulate_table(n_subjects=2, seed=0)["subject"].unique().tolist()
    ['S2', 'S3']

    Args:
        population: whom they are drawn from.
    """
    recordings = (simulate_recording(f"S{number}", seed, population)[0] for number in range(2, 2 + n_subjects))
    return pd.concat([one_hertz(recording) for recording in recordings], ignore_index=True)


def write_cohort(folder: str | Path, n_subjects: int = 6, seed: int = 0) -> list[Path]:
    """Write simulated people as WESAD's own files, `SX/SX.pkl` with X from 2 on.

    Args:
        folder: where to; made if missing. A file there is replaced, in one step.
        n_subjects: how many people; the first of them do not depend on it.
        seed: the cohort.

    Returns:
        The files' paths, one a person.
    """
    paths = []
    for number in range(2, 2 + n_subjects):  # WESAD has no S1
        recording, _ = simulate_recording(f"S{number}", seed)
        path = Path(folder) / recording.subject / f"{recording.subject}.pkl"
        with replacing(path) as draft:
            draft.write_bytes(_pickled(recording))
        paths.append(path)
    return paths


def _pickled(recording):
    """A recording as the bytes of WESAD's file, without chest signals."""
    wrist = {
        "ACC": recording.acc * ACC_UNITS_PER_G,
        "BVP": recording.bvp[:, None],
        "EDA": recording.eda[:, None],
        "TEMP": recording.temp[:, None],
    }
    content = {"signal": {"chest": {}, "wrist": wrist}, "label": recording.label, "subject": recording.subject}
    return pickle.dumps(content, protocol=2)


def _draw_person(rng, population):
    """One value for each trait."""
    traits = {name: rng.uniform(*ends) for name, ends in population.traits.items()}
    skewed = population.skewed_traits | population.wear.skewed_traits
    traits |= {name: np.exp(rng.uniform(*np.log(ends))) for name, ends in skewed.items()}
    traits["scr_amplitude"] *= rng.random() >= population.non_responders
    traits["seated"] = _unit(rng.normal(population.wear.gravity, population.wear.gravity_sd))
    traits["upright"] = _unit(traits["seated"] + rng.normal([-0.3, 0, -0.2], 0.1))
    return SimpleNamespace(**traits)


def _draw_session(rng, phases):
    """The protocol as lived by one person, a row a second: the phase's fields, with standing 0 or 1."""
    table = pd.DataFrame(phases)
    table["seconds"] = (table.seconds * rng.uniform(0.9, 1.1, len(table))).round().astype(int)
    table["standing"] = rng.random(len(table)) < table.standing
    return table.loc[table.index.repeat(table.seconds)].reset_index(names="phase")


def _arousal(rng, session):
    """Hidden course that all signals follow, one value a second."""
    n_seconds = len(session)
    settling = 0.4 * np.exp(-np.arange(n_seconds) / 240)  # all is new at first
    episodes = _events(rng, np.full(n_seconds, 0.2), 1) * rng.uniform(10, 30, n_seconds)  # thoughts, noises, a laugh
    episodes[0] = 0  # a lag starts as if its first value had lasted for ever
    target = session.arousal + settling + _lagged(episodes, 20)
    return _lagged(target, 25) + 0.12 * _wander(rng, n_seconds, 60)


def _heart_rate(rng, person, session, arousal):
    """Instantaneous heart rate at the rate of the BVP, beats/min."""
    n_seconds = len(arousal)
    slow = person.heart_rate + person.heart_rate_response * arousal
    slow += 7 * _lagged(session.standing, 10) + 4 * _wander(rng, n_seconds, 40) + 1.5 * _wander(rng, n_seconds, 4)
    breathing = np.cumsum(_resampled(person.breathing_rate + 3 * arousal + _wander(rng, n_seconds, 20), BVP_RATE))
    withdrawal = np.clip(1 - 0.6 * arousal, 0.2, 1.3)
    respiratory = person.respiratory_variability * _resampled(withdrawal, BVP_RATE)
    respiratory *= np.sin(2 * np.pi * breathing / 60 / BVP_RATE)
    return np.clip(_resampled(slow, BVP_RATE) + respiratory, 40, 180)


def _disturbances(rng, person, session, wear):
    """How strong each of `wear.DISTURBANCES` is, a value a second.

    All follow one hidden course: what lasts for seconds, for longer and for minutes, and jolts, which hit all at once.
    """
    n_seconds = len(session)
    parts = []
    for seconds, covariance in zip(TIME_CONSTANTS, wear.covariances):
        independent = _wander(rng, (n_seconds, len(DISTURBANCES)), seconds)
        parts.append(independent @ np.linalg.cholesky(covariance).T)
    *fast, course = parts
    fast = sum(fast)
    restless = course[:, 1] / np.sqrt(wear.covariances[-1][1][1])
    shared = _mixed(restless, _wander(rng, n_seconds, UNSTEADY_SECONDS), UNSTEADY_SLOW)
    for column, size in enumerate(wear.unsteadiness):
        unsteady = size * _mixed(shared, _wander(rng, n_seconds, UNSTEADY_SECONDS), UNSTEADY_SHARED)
        course[:, column] += np.exp(unsteady - size**2) * fast[:, column]
    jolts = _events(rng, person.fidgeting * session.bursts, 1) * rng.exponential(1, n_seconds)
    course += lfilter([1], [1, -np.exp(-1 / JOLT_SECONDS)], jolts)[:, None] * JOLTS
    strengths = {}
    for name, values, quantiles in zip(DISTURBANCES, course.T, wear.quantiles):
        logs = np.interp(values, NORMAL_QUANTILES, quantiles)
        strengths[name] = getattr(person, name) * np.exp(logs * getattr(person, f"{name}_spread"))
    return SimpleNamespace(**strengths)


def _mixed(one, other, share):
    """Two courses of variance 1 as one of variance 1, of which `share` is the first's."""
    return np.sqrt(share) * one + np.sqrt(1 - share) * other


def _moved(strength, directions, reach, excursions):
    """Where movements lead, of some strength in each second: a share of them comes back at once, the others stay.

    A place is left as the next ones are taken, and so kept while all is still.
    """
    back = np.exp(-1 / EXCURSION_SECONDS)
    away = lfilter([1], [1, -back], np.sqrt(excursions) * strength[:, None] * directions, axis=0)
    kept = np.exp(-(1 - excursions) * (strength / reach) ** 2 / 2)
    steps = reach * np.sqrt(1 - kept**2)[:, None] * directions
    place, places = np.zeros(directions.shape[1]), np.empty(directions.shape)
    for second, (keep, step) in enumerate(zip(kept, steps)):
        place = keep * place + step
        places[second] = place
    return places + away


def _blood_volume_pulse(rng, person, arousal, heart_rate, disturbance):
    """Pulse waves, which stress makes smaller, and what movement does to them: the band shifts on the skin.

    What a second's amplitude exceeds the calm pulse by is artefact; where it falls short of it, the pulse is smaller.
    """
    wave = _wave(2 * np.pi * np.cumsum(heart_rate) / 60 / BVP_RATE)
    wave = (wave - wave.mean()) / wave.std()
    amplitude = disturbance.pulse
    calm = person.pulse * CALM**person.pulse_spread * np.exp(0.15 * _wander(rng, len(arousal), 120))
    pulse = np.minimum(amplitude, calm)
    artefact = np.sqrt(np.maximum(amplitude**2 - pulse**2, (LEAST_ARTEFACT * amplitude) ** 2))
    narrowing = np.exp(-person.vasoconstriction * _lagged(arousal, 10))  # of vessels: artefacts stay as large
    jerky = rng.normal(size=len(wave)) * np.exp(0.3 * _wander(rng, len(wave), 0.3 * BVP_RATE))
    noise = sosfilt(ARTEFACT_BAND, jerky)
    bvp = _delayed(narrowing * pulse) * wave + _delayed(artefact) * noise / noise.std()
    return np.round(bvp, 2)


def _delayed(per_second):
    """A value a second as the BVP shows it, at its rate."""
    late = int(BVP_DELAY * BVP_RATE)
    values = _resampled(per_second, BVP_RATE)
    return np.pad(values, (late, 0), mode="edge")[: len(values)]


def _wave(phase):
    """One heartbeat: the systolic wave at phase 0, the dicrotic one a good third of a beat later."""
    return np.exp(3 * (np.cos(phase) - 1)) + 0.35 * np.exp(4 * (np.cos(phase - 2.3) - 1))


def _acceleration(rng, person, session, disturbance, wear):
    """Acceleration in the band's steps, `(n, 3)` in g: gravity as the wrist turns, and shaking."""
    n_seconds = len(session)
    posture = np.where(session.standing.to_numpy()[:, None], person.upright, person.seated)
    posture = posture + rng.normal(0, 0.05, (session.phase.max() + 1, 3))[session.phase]
    # a unit vector's components have a variance of a third each: with the root of 3, steps have a mean square of 1
    directions = np.sqrt(3) * _unit(_wander(rng, (n_seconds, 3), TURN_SECONDS)) @ np.linalg.cholesky(wear.turns).T
    turned = _unit(posture + _moved(disturbance.turning, directions, wear.reach, wear.excursions))
    gravity = _unit(np.stack([_resampled(axis, ACC_RATE) for axis in turned.T], axis=1))
    shaking = sosfilt(SHAKING_BAND, rng.normal(size=gravity.shape), axis=0)
    acc = gravity + np.repeat(disturbance.movement, ACC_RATE)[:, None] * shaking / shaking.std()
    return np.clip(np.round(acc * ACC_UNITS_PER_G), -128, 127) / ACC_UNITS_PER_G


def _skin_conductance(rng, person, arousal, disturbance):
    """Slow level, responses that rise in about a second and fade in about five, and what movement does to the contact;
    in the band's steps, microsiemens."""
    n_seconds = len(arousal)
    level = person.tonic_response * _lagged(arousal, 60) + 0.25 * _lagged(_wander(rng, n_seconds, 600), 60)
    either_way = np.sign(_wander(rng, n_seconds, TURN_SECONDS))[:, None]
    lost = np.minimum(disturbance.conductance, MOST_CONTACT_LOST)
    contact = np.maximum(1 + _moved(lost, either_way, CONTACT_REACH, CONTACT_EXCURSIONS)[:, 0], 0)
    level = person.skin_conductance * _resampled(np.exp(level) * contact, EDA_RATE)
    rate = np.maximum(person.scr_rate + person.scr_rate_response * arousal, 0.2)
    sizes = person.skin_conductance * person.scr_amplitude * rng.lognormal(0, 0.6, n_seconds * EDA_RATE)
    time = np.arange(0, 30, 1 / EDA_RATE)
    response = np.exp(-time / 4) - np.exp(-time / 0.8)
    responses = lfilter(response / response.max(), 1, _events(rng, rate, EDA_RATE) * sizes)
    measured = level + responses + EDA_NOISE * level * rng.normal(size=len(level))
    return np.maximum(np.round(measured / EDA_STEP) * EDA_STEP, 8 * EDA_STEP)


def _skin_temperature(rng, person, arousal):
    """Warming under the band, slow cooling under stress, in the band's steps; it is read once a second."""
    n_seconds = len(arousal)
    change = person.skin_warming * (1 - np.exp(-np.arange(n_seconds) / 300))
    change += -person.cooling * _lagged(arousal, 120) + 0.35 * _lagged(_wander(rng, n_seconds, 800), 100)
    temp = person.skin_temperature + person.thermal_lability * change
    temp = CORE_TEMP - np.logaddexp(0, CORE_TEMP - temp)  # skin nears it, and is not warmer
    temp += rng.normal(0, TEMP_NOISE, n_seconds)
    return np.repeat(np.round(temp / TEMP_STEP) * TEMP_STEP, TEMP_RATE)


def _unit(vectors):
    """Vectors brought to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _lagged(values, time_constant):
    """A first-order low-pass along the first axis; `time_constant` in samples."""
    values = np.asarray(values, float)
    keep = np.exp(-1 / time_constant)
    return lfilter([1 - keep], [1, -keep], values, axis=0, zi=keep * values[:1])[0]


def _wander(rng, shape, time_constant):
    """Stationary noise of variance 1 that forgets itself in `time_constant` samples; `shape` may have columns."""
    keep = np.exp(-1 / time_constant)
    steps = rng.normal(0, np.sqrt(1 - keep**2), shape)
    start = keep * rng.normal(size=(1, *steps.shape[1:]))
    return lfilter([1], [1, -keep], steps, axis=0, zi=start)[0]


def _events(rng, per_minute, rate):
    """Poisson events: 1 in the samples where one happens; `per_minute` holds a value a second, the result `rate`."""
    chance = np.repeat(np.asarray(per_minute, float), rate) / 60 / rate
    return (rng.random(len(chance)) < chance).astype(float)


def _resampled(per_second, rate):
    """One value a second, drawn as a line through `rate` samples a second."""
    n_seconds = len(per_second)
    return np.interp((np.arange(n_seconds * rate) + 0.5) / rate - 0.5, np.arange(n_seconds), per_second)
