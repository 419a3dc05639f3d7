"""`report`: draw finished reports again, or merge them."""

import typer

from catchup_eval.app.options import Options, with_common_options
from catchup_eval.cli.arguments import Folders


@with_common_options(
    *("device", "batch_size", "limit", "only", "skip", "set", "data_root", "trust_pickle"),
    *("shard", "fresh", "verbose"),
    name="Name of a new folder, for a copy of one report or for several merged.",
    out="Where a new folder is made.",
)
def report(
    folders: Folders,
    *,
    options: Options,
) -> None:
    """Draw finished reports again, or merge several."""
    from catchup_eval.app.evaluate import redraw_report

    raise typer.Exit(redraw_report(folders, options))
