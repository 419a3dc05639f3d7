"""The tables that stand for the whole: every headline, and every verdict."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby, pairwise

import numpy as np
import pandas as pd

from catchup_eval.report import formatting
from catchup_eval.report.names import headings
from catchup_eval.report.tables import Cell, Table, cells
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.study import Study
from catchup_eval.results.summary import Estimate, SummaryRow

TONES = {"better": "better", "worse": "worse", "cannot tell": "unknown"}
Marks = Mapping[tuple[int, str], Cell]  # by a line's identity and a group: what is significant
READ = (
    "Brackets are 95 % intervals: over the samples for one network, over the seeds for the mean of "
    "three or more; two seeds stand in parentheses."
)


def label(line: SummaryRow) -> str:
    """What a headline is called, with its unit: "accuracy (%)"."""
    return f"{line.headline.label} ({line.unit})" if line.unit else line.headline.label


def summary_table(
    lines: Sequence[SummaryRow], verdicts: Iterable[PairwiseComparison], study: Study
) -> Table:
    """Every headline of every question, for all groups."""
    marks = _marks(verdicts)
    blocks = [
        [_summary_row(line, marks, study.groups) for line in block]
        for _, block in groupby(lines, key=lambda line: line.analysis)
    ]
    left, right = ["Question", "Number"], ["Chance", "n", "Protocol"]
    columns = [*left, *headings(study.groups, [*left, *right]), *right]
    caption = f"Every headline, on {study.info.data.name}. {READ}"
    at = csv_lines(lines)
    return Table("summary", caption, columns, blocks, words=2, notes=1, file="summary", lines=at)


def model_table(
    lines: Sequence[SummaryRow], verdicts: Iterable[PairwiseComparison], study: Study
) -> Table:
    """The same the other way round, for many groups: a row for each, a column for each headline."""
    marks, at = _marks(verdicts), csv_lines(lines)
    return Table(
        "overview",
        f"Every model, on {study.info.data.name}; an arrow says which way is better. {READ}",
        ["Model", *(_label_with_arrow(line) for line in lines)],
        [
            [[Cell(group), *(_value(line, group, marks) for line in lines)]]
            for group in study.groups
        ],
        groups=["", *(line.title for line in lines)],
        file="summary",
        lines=[
            [
                own[list(line.readings).index(group)]
                for line, own in zip(lines, at)
                if group in line.readings
            ]
            for group in study.groups
        ],
    )


def _marks(verdicts: Iterable[PairwiseComparison]) -> Marks:
    return {
        (id(verdict.line), verdict.group): Cell("", verdict.label, _note(verdict))
        for verdict in verdicts
        if verdict.significant
    }


def _label_with_arrow(line: SummaryRow) -> str:
    return f"{label(line)} {formatting.ARROWS[line.headline.better]}"


def _value(line: SummaryRow, group: str, marks: Marks) -> Cell:
    text = formatting.format_estimate(line.readings.get(group), line.unit)
    return marks.get((id(line), group), Cell(""))._replace(text=text)


def csv_lines(lines: Iterable[SummaryRow]) -> list[list[int]]:
    """For each headline, its lines in the CSV file of :func:`raw_summary`."""
    ends = accumulate((len(line.readings) for line in lines), initial=2)
    return [list(range(start, end)) for start, end in pairwise(ends)]


def _note(verdict: PairwiseComparison) -> str:
    return f"significantly {verdict.label} than the reference"


def _summary_row(line: SummaryRow, marks: Marks, groups: Sequence[str]) -> list[Cell]:
    name = Cell(_label_with_arrow(line), note=f"{line.headline.better} is better")
    values = [_value(line, group, marks) for group in groups]
    readings = list(line.readings.values())
    return [
        Cell(line.title),
        name,
        *values,
        Cell(_chance(readings, line.unit)),
        Cell(formatting.format_count([reading.n for reading in readings])),
        Cell("; ".join(dict.fromkeys(reading.protocol for reading in readings))),
    ]


def _chance(readings: Sequence[Estimate], unit: str) -> str:
    texts = dict.fromkeys(formatting.format_number(reading.chance, unit) for reading in readings)
    return " to ".join(text for text in texts if text != formatting.NONE) or formatting.NONE


def raw_summary(lines: Iterable[SummaryRow]) -> pd.DataFrame:
    """The same numbers in full precision, one row for each headline and group."""
    rows = [
        {
            "analysis": line.analysis,
            "metric": line.headline.metric,
            "label": line.headline.label,
            "better": line.headline.better,
            "group": group,
            "seeds": len(reading.values),
            "value": reading.mean,
            "unit": line.unit,
            "n": reading.n,
            "low": reading.interval.low,
            "high": reading.interval.high,
            "chance": reading.chance,
            "protocol": reading.protocol,
        }
        for line in lines
        for group, reading in line.readings.items()
    ]
    return pd.DataFrame(rows)


def verdict_table(
    verdicts: Sequence[PairwiseComparison], reference: str, *, primary: bool
) -> Table:
    """One family of verdicts: those of the questions, or those of the further headlines."""
    family = [verdict for verdict in verdicts if verdict.line.primary is primary]
    blocks = [
        [_verdict_row(verdict) for verdict in block]
        for _, block in groupby(family, key=lambda verdict: verdict.line.analysis)
    ]
    rows = "the questions" if primary else "the further headlines"
    caption = (
        f"Difference to {reference} with its 95 % interval and p, both as tested, and p after "
        f"Holm's correction over the {len(family)} tests of {rows}."
    )
    columns = ["Question", "Number", "Model", "Verdict", "Difference", "p", "Holm p"]
    name = "verdicts" if primary else "verdicts-further"
    at = [[2 + i] for i, verdict in enumerate(verdicts) if verdict.line.primary is primary]
    return Table(name, caption, columns, blocks, 4, file="verdicts", lines=at)


def _verdict_row(verdict: PairwiseComparison) -> list[Cell]:
    word = f"{verdict.label} ({verdict.why})" if verdict.why else verdict.label
    return [
        *cells([verdict.line.title, label(verdict.line), verdict.group]),
        Cell(word, TONES[verdict.label]),
        *cells(
            [
                formatting.format_difference(verdict.difference, verdict.line.unit),
                formatting.format_p_value(verdict.difference.p),
                formatting.format_p_value(verdict.adjusted),
            ]
        ),
    ]


def raw_verdicts(verdicts: Iterable[PairwiseComparison], reference: str) -> pd.DataFrame:
    """All verdicts in full precision."""
    rows = [
        {
            "analysis": verdict.line.analysis,
            "metric": verdict.line.headline.metric,
            "label": verdict.line.headline.label,
            "first": verdict.line.primary,
            "group": verdict.group,
            "reference": reference,
            "difference": verdict.difference.value,
            "low": verdict.difference.low,
            "high": verdict.difference.high,
            "unit": verdict.line.unit,
            "interval": "95 %, of p, not of holm_p" if np.isfinite(verdict.difference.low) else "",
            "p": verdict.difference.p,
            "holm_p": verdict.adjusted,
            "tested_over": verdict.over,
            "untested": verdict.why,
            "verdict": verdict.label,
        }
        for verdict in verdicts
    ]
    return pd.DataFrame(rows)
