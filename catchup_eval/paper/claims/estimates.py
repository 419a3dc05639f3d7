"""The numbers that a claim is about: its metric, for all groups of a study."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from catchup_eval.analysis.base import Analysis, declaration
from catchup_eval.core.errors import Missing, UnknownName, UserError
from catchup_eval.metrics.intervals import NO_INTERVAL
from catchup_eval.paper.claims.claim import Claim
from catchup_eval.results.headline import Headline, RowLink
from catchup_eval.results.result import CHECK, COLUMNS, Result, interval_of
from catchup_eval.results.study import Study
from catchup_eval.results.summary import Estimate, SummaryRow, estimate, summarize

SIGNS = {"higher": 1, "lower": -1, "equal": 1}  # equal is tested both ways


def metric_row(claim: Claim, study: Study, analyses: Mapping[str, Analysis]) -> SummaryRow:
    """What each group reaches in a claim's metric.

    What the condition leaves open is as in the analysis's headline, where one fits; otherwise the
    rows that are left are averaged. Headlines have per-sample outcomes, and rows that the analysis
    links to some.

    Raises:
        Missing: the analysis was not run.
        UnknownName: no such analysis, metric, column or value.
        UserError: several rows, and no condition.
    """
    name, _, metric = claim.metric.partition(".")
    if name not in analyses:
        raise UnknownName("analysis", name, analyses)
    members = list(study.members(name))
    if not members:
        raise Missing(f"results of the analysis {name}")
    frames = [member.result.frame for member in members]
    known = set().union(*(frame["metric"][frame["unit"] != CHECK] for frame in frames))
    if metric not in known:
        raise UnknownName(f"metric of {name}", metric, known)
    for headline in _headlines(claim, analyses[name]):
        if claim.where.items() <= headline.where.items():
            found = summarize(study, {name: analyses[name]})
            absent = SummaryRow(name, "", headline, primary=False, unit="")
            return next((line for line in found if line.headline is headline), absent)
    by_group: dict[str, list[pd.DataFrame]] = {}
    links: dict[str, list[RowLink]] = {}
    for member in members:
        by_group.setdefault(member.model, []).append(_rows(claim, member.result))
        own = _links(claim, member.result, analyses[name])
        links.setdefault(member.model, []).extend(own)
    readings = {
        group: replace(_estimate(frames), outcomes=_outcomes(links[group], len(frames)))
        for group, frames in by_group.items()
    }
    unit = str(next(iter(by_group.values()))[0]["unit"].iloc[0])
    scale = next((link.scale for own in links.values() for link in own), 100.0)
    headline = Headline(claim.metric, claim.metric_text, "higher", where=claim.where, scale=scale)
    return SummaryRow(name, analyses[name].TITLE, headline, False, unit, readings)


def _links(claim: Claim, result: Result, analysis: Analysis) -> list[RowLink]:
    """The outcomes of the one row that the condition picks."""
    metric = claim.metric.partition(".")[2]
    found = declaration(analysis, "row_links")(result)
    return [link for link in found if link.metric == metric and link.where == claim.where]


def _outcomes(links: list[RowLink], seeds: int) -> tuple[np.ndarray, ...]:
    """Averaged over the seeds, in the unit of the values; none where a seed has none."""
    sizes = {len(link.outcomes) for link in links}
    if len(links) != seeds or len(sizes) != 1:
        return ()
    return (np.mean([link.scale * link.outcomes.astype(float) for link in links], axis=0),)


def _headlines(claim: Claim, analysis: Analysis) -> list[Headline]:
    return [one for one in analysis.HEADLINES if one.metric == claim.metric.partition(".")[2]]


def sign(claim: Claim, analysis: Analysis) -> int:
    """1 where the claim is of more, -1 where of less; better is as the headlines have it.

    Raises:
        UserError: no headline has this metric, so that neither side is the better.
    """
    if claim.relation in SIGNS:
        return SIGNS[claim.relation]
    headlines = _headlines(claim, analysis)
    if not headlines:
        raise UserError(f"{claim.metric_text} has no better side; use lower or higher instead")
    return 1 if all(one.better == "higher" for one in headlines) else -1


def _rows(claim: Claim, result: Result) -> pd.DataFrame:
    """The rows that a claim's condition picks, one or more."""
    analysis, _, metric = claim.metric.partition(".")
    frame = result.rows(metric)
    columns = [column for column in frame.columns if column not in COLUMNS]
    for column, value in claim.where.items():
        if column not in columns:
            raise UnknownName(f"column of {analysis}", column, columns)
        known, frame = _values(frame[column]), frame[frame[column] == value]
        if frame.empty:
            raise UnknownName(f"{column} of {claim.metric}", str(value), known)
    if not claim.where and len(frame) > 1:
        known = [f"{c} ({', '.join(values)})" for c in columns if (values := _values(frame[c]))]
        raise UserError(
            f"{claim.metric} has {len(frame)} rows; select one by where = {{column = value}}: "
            + "; ".join(known)
        )
    return frame


def _values(column: pd.Series) -> list[str]:
    """As a claim would write them: 4, where the frame has 4.0 beside rows without one."""
    return [str(value).removesuffix(".0") for value in column.dropna().unique()]


def _estimate(frames: list[pd.DataFrame]) -> Estimate:
    values = [float(frame["value"].mean()) for frame in frames]
    first = frames[0].iloc[0]
    own = interval_of(first) if len(frames[0]) == 1 else NO_INTERVAL
    n, protocol = int(first["n"]), str(first["protocol"])
    return estimate(values, own, str(first["unit"]), n=n, protocol=protocol)
