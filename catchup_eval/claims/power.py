"""How many seeds would tell? Power of one-sided t tests at an observed spread."""

from collections.abc import Callable, Sequence
from math import ceil, sqrt
from typing import NamedTuple

from scipy import stats

POWER = 0.8
FEWEST, MOST = 3, 1000  # seeds


class Distance(NamedTuple):
    """How far a number is from the threshold it should be told from.

    Args:
        value: positive, in the unit of the spread.
        spread: standard deviation over the seeds, of each method that varies.
    """

    value: float
    spread: tuple[float, ...]


def power(distance: Distance, seeds: int, level: float) -> float:
    """The chance that a one-sided test tells the difference, with so many seeds a method.

    Welch's t test: non-central t with the freedom of Satterthwaite's formula at equal numbers.

    Args:
        level: of the one-sided test.
    """
    variances = [deviation**2 for deviation in distance.spread]
    if not any(variances):
        return 1.0
    freedom = (seeds - 1) * sum(variances) ** 2 / sum(v * v for v in variances)
    shift = distance.value / sqrt(sum(variances) / seeds)
    limit = float(stats.t.ppf(1 - level, freedom))
    if shift > limit + 30:  # where the non-central t loses its digits
        return 1.0
    return float(stats.nct.sf(limit, freedom, shift))


def seeds_for_all(distances: Sequence[Distance], level: float, wanted: float = POWER) -> int | None:
    """Seeds with which all of the differences are told together, with power `wanted` or more.

    What is missed adds up (Bonferroni's inequality), so no correlation is assumed.

    Returns:
        None where even :data:`MOST` are too few.
    """
    if min(distance.value for distance in distances) <= 0:
        return None
    missed = 1 - wanted
    return _fewest(lambda n: sum(1 - power(d, n, level) for d in distances) <= missed)


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """By bisection: power grows with the seeds."""
    low, high = FEWEST, MOST
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def samples_for(distance: Distance, level: float, wanted: float = POWER) -> int:
    """Samples with which a difference of two networks is told (normal)."""
    reach = float(stats.norm.isf(level) + stats.norm.isf(1 - wanted))
    return ceil((reach * distance.spread[0] / distance.value) ** 2)
