"""Judge a paper's sentences from finished reports; train the seeds that would tell."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from catchup_eval import feature_learning
from catchup_eval.cli.console import Console
from catchup_eval.cli.options import Options
from catchup_eval.cli.run import run_plan
from catchup_eval.core import errors
from catchup_eval.core.errors import UserError
from catchup_eval.jobs import plan as plans
from catchup_eval.paper.claims import page
from catchup_eval.paper.claims.claim import Claims, find
from catchup_eval.paper.claims.judging import JudgedClaim, judge
from catchup_eval.results import study
from catchup_eval.results.merge import merge_by_dataset
from catchup_eval.results.study import Study
from catchup_eval.trainers.mixing import METHODS

SHOWN = 60  # characters of a sentence in the terminal


def judge_paper(
    name: str, folders: Sequence[Path], options: Options, *, more: bool = False, limit: int = 20
) -> int:
    """Judge the claims of a file from finished reports; gives the exit code.

    Args:
        more: train the seeds that would tell first, in folders that a run made.
        limit: seeds per method beyond which none are trained.
    """
    console = Console(quiet=options.quiet, verbose=options.verbose)
    written = find(name)
    judged, studies = judge_folders(written, folders)
    if more:
        console.table(_table(judged, studies), "before")
        needed = {folder: seeds_of(folder, judged, limit) for folder in folders}
        for folder, seeds in needed.items():
            _run_more(console, folder, seeds, options)
        if options.dry_run:
            return errors.DONE
        judged, studies = judge_folders(written, folders)
    console.table(_table(judged, studies), written.title)
    console.info(page.finding(judged))
    for one in judged:
        console.detail(f"{one.number}: {' '.join(page.tests(one))}")
    folder = options.out / (options.name or f"claims-{Path(name).stem}")
    console.result(str(page.write(written, judged, studies, folder)))
    return errors.DONE


def judge_folders(
    written: Claims, folders: Sequence[Path]
) -> tuple[list[JudgedClaim], dict[str, Study]]:
    """The claims judged by the studies of these folders, and the studies by their image set."""
    studies = merge_by_dataset(
        [study.load(folder, feature_learning.analysis_versions()) for folder in folders], folders
    )
    costs = {data: seconds_per_seed(one) for data, one in studies.items()}
    judged = judge(
        written.claims, studies, feature_learning.KNOWN, methods=list(METHODS), costs=costs
    )
    return judged, studies


def seconds_per_seed(one: Study) -> dict[str, float]:
    """What training and questioning one more network of each group takes, as it took before.

    NaN where a training's history was not kept.
    """

    def seconds(key: str) -> float:
        training = one.results.get((key, "training"))
        trained = float(training.rows("seconds")["value"].sum()) if training else np.nan
        return trained + sum(p.seconds for (model, _), p in one.provenance.items() if model == key)

    return {
        group: float(np.mean([seconds(info.key) for info in one.models_of(group)]))
        for group in one.groups
    }


def seeds_of(folder: Path, judged: Sequence[JudgedClaim], limit: int) -> int:
    """The seeds per method with which all claims on a folder's data that can be told are told.

    Raises:
        UserError: the folder was not made by a run.
    """
    if not (folder / "plan.toml").is_file():
        raise UserError(f"--run needs folders that `catchup-eval run` made; {folder} has no plan")
    data = study.load(folder).info.data.name
    needs = [one.need for one in judged if one.need and one.data == data]
    counts = [need.count for need in needs if need.units == "seeds" and need.count]
    return max((count for count in counts if count <= limit), default=0)


def _run_more(console: Console, folder: Path, wanted: int, options: Options) -> None:
    plan = plans.find(str(folder / "plan.toml"))
    seeds = more_seeds(plan.seeds, wanted)
    if seeds == plan.seeds:
        console.info(f"{folder}: no number of seeds within the limit would tell more")
        return
    info = study.load(folder).info
    if info.data.subset and options.limit is None:
        raise UserError(f"{folder} holds {info.data.subset}; --run needs the same --limit")
    console.info(f"{folder}: {len(seeds)} seeds per method instead of {len(plan.seeds)}")
    own = replace(options, out=folder.parent, name=folder.name, quiet=True)
    run_plan(plans.override_plan(plan, {"seeds": seeds}), own, command=info.command)


def more_seeds(seeds: Sequence[int], wanted: int) -> tuple[int, ...]:
    """The seeds, and the next unused ones until there are enough.

    Example:
        >>> more_seeds((0, 7), 4)
        (0, 7, 1, 2)
    """
    unused = (seed for seed in range(wanted + len(seeds)) if seed not in seeds)
    missing = max(0, wanted - len(seeds))
    return (*seeds, *(seed for seed, _ in zip(unused, range(missing))))


def _table(judged: Sequence[JudgedClaim], studies: Mapping[str, Study]) -> pd.DataFrame:
    device = page.device(studies)
    columns: dict[str, Sequence[object]] = {
        "": [one.number for one in judged],
        "Claim": [_truncate(one.text) for one in judged],
        "Data": [one.data for one in judged],
        "Verdict": [page.badge(one) for one in judged],
        "Difference [95 %]": [page.deciding_difference_text(one) for one in judged],
        "These networks": [one.beside.verdict if one.beside else "" for one in judged],
        "Would tell": [page.required_size_phrase(one.need, device) for one in judged],
    }
    said = {name: column for name, column in columns.items() if any(column)}
    return pd.DataFrame(said)


def _truncate(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1].rstrip() + "…"
