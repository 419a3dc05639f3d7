"""`conventions`: finished reports under every convention."""

from pathlib import Path
from typing import Annotated

import typer


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
            help="Write conventions.html, conventions.md and conventions.csv there.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only answers and where the result is.")
    ] = False,
) -> None:
    """Show finished reports under every convention.

    Says whether the ranking of the models depends on the convention. A report holds one convention
    of some analyses; name a second one, with other settings, beside it.
    """
    from catchup_eval.app.conventions import show_conventions as look

    raise typer.Exit(look(folders, quotes, out, quiet=quiet))
