"""How a wristband's signals are disturbed as it is worn: numbers estimated from public people, for the simulation.

They are twelve of the 24 people of Stress-Predict (every second one), who published their recordings (Iqbal et al.
2022, doi 10.3390/s22218135, MIT licence). `python -m benchmarks.simulation` estimates `ESTIMATED` and writes it here.
"""

from typing import NamedTuple

# What is disturbed, in one second: shaking (g), turns of the wrist (g), amplitude of the BVP (a.u.), jumps of the skin
# conductance (share of its level).
DISTURBANCES = ("movement", "turning", "pulse", "conductance")
TIME_CONSTANTS = (2, 16, 128)  # s, of their hidden course
NORMAL_QUANTILES = (-3, -2, -1.3, -0.6, 0, 0.6, 1.3, 2, 3, 3.6)  # of it, at which its effect is given


class Wear(NamedTuple):
    """Numbers of a cohort. Ends of ranges are those of even distributions with the people's mean and variance.

    Args:
        medians: ends between which people differ in each disturbance's median.
        spreads: the same of the factor by which logarithms lie farther from it.
        quantiles: logarithm of each disturbance over its median at NORMAL_QUANTILES of the hidden course.
        covariances: of the disturbances' hidden courses, a matrix a time constant.
        unsteadiness: how much the hidden course's fast parts grow and shrink from minute to minute (SD of a logarithm).
            Capped at 1.1, which turning and pulse come to: spreads within their minutes differ by .34 and .37 between
            minutes (SD of the logarithm), where public people's differ by .45 and .46.
        gravity: mean direction of gravity of people who sit, and
        gravity_sd: how people differ in it, g.
        turns: covariance of the changes of direction, of trace 1.
        reach: how far hands rest from where they rest on average, g.
        excursions: share of movements (of their variance) from which hands come back at once; capped at 0.9.
        skin_conductance: ends of its level, microsiemens.
        thermal_lability: ends of the factor by which people's skin temperature moves more than another's.
    """

    medians: tuple[tuple[float, float], ...]
    spreads: tuple[tuple[float, float], ...]
    quantiles: tuple[tuple[float, ...], ...]
    covariances: tuple[tuple[tuple[float, ...], ...], ...]
    unsteadiness: tuple[float, ...]
    gravity: tuple[float, ...]
    gravity_sd: tuple[float, ...]
    turns: tuple[tuple[float, ...], ...]
    reach: float
    excursions: float
    skin_conductance: tuple[float, float]
    thermal_lability: tuple[float, float]

    @property
    def skewed_traits(self) -> dict[str, tuple[float, float]]:
        """What people differ in, by factors: name -> the two ends."""
        traits = {"skin_conductance": self.skin_conductance, "thermal_lability": self.thermal_lability}
        traits |= dict(zip(DISTURBANCES, self.medians))
        return traits | {f"{name}_spread": ends for name, ends in zip(DISTURBANCES, self.spreads)}


# What follows is written by the command.
ESTIMATED = Wear(
    medians=(
        (0.00342, 0.01067),
        (0.003285, 0.1122),
        (8.409, 47.5),
        (0.0005912, 0.01098),
    ),
    spreads=(
        (0.6788, 1.473),
        (0.9176, 1.09),
        (0.4482, 2.231),
        (0.6616, 1.511),
    ),
    quantiles=(
        (-2.06, -2.06, -1.461, -0.7218, 0.0, 0.8061, 1.922, 2.851, 3.304, 4.186),
        (-2.287, -1.765, -1.605, -1.073, 0.0, 1.294, 3.289, 4.211, 4.977, 5.278),
        (-1.743, -1.198, -0.9333, -0.4821, 0.0, 0.5997, 1.077, 1.077, 1.077, 2.057),
        (-2.558, -2.427, -1.151, -0.4945, 0.0, 1.004, 2.184, 2.815, 4.667, 7.293),
    ),
    covariances=(
        (
            (0.4027, 0.2399, 0.3655, 0.06753),
            (0.2399, 0.1477, 0.2093, 0.008056),
            (0.3655, 0.2093, 0.4982, 0.155),
            (0.06753, 0.008056, 0.155, 0.3092),
        ),
        (
            (0.3275, 0.4282, 0.2052, 0.2661),
            (0.4282, 0.8205, 0.2442, 0.4009),
            (0.2052, 0.2442, 0.1669, 0.1646),
            (0.2661, 0.4009, 0.1646, 0.2284),
        ),
        (
            (0.2698, 0.08059, 0.1242, 0.07935),
            (0.08059, 0.03182, 0.079, 0.05661),
            (0.1242, 0.079, 0.335, 0.1737),
            (0.07935, 0.05661, 0.1737, 0.4624),
        ),
    ),
    unsteadiness=(0.5465, 1.1, 1.097, 0.5254),
    gravity=(-0.5175, -0.07035, 0.6112),
    gravity_sd=(0.1532, 0.1232, 0.1632),
    turns=(
        (0.3547, -0.04905, 0.1201),
        (-0.04905, 0.2425, 0.06102),
        (0.1201, 0.06102, 0.4028),
    ),
    reach=0.8594,
    excursions=0.9,
    skin_conductance=(0.1154, 3.28),
    thermal_lability=(0.4992, 4.83),
)
