"""The headlines of a study: what each group reaches in each, over its seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from catchup_eval.metrics.intervals import NO_INTERVAL, Interval, t_interval
from catchup_eval.results.headline import HasHeadlines, Headline
from catchup_eval.results.result import ModelResult, Result
from catchup_eval.results.study import Study

SEEDS = 3  # from which on seeds have an interval, and methods are compared instead of networks
PERCENT = "%"
UNKNOWN = NO_INTERVAL


@dataclass(frozen=True)
class Estimate:
    """What one group reaches in one headline.

    Args:
        values: one for each seed that has it.
        interval: 95 %: of the one network over its samples, or of the mean over the seeds; NaN
            for two seeds, and where the one network's number has none.
        n: samples behind each value.
        protocol: name and version.
        chance: the value of guessing, NaN where there is none.
        outcomes: per-sample arrays in the unit of the values, averaged over the seeds.
    """

    values: tuple[float, ...]
    interval: Interval = UNKNOWN
    n: int = 0
    protocol: str = ""
    chance: float = np.nan
    outcomes: tuple[np.ndarray, ...] = ()

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.values))


@dataclass(frozen=True)
class SummaryRow:
    """One headline of one question, for all groups that have it.

    Args:
        analysis: the question's name.
        title: the question's title.
        headline: the number.
        primary: whether it is the question's first, which its verdict goes by.
        unit: of the values.
        readings: by group, in the study's order.
    """

    analysis: str
    title: str
    headline: Headline
    primary: bool
    unit: str
    readings: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.headline.better == "higher" else -1


def summarize(study: Study, analyses: Mapping[str, HasHeadlines]) -> list[SummaryRow]:
    """The headlines of all questions that were asked, in order.

    Raises:
        KeyError: a headline's condition holds for several rows of one result.
    """
    found = [
        _summary_row(study, name, analyses[name], headline)
        for name in study.available_analyses()
        if name in analyses
        for headline in analyses[name].HEADLINES
    ]
    return [line for line in found if line.readings]


def _summary_row(study: Study, name: str, analysis: HasHeadlines, headline: Headline) -> SummaryRow:
    by_group: dict[str, list[ModelResult]] = {group: [] for group in study.groups}
    for member in study.members(name):
        if _row(member.result, headline) is not None:
            by_group[member.model].append(member)
    units = [_rows(m.result, headline)["unit"].iloc[0] for ms in by_group.values() for m in ms]
    unit = str(units[0]) if units else ""
    readings = {group: _estimate(headline, ms, unit) for group, ms in by_group.items() if ms}
    return SummaryRow(
        name, analysis.TITLE, headline, headline is analysis.HEADLINES[0], unit, readings
    )


def _rows(result: Result, headline: Headline) -> pd.DataFrame:
    if not set(headline.where) <= set(result.frame.columns):
        return result.frame.iloc[:0]
    return result.rows(headline.metric, **headline.where)


def _row(result: Result, headline: Headline) -> pd.Series | None:
    rows = _rows(result, headline)
    if len(rows) > 1:
        where = dict(headline.where)
        raise KeyError(f"{len(rows)} rows of {headline.metric} with {where}, expected one")
    return rows.iloc[0] if len(rows) else None


def _estimate(headline: Headline, members: Sequence[ModelResult], unit: str) -> Estimate:
    rows = [row for m in members if (row := _row(m.result, headline)) is not None]
    values = tuple(float(row["value"]) for row in rows)
    own = Interval(float(rows[0]["low"]), float(rows[0]["high"]))
    return Estimate(
        values,
        own if len(values) == 1 else seeds_interval(values, unit),
        n=int(rows[0]["n"]),
        protocol=", ".join(dict.fromkeys(str(row["protocol"]) for row in rows)),
        chance=float(np.mean([_chance(m.result, headline) for m in members])),
        outcomes=_outcomes(headline, members),
    )


def seeds_interval(values: Sequence[float], unit: str) -> Interval:
    """The 95 % interval of a mean over three or more seeds, within 0 and 100 for percent."""
    if len(values) < SEEDS:
        return UNKNOWN
    low, high = t_interval(values)
    if low != low:
        return UNKNOWN
    if unit == PERCENT and min(values) >= 0:
        low, high = max(0.0, low), min(100.0, high)
    return Interval(low, high)


def _chance(result: Result, headline: Headline) -> float:
    chance = headline.chance
    if not isinstance(chance, str):
        return np.nan if chance is None else float(chance)
    rows = result.rows(chance)
    if len(rows) > 1:
        rows = _rows(result, replace(headline, metric=chance))
    return float(rows["value"].iloc[0]) if len(rows) == 1 else np.nan


def _outcomes(headline: Headline, members: Sequence[ModelResult]) -> tuple[np.ndarray, ...]:
    names = headline.outcomes
    if not names or any(name not in m.result.samples for m in members for name in names):
        return ()
    strata = [[np.asarray(m.result.samples[name], float) for m in members] for name in names]
    if any(len({len(array) for array in arrays}) > 1 for arrays in strata):
        return ()
    return tuple(headline.scale * np.mean(arrays, axis=0) for arrays in strata)
