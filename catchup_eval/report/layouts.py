"""Tables laid out as a paper prints them: a row for each method, its numbers beside the paper's.

table = layout("table1", "CIFAR-100.", [Heading("Top-1 Err (%)")], [
    LaidOut("Catch-up Mix", [Shown(17.9, bold=True)], paper=[17.76]),
])
"""

from collections.abc import Iterator, Sequence
from math import isnan, nan
from typing import NamedTuple

import pandas as pd

from catchup_eval.report import numbers
from catchup_eval.report.tables import PAPER, Cell, Table
from catchup_eval.statistics import Interval

DIFFERENCE = "difference"
DECIMALS = 2  # as the paper prints most of its numbers


class Heading(NamedTuple):
    """What stands above a column of numbers, and above several such columns."""

    name: str
    group: str = ""


class Shown(NamedTuple):
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


class LaidOut(NamedTuple):
    """One row.

    Args:
        name: of the method.
        cells: one for each column; None where it was not measured.
        paper: the paper's numbers for the same cells, NaN where it has none; may be empty.
    """

    name: str
    cells: Sequence[Shown | None]
    paper: Sequence[float] = ()


def layout(
    name: str,
    caption: str,
    columns: Sequence[Heading],
    rows: Sequence[LaidOut],
    notes: Sequence[str] = (),
) -> Table:
    """A table of methods by columns; where the paper has numbers, they and our difference follow.

    Its CSV file is :func:`raw` of the same columns and rows.

    Args:
        name: of its files.
        caption: one sentence.
        notes: sentences that follow the caption.

    Raises:
        ValueError: a row has not as many cells, or paper's numbers, as there are columns.
    """
    _check(columns, rows)
    beside = [any(not isnan(_paper(row, place)) for row in rows) for place in range(len(columns))]
    headings = [Heading("Method"), *_headings(columns, beside)]
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


def _check(columns: Sequence[Heading], rows: Sequence[LaidOut]) -> None:
    wide = len(columns)
    for row in rows:
        if len(row.cells) != wide or len(row.paper) not in (0, wide):
            raise ValueError(
                f"{row.name} has {len(row.cells)} cells and {len(row.paper)} numbers of the "
                f"paper's, expected {wide}"
            )


def _paper(row: LaidOut, place: int) -> float:
    return row.paper[place] if row.paper else nan


def _headings(columns: Sequence[Heading], beside: Sequence[bool]) -> Iterator[Heading]:
    for heading, more in zip(columns, beside, strict=True):
        yield heading
        if more:
            yield heading._replace(name=PAPER)
            yield heading._replace(name=DIFFERENCE)


def _cells(row: LaidOut, beside: Sequence[bool]) -> Iterator[Cell]:
    for place, shown in enumerate(row.cells):
        yield _ours(shown)
        if beside[place]:
            yield from _theirs(shown, _paper(row, place))


def _ours(shown: Shown | None) -> Cell:
    if shown is None:
        return Cell(numbers.NONE)
    limits = Interval(shown.low, shown.high)
    text = numbers.with_interval(shown.value, limits, "", shown.decimals)
    return Cell(text, "better" if shown.bold else "")


def _theirs(shown: Shown | None, paper: float) -> tuple[Cell, Cell]:
    """The paper's number, and ours less it."""
    value, places = (shown.value, shown.decimals) if shown else (nan, DECIMALS)
    theirs = Cell(numbers.number(paper, "", places), "" if isnan(paper) else "paper")
    return theirs, Cell(numbers.signed(value - paper, "", places))


def _lines(place: int, wide: int) -> list[int]:
    """The lines of :func:`raw` as CSV that have the cells of one row."""
    return list(range(2 + place * wide, 2 + (place + 1) * wide))


def raw(columns: Sequence[Heading], rows: Sequence[LaidOut]) -> pd.DataFrame:
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
        for shown in [row.cells[place] or Shown(nan)]
    ]
    return pd.DataFrame(found)
