"""The contents of a report, laid out from a study alone; rendered as Markdown here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from catchup_eval.analysis.base import Analysis
from catchup_eval.plotting.style import SIX
from catchup_eval.report import by_class, evidence, formatting
from catchup_eval.report import summary as summaries
from catchup_eval.report.comparison import (
    ComparisonPart,
    ComparisonSection,
    Further,
    build_comparison,
)
from catchup_eval.report.figures import SavedFigure
from catchup_eval.report.findings import caveats, finding
from catchup_eval.report.names import readable
from catchup_eval.report.sections import AnalysisSection, build_section
from catchup_eval.report.tables import Table, escape_markdown, frame, markdown
from catchup_eval.results import comparison
from catchup_eval.results.study import Study
from catchup_eval.results.summary import summarize


class SummaryFact(NamedTuple):
    """A fact on top of the page; `tone` is "caution" where it limits all numbers."""

    name: str
    text: str
    tone: str = ""


@dataclass(frozen=True)
class ReportContents:
    """What a page shows; figures are saved already."""

    study: Study
    finding: str
    chips: Sequence[SummaryFact]
    caveats: Sequence[str]
    summary: Table
    overview: Table | None
    comparison: ComparisonPart | None
    by_class: ComparisonSection | None
    checks: Table
    failed: Sequence[str]
    skips: Sequence[tuple[str, str, str]]
    analyses: Sequence[AnalysisSection]
    cost: Table
    models: Table
    cards: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    frames: Mapping[str, pd.DataFrame]


def contents(
    study: Study, analyses: Mapping[str, Analysis], folder: Path, further: Further
) -> ReportContents:
    """Lay out a study; its figures are saved into `folder`."""
    study = readable(study)
    lines = summarize(study, analyses)
    reference = study.info.reference
    compared = comparison.compare_to_reference(lines, reference)
    part = build_comparison(study, lines, compared, folder, further) if compared else None
    classes = by_class.section(study, analyses, folder)
    checks = evidence.checks_table(study, analyses)
    cost, models = evidence.cost_table(study, analyses), evidence.models_table(study)
    failed = evidence.failed_checks(checks)
    many = len(study.groups) > len(SIX)  # more groups than a table has columns for
    measured = [name for name in study.available_analyses() if name in analyses]
    return ReportContents(
        study=study,
        finding=finding(study, lines, compared),
        chips=chips(study),
        caveats=caveats(study, lines, failed),
        summary=summaries.summary_table(lines, compared, study),
        overview=summaries.model_table(lines, compared, study) if many else None,
        comparison=part,
        by_class=classes,
        checks=checks,
        failed=failed,
        skips=evidence.skips(study, analyses),
        analyses=[build_section(study, n, analyses[n], lines, compared, folder) for n in measured],
        cost=cost,
        models=models,
        cards=evidence.cards(study),
        facts=evidence.facts(study),
        frames={
            **({"summary": summaries.summary_frame(lines)} if lines else {}),
            **({"verdicts": summaries.comparison_frame(compared, reference)} if compared else {}),
            **(part.frames if part else {}),
            **(classes.frames if classes else {}),
            **{table.name: frame(table) for table in (checks, cost, models) if table.blocks},
            **({"provenance": evidence.provenance_frame(study)} if study.provenance else {}),
            **{name: study.joined_result(name).frame for name in measured},
        },
    )


def chips(study: Study) -> list[SummaryFact]:
    """The facts that go with every number of the page."""
    info, data, groups = study.info, study.info.data, study.groups
    splits = ", ".join(f"{split} {size:,}" for split, size in data.parts.items())
    counts = [len(study.models_of(group)) for group in groups]
    seeds = " to ".join(str(n) for n in sorted({min(counts), max(counts)})) if counts else ""
    facts = [
        SummaryFact("models", str(len(groups)) if len(groups) > len(SIX) else ", ".join(groups)),
        SummaryFact("seeds", f"{seeds} each" if len(groups) > 1 else seeds),
        SummaryFact("data", f"{data.name} ({splits})" if splits else data.name),
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
        yield "**Notes on this report**"
        yield _list(page.caveats)
    yield "## Summary"
    yield _table(page.summary)
    if page.comparison:
        yield from _comparison(page.comparison)
    yield "## Sanity checks"
    checks = len(page.checks.rows)
    yield f"{checks - len(page.failed)} of {checks} passed, for every model."
    yield _list(f"Failed: {claim}" for claim in page.failed)
    if page.skips:
        yield "## Skipped analyses"
        yield _list(f"{title}: {reason} ({who})" for title, reason, who in page.skips)
    for section in page.analyses:
        yield from _section(section)
    if page.by_class:
        yield f"## {page.by_class.title}"
        yield from _further(page.by_class)
    yield "## Cost and provenance"
    yield f"```\n{info.command}\n```"
    yield _table(page.models)
    yield _table(page.cost)
    yield _list(f"{name}: {text}" for name, text in page.facts)


def _comparison(part: ComparisonPart) -> Iterator[str]:
    yield f"## Comparison with {escape_markdown(part.reference)}"
    yield escape_markdown(part.tests)
    yield _table(part.primary)
    for section in part.sections:
        yield f"### {section.title}"
        yield from _further(section)


def _further(section: ComparisonSection) -> Iterator[str]:
    yield _image(section.picture) if section.picture else ""
    yield from map(_table, section.tables)
    yield escape_markdown(section.text)


def _section(section: AnalysisSection) -> Iterator[str]:
    analysis = section.analysis
    yield f"## {escape_markdown(analysis.TITLE)}"
    yield escape_markdown(analysis.DESCRIPTION)
    yield from map(_image, section.pictures)
    yield _table(section.headlines)
    yield escape_markdown(analysis.INTERPRETATION)
    yield f"Source: {escape_markdown(analysis.REFERENCE)}"


def _table(table: Table) -> str:
    return f"{markdown(table)}\n{escape_markdown(table.caption)}" if table.blocks else ""


def _image(picture: SavedFigure) -> str:
    return f"![{escape_markdown(picture.alt)}](figures/{picture.name}.png)"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {escape_markdown(item)}" for item in items)
