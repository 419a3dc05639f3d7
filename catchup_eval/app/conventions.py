"""The same checkpoints under every convention in circulation, from finished reports."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from catchup_eval import feature_learning
from catchup_eval.audit.conventions import page
from catchup_eval.audit.conventions import tables as sections
from catchup_eval.audit.conventions.quotes import match_quote, parse
from catchup_eval.audit.conventions.rankings import evaluate_conventions
from catchup_eval.cli.console import Console
from catchup_eval.core import errors
from catchup_eval.core.errors import UserError
from catchup_eval.paper import readings
from catchup_eval.paper.reproduction import Reproduction, ReproductionColumn, shipped_reproductions
from catchup_eval.report.tables import Table
from catchup_eval.results import study
from catchup_eval.results.merge import merge_by_dataset

PAPER = "paper"  # instead of a folder: the Catch-up Mix paper's own tables
HOW = (
    "Only the printed numbers are known here, no outcome of a single image: what each reading of "
    "them implies, and whether a printed number contradicts it."
)


def show_conventions(
    folders: Sequence[Path], quotes: Sequence[str], out: Path | None, *, quiet: bool = False
) -> int:
    """Print reports under every convention, and write them where asked; gives the exit code.

    Args:
        folders: finished reports of the same models on the same images, or `paper` alone.
        quotes: NAME=NUMBER each.
        out: the folder of `conventions.html`, `.md` and `.csv`; None writes nothing.

    Raises:
        BadFile: a folder holds no report.
        UnknownName: a quote's name is none.
        UserError: a quote that cannot be read; reports of other images or models.
    """
    console = Console(quiet=quiet)
    if [str(folder) for folder in folders] == [PAPER]:
        made, frame = _paper(quotes)
    else:
        made, frame = compare_reports(folders, quotes)
    for table in made.tables:
        console.table(_frame(table), table.caption)
    console.info(made.finding)
    for answer in made.answers:
        console.result(answer.text)
    if out is not None:
        console.result(str(page.write(made, frame, out)))
    return errors.DONE


def compare_reports(
    folders: Sequence[Path], quotes: Sequence[str]
) -> tuple[page.ConventionsPage, pd.DataFrame]:
    """The page of these reports under every convention, and all its numbers as a table."""
    asked = [parse(text) for text in quotes]
    loaded = [study.load(folder, feature_learning.analysis_versions()) for folder in folders]
    joined = merge_by_dataset(loaded, folders)
    if len(joined) > 1:
        raise UserError(f"expected reports about one dataset, got {', '.join(joined)}")
    (whole,) = joined.values()
    found = evaluate_conventions(whole, loaded)
    answers = [match_quote(one, found) for one in asked]
    laid_out = sections.section(found, whole.groups, answers)
    made = page.build_page(laid_out, whole, [folder.name for folder in folders])
    return made, sections.frame(found)


def _frame(table: Table) -> pd.DataFrame:
    """As texts, for a terminal; the first cell of a block once."""
    rows = [
        [cell.text if column or not place else "" for column, cell in enumerate(row)]
        for block in table.blocks
        for place, row in enumerate(block)
    ]
    return pd.DataFrame(rows, columns=list(table.columns))


def _paper(quotes: Sequence[str]) -> tuple[page.ConventionsPage, pd.DataFrame]:
    if quotes:
        raise UserError("a quote needs a finished report to be compared with, not the paper")
    tables = {
        one.title: readings.meanings(printed_columns(one))
        for one in shipped_reproductions().values()
    }
    told = {title: found for title, found in tables.items() if found}
    rows = [{"table": title, **one._asdict()} for title, found in told.items() for one in found]
    frame = pd.DataFrame(rows)
    made = page.ConventionsPage(
        "What the paper's numbers could mean",
        _finding(frame),
        [("Source", "Catch-up Mix, as printed"), ("Tables", ", ".join(told))],
        [readings.table(title, found) for title, found in told.items()],
        HOW,
    )
    return made, frame


def _finding(frame: pd.DataFrame) -> str:
    counts = frame["judgement"].value_counts()
    said = ", ".join(f"{word} {counts.get(word, 0)}" for word in readings.TONES)
    return f"{len(frame)} readings of the printed numbers: {said}."


def printed_columns(table: Reproduction) -> dict[str, dict[str, float]]:
    """The paper's columns by measure; an error under `clean.error`, a zoom by its percent."""
    columns = enumerate(table.columns)
    return {
        _name(column): dict(_numbers(table, place))
        for place, column in columns
        if not column.setting  # several data sets in one table print one number each
    }


def _name(column: ReproductionColumn) -> str:
    if column.complement:
        return column.measure.replace("accuracy", "error")
    if column.where.get("deformation") == "zoom":
        return f"zoom {column.where['strength']:g}"
    return column.measure


def _numbers(table: Reproduction, place: int) -> Iterator[tuple[str, float]]:
    for row in table.rows:
        if place < len(row.paper) and not np.isnan(row.paper[place]):
            yield row.name, row.paper[place]
