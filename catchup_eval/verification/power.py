"""How surely asking some again finds what was altered.

Of `population` outcomes `altered` are not what was measured, and `sampled` are drawn without
replacement and asked again. None of the altered ones is drawn with probability

    C(population - altered, sampled) / C(population, sampled) <= (1 - altered/population)^sampled

so that 299 find a share of 1 % with 95 %: 0.99^299 = 0.0495. The bound needs no population.
"""

from math import ceil, log

from scipy import stats

SHARE, CONFIDENCE = 0.01, 0.95  # what is said of every verification


def needed(share: float = SHARE, confidence: float = CONFIDENCE) -> int:
    """How many find such a share of altered outcomes with this probability, in any report.

    Example:
        >>> needed()
        299
    """
    return ceil(log(1 - confidence) / log(1 - share))


def power(population: int, altered: int, sampled: int) -> float:
    """The probability that at least one altered outcome is drawn.

    Example:
        >>> power(4, 1, 1)
        0.25
    """
    return 1 - float(stats.hypergeom.pmf(0, population, altered, min(sampled, population)))


def findable(population: int, sampled: int, confidence: float = CONFIDENCE) -> int:
    """The fewest altered outcomes that are found with this probability."""
    low, high = 1, population
    while low < high:
        middle = (low + high) // 2
        if power(population, middle, sampled) >= confidence:
            high = middle
        else:
            low = middle + 1
    return low


def statement(population: int, sampled: int) -> str:
    """What was sampled and what it would have found, one sentence."""
    if sampled >= population:
        return f"all {population:,} asked again: any altered one is found"
    altered = ceil(SHARE * population)
    chance = 100 * power(population, altered, sampled)
    fewest = findable(population, sampled)
    return (
        f"{sampled:,} of {population:,} asked again: {100 * SHARE:g} % altered ({altered:,}) would "
        f"be found with {chance:.1f} %; with {100 * CONFIDENCE:g} %, {fewest:,} or more"
    )
