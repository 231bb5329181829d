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
        gravity: mean direction of gravity of people who sit, and
        gravity_sd: how people differ in it, g.
        turns: covariance of the changes of direction, of trace 1.
        reach: how far hands rest from where they rest on average, g.
        excursions: share of movements (of their variance) from which hands come back at once.
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
        (0.002517, 0.01307),
        (0.004663, 0.1486),
        (10.07, 46.75),
        (0.000653, 0.01214),
    ),
    spreads=(
        (0.724, 1.381),
        (0.9156, 1.092),
        (0.4377, 2.285),
        (0.7163, 1.396),
    ),
    quantiles=(
        (-1.759, -1.759, -1.495, -0.6557, 0.0, 0.7586, 1.838, 2.769, 3.246, 4.182),
        (-2.495, -1.722, -1.439, -0.8755, 0.0, 1.172, 2.977, 4.079, 4.874, 4.953),
        (-1.81, -1.321, -1.032, -0.5922, 0.0, 0.7224, 1.16, 1.16, 1.391, 2.133),
        (-2.578, -2.438, -1.238, -0.5311, 0.0, 0.9501, 2.031, 2.539, 4.781, 6.43),
    ),
    covariances=(
        (
            (0.4504, 0.3363, 0.3849, 0.03798),
            (0.3363, 0.2695, 0.2605, -0.04225),
            (0.3849, 0.2605, 0.3749, 0.1468),
            (0.03798, -0.04225, 0.1468, 0.2982),
        ),
        (
            (0.3375, 0.3678, 0.2491, 0.2863),
            (0.3678, 0.6793, 0.2464, 0.4101),
            (0.2491, 0.2464, 0.5217, 0.1977),
            (0.2863, 0.4101, 0.1977, 0.2787),
        ),
        (
            (0.2121, 0.08272, 0.06364, 0.06217),
            (0.08272, 0.0512, 0.05653, 0.06337),
            (0.06364, 0.05653, 0.1034, 0.1811),
            (0.06217, 0.06337, 0.1811, 0.4231),
        ),
    ),
    unsteadiness=(0.5441, 1.1, 1.1, 0.6653),
    gravity=(-0.5175, -0.07035, 0.6112),
    gravity_sd=(0.1532, 0.1232, 0.1632),
    turns=(
        (0.3547, -0.04905, 0.1201),
        (-0.04905, 0.2425, 0.06102),
        (0.1201, 0.06102, 0.4028),
    ),
    reach=1.193,
    excursions=0.8077,
    skin_conductance=(0.1154, 3.28),
    thermal_lability=(0.4673, 4.521),
)
