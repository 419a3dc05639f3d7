"""The numbers that a claim is about: its metric, for all groups of a study."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from catchup_eval import headlines
from catchup_eval.claims.demand import Metric
from catchup_eval.errors import Missing, UnknownName, UserError
from catchup_eval.headlines import Line, Reading, seeds_interval
from catchup_eval.question import Analysis, Headline
from catchup_eval.results import CHECK, COLUMNS, Result
from catchup_eval.statistics import Interval
from catchup_eval.study import Study


def line(metric: Metric, study: Study, analyses: Mapping[str, Analysis]) -> Line:
    """What each group reaches in a metric.

    What the condition leaves open is as in the question's headline, where one fits; otherwise the
    rows that are left are averaged. Only headlines have per-sample outcomes.

    Raises:
        Missing: the question was not asked.
        UnknownName: no such question, metric, column or value.
        UserError: the metric of several questions, or of several rows without a condition.
    """
    metric = replace(metric, question=question(metric, study, analyses))
    name = metric.question
    headline = _headline(metric, analyses[name])
    if headline is not None:
        found = headlines.lines(study, {name: analyses[name]})
        return next((line for line in found if line.headline is headline), _none(metric, headline))
    return _averaged(metric, study, analyses[name])


def question(metric: Metric, study: Study, analyses: Mapping[str, Analysis]) -> str:
    """The question that a metric belongs to, also where the claim does not name it.

    Raises:
        Missing: it was not asked.
        UnknownName: there is no such question or metric.
        UserError: several have it.
    """
    name = metric.question
    if not name:
        return _only_one(metric.name, study, analyses)
    if name not in analyses:
        raise UnknownName("question", name, analyses)
    if name not in study.asked():
        raise Missing(f"results of the question {name}")
    known = _metrics(study, name)
    if metric.name not in known:
        raise UnknownName(f"metric of {name}", metric.name, known)
    return name


def _only_one(metric: str, study: Study, analyses: Mapping[str, Analysis]) -> str:
    """The one question that has it as a headline, or else at all."""
    leading = [name for name in analyses if metric in _leading(analyses[name])]
    having = [n for n in study.asked() if n in analyses and metric in _metrics(study, n)]
    found = leading or having
    if not found:
        known = {m for n in study.asked() for m in _metrics(study, n)}
        raise UnknownName("metric", metric, known)
    if len(found) > 1:
        spelled = ", ".join(f"{name}.{metric}" for name in found)
        raise UserError(f"{metric} is a metric of several questions; write one of: {spelled}")
    if found[0] not in having:
        raise Missing(f"results of the question {found[0]}")
    return found[0]


def _leading(analysis: Analysis) -> set[str]:
    return {headline.metric for headline in analysis.HEADLINES}


def _metrics(study: Study, name: str) -> set[str]:
    frames = [member.result.frame for member in study.members(name)]
    return {str(m) for frame in frames for m in frame["metric"][frame["unit"] != CHECK]}


def _headline(metric: Metric, analysis: Analysis) -> Headline | None:
    asked = metric.where.items()
    return next(
        (
            headline
            for headline in analysis.HEADLINES
            if headline.metric == metric.name and asked <= headline.where.items()
        ),
        None,
    )


def _none(metric: Metric, headline: Headline) -> Line:
    return Line(metric.question, "", headline, primary=False, unit="")


def sign(metric: Metric, analysis: Analysis) -> int:
    """1 where higher is better, -1 where lower is, as the question's headlines have it.

    Raises:
        UserError: no headline has this metric.
    """
    ways = {one.better for one in analysis.HEADLINES if one.metric == metric.name}
    if not ways:
        raise UserError(f"{metric} has no better side; say lower or higher instead")
    return 1 if ways == {"higher"} else -1


def _averaged(metric: Metric, study: Study, analysis: Analysis) -> Line:
    by_group: dict[str, list[pd.DataFrame]] = {}
    for member in study.members(metric.question):
        by_group.setdefault(member.model, []).append(rows(metric, member.result))
    readings = {group: _reading(frames) for group, frames in by_group.items()}
    unit = next(str(frame["unit"].iloc[0]) for frames in by_group.values() for frame in frames)
    headline = Headline(metric.name, str(metric), "higher", where=metric.where)
    return Line(metric.question, analysis.TITLE, headline, False, unit, readings)


def rows(metric: Metric, result: Result) -> pd.DataFrame:
    """The rows of a result that a metric's condition picks, one or more.

    Raises:
        UnknownName: no such column, or no row with such a value.
        UserError: several rows, and no condition to choose by.
    """
    frame = result.rows(metric.name)
    columns = [name for name in frame.columns if name not in COLUMNS]
    for column, value in metric.where.items():
        if column not in columns:
            raise UnknownName(f"column of {metric.question}", column, columns)
        left = frame[frame[column] == value]
        if left.empty:
            known = _values(frame[column])
            raise UnknownName(f"{column} of {metric.question}.{metric.name}", str(value), known)
        frame = left
    if not metric.where and len(frame) > 1:
        raise UserError(f"{metric} has {len(frame)} rows; {_choice(frame, columns)}")
    return frame


def _choice(frame: pd.DataFrame, columns: list[str]) -> str:
    known = {column: _values(frame[column]) for column in columns}
    said = [f"{column} ({', '.join(values)})" for column, values in known.items() if values]
    return f"say which, as {{column=value}}, by: {'; '.join(said)}"


def _values(column: pd.Series) -> list[str]:
    """As a claim would write them: 4, where the frame has 4.0 beside rows without one."""
    return [str(value).removesuffix(".0") for value in column.dropna().unique()]


def _reading(frames: list[pd.DataFrame]) -> Reading:
    values = tuple(float(frame["value"].mean()) for frame in frames)
    first = frames[0].iloc[0]
    single = len(frames) == 1 and len(frames[0]) == 1
    own = Interval(float(first["low"]), float(first["high"]))
    return Reading(
        values,
        own if single else seeds_interval(values, str(first["unit"])),
        n=int(first["n"]),
        protocol=str(first["protocol"]),
    )
