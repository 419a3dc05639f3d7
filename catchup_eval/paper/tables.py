"""Tables laid out as a paper prints them: a row for each method, its numbers beside the paper's.

table = layout("table1", "CIFAR-100.", [ColumnHeading("Top-1 Err (%)")], [
    LayoutRow("Catch-up Mix", [PrintedValue(17.9, bold=True)], paper=[17.76]),
])

A study gives the tables 1, 2, 5 and 7 of the Catch-up Mix paper, a row for each group
(:func:`paper_tables`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any, NamedTuple

import pandas as pd

from catchup_eval.metrics.intervals import Interval
from catchup_eval.report import formatting
from catchup_eval.report.tables import PAPER, Cell, Table
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.result import Result
from catchup_eval.results.study import Study
from catchup_eval.results.summary import PERCENT, seeds_interval

DIFFERENCE = "difference"
DECIMALS = 2  # as the paper prints most of its numbers


class ColumnHeading(NamedTuple):
    """What stands above a column of numbers, and above several such columns."""

    name: str
    group: str = ""


class PrintedValue(NamedTuple):
    """One number of a table.

    Args:
        value: in the unit of its column.
        low, high: of its 95 % interval or spread; NaN where none is shown.
        bold: it is significantly better than the reference.
        decimals: of all its numbers, also of the paper's beside it.
    """

    value: float
    low: float = nan
    high: float = nan
    bold: bool = False
    decimals: int = DECIMALS


class LayoutRow(NamedTuple):
    """One row.

    Args:
        name: of the method.
        cells: one for each column; None where it was not measured.
        paper: the paper's numbers for the same cells, NaN where it has none; may be empty.
    """

    name: str
    cells: Sequence[PrintedValue | None]
    paper: Sequence[float] = ()


def layout(
    name: str,
    caption: str,
    columns: Sequence[ColumnHeading],
    rows: Sequence[LayoutRow],
    notes: Sequence[str] = (),
) -> Table:
    """A table of methods by columns; where the paper has numbers, they and our difference follow.

    Its CSV file is :func:`layout_frame` of the same columns and rows.

    Args:
        name: of its files.
        caption: one sentence.
        notes: sentences that follow the caption.

    Raises:
        ValueError: a row has not as many cells, or paper's numbers, as there are columns.
    """
    _check(columns, rows)
    beside = [any(not isnan(_paper(row, place)) for row in rows) for place in range(len(columns))]
    headings = [ColumnHeading("Method"), *_headings(columns, beside)]
    grouped = any(heading.group for heading in columns)
    return Table(
        name,
        " ".join([caption, *notes]),
        [heading.name for heading in headings],
        [[[Cell(row.name), *_cells(row, beside)]] for row in rows],
        groups=[heading.group for heading in headings] if grouped else (),
        file=name,
        lines=[_lines(place, len(columns)) for place in range(len(rows))],
    )


def _check(columns: Sequence[ColumnHeading], rows: Sequence[LayoutRow]) -> None:
    wide = len(columns)
    for row in rows:
        if len(row.cells) != wide or len(row.paper) not in (0, wide):
            raise ValueError(
                f"{row.name} has {len(row.cells)} cells and {len(row.paper)} numbers of the "
                f"paper's, expected {wide}"
            )


def _paper(row: LayoutRow, place: int) -> float:
    return row.paper[place] if row.paper else nan


def _headings(columns: Sequence[ColumnHeading], beside: Sequence[bool]) -> Iterator[ColumnHeading]:
    for heading, more in zip(columns, beside, strict=True):
        yield heading
        if more:
            yield heading._replace(name=PAPER)
            yield heading._replace(name=DIFFERENCE)


def _cells(row: LayoutRow, beside: Sequence[bool]) -> Iterator[Cell]:
    for place, shown in enumerate(row.cells):
        yield _our_cell(shown)
        if beside[place]:
            yield from _paper_cells(shown, _paper(row, place))


def _our_cell(shown: PrintedValue | None) -> Cell:
    if shown is None:
        return Cell(formatting.NONE)
    limits = Interval(shown.low, shown.high)
    text = formatting.format_with_interval(shown.value, limits, "", shown.decimals)
    return Cell(text, "better" if shown.bold else "")


def _paper_cells(shown: PrintedValue | None, paper: float) -> tuple[Cell, Cell]:
    """The paper's number, and ours less it."""
    value, places = (shown.value, shown.decimals) if shown else (nan, DECIMALS)
    theirs = Cell(formatting.format_number(paper, "", places), "" if isnan(paper) else "paper")
    return theirs, Cell(formatting.format_signed(value - paper, "", places))


def _lines(place: int, wide: int) -> list[int]:
    """The lines of :func:`layout_frame` as CSV that have the cells of one row."""
    return list(range(2 + place * wide, 2 + (place + 1) * wide))


def layout_frame(columns: Sequence[ColumnHeading], rows: Sequence[LayoutRow]) -> pd.DataFrame:
    """The same numbers in full precision, a row for each cell, those not measured included."""
    found = [
        {
            "method": row.name,
            "group": heading.group,
            "number": heading.name,
            "value": shown.value,
            "low": shown.low,
            "high": shown.high,
            "significantly_better": shown.bold,
            "paper": _paper(row, place),
            "difference": shown.value - _paper(row, place),
        }
        for row in rows
        for place, heading in enumerate(columns)
        for shown in [row.cells[place] or PrintedValue(nan)]
    ]
    return pd.DataFrame(found)


BOLD = "Bold: significantly better than {reference}, after Holm's correction."
SINGLE = "Only the mean is tested."
FEW = 5  # columns up to which intervals are shown
UNDER = "accuracy under deformation (%)"
OUTSIDE = "images of no class (%)"


@dataclass(frozen=True)
class MetricColumn:
    """A rate of a question.

    Args:
        heading: above it.
        analysis, metric, where: pick its row.
        complement: 100 less the rate is shown, an error where the rate is an accuracy.
    """

    heading: ColumnHeading
    analysis: str
    metric: str
    where: Mapping[str, Any] = field(default_factory=dict)
    complement: bool = False


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables; shown where one of its `own` questions was answered."""

    name: str
    title: str
    own: frozenset[str]
    columns: Sequence[MetricColumn]
    notes: Sequence[str] = ()


def _deformation_column(name: str, kind: str, strength: float) -> MetricColumn:
    where = {"deformation": kind, "strength": strength}
    return MetricColumn(ColumnHeading(name, UNDER), "deformation", "accuracy", where)


def _ood_column(name: str, metric: str) -> MetricColumn:
    return MetricColumn(ColumnHeading(name, OUTSIDE), "ood", metric, {"out": "out", "score": "msp"})


FGSM = {"attack": "fgsm", "epsilon": 4.0}
ERROR = MetricColumn(ColumnHeading("top-1 error (%)"), "clean", "accuracy", complement=True)
ACCURACY = MetricColumn(ColumnHeading("top-1 accuracy (%)"), "clean", "accuracy")
ATTACKED = MetricColumn(
    ColumnHeading("FGSM error (%)"), "adversarial", "accuracy", FGSM, complement=True
)
LAYOUTS = (
    PaperTable(
        "paper-table-1",
        "As Table 1: error on clean, attacked (FGSM, 4/255) and corrupted images",
        frozenset({"adversarial", "corruption"}),
        (
            ERROR,
            ATTACKED,
            MetricColumn(ColumnHeading("mean corruption error (%)"), "corruption", "mean_error"),
        ),
    ),
    PaperTable(
        "paper-table-2",
        "As Table 2: accuracy under deformation",
        frozenset({"deformation"}),
        (
            ERROR,
            ATTACKED,
            _deformation_column("rotation 20", "rotation", 20.0),
            _deformation_column("rotation 40", "rotation", 40.0),
            _deformation_column("shear 28.6", "shear", 28.6),
            _deformation_column("shear 57.3", "shear", 57.3),
            _deformation_column("zoom 60 %", "zoom", 60.0),
            _deformation_column("zoom 80 %", "zoom", 80.0),
            _deformation_column("zoom 120 %", "zoom", 120.0),
            _deformation_column("zoom 140 %", "zoom", 140.0),
            MetricColumn(ColumnHeading("mean", UNDER), "deformation", "mean_accuracy"),
        ),
        (SINGLE,),
    ),
    PaperTable(
        "paper-table-5",
        "As Table 5: out-of-distribution detection",
        frozenset({"ood"}),
        (
            ACCURACY,
            _ood_column("FPR95", "fpr95_out"),
            _ood_column("AUROC", "auroc"),
            _ood_column("AUPR", "aupr_out"),
        ),
    ),
    PaperTable(
        "paper-table-7",
        "As Table 7: localization",
        frozenset({"localization"}),
        (
            MetricColumn(ColumnHeading("GT-known Loc (%)"), "localization", "gt_known"),
            MetricColumn(ColumnHeading("Top-1 Loc (%)"), "localization", "top1_localization"),
            ACCURACY,
        ),
    ),
)


def paper_tables(
    study: Study, verdicts: Sequence[PairwiseComparison]
) -> Iterator[tuple[Table, pd.DataFrame]]:
    """The paper's tables that the study can fill, each with its numbers in full precision."""
    better = [verdict for verdict in verdicts if verdict.label == "better"]
    for one in LAYOUTS:
        if one.own & set(study.available_analyses()):
            columns = [column for column in one.columns if _is_measured(study, column)]
            rows = [_row(study, group, columns, better) for group in study.groups]
            headings = [column.heading for column in columns]
            notes = [BOLD.format(reference=study.info.reference), *one.notes]
            table = layout(one.name, f"{one.title}.", headings, rows, notes)
            yield table, layout_frame(headings, rows)


def _is_measured(study: Study, column: MetricColumn) -> bool:
    return any(_value(member.result, column) for member in study.members(column.analysis))


def _row(
    study: Study, group: str, columns: Sequence[MetricColumn], better: Sequence[PairwiseComparison]
) -> LayoutRow:
    shown = [_printed_value(study, group, column, better) for column in columns]
    if len(columns) > FEW:
        shown = [one and PrintedValue(one.value, bold=one.bold) for one in shown]
    return LayoutRow(group, shown)


def _printed_value(
    study: Study, group: str, column: MetricColumn, better: Sequence[PairwiseComparison]
) -> PrintedValue | None:
    """A group's mean over its seeds, with the interval that the summary gives it."""
    found = [
        value
        for member in study.members(column.analysis)
        if member.model == group and (value := _value(member.result, column))
    ]
    if not found:
        return None
    values = [value for value, _ in found]
    low, high = found[0][1] if len(found) == 1 else seeds_interval(values, PERCENT)
    mean = sum(values) / len(values)
    bold = any(_is_about(verdict, column) and verdict.group == group for verdict in better)
    if column.complement:
        return PrintedValue(100 - mean, 100 - high, 100 - low, bold)
    return PrintedValue(mean, low, high, bold)


def _value(result: Result, column: MetricColumn) -> tuple[float, Interval] | None:
    if not set(column.where) <= set(result.frame.columns):
        return None
    rows = result.rows(column.metric, **column.where)
    if rows.empty:
        return None
    row = rows.iloc[0]
    return float(row["value"]), Interval(float(row["low"]), float(row["high"]))


def _is_about(verdict: PairwiseComparison, column: MetricColumn) -> bool:
    headline = verdict.line.headline
    told = (verdict.line.analysis, headline.metric, dict(headline.where))
    return told == (column.analysis, column.metric, dict(column.where))
