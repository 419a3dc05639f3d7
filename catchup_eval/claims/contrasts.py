"""Is a difference above a threshold, or below it? One-sided tests with the null moved there.

All in the unit of the values. Each test gives two p values: small `above` says that the difference
is larger than the threshold, small `below` that it is smaller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, nan, sqrt
from typing import NamedTuple, Protocol

import numpy as np
from scipy import stats

from catchup_eval.statistics import (
    NO_INTERVAL,
    ROUNDING,
    Interval,
    SignFlips,
    alike,
    at_edge,
    clopper_pearson,
    edge_tails,
    effective_size,
    exchanged_pairs,
    mcnemar,
    score_limits,
    standard_error,
    tango,
    welch,
)

TWO_SIDED = 0.975


class Tails(NamedTuple):
    """One-sided p values: of "at most the threshold", and of "at least the threshold"."""

    above: float
    below: float


class Contrast(Protocol):
    """A difference (or a single number) that can be held against thresholds.

    Attributes:
        value: as measured.
        interval: 95 %.
        spread: standard deviations of the units, one for each side that varies.
        n: units behind the value: seeds of a group, or samples.
    """

    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def interval(self) -> Interval: ...  # noqa: D102
    @property
    def spread(self) -> tuple[float, ...]: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102
    def test(self, threshold: float) -> str:
        """Its name, at this threshold."""
        ...

    def tails(self, threshold: float) -> Tails:
        """Both p values at this threshold."""
        ...


@dataclass(frozen=True)
class Student:
    """A number whose error is known: t, or normal where the freedom is infinite.

    Args:
        error: standard error of the value.
        freedom: degrees of freedom.
        name: of the test.
        least: the one-sided p where there is no spread to go by.
        rounding: the distance up to which a value without spread is at the threshold.
        floor: below which no one-sided p goes; from .025 on nothing is told, nor an interval.
    """

    value: float
    error: float
    freedom: float
    spread: tuple[float, ...]
    n: int
    name: str
    least: float = 0.0
    rounding: float = 0.0
    floor: float = 0.0

    @property
    def interval(self) -> Interval:
        """95 %; none where there is no spread."""
        if not self.error or self.floor >= 1 - TWO_SIDED:
            return NO_INTERVAL
        reach = float(stats.t.ppf(TWO_SIDED, self.freedom)) * self.error
        return Interval(self.value - reach, self.value + reach)

    def test(self, threshold: float) -> str:
        """Its name."""
        return self.name

    def tails(self, threshold: float) -> Tails:
        """By t."""
        distance = self.value - threshold
        if not self.error:
            return _spreadless(distance, self.least, self.rounding)
        t = distance / self.error
        return Tails(
            max(self.floor, float(stats.t.sf(t, self.freedom))),
            max(self.floor, float(stats.t.cdf(t, self.freedom))),
        )


def _spreadless(distance: float, least: float, rounding: float) -> Tails:
    if abs(distance) <= rounding:
        return Tails(1.0, 1.0)
    return Tails(least, 1.0) if distance > 0 else Tails(1.0, least)


@dataclass(frozen=True)
class Rates:
    """Two rates over the same samples, in percent.

    At a threshold of 0 the test is McNemar's exact one, elsewhere Tango's score test (1998); the
    interval holds what they do not reject.

    Args:
        wins, losses: samples that only ours, and only theirs, has.
        n: all samples.
    """

    wins: int
    losses: int
    n: int

    @cached_property
    def interval(self) -> Interval:
        """95 %, in points."""
        found = mcnemar(self.wins, self.losses, self.n)
        return Interval(100 * found.low, 100 * found.high)

    @property
    def value(self) -> float:
        """In points."""
        return 100 * (self.wins - self.losses) / self.n

    @property
    def spread(self) -> tuple[float, ...]:
        """Of one sample's difference, in points."""
        return (100 * sqrt((self.wins + self.losses) / self.n - (self.value / 100) ** 2),)

    def test(self, threshold: float) -> str:
        """McNemar's or Tango's."""
        name = "Tango's score test" if threshold else "McNemar's exact test"
        return f"{name} over samples"

    def tails(self, threshold: float) -> Tails:
        """McNemar's or Tango's."""
        if threshold:
            z = tango(self.wins, self.losses, self.n, threshold / 100)
            return Tails(float(stats.norm.sf(z)), float(stats.norm.cdf(z)))
        discordant = self.wins + self.losses
        return Tails(
            float(stats.binom.sf(self.wins - 1, discordant, 0.5)),
            float(stats.binom.cdf(self.wins, discordant, 0.5)),
        )


@dataclass(frozen=True)
class Share:
    """One rate, in percent, against a fixed one: the exact binomial test, and what it leaves open.

    The interval is therefore Clopper and Pearson's, and not Wilson's, which stands beside the rate.
    """

    hits: int
    n: int

    @property
    def interval(self) -> Interval:
        """95 %."""
        return clopper_pearson(self.hits, self.n)

    @property
    def value(self) -> float:
        """In percent."""
        return 100 * self.hits / self.n

    @property
    def spread(self) -> tuple[float, ...]:
        """Of one sample, in points."""
        return (sqrt(self.value * (100 - self.value)),)

    def test(self, threshold: float) -> str:
        """Its name."""
        return "Exact binomial test over samples"

    def tails(self, threshold: float) -> Tails:
        """Exact."""
        rate = min(1.0, max(0.0, threshold / 100))
        return Tails(
            float(stats.binom.sf(self.hits - 1, self.n, rate)),
            float(stats.binom.cdf(self.hits, self.n, rate)),
        )


class Means:
    """The mean of one value a sample, against a threshold: sign flips around it.

    Args:
        values: (N,) differences of two networks, or values of one.
    """

    def __init__(self, values: np.ndarray):
        self._flips = SignFlips(values)
        self.value = float(np.mean(values))
        self.n = len(values)
        self.spread = (float(np.std(values, ddof=1)) if self.n > 1 else nan,)

    @property
    def interval(self) -> Interval:
        """95 %: the thresholds that are not rejected."""
        return self._flips.interval

    def test(self, threshold: float) -> str:
        """Its name."""
        return "Sign flips over samples"

    def tails(self, threshold: float) -> Tails:
        """How many of the patterns of signs are as extreme, to each side."""
        return Tails(*self._flips.tails(threshold))


@dataclass(frozen=True)
class Area:
    """One AUROC against a fixed one, in the unit of `most`: the score test of its interval.

    Args:
        size: the samples that it is as good as.
        n: all samples.
        most: what an AUROC of 1 is, 1 or 100.
    """

    value: float
    size: float
    n: int
    most: float

    @property
    def interval(self) -> Interval:
        """95 %: Wilson's at the effective size; none below two samples."""
        if self.size < 2:
            return NO_INTERVAL
        low, high = score_limits(self.value / self.most, self.size)
        return Interval(self.most * float(low), self.most * float(high))

    @property
    def spread(self) -> tuple[float, ...]:
        """Of one sample."""
        return (sqrt(self.value * (self.most - self.value) * self.n / self.size),)

    def test(self, threshold: float) -> str:
        """Its name."""
        return "Score test over samples, with DeLong's variance"

    def tails(self, threshold: float) -> Tails:
        """Normal, with the error that the threshold would have."""
        share = threshold / self.most
        if not 0 < share < 1:
            return Tails(0.5, 1.0) if share <= 0 else Tails(1.0, 0.5)
        z = (self.value / self.most - share) / sqrt(share * (1 - share) / self.size)
        return Tails(float(stats.norm.sf(z)), float(stats.norm.cdf(z)))


@dataclass(frozen=True)
class Edge:
    """Two AUROC that differ by the same on each sample: the bound that has been seen by none."""

    value: float
    n: int
    bounds: Interval

    @property
    def interval(self) -> Interval:
        """95 %; none of so few samples that exchanging them tells nothing."""
        few = exchanged_pairs(self.n) >= 2 * (1 - TWO_SIDED)
        return NO_INTERVAL if few else at_edge(self.value, self.n, self.bounds)

    @property
    def spread(self) -> tuple[float, ...]:
        """None was seen."""
        return (0.0,)

    def test(self, threshold: float) -> str:
        """Its name."""
        return "Score test over samples, without spread"

    def tails(self, threshold: float) -> Tails:
        """Of the share of samples that would have to be otherwise."""
        least = exchanged_pairs(self.n) / 2
        tails = edge_tails(self.value, self.n, self.bounds, threshold)
        return Tails(*(max(least, tail) for tail in tails))


def over_seeds(ours: Sequence[float], theirs: Sequence[float]) -> Student:
    """Two methods over their seeds, 2 or more each: Welch's t test.

    Where the seeds of each agree but for rounding, p is that of exchanging seeds.
    """
    value, error, freedom, deviations, least, rounding = welch(ours, theirs)
    n = min(len(ours), len(theirs))
    name = "Exchange of seeds, which agree" if error == 0 else "Welch's t test over seeds"
    return Student(value, error, freedom, deviations, n, name, least / 2, rounding)


def one_over_seeds(values: Sequence[float]) -> Student:
    """One method over its seeds, 2 or more: Student's t test.

    Where the seeds agree but for rounding, p is that of flipping each about the threshold.
    """
    a = np.asarray(values, float)
    deviation = 0.0 if alike(a) else float(a.std(ddof=1))
    value = float(a.mean()) if np.ptp(a) else float(a[0])
    n = len(a)
    name = "Student's t test over seeds" if deviation else "Sign flips of seeds, which agree"
    rounding = ROUNDING * float(np.abs(a).max())
    return Student(value, deviation / sqrt(n), n - 1, (deviation,), n, name, 0.5**n, rounding)


def over_samples(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], scale: float
) -> Contrast:
    """Two networks on the same samples, each a list of strata of outcomes.

    Args:
        scale: what the outcomes were multiplied by: 100 for percent.
    """
    gaps = [np.asarray(a, float) - b for a, b in zip(ours, theirs, strict=True)]
    if len(gaps) > 1:
        return _areas(gaps, scale)
    if scale == 100 and np.isin([ours[0], theirs[0]], (0, scale)).all():
        return Rates(int((gaps[0] > 0).sum()), int((gaps[0] < 0).sum()), len(gaps[0]))
    return Means(gaps[0])


def one_over_samples(ours: Sequence[np.ndarray], scale: float) -> Contrast:
    """One network's number, a list of strata of outcomes."""
    strata = [np.asarray(a, float) for a in ours]
    if len(strata) > 1:
        value, sizes = float(strata[0].mean()) / scale, [len(a) for a in strata]
        error = standard_error(strata) / scale
        size = effective_size(value, error**2 if min(sizes) > 1 else 0.0, *sizes)
        return Area(scale * value, size, sum(sizes), scale)
    if scale == 100 and np.isin(strata[0], (0, scale)).all():
        return Share(int((strata[0] > 0).sum()), len(strata[0]))
    return Means(strata[0])


def _areas(gaps: Sequence[np.ndarray], scale: float) -> Contrast:
    """The differences of placement values (DeLong et al. 1988), and the error of their mean."""
    value, n = float(gaps[0].mean()), min(map(len, gaps))
    bounds = Interval(-scale, scale)
    if n > 1 and all(alike(gap, bounds) for gap in gaps):
        return Edge(value, n, bounds)
    error, total = standard_error(gaps), sum(map(len, gaps))
    name = "DeLong's test over samples"
    floor = exchanged_pairs(n) / 2
    return Student(value, error, inf, (error * sqrt(total),), total, name, floor=floor)
