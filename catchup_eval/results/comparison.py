"""The numbers of a comparison of models, without a page.

Groups with three or more seeds each are compared as methods, over their seeds. With fewer,
the networks at hand are compared: on the same samples, each outcome averaged over the group's
seeds. The result then holds for these networks and for no method.

The headline metric of each analysis makes one family of tests (analyses x groups), all secondary
metrics a second one; Holm's correction holds within each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from catchup_eval.metrics.significance import Difference, holm, paired_test, welch_contrast
from catchup_eval.results.summary import SEEDS, Estimate, SummaryRow

LEVEL = 0.05  # of Holm's p, below which a difference is called one
UNTESTED = Difference(np.nan, np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class PairwiseComparison:
    """One group against the reference in one headline."""

    line: SummaryRow
    group: str  # the one that is compared
    difference: Difference  # group minus reference, in the line's unit; NaN if untested
    over: str = ""  # what the test went over: "seeds", "samples" or, untested, nothing
    why: str = ""  # why it could not be tested
    adjusted: float = np.nan  # Holm's p within its family

    @property
    def significant(self) -> bool:
        """Whether Holm's p is below :data:`LEVEL`."""
        return bool(self.adjusted < LEVEL)

    @property
    def gain(self) -> Difference:
        """The difference turned so that positive is better."""
        value, low, high, p = self.difference
        return self.difference if self.line.sign > 0 else Difference(-value, -high, -low, p)

    @property
    def label(self) -> str:
        """ "better", "worse" or "cannot tell"."""
        if not self.significant:
            return "cannot tell"
        return "better" if self.gain.value > 0 else "worse"


def difference(ours: Estimate, theirs: Estimate) -> tuple[Difference, str, str]:
    """The difference of two groups, what it was tested over, and why not, if it was not."""
    plain = UNTESTED._replace(value=ours.mean - theirs.mean)
    if np.isnan(plain.value):
        return UNTESTED, "", "a value is not a number"
    if min(len(ours.values), len(theirs.values)) >= SEEDS:
        return welch_contrast(ours.values, theirs.values).difference, "seeds", ""
    if not (ours.outcomes and theirs.outcomes):
        return plain, "", "no per-sample outcomes"
    if [len(a) for a in ours.outcomes] != [len(a) for a in theirs.outcomes]:
        return plain, "", "not measured on the same samples"
    return _paired_test(ours.outcomes, theirs.outcomes), "samples", ""


def _paired_test(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Difference:
    """:func:`paired_test` in the outcomes' unit; zeros and ones are seen as such at any scale."""
    scale = max(float(np.abs(array).max(initial=0)) for array in (*ours, *theirs)) or 1.0
    bound = (100.0 if scale > 1 else 1.0) / scale  # of the placement values of an AUROC
    sides = ([a / scale for a in ours], [a / scale for a in theirs])
    value, low, high, p = paired_test(*sides, bound=bound)
    return Difference(value * scale, low * scale, high * scale, p)


def compare_to_reference(lines: Iterable[SummaryRow], reference: str) -> list[PairwiseComparison]:
    """Every other group against `reference`, in every headline that both have."""
    untested = [
        PairwiseComparison(line, group, *difference(reading, line.readings[reference]))
        for line in lines
        if reference in line.readings
        for group, reading in line.readings.items()
        if group != reference
    ]
    primary = np.array([one.line.primary for one in untested], bool)
    adjusted = np.array([one.difference.p for one in untested], float)
    for family in (primary, ~primary):
        adjusted[family] = holm(adjusted[family].tolist())
    return [replace(one, adjusted=float(p)) for one, p in zip(untested, adjusted)]


class OverallRank(NamedTuple):
    """The mean of a group's ranks over the analyses; 1 is best."""

    group: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class OverallRanking:
    """All groups from the best mean rank to the worst."""

    ranks: tuple[OverallRank, ...]
    ties: tuple[tuple[str, ...], ...]  # the largest runs of neighbours that do not differ
    analyses: int


def overall_ranking(lines: Iterable[SummaryRow], groups: Sequence[str]) -> OverallRanking | None:
    """The mean ranks of the groups over the analyses' first metrics, where all have a value.

    Two groups differ where their mean ranks are a critical difference apart: Nemenyi's test after
    Friedman's, at 5 % (Demsar 2006). The intervals reach half of it to either side, so that two of
    them overlap where the groups are tied. None with fewer than two such analyses.
    """
    tables = [
        [-line.sign * line.readings[group].mean for group in groups]
        for line in lines
        if line.primary and all(group in line.readings for group in groups)
    ]
    ranks = [stats.rankdata(values) for values in tables if np.isfinite(values).all()]
    k, n = len(groups), len(ranks)
    if n < 2 or k < 2:
        return None
    quantile = float(stats.studentized_range.ppf(1 - LEVEL, k, np.inf)) / np.sqrt(2)
    reach = quantile * np.sqrt(k * (k + 1) / (6 * n)) / 2
    means = dict(zip(groups, np.mean(ranks, axis=0).tolist(), strict=True))
    order = sorted(groups, key=lambda group: means[group])
    found = tuple(
        OverallRank(name, means[name], max(1.0, means[name] - reach), min(k, means[name] + reach))
        for name in order
    )
    runs = [
        tuple(order[start:stop])
        for start, stop in combinations(range(k + 1), 2)
        if stop - start > 1 and means[order[stop - 1]] - means[order[start]] < 2 * reach
    ]
    ties = tuple(run for run in runs if not any(set(run) < set(other) for other in runs))
    return OverallRanking(found, ties, n)


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names that no other beats in one coordinate without losing in the other.

    Higher is better in both; the result goes from left to right.

    Example:
        >>> pareto({"a": (1, 3), "b": (2, 2), "c": (1, 1)})
        ['a', 'b']
    """
    front = [
        name
        for name, (x, y) in points.items()
        if not any(u >= x and v >= y and (u, v) != (x, y) for u, v in points.values())
    ]
    return sorted(front, key=lambda name: points[name])
