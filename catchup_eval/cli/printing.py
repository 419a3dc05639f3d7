"""Printing common to the commands: the dry run, the models, the summary."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from catchup_eval import feature_learning
from catchup_eval.cli.console import Console
from catchup_eval.core.errors import DONE, IN_PART
from catchup_eval.core.words import count_noun
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs.evaluate import EvaluationSettings, preprocessing_for
from catchup_eval.jobs.networks import ModelUnderTest
from catchup_eval.report import page as report_page
from catchup_eval.report.findings import output_notes
from catchup_eval.results import published
from catchup_eval.results.study import FAILED, Study

NEEDS = "needs "  # how the reason starts where a model or the data lack something
LARGE = 1e9  # bytes on disk that are printed before they are written


def print_dry_run(console: Console, planned: pd.DataFrame, page: Path | None = None) -> None:
    """One line for all analyses of a model in the same state, one for every other task."""
    joined = planned["kind"].isin(["evaluate", "estimate"]) & ~planned["state"].str.startswith(
        "skip"
    )
    apart = pd.Series(range(len(planned))).where(~joined.to_numpy(), -1).to_numpy()
    for key, rows in planned.groupby(["kind", "unit", "state", "work", apart], sort=False):
        kind, unit, state, work = map(str, [*key][:4])
        if kind == "estimate":
            count = count_noun(len(rows), "network")
            console.result(f"estimate C-scores: {count}, {work if state == 'to do' else state}")
            continue
        names = unit if kind == "train" else ", ".join(rows["name"])
        target = names if kind == "train" or not unit else f"{unit}: {names}"
        todo = work if state == "to do" else state
        console.result(f"{kind} {target}: {todo}" if todo else f"{kind} {target}")
    if page is not None:
        console.result(f"then write {page}")


def print_models(
    console: Console, models: Sequence[ModelUnderTest], data: AnySet, settings: EvaluationSettings
) -> None:
    """What was found when the models were loaded, what is assumed, and what decoding costs."""
    for note in (note for model in models for note in model.notes):
        console.info(note)
    for model in models:
        transform = data.preprocessing_for(model.model.preprocess)
        if transform and model.model.preprocess is None:
            console.info(
                f"{model.info.key} has no preprocessing for images of varying size; "
                f"taken: {transform}"
            )
    transforms = {
        preprocessing_for(model, data, name) for model in models for name in settings.names
    }
    size = sum(data.bytes_to_decode(transform) for transform in transforms)
    if size > LARGE:
        console.info(
            f"{data.name} is decoded once, as far as the analyses need it: up to "
            f"{size / 1e9:.1f} GB in {settings.data_root}"
        )


def print_summary(
    console: Console, finished: Study, path: Path, *, requested: Sequence[str] = ()
) -> int:
    """Print the one table that matters and where the rest is; gives the exit code.

    A missing requirement is no failure, unless the analysis was `requested` by name.

    Args:
        path: of the page or the results.
    """
    title = ", ".join(filter(None, (finished.info.data.name, finished.info.data.subset)))
    summary = report_page.summary(finished, feature_learning.KNOWN)
    console.table(summary.drop(columns=["Analysis", "n", "Protocol"]), title)
    for warning in [*output_notes(finished), *published.warnings(finished)]:
        console.result(warning)
    lacking = [skip for skip in finished.info.skipped if not skip.by_design]
    for skip in lacking:
        if not skip.reason.startswith(FAILED):  # that was printed above
            console.info(f"skipped {skip.model}: {skip.analysis}: {skip.reason}")
    console.result(str(path))
    failed = [
        skip for skip in lacking if skip.analysis in requested or not skip.reason.startswith(NEEDS)
    ]
    return IN_PART if failed else DONE
