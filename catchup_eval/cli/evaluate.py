"""`evaluate` and `compare`: evaluate checkpoints."""

from typing import Annotated

import typer

from catchup_eval.app.options import Options, with_common_options
from catchup_eval.cli.arguments import Data, Models, command_line


@with_common_options()
def evaluate(models: Models, data: Data = "digits", *, options: Options) -> None:
    """Evaluate models by every analysis; print a table."""
    from catchup_eval.app.evaluate import evaluate_models as answer

    raise typer.Exit(answer(models, data, options, command=command_line()))


@with_common_options()
def compare(
    models: Models,
    data: Data = "digits",
    reference: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The model that the others are compared with (default: the first)."
        ),
    ] = "",
    *,
    options: Options,
) -> None:
    """Evaluate models, then compare them on one page.

    What is evaluated already is not evaluated again.
    """
    from catchup_eval.app.evaluate import evaluate_models as answer

    code = answer(models, data, options, command=command_line(), reference=reference, page=True)
    raise typer.Exit(code)
