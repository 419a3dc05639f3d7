"""What the lens saw, on disk: one self-contained page, the same in Markdown, and in CSV."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from catchup_eval.files import replacing, write_text
from catchup_eval.lens.quote import Answer
from catchup_eval.lens.section import Section
from catchup_eval.report.leaf import render
from catchup_eval.report.tables import Table, escape_markdown, markdown
from catchup_eval.study import Study


@dataclass(frozen=True)
class Page:
    """All that a page of the lens says.

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
    answers: Sequence[Answer] = ()


def of(section: Section, study: Study, sources: Sequence[str]) -> Page:
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
    return Page(
        f"Conventions: {study.info.name}",
        section.finding,
        [fact for fact in facts if fact[1]],
        section.tables,
        section.how,
        section.pairs if section.swaps.blocks else "",
        section.answers,
    )


def write(page: Page, frame: pd.DataFrame, folder: Path) -> Path:
    """Write `lens.html`, `lens.md` and `lens.csv`; gives the path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    with replacing(folder / "lens.csv") as temporary:
        frame.to_csv(temporary, index=False)
    write_text(folder / "lens.md", to_markdown(page))
    html = folder / "lens.html"
    write_text(html, render("catchup_eval.lens", "lens.html", page.title, page))
    return html


def to_markdown(page: Page) -> str:
    """The page as Markdown."""
    return "\n\n".join(part.strip() for part in _parts(page) if part) + "\n"


def _parts(page: Page) -> Iterator[str]:
    yield f"# {escape_markdown(page.title)}"
    yield escape_markdown(page.finding)
    yield "\n".join(f"- {name}: {escape_markdown(text)}" for name, text in page.facts)
    yield from (escape_markdown(answer.text) for answer in page.answers)
    yield escape_markdown(page.how)
    for table in page.tables:
        yield escape_markdown(table.caption)
        yield markdown(table)
    yield escape_markdown(page.note)
