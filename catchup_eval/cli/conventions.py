"""`conventions`: finished reports under other conventions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from catchup_eval.core.errors import UserError
from catchup_eval.results.folder import study_file

PAPER = "paper"  # instead of a folder: the Catch-up Mix paper's own tables


def conventions(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="Finished reports of the same models, or paper: the paper's own tables.",
        ),
    ],
    quotes: Annotated[
        list[str],
        typer.Option(
            "--quote",
            metavar="NAME=NUMBER",
            help="A number you read, such as mCE=43.76: the closest convention; may be repeated.",
        ),
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write conventions.html and conventions.csv there.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only matches and where the result is.")
    ] = False,
) -> None:
    """Show the numbers of finished reports under other conventions.

    Prints whether the ranking of the models depends on the convention. Of some analyses a report
    holds one convention; name a second report, with other settings, beside it.
    """
    show_conventions(folders, [parse_quote(text) for text in quotes], out, quiet=quiet)


def parse_quote(text: str) -> tuple[str, float]:
    """A published number as it is written: `mCE=43.76`.

    Raises:
        UserError: no name, or no number.
    """
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name.strip() or not math.isfinite(value):
        raise UserError(f"expected a quote as NAME=NUMBER, such as mCE=43.76, got {text!r}")
    return name.strip(), value


def show_conventions(
    folders: Sequence[Path],
    quotes: Sequence[tuple[str, float]],
    out: Path | None,
    *,
    quiet: bool = False,
) -> None:
    """Print reports under other conventions; write them into the folder `out`, if one is given."""
    paper = [str(folder) for folder in folders] == [PAPER]
    if paper and quotes:
        raise UserError("a quote needs a finished report to be compared with, not the paper")
    if not paper:
        for folder in folders:
            study_file(folder)

    from catchup_eval.audit.conventions import page
    from catchup_eval.cli.console import Console
    from catchup_eval.report.tables import frame

    console = Console(quiet=quiet)
    found = page.read_paper() if paper else page.compare_reports(folders, quotes)
    for table in found.tables:
        texts = frame(table)
        texts[table.columns[0]] = texts[table.columns[0]].mask(
            texts.duplicated(table.columns[0]), ""
        )
        console.table(texts, table.caption)
    console.info(found.finding)
    for match in found.matches:
        console.result(match.text)
    if out is not None:
        console.result(str(page.write(found, out)))
