"""Promises that tests are about."""

import math
from dataclasses import dataclass

import pytest

from wearsynth.privacy import Promise
from wearsynth.tf_privacy import why_missing

with_tf_privacy = pytest.mark.skipif(why_missing() != "", reason=why_missing())

# Budgets above 2 take the accountant seconds each; these take parts of one.
PROMISES = [
    Promise(),
    Promise(epsilon=0.1, delta=1e-5, sampling_probability=0.02, steps=3000),
    Promise(epsilon=2.0, delta=1e-6, sampling_probability=0.3, steps=200),
]
SUBJECT = Promise(unit="subject", epsilon=0.5, delta=1e-3, clip_norm=1.0, sampling_probability=0.2, steps=30)
ONE_RELEASE = Promise(epsilon=1.0, delta=1e-5, sampling_probability=1.0, steps=1)
INFINITE = Promise(epsilon=math.inf)


@dataclass(frozen=True)
class WithNoise(Promise):
    """A promise whose noise is given: it spends what that noise spends, and not its epsilon."""

    noise: float = 0.0

    @property
    def noise_multiplier(self):
        return self.noise


def with_noise(noise_multiplier, delta, sampling_probability, steps):
    """A promise whose noise is given, as it is where a figure was published."""
    return WithNoise(delta=delta, sampling_probability=sampling_probability, steps=steps, noise=noise_multiplier)
