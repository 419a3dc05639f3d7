"""The same networks under every convention: a reading for each group, from what is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from catchup_eval.analysis.conventions import Convention, ConventionFamily, ConventionValue
from catchup_eval.audit.conventions.families import families
from catchup_eval.core.errors import Missing
from catchup_eval.results.comparison import LEVEL, difference
from catchup_eval.results.result import Result
from catchup_eval.results.study import Study
from catchup_eval.results.summary import PERCENT, Estimate, seeds_interval

DECIDES = "both orders are beyond the intervals: the convention decides"


@dataclass(frozen=True)
class ConventionResult:
    """One convention, for all groups.

    Args:
        readings: by group; a group of which a seed lacks it is not here.
        needs: what the groups lack that are not here; empty where all are.
        notes: in what stored numbers depart from the convention.
    """

    convention: Convention
    readings: Mapping[str, Estimate]
    needs: str = ""
    notes: tuple[str, ...] = ()

    @property
    def goodness(self) -> dict[str, float]:
        """Each group's value, turned so that higher is better."""
        return {group: self.convention.sign * one.mean for group, one in self.readings.items()}

    @property
    def order(self) -> list[str]:
        """The groups from best to worst; equal ones as they come."""
        return sorted(self.readings, key=lambda group: -self.goodness[group])

    def is_significant(self, one: str, other: str) -> bool:
        """Whether two groups differ by more than chance: p < .05, where the interval lacks 0, too.

        Where there are no outcomes to pair, whether the groups' own intervals are apart.
        """
        ours, theirs = self.readings[one], self.readings[other]
        p = difference(ours, theirs)[0].p
        if p == p:
            return p < LEVEL
        return ours.interval.low > theirs.interval.high or theirs.interval.low > ours.interval.high


class RankingSwap(NamedTuple):
    """Two groups whose order depends on the convention.

    Args:
        better: before the other one under the conventions `under`, behind it under `otherwise`.
        told: the conventions of both lists that tell the two apart.
    """

    better: str
    worse: str
    under: tuple[str, ...]
    otherwise: tuple[str, ...]
    told: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Whether chance could have made both orders."""
        before, behind = (set(side) & set(self.told) for side in (self.under, self.otherwise))
        if before and behind:
            return DECIDES
        if before or behind:
            return f"only the {'first' if before else 'other'} order is beyond the intervals"
        return "both orders are within the intervals"


@dataclass(frozen=True)
class ConventionComparison:
    """One family of conventions."""

    family: ConventionFamily
    seen: tuple[ConventionResult, ...]

    @property
    def available(self) -> list[ConventionResult]:
        """The conventions under which at least one group has a number."""
        return [one for one in self.seen if one.readings]

    @property
    def unavailable(self) -> list[ConventionResult]:
        """The others."""
        return [one for one in self.seen if not one.readings]

    def tau(self, one: ConventionResult) -> float:
        """Kendall's tau of a convention's ranking with that of the family's first stored one."""
        return tau(self.available[0], one)

    @property
    def smallest_tau(self) -> tuple[float, str, str]:
        """Over all pairs of stored conventions, and which two; NaN where nothing is ranked."""
        taus = [
            (tau(a, b), a.convention.name, b.convention.name)
            for a, b in combinations(self.available, 2)
        ]
        known = [one for one in taus if one[0] == one[0]]
        return min(known, default=(np.nan, "", ""))

    @property
    def swaps(self) -> list[RankingSwap]:
        """All pairs of groups that stand in either order."""
        groups = list(dict.fromkeys(group for one in self.available for group in one.readings))
        found = [_swap(self.available, *pair) for pair in combinations(groups, 2)]
        return [swap for swap in found if swap.under and swap.otherwise]


def _swap(stored: Sequence[ConventionResult], a: str, b: str) -> RankingSwap:
    """The first of the two is the one that the first convention prefers."""
    having = [one for one in stored if a in one.readings and b in one.readings]
    gaps = {one.convention.name: one.goodness[a] - one.goodness[b] for one in having}
    if next((gap for gap in gaps.values() if gap), 0) < 0:
        a, b, gaps = b, a, {name: -gap for name, gap in gaps.items()}
    return RankingSwap(
        a,
        b,
        tuple(name for name, gap in gaps.items() if gap > 0),
        tuple(name for name, gap in gaps.items() if gap < 0),
        tuple(one.convention.name for one in having if one.is_significant(a, b)),
    )


def tau(one: ConventionResult, other: ConventionResult) -> float:
    """Kendall's tau-b of two rankings of the same groups, 1 alike and -1 reversed.

    NaN where they share fewer than two groups, or all are equal.
    """
    groups = [group for group in one.readings if group in other.readings]
    pairs = [[seen.goodness[group] for group in groups] for seen in (one, other)]
    if len(groups) < 2:
        return float("nan")
    return float(stats.kendalltau(*pairs).statistic)


def evaluate_conventions(study: Study, others: Sequence[Study] = ()) -> list[ConventionComparison]:
    """All families, of the networks of `study`.

    Args:
        others: the same networks on the same images, asked under other conventions.
    """
    whole = (study, *others)
    known = {family.title: family for one in whole for family in families(one)}
    return [
        ConventionComparison(
            family,
            tuple(
                _convention_result(convention, study, whole) for convention in family.conventions
            ),
        )
        for family in known.values()
    ]


def _convention_result(
    convention: Convention, study: Study, whole: Sequence[Study]
) -> ConventionResult:
    readings, needs, notes = dict[str, Estimate](), [], []
    for group in study.groups:
        keys = [info.key for info in study.models_of(group)]
        try:
            numbers = [_number(convention, key, whole) for key in keys]
        except Missing as missing:
            needs.append(str(missing))
            continue
        readings[group] = make_estimate(numbers)
        notes += [number.note for number in numbers if number.note]
    needed = dict.fromkeys(needs)
    return ConventionResult(convention, readings, "; ".join(needed), tuple(dict.fromkeys(notes)))


def _number(convention: Convention, key: str, whole: Sequence[Study]) -> ConventionValue:
    """From the first result that holds it.

    Raises:
        Missing: none does.
    """
    reason = f"the question {convention.analysis}"
    for result in _results(convention.analysis, key, whole):
        try:
            return convention.of(result)
        except Missing as missing:
            reason = str(missing)
    raise Missing(reason)


def _results(analysis: str, key: str, whole: Sequence[Study]) -> list[Result]:
    return [one.results[key, analysis] for one in whole if (key, analysis) in one.results]


def make_estimate(numbers: Sequence[ConventionValue]) -> Estimate:
    """What a group reaches: one number for each of its seeds."""
    values = tuple(number.value for number in numbers)
    strata = [number.outcomes for number in numbers]
    shapes = {tuple(len(array) for array in one) for one in strata}
    outcomes = [np.mean(column, axis=0) for column in zip(*strata)] if len(shapes) == 1 else []
    own = numbers[0].interval if len(numbers) == 1 else seeds_interval(values, PERCENT)
    return Estimate(values, own, numbers[0].n, outcomes=tuple(outcomes))
