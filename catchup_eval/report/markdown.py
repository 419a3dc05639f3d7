"""The report in Markdown: short, for a repository or a message."""

from collections.abc import Iterable, Iterator

from catchup_eval.report.compared import Comparison
from catchup_eval.report.contents import Contents
from catchup_eval.report.pictures import Picture
from catchup_eval.report.questions import Question
from catchup_eval.report.tables import Table, escape_markdown, markdown


def render(page: Contents) -> str:
    """The whole report as Markdown, its pictures linked."""
    return "\n\n".join(part.strip() for part in _parts(page) if part) + "\n"


def _parts(page: Contents) -> Iterator[str]:
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
    yield _fenced(info.command)
    yield _table(page.models)
    yield _table(page.cost)
    yield _list(f"{name}: {text}" for name, text in page.facts)


def _comparison(part: Comparison) -> Iterator[str]:
    yield f"## Comparison with {escape_markdown(part.reference)}"
    yield escape_markdown(part.how)
    yield _table(part.verdicts)
    for chart in part.charts:
        yield f"### {chart.title}"
        yield _image(chart.picture) if chart.picture else ""
        yield from map(_table, chart.tables)
        yield escape_markdown(chart.reading)


def _checks(page: Contents) -> Iterator[str]:
    number = len(page.checks.rows)
    yield f"{number - len(page.failed)} of {number} passed, for every model."
    yield _list(f"Failed: {claim}" for claim in page.failed)


def _question(question: Question) -> Iterator[str]:
    analysis = question.analysis
    yield f"## {escape_markdown(analysis.TITLE)}"
    yield escape_markdown(analysis.QUESTION)
    yield from map(_image, question.pictures)
    yield _table(question.headlines)
    yield escape_markdown(analysis.READING)
    yield f"Source: {escape_markdown(analysis.SOURCE)}"


def _table(table: Table) -> str:
    return f"{markdown(table)}\n{escape_markdown(table.caption)}" if table.blocks else ""


def _image(picture: Picture) -> str:
    return f"![{escape_markdown(picture.alt)}](figures/{picture.name}.png)"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {escape_markdown(item)}" for item in items)


def _fenced(command: str) -> str:
    return f"```\n{command}\n```"
