"""The contents of a report, laid out from a study alone; rendered as Markdown here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from catchup_eval.analysis.base import Analysis
from catchup_eval.plotting.style import DEFAULT_STYLE, SIX, Style, figure_style, unwritable
from catchup_eval.report import by_class, evidence
from catchup_eval.report import summary as summaries
from catchup_eval.report.comparison import (
    ComparisonSection,
    Further,
    appendix_sections,
    decision_sections,
    summary_pictures,
)
from catchup_eval.report.figures import SavedFigure
from catchup_eval.report.findings import banner, finding, remarks
from catchup_eval.report.names import arrange, readable
from catchup_eval.report.numbers import numeric_frame
from catchup_eval.report.sections import AnalysisSection, build_section
from catchup_eval.report.tables import Table, escape_markdown, frame, markdown
from catchup_eval.results import comparison
from catchup_eval.results.literature import PublishedRow
from catchup_eval.results.study import Study
from catchup_eval.results.summary import SEEDS, SummaryRow, summarize

LETTERLESS = (
    "Figures write the letters {} as their codes: no installed font has them. Noto Sans CJK does."
)


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
    pictures: Sequence[SavedFigure]  # the summary figure, for a screen and for a phone
    chips: Sequence[SummaryFact]
    banner: Sequence[str]  # what could mislead a reader
    summary: Table
    decision: Sequence[ComparisonSection]
    analyses: Sequence[AnalysisSection]
    by_class: ComparisonSection | None  # where the predicted labels are stored
    skips: Sequence[tuple[str, str, str]]
    appendix: Sequence[ComparisonSection]
    remarks: Sequence[str]  # what else differs between the models
    checks: Table
    cost: Table
    models: Table
    cards: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    frames: Mapping[str, pd.DataFrame]  # the CSV files of the tables
    numbers: pd.DataFrame  # all of them

    @property
    def tables(self) -> list[Table]:
        """All of its tables; none is empty."""
        parts = [*self.decision, *([self.by_class] if self.by_class else []), *self.appendix]
        sections = [table for one in parts for table in one.tables]
        numbers = [section.numbers for section in self.analyses]
        tables = [self.summary, *sections, self.checks, self.cost, self.models, *numbers]
        return [table for table in tables if table.blocks]


def contents(
    study: Study,
    analyses: Mapping[str, Analysis],
    folder: Path,
    further: Further,
    style: Style = DEFAULT_STYLE,
    published: Sequence[PublishedRow] = (),
) -> ReportContents:
    """Lay out a study; its figures are saved into `folder`."""
    study, style = arrange(study, style)
    study = readable(study)
    lines = summarize(study, analyses)
    if len(study.groups) > len(SIX) and not style.highlighted:
        style = style.model_copy(update={"highlighted": _best_two(study, lines)})
    with figure_style(style):
        return _lay_out(study, analyses, folder, further, lines, published)


def _best_two(study: Study, lines: Sequence[SummaryRow]) -> tuple[str, ...]:
    ranking = comparison.overall_ranking(lines, study.groups)
    order = [one.group for one in ranking.ranks] if ranking else study.groups
    return tuple(group for group in order if group != study.info.reference)[:2]


def _lay_out(
    study: Study,
    analyses: Mapping[str, Analysis],
    folder: Path,
    further: Further,
    lines: Sequence[SummaryRow],
    published: Sequence[PublishedRow],
) -> ReportContents:
    reference = study.info.reference
    compared = comparison.compare_to_reference(lines, reference)
    classes = by_class.section(study, analyses, folder)
    checks = evidence.checks_table(study, analyses)
    cost, models = evidence.cost_table(study, analyses), evidence.models_table(study)
    measured = [name for name in study.available_analyses() if name in analyses]
    appendix = list(appendix_sections(study, compared, folder, further))
    foreign = unwritable("".join(study.groups))
    return ReportContents(
        study=study,
        finding=finding(study, lines, compared),
        pictures=summary_pictures(study, lines, compared, folder),
        chips=chips(study),
        banner=banner(study, lines, evidence.failed_checks(checks)),
        summary=summaries.summary_table(lines, compared, study, published),
        decision=list(decision_sections(study, lines, folder)),
        analyses=[build_section(study, name, analyses[name], checks, folder) for name in measured],
        by_class=classes,
        skips=evidence.skips(study, analyses),
        appendix=appendix,
        remarks=[*remarks(study), *([LETTERLESS.format(foreign)] if foreign else [])],
        checks=checks,
        cost=cost,
        models=models,
        cards=evidence.cards(study),
        facts=evidence.facts(study),
        frames={
            **({"summary": summaries.summary_frame(lines)} if lines else {}),
            **{name: rows for one in appendix for name, rows in one.frames.items()},
            **(classes.frames if classes else {}),
            **{table.name: frame(table) for table in (checks, cost, models) if table.blocks},
            **({"provenance": evidence.provenance_frame(study)} if study.provenance else {}),
            **{name: study.joined_result(name).frame for name in measured},
        },
        numbers=numeric_frame(study, analyses, lines, published),
    )


def chips(study: Study) -> list[SummaryFact]:
    """The facts that go with every number of the page."""
    info, data, groups = study.info, study.info.data, study.groups
    counts = [len(study.models_of(group)) for group in groups]
    seeds = " to ".join(str(n) for n in sorted({min(counts), max(counts)})) if counts else ""
    about = "compares networks, not methods" if counts and min(counts) < SEEDS else ""
    each = f"{seeds} each" if len(groups) > 1 else seeds
    devices = dict.fromkeys(run.device for run in study.provenance.values())
    facts = [
        SummaryFact("models", str(len(groups)) if len(groups) > len(SIX) else ", ".join(groups)),
        SummaryFact("data", data.name),
        SummaryFact("n", f"{data.parts['test']:,} test images" if "test" in data.parts else ""),
        SummaryFact("subset", data.subset.removeprefix("subset: "), "caution"),
        SummaryFact("seeds", f"{each}: {about}" if about and len(groups) > 1 else each),
        SummaryFact("device", ", ".join(devices)),
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
    yield from map(_image, page.pictures[:1])
    yield _list(f"{chip.name}: {chip.text}" for chip in page.chips)
    if page.banner:
        yield "**Read with care**"
        yield _list(page.banner)
    yield "## All metrics"
    yield _table(page.summary)
    for section in page.decision:
        yield from _comparison(section)
    for analysis in page.analyses:
        yield from _section(analysis)
    if page.by_class:
        yield from _comparison(page.by_class)
    if page.skips:
        yield "## Skipped or failed"
        yield _list(f"{title}: {reason} ({who})" for title, reason, who in page.skips)
    yield "## Appendix"
    for section in page.appendix:
        yield from _comparison(section)
    if page.checks.blocks:
        yield "### Sanity checks"
        yield _table(page.checks)
    yield "### Cost and provenance"
    yield f"```\n{info.command}\n```"
    yield _list(page.remarks)
    yield _table(page.models)
    yield _table(page.cost)
    yield _list(f"{name}: {text}" for name, text in page.facts)


def _comparison(section: ComparisonSection) -> Iterator[str]:
    yield f"### {section.title}"
    yield _image(section.picture) if section.picture else ""
    yield from map(_table, section.tables)
    yield escape_markdown(section.text)


def _section(section: AnalysisSection) -> Iterator[str]:
    analysis = section.analysis
    yield f"## {escape_markdown(analysis.TITLE)}"
    yield escape_markdown(analysis.DESCRIPTION)
    yield from map(_image, section.pictures)
    yield escape_markdown(analysis.INTERPRETATION)
    yield f"Source: {escape_markdown(analysis.REFERENCE)}"


def _table(table: Table) -> str:
    return f"{markdown(table)}\n{escape_markdown(table.caption)}" if table.blocks else ""


def _image(picture: SavedFigure) -> str:
    return f"![{escape_markdown(picture.alt)}](figures/{picture.name}.png)"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {escape_markdown(item)}" for item in items)
