"""95 % intervals of one number; rates in percent.

A single rate has a Wilson interval; a mean over cells of the same images has a bootstrap over
images, because pooling the cells as if they were independent gives an interval two to three times
too narrow.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtri

from catchup_eval.core.rng import generator

RESAMPLES = 2000  # the 95 % limits then vary by about 3 % of the interval's width
CHUNK = 100_000  # row numbers drawn at once: they stay in the cache
Statistic = Callable[[np.ndarray], np.ndarray]  # (R, n) row numbers -> (R,)


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


NO_INTERVAL = Interval(float("nan"), float("nan"))
Z = float(ndtri(0.975))
ROUNDING = 1e-6  # of the largest value: a spread up to this is float32's, and not a sampled one
FRACTIONS = Interval(0.0, 1.0)  # the range of a fraction


def score_limits(rate: np.ndarray | float, n: np.ndarray | float, z: float = Z) -> np.ndarray:
    """(2, ...) Wilson's score limits of fractions of n samples (Wilson 1927), of 95 %.

    n may be an effective number, and no integer.

    Args:
        z: the normal quantile of another level.
    """
    rate, n = np.asarray(rate, float), np.asarray(n, float)
    square = z**2
    divisor = 2 * (n + square)
    centre = (2 * n * rate + square) / divisor
    reach = z / divisor * np.sqrt(4 * n * rate * (1 - rate) + square)
    low = np.where(rate <= 0, 0.0, centre - reach)
    high = np.where(rate >= 1, 1.0, centre + reach)
    return np.array([low, high])


def paired_limits(
    total: np.ndarray, squares: np.ndarray, n: np.ndarray, z: float = Z
) -> np.ndarray:
    """(2, ...) 95 % limits of means of n paired differences in [-1, 1], few as they may be.

    Bonett and Price's (2012) for two paired rates: the normal limits after one more sample of each
    sign, so that differences of which none was seen are not taken as impossible. Differences of
    means over several outcomes, which are fractions, count as they are.

    Args:
        total, squares: the sums of the differences and of their squares.
        z: the normal quantile of another level.

    Example:
        >>> np.round(paired_limits(np.array(-3), np.array(3), np.array(10)), 2)
        array([-0.59,  0.09])
    """
    size = n + 2
    centre = total / size
    reach = z * np.sqrt(((squares + 2) / size - centre**2) / size)
    return np.array([(centre - reach).clip(-1), (centre + reach).clip(max=1)])


def wilson(hits: int, n: int) -> Interval:
    """Wilson's 95 % score interval of a rate, in percent; NaN for fewer than two samples."""
    low, high = score_limits(hits / n, n) if n > 1 else NO_INTERVAL
    return Interval(100 * float(low), 100 * float(high))


def clopper_pearson(hits: int, n: int) -> Interval:
    """The 95 % interval of a rate, in percent, that inverts the exact binomial test.

    Clopper and Pearson 1934; NaN for fewer than two samples.
    """
    if n < 2:
        return NO_INTERVAL
    low = float(betaincinv(hits, n - hits + 1, 0.025)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 0.975)) if hits < n else 1.0
    return Interval(100 * low, 100 * high)


def at_edge(value: float, n: int, bounds: Interval | None) -> Interval:
    """95 % limits of a number that is the same whichever of its n samples are drawn.

    What has not been seen may still be there: of Wilson's limit z² / (n + z²) of the samples, seen
    in none, the value may be the lowest or the highest possible one. Zeros and ones have the
    interval of their rate.

    Args:
        bounds: the range of the number; where it is not known there is no interval.

    Example:
        >>> [round(limit, 4) for limit in at_edge(0.0, 30, FRACTIONS)]
        [0.0, 0.1135]
    """
    if bounds is None or n < 2:
        return NO_INTERVAL
    unseen = Z**2 / (n + Z**2)
    return Interval(value - unseen * (value - bounds.low), value + unseen * (bounds.high - value))


def bootstrap(
    statistic: Statistic,
    n: int,
    *,
    resamples: int = RESAMPLES,
    bounds: Interval | None = None,
) -> Interval:
    """Percentile bootstrap of a statistic over samples; :func:`at_edge` where all resamples agree.

    Args:
        statistic: takes (R, n) row numbers, R times n drawn with replacement, and gives (R,).
        n: how many samples there are.
        bounds: the range of the statistic, where it has one.
    """
    if n < 2:
        return NO_INTERVAL
    values = np.concatenate([statistic(rows) for rows in _resample(n, resamples)])
    if nearly_equal(values, bounds):
        return at_edge(values[0], n, bounds)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))


def reflected(
    statistic: Statistic,
    n: int,
    value: float,
    *,
    resamples: int = RESAMPLES,
    bounds: Interval = FRACTIONS,
) -> Interval:
    """The basic bootstrap of an error that resampling adds to: reflected about the value.

    It is cut at the bounds and holds the value.
    """
    low, high = bootstrap(statistic, n, resamples=resamples)
    if low != low:
        return at_edge(value, n, bounds)
    cut = (min(max(2 * value - end, bounds.low), bounds.high) for end in (high, low))
    return Interval(min(value, next(cut)), max(value, next(cut)))


def bootstrap_mean(values: np.ndarray, *, bounds: Interval | None = None) -> Interval:
    """Percentile bootstrap of the mean of one value per sample (N,); `at_edge` of equal ones.

    Args:
        bounds: the range of the values, where they have one.
    """
    n = len(values)
    if n < 2 or nearly_equal(values, bounds):
        return at_edge(float(np.mean(values)), n, bounds) if n else NO_INTERVAL
    means = [values.take(rows).mean(axis=1) for rows in _resample(n, RESAMPLES)]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Interval(float(low), float(high))


def _resample(n: int, resamples: int) -> Iterator[np.ndarray]:
    """(R, n) row numbers drawn with replacement, always the same: `resamples` rows in all."""
    rng = generator(0, "bootstrap")
    for rows in chunk_sizes(resamples, max(1, CHUNK // n)):
        yield rng.integers(n, size=(rows, n))


def chunk_sizes(total: int, size: int) -> list[int]:
    """How many of `total` things each chunk of at most `size` holds."""
    return [min(size, total - start) for start in range(0, total, size)]


def t_interval(values: Sequence[float]) -> Interval:
    """Student's 95 % interval of a mean over seeds; NaN for fewer than two, or where they agree."""
    if len(values) < 2 or nearly_equal(values):
        return NO_INTERVAL
    from scipy import stats  # a second's import, only where it is needed

    mean, error = float(np.mean(values)), float(stats.sem(values))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Interval(mean - reach, mean + reach)


def nearly_equal(values: Sequence[float] | np.ndarray, bounds: Interval | None = None) -> bool:
    """Whether values differ by no more than rounding, of their range or of the largest of them."""
    array = np.asarray(values, float)
    size = bounds.high - bounds.low if bounds else float(np.abs(array).max(initial=0))
    return bool(np.ptp(array) <= ROUNDING * size)
