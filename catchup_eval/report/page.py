"""A report on disk: a self-contained page, the same in Markdown, and every table and figure.

Other packages write small pages of their own in the same look (:func:`write_page`).
"""

import gc
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from catchup_eval.analysis.base import Analysis
from catchup_eval.core.errors import BadFile
from catchup_eval.core.files import atomic_path, write_text
from catchup_eval.plotting.style import DEFAULT_STYLE, Style
from catchup_eval.report import contents as report_contents
from catchup_eval.report import formatting
from catchup_eval.report.comparison import Further
from catchup_eval.report.contents import ReportContents, contents
from catchup_eval.report.names import readable
from catchup_eval.report.numbers import write_json
from catchup_eval.report.summary import summary_table
from catchup_eval.report.tables import frame, latex
from catchup_eval.results import comparison
from catchup_eval.results.folder import MOST_PAGE, read_stored, writing
from catchup_eval.results.literature import PublishedRow
from catchup_eval.results.study import Study
from catchup_eval.results.summary import summarize

LINK = re.compile(r'(?:href|src)="((?:tables|figures)/[\w-][\w.-]*)["#]')
EXCERPT = 40  # rows of a long table that the page shows


def write(
    study: Study,
    analyses: Mapping[str, Analysis],
    folder: Path | str,
    further: Further = lambda study, comparisons: (),
    *,
    style: Style = DEFAULT_STYLE,
    published: Sequence[PublishedRow] = (),
    complete_latex: bool = False,
    options: str = "",
) -> Path:
    """Write a study's report from its results alone; the same study gives the same bytes.

    Into `folder` go `index.html` (self-contained), `report.md`, `tables/*.csv|tex`,
    `figures/*.png|svg` with a CSV of each one's data, and all numbers as `results.csv` and
    `results.json`. Tables and figures that only the previous page linked to are removed.

    Args:
        analyses: by name; results of others are listed as unknown.
        further: sections of the appendix beside its own.
        style: of the figures; names, order and colours of the models.
        published: rows from the literature, beside the study's own.
        complete_latex: tables with environment, caption and label.
        options: in words, which the page names: not all of the report is shown, or otherwise.

    Returns:
        The path of `index.html`.

    Raises:
        UserError: the folder cannot be written, or another run is writing it.
    """
    folder = Path(folder)
    index = folder / "index.html"
    with writing(folder), _rare_collections():
        before = _linked_files(index)
        page = contents(study, analyses, folder, further, style, published)
        _write_tables(page, folder, complete_latex)
        write_text(folder / "results.json", write_json(page.numbers, page.study))
        write_text(folder / "report.md", report_contents.render(page))
        write_text(index, render(page, options))
        for name in before - _linked_files(index):
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
    return index


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Figures are many small objects, among which the collector of cycles takes a tenth longer."""
    usual = gc.get_threshold()
    gc.set_threshold(50 * usual[0], *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _linked_files(index: Path) -> set[str]:
    """The tables and figures that a page links to: exactly those that were written with it."""
    try:
        text = read_stored(index.parent, index.name, MOST_PAGE).decode(errors="replace")
    except BadFile:
        return set()
    return set(LINK.findall(text))


def summary(study: Study, analyses: Mapping[str, Analysis]) -> pd.DataFrame:
    """The summary as texts: a row for each metric, a column for each group."""
    study = readable(study)
    lines = summarize(study, analyses)
    compared = comparison.compare_to_reference(lines, study.info.reference)
    return frame(summary_table(lines, compared, study))


def render(page: ReportContents, options: str = "") -> str:
    """The whole page as HTML; every name and text is escaped."""
    css, script = part("page.css"), part("page.js")
    digest = b64encode(sha256(f"\n{script}\n".encode()).digest()).decode()
    template = environment().get_template("page.html")
    return template.render(
        page=page,
        info=page.study.info,
        css=css,
        script=script,
        script_hash=f"sha256-{digest}",  # for the content security policy: no other script runs
        excerpt=EXCERPT,
        options=options,
        anchors={section.analysis.TITLE: section.anchor for section in page.analyses},
    )


def environment(*packages: str) -> Environment:
    """Finds templates in these packages, then here; values are escaped."""
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
    """A style sheet or script, for a page, unescaped."""
    path = Path(__file__).parent / "templates" / name
    return Markup(path.read_text(encoding="utf-8").rstrip("\n"))


def keep_units_together(text: str) -> str:
    """The same text with no-break spaces before units and arrows."""
    arrows = "".join(formatting.ARROWS.values())
    return re.sub(rf" (?=\(%\)|[{arrows}])|(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text)


def _write_tables(page: ReportContents, folder: Path, complete: bool) -> None:
    files = {f"tables/{name}.csv": rows for name, rows in page.frames.items()}
    for name, rows in {**files, "results.csv": page.numbers}.items():
        with atomic_path(folder / name) as temporary:
            rows.to_csv(temporary, index=False)
    for table in page.tables:
        write_text(folder / "tables" / f"{table.name}.tex", latex(table, complete=complete))


def render_page(package: str, template: str, title: str, page: Any) -> str:
    """A page as HTML; every name and text is escaped.

    Args:
        package: of the template, which extends `leaf.html`.
        page: with `finding`, a sentence, and `facts`, pairs of a name and a text.
    """
    found = environment(package).get_template(template)
    return found.render(page=page, title=title, css=part("page.css"))


def write_page(package: str, name: str, page: Any, rows: pd.DataFrame, folder: Path) -> Path:
    """Write `NAME.html` and `NAME.csv`; gives the path of the page.

    Args:
        package: as in :func:`render_page`; its template has the page's name.
        page: with `title`, `finding` and `facts`.
        rows: of the CSV file.

    Raises:
        UserError: the folder cannot be written.
    """
    with atomic_path(folder / f"{name}.csv") as temporary:
        rows.to_csv(temporary, index=False)
    html = folder / f"{name}.html"
    write_text(html, render_page(package, f"{name}.html", page.title, page))
    return html
