"""A report on disk: one self-contained page, the same in Markdown, and every table and figure.

Another package can have a small page of its own: the house's look around what it has to say
(:func:`render_page`).
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from catchup_eval.analysis.base import Analysis
from catchup_eval.core.files import atomic_path, write_text
from catchup_eval.report import contents as report_contents
from catchup_eval.report import formatting
from catchup_eval.report.comparison import Further
from catchup_eval.report.contents import ReportContents, contents
from catchup_eval.report.names import readable
from catchup_eval.report.summary import summary_table
from catchup_eval.report.tables import Table, escape_markdown, frame, latex
from catchup_eval.results import comparison
from catchup_eval.results.study import Study
from catchup_eval.results.summary import summarize

LINKED = re.compile(r'(?:href|src)="((?:tables|figures)/[\w-][\w.-]*)["#]')
EXCERPT = 40  # rows of a long table that the page shows


def write(
    study: Study,
    analyses: Mapping[str, Analysis],
    folder: Path | str,
    further: Further = lambda study, verdicts: (),
) -> Path:
    """Write a study's report; nothing is measured, all is redrawn from its results.

    Into `folder` go `index.html` (self-contained), `report.md`, `tables/*.csv|tex` and
    `figures/*.png|pdf|svg`. The same study gives the same files, byte for byte. Tables and figures
    that only the page before linked to are removed.

    Args:
        analyses: the questions by name; results of others are listed as unknown.
        further: what a comparison shows beside its own charts.

    Returns:
        The path of `index.html`.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    index = folder / "index.html"
    before = _linked_files(index)
    page = contents(study, analyses, folder, further)
    _write_tables(page, folder)
    write_text(folder / "report.md", report_contents.render(page))
    write_text(index, render(page))
    for name in before - _linked_files(index):
        (folder / name).unlink(missing_ok=True)
    return index


def _linked_files(index: Path) -> set[str]:
    """The tables and figures that a page links to: all that were written with it, nothing else."""
    text = index.read_text(encoding="utf-8", errors="replace") if index.is_file() else ""
    return set(LINKED.findall(text))


def summary(study: Study, analyses: Mapping[str, Analysis]) -> pd.DataFrame:
    """The one table that matters, as texts: a row for each headline, a column for each group."""
    study = readable(study)
    lines = summarize(study, analyses)
    verdicts = comparison.compare_to_reference(lines, study.info.reference)
    return frame(summary_table(lines, verdicts, study))


def render(page: ReportContents) -> str:
    """The whole page as HTML; every name and text is escaped."""
    script = part("page.js")
    return (
        environment()
        .get_template("page.html")
        .render(
            page=page,
            info=page.study.info,
            css=part("page.css"),
            script=script,
            script_hash=policy_hash(f"\n{script}\n"),
            excerpt=EXCERPT,
        )
    )


def environment(*packages: str) -> Environment:
    """Where templates are found: in these packages, then here; what they show is escaped."""
    found = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in (*packages, "catchup_eval.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["unbroken"] = keep_units_together
    return found


def part(name: str) -> Markup:
    """A file of ours that stands in a page as it is."""
    path = Path(__file__).parent / "templates" / name
    return Markup(path.read_text(encoding="utf-8").rstrip("\n"))


def policy_hash(script: str) -> str:
    """What the page's content security policy calls its one script; no other one runs."""
    return "sha256-" + b64encode(sha256(script.encode()).digest()).decode()


def keep_units_together(text: str) -> str:
    """The same text, whose units and arrows stay on one line with what they belong to."""
    arrows = "".join(formatting.ARROWS.values())
    return re.sub(rf" (?=\(%\)|[{arrows}])|(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text)


def _write_tables(page: ReportContents, folder: Path) -> None:
    for name, rows in page.frames.items():
        with atomic_path(folder / "tables" / f"{name}.csv") as temporary:
            rows.to_csv(temporary, index=False)
    for table in _tables(page):
        write_text(folder / "tables" / f"{table.name}.tex", latex(table))


def _tables(page: ReportContents) -> list[Table]:
    compared = page.comparison
    ours = compared.tables if compared else []
    questions = [question.numbers for question in page.questions]
    overviews = [page.overview] if page.overview else []
    tables = [page.summary, *overviews, *ours, page.checks, page.cost, page.models, *questions]
    return [table for table in tables if table.blocks]


def render_page(package: str, template: str, title: str, page: Any) -> str:
    """A page as HTML; every name and text is escaped.

    Args:
        package: that has the template, which extends `leaf.html`.
        page: with `finding`, a sentence, and `facts`, pairs of a name and a text.
    """
    found = environment(package).get_template(template)
    return found.render(page=page, title=title, css=part("page.css"))


def write_page(
    package: str, name: str, page: Any, markdown: Iterable[str], rows: pd.DataFrame, folder: Path
) -> Path:
    """Write `NAME.html`, `NAME.md` and `NAME.csv`; gives the path of the page.

    Args:
        package: as in :func:`render_page`; its template has the page's name.
        page: with `title`, `finding` and `facts`.
        markdown: what follows the facts, in parts; empty ones are left out.

    Raises:
        UserError: the folder cannot be written.
    """
    facts = "\n".join(f"- {fact}: {escape_markdown(text)}" for fact, text in page.facts)
    parts = [f"# {escape_markdown(page.title)}", escape_markdown(page.finding), facts, *markdown]
    with atomic_path(folder / f"{name}.csv") as temporary:
        rows.to_csv(temporary, index=False)
    write_text(folder / f"{name}.md", "\n\n".join(p.strip() for p in parts if p) + "\n")
    html = folder / f"{name}.html"
    write_text(html, render_page(package, f"{name}.html", page.title, page))
    return html
