"""What is promised: unit, epsilon, delta; noise, sampling and steps follow from it.

One frozen object, `Promise`, is read by the sampler, the mechanism and the accountant, so that the three cannot
disagree. Nothing here touches data or trains anything: `dpsgd.py` keeps what is promised here.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

import dp_accounting
import numpy as np
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import compute_epsilon
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import binom, norm

UNITS = ("window", "subject")
ORDERS = np.concatenate([1 + np.geomspace(1e-3, 1, 25), np.arange(3, 65)])  # of Renyi's divergence
OUTSIDE_GUARANTEE = (
    "how many windows and subjects there are, and how many windows a subject has, count as public",
    "a window or an event is one of the 1 Hz table, an event left out takes the windows over it along; the table's "
    "resampling and heart rate reach over more of the recording, which only the reading for a subject covers",
    "the settings (steps, sampling, clipping, network) were chosen beforehand on simulated people and on WESAD's S2-S6",
    "the scores and figures of 04-Evaluation and 05-Stress_Detection are computed from the recordings without noise",
    "one generator is covered, the one of everybody, and its windows; each that leaves somebody out is one more use of "
    "the others' data, and so is every other run on the same recordings",
    "Gaussian noise is drawn in floating point (Mironov 2012): the guarantee is that of the real-valued mechanism",
)
SUBJECT_RANGE_OUTSIDE = (
    "scaling='subject' reads each person's own range: under unit='window' it is outside the guarantee"
)


@dataclass(frozen=True)
class Promise:
    """The guarantee of one training run, and the mechanism that follows from it.

    Neighbouring data sets differ by adding or removing one unit: one window, or everything that one subject
    contributed. Each step draws every unit independently with `sampling_probability`, clips its gradient to `clip_norm`
    and adds Gaussian noise of `noise_multiplier * clip_norm` to the sum (Abadi et al. 2016, arXiv 1607.00133).

    Args:
        unit: 'window' or 'subject'.
        epsilon: the budget; infinite means no noise and no guarantee.
        delta: the budget's second part, in (0, 1); well under one over the number of units.
        clip_norm: largest L2 norm of one unit's gradient.
        sampling_probability: probability of each unit to be drawn in a step, in (0, 1].
        steps: number of discriminator steps.

    Raises:
        ValueError: a value is out of its range.
    """

    unit: str = "window"
    epsilon: float = 1.0
    delta: float = 1e-4
    clip_norm: float = 0.3
    sampling_probability: float = 0.5
    steps: int = 2000

    def __post_init__(self):
        _expect(self.unit in UNITS, "unit", self.unit, "'window' or 'subject'")
        _expect(self.epsilon > 0, "epsilon", self.epsilon, "a number above 0, or inf for training without privacy")
        _expect(0 < self.delta < 1, "delta", self.delta, "a number between 0 and 1")
        _expect(0 < self.clip_norm < math.inf, "clip_norm", self.clip_norm, "a finite number above 0")
        _expect(
            0 < self.sampling_probability <= 1,
            "sampling_probability",
            self.sampling_probability,
            "a number above 0 and at most 1",
        )
        _expect(
            isinstance(self.steps, (int, np.integer)) and self.steps >= 1,
            "steps",
            self.steps,
            "a whole number of at least 1",
        )

    @property
    def private(self) -> bool:
        """Whether a guarantee is promised at all."""
        return math.isfinite(self.epsilon)

    @cached_property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise over `clip_norm`: the least that keeps the promise over all the steps."""
        if not self.private:
            return 0.0
        return dp_accounting.calibrate_dp_mechanism(
            self._accountant,
            lambda noise_multiplier: self._event(noise_multiplier, self.steps),
            self.epsilon,
            self.delta,
            bracket_interval=dp_accounting.LowerEndpointAndGuess(0.0, 10.0),
            tol=1e-3,
        )

    def spent(self, steps: int, uses: int = 1) -> float:
        """Returns the epsilon, at `delta`, that `steps` steps have spent for one unit.

        Args:
            steps: steps really taken.
            uses: how many trainings of that length on the same unit are composed.
        """
        if not self.private:
            return math.inf
        event = self._event(self.noise_multiplier, steps * uses)
        return float(self._accountant().compose(event).get_epsilon(self.delta))

    def readings(self, steps: int, windows_per_second: int, windows_per_subject: int) -> dict[str, float]:
        """Reads the epsilon spent, at `delta`, for a window, an event (one second of signal) and a subject.

        Under unit 'window' a second or a subject is a group of windows. Under unit 'subject', taking away one window,
        or the windows over one second, replaces the subject's gradient by another: it removes one unit and adds one.

        Args:
            steps: steps really taken.
            windows_per_second: most windows that share one second of signal.
            windows_per_subject: most windows of one subject.

        Returns:
            Upper bounds on epsilon under the keys 'window', 'event' and 'subject'.
        """
        if not self.private:
            return dict.fromkeys(("window", "event", "subject"), math.inf)
        own = self.spent(steps)
        if self.unit == "window":
            event, subject = (self._group_epsilon(steps, size) for size in (windows_per_second, windows_per_subject))
            return {"window": own, "event": event, "subject": subject}
        replaced = self._replacement_epsilon(steps)
        return {"window": replaced, "event": replaced, "subject": own}

    def _accountant(self) -> PLDAccountant:
        # Coarser for a large budget, which would take minutes; any step gives an upper bound.
        return PLDAccountant(value_discretization_interval=1e-4 * max(1.0, self.epsilon))

    def _event(self, noise_multiplier: float, steps: int) -> dp_accounting.DpEvent:
        """What `steps` steps release, in the accountant's words."""
        if steps == 0:
            return dp_accounting.NoOpDpEvent()
        if noise_multiplier == 0:
            return dp_accounting.NonPrivateDpEvent()
        gaussian = dp_accounting.GaussianDpEvent(noise_multiplier)
        return dp_accounting.SelfComposedDpEvent(
            dp_accounting.PoissonSampledDpEvent(self.sampling_probability, gaussian), steps
        )

    def _group_epsilon(self, steps: int, size: int) -> float:
        """Epsilon at `delta` of adding or removing `size` units: by Renyi divergence, which also bears huge values.

        A step in which j of the k units are drawn moves the sum by at most j clip norms, so that the pair is dominated
        by a Gaussian against a mixture of Gaussians with j ~ Binomial(k, q) (Ganesh 2024, arXiv 2401.10294).
        """
        if size == 1:
            return self.spent(steps)
        drawn = binom.pmf(np.arange(size + 1), size, self.sampling_probability)
        divergence = [steps * mixture_divergence(order, self.noise_multiplier, drawn) for order in ORDERS]
        return float(compute_epsilon(ORDERS, divergence, self.delta)[0])

    def _replacement_epsilon(self, steps: int) -> float:
        """Epsilon at `delta` of replacing one unit: one removal and one addition.

        By the definition twice in a row, P <= e^e (e^e R + delta(e)) + delta(e): delta_2(2 e) <= (1 + e^e) delta(e).
        """
        accountant = self._accountant().compose(self._event(self.noise_multiplier, steps))

        def excess(epsilon: float) -> float:
            return accountant.get_delta(epsilon) * (1 + math.exp(epsilon)) - self.delta

        high = self.epsilon
        while excess(high) > 0:
            high *= 2
            if high > 500:  # the profile falls too slowly, as it does where few steps draw a unit
                return self._revealed_replacement_epsilon(steps)
        root = brentq(excess, 0.0, high, xtol=1e-6) if excess(0.0) > 0 else 0.0
        return 2 * (root + 1e-6)

    def _revealed_replacement_epsilon(self, steps: int) -> float:
        """The same, were it told which steps drew the unit: only in these the sums differ, by at most two clip norms.

        To tell can but raise the Renyi divergence, whose exponential is jointly convex: each step has the mean of its
        two cases, nothing and a Gaussian moved by 2, 2 a (a - 1) / s^2 (van Erven and Harremoes 2014, arXiv 1206.2459).
        """
        not_drawn_or_drawn = [1 - self.sampling_probability, self.sampling_probability]
        exponents = 2 * ORDERS * (ORDERS - 1) / self.noise_multiplier**2
        divergence = [logsumexp([0, exponent], b=not_drawn_or_drawn) for exponent in exponents] / (ORDERS - 1)
        return float(compute_epsilon(ORDERS, steps * divergence, self.delta)[0])


def mixture_divergence(order: float, noise_multiplier: float, probabilities: np.ndarray) -> float:
    """Renyi divergence between N(0, s^2) and the mixture of N(j, s^2) with probabilities p_j, by quadrature.

    Args:
        order: Renyi's alpha, above 1.
        noise_multiplier: s, the standard deviation of every component.
        probabilities: p_0 ... p_k, adding up to 1.

    Returns:
        The larger of the two directions, in nats.
    """
    shifts = np.arange(len(probabilities))
    reach = order * shifts[-1] + 12 * noise_multiplier  # the integrands' mass lies within
    x = np.linspace(-reach, reach, 4001)[:, None]
    log_ratio = logsumexp((2 * x - shifts) * shifts / (2 * noise_multiplier**2), b=probabilities, axis=1)
    log_normal = norm.logpdf(x[:, 0], scale=noise_multiplier) + math.log(x[1, 0] - x[0, 0])
    directions = [logsumexp(log_normal + power * log_ratio) for power in (order, 1 - order)]
    return max(0.0, *directions) / (order - 1)


def statement(
    promise: Promise,
    steps: int,
    *,
    seeded: bool,
    uses: int,
    scaling: str,
    windows_per_second: int,
    windows_per_subject: int,
) -> dict:
    """Says what was promised and what was spent.

    Args:
        promise: what was promised.
        steps: steps really taken by the discriminator.
        seeded: whether the noise came from a seed, which protects nobody.
        uses: how many generators of this run saw one and the same unit, at most.
        scaling: 'subject' or 'public', as in `windows.py`.
        windows_per_second: most windows that share one second of signal.
        windows_per_subject: most windows of one subject.

    Returns:
        The record `privacy` of metrics.json.
    """
    private = promise.private and not seeded
    outside = list(OUTSIDE_GUARANTEE)
    if scaling == "subject" and promise.unit == "window":
        outside.append(SUBJECT_RANGE_OUTSIDE)
    return {
        "private": private,
        "unit": promise.unit,
        "neighbours": f"data sets that differ by adding or removing one {promise.unit}",
        "epsilon": promise.epsilon,
        "delta": promise.delta,
        "noise_multiplier": promise.noise_multiplier,
        "clip_norm": promise.clip_norm,
        "sampling_probability": promise.sampling_probability,
        "steps": steps,
        "accountant": f"PLD, dp-accounting {version('dp-accounting')}",
        "noise_source": "seeded" if seeded else "operating system's entropy, no seed recorded",
        "spent": promise.readings(steps, windows_per_second, windows_per_subject),
        "spent_all_generators": promise.spent(steps, uses),
        "outside_guarantee": outside,
    }


def _expect(holds: bool, name: str, value, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name}={value!r}: expected {expected}")
