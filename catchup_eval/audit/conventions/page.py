"""The conventions page, on disk: one self-contained page, and its rows in CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from catchup_eval.audit.conventions import tables
from catchup_eval.audit.conventions.quotes import QuoteMatches, match_quote
from catchup_eval.audit.conventions.rankings import evaluate_conventions
from catchup_eval.core.errors import UserError
from catchup_eval.feature_learning import KNOWN
from catchup_eval.paper import readings
from catchup_eval.report.page import write_page
from catchup_eval.report.tables import Table
from catchup_eval.results import study
from catchup_eval.results.merge import merge_by_dataset


class ConventionsPage(NamedTuple):
    """The content of the template: `how` before the tables, `note` after them."""

    title: str
    finding: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table]
    how: str
    rows: pd.DataFrame  # of the CSV file
    note: str = ""
    matches: Sequence[QuoteMatches] = ()


def compare_reports(
    folders: Sequence[Path], quotes: Sequence[tuple[str, float]]
) -> ConventionsPage:
    """Reports of the same models on the same images, under other conventions.

    Args:
        quotes: published numbers, with the name of a family each.

    Raises:
        BadFile: a folder holds no report.
        UnknownName: a quote's name is none.
        UserError: reports of other images or models.
    """
    loaded = [study.load(folder, KNOWN) for folder in folders]
    joined = merge_by_dataset(loaded, folders)
    if len(joined) > 1:
        raise UserError(f"expected reports about one dataset, got {', '.join(joined)}")
    (merged,) = joined.values()
    found = evaluate_conventions(merged, loaded)
    section = tables.section(found, merged.groups)
    data = merged.info.data
    facts = [
        ("Reports", ", ".join(folder.name for folder in folders)),
        ("Models", ", ".join(merged.groups)),
        ("Data", f"{data.name}, {data.subset}" if data.subset else data.name),
        ("Machine", merged.info.machine),
    ]
    return ConventionsPage(
        f"Conventions: {merged.info.name}",
        section.finding,
        [fact for fact in facts if fact[1]],
        section.tables,
        section.how,
        tables.frame(found),
        tables.PAIRS if section.swaps.blocks else "",
        [match_quote(name, value, found) for name, value in quotes],
    )


def read_paper() -> ConventionsPage:
    """Possible readings of the numbers of the Catch-up Mix paper."""
    found = readings.paper_readings()
    rows = pd.DataFrame(
        {"table": title, **one._asdict()} for title, several in found.items() for one in several
    )
    return ConventionsPage(
        "Possible readings of the paper's numbers",
        readings.finding(rows["judgement"]),
        [("Source", "Catch-up Mix, as printed"), ("Tables", ", ".join(found))],
        [readings.table(title, several) for title, several in found.items()],
        readings.HOW,
        rows,
    )


def write(page: ConventionsPage, folder: Path) -> Path:
    """Write `conventions.html` and `conventions.csv`; gives the path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    package = "catchup_eval.audit.conventions"
    return write_page(package, "conventions", page, page.rows, folder)
