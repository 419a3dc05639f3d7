"""The table of all first and secondary metrics, and the table of the tests."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby, pairwise

import numpy as np
import pandas as pd

from catchup_eval.report import formatting
from catchup_eval.report.names import headings
from catchup_eval.report.tables import MARKS, Cell, Table, cells
from catchup_eval.results.comparison import LEVEL, PairwiseComparison
from catchup_eval.results.literature import PublishedRow
from catchup_eval.results.study import Study
from catchup_eval.results.summary import Estimate, SummaryRow

TONES = {"better": "better", "worse": "worse", "cannot tell": "unknown"}
INTERVALS = (
    "Brackets are 95 % intervals: over the samples for one network, over the seeds for the mean of "
    "three or more; the values of two seeds are in parentheses."
)
IMPROVEMENTS = (
    "Below is the improvement over {reference}, positive is better, as tested. Bold is best; {up} "
    f"significantly better, {{down}} significantly worse (Holm p < {LEVEL})."
)
Compared = Mapping[tuple[int, str], PairwiseComparison]  # by a line's identity and a group


def label(line: SummaryRow) -> str:
    """A metric's name with its unit: "accuracy (%)"."""
    return f"{line.headline.label} ({line.unit})" if line.unit else line.headline.label


def summary_table(
    lines: Sequence[SummaryRow],
    comparisons: Iterable[PairwiseComparison],
    study: Study,
    published: Sequence[PublishedRow] = (),
) -> Table:
    """The first and secondary metrics of every analysis, for all groups.

    Args:
        published: numbers from elsewhere, in columns of their own, in italics.
    """
    compared = {(id(one.line), one.group): one for one in comparisons}
    theirs = list(dict.fromkeys(row.model for row in published))
    blocks = [
        [_summary_row(line, compared, study, published, theirs) for line in block]
        for _, block in groupby(lines, key=lambda line: line.analysis)
    ]
    left, right = ["Analysis", "Metric"], ["Chance", "n", "Protocol"]
    columns = [*left, *headings([*study.groups, *theirs], [*left, *right]), *right]
    noted = any(one.note for line in lines for one in line.readings.values())
    caption = f"All metrics on {study.info.data.name}. {INTERVALS}"
    if compared:
        signs = {"up": MARKS["better"], "down": MARKS["worse"]}
        caption += " " + IMPROVEMENTS.format(reference=study.info.reference, **signs)
    caption += " An exclamation mark refers to the notes on this report." if noted else ""
    if published:
        sources = dict.fromkeys(f"{row.model}: {row.source}" for row in published)
        caption += f" In italics, as published: {'; '.join(sources)}."
    at = csv_lines(lines)
    return Table("summary", caption, columns, blocks, words=2, notes=1, file="summary", lines=at)


def csv_lines(lines: Iterable[SummaryRow]) -> list[list[int]]:
    """For each metric, its lines in the CSV file of :func:`summary_frame`."""
    ends = accumulate((len(line.readings) for line in lines), initial=2)
    return [list(range(start, end)) for start, end in pairwise(ends)]


def _summary_row(
    line: SummaryRow,
    compared: Compared,
    study: Study,
    published: Sequence[PublishedRow],
    theirs: Sequence[str],
) -> list[Cell]:
    readings = list(line.readings.values())
    chances = sorted({one.chance for one in readings if np.isfinite(one.chance)})
    ends = [formatting.format_number(chance, line.unit) for chance in (chances[:1] + chances[-1:])]
    metric = f"{label(line)} {formatting.ARROWS[line.headline.better]}"
    quoted = {row.model: row for row in published if row.is_about(line)}
    return [
        Cell(line.title),
        Cell(metric, note=f"{line.headline.better} is better"),
        *(_value(line, group, compared.get((id(line), group)), study) for group in study.groups),
        *(_quoted(quoted.get(name)) for name in theirs),
        Cell(" to ".join(dict.fromkeys(ends)) or formatting.NONE),
        Cell(formatting.format_count([one.n for one in readings])),
        Cell("; ".join(dict.fromkeys(one.protocol for one in readings))),
    ]


def _value(line: SummaryRow, group: str, compared: PairwiseComparison | None, study: Study) -> Cell:
    one = line.readings.get(group)
    if one is None:
        reason = study.failure(group, line.analysis)
        return Cell("failed", "failed", reason) if reason else Cell(formatting.NONE)
    best = len(line.readings) > 1 and line.sign * one.mean >= _best(line)
    cell = Cell(formatting.format_estimate(one, line.unit), best=best)
    if compared is not None:
        below = formatting.format_difference(compared.gain, line.unit)
        cell = cell._replace(below="" if below == formatting.NONE else below)
        if compared.significant:
            note = f"significantly {compared.label} than the reference"
            cell = cell._replace(tone=compared.label, note=note)
    return _noted(cell, one)


def _noted(cell: Cell, one: Estimate) -> Cell:
    note = "; ".join(filter(None, (cell.note, one.note)))
    return cell._replace(text=f"{cell.text} !" if one.note else cell.text, note=note)


def _quoted(row: PublishedRow | None) -> Cell:
    """With the decimals that it is given with."""
    if row is None:
        return Cell(formatting.NONE, "paper")
    places = len(f"{row.value!r}".partition(".")[2])
    text = formatting.format_with_interval(row.value, row.interval, "", places)
    return Cell(text, "paper", row.source)


def _best(line: SummaryRow) -> float:
    values = [line.sign * one.mean for one in line.readings.values()]
    return max((value for value in values if np.isfinite(value)), default=np.inf)


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
    """The tests of all first metrics, or of all secondary ones: one family."""
    family = [one for one in comparisons if one.line.primary is primary]
    blocks = [
        [_comparison_row(one) for one in block]
        for _, block in groupby(family, key=lambda one: one.line.analysis)
    ]
    caption = (
        f"Improvement over {reference}, positive is better, with its 95 % interval and p, both as "
        f"tested, and p after Holm's correction over the {len(family)} tests of the "
        f"{'first' if primary else 'secondary'} metrics. The CSV file has the raw difference."
    )
    columns = ["Analysis", "Metric", "Model", "Result", "Improvement", "p", "Holm p"]
    name = "verdicts" if primary else "verdicts-further"
    at = [[2 + i] for i, one in enumerate(comparisons) if one.line.primary is primary]
    return Table(name, caption, columns, blocks, 4, file="verdicts", lines=at)


def _comparison_row(one: PairwiseComparison) -> list[Cell]:
    text = f"{one.label} ({one.why})" if one.why else one.label
    return [
        *cells([one.line.title, label(one.line), one.group]),
        Cell(text, TONES[one.label]),
        Cell(formatting.format_difference(one.gain, one.line.unit)),
        *cells(map(formatting.format_p_value, (one.difference.p, one.adjusted))),
    ]


def comparison_frame(comparisons: Iterable[PairwiseComparison], reference: str) -> pd.DataFrame:
    """All differences in full precision: the raw ones, whose sign is not that of better."""
    rows = [
        {
            "analysis": one.line.analysis,
            "metric": one.line.headline.metric,
            "label": one.line.headline.label,
            "first": one.line.primary,
            "group": one.group,
            "reference": reference,
            "raw_difference": one.difference.value,
            "raw_low": one.difference.low,
            "raw_high": one.difference.high,
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
