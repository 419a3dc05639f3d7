"""A report on disk: one self-contained page, the same in Markdown, and every table and figure."""

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pandas as pd
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from catchup_eval import comparison, headlines
from catchup_eval.files import replacing, write_text
from catchup_eval.question import Analysis
from catchup_eval.report import markdown, numbers, overview
from catchup_eval.report.compared import Further
from catchup_eval.report.contents import Contents, contents
from catchup_eval.report.names import readable
from catchup_eval.report.tables import Table, frame, latex
from catchup_eval.study import Study

EXCERPT = 40  # rows of a long table that the page shows


def write(
    study: Study,
    analyses: Mapping[str, Analysis],
    folder: Path | str,
    further: Further = lambda study, verdicts: (),
) -> Path:
    """Write a study's report; nothing is measured, all is redrawn from its results.

    Into `folder` go `index.html` (self-contained), `report.md`, `tables/*.csv|tex` and
    `figures/*.png|pdf|svg`. The same study gives the same files, byte for byte.

    Args:
        analyses: the questions by name; results of others are listed as unknown.
        further: what a comparison shows beside its own charts.

    Returns:
        The path of `index.html`.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    page = contents(study, analyses, folder, further)
    _write_tables(page, folder)
    write_text(folder / "report.md", markdown.render(page))
    index = folder / "index.html"
    write_text(index, render(page))
    return index


def summary(study: Study, analyses: Mapping[str, Analysis]) -> pd.DataFrame:
    """The one table that matters, as texts: a row for each headline, a column for each group."""
    study = readable(study)
    lines = headlines.lines(study, analyses)
    verdicts = comparison.verdicts(lines, study.info.reference)
    return frame(overview.summary_table(lines, verdicts, study))


def render(page: Contents) -> str:
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
    found.filters["unbroken"] = unbroken
    return found


def part(name: str) -> Markup:
    """A file of ours that stands in a page as it is."""
    path = Path(__file__).parent / "templates" / name
    return Markup(path.read_text(encoding="utf-8").rstrip("\n"))


def policy_hash(script: str) -> str:
    """What the page's content security policy calls its one script; no other one runs."""
    return "sha256-" + b64encode(sha256(script.encode()).digest()).decode()


def unbroken(text: str) -> str:
    """The same text, whose units and arrows stay on one line with what they belong to."""
    arrows = "".join(numbers.ARROWS.values())
    return re.sub(rf" (?=\(%\)|[{arrows}])|(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text)


def _write_tables(page: Contents, folder: Path) -> None:
    for name, rows in page.frames.items():
        with replacing(folder / "tables" / f"{name}.csv") as temporary:
            rows.to_csv(temporary, index=False)
    for table in _tables(page):
        write_text(folder / "tables" / f"{table.name}.tex", latex(table))


def _tables(page: Contents) -> list[Table]:
    compared = page.comparison
    ours = compared.tables if compared else []
    questions = [question.numbers for question in page.questions]
    overviews = [page.overview] if page.overview else []
    tables = [page.summary, *overviews, *ours, page.checks, page.cost, page.models, *questions]
    return [table for table in tables if table.blocks]
