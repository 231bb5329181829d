"""Promises that tests are about."""

import math

from wearsynth.privacy import Promise

# Budgets above 2 take the accountant seconds each; these take parts of one.
PROMISES = [
    Promise(),
    Promise(epsilon=0.1, delta=1e-5, sampling_probability=0.02, steps=3000),
    Promise(epsilon=2.0, delta=1e-6, sampling_probability=0.3, steps=200),
]
SUBJECT = Promise(unit="subject", epsilon=0.5, delta=1e-3, clip_norm=1.0, sampling_probability=0.2, steps=30)
ONE_RELEASE = Promise(epsilon=1.0, delta=1e-5, sampling_probability=1.0, steps=1)
INFINITE = Promise(epsilon=math.inf)


def with_noise(noise_multiplier, delta, sampling_probability, steps):
    """A promise whose noise is given, as it is where a figure was published."""
    promise = Promise(delta=delta, sampling_probability=sampling_probability, steps=steps)
    vars(promise)["noise_multiplier"] = noise_multiplier
    return promise
