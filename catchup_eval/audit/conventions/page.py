"""The conventions page, on disk: one self-contained page, the same in Markdown, and in CSV."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from catchup_eval.audit.conventions.quotes import QuoteMatches
from catchup_eval.audit.conventions.tables import ConventionsSection
from catchup_eval.report.page import write_page
from catchup_eval.report.tables import Table, escape_markdown, markdown
from catchup_eval.results.study import Study


@dataclass(frozen=True)
class ConventionsPage:
    """All that the page says.

    Args:
        how: before the tables.
        note: after them.
    """

    title: str
    finding: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table]
    how: str
    note: str = ""
    answers: Sequence[QuoteMatches] = ()


def build_page(
    section: ConventionsSection, study: Study, sources: Sequence[str]
) -> ConventionsPage:
    """The page of one study.

    Args:
        sources: the folders that its results come from.
    """
    data = study.info.data
    facts = [
        ("Reports", ", ".join(sources)),
        ("Models", ", ".join(study.groups)),
        ("Data", f"{data.name}, {data.subset}" if data.subset else data.name),
        ("Machine", study.info.machine),
    ]
    return ConventionsPage(
        f"Conventions: {study.info.name}",
        section.finding,
        [fact for fact in facts if fact[1]],
        section.tables,
        section.how,
        section.pairs if section.swaps.blocks else "",
        section.answers,
    )


def write(page: ConventionsPage, frame: pd.DataFrame, folder: Path) -> Path:
    """Write `conventions.html`, `conventions.md` and `conventions.csv`; gives the path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    return write_page(
        "catchup_eval.audit.conventions", "conventions", page, _markdown(page), frame, folder
    )


def _markdown(page: ConventionsPage) -> Iterator[str]:
    yield from (escape_markdown(answer.text) for answer in page.answers)
    yield escape_markdown(page.how)
    for table in page.tables:
        yield escape_markdown(table.caption)
        yield markdown(table)
    yield escape_markdown(page.note)
