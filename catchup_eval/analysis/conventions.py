"""What a convention is: a name, who uses it, and how its number comes from what is stored."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from catchup_eval.core.errors import Missing
from catchup_eval.metrics.intervals import Interval
from catchup_eval.results.result import Result
from catchup_eval.results.summary import UNKNOWN


class ConventionValue(NamedTuple):
    """What one network reaches under one convention, in percent.

    Args:
        n: samples behind it.
        outcomes: per-sample arrays in percent, whose means are the value: one array, or two strata.
        note: in what it departs from the convention; may be empty.
    """

    value: float
    interval: Interval = UNKNOWN
    n: int = 0
    outcomes: tuple[np.ndarray, ...] = ()
    note: str = ""


Compute = Callable[[Result], ConventionValue]  # raises Missing, with what it would need


@dataclass(frozen=True)
class Convention:
    """One way to compute a number that goes by a common name.

    Args:
        used_by: papers and code.
        how: from what is stored.
        analysis: the question whose results hold it.
        of: the number of one network.
        better: "higher" or "lower".
    """

    name: str
    used_by: str
    how: str
    analysis: str
    of: Compute
    better: str = "higher"

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.better == "higher" else -1


@dataclass(frozen=True)
class ConventionFamily:
    """Conventions whose numbers are printed under one name; the first is the paper's, or default.

    Args:
        name: the common name, which a quoted number goes by.
        also: other names for the same.
        about: which of several of this name it is: a kind of images from outside, a strength.
    """

    name: str
    conventions: tuple[Convention, ...]
    also: tuple[str, ...] = ()
    about: str = ""

    @property
    def title(self) -> str:
        """The name, and which of several it is."""
        return f"{self.name} ({self.about})" if self.about else self.name


Conventions = Sequence[ConventionFamily] | Callable[[Sequence[Result]], Iterable[ConventionFamily]]
"""What an analysis declares: its families, or a function of its results that are there."""


def row(metric: str, needs: str, *, sample: str = "", **where: Any) -> Compute:
    """The convention whose number is a row of the frame.

    Args:
        needs: what a network without such a row lacks.
        sample: the array of outcomes, 0 to 1, whose mean it is.
    """

    def of(result: Result) -> ConventionValue:
        known = set(where) <= set(result.frame.columns)
        rows = result.rows(metric, **where) if known else result.frame.iloc[:0]
        if len(rows) != 1:
            raise Missing(needs)
        value, low, high = (float(rows[name].iloc[0]) for name in ("value", "low", "high"))
        outcomes = (100 * np.asarray(result.samples[sample], float),) if sample else ()
        return ConventionValue(value, Interval(low, high), int(rows["n"].iloc[0]), outcomes)

    return of


def complement(of: Compute) -> Compute:
    """100 less the number: an error instead of an accuracy, and the other way round."""

    def turned(result: Result) -> ConventionValue:
        value, (low, high), n, outcomes, note = of(result)
        limits = Interval(100 - high, 100 - low)
        return ConventionValue(
            100 - value, limits, n, tuple(100 - array for array in outcomes), note
        )

    return turned


def accuracy_and_error(
    name: str, used_by: tuple[str, str], how: str, analysis: str, right: Compute
) -> tuple[Convention, Convention]:
    """An accuracy, and the error that is 100 less it.

    Args:
        used_by: who prints the accuracy, and who the error.
        right: the accuracy.
    """
    return (
        Convention(f"{name}, accuracy", used_by[0], how, analysis, right),
        Convention(
            f"{name}, error",
            used_by[1],
            f"100 less it: {how}",
            analysis,
            complement(right),
            "lower",
        ),
    )


def for_protocol(protocol: str, of: Compute, needs: str) -> Compute:
    """A number that counts only where the result was measured under this protocol."""

    def checked(result: Result) -> ConventionValue:
        if not str(result.frame["protocol"].iloc[0]).startswith(protocol):
            raise Missing(needs)
        return of(result)

    return checked


def rerun_hint(setting: str) -> str:
    """What to ask where a result holds one convention at a time.

    Example:
        >>> rerun_hint("deformation.convention=patchup")
        'a report with --set deformation.convention=patchup, named beside this one'
    """
    return f"a report with --set {setting}, named beside this one"
