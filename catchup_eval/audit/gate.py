"""A gate for continuous integration: what a finished report must reach, and not lose."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from operator import ge, gt, le, lt

from catchup_eval.analysis.base import Analysis
from catchup_eval.core import toml
from catchup_eval.core.errors import Missing, UnknownName, UserError
from catchup_eval.metrics.significance import holm
from catchup_eval.paper.claims.claim import Claim
from catchup_eval.paper.claims.estimates import metric_row
from catchup_eval.report.formatting import format_estimate, format_signed
from catchup_eval.results.comparison import LEVEL, PairwiseComparison, difference
from catchup_eval.results.study import Study
from catchup_eval.results.summary import PERCENT, Estimate, SummaryRow, summarize

OPERATORS = {"<": lt, "<=": le, ">": gt, ">=": ge}
EXAMPLE = "corruption.mean_error < 30 or corruption.error[corruption=fog, severity=5] < 40"
_REQUIREMENT = re.compile(r"\s*(\w+\.\w+)\s*(?:\[(.*)\])?\s*(<=|>=|<|>)\s*(\S+)\s*")


@dataclass(frozen=True)
class Requirement:
    """A bound on one metric.

    Args:
        claim: the metric and the condition that picks its row.
        operator: one of :data:`OPERATORS`.
        bound: in the metric's unit.
    """

    claim: Claim
    operator: str
    bound: float

    def __str__(self) -> str:
        where = ", ".join(f"{column}={value}" for column, value in self.claim.where.items())
        condition = f"[{where}]" if where else ""
        return f"{self.claim.metric}{condition} {self.operator} {self.bound:g}"


@dataclass(frozen=True)
class GateResult:
    """What was required of one model, and what it has.

    Attributes:
        verdict: "passed", "failed", or "not tested".
        required: in words.
        found: the values, or why there are none.
        note: what is odd about the outputs behind them.
    """

    model: str
    verdict: str
    required: str
    found: str
    note: str = ""

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"{self.verdict}: {self.model}: {self.required}: {self.found}{note}"


def parse_requirement(text: str) -> Requirement:
    """A requirement as it is written, `ANALYSIS.METRIC[COLUMN=VALUE, ...] OPERATOR NUMBER`.

    Example:
        >>> str(parse_requirement("corruption.error[corruption=fog, severity=5]<40"))
        'corruption.error[corruption=fog, severity=5] < 40'

    Raises:
        UserError: it is written otherwise.
    """
    found = _REQUIREMENT.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        metric, condition, operator, number = found.groups()
        where = dict(map(_parse_condition, filter(str.strip, (condition or "").split(","))))
        bound = float(number)
        if not isfinite(bound):
            raise ValueError(number)
    except ValueError:
        raise UserError(f"expected a requirement such as {EXAMPLE}, got {text!r}") from None
    claim = Claim(
        method="",
        relation="lower" if "<" in operator else "higher",
        metric=metric,
        where=where,
        than=bound,
    )
    return Requirement(claim, operator, bound)


def _parse_condition(text: str) -> tuple[str, object]:
    column, equals, value = (part.strip() for part in text.partition("="))
    if not (column and equals and value):
        raise ValueError(text)
    return column, toml.parse_value(value, text)


def check_requirements(
    study: Study,
    requirements: Sequence[Requirement],
    analyses: Mapping[str, Analysis],
    *,
    models: Sequence[str] = (),
    certain: bool = False,
) -> list[GateResult]:
    """Whether each model meets each requirement; what was not measured does not.

    Args:
        analyses: by name.
        models: those that must meet them; all where there are none.
        certain: whether the whole 95 % interval must lie within the bound, not the value alone.

    Raises:
        UnknownName: a model, analysis, metric or condition that does not exist.
        UserError: the condition picks several rows.
    """
    groups = _choose(study, models)
    return [
        result
        for requirement in requirements
        for result in _check_requirement(study, requirement, analyses, groups, certain)
    ]


def _choose(study: Study, models: Sequence[str]) -> list[str]:
    for model in models:
        if model not in study.groups:
            raise UnknownName("model", model, study.groups)
    return list(models) or study.groups


def _check_requirement(
    study: Study,
    requirement: Requirement,
    analyses: Mapping[str, Analysis],
    groups: Sequence[str],
    certain: bool,
) -> Iterator[GateResult]:
    name = requirement.claim.metric.partition(".")[0]
    try:
        row = metric_row(requirement.claim, study, analyses)
    except Missing:
        row = None
    for group in groups:
        reading = row.readings.get(group) if row else None
        if row is None or reading is None:
            why = f"not measured{_reason(study, group, name)}"
            yield GateResult(group, "failed", str(requirement), why)
            continue
        value = reading.mean
        if certain:
            value = reading.interval.high if "<" in requirement.operator else reading.interval.low
        found = _format(reading, row.unit)
        if isnan(value):
            found += ", has no 95 % interval" if certain else ", is not a number"
        passed = OPERATORS[requirement.operator](value, requirement.bound)  # never for NaN
        verdict = "passed" if passed else "failed"
        yield GateResult(group, verdict, str(requirement), found, reading.note)


def _reason(study: Study, group: str, analysis: str) -> str:
    keys = {model.key for model in study.models_of(group)}
    reasons = [s.reason for s in study.info.skipped if s.model in keys and s.analysis == analysis]
    return f": {reasons[0]}" if reasons else ""


def _format(reading: Estimate, unit: str) -> str:
    text = format_estimate(reading, unit)
    return f"{text} {unit}".rstrip()


def check_no_worse(
    study: Study,
    before: Study,
    analyses: Mapping[str, Analysis],
    *,
    models: Sequence[str] = (),
    margin: float | None = None,
) -> list[GateResult]:
    """Whether a report is significantly worse than an earlier one, in any headline metric of that.

    The tests are those of a comparison: paired over the same samples, or over seeds from three on,
    with Holm's correction over all of them. Metrics without per-sample outcomes are not tested.

    Args:
        before: the earlier report. A model is compared with the one of its name, or, where each
            report has one, with that.
        models: of `study`; those that both have where there are none.
        margin: a rate that is worse by more than so many points fails as well.

    Raises:
        UnknownName: no such model.
        UserError: the reports are of different data, or have no model in common.
    """
    if study.info.data.fingerprint != before.info.data.fingerprint:
        raise UserError(
            f"the reports are of different data: {_name_data(study)} and {_name_data(before)}"
        )
    earlier = _pair_models(study, before, models)
    now = {_key(row): row for row in summarize(study, analyses)}
    pairs: list[tuple[str, SummaryRow, Estimate, Estimate | None]] = []
    for group, other in earlier.items():
        for row in summarize(before, analyses):
            if other in row.readings:
                current = now.get(_key(row))
                reading = current.readings.get(group) if current else None
                pairs.append((group, row, row.readings[other], reading))
    tested = [
        PairwiseComparison(row, group, *difference(reading, old))
        for group, row, old, reading in pairs
        if reading is not None and reading.protocol == old.protocol
    ]
    adjusted = iter(holm([one.difference.p for one in tested]).tolist())
    results, comparisons = [], iter(tested)
    for group, row, old, reading in pairs:
        if reading is None:
            why = f"not measured{_reason(study, group, row.analysis)}"
        elif reading.protocol != old.protocol:
            why = f"another protocol, {reading.protocol} after {old.protocol}"
        else:
            one = next(comparisons)
            results.append(_judge(one, next(adjusted), old, reading, margin))
            continue
        results.append(GateResult(group, "failed", _describe(row), why))
    return results


def _name_data(study: Study) -> str:
    data = study.info.data
    return f"{data.name} ({data.subset or 'whole'}, {data.fingerprint[:8]})"


def _pair_models(study: Study, before: Study, models: Sequence[str]) -> dict[str, str]:
    """The earlier report's model of each model."""
    chosen = _choose(study, models)
    if len(chosen) == len(before.groups) == 1:
        return {chosen[0]: before.groups[0]}
    common = {group: group for group in chosen if group in before.groups}
    if not common or (models and len(common) < len(chosen)):
        raise UserError(
            f"expected models that both reports have, got {', '.join(chosen)}; the earlier one has "
            f"{', '.join(before.groups)}"
        )
    return common


def _key(row: SummaryRow) -> tuple[str, str]:
    return row.analysis, f"{row.headline.metric} {row.headline.where}"


def _describe(row: SummaryRow) -> str:
    return f"{row.headline.label} no worse"


def _judge(
    one: PairwiseComparison, adjusted: float, old: Estimate, reading: Estimate, margin: float | None
) -> GateResult:
    unit, gain = one.line.unit, one.gain.value
    change = reading.mean - old.mean
    points = "points" if unit == PERCENT else unit
    found = f"{_format(reading, unit)} after {_format(old, unit)}"
    found += f", {format_signed(change, unit)} {points}".rstrip()
    if isnan(gain):
        verdict, test = "failed", one.why
    elif one.over:
        verdict = "failed" if adjusted < LEVEL and gain < 0 else "passed"
        test = f"Holm p = {adjusted:.2g}"
    else:
        verdict, test = ("not tested" if gain < 0 else "passed"), one.why
    if margin is not None and unit == PERCENT and -gain > margin:
        verdict, test = "failed", f"{test}, beyond the margin of {margin:g}"
    notes = "; ".join(dict.fromkeys(filter(None, (reading.note, old.note))))
    return GateResult(one.group, verdict, _describe(one.line), f"{found} ({test})", notes)
