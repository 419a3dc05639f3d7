"""Tests of a number or a difference, against 0 or another threshold, with their intervals.

An interval and the p value beside it are of one test: the interval holds the differences that the
test does not reject at 5 %, so it lacks 0 exactly where p < .05. Where the data do not determine
their own spread there is no interval, that is NaN: one sample; seeds that agree; equal samples,
unless their range is known (:func:`at_edge`).

One-sided tests move the null to the threshold, in the unit of the values: a small `above` means
that the difference is larger than it, a small `below` that it is smaller.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, comb, copysign, inf, nan, sqrt
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from catchup_eval.core.rng import generator
from catchup_eval.metrics.intervals import (
    NO_INTERVAL,
    ROUNDING,
    Interval,
    Z,
    at_edge,
    chunk_sizes,
    clopper_pearson,
    nearly_equal,
    score_limits,
)

FLIPS = 10_000
EXACT = 13  # values up to which all patterns of signs are fewer than FLIPS
LEVEL = 0.05  # of the test that an interval inverts
SMALLEST = 1e-70  # whose fourth power is not 0


class Difference(NamedTuple):
    """A difference to a reference, its 95 % interval and the two-sided p of "no difference"."""

    value: float
    low: float
    high: float
    p: float


class OneSidedPValues(NamedTuple):
    """One-sided p values: of "at most the threshold", and of "at least the threshold"."""

    above: float
    below: float


@dataclass(frozen=True)
class Contrast:
    """A difference (or a single number) that can be tested against thresholds."""

    value: float
    interval: Interval  # 95 %: the thresholds that the test does not reject
    spread: tuple[float, ...]  # standard deviations of the units, of each side that varies
    name: str  # of the test
    one_sided_p_values: Callable[[float], OneSidedPValues]  # at a threshold
    elsewhere: str = ""  # the test's name at thresholds other than 0, where that is another test

    def test_name(self, threshold: float) -> str:
        """The test's name at this threshold."""
        return self.elsewhere or self.name if threshold else self.name

    @property
    def difference(self) -> Difference:
        """The same with the two-sided p of "no difference"."""
        p = min(1.0, 2 * min(self.one_sided_p_values(0.0)))
        return Difference(self.value, *self.interval, p)


def edge_tails(value: float, n: int, bounds: Interval, threshold: float) -> tuple[float, float]:
    """One-sided p of "at most" and "at least the threshold": the test that `at_edge` inverts."""
    distance = value - threshold
    room = value - bounds.low if distance > 0 else bounds.high - value
    if not distance:
        return 1.0, 1.0
    fraction = min(1.0, abs(distance) / room) if room > 0 else 1.0
    tail = float(stats.norm.sf(sqrt(n * fraction / (1 - fraction)))) if fraction < 1 else 0.0
    return (tail, 1.0) if distance > 0 else (1.0, tail)


def effective_size(value: float, variance: float, n: int, m: int) -> float:
    """How many samples a fraction `value` of this variance is worth, for `score_limits`.

    Near 0 and 1 a few samples decide the variance, so that it is as often far too small. It is
    therefore never taken as less than Hanley and McNeil's (1982) of an area under the ROC curve of
    n and m scores, at the middle of Wilson's interval of the smaller side; without any variance
    only the samples of that side count, the fewest that a fraction may be worth.
    """
    if variance <= 0 or not 0 < value < 1:
        return min(n, m)
    middle = float(score_limits(value, min(n, m)).mean())
    pairs = ((n + m) / 2 - 1) * ((1 - middle) / (2 - middle) + middle / (1 + middle))
    most = n * m / (1 + pairs)
    return min(value * (1 - value) / variance, most)


def paired_test(
    outcome: Sequence[np.ndarray], reference: Sequence[np.ndarray], *, bound: float = 1.0
) -> Difference:
    """The difference of two means over the same samples, in the unit of the outcomes.

    Each argument is a list of arrays (one stratum each) whose means are all the number of
    interest: a rate has one array (N,) of outcomes; an AUROC has two, the placement values of the
    OOD and of the ID samples, and the test is then DeLong's (DeLong et al. 1988).

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
        return _delong(gaps, bound).difference
    (gap,) = gaps
    if np.isin([*outcome, *reference], (0, 1)).all():
        return mcnemar(int((gap > 0).sum()), int((gap < 0).sum()), len(gap))
    flips = SignFlips(gap)
    return Difference(float(gap.mean()), *flips.interval, flips.p)


def _delong(gaps: Sequence[np.ndarray], bound: float) -> Contrast:
    """Two AUROC: the differences of placement values, whose errors add up as squares."""
    value, n = float(gaps[0].mean()), min(map(len, gaps))
    # Half the smallest two-sided p of exchanging two networks on each of n samples, 2 of 2^n.
    floor, bounds = min(1.0, 2.0 ** (1 - n)) / 2, Interval(-bound, bound)
    if floor < LEVEL / 2 and all(nearly_equal(gap, bounds) for gap in gaps):

        def tails(threshold: float) -> OneSidedPValues:
            edge = edge_tails(value, n, bounds, threshold)
            return OneSidedPValues(*(max(floor, tail) for tail in edge))

        name = "Score test over samples, without spread"
        return Contrast(value, at_edge(value, n, bounds), (0.0,), name, tails)
    error = _standard_error(gaps)
    spread = (error * sqrt(sum(map(len, gaps))),)
    return _t_test(value, error, inf, spread, "DeLong's test over samples", floor, floor=floor)


def _standard_error(strata: Sequence[np.ndarray]) -> float:
    """Of a number that each stratum has as its mean: the strata's errors, added as squares."""
    squares = (float(s.var(ddof=1)) / len(s) if len(s) > 1 else inf for s in strata)
    return float(np.sqrt(sum(squares)))


def mcnemar(wins: int, losses: int, n: int) -> Difference:
    """Two rates over the same n samples, of which only ours and only theirs are correct on some.

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
    """The mean of values (N,), one a sample, tested by flipping signs around a threshold.

    Up to 13 values that are not 0 in all patterns of signs, more in 10,000 random ones. A sum of
    flipped values is as extreme as the real one exactly where the threshold is beyond the mean of
    the flipped ones: these means are therefore all that any threshold needs (Hartigan 1969), and
    their quantiles bound the interval. Where fewer than 6 values leave it open there is none.
    """

    def __init__(self, values: np.ndarray):
        self._values = np.asarray(values, float)
        nonzero = self._values[self._values != 0]
        self._total = float(nonzero.sum())
        rng, n = generator(0, "sign flips"), len(nonzero)
        self._exact = n <= EXACT
        patterns = (
            [1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)]
            if self._exact
            else _random_signs(rng, n)
        )
        sums = [(signs @ nonzero, signs.sum(axis=1, dtype=np.int64)) for signs in patterns]
        self._sums, self._signs = (np.concatenate(column) for column in zip(*sums, strict=True))
        zeros = len(self._values) - n
        if zeros:  # they count where the threshold is not 0
            times = ceil(FLIPS / len(self._sums))
            self._sums, self._signs = np.tile(self._sums, times), np.tile(self._signs, times)
            self._signs = self._signs + 2 * rng.binomial(zeros, 0.5, len(self._sums)) - zeros

    @property
    def p(self) -> float:
        """Two-sided, of a mean of 0."""
        observed = abs(self._total)
        return self._fraction(float((np.abs(self._sums) >= observed * (1 - 1e-12)).sum()), 1.0)

    def one_sided_p_values(self, threshold: float) -> OneSidedPValues:
        """One-sided p of a mean of at most, and of at least, the threshold.

        Each pattern counts with its opposite, so that the smaller one is half the two-sided p.
        """
        sums = self._sums - self._signs * threshold
        observed = self._total - len(self._values) * threshold
        slack = 1e-12 * float(np.abs(self._values - threshold).sum())
        above, below = (
            self._fraction(float((sums >= limit).sum() + (sums <= -limit).sum()) / 2, 0.5)
            for limit in (observed - slack, -observed - slack)
        )
        return OneSidedPValues(above, below)

    @property
    def interval(self) -> Interval:
        """95 %: the means that the two-sided test does not reject; none of values that agree."""
        n = len(self._values)
        if n < 2 or nearly_equal(self._values):
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

    def _fraction(self, count: float, own: float) -> float:
        """Of all patterns; the real signs, which count `own`, are one of the random ones."""
        if self._exact:
            return count / len(self._sums)
        return min(1.0, (count + own) / (len(self._sums) + 1))


def _random_signs(rng: np.random.Generator, n: int) -> Iterator[np.ndarray]:
    for rows in chunk_sizes(FLIPS, max(1, 4_000_000 // n)):
        yield rng.integers(0, 2, size=(rows, n), dtype=np.int8) * 2 - 1


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p values (Holm 1979); NaN stays NaN and does not count."""
    p_values = np.asarray(p, float)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return adjusted


def welch_contrast(ours: Sequence[float], theirs: Sequence[float]) -> Contrast:
    """Two methods over their seeds, 2 or more each: Welch's t test (Welch 1947).

    Seeds that agree up to a millionth of the largest value agree: what is left of them is rounding,
    which tells nothing about other seeds, and t has no spread. There is then no interval, and
    p is that of exchanging seeds: 2 of all assignments of them, or 1 if the methods agree,
    too.
    """
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    least = min(1.0, 2 / comb(len(a) + len(b), len(a))) / 2
    rounding, spread = ROUNDING * float(np.abs([*a, *b]).max()), max(np.ptp(a), np.ptp(b))
    if spread <= max(rounding, SMALLEST):
        value = float(a.mean() - b.mean()) if spread else float(a[0] - b[0])
        name = "Exchange of seeds, which agree"
        return _t_test(value, 0.0, nan, (0.0, 0.0), name, least, rounding)
    first, second = (float(x.std(ddof=1)) if np.ptp(x) else 0.0 for x in (a, b))
    squared = np.array([float(x.var(ddof=1)) / len(x) if np.ptp(x) else 0.0 for x in (a, b)])
    error = float(np.sqrt(squared.sum()))
    freedom = error**4 / float((squared**2 / [len(a) - 1, len(b) - 1]).sum())
    value = float(a.mean() - b.mean())
    return _t_test(value, error, freedom, (first, second), "Welch's t test over seeds")


def t_contrast(values: Sequence[float]) -> Contrast:
    """One method over its seeds, 2 or more: Student's t test.

    Where the seeds agree but for rounding, p is that of flipping each about the threshold.
    """
    a = np.asarray(values, float)
    deviation = 0.0 if nearly_equal(a) else float(a.std(ddof=1))
    value = float(a.mean()) if np.ptp(a) else float(a[0])
    name = "Student's t test over seeds" if deviation else "Sign flips of seeds, which agree"
    rounding, n = ROUNDING * float(np.abs(a).max()), len(a)
    return _t_test(value, deviation / sqrt(n), n - 1, (deviation,), name, 0.5**n, rounding)


def _t_test(
    value: float,
    error: float,
    freedom: float,
    spread: tuple[float, ...],
    name: str,
    least: float = 0.0,
    rounding: float = 0.0,
    floor: float = 0.0,
) -> Contrast:
    """Tests a number of known error by t, or as normal where the freedom is infinite.

    Args:
        least: the one-sided p where there is no spread to go by.
        rounding: the distance up to which a value without spread is at the threshold.
        floor: below which no one-sided p goes; from .025 on there is no interval.
    """
    law, shape = (stats.norm, ()) if freedom == inf else (stats.t, (freedom,))

    def tails(threshold: float) -> OneSidedPValues:
        distance = value - threshold
        if not error:
            far = abs(distance) > rounding
            above, below = far and distance > 0, far and distance < 0
            return OneSidedPValues(least if above else 1.0, least if below else 1.0)
        t = distance / error
        return OneSidedPValues(
            max(floor, float(law.sf(t, *shape))), max(floor, float(law.cdf(t, *shape)))
        )

    interval = NO_INTERVAL
    if error and floor < LEVEL / 2:
        reach = float(law.ppf(1 - LEVEL / 2, *shape)) * error
        interval = Interval(value - reach, value + reach)
    return Contrast(value, interval, spread, name, tails)


def paired_contrast(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], scale: float
) -> Contrast:
    """Two networks on the same samples, each a list of strata of outcomes times `scale`."""
    gaps = [np.asarray(a, float) - b for a, b in zip(ours, theirs, strict=True)]
    if len(gaps) > 1:
        return _delong(gaps, scale)
    if scale == 100 and np.isin([ours[0], theirs[0]], (0, scale)).all():
        return rates_contrast(int((gaps[0] > 0).sum()), int((gaps[0] < 0).sum()), len(gaps[0]))
    return _mean_contrast(gaps[0])


def rates_contrast(wins: int, losses: int, n: int) -> Contrast:
    """Rates of the same n samples, in points: at 0 McNemar's exact test, elsewhere Tango's.

    Args:
        wins, losses: samples that only ours, and only theirs, has.
    """
    value, exact = 100 * (wins - losses) / n, mcnemar(wins, losses, n)
    spread = 100 * sqrt((wins + losses) / n - (value / 100) ** 2)

    def tails(threshold: float) -> OneSidedPValues:
        if threshold:
            z = tango(wins, losses, n, threshold / 100)
            return OneSidedPValues(float(stats.norm.sf(z)), float(stats.norm.cdf(z)))
        return _binomial(wins, wins + losses, 0.5)

    interval = Interval(100 * exact.low, 100 * exact.high)
    name, elsewhere = "McNemar's exact test over samples", "Tango's score test over samples"
    return Contrast(value, interval, (spread,), name, tails, elsewhere)


def _binomial(hits: int, n: int, rate: float) -> OneSidedPValues:
    return OneSidedPValues(
        float(stats.binom.sf(hits - 1, n, rate)), float(stats.binom.cdf(hits, n, rate))
    )


def _mean_contrast(values: np.ndarray) -> Contrast:
    """The mean of one value a sample: sign flips around the threshold."""
    flips, name = SignFlips(values), "Sign flips over samples"
    value, spread = float(np.mean(values)), np.std(values, ddof=1) if len(values) > 1 else nan
    return Contrast(value, flips.interval, (float(spread),), name, flips.one_sided_p_values)


def single_contrast(ours: Sequence[np.ndarray], scale: float) -> Contrast:
    """One network's number, a list of strata of outcomes; `scale` as in :func:`paired_contrast`.

    A rate has the exact binomial test, and so Clopper and Pearson's interval and not Wilson's,
    which is reported beside the rate.
    """
    strata = [np.asarray(a, float) for a in ours]
    if len(strata) > 1:
        return _area_contrast(strata, scale)
    n, hits = len(strata[0]), int((strata[0] > 0).sum())
    if scale != 100 or not np.isin(strata[0], (0, scale)).all():
        return _mean_contrast(strata[0])

    def tails(threshold: float) -> OneSidedPValues:
        return _binomial(hits, n, min(1.0, max(0.0, threshold / 100)))

    value = 100 * hits / n
    spread = (sqrt(value * (100 - value)),)
    name = "Exact binomial test over samples"
    return Contrast(value, clopper_pearson(hits, n), spread, name, tails)


def _area_contrast(strata: Sequence[np.ndarray], scale: float) -> Contrast:
    """One AUROC: Wilson's interval at the effective size, and the score test that it inverts."""
    fraction, sizes = float(strata[0].mean()) / scale, [len(a) for a in strata]
    error = _standard_error(strata) / scale
    size = effective_size(fraction, error**2 if min(sizes) > 1 else 0.0, *sizes)
    value = scale * fraction

    def tails(threshold: float) -> OneSidedPValues:
        """Normal, with the error that the threshold would have."""
        limit = threshold / scale
        if not 0 < limit < 1:
            return OneSidedPValues(0.5, 1.0) if limit <= 0 else OneSidedPValues(1.0, 0.5)
        z = (value / scale - limit) / sqrt(limit * (1 - limit) / size)
        return OneSidedPValues(float(stats.norm.sf(z)), float(stats.norm.cdf(z)))

    limits = (scale * score_limits(value / scale, size)).tolist() if size >= 2 else NO_INTERVAL
    spread = (sqrt(value * (scale - value) * sum(sizes) / size),)
    name = "Score test over samples, with DeLong's variance"
    return Contrast(value, Interval(*limits), spread, name, tails)
