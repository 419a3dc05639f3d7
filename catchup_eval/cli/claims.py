"""`claims`: test the claims of a paper."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catchup_eval.cli.arguments import Folders
from catchup_eval.cli.options import Options, with_common_options
from catchup_eval.core.errors import UserError

if TYPE_CHECKING:
    from catchup_eval.cli.console import Console
    from catchup_eval.paper.claims.claim import Claims
    from catchup_eval.paper.claims.judging import JudgedClaim


@with_common_options(
    *("only", "skip", "quick", "include", "ood", "shard"),
    device="With --run: where to compute (auto, cpu, cuda, cuda:1, mps).",
    batch_size="With --run: images per evaluation batch; changes speed and memory alone.",
    limit="With --run: use only N class-balanced images of each evaluated split.",
    set="With --run: change one setting of an analysis; may be repeated.",
    data_root="With --run: where downloaded datasets lie.",
    trust_pickle="With --run: run the code that a checkpoint calls when it is unpickled.",
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
        int,
        typer.Option(
            metavar="N", min=1, max=1000, help="With --run: train no more seeds per method."
        ),
    ] = 20,
    *,
    options: Options,
) -> None:
    """Test the claims of a paper by finished reports.

    Each is supported, contradicted, or undecided, with what would decide it.
    """
    from catchup_eval.paper.claims.claim import find

    written = find(file)
    out = options.out / (options.name or f"claims-{Path(file).stem}")
    if options.dry_run and not more:
        print(f"test {file} by {', '.join(map(str, folders))}, then write {out}")
    else:
        judge_claims(written, folders, out, options, more=more, limit=most)


def judge_claims(
    written: "Claims",
    folders: Sequence[Path],
    out: Path,
    options: Options,
    *,
    more: bool = False,
    limit: int = 20,
) -> None:
    """Test claims by finished reports, print the result and write the page.

    Args:
        more: train the seeds that would decide first, in folders that a run made.
        limit: seeds per method beyond which none are trained.
    """
    from catchup_eval.analysis import ANALYSES, choose
    from catchup_eval.cli.checks import read_settings

    choose((*read_settings(options.set),), (), ANALYSES)
    for folder in folders:
        if more and not (folder / "plan.toml").is_file():
            raise UserError(
                f"--run needs folders that `catchup-eval run` made; {folder} has no plan"
            )

    from catchup_eval.cli.console import Console
    from catchup_eval.paper.claims import page
    from catchup_eval.paper.claims.folders import judge_folders

    console = Console(quiet=options.quiet, verbose=options.verbose)
    judged, studies = judge_folders(written, folders)
    if more:
        console.table(page.overview(judged, studies), "before")
        for folder in folders:
            _train_seeds(console, folder, judged, limit, options)
        if options.dry_run:
            return
        judged, studies = judge_folders(written, folders)
    console.table(page.overview(judged, studies), written.title)
    console.info(page.finding(judged))
    for one in judged:
        console.detail(f"{one.number}: {' '.join(page.evidence_texts(one))}")
    console.result(str(page.write(written, judged, studies, out)))


def _train_seeds(
    console: "Console", folder: Path, judged: "Sequence[JudgedClaim]", limit: int, options: Options
) -> None:
    from catchup_eval.cli.run import run_plan
    from catchup_eval.jobs import plan as plans
    from catchup_eval.paper.claims.folders import more_seeds
    from catchup_eval.results import study

    plan = plans.find(str(folder / "plan.toml"))
    info = study.load_info(folder)
    seeds = more_seeds(info.data.name, judged, plan.seeds, limit)
    if seeds == plan.seeds:
        console.info(f"{folder}: no number of seeds within the limit would decide more")
        return
    if info.data.subset and options.limit is None:
        raise UserError(f"{folder} holds {info.data.subset}; --run needs the same --limit")
    console.info(f"{folder}: {len(seeds)} seeds per method instead of {len(plan.seeds)}")
    own = replace(options, out=folder.parent, name=folder.name, quiet=True)
    # The one place where claims train: the folder's plan with more seeds.
    run_plan(plans.override_plan(plan, {"seeds": seeds}), own, command=info.command)
