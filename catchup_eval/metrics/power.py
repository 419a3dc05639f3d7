"""Sample sizes: seeds of a one-sided t test, or samples to re-evaluate to find an altered one.

Of tests it is the power at an observed spread. Of samples it is how surely re-evaluating some finds
what was altered: of `population` outcomes `altered` are not what was measured, and `sampled` are
drawn without replacement. None of the altered ones is drawn with probability

    C(population - altered, sampled) / C(population, sampled) <= (1 - altered/population)^sampled

so that 299 find a fraction of 1 % with 95 %: 0.99^299 = 0.0495. The bound needs no population.
"""

from collections.abc import Callable, Sequence
from math import ceil, log, sqrt
from typing import NamedTuple

from scipy import stats

POWER = 0.8
FEWEST, MOST = 3, 1000  # seeds
FRACTION, CONFIDENCE = 0.01, 0.95  # of altered outcomes that every verification states


class EffectSize(NamedTuple):
    """How far a number is from the threshold that a test compares it with."""

    value: float  # positive, in the unit of the spread
    spread: tuple[float, ...]  # standard deviation over the seeds, of each method that varies


def t_test_power(distance: EffectSize, seeds: int, level: float) -> float:
    """The chance that a one-sided test at this level is significant, with so many seeds a method.

    Welch's t test: non-central t with the freedom of Satterthwaite's formula at equal numbers.
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


def seeds_for_all(distances: Sequence[EffectSize], level: float) -> int | None:
    """Seeds with which all of the differences are significant, with :data:`POWER` or more.

    What is missed adds up (Bonferroni's inequality), so no correlation is assumed. None where even
    :data:`MOST` are too few.
    """
    if min(distance.value for distance in distances) <= 0:
        return None

    def enough(seeds: int) -> bool:
        return sum(1 - t_test_power(d, seeds, level) for d in distances) <= 1 - POWER

    return _smallest_count(enough, FEWEST, MOST) if enough(MOST) else None


def _smallest_count(enough: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest count that is enough, by bisection: what is more is enough, too."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def samples_for(distance: EffectSize, level: float) -> int:
    """Samples with which a difference of two networks is significant (normal, :data:`POWER`)."""
    reach = float(stats.norm.isf(level) + stats.norm.isf(1 - POWER))
    return ceil((reach * distance.spread[0] / distance.value) ** 2)


def required_samples() -> int:
    """How many find :data:`FRACTION` of altered outcomes with :data:`CONFIDENCE`, in any report."""
    return ceil(log(1 - CONFIDENCE) / log(1 - FRACTION))


def detection_probability(population: int, altered: int, sampled: int) -> float:
    """The probability that at least one altered outcome is drawn."""
    return 1 - float(stats.hypergeom.pmf(0, population, altered, min(sampled, population)))


def smallest_detectable_count(population: int, sampled: int) -> int:
    """The fewest altered outcomes that are found with probability :data:`CONFIDENCE`."""

    def enough(altered: int) -> bool:
        return detection_probability(population, altered, sampled) >= CONFIDENCE

    return _smallest_count(enough, 1, population)


def statement(population: int, sampled: int) -> str:
    """What was sampled and what it would have found, one sentence."""
    if sampled >= population:
        return f"all {population:,} re-evaluated: any altered one is found"
    altered = ceil(FRACTION * population)
    chance = 100 * detection_probability(population, altered, sampled)
    fewest = smallest_detectable_count(population, sampled)
    return (
        f"{sampled:,} of {population:,} re-evaluated: {100 * FRACTION:g} % altered ({altered:,}) "
        f"would be found with {chance:.1f} %; with {100 * CONFIDENCE:g} %, {fewest:,} or more"
    )
