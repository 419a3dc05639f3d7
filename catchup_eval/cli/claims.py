"""`claims`: test the claims of a paper."""

from pathlib import Path
from typing import Annotated

import typer

from catchup_eval.cli.arguments import Folders
from catchup_eval.cli.options import Options, with_common_options


@with_common_options(
    *("only", "skip", "shard"),
    device="With --run: where to compute (auto, cpu, cuda, cuda:1, mps).",
    batch_size="With --run: images per evaluation batch; changes speed and memory alone.",
    limit="With --run: use only N class-balanced images of each evaluated part.",
    set="With --run: change one setting of an analysis; may be repeated.",
    data_root="With --run: where downloaded datasets lie.",
    trust_pickle="With --run: run the code that a checkpoint asks for when it is unpickled.",
    fresh="With --run: do everything again, also what is done.",
    verbose="Print the test of each claim.",
)
def claims(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A .toml file of claims, or catchup-mix, the paper's."),
    ],
    folders: Folders,
    more: Annotated[
        bool,
        typer.Option("--run", help="First train the seeds that would decide, where that can be."),
    ] = False,
    most: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --run: train no more seeds per method.")
    ] = 20,
    *,
    options: Options,
) -> None:
    """Test the claims of a paper by finished reports.

    Each is supported, contradicted, or undecided, with what would decide it.
    """
    if options.dry_run and not more:
        folder = options.out / (options.name or f"claims-{Path(file).stem}")
        print(f"test {file} by {', '.join(map(str, folders))}, then write {folder}")
        raise typer.Exit
    from catchup_eval.app.claims import judge_paper as judge

    raise typer.Exit(judge(file, folders, options, more=more, limit=most))
