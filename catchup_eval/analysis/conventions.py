"""Conventions: definitions of a number with a common name, computed from stored results."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from catchup_eval.core.errors import Missing
from catchup_eval.metrics.intervals import NO_INTERVAL, Interval
from catchup_eval.results.result import Result, interval_of


class ConventionValue(NamedTuple):
    """The number of one model under one convention, in percent."""

    value: float
    interval: Interval = NO_INTERVAL
    n: int = 0  # samples behind it
    outcomes: tuple[np.ndarray, ...] = ()  # percent, whose means are the value: one, or two strata
    note: str = ""  # how it departs from the convention; may be empty


Compute = Callable[[Result], ConventionValue]  # raises Missing, with what it needs


@dataclass(frozen=True)
class Convention:
    """One definition of a number with a common name."""

    name: str
    used_by: str  # papers and code
    how: str  # it follows from what is stored
    analysis: str  # whose results hold it
    of: Compute  # the number of one model
    better: str = "higher"  # or "lower"

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.better == "higher" else -1


@dataclass(frozen=True)
class ConventionFamily:
    """Conventions of one name; the first is the paper's, or the default."""

    name: str  # the common name, which a quoted number goes by
    conventions: tuple[Convention, ...]
    also: tuple[str, ...] = ()  # other names for the same
    about: str = ""  # which of several of this name it is: an OOD set, a strength

    @property
    def title(self) -> str:
        """The name, and which of several it is."""
        return f"{self.name} ({self.about})" if self.about else self.name


Conventions = Sequence[ConventionFamily] | Callable[[Sequence[Result]], Iterable[ConventionFamily]]
"""What an analysis declares: its families, or a function of its stored results."""


def row(metric: str, needs: str, *, sample: str = "", **where: Any) -> Compute:
    """The convention whose number is a row of the frame.

    Args:
        needs: what a result without such a row needs.
        sample: the array of outcomes, 0 to 1, whose mean it is.
    """

    def of(result: Result) -> ConventionValue:
        rows = result.rows(metric, **where)
        if len(rows) != 1:
            raise Missing(needs)
        found = rows.iloc[0]
        outcomes = (100 * np.asarray(result.samples[sample], float),) if sample else ()
        return ConventionValue(float(found["value"]), interval_of(found), int(found["n"]), outcomes)

    return of


def complement(of: Compute) -> Compute:
    """100 less the number: an error instead of an accuracy, and the reverse."""

    def complemented(result: Result) -> ConventionValue:
        value, (low, high), n, outcomes, note = of(result)
        rest = tuple(100 - array for array in outcomes)
        return ConventionValue(100 - value, Interval(100 - high, 100 - low), n, rest, note)

    return complemented


def accuracy_and_error(
    name: str, used_by: tuple[str, str], how: str, analysis: str, accuracy: Compute
) -> tuple[Convention, Convention]:
    """An accuracy, and the error that is 100 less it; `used_by` names who prints which."""
    error, rest = complement(accuracy), f"100 less it: {how}"
    return (
        Convention(f"{name}, accuracy", used_by[0], how, analysis, accuracy),
        Convention(f"{name}, error", used_by[1], rest, analysis, error, "lower"),
    )


def for_protocol(protocol: str, of: Compute, needs: str) -> Compute:
    """A number that counts only where the result was measured under this protocol."""

    def checked(result: Result) -> ConventionValue:
        if not str(result.frame["protocol"].iloc[0]).startswith(protocol):
            raise Missing(needs)
        return of(result)

    return checked


def rerun_hint(setting: str) -> str:
    """What to run where a result holds one convention at a time.

    Example:
        >>> rerun_hint("deformation.convention=patchup")
        'a report with --set deformation.convention=patchup, named beside this one'
    """
    return f"a report with --set {setting}, named beside this one"
