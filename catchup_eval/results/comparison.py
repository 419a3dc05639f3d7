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


@dataclass(frozen=True)
class Rank:
    """The place of a group in one headline; 1 is best, equal values have their mean rank."""

    group: str
    place: float  # by the values as they are
    best: int  # 1 + how many groups are significantly better
    worst: int  # how many groups there are, less those that are significantly worse


@dataclass(frozen=True)
class Ranking:
    """All groups of one line, from the best place to the worst."""

    line: SummaryRow
    ranks: tuple[Rank, ...]
    ties: tuple[tuple[str, ...], ...]  # the largest runs of neighbours that do not differ


def rankings(lines: Iterable[SummaryRow]) -> list[Ranking]:
    """Each line's ranks, with intervals that hold together at 95 %.

    All pairs of groups are tested, with Holm's correction over all pairs of all lines; a group's
    interval is what the significant pairs leave open (Al Mohamad, Goeman and van Zwet 2022). More
    pairs are tested here than against the reference, so that a pair may differ there and be tied
    here. A group without a value has no rank.
    """
    ordered = [(line, _order(line)) for line in lines]
    pairs = [(line, pair) for line, order in ordered for pair in combinations(order, 2)]
    tested = [difference(line.readings[a], line.readings[b])[0] for line, (a, b) in pairs]
    significant = holm([one.p for one in tested]) < LEVEL
    above: dict[int, set[tuple[str, str]]] = {id(line): set() for line, _ in ordered}
    for (line, pair), differs in zip(pairs, significant):
        if differs:
            above[id(line)].add(pair)
    return [_ranking(line, order, above[id(line)]) for line, order in ordered]


def _order(line: SummaryRow) -> list[str]:
    """The groups from best to worst."""
    known = [group for group, reading in line.readings.items() if not np.isnan(reading.mean)]
    return sorted(known, key=lambda group: -line.sign * line.readings[group].mean)


def _ranking(line: SummaryRow, order: Sequence[str], above: set[tuple[str, str]]) -> Ranking:
    """The ranks where the first of each pair of `above` is significantly better."""
    ranks = []
    places = stats.rankdata([-line.sign * line.readings[group].mean for group in order])
    for group, place in zip(order, places):
        best = 1 + sum((other, group) in above for other in order)
        worst = len(order) - sum((group, other) in above for other in order)
        ranks.append(Rank(group, float(place), best, worst))
    return Ranking(line, tuple(ranks), _ties(order, above))


def _ties(order: Sequence[str], above: set[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    runs = [
        tuple(order[start:stop])
        for start, stop in combinations(range(len(order) + 1), 2)
        if stop - start > 1 and not above & set(combinations(order[start:stop], 2))
    ]
    return tuple(run for run in runs if not any(set(run) < set(other) for other in runs))


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
