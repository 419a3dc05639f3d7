"""`reproduce`: a table or figure of the paper."""

from typing import Annotated

import typer

from catchup_eval.app.options import Options, with_common_options
from catchup_eval.cli.arguments import Seeds, command_line


@with_common_options(
    "shard",
    only=("ROW...", "Only the rows of these names or methods."),
    skip=("ROW...", "Not the rows of these names or methods."),
)
def reproduce(
    table: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the paper: table1 to table13, figure1, ...")
    ],
    seeds: Seeds = [],  # noqa: B006
    epochs_scale: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=1e-9, help="Of all epochs, such as 0.01; the page says so."
        ),
    ] = 1.0,
    on: Annotated[
        str,
        typer.Option(metavar="NAME", help="Run the design on these data instead: digits, ..."),
    ] = "",
    *,
    options: Options,
) -> None:
    """Carry out a table or figure of the Catch-up Mix paper.

    Its page has the paper's numbers beside ours. `--dry-run` says what it will cost, from a few
    measured steps. Stopped at any moment and called again, it goes on where it was.
    """
    from catchup_eval.app.reproduce import reproduce_paper as carry_out
    from catchup_eval.app.reproduce import select_rows
    from catchup_eval.paper.reproduction import find

    wanted = select_rows(find(table), options.only, seeds, options.skip)
    command = command_line()
    raise typer.Exit(carry_out(table, wanted, options, scale=epochs_scale, on=on, command=command))
