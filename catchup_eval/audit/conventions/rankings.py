"""Estimates and rankings of the groups under each convention, from stored outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.base import declaration
from catchup_eval.analysis.conventions import Convention, ConventionFamily, ConventionValue
from catchup_eval.core.errors import Missing
from catchup_eval.results.comparison import LEVEL, difference
from catchup_eval.results.study import Study
from catchup_eval.results.summary import PERCENT, Estimate, estimate

DECIDES = "both orders are significant: the convention decides"


def families(study: Study) -> list[ConventionFamily]:
    """All families of conventions that analyses declare; those of one title are one family.

    In the order of the analyses; last, those that depend on what the study's results are about.
    """
    fixed: list[ConventionFamily] = []
    measured: list[ConventionFamily] = []
    for name, analysis in ANALYSES.items():
        declared = declaration(analysis, "CONVENTIONS")
        if callable(declared):
            measured += declared([member.result for member in study.members(name)])
        else:
            fixed += declared
    joined: dict[str, ConventionFamily] = {}
    for family in (*fixed, *measured):
        first = joined.setdefault(family.title, family)
        if first is not family:
            conventions = (*first.conventions, *family.conventions)
            also = tuple(dict.fromkeys((*first.also, *family.also)))
            joined[family.title] = replace(first, conventions=conventions, also=also)
    return list(joined.values())


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

    @cached_property
    def goodness(self) -> dict[str, float]:
        """Each group's value, turned so that higher is better."""
        return {group: self.convention.sign * one.mean for group, one in self.readings.items()}

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
        significant: the conventions of both lists under which the two differ significantly.
    """

    better: str
    worse: str
    under: tuple[str, ...]
    otherwise: tuple[str, ...]
    significant: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Whether chance could have made both orders."""
        first, other = (set(side) & set(self.significant) for side in (self.under, self.otherwise))
        if first and other:
            return DECIDES
        if first or other:
            return f"only the {'first' if first else 'other'} order is significant"
        return "neither order is significant"


@dataclass(frozen=True)
class ConventionComparison:
    """One family of conventions."""

    family: ConventionFamily
    results: tuple[ConventionResult, ...]

    @property
    def available(self) -> list[ConventionResult]:
        """The conventions under which at least one group has a number."""
        return [one for one in self.results if one.readings]

    @property
    def unavailable(self) -> list[ConventionResult]:
        """The others."""
        return [one for one in self.results if not one.readings]

    @property
    def is_ranked(self) -> bool:
        """Whether two of the conventions rank the same groups."""
        return any(not np.isnan(tau(*pair)) for pair in combinations(self.available, 2))

    @cached_property
    def swaps(self) -> list[RankingSwap]:
        """All pairs of groups that occur in either order."""
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
    """Kendall's tau-b of two rankings of the same groups, 1 if equal and -1 if reversed.

    NaN where they have fewer than two groups in common, or all are equal.
    """
    groups = [group for group in one.readings if group in other.readings]
    pairs = [[result.goodness[group] for group in groups] for result in (one, other)]
    if len(groups) < 2:
        return float("nan")
    return float(stats.kendalltau(*pairs).statistic)


def evaluate_conventions(study: Study, others: Sequence[Study] = ()) -> list[ConventionComparison]:
    """All families, of the models of `study`.

    Args:
        others: the same models on the same images, evaluated under other conventions.
    """
    studies = (study, *others)
    known = {family.title: family for one in studies for family in families(one)}
    return [
        ConventionComparison(
            family, tuple(_convention_result(one, study, studies) for one in family.conventions)
        )
        for family in known.values()
    ]


def _convention_result(
    convention: Convention, study: Study, studies: Sequence[Study]
) -> ConventionResult:
    readings: dict[str, Estimate] = {}
    needs: dict[str, None] = {}
    notes: dict[str, None] = {}
    for group in study.groups:
        try:
            numbers = [_number(convention, one.key, studies) for one in study.models_of(group)]
        except Missing as missing:
            needs[str(missing)] = None
            continue
        readings[group] = make_estimate(numbers)
        notes |= dict.fromkeys(number.note for number in numbers if number.note)
    return ConventionResult(convention, readings, "; ".join(needs), tuple(notes))


def _number(convention: Convention, key: str, studies: Sequence[Study]) -> ConventionValue:
    """From the first result that has it."""
    reason = f"the analysis {convention.analysis}"
    for study in studies:
        result = study.results.get((key, convention.analysis))
        try:
            if result is not None:
                return convention.of(result)
        except Missing as missing:
            reason = str(missing)
        except Exception as error:  # whatever an edited result may raise
            fault = f"{type(error).__name__}: {error}".splitlines()[0]
            reason = f"a sound result of {convention.analysis} ({fault})"
    raise Missing(reason)


def make_estimate(numbers: Sequence[ConventionValue]) -> Estimate:
    """What a group reaches: one number for each of its seeds."""
    values, first = [number.value for number in numbers], numbers[0]
    strata = [number.outcomes for number in numbers]
    shapes = {tuple(len(array) for array in one) for one in strata}
    outcomes = [np.mean(column, axis=0) for column in zip(*strata)] if len(shapes) == 1 else []
    return estimate(values, first.interval, PERCENT, n=first.n, outcomes=tuple(outcomes))
