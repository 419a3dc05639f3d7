"""Which convention comes closest to a number that somebody quotes?"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from catchup_eval.audit.conventions.rankings import ConventionComparison, ConventionResult
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.report import formatting
from catchup_eval.results.summary import PERCENT, Estimate


class Quote(NamedTuple):
    """A number that is printed somewhere, under the name of a family."""

    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.name} = {self.value:g}"


class QuoteMatch(NamedTuple):
    """What one group reaches under one convention, beside the quoted number."""

    view: ConventionComparison
    seen: ConventionResult
    group: str
    reading: Estimate
    distance: float  # quoted less measured

    @property
    def in_interval(self) -> bool:
        """Whether the quoted number lies in the 95 % interval."""
        low, high = self.reading.interval
        return low <= self.reading.mean + self.distance <= high

    @property
    def description(self) -> str:
        """Convention, group, value and interval."""
        about = f"{self.view.family.about}: " if self.view.family.about else ""
        value = formatting.format_estimate(self.reading, PERCENT)
        return f"{about}{self.seen.convention.name} of {self.group}: {value}"


@dataclass(frozen=True)
class QuoteMatches:
    """A quote, and what is measured here, the closest first; nothing where nothing is stored."""

    quote: Quote
    candidates: tuple[QuoteMatch, ...]
    absent: tuple[ConventionResult, ...]

    @property
    def text(self) -> str:
        """The closest, its distance, what else would fit, and what the same group has otherwise."""
        if not self.candidates:
            return f"{self.quote}: nothing is stored that could be it."
        parts = [
            self._closest_text(),
            self._fitting_text(),
            self._other_conventions_text(),
            self._unavailable_text(),
        ]
        return " ".join(part for part in parts if part)

    def _closest_text(self) -> str:
        best = self.candidates[0]
        gap = formatting.format_number(abs(best.distance), PERCENT)
        side = "above" if best.distance > 0 else "below"
        away = f"the quote is {gap} {side} it" if any(c in "123456789" for c in gap) else "equal"
        inside = "within" if best.in_interval else "outside"
        known = best.reading.interval.low == best.reading.interval.low
        interval = f", {inside} its interval" if known else ", which has no interval"
        return f"{self.quote}: closest is {best.description} ({away}{interval})."

    def _fitting_text(self) -> str:
        others = [one.description for one in self.candidates[1:] if one.in_interval]
        return f"Also within the interval: {'; '.join(others)}." if others else ""

    def _other_conventions_text(self) -> str:
        best = self.candidates[0]
        rest = [
            f"{one.seen.convention.name} {formatting.format_estimate(one.reading, PERCENT)}"
            for one in self.candidates[1:]
            if one.group == best.group and one.view is best.view and not one.in_interval
        ]
        return f"Otherwise {best.group} would have: {'; '.join(rest)}." if rest else ""

    def _unavailable_text(self) -> str:
        names = dict.fromkeys(one.convention.name for one in self.absent)
        return f"Not stored: {'; '.join(names)}." if names else ""


def parse(text: str) -> Quote:
    """A quote as it is written: `mCE=43.76`.

    Raises:
        UserError: no name, or no number.
    """
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name.strip() or not math.isfinite(value):
        raise UserError(f"expected a quote as NAME=NUMBER, such as mCE=43.76, got {text!r}")
    return Quote(name.strip(), value)


def match_quote(quote: Quote, views: Sequence[ConventionComparison]) -> QuoteMatches:
    """All that is measured under the quoted name, the closest first.

    Raises:
        UnknownName: no family has this name.
    """
    asked = [view for view in views if _normalize_name(quote.name) in _names(view)]
    if not asked:
        raise UnknownName("family of conventions", quote.name, {v.family.name for v in views})
    found = [one for view in asked for one in _candidates(view, quote.value)]
    ordered = sorted(found, key=lambda one: abs(one.distance))
    return QuoteMatches(
        quote, tuple(ordered), tuple(seen for view in asked for seen in view.unavailable)
    )


def _names(view: ConventionComparison) -> set[str]:
    return {
        _normalize_name(name) for name in (view.family.name, view.family.title, *view.family.also)
    }


def _normalize_name(name: str) -> str:
    """The same name without case, spaces and signs."""
    return re.sub(r"[\W_]", "", name).lower()


def _candidates(view: ConventionComparison, value: float) -> Iterator[QuoteMatch]:
    for seen in view.available:
        for group, reading in seen.readings.items():
            yield QuoteMatch(view, seen, group, reading, value - reading.mean)
