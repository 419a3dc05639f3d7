"""`recipe new`: a recipe to change."""

from pathlib import Path
from typing import Annotated

import typer

recipe = typer.Typer(no_args_is_help=True, help="Write recipes of your own.")


@recipe.command()
def new(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE.toml]", help="Where it is written; printed where it is not given."
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option("--from", metavar="RECIPE", help="The recipe whose values it begins with."),
    ] = "digits",
) -> None:
    """Write a recipe with every setting explained.

    Each has its default, its type and its meaning beside it.
    """
    write_recipe(file, source)


def write_recipe(file: Path | None, source: str) -> None:
    """Write, or print, an annotated recipe.

    Raises:
        UserError: the file is there already, or cannot be written, or there is no such recipe.
    """
    from catchup_eval.core.errors import UserError
    from catchup_eval.core.files import write_text
    from catchup_eval.trainers.annotation import annotate
    from catchup_eval.trainers.recipe import load_recipe

    text = annotate(load_recipe(source))
    if file is None:
        print(text, end="")
        return
    if file.suffix != ".toml":
        raise UserError(f"expected a file FILE.toml, as recipes are named, got {file}")
    if file.exists():
        raise UserError(f"{file} is there already; remove it, or choose another name")
    write_text(file, text)
    print(file)
