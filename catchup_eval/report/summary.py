"""The tables of the summary and of the differences to the reference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, groupby, pairwise

import numpy as np
import pandas as pd

from catchup_eval.report import formatting
from catchup_eval.report.names import headings
from catchup_eval.report.tables import Cell, Table, cells
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.study import Study
from catchup_eval.results.summary import SummaryRow

TONES = {"better": "better", "worse": "worse", "cannot tell": "unknown"}
INTERVALS = (
    "Brackets are 95 % intervals: over the samples for one network, over the seeds for the mean of "
    "three or more; the values of two seeds are in parentheses."
)
Marks = Mapping[tuple[int, str], Cell]  # by a line's identity and a group: what is significant


def label(line: SummaryRow) -> str:
    """A metric's name with its unit: "accuracy (%)"."""
    return f"{line.headline.label} ({line.unit})" if line.unit else line.headline.label


def summary_table(
    lines: Sequence[SummaryRow], comparisons: Iterable[PairwiseComparison], study: Study
) -> Table:
    """The headline and secondary metrics of every analysis, for all groups."""
    marks = _marks(comparisons, lines, study)
    blocks = [
        [_summary_row(line, marks, study.groups) for line in block]
        for _, block in groupby(lines, key=lambda line: line.analysis)
    ]
    left, right = ["Analysis", "Metric"], ["Chance", "n", "Protocol"]
    columns = [*left, *headings(study.groups, [*left, *right]), *right]
    noted = any(one.note for line in lines for one in line.readings.values())
    caption = f"Headline and secondary metrics on {study.info.data.name}. {INTERVALS}"
    caption += " An exclamation mark refers to the notes on this report." if noted else ""
    at = csv_lines(lines)
    return Table("summary", caption, columns, blocks, words=2, notes=1, file="summary", lines=at)


def analysis_table(
    name: str,
    lines: Sequence[SummaryRow],
    comparisons: Iterable[PairwiseComparison],
    study: Study,
) -> Table:
    """One analysis's rows of the summary, without the column that names the analysis."""
    whole = summary_table([line for line in lines if line.analysis == name], comparisons, study)
    return replace(
        whole,
        name="headlines",
        caption="Headline and secondary metrics of the analysis.",
        columns=whole.columns[1:],
        blocks=[[row[1:]] for row in whole.rows],
        words=1,
        lines=[at for line, at in zip(lines, csv_lines(lines)) if line.analysis == name],
    )


def model_table(
    lines: Sequence[SummaryRow], comparisons: Iterable[PairwiseComparison], study: Study
) -> Table:
    """The summary transposed, for many groups: a row for each, a column for each metric."""
    marks, at = _marks(comparisons, lines, study), csv_lines(lines)
    return Table(
        "overview",
        f"Every model, on {study.info.data.name}; arrows point to better values. {INTERVALS}",
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


def csv_lines(lines: Iterable[SummaryRow]) -> list[list[int]]:
    """For each metric, its lines in the CSV file of :func:`summary_frame`."""
    ends = accumulate((len(line.readings) for line in lines), initial=2)
    return [list(range(start, end)) for start, end in pairwise(ends)]


def _marks(
    comparisons: Iterable[PairwiseComparison], lines: Iterable[SummaryRow], study: Study
) -> Marks:
    failures = {
        (id(line), group): Cell("failed", "failed", reason)
        for line in lines
        for group in study.groups
        if (reason := study.failure(group, line.analysis))
    }
    return failures | {
        (id(one.line), one.group): Cell(
            "", one.label, f"significantly {one.label} than the reference"
        )
        for one in comparisons
        if one.significant
    }


def _label_with_arrow(line: SummaryRow) -> str:
    return f"{label(line)} {formatting.ARROWS[line.headline.better]}"


def _value(line: SummaryRow, group: str, marks: Marks) -> Cell:
    one, cell = line.readings.get(group), marks.get((id(line), group), Cell(""))
    if one is None and cell.text:  # it failed
        return cell
    text = formatting.format_estimate(one, line.unit)
    if one is not None and one.note:
        return cell._replace(text=f"{text} !", note="; ".join(filter(None, (cell.note, one.note))))
    return cell._replace(text=text)


def _summary_row(line: SummaryRow, marks: Marks, groups: Sequence[str]) -> list[Cell]:
    readings = list(line.readings.values())
    chances = sorted({one.chance for one in readings if np.isfinite(one.chance)})
    ends = [formatting.format_number(chance, line.unit) for chance in (chances[:1] + chances[-1:])]
    return [
        Cell(line.title),
        Cell(_label_with_arrow(line), note=f"{line.headline.better} is better"),
        *(_value(line, group, marks) for group in groups),
        Cell(" to ".join(dict.fromkeys(ends)) or formatting.NONE),
        Cell(formatting.format_count([one.n for one in readings])),
        Cell("; ".join(dict.fromkeys(one.protocol for one in readings))),
    ]


def summary_frame(lines: Iterable[SummaryRow]) -> pd.DataFrame:
    """The summary in full precision, one row for each metric and group."""
    rows = [
        {
            "analysis": line.analysis,
            "metric": line.headline.metric,
            "label": line.headline.label,
            "better": line.headline.better,
            "group": group,
            "seeds": len(one.values),
            "value": one.mean,
            "unit": line.unit,
            "n": one.n,
            "low": one.interval.low,
            "high": one.interval.high,
            "chance": one.chance,
            "protocol": one.protocol,
            "note": one.note,
        }
        for line in lines
        for group, one in line.readings.items()
    ]
    return pd.DataFrame(rows)


def comparison_table(
    comparisons: Sequence[PairwiseComparison], reference: str, *, primary: bool
) -> Table:
    """The differences in all headline metrics, or in all secondary ones: one family of tests."""
    family = [one for one in comparisons if one.line.primary is primary]
    blocks = [
        [_comparison_row(one) for one in block]
        for _, block in groupby(family, key=lambda one: one.line.analysis)
    ]
    caption = (
        f"Difference to {reference} with its 95 % interval and p, both as tested, and p after "
        f"Holm's correction over the {len(family)} tests of the "
        f"{'headline' if primary else 'secondary'} metrics."
    )
    columns = ["Analysis", "Metric", "Model", "Result", "Difference", "p", "Holm p"]
    name = "verdicts" if primary else "verdicts-further"
    at = [[2 + i] for i, one in enumerate(comparisons) if one.line.primary is primary]
    return Table(name, caption, columns, blocks, 4, file="verdicts", lines=at)


def _comparison_row(one: PairwiseComparison) -> list[Cell]:
    text = f"{one.label} ({one.why})" if one.why else one.label
    return [
        *cells([one.line.title, label(one.line), one.group]),
        Cell(text, TONES[one.label]),
        Cell(formatting.format_difference(one.difference, one.line.unit)),
        *cells(map(formatting.format_p_value, (one.difference.p, one.adjusted))),
    ]


def comparison_frame(comparisons: Iterable[PairwiseComparison], reference: str) -> pd.DataFrame:
    """All differences in full precision."""
    rows = [
        {
            "analysis": one.line.analysis,
            "metric": one.line.headline.metric,
            "label": one.line.headline.label,
            "first": one.line.primary,
            "group": one.group,
            "reference": reference,
            "difference": one.difference.value,
            "low": one.difference.low,
            "high": one.difference.high,
            "unit": one.line.unit,
            "interval": "95 %, of p, not of holm_p" if np.isfinite(one.difference.low) else "",
            "p": one.difference.p,
            "holm_p": one.adjusted,
            "tested_over": one.over,
            "untested": one.why,
            "verdict": one.label,
        }
        for one in comparisons
    ]
    return pd.DataFrame(rows)
