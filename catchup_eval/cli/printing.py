"""Printing common to the commands: the dry run, the models, the summary."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from catchup_eval import feature_learning
from catchup_eval.cli.console import Console
from catchup_eval.core.environment import machine
from catchup_eval.core.errors import DONE, IN_PART
from catchup_eval.core.words import count_noun
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs import engine
from catchup_eval.jobs.cost import StepTimes
from catchup_eval.jobs.evaluate import EvaluationSettings, preprocessing_for
from catchup_eval.jobs.networks import ModelUnderTest
from catchup_eval.jobs.task import AnyStore, Task
from catchup_eval.report import page as report_page
from catchup_eval.report.findings import output_notes
from catchup_eval.report.formatting import format_roughly
from catchup_eval.results import published
from catchup_eval.results.study import FAILED, Study

NEEDS = "needs "  # how the reason starts where a model or the data lack something
LARGE = 1e9  # bytes on disk that are printed before they are written


BASIS = (
    "each network's passes and steps were timed on noise, how many an analysis takes is what it "
    "declares, and other work is assumed: an order of magnitude"
)


def dry_run(
    console: Console,
    tasks: Sequence[Task],
    store: AnyStore,
    device: torch.device,
    *,
    fresh: bool = False,
    page: Path | None = None,
    workers: int = 1,
) -> None:
    """Measure a few steps and print what would be done, and about how long it takes."""
    console.info(f"measuring a few steps of each network on {machine(device)}")
    planned = engine.dry_run(tasks, store, StepTimes(device), fresh=fresh)
    print_dry_run(console, planned)
    if page is not None:
        console.result(f"then write {page}")
    lacking = count_noun(int(planned["seconds"].isna().sum()), "task")
    rest = f", and {lacking} whose time is not known" if planned["seconds"].isna().any() else ""
    over = format_parallel(tasks, planned["seconds"].fillna(0.0).tolist(), workers)
    whole = format_roughly(planned["seconds"].sum())
    console.result(f"in all {whole} here{over}{rest} ({BASIS})")


def format_parallel(tasks: Sequence[Task], seconds: Sequence[float], workers: int) -> str:
    """How long tasks take on several workers, as the end of a phrase; nothing for one."""
    if workers < 2:
        return ""
    parallel = format_roughly(engine.schedule_seconds(tasks, seconds, workers))
    return f", {parallel} over {workers} workers, each as fast as this process alone"


def print_dry_run(console: Console, planned: pd.DataFrame) -> None:
    """One line for all analyses of a model in the same state, one for every other task."""
    joined = planned["kind"].isin(["evaluate", "estimate"]) & ~planned["state"].str.startswith(
        "skip"
    )
    apart = pd.Series(range(len(planned))).where(~joined.to_numpy(), -1).to_numpy()
    for key, rows in planned.groupby(["kind", "unit", "state", "work", apart], sort=False):
        kind, unit, state, work = map(str, [*key][:4])
        if kind == "estimate":
            count = count_noun(len(rows), "network")
            todo = f"{work}, {format_roughly(rows['seconds'].sum(skipna=False))}"
            console.result(f"estimate C-scores: {count}, {todo if state == 'to do' else state}")
            continue
        seconds = [format_roughly(value) for value in rows["seconds"]]
        todo = work if state == "to do" else state
        if state == "done already" or state.startswith("skip"):
            each = list(rows["name"])
        else:
            each = [f"{name} ({about})" for name, about in zip(rows["name"], seconds, strict=True)]
        if kind == "train":
            todo = f"{work}, {seconds[0]}" if state == "to do" else state
        target = unit if kind == "train" else ": ".join(filter(None, [unit, ", ".join(each)]))
        console.result(f"{kind} {target}: {todo}" if todo else f"{kind} {target}")


def print_left_out(console: Console, settings: EvaluationSettings) -> None:
    """The analyses that are too expensive to be evaluated unasked."""
    if settings.left_out:
        names = " ".join(settings.left_out)
        console.info(f"left out: {', '.join(settings.left_out)}; to evaluate, --with {names}")


def print_models(
    console: Console, models: Sequence[ModelUnderTest], data: AnySet, settings: EvaluationSettings
) -> None:
    """What was found when the models were loaded, what is assumed, and what decoding costs."""
    print_left_out(console, settings)
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
            f"{data.name} is decoded (or packed) once, as far as the analyses need it: up to "
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
    skipped: dict[str, list[str]] = {}
    for skip in lacking:
        if not skip.reason.startswith(FAILED):  # that was printed above
            skipped.setdefault(f"skipped {skip.analysis}: {skip.reason}", []).append(skip.model)
    for text, models in skipped.items():
        every = len(models) == len(finished.info.models)
        console.info(text if every else f"{text} ({', '.join(models)})")
    console.result(str(path))
    failed = [
        skip for skip in lacking if skip.analysis in requested or not skip.reason.startswith(NEEDS)
    ]
    return IN_PART if failed else DONE
