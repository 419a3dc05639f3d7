"""All that a report says, before it becomes a page: drawn and laid out from a study alone.

It can be rendered in Markdown, too: short, for a repository or a message.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from catchup_eval.analysis.base import Analysis
from catchup_eval.plotting.style import SIX
from catchup_eval.report import evidence, formatting
from catchup_eval.report.comparison import ComparisonPart, Further, build_comparison
from catchup_eval.report.figures import SavedFigure
from catchup_eval.report.findings import caveats, finding
from catchup_eval.report.names import readable
from catchup_eval.report.sections import AnalysisSection, build_section
from catchup_eval.report.summary import model_table, raw_summary, raw_verdicts, summary_table
from catchup_eval.report.tables import Table, escape_markdown, frame, markdown
from catchup_eval.results import comparison
from catchup_eval.results.study import Study
from catchup_eval.results.summary import summarize


class SummaryFact(NamedTuple):
    """A fact at the top of the page; `tone` is "caution" where it limits all that follows."""

    name: str
    text: str
    tone: str = ""


@dataclass(frozen=True)
class ReportContents:
    """A report."""

    study: Study
    finding: str
    chips: Sequence[SummaryFact]
    caveats: Sequence[str]
    summary: Table
    overview: Table | None
    comparison: ComparisonPart | None
    checks: Table
    failed: Sequence[str]
    skips: Sequence[tuple[str, str, str]]
    questions: Sequence[AnalysisSection]
    cost: Table
    models: Table
    cards: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    frames: Mapping[str, pd.DataFrame]


def contents(
    study: Study, analyses: Mapping[str, Analysis], folder: Path, further: Further
) -> ReportContents:
    """Lay out a study; its figures are saved into `folder` on the way."""
    study = readable(study)
    lines = summarize(study, analyses)
    reference = study.info.reference
    verdicts = comparison.compare_to_reference(lines, reference)
    comparing = build_comparison(study, lines, verdicts, folder, further) if verdicts else None
    checks = evidence.checks_table(study, analyses)
    cost, models = evidence.cost_table(study, analyses), evidence.models_table(study)
    failed = evidence.failed_checks(checks)
    asked = [name for name in study.available_analyses() if name in analyses]
    return ReportContents(
        study=study,
        finding=finding(study, lines, verdicts),
        chips=chips(study),
        caveats=caveats(study, lines, failed),
        summary=summary_table(lines, verdicts, study),
        overview=model_table(lines, verdicts, study) if _exceeds_columns(study) else None,
        comparison=comparing,
        checks=checks,
        failed=failed,
        skips=evidence.skips(study, analyses),
        questions=[build_section(study, n, analyses[n], lines, verdicts, folder) for n in asked],
        cost=cost,
        models=models,
        cards=evidence.cards(study),
        facts=evidence.facts(study),
        frames={
            "summary": raw_summary(lines),
            **({"verdicts": raw_verdicts(verdicts, reference)} if verdicts else {}),
            **(comparing.frames if comparing else {}),
            **{table.name: frame(table) for table in (checks, cost, models) if table.blocks},
            **({"provenance": evidence.provenance_frame(study)} if study.provenance else {}),
            **{name: study.joined_result(name).frame for name in asked},
        },
    )


def _exceeds_columns(study: Study) -> bool:
    """Whether there are more groups than a table has columns for."""
    return len(study.groups) > len(SIX)


def chips(study: Study) -> list[SummaryFact]:
    """The facts that go with every number of the page."""
    info, data = study.info, study.info.data
    parts = ", ".join(f"{part} {size:,}" for part, size in data.parts.items())
    seeds = sorted({len(study.models_of(group)) for group in study.groups})
    each = " to ".join(str(number) for number in dict.fromkeys([*seeds[:1], *seeds[-1:]]))
    facts = [
        SummaryFact(
            "models", str(len(study.groups)) if _exceeds_columns(study) else ", ".join(study.groups)
        ),
        SummaryFact("seeds", f"{each} each" if len(study.groups) > 1 else each),
        SummaryFact("data", f"{data.name} ({parts})" if parts else data.name),
        SummaryFact("subset", data.subset.removeprefix("subset: "), "caution"),
        SummaryFact("machine", info.machine),
        SummaryFact("time", formatting.format_duration(info.seconds) if info.seconds else ""),
        SummaryFact("date", info.date[:10]),
    ]
    return [chip for chip in facts if chip.text]


def render(page: ReportContents) -> str:
    """The whole report as Markdown, its pictures linked."""
    return "\n\n".join(part.strip() for part in _parts(page) if part) + "\n"


def _parts(page: ReportContents) -> Iterator[str]:
    info = page.study.info
    yield f"# {escape_markdown(info.name)}"
    yield escape_markdown(page.finding)
    yield _list(f"{chip.name}: {chip.text}" for chip in page.chips)
    if page.caveats:
        yield "**Before you read on**"
        yield _list(page.caveats)
    yield "## Summary"
    yield _table(page.summary)
    if page.comparison:
        yield from _comparison(page.comparison)
    yield "## Self-checks"
    yield from _checks(page)
    if page.skips:
        yield "## What was skipped"
        yield _list(f"{title}: {reason} ({who})" for title, reason, who in page.skips)
    for question in page.questions:
        yield from _question(question)
    yield "## Cost and provenance"
    yield _code_block(info.command)
    yield _table(page.models)
    yield _table(page.cost)
    yield _list(f"{name}: {text}" for name, text in page.facts)


def _comparison(part: ComparisonPart) -> Iterator[str]:
    yield f"## Comparison with {escape_markdown(part.reference)}"
    yield escape_markdown(part.how)
    yield _table(part.verdicts)
    for chart in part.charts:
        yield f"### {chart.title}"
        yield _image(chart.picture) if chart.picture else ""
        yield from map(_table, chart.tables)
        yield escape_markdown(chart.reading)


def _checks(page: ReportContents) -> Iterator[str]:
    number = len(page.checks.rows)
    yield f"{number - len(page.failed)} of {number} passed, for every model."
    yield _list(f"Failed: {claim}" for claim in page.failed)


def _question(question: AnalysisSection) -> Iterator[str]:
    analysis = question.analysis
    yield f"## {escape_markdown(analysis.TITLE)}"
    yield escape_markdown(analysis.DESCRIPTION)
    yield from map(_image, question.pictures)
    yield _table(question.headlines)
    yield escape_markdown(analysis.INTERPRETATION)
    yield f"Source: {escape_markdown(analysis.REFERENCE)}"


def _table(table: Table) -> str:
    return f"{markdown(table)}\n{escape_markdown(table.caption)}" if table.blocks else ""


def _image(picture: SavedFigure) -> str:
    return f"![{escape_markdown(picture.alt)}](figures/{picture.name}.png)"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {escape_markdown(item)}" for item in items)


def _code_block(command: str) -> str:
    return f"```\n{command}\n```"
