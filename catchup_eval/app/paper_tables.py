"""A study as the tables of the Catch-up Mix paper: 1, 2, 5 and 7, a row for each group."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from catchup_eval.comparison import Verdict
from catchup_eval.headlines import PERCENT, seeds_interval
from catchup_eval.report.layouts import Heading, LaidOut, Shown, layout, raw
from catchup_eval.report.tables import Table
from catchup_eval.results import Result
from catchup_eval.statistics import Interval
from catchup_eval.study import Study

BOLD = "Bold: significantly better than {reference}, after Holm's correction."
SINGLE = "Only the mean is tested."
FEW = 5  # columns up to which intervals are shown
UNDER = "accuracy under deformation (%)"
OUTSIDE = "images of no class (%)"


@dataclass(frozen=True)
class Column:
    """A rate of a question.

    Args:
        heading: above it.
        analysis, metric, where: pick its row.
        complement: 100 less the rate is shown, an error where the rate is an accuracy.
    """

    heading: Heading
    analysis: str
    metric: str
    where: Mapping[str, Any] = field(default_factory=dict)
    complement: bool = False


@dataclass(frozen=True)
class Layout:
    """One of the paper's tables; shown where one of its `own` questions was answered."""

    name: str
    title: str
    own: frozenset[str]
    columns: Sequence[Column]
    notes: Sequence[str] = ()


def _deformed(name: str, kind: str, strength: float) -> Column:
    where = {"deformation": kind, "strength": strength}
    return Column(Heading(name, UNDER), "deformation", "accuracy", where)


def _outside(name: str, metric: str) -> Column:
    return Column(Heading(name, OUTSIDE), "ood", metric, {"out": "out", "score": "msp"})


FGSM = {"attack": "fgsm", "epsilon": 4.0}
ERROR = Column(Heading("top-1 error (%)"), "clean", "accuracy", complement=True)
ACCURACY = Column(Heading("top-1 accuracy (%)"), "clean", "accuracy")
ATTACKED = Column(Heading("FGSM error (%)"), "adversarial", "accuracy", FGSM, complement=True)
LAYOUTS = (
    Layout(
        "paper-table-1",
        "As Table 1: error on clean, attacked (FGSM, 4/255) and corrupted images",
        frozenset({"adversarial", "corruption"}),
        (ERROR, ATTACKED, Column(Heading("mean corruption error (%)"), "corruption", "mean_error")),
    ),
    Layout(
        "paper-table-2",
        "As Table 2: accuracy under deformation",
        frozenset({"deformation"}),
        (
            ERROR,
            ATTACKED,
            _deformed("rotation 20", "rotation", 20.0),
            _deformed("rotation 40", "rotation", 40.0),
            _deformed("shear 28.6", "shear", 28.6),
            _deformed("shear 57.3", "shear", 57.3),
            _deformed("zoom 60 %", "zoom", 60.0),
            _deformed("zoom 80 %", "zoom", 80.0),
            _deformed("zoom 120 %", "zoom", 120.0),
            _deformed("zoom 140 %", "zoom", 140.0),
            Column(Heading("mean", UNDER), "deformation", "mean_accuracy"),
        ),
        (SINGLE,),
    ),
    Layout(
        "paper-table-5",
        "As Table 5: out-of-distribution detection",
        frozenset({"ood"}),
        (
            ACCURACY,
            _outside("FPR95", "fpr95_out"),
            _outside("AUROC", "auroc"),
            _outside("AUPR", "aupr_out"),
        ),
    ),
    Layout(
        "paper-table-7",
        "As Table 7: localization",
        frozenset({"localization"}),
        (
            Column(Heading("GT-known Loc (%)"), "localization", "gt_known"),
            Column(Heading("Top-1 Loc (%)"), "localization", "top1_localization"),
            ACCURACY,
        ),
    ),
)


def laid_out(study: Study, verdicts: Sequence[Verdict]) -> Iterator[tuple[Table, pd.DataFrame]]:
    """The paper's tables that the study can fill, each with its numbers in full precision."""
    better = [verdict for verdict in verdicts if verdict.word == "better"]
    for one in LAYOUTS:
        if one.own & set(study.asked()):
            columns = [column for column in one.columns if _answered(study, column)]
            rows = [_row(study, group, columns, better) for group in study.groups]
            headings = [column.heading for column in columns]
            notes = [BOLD.format(reference=study.info.reference), *one.notes]
            table = layout(one.name, f"{one.title}.", headings, rows, notes)
            yield table, raw(headings, rows)


def _answered(study: Study, column: Column) -> bool:
    return any(_value(member.result, column) for member in study.members(column.analysis))


def _row(study: Study, group: str, columns: Sequence[Column], better: Sequence[Verdict]) -> LaidOut:
    shown = [_shown(study, group, column, better) for column in columns]
    if len(columns) > FEW:
        shown = [one and Shown(one.value, bold=one.bold) for one in shown]
    return LaidOut(group, shown)


def _shown(study: Study, group: str, column: Column, better: Sequence[Verdict]) -> Shown | None:
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
        return Shown(100 - mean, 100 - high, 100 - low, bold)
    return Shown(mean, low, high, bold)


def _value(result: Result, column: Column) -> tuple[float, Interval] | None:
    if not set(column.where) <= set(result.frame.columns):
        return None
    rows = result.rows(column.metric, **column.where)
    if rows.empty:
        return None
    row = rows.iloc[0]
    return float(row["value"]), Interval(float(row["low"]), float(row["high"]))


def _is_about(verdict: Verdict, column: Column) -> bool:
    headline = verdict.line.headline
    told = (verdict.line.analysis, headline.metric, dict(headline.where))
    return told == (column.analysis, column.metric, dict(column.where))
