"""Is a difference above a threshold, or below it? One-sided tests with the null moved there.

All in the unit of the values. Each test gives two p values: small `above` says that the difference
is larger than the threshold, small `below` that it is smaller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb, copysign, inf, nan, sqrt
from typing import NamedTuple, Protocol

import numpy as np
from scipy import stats

from catchup_eval.randomness import generator
from catchup_eval.statistics import Interval, paired

FLIPS = 10_000
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
        least: the smallest one-sided p where there is no spread to go by.
    """

    value: float
    error: float
    freedom: float
    spread: tuple[float, ...]
    n: int
    name: str
    least: float = 0.0

    @property
    def interval(self) -> Interval:
        """95 %."""
        if not self.error:
            return Interval(self.value, self.value)
        reach = float(stats.t.ppf(TWO_SIDED, self.freedom)) * self.error
        return Interval(self.value - reach, self.value + reach)

    def test(self, threshold: float) -> str:
        """Its name."""
        return self.name

    def tails(self, threshold: float) -> Tails:
        """By t."""
        distance = self.value - threshold
        if not self.error:
            return _spreadless(distance, self.least)
        t = distance / self.error
        return Tails(
            float(stats.t.sf(t, self.freedom)),
            float(stats.t.cdf(t, self.freedom)),
        )


def _spreadless(distance: float, least: float) -> Tails:
    if not distance:
        return Tails(1.0, 1.0)
    return Tails(least, 1.0) if distance > 0 else Tails(1.0, least)


@dataclass(frozen=True)
class Rates:
    """Two rates over the same samples, in percent.

    At a threshold of 0 the test is McNemar's exact one, elsewhere Tango's score test (1998).

    Args:
        wins, losses: samples that only ours, and only theirs, has.
        n: all samples.
    """

    wins: int
    losses: int
    n: int
    interval: Interval

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


@dataclass(frozen=True)
class Share:
    """One rate, in percent, against a fixed one: the exact binomial test."""

    hits: int
    n: int
    interval: Interval

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
    """The mean of one value a sample, against a threshold: random sign flips around it.

    Args:
        values: (N,) differences of two networks, or values of one.
    """

    def __init__(self, values: np.ndarray):
        self._values = np.asarray(values, float)
        self.value = float(self._values.mean())
        self.n = len(self._values)
        self.spread = (float(self._values.std(ddof=1)) if self.n > 1 else nan,)

    @cached_property
    def interval(self) -> Interval:
        """95 %, normal."""
        reach = float(stats.norm.ppf(TWO_SIDED)) * self.spread[0] / sqrt(self.n)
        return Interval(self.value - reach, self.value + reach)

    def test(self, threshold: float) -> str:
        """Its name."""
        return "Random sign flips over samples"

    def tails(self, threshold: float) -> Tails:
        """How many of 10,000 sign patterns are as extreme, to each side."""
        gaps = self._values - threshold
        gaps = gaps[gaps != 0]
        sums, observed = _flipped(gaps), float(gaps.sum())
        slack = 1e-12 * float(np.abs(gaps).sum())
        counts = (sums >= observed - slack).sum(), (sums <= observed + slack).sum()
        return Tails(*(float((count + 1) / (FLIPS + 1)) for count in counts))


def _flipped(gaps: np.ndarray) -> np.ndarray:
    """(FLIPS,) sums under random signs."""
    draw = generator(0, "sign flips")
    rows = max(1, 4_000_000 // max(1, len(gaps)))
    parts = [
        (draw.integers(0, 2, size=(size, len(gaps)), dtype=np.int8) * 2.0 - 1) @ gaps
        for size in (min(rows, FLIPS - start) for start in range(0, FLIPS, rows))
    ]
    return np.concatenate(parts)


def over_seeds(ours: Sequence[float], theirs: Sequence[float]) -> Student:
    """Two methods over their seeds, 2 or more each: Welch's t test.

    Where the seeds of each agree to the last digit, p is that of exchanging seeds.
    """
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    deviations = tuple(float(x.std(ddof=1)) if np.ptp(x) else 0.0 for x in (a, b))
    squared = [s * s / len(x) for s, x in zip(deviations, (a, b), strict=True)]
    error = sqrt(sum(squared))
    weights = [q * q / (len(x) - 1) for q, x in zip(squared, (a, b), strict=True)]
    freedom = error**4 / sum(weights) if error else nan
    value = float(a.mean() - b.mean()) if error else float(a[0] - b[0])
    least = 1 / comb(len(a) + len(b), len(a))
    n = min(len(a), len(b))
    return Student(value, error, freedom, deviations, n, "Welch's t test over seeds", least)


def one_over_seeds(values: Sequence[float]) -> Student:
    """One method over its seeds, 2 or more: Student's t test."""
    a = np.asarray(values, float)
    deviation = float(a.std(ddof=1)) if np.ptp(a) else 0.0
    value = float(a.mean()) if deviation else float(a[0])
    n = len(a)
    name = "Student's t test over seeds"
    return Student(value, deviation / sqrt(n), n - 1, (deviation,), n, name, 0.5**n)


def over_samples(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], scale: float
) -> Contrast:
    """Two networks on the same samples, each a list of strata of outcomes.

    Args:
        scale: what the outcomes were multiplied by: 100 for percent.
    """
    gaps = [np.asarray(a, float) - b for a, b in zip(ours, theirs, strict=True)]
    if len(gaps) > 1:
        return _strata(gaps, "DeLong's test over samples")
    if scale == 100 and np.isin([ours[0], theirs[0]], (0, scale)).all():
        found = paired([ours[0] / scale], [theirs[0] / scale])
        wins, losses = int((gaps[0] > 0).sum()), int((gaps[0] < 0).sum())
        interval = Interval(scale * found.low, scale * found.high)
        return Rates(wins, losses, len(gaps[0]), interval)
    return Means(gaps[0])


def one_over_samples(ours: Sequence[np.ndarray], scale: float, interval: Interval) -> Contrast:
    """One network's number, a list of strata of outcomes; `interval` is a single rate's own."""
    strata = [np.asarray(a, float) for a in ours]
    if len(strata) > 1:
        return _strata(strata, "Normal test over samples, with DeLong's variance")
    if scale == 100 and np.isin(strata[0], (0, scale)).all():
        return Share(int((strata[0] > 0).sum()), len(strata[0]), interval)
    return Means(strata[0])


def _strata(strata: Sequence[np.ndarray], test: str) -> Student:
    """The placement values of an AUROC (DeLong et al. 1988), and the error of their mean."""
    error = sqrt(sum(float(a.var(ddof=1)) / len(a) for a in strata))
    n = sum(map(len, strata))
    return Student(float(strata[0].mean()), error, inf, (error * sqrt(n),), n, test)
