"""The same checkpoints under every convention in circulation, from finished reports."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from catchup_eval import study
from catchup_eval.app import evaluate as evaluation
from catchup_eval.app import questions as asking
from catchup_eval.app.claims import together
from catchup_eval.app.console import Console
from catchup_eval.app.reproduction import Column, Reproduction, shipped
from catchup_eval.errors import UserError
from catchup_eval.lens import page, published, quote
from catchup_eval.lens import section as sections
from catchup_eval.lens.view import views
from catchup_eval.report.tables import Table

PAPER = "paper"  # instead of a folder: the Catch-up Mix paper's own tables
HOW = (
    "Only the printed numbers are known here, no outcome of a single image: what each reading of "
    "them implies, and whether a printed number contradicts it."
)


def lens(
    folders: Sequence[Path], quotes: Sequence[str], out: Path | None, *, quiet: bool = False
) -> int:
    """Print what the lens sees, and write it where asked; gives the exit code.

    Args:
        folders: finished reports of the same networks on the same images, or `paper` alone.
        quotes: NAME=NUMBER each.
        out: the folder of `lens.html`, `lens.md` and `lens.csv`; None writes nothing.

    Raises:
        BadFile: a folder holds no report.
        UnknownName: a quote's name is none.
        UserError: a quote that cannot be read; reports of other images or networks.
    """
    console = Console(quiet=quiet)
    if [str(folder) for folder in folders] == [PAPER]:
        made, frame = _paper(quotes)
    else:
        made, frame = _seen(folders, quotes)
    for table in made.tables:
        console.table(_frame(table), table.caption)
    console.say(made.finding)
    for answer in made.answers:
        console.result(answer.text)
    if out is not None:
        console.result(str(page.write(made, frame, out)))
    return evaluation.DONE


def _seen(folders: Sequence[Path], quotes: Sequence[str]) -> tuple[page.Page, pd.DataFrame]:
    asked = [quote.parse(text) for text in quotes]
    loaded = [study.load(folder, asking.versions()) for folder in folders]
    joined = together(loaded, folders)
    if len(joined) > 1:
        raise UserError(f"expected reports about one image set, got {', '.join(joined)}")
    (whole,) = joined.values()
    found = views(whole, loaded)
    answers = [quote.answer(one, found) for one in asked]
    laid_out = sections.section(found, whole.groups, answers)
    made = page.of(laid_out, whole, [folder.name for folder in folders])
    return made, sections.frame(found)


def _frame(table: Table) -> pd.DataFrame:
    """As texts, for a terminal; the first cell of a block once."""
    rows = [
        [cell.text if column or not place else "" for column, cell in enumerate(row)]
        for block in table.blocks
        for place, row in enumerate(block)
    ]
    return pd.DataFrame(rows, columns=list(table.columns))


def _paper(quotes: Sequence[str]) -> tuple[page.Page, pd.DataFrame]:
    if quotes:
        raise UserError("a quote needs a finished report to be compared with, not the paper")
    tables = {one.title: published.meanings(printed(one)) for one in shipped().values()}
    told = {title: found for title, found in tables.items() if found}
    rows = [{"table": title, **one._asdict()} for title, found in told.items() for one in found]
    frame = pd.DataFrame(rows)
    made = page.Page(
        "What the paper's numbers could mean",
        _finding(frame),
        [("Source", "Catch-up Mix, as printed"), ("Tables", ", ".join(told))],
        [published.table(title, found) for title, found in told.items()],
        HOW,
    )
    return made, frame


def _finding(frame: pd.DataFrame) -> str:
    counts = frame["judgement"].value_counts()
    said = ", ".join(f"{word} {counts.get(word, 0)}" for word in published.TONES)
    return f"{len(frame)} readings of the printed numbers: {said}."


def printed(table: Reproduction) -> dict[str, dict[str, float]]:
    """The paper's columns by measure; an error under `clean.error`, a zoom by its percent."""
    columns = enumerate(table.columns)
    return {
        _name(column): dict(_numbers(table, place))
        for place, column in columns
        if not column.setting  # several data sets in one table print one number each
    }


def _name(column: Column) -> str:
    if column.complement:
        return column.measure.replace("accuracy", "error")
    if column.where.get("deformation") == "zoom":
        return f"zoom {column.where['strength']:g}"
    return column.measure


def _numbers(table: Reproduction, place: int) -> Iterator[tuple[str, float]]:
    for row in table.rows:
        if place < len(row.paper) and not np.isnan(row.paper[place]):
            yield row.name, row.paper[place]
