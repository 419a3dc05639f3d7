"""Intervals and tests: how sure are we?

Rates in percent. A single rate has a Wilson interval; a mean over cells of the same images has a
bootstrap over images, because pooling the cells as if they were independent gives an interval two
to three times too narrow.

Two rules hold throughout. An interval and the p value beside it are of one test: the interval holds
the differences that the test does not reject at 5 %, so it lacks 0 exactly where p < .05. And where
the data say nothing of their own spread there is no interval, that is NaN: one sample; seeds that
agree; equal samples, unless their range is known (:func:`at_edge`).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from math import ceil, comb, copysign, inf, nan, sqrt
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import betaincinv, ndtri

from catchup_eval.randomness import generator

RESAMPLES = 2000  # the 95 % limits then vary by about 3 % of the interval's width
FLIPS = 10_000
EXACT = 13  # values up to which all patterns of signs are fewer than FLIPS
LEVEL = 0.05  # of the test that an interval inverts
Z = float(ndtri(0.975))
ROUNDING = 1e-6  # of the largest value: a spread up to this is float32's, and not a sampled one

SMALLEST = 1e-70  # whose fourth power is not 0


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """A difference to a reference, its 95 % interval and the two-sided p of "no difference"."""

    value: float
    low: float
    high: float
    p: float


NO_INTERVAL = Interval(nan, nan)
SHARES = Interval(0.0, 1.0)  # the range of a share


def score_limits(rate: np.ndarray | float, n: np.ndarray | float) -> np.ndarray:
    """(2, ...) Wilson's 95 % score limits of shares of n samples, 0 to 1 (Wilson 1927).

    n may be an effective number, and no integer.
    """
    rate, n = np.asarray(rate, float), np.asarray(n, float)
    square = Z**2
    divisor = 2 * (n + square)
    centre = (2 * n * rate + square) / divisor
    reach = Z / divisor * np.sqrt(4 * n * rate * (1 - rate) + square)
    low = np.where(rate <= 0, 0.0, centre - reach)
    high = np.where(rate >= 1, 1.0, centre + reach)
    return np.array([low, high])


def wilson(hits: int, n: int) -> Interval:
    """Wilson's 95 % score interval of a rate, in percent; NaN for fewer than two samples.

    Example:
        >>> low, high = wilson(50, 100)
        >>> round(low, 1), round(high, 1)
        (40.4, 59.6)
    """
    low, high = score_limits(hits / n, n) if n > 1 else NO_INTERVAL
    return Interval(100 * float(low), 100 * float(high))


def clopper_pearson(hits: int, n: int) -> Interval:
    """The 95 % interval of a rate, in percent, that inverts the exact binomial test.

    Clopper and Pearson 1934; NaN for fewer than two samples.

    Example:
        >>> low, high = clopper_pearson(0, 30)
        >>> low, round(high, 2)
        (0.0, 11.57)
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
        >>> [round(limit, 4) for limit in at_edge(0.0, 30, SHARES)]
        [0.0, 0.1135]
    """
    if bounds is None or n < 2:
        return NO_INTERVAL
    unseen = Z**2 / (n + Z**2)
    return Interval(
        value - unseen * (value - bounds.low),
        value + unseen * (bounds.high - value),
    )


def edge_tails(value: float, n: int, bounds: Interval, threshold: float) -> tuple[float, float]:
    """One-sided p of "at most" and "at least the threshold" by the test that `at_edge` inverts."""
    distance = value - threshold
    room = value - bounds.low if distance > 0 else bounds.high - value
    if not distance:
        return 1.0, 1.0
    share = min(1.0, abs(distance) / room) if room > 0 else 1.0
    tail = float(stats.norm.sf(sqrt(n * share / (1 - share)))) if share < 1 else 0.0
    return (tail, 1.0) if distance > 0 else (1.0, tail)


def effective_size(value: float, variance: float, n: int, m: int) -> float:
    """How many samples a share `value` of this variance is as good as, for `score_limits`.

    Near 0 and 1 a few samples decide the variance, so that it is as often far too small. It is
    therefore never taken as less than Hanley and McNeil's (1982) of an area under the ROC curve of
    n and m scores, at the middle of Wilson's interval of the smaller side; without any variance
    only the samples of that side count, the fewest that a share may be worth.
    """
    if variance <= 0 or not 0 < value < 1:
        return min(n, m)
    middle = float(score_limits(value, min(n, m)).mean())
    pairs = ((n + m) / 2 - 1) * ((1 - middle) / (2 - middle) + middle / (1 + middle))
    most = n * m / (1 + pairs)
    return min(value * (1 - value) / variance, most)


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    n: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    bounds: Interval | None = None,
) -> Interval:
    """Percentile bootstrap of a statistic over samples; :func:`at_edge` where all resamples agree.

    Args:
        statistic: takes (n,) row numbers drawn with replacement, gives the number.
        n: how many samples there are.
        bounds: the range of the statistic, where it has one.
    """
    if n < 2:
        return NO_INTERVAL
    draw = generator(seed, "bootstrap")
    values = [statistic(draw.integers(n, size=n)) for _ in range(resamples)]
    if alike(values, bounds):
        return at_edge(values[0], n, bounds)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))


def reflected(
    statistic: Callable[[np.ndarray], float],
    n: int,
    value: float,
    *,
    resamples: int = RESAMPLES,
    bounds: Interval = SHARES,
) -> Interval:
    """The basic bootstrap of an error that resampling adds to: reflected about the value.

    It is cut at the lower bound and holds the value.
    """
    low, high = bootstrap(statistic, n, resamples=resamples)
    if low != low:
        return at_edge(value, n, bounds)
    return Interval(min(value, max(bounds.low, 2 * value - high)), max(value, 2 * value - low))


def bootstrap_mean(
    values: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    bounds: Interval | None = None,
) -> Interval:
    """Percentile bootstrap of the mean of one value per sample (N,); `at_edge` of equal ones.

    Args:
        bounds: the range of the values, where they have one.
    """
    n = len(values)
    if n < 2 or alike(values, bounds):
        return at_edge(float(np.mean(values)), n, bounds) if n else NO_INTERVAL
    draw = generator(seed, "bootstrap")
    means = np.concatenate(
        [
            values[draw.integers(n, size=(rows, n))].mean(axis=1)
            for rows in _chunks(resamples, max(1, 2_000_000 // n))
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(low), float(high))


def alike(values: Sequence[float] | np.ndarray, bounds: Interval | None = None) -> bool:
    """Whether values differ by no more than rounding, of their range or of the largest of them."""
    array = np.asarray(values, float)
    size = bounds.high - bounds.low if bounds else float(np.abs(array).max(initial=0))
    return bool(np.ptp(array) <= ROUNDING * size)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def paired(
    outcome: Sequence[np.ndarray], reference: Sequence[np.ndarray], *, bound: float = 1.0
) -> Difference:
    """The difference of two means over the same samples, in the unit of the outcomes.

    Each argument is a list of arrays (one stratum each) whose means are all the number of
    interest: a rate has one array (N,) of outcomes; an AUROC has two, the placement values of the
    out-samples and of the in-samples, and the test is then DeLong's (DeLong et al. 1988).

    One stratum of zeros and ones: :func:`mcnemar`. One stratum of other values:
    :class:`SignFlips`. Two strata: normal; p is never below that of exchanging the two networks on
    each sample of the smaller stratum, 2 of 2^n, so that 5 samples have no interval; without any
    spread the difference stands :func:`at_edge` of -1 to 1.

    Args:
        bound: the largest possible outcome of two strata.
    """
    gaps = [
        np.asarray(a, float) - np.asarray(b, float) for a, b in zip(outcome, reference, strict=True)
    ]
    if len(gaps) > 1:
        return _delong(gaps, bound)
    (gap,) = gaps
    if np.isin([*outcome, *reference], (0, 1)).all():
        return mcnemar(int((gap > 0).sum()), int((gap < 0).sum()), len(gap))
    flips = SignFlips(gap)
    return Difference(float(gap.mean()), *flips.interval, flips.p)


def _delong(gaps: Sequence[np.ndarray], bound: float) -> Difference:
    value, n = float(gaps[0].mean()), min(map(len, gaps))
    least = exchanged_pairs(n)
    if least >= LEVEL:
        error = standard_error(gaps)
        p = max(least, _normal(value, error)) if value else 1.0
        return Difference(value, *NO_INTERVAL, p)
    if all(alike(gap, Interval(-bound, bound)) for gap in gaps):
        bounds = Interval(-bound, bound)
        p = min(1.0, 2 * min(edge_tails(value, n, bounds, 0.0)))
        return Difference(value, *at_edge(value, n, bounds), max(p, least))
    error = standard_error(gaps)
    reach = Z * error
    return Difference(value, value - reach, value + reach, max(least, _normal(value, error)))


def exchanged_pairs(n: int) -> float:
    """The smallest two-sided p of exchanging two networks on each of n samples: 2 of 2^n."""
    return min(1.0, 2.0 ** (1 - n))


def standard_error(strata: Sequence[np.ndarray]) -> float:
    """Of a number that each stratum has as its mean: the strata's errors, added as squares."""
    return float(np.sqrt(sum(_squared_error(stratum) for stratum in strata)))


def _squared_error(gap: np.ndarray) -> float:
    return float(gap.var(ddof=1)) / len(gap) if len(gap) > 1 else inf


def _normal(value: float, error: float) -> float:
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stats.norm.sf(abs(value) / error))


def mcnemar(wins: int, losses: int, n: int) -> Difference:
    """Two rates over the same n samples, of which only ours and only theirs are right on some.

    p is McNemar's exact one. The interval holds the differences that are not rejected at 5 %: 0 by
    that very test, all others by Tango's score test (:func:`tango`).

    Example:
        >>> value, low, high, p = mcnemar(9, 2, 200)
        >>> round(100 * low, 1), round(100 * high, 1), round(p, 3)
        (0.0, 7.5, 0.065)
    """
    p = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    value = (wins - losses) / n
    if n < 2:
        return Difference(value, *NO_INTERVAL, p)
    low, high = _tango_limit(wins, losses, n, Z), _tango_limit(wins, losses, n, -Z)
    if p >= LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(value, low, high, p)


def _tango_limit(wins: int, losses: int, n: int, z: float) -> float:
    """The difference at which Tango's statistic, which falls with it, is z."""
    value = (wins - losses) / n
    if abs(value) == 1 and value * z < 0:
        return value
    other = -copysign(1.0, z)

    def distance(difference: float) -> float:
        return min(1e3, max(-1e3, tango(wins, losses, n, difference))) - z

    return float(brentq(distance, *sorted((value, other)), xtol=1e-14))


def tango(wins: int, losses: int, n: int, difference: float) -> float:
    """Tango's score statistic of two paired rates against a difference of rates (-1 to 1).

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", equation 6: the distance in standard errors, where the chance of a loss
    is the likeliest one under the difference. At 0 it is McNemar's.

    Example:
        >>> round(tango(10, 3, 50, 0.0), 4)  # (10 - 3) / sqrt(10 + 3)
        1.9415
    """
    a = 2 * n
    b = -wins - losses + (2 * n - wins + losses) * difference
    c = -losses * difference * (1 - difference)
    loss = (sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * loss + difference * (1 - difference))
    distance = wins - losses - n * difference
    if variance <= 0:
        return copysign(inf, distance) if distance else 0.0
    return distance / sqrt(variance)


class SignFlips:
    """The mean of one value a sample, tested by flipping signs around a threshold.

    Up to 13 values that are not 0 in all patterns of signs, more in 10,000 random ones. A sum of
    flipped values is as extreme as the real one exactly where the threshold is beyond the mean of
    the flipped ones: these means are therefore all that any threshold needs (Hartigan 1969), and
    their quantiles bound the interval. Where fewer than 6 values leave it open there is none.

    Args:
        values: (N,) differences of two networks, or values of one.
    """

    def __init__(self, values: np.ndarray):
        self._values = np.asarray(values, float)
        moved = self._values[self._values != 0]
        draw = generator(0, "sign flips")
        self._exact = len(moved) <= EXACT
        patterns = _all_signs(len(moved)) if self._exact else _random_signs(draw, len(moved))
        sums = [(signs @ moved, signs.sum(axis=1, dtype=np.int64)) for signs in patterns]
        self._sums, self._signs = (np.concatenate(column) for column in zip(*sums, strict=True))
        still = len(self._values) - len(moved)
        if still:  # the zeros count where the threshold is another
            times = ceil(FLIPS / len(self._sums))
            self._sums, self._signs = np.tile(self._sums, times), np.tile(self._signs, times)
            self._signs = self._signs + 2 * draw.binomial(still, 0.5, len(self._sums)) - still

    @property
    def p(self) -> float:
        """Two-sided, of a mean of 0."""
        observed = abs(self._total)
        return self._share(float((np.abs(self._sums) >= observed * (1 - 1e-12)).sum()), 1.0)

    def tails(self, threshold: float) -> tuple[float, float]:
        """One-sided p of a mean of at most, and of at least, the threshold.

        Each pattern counts with its opposite, so that the smaller one is half the two-sided p.
        """
        sums = self._sums - self._signs * threshold
        observed = self._total - len(self._values) * threshold
        slack = 1e-12 * float(np.abs(self._values - threshold).sum())
        above, below = (
            self._share(float((sums >= limit).sum() + (sums <= -limit).sum()) / 2, 0.5)
            for limit in (observed - slack, -observed - slack)
        )
        return above, below

    @cached_property
    def interval(self) -> Interval:
        """95 %: the means that the two-sided test does not reject; none of values that agree."""
        n = len(self._values)
        if n < 2 or alike(self._values):
            return NO_INTERVAL
        with np.errstate(divide="ignore", invalid="ignore"):
            flipped = (self._total - self._sums) / (n - self._signs)
            others = (self._total + self._sums) / (n + self._signs)
        whole = np.abs(self._signs) == n
        extreme = np.abs(self._sums) >= abs(self._total) * (1 - 1e-12)
        low = np.where(whole, -inf, np.minimum(flipped, others))
        high = np.where(whole, inf, np.maximum(flipped, others))
        low, high = (  # as the test has it where rounding would have it otherwise
            np.where(extreme, np.minimum(low, 0), low),
            np.where(extreme, np.maximum(high, 0), high),
        )
        count = ceil(LEVEL * len(low)) if self._exact else ceil(LEVEL * (len(low) + 1) - 1)
        limits = Interval(float(np.sort(low)[count - 1]), float(np.sort(high)[-count]))
        return limits if np.isfinite(limits).all() else NO_INTERVAL

    @cached_property
    def _total(self) -> float:
        return float(self._values[self._values != 0].sum())

    def _share(self, count: float, own: float) -> float:
        """Of all patterns; the real signs, which count `own`, are one of the random ones."""
        if self._exact:
            return count / len(self._sums)
        return min(1.0, (count + own) / (len(self._sums) + 1))


def _all_signs(n: int) -> list[np.ndarray]:
    return [1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)]


def _random_signs(draw: np.random.Generator, n: int) -> Iterator[np.ndarray]:
    for rows in _chunks(FLIPS, max(1, 4_000_000 // n)):
        yield draw.integers(0, 2, size=(rows, n), dtype=np.int8) * 2 - 1


class Welch(NamedTuple):
    """What two methods' seeds say of their difference.

    Args:
        error: standard error of the value; 0 where neither method's seeds have any spread.
        freedom: degrees of freedom; NaN where there is no error.
        deviations: of the seeds of each.
        least: the two-sided p of exchanging seeds: 2 of all the ways to deal them out.
        rounding: what a difference without error must be beyond, to be one.
    """

    value: float
    error: float
    freedom: float
    deviations: tuple[float, float]
    least: float
    rounding: float


def welch(values: Sequence[float], reference: Sequence[float]) -> Welch:
    """Two methods over their seeds, 2 or more each (Welch 1947).

    Seeds that agree up to a millionth of the largest value agree: what is left of them is rounding,
    which says nothing of another seed, and t has no spread to go by.
    """
    a, b = np.asarray(values, float), np.asarray(reference, float)
    least = min(1.0, 2 / comb(len(a) + len(b), len(a)))
    rounding, spread = ROUNDING * float(np.abs([*a, *b]).max()), max(np.ptp(a), np.ptp(b))
    if spread <= max(rounding, SMALLEST):
        value = float(a.mean() - b.mean()) if spread else float(a[0] - b[0])
        return Welch(value, 0.0, nan, (0.0, 0.0), least, rounding)
    first, second = (float(x.std(ddof=1)) if np.ptp(x) else 0.0 for x in (a, b))
    squared = np.array([float(x.var(ddof=1)) / len(x) if np.ptp(x) else 0.0 for x in (a, b)])
    error = float(np.sqrt(squared.sum()))
    freedom = error**4 / float((squared**2 / [len(a) - 1, len(b) - 1]).sum())
    value = float(a.mean() - b.mean())
    return Welch(value, error, freedom, (first, second), least, rounding)


def between_seeds(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """The difference of two methods over their seeds: Welch's t test, 2 or more seeds each.

    Where the seeds of each method agree but for rounding there is no interval, and p is that of
    exchanging seeds: 2 of all the ways to deal them out, or 1 if the methods agree, too.
    """
    value, error, freedom, _, least, rounding = welch(values, reference)
    if error == 0:
        return Difference(value, *NO_INTERVAL, least if abs(value) > rounding else 1.0)
    reach = float(stats.t.ppf(0.975, freedom)) * error
    p = float(2 * stats.t.sf(abs(value) / error, freedom))
    return Difference(value, value - reach, value + reach, p)


def over_seeds(values: Sequence[float]) -> Interval:
    """Student's 95 % interval of a mean over seeds; NaN for fewer than two, or where they agree."""
    if len(values) < 2 or alike(values):
        return NO_INTERVAL
    mean, error = float(np.mean(values)), float(stats.sem(values))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Interval(mean - reach, mean + reach)


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p values (Holm 1979); NaN stays NaN and does not count.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p, float)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return adjusted
