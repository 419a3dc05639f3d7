"""Which convention comes closest to a published number?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from catchup_eval.audit.conventions.rankings import ConventionComparison, ConventionResult
from catchup_eval.core.errors import UnknownName
from catchup_eval.report import formatting
from catchup_eval.results.summary import PERCENT, Estimate


class QuoteMatch(NamedTuple):
    """What one group reaches under one convention, beside the published number."""

    comparison: ConventionComparison
    result: ConventionResult
    group: str
    reading: Estimate
    distance: float  # published less measured

    @property
    def in_interval(self) -> bool:
        """Whether the published number lies in the 95 % interval."""
        low, high = self.reading.interval
        return low <= self.reading.mean + self.distance <= high

    @property
    def description(self) -> str:
        """Convention, group, value and interval."""
        about = f"{self.comparison.family.about}: " if self.comparison.family.about else ""
        value = formatting.format_estimate(self.reading, PERCENT)
        return f"{about}{self.result.convention.name} of {self.group}: {value}"


@dataclass(frozen=True)
class QuoteMatches:
    """A published number, what is measured under its name, the closest first, and what is not."""

    name: str
    value: float
    candidates: Sequence[QuoteMatch]
    absent: Sequence[ConventionResult]

    @property
    def text(self) -> str:
        """The closest, its distance, what else would fit, and what the same group has otherwise."""
        quote = f"{self.name} = {self.value:g}"
        if not self.candidates:
            return f"{quote}: nothing is stored that could be it."
        best, *others = self.candidates
        parts = [f"{quote}: closest is {best.description} ({_distance_text(best)})."]
        fitting = [one.description for one in others if one.in_interval]
        if fitting:
            parts.append(f"Also within the interval: {'; '.join(fitting)}.")
        rest = [
            f"{one.result.convention.name} {formatting.format_estimate(one.reading, PERCENT)}"
            for one in others
            if one.group == best.group and one.comparison is best.comparison and not one.in_interval
        ]
        if rest:
            parts.append(f"Otherwise {best.group} would have: {'; '.join(rest)}.")
        absent = dict.fromkeys(one.convention.name for one in self.absent)
        return " ".join([*parts, *([f"Not stored: {'; '.join(absent)}."] if absent else [])])


def _distance_text(best: QuoteMatch) -> str:
    gap = formatting.format_number(abs(best.distance), PERCENT)
    side = "above" if best.distance > 0 else "below"
    away = f"the quote is {gap} {side} it" if any(c in "123456789" for c in gap) else "equal"
    if best.reading.interval.low != best.reading.interval.low:
        return f"{away}, which has no interval"
    return f"{away}, {'within' if best.in_interval else 'outside'} its interval"


def match_quote(
    name: str, value: float, comparisons: Sequence[ConventionComparison]
) -> QuoteMatches:
    """All that is measured under the published name, the closest first.

    Raises:
        UnknownName: no family has this name.
    """
    families = [one for one in comparisons if _normalize_name(name) in _names(one)]
    if not families:
        raise UnknownName("family of conventions", name, {one.family.name for one in comparisons})
    found = [
        QuoteMatch(comparison, result, group, reading, value - reading.mean)
        for comparison in families
        for result in comparison.available
        for group, reading in result.readings.items()
    ]
    found.sort(key=lambda one: abs(one.distance))
    return QuoteMatches(
        name, value, found, [one for comparison in families for one in comparison.unavailable]
    )


def _names(comparison: ConventionComparison) -> set[str]:
    names = (comparison.family.name, comparison.family.title, *comparison.family.also)
    return {_normalize_name(name) for name in names}


def _normalize_name(name: str) -> str:
    """The same name without case, spaces and signs."""
    return re.sub(r"[\W_]", "", name).lower()
