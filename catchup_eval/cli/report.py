"""`report`: redraw finished reports, or merge them."""

from collections.abc import Sequence
from pathlib import Path

import typer

from catchup_eval.cli.arguments import Folders
from catchup_eval.cli.options import Options, with_common_options


@with_common_options(
    *(
        "device",
        "batch_size",
        "limit",
        "only",
        "skip",
        "quick",
        "include",
        "ood",
        "set",
        "data_root",
        "trust_pickle",
    ),
    *("shard", "engine", "workers", "engine_set", "fresh", "verbose"),
    name="Name of a new folder, for a copy of one report or for several merged.",
    out="Where a new folder is made.",
)
def report(folders: Folders, *, options: Options) -> None:
    """Redraw finished reports, or merge several."""
    raise typer.Exit(redraw_report(folders, options))


def redraw_report(folders: Sequence[Path], options: Options) -> int:
    """Write the page again from finished folders; several are merged into one."""
    from catchup_eval import feature_learning
    from catchup_eval.api import report_usable
    from catchup_eval.cli.console import Console
    from catchup_eval.cli.printing import print_summary
    from catchup_eval.core.errors import DONE
    from catchup_eval.results import study
    from catchup_eval.results.folder import is_written, writing
    from catchup_eval.results.merge import merge

    console = Console(quiet=options.quiet)
    known = feature_learning.KNOWN
    studies = [study.load(folder, known) for folder in folders]
    alone = len(folders) == 1 and options.name is None
    folder = folders[0] if alone else options.out / (options.name or "merged")
    page = folder / "index.html"
    if options.dry_run:
        before = "" if alone else f"merge {', '.join(map(str, folders))}, then "
        console.result(f"{before}write {page}{' again' if alone else ''}")
        return DONE
    with writing(folder):
        if not alone:
            for source in filter(is_written, folders):
                console.result(f"{source} is being written by a run at this moment")
            merge(studies, folders, folder, order=known)
        finished, path = report_usable(study.load(folder, known), folder)
        return print_summary(console, finished, path)
