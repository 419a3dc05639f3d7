"""The headline metrics of a study: what each group reaches in each, over its seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from catchup_eval.metrics.intervals import NO_INTERVAL, Interval, t_interval
from catchup_eval.results.headline import HasHeadlines, Headline
from catchup_eval.results.result import Result, interval_of
from catchup_eval.results.study import Study

SEEDS = 3  # from which on seeds have an interval, and methods are compared instead of networks
PERCENT = "%"


@dataclass(frozen=True)
class Estimate:
    """What one group reaches in one number."""

    values: tuple[float, ...]  # one for each seed that has it
    # 95 %: of the one network over its samples, or of the mean over the seeds; NaN for two seeds,
    # and where the one network's number has none.
    interval: Interval = NO_INTERVAL
    n: int = 0  # samples behind each value
    protocol: str = ""  # name and version
    note: str = ""  # what is odd about the outputs that it comes from
    chance: float = np.nan  # the value of guessing, NaN where there is none
    # Per-sample arrays in the unit of the values, averaged over the seeds.
    outcomes: tuple[np.ndarray, ...] = ()

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.values))


@dataclass(frozen=True)
class SummaryRow:
    """One headline of one analysis, for all groups that have it."""

    analysis: str
    title: str
    headline: Headline
    primary: bool  # whether it is the first that the analysis has, by which models are compared
    unit: str  # of the values
    readings: Mapping[str, Estimate] = field(default_factory=dict)  # by group, in the study's order

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.headline.better == "higher" else -1


def summarize(study: Study, analyses: Mapping[str, HasHeadlines]) -> list[SummaryRow]:
    """The headlines of all analyses that have results, in order.

    Raises:
        KeyError: a headline's condition holds for several rows of one result.
    """
    found = [
        _summary_row(study, name, analyses[name], headline)
        for name in study.available_analyses()
        if name in analyses
        for headline in analyses[name].HEADLINES
    ]
    lines = [line for line in found if line.readings]
    first = {line.analysis: line.headline for line in reversed(lines)}
    return [replace(line, primary=line.headline is first[line.analysis]) for line in lines]


def _summary_row(study: Study, name: str, analysis: HasHeadlines, headline: Headline) -> SummaryRow:
    by_group: dict[str, list[tuple[pd.Series, Result]]] = {group: [] for group in study.groups}
    for member in study.members(name):
        row = member.result.row(headline.metric, **headline.where)
        if row is not None:
            by_group[member.model].append((row, member.result))
    units = [str(row["unit"]) for found in by_group.values() for row, _ in found]
    unit = units[0] if units else ""
    readings = {
        group: replace(
            _estimate(headline, found, unit),
            note="; ".join([*study.info.data.notes, *study.notes(group, name)]),
        )
        for group, found in by_group.items()
        if found
    }
    return SummaryRow(name, analysis.TITLE, headline, False, unit, readings)


def _estimate(headline: Headline, found: Sequence[tuple[pd.Series, Result]], unit: str) -> Estimate:
    rows, results = zip(*found, strict=True)
    return estimate(
        [float(row["value"]) for row in rows],
        interval_of(rows[0]),
        unit,
        n=int(rows[0]["n"]),
        protocol=", ".join(dict.fromkeys(str(row["protocol"]) for row in rows)),
        chance=float(np.mean([chance_of(result, headline) for result in results])),
        outcomes=_outcomes(headline, results),
    )


def estimate(values: Sequence[float], own: Interval, unit: str, **fields: Any) -> Estimate:
    """What a group reaches: `values` of its seeds, with the `own` interval of a single network."""
    interval = own if len(values) == 1 else seeds_interval(values, unit)
    return Estimate(tuple(values), interval, **fields)


def seeds_interval(values: Sequence[float], unit: str) -> Interval:
    """The 95 % interval of a mean over three or more seeds, within 0 and 100 for percent."""
    if len(values) < SEEDS:
        return NO_INTERVAL
    low, high = t_interval(values)
    if low == low and unit == PERCENT and min(values) >= 0:
        low, high = max(0.0, low), min(100.0, high)
    return Interval(low, high)


def chance_of(result: Result, headline: Headline) -> float:
    """The value of guessing; NaN where there is none."""
    chance = headline.chance
    if not isinstance(chance, str):
        return np.nan if chance is None else float(chance)
    rows = result.rows(chance)
    if len(rows) > 1:
        rows = result.rows(chance, **headline.where)
    return float(rows["value"].iloc[0]) if len(rows) == 1 else np.nan


def _outcomes(headline: Headline, results: Sequence[Result]) -> tuple[np.ndarray, ...]:
    names = headline.outcomes
    if not names or any(name not in result.samples for result in results for name in names):
        return ()
    strata = [[np.asarray(result.samples[name], float) for result in results] for name in names]
    if any(len({len(array) for array in arrays}) > 1 for arrays in strata):
        return ()
    return tuple(headline.scale * np.mean(arrays, axis=0) for arrays in strata)
