"""The paper's tables as far as a study fills them: a row for each group, columns as in the paper.

Which tables and columns: those of the files in `reproductions/` that have a `layout`.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import NamedTuple

import pandas as pd

from catchup_eval.metrics.intervals import NO_INTERVAL, Interval
from catchup_eval.paper.reproduction import (
    Layout,
    Reproduction,
    ReproductionColumn,
    shipped_reproductions,
)
from catchup_eval.report import formatting
from catchup_eval.report.tables import Cell, Table
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.result import interval_of
from catchup_eval.results.study import Study
from catchup_eval.results.summary import PERCENT, estimate

DECIMALS = 2  # as the paper prints most of its numbers
FEW = 5  # columns up to which there are intervals
MARKED = "Bold is best; ▲ is significantly better than {reference}, after Holm's correction."
EVERYWHERE = {"clean", "training"}  # analyses that are no reason to show a table


class LayoutValue(NamedTuple):
    """One number in percent; NaN where it was not measured, limits also where none are printed."""

    value: float = nan
    interval: Interval = NO_INTERVAL
    better: bool = False  # significantly than the reference
    protocol: str = ""


def paper_tables(
    study: Study, verdicts: Sequence[PairwiseComparison]
) -> Iterator[tuple[Table, pd.DataFrame]]:
    """The paper's tables that the study can fill, each with its numbers in full precision.

    A table is included if an analysis was run that no table before it has.
    """
    better = [verdict for verdict in verdicts if verdict.label == "better"]
    known = EVERYWHERE
    for wanted in shipped_reproductions().values():
        if wanted.layout is not None:
            own = {column.question for column in wanted.columns} - known
            known = known | own
            if own & set(study.available_analyses()):
                yield _fill(study, wanted, wanted.layout, better)


def _fill(
    study: Study, wanted: Reproduction, layout: Layout, better: Sequence[PairwiseComparison]
) -> tuple[Table, pd.DataFrame]:
    columns = [column for column in _columns(wanted, layout) if _is_rate(study, column)]
    values = {group: [_value(study, group, c, better) for c in columns] for group in study.groups}
    if len(columns) > FEW:
        values = {
            group: [one._replace(interval=NO_INTERVAL) for one in row]
            for group, row in values.items()
        }
    name = "paper-" + wanted.title.lower().replace(" ", "-")
    marked = MARKED.format(reference=study.info.reference)
    caption = [f"As {wanted.title}: {layout.caption}.", marked, layout.note, _protocols(values)]
    wide = len(columns)
    printed = {group: _printed(study, group, wanted, columns) for group in study.groups}
    quoted = [any(row[i] == row[i] for row in printed.values()) for i in range(wide)]
    headings, groups, cells = ["Method"], [""], [[Cell(group)] for group in values]
    for i, column in enumerate(columns):
        headings.append(column.name)
        groups.append(column.group)
        best = _best([row[i].value for row in values.values()], column.better)
        for row, one in zip(cells, values.values(), strict=True):
            row.append(_cell(one[i], best=one[i].value == best))
        if quoted[i]:
            headings.append(column.paper)
            groups.append(column.group)
            for row, theirs in zip(cells, printed.values(), strict=True):
                row.append(Cell(formatting.format_number(theirs[i], "", DECIMALS), "paper"))
    table = Table(
        name,
        " ".join(filter(None, caption)),
        headings,
        [[row] for row in cells],
        groups=groups if any(groups) else (),
        file=name,
        lines=[list(range(2 + i * wide, 2 + (i + 1) * wide)) for i in range(len(values))],
    )
    return table, _frame(columns, values)


def _printed(
    study: Study, group: str, wanted: Reproduction, columns: Sequence[ReproductionColumn]
) -> list[float]:
    """What the paper prints for a group's method, by its name or that of its training."""
    trained = {str(model.card.get("method", "")) for model in study.models_of(group)} - {""}
    names = {group.lower(), *trained}
    row = next((r for r in wanted.rows if names & {r.method, r.name.lower()}), None)
    places = {column.name + column.group: place for place, column in enumerate(wanted.columns)}
    numbers = [places.get(column.name + column.group) for column in columns]
    return [nan if row is None or at is None else float(row.paper[at]) for at in numbers]


def _best(values: Sequence[float], better: str) -> float:
    """The best value of several models; NaN where there is nothing to compare."""
    known = [value for value in values if value == value]
    return nan if len(known) < 2 else max(known) if better == "higher" else min(known)


def _protocols(values: Mapping[str, Sequence[LayoutValue]]) -> str:
    """The protocols of all numbers, a sentence."""
    names = dict.fromkeys(one.protocol for row in values.values() for one in row if one.protocol)
    return f"Protocols: {', '.join(names)}." if names else ""


def _columns(wanted: Reproduction, layout: Layout) -> Iterator[ReproductionColumn]:
    """Those that have numbers in the paper, and what the layout adds.

    An error is 100 less the accuracy: that one is the headline metric, which is tested.
    """
    for place, column in enumerate(wanted.columns):
        if any(row.paper[place] == row.paper[place] for row in wanted.rows):
            accuracy = {"measure": f"{column.question}.accuracy", "complement": True}
            yield column.model_copy(update=accuracy if column.metric == "error" else {})
    yield from layout.extra


def column_rows(study: Study, group: str, column: ReproductionColumn) -> list[pd.DataFrame]:
    """The rows that a column is about, of each seed of a group that has any."""
    results = [m.result for m in study.members(column.question) if m.model == group]
    found = [result.rows(column.metric, **column.where) for result in results]
    return [rows for rows in found if len(rows)]


def _is_rate(study: Study, column: ReproductionColumn) -> bool:
    found = [rows for group in study.groups for rows in column_rows(study, group, column)]
    return any(PERCENT in set(rows["unit"]) for rows in found)


def _value(
    study: Study, group: str, column: ReproductionColumn, better: Sequence[PairwiseComparison]
) -> LayoutValue:
    """A group's mean over its seeds, with the interval that the summary gives it."""
    found = [rows.iloc[0] for rows in column_rows(study, group, column)]
    if not found:
        return LayoutValue()
    one = estimate([float(row["value"]) for row in found], interval_of(found[0]), PERCENT)
    protocol = ", ".join(dict.fromkeys(str(row["protocol"]) for row in found))
    marked = any(_is_about(verdict, column) and verdict.group == group for verdict in better)
    if column.complement:
        low, high = one.interval
        return LayoutValue(100 - one.mean, Interval(100 - high, 100 - low), marked, protocol)
    return LayoutValue(one.mean, one.interval, marked, protocol)


def _is_about(verdict: PairwiseComparison, column: ReproductionColumn) -> bool:
    headline = verdict.line.headline
    tested = f"{verdict.line.analysis}.{headline.metric}", dict(headline.where)
    return tested == (column.measure, column.where)


def _cell(one: LayoutValue, *, best: bool) -> Cell:
    text = formatting.format_with_interval(one.value, one.interval, "", DECIMALS)
    return Cell(text, "better" if one.better else "", best=best)


def _frame(
    columns: Sequence[ReproductionColumn], values: dict[str, list[LayoutValue]]
) -> pd.DataFrame:
    """A row for each cell, those not measured included."""
    rows = [
        {
            "method": group,
            "group": column.group,
            "number": column.name,
            "value": one.value,
            "low": one.interval.low,
            "high": one.interval.high,
            "significantly_better": one.better,
            "protocol": one.protocol,
        }
        for group, row in values.items()
        for column, one in zip(columns, row, strict=True)
    ]
    return pd.DataFrame(rows)
