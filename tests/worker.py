"""One of two workers: trains on its own people, and writes what came out.

    python worker.py INDEX PORT PORT OUT

Imported, it says what a process alone would do.
"""

import json
import os
import sys
from dataclasses import replace
from functools import cache

import numpy as np
from per_unit_loop import cross_entropy

from wearsynth.codecs import make_prior
from wearsynth.dpsgd import PrivateGradient
from wearsynth.generators import fit
from wearsynth.privacy import Promise
from wearsynth.public import find_cohort
from wearsynth.quiet import tf
from wearsynth.simulation import simulate_table
from wearsynth.windows import make_windows
from wearsynth.workers import ALONE, Workers

SHARES = ((0, 1, 2, 3, 4), (5, 6))  # of seven people
UNITS = ("window", "subject")
PROMISE = Promise("subject", 8.0, 1e-3, steps=30, sampling_probability=0.5)
N_WEIGHTS, N_DRAWN = 4000, 200


def people():
    return make_windows(simulate_table(n_subjects=7, seed=1), "published", "public", 60, 60)


def mechanism(windows, promise, workers):
    examples = windows.values.reshape(len(windows), -1)
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.Sequential([tf.keras.layers.Input(examples.shape[1:]), tf.keras.layers.Dense(1)])
    return PrivateGradient(model, cross_entropy, promise, examples, windows.labels, windows.subjects, workers=workers)


def noiseless(windows, unit, workers=ALONE):
    """The gradient of everybody, clipped, without noise."""
    promise = Promise(unit, np.inf, sampling_probability=1.0, clip_norm=0.5, windows_per_subject=1000)
    return mechanism(windows, promise, workers)()


def noise_alone(windows, workers):
    """Steps on windows that move no weight but the bias."""
    flat = replace(windows, values=np.zeros((len(windows), N_WEIGHTS, 1), np.float32))
    step = mechanism(flat, PROMISE, workers)
    return np.concatenate([step()[0] for _ in range(5)])


@cache
def prior():
    return make_prior(find_cohort("simulated"), "published", 60)


def drawn(windows, workers):
    """Steps without noise, each on those who are drawn: mean and deviation over them."""
    promise = Promise("window", np.inf, sampling_probability=0.5, steps=N_DRAWN, clip_norm=0.5)
    step = mechanism(windows, promise, workers)
    steps = np.array([step()[0][:, 0] for _ in range(N_DRAWN)])
    return steps.mean(axis=0), steps.std(axis=0)


def released(windows, unit, workers=ALONE):
    promise = Promise(unit, 8.0, 1e-3)
    return fit(windows, promise, "released", prior(), noise_seed=3, name=None, workers=workers).moments


def refusal(windows, workers, promise=PROMISE, seed=0, begun=None):
    try:
        fit(windows, promise, "released", begun or prior(), seed=seed, name=None, workers=workers)
    except ValueError as error:
        return str(error)
    return "none"


def main(index, ports, out):
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
    workers = Workers()
    windows = people()
    own = windows.of(*np.array(windows.people)[list(SHARES[index])])
    found = {f"{unit} {part}": total for unit in UNITS for part, total in enumerate(noiseless(own, unit, workers))}
    found["noise"] = noise_alone(own, workers)
    found["drawn mean"], found["drawn deviation"] = drawn(own, workers)
    for unit in UNITS:
        moments = released(own, unit, workers)
        found |= {f"{unit} means": moments.means, f"{unit} covariances": moments.covariances}
    trained = fit(own, PROMISE, "cgan", prior(), name=None, workers=workers)
    found |= {f"weights {number}": each for number, each in enumerate(trained.network.get_weights())}
    found["same name"] = refusal(windows.of(windows.people[0]), workers)
    found["nobody"] = refusal(own if index else own.of("nobody"), workers)
    found["other seed"] = refusal(own, workers, seed=index)
    found["other epsilon"] = refusal(own, workers, Promise("subject", 8.0 + index, 1e-3))
    found["other prior"] = refusal(own, workers, begun=replace(prior(), means=prior().means + 1e-6 * index))
    found["no promise"] = refusal(own, workers, Promise(epsilon=np.inf))
    np.savez(out, **found)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:4], sys.argv[4])
