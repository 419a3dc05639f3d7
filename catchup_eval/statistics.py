"""Intervals and tests: how sure are we?

Rates in percent. A single rate has a Wilson interval; a mean over cells of the same images has a
bootstrap over images, because pooling the cells as if they were independent gives an interval two
to three times too narrow.
"""

from collections.abc import Callable, Sequence
from math import comb
from typing import NamedTuple

import numpy as np
from scipy import stats

from catchup_eval.randomness import generator

RESAMPLES = 2000  # the 95 % limits then vary by about 3 % of the interval's width


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


def wilson(hits: int, n: int) -> Interval:
    """Wilson's 95 % score interval of a rate, in percent (Wilson 1927).

    Example:
        >>> low, high = wilson(50, 100)
        >>> round(low, 1), round(high, 1)
        (40.4, 59.6)
    """
    interval = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return Interval(100 * float(interval.low), 100 * float(interval.high))


def bootstrap(
    statistic: Callable[[np.ndarray], float], n: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile bootstrap of a statistic over samples.

    Args:
        statistic: takes (n,) row numbers drawn with replacement, gives the number.
        n: how many samples there are.
    """
    draw = generator(seed, "bootstrap")
    values = [statistic(draw.integers(n, size=n)) for _ in range(resamples)]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))


def bootstrap_mean(values: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean of one value per sample (N,)."""
    draw = generator(seed, "bootstrap")
    n = len(values)
    means = np.concatenate(
        [
            values[draw.integers(n, size=(rows, n))].mean(axis=1)
            for rows in _chunks(resamples, max(1, 2_000_000 // n))
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(low), float(high))


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def paired(outcome: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> Difference:
    """The difference of two means over the same samples, in the unit of the outcomes.

    Each argument is a list of arrays (one stratum each) whose means are all the number of
    interest: a rate has one array (N,) of outcomes; an AUROC has two, the placement values of the
    out-samples and of the in-samples, and the test is then DeLong's (DeLong et al. 1988).

    One stratum of zeros and ones: McNemar's exact test, and the interval of Bonett and Price
    (2012). One stratum of other values: a test by random sign flips, 10,000 of them. Two strata:
    normal.
    """
    gaps = [
        np.asarray(a, float) - np.asarray(b, float) for a, b in zip(outcome, reference, strict=True)
    ]
    if len(gaps) == 1 and np.isin([*outcome, *reference], (0, 1)).all():
        return _mcnemar(gaps[0])
    value = float(gaps[0].mean())
    error = float(np.sqrt(sum(_squared_error(gap) for gap in gaps)))
    reach = float(stats.norm.ppf(0.975)) * error
    p = _sign_flips(gaps[0]) if len(gaps) == 1 else _normal(value, error)
    return Difference(value, value - reach, value + reach, p)


def _squared_error(gap: np.ndarray) -> float:
    return float(gap.var(ddof=1)) / len(gap) if len(gap) > 1 else np.inf


def _normal(value: float, error: float) -> float:
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stats.norm.sf(abs(value) / error))


def _mcnemar(gap: np.ndarray) -> Difference:
    n, wins, losses = len(gap), int((gap > 0).sum()), int((gap < 0).sum())
    p = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    # One imagined sample of each discordant kind keeps the interval from having no width.
    win, loss = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    reach = float(stats.norm.ppf(0.975)) * float(
        np.sqrt((win + loss - (win - loss) ** 2) / (n + 2))
    )
    low, high = max(-1.0, win - loss - reach), min(1.0, win - loss + reach)
    return Difference((wins - losses) / n, low, high, p)


def _sign_flips(gap: np.ndarray, draws: int = 10_000) -> float:
    gap = gap[gap != 0]
    if not len(gap):
        return 1.0
    draw = generator(0, "sign flips")
    observed = abs(gap.sum())
    extreme = 0
    for rows in _chunks(draws, max(1, 4_000_000 // len(gap))):
        signs = draw.integers(0, 2, size=(rows, len(gap)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ gap) >= observed * (1 - 1e-12)).sum())
    return (extreme + 1) / (draws + 1)


def between_seeds(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """The difference of two methods over their seeds: Welch's t test, 2 or more seeds each.

    Where the seeds of each method agree to the last digit, t has no spread to go by, and p is
    that of exchanging seeds: 2 of all the ways to deal them out.
    """
    a, b = np.asarray(values, float), np.asarray(reference, float)
    value = float(a.mean() - b.mean())
    squared = np.array([float(x.var(ddof=1)) / len(x) if np.ptp(x) else 0.0 for x in (a, b)])
    error = float(np.sqrt(squared.sum()))
    if error == 0:
        value = float(a[0] - b[0])
        return Difference(value, value, value, _exchanged(len(a), len(b)) if value else 1.0)
    freedom = error**4 / float((squared**2 / [len(a) - 1, len(b) - 1]).sum())
    reach = float(stats.t.ppf(0.975, freedom)) * error
    p = float(2 * stats.t.sf(abs(value) / error, freedom))
    return Difference(value, value - reach, value + reach, p)


def _exchanged(n: int, m: int) -> float:
    return min(1.0, 2 / comb(n + m, n))


def over_seeds(values: Sequence[float]) -> Interval:
    """Student's 95 % interval of a mean over seeds; NaN for fewer than two."""
    if len(values) < 2:
        return Interval(np.nan, np.nan)
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
