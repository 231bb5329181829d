"""What is promised: privacy unit, epsilon, delta; noise, sampling and steps follow from it.

One frozen object, `Promise`, is read by the sampler, the mechanism and the accountant, so that the three cannot
disagree. Nothing here touches data or trains anything: `dpsgd.py` and `releases.py` keep what is promised here, and
`accounting.py` has the mathematics.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wearsynth import accounting
from wearsynth.accounting import Mechanism
from wearsynth.tf_privacy import why_missing

UNITS = ("window", "subject")
# Below, the mass that the accountant cuts off (1e-15) is as large as delta itself: it finds noise that leaves nothing.
LEAST_DELTA = 1e-12
ENGINES = ("fused", "tensorflow_privacy")


@dataclass(frozen=True)
class Promise:
    """The guarantee of one training run, and the mechanism that follows from it.

    Neighbouring data sets differ by adding or removing one unit: one window (record-level privacy), or everything that
    one subject contributed (user-level privacy). Each step draws every unit independently with `sampling_probability`,
    clips its gradient to `clip_norm` and adds Gaussian noise of `noise_multiplier * clip_norm` to the sum (Abadi et al.
    2016, arXiv 1607.00133).

    >>> promise = Promise("subject", epsilon=10.0, delta=1e-3, release_share=1.0)
    >>> round(promise.release_noise_multiplier, 2)
    0.41
    >>> {name: round(epsilon, 1) for name, epsilon in promise.epsilons(0, 2, 80).items()}
    {'window': 26.6, 'event': 26.6, 'subject': 10.0}

    Args:
        unit: 'window' or 'subject'.
        epsilon: the budget; infinite means no noise and no guarantee.
        delta: the budget's second part, from LEAST_DELTA to 1; well under one over the number of units.
        clip_norm: largest L2 norm of one unit's gradient.
        sampling_probability: probability of each unit to be drawn in a step, in (0, 1].
        steps: number of discriminator steps.
        windows_per_subject: under unit 'subject', at most this many of a drawn subject's windows, drawn anew each step,
            make up its gradient. It costs no budget: however they are drawn, the gradient is clipped as one.
        engine: who clips and sums: 'fused', our own `clipped_sum`, or 'tensorflow_privacy', that library's optimizer,
            to the same result and slower. Draws and noise do not depend on it.
        release_share: part of epsilon, from 0 to 1, that a release made once (`releases.py`) spends by itself, at the
            same delta; the steps get what is left of the budget. At 1 there are no steps.

    Raises:
        ValueError: a value is out of its range, or the engine is not installed.
    """

    unit: str = "window"
    epsilon: float = 1.0
    delta: float = 1e-4
    clip_norm: float = 0.3
    sampling_probability: float = 0.5
    steps: int = 1000
    windows_per_subject: int = 100
    engine: str = "fused"
    release_share: float = 0.0

    def __post_init__(self):
        _expect(self.unit in UNITS, "unit", self.unit, "'window' or 'subject'")
        _expect(self.engine in ENGINES, "engine", self.engine, "'fused' or 'tensorflow_privacy'")
        if self.engine == "tensorflow_privacy":
            _expect(not why_missing(), "engine", self.engine, f"'fused', as {why_missing()}")
        _expect(self.epsilon > 0, "epsilon", self.epsilon, "a number above 0, or inf for training without privacy")
        _expect(LEAST_DELTA <= self.delta < 1, "delta", self.delta, f"a number from {LEAST_DELTA:g} to 1")
        _expect(0 < self.clip_norm < math.inf, "clip_norm", self.clip_norm, "a finite number above 0")
        _expect(
            0 < self.sampling_probability <= 1,
            "sampling_probability",
            self.sampling_probability,
            "a number above 0 and at most 1",
        )
        _expect(0 <= self.release_share <= 1, "release_share", self.release_share, "a number from 0 to 1")
        for name in ("steps", "windows_per_subject"):
            value = getattr(self, name)
            _expect(isinstance(value, (int, np.integer)) and value >= 1, name, value, "a whole number of at least 1")

    @property
    def private(self) -> bool:
        """Whether a guarantee is promised at all."""
        return math.isfinite(self.epsilon)

    @property
    def sentence(self) -> str:
        """The guarantee in words, as they follow 'learned from recordings'."""
        if not self.private:
            return "with no privacy guarantee"
        return f"under ({self.epsilon:g}, {self.delta:g})-differential privacy for one {self.unit}"

    @property
    def training_steps(self) -> int:
        """Steps that there are, after the release."""
        return self.steps if self.release_share < 1 else 0

    @cached_property
    def noise_multiplier(self) -> float:
        """Standard deviation of the steps' noise over `clip_norm`: the least that, after all of them and the release,
        keeps the promise; 0 where there are no steps."""
        if not self.private or self.training_steps == 0:
            return 0.0
        steps = Mechanism(0.0, self.sampling_probability, self.steps, self._release)
        return accounting.calibrate_steps(steps, self.epsilon, self.delta)

    @cached_property
    def release_noise_multiplier(self) -> float:
        """Standard deviation of the release's noise over its clip norm; 0 where there is none."""
        if not self.private or self.release_share == 0:
            return 0.0
        return accounting.calibrate_release(self.release_share * self.epsilon, self.delta)

    def mechanism(self, steps: int) -> Mechanism:
        """The release and so many steps, in the numbers that an accountant takes."""
        return Mechanism(self.noise_multiplier, self.sampling_probability, steps, self._release)

    def spent(self, steps: int) -> float:
        """Returns the epsilon, at `delta`, that the release and `steps` steps have spent for one unit."""
        return spent_together([(self, steps)], self.delta)

    def epsilons(self, steps: int, windows_per_second: int, most_windows_per_subject: int) -> dict[str, float]:
        """Returns the epsilon spent, at `delta`, for a window, an event (one second of signal) and a subject.

        Under unit 'window' this is group privacy: a second or a subject is a group of windows. Under unit 'subject',
        taking away one window, or the windows over one second, replaces the subject's gradient by another: it removes
        one unit and adds one.

        Args:
            steps: steps really taken.
            windows_per_second: most windows that share one second of signal.
            most_windows_per_subject: most windows that one subject has.

        Returns:
            Upper bounds on epsilon under the keys 'window', 'event' and 'subject'.
        """
        if not self.private:
            return dict.fromkeys(("window", "event", "subject"), math.inf)
        own, mechanism = self.spent(steps), self.mechanism(steps)
        if self.unit == "subject":
            replaced = accounting.replacement_epsilon(mechanism, self.delta, self.epsilon)
            return {"window": replaced, "event": replaced, "subject": own}
        groups = {"window": 1, "event": windows_per_second, "subject": most_windows_per_subject}
        return {
            name: own if size == 1 else accounting.group_epsilon(mechanism, size, self.delta)
            for name, size in groups.items()
        }

    @property
    def _release(self) -> float | None:
        return self.release_noise_multiplier if self.release_share else None


def check_delta(unit: str, delta: float, n_units: int) -> None:
    """Raises ValueError for a delta that would let a mechanism publish one unit whole and keep the promise."""
    _expect(delta * n_units < 1, "delta", delta, f"less than one over the number of units, 1/{n_units} ({unit}s)")


def spent_together(uses: Sequence[tuple[Promise, int]], delta: float) -> float:
    """Adds up what several trainings on the same data have spent for one unit (composition).

    Args:
        uses: one (promise, steps really taken) for each training; the promises were made before any of them began.
        delta: of the epsilon asked for, in (0, 1).

    Returns:
        Epsilon at `delta`, an upper bound; infinite if one of the trainings is not private.

    Raises:
        ValueError: the promises protect different units.
    """
    units = sorted({promise.unit for promise, _ in uses})
    if len(units) > 1:
        raise ValueError(f"units {units}: expected one; what was promised for a window does not add to a subject's")
    if not all(promise.private for promise, _ in uses):
        return math.inf
    mechanisms = Counter(promise.mechanism(steps) for promise, steps in uses)
    # Many trainings together have a large epsilon, and bear coarser distributions.
    coarser = math.sqrt(max(1.0, len(uses) / 16))
    return accounting.composed_epsilon(mechanisms, delta, coarser * max(promise.epsilon for promise, _ in uses))


def read_epsilons(text: str) -> list[float]:
    """Reads budgets from a list such as '0.1,1,10'; an empty one has none.

    Raises:
        ValueError: one is no finite number above 0.
    """
    epsilons = []
    for part in text.split(",") if text.strip() else []:
        try:
            epsilons.append(float(part))
        except ValueError:
            epsilons.append(math.nan)
        _expect(0 < epsilons[-1] < math.inf, "private_epsilons", part.strip(), "finite numbers above 0, as in 0.1,1,10")
    return epsilons


def _expect(holds: bool, name: str, value, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name}={value!r}: expected {expected}")
