"""`reproduce`: a table or figure of the paper."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catchup_eval.cli.arguments import Seeds, command_line
from catchup_eval.cli.options import Options, with_common_options

if TYPE_CHECKING:
    from pathlib import Path

    from catchup_eval.cli.console import Console
    from catchup_eval.jobs.data import DataSource
    from catchup_eval.jobs.evaluate import EvaluationSettings
    from catchup_eval.paper.plan import ReproductionStage
    from catchup_eval.paper.reproduction import Reproduction
    from catchup_eval.results.shards import Shard
    from catchup_eval.results.study import Study


@with_common_options(
    *("ood", "quick", "include"),
    shard="Do only every N-th network from the I-th on, all shards in one folder; then the same "
    "command without --shard writes the page.",
    only=("ROW...", "Only the rows of these names or methods; a method without a row gets one."),
    set=(
        "ANALYSIS.KEY=VALUE",
        "Change one setting of an analysis, or of the recipes, such as "
        "recipe.options.width=16; may be repeated.",
    ),
    skip=("ROW...", "Not the rows of these names or methods."),
)
def reproduce(
    table: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Of the paper: table1 to table13, figure1, ...; all."),
    ],
    seeds: Seeds = [],  # noqa: B006
    epochs_scale: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            min=1e-9,
            max=1000,
            help="Fraction of all epochs, such as 0.01; the page notes it.",
        ),
    ] = 1.0,
    on: Annotated[
        str,
        typer.Option(metavar="NAME", help="Run the design on these data instead: digits, ..."),
    ] = "",
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="A dataset or a .npz file, in place of one of as many classes."
        ),
    ] = "",
    columns: Annotated[
        list[str],
        typer.Option(metavar="COLUMN...", help="Only the columns of these names, such as '10 %'."),
    ] = [],  # noqa: B006
    weights: Annotated[
        list[str],
        typer.Option(
            metavar="ROW=SPEC", help="This network in a row, in place of a training; repeatable."
        ),
    ] = [],  # noqa: B006
    *,
    options: Options,
) -> None:
    """Carry out a table or figure of the Catch-up Mix paper.

    Its page has the paper's numbers beside ours. `--dry-run` prints what it will cost, from a few
    measured steps. Stopped at any moment and called again, it goes on where it was.
    """
    from catchup_eval.core.errors import UserError
    from catchup_eval.paper.reproduction import (
        fill_rows,
        find,
        select_columns,
        select_rows,
        shipped_reproductions,
    )

    if table == "all" and (options.only or options.skip or weights or columns or options.name):
        raise UserError("rows, columns and a name are those of one table: give its name, not all")
    codes = []
    for name in shipped_reproductions() if table == "all" else [table]:
        wanted = select_columns(find(name), columns)
        wanted = select_rows(wanted, options.only, seeds, options.skip)
        wanted = fill_rows(wanted, weights)
        codes.append(
            reproduce_paper(
                name, wanted, options, scale=epochs_scale, on=on, data=data, command=command_line()
            )
        )
    raise typer.Exit(max(codes))


def reproduce_paper(
    name: str,
    wanted: "Reproduction",
    options: Options,
    *,
    scale: float = 1.0,
    on: str = "",
    data: str = "",
    command: str,
) -> int:
    """Carry out a table or figure and lay it out; gives the exit code.

    Args:
        name: of the report's folder, where the options have none.
        wanted: narrowed to what shall be done.
        scale: fraction of all epochs; the page notes it.
        on: another dataset than the paper's, with the recipe for it; the page notes it.
        data: likewise, with the paper's recipe.

    Raises:
        UserError: data with another number of classes than the paper's.
    """
    from dataclasses import replace

    from catchup_eval.cli.checks import read_recipe_changes
    from catchup_eval.cli.console import Console
    from catchup_eval.core.errors import DONE, IN_PART, BadFile
    from catchup_eval.jobs.data import DataSource
    from catchup_eval.paper.page import deviation_warnings, reproduction_facts, write
    from catchup_eval.paper.plan import expect_classes, plan_reproduction
    from catchup_eval.paper.reproduction import change_settings, transfer
    from catchup_eval.results import shards

    console = Console(quiet=options.quiet, verbose=options.verbose)
    folder = options.out / (options.name or name)
    wanted = transfer(wanted, on) if on else wanted
    if data:
        expect_classes(wanted, DataSource(data, options.data_root))
    changes, others = read_recipe_changes(options.set)
    wanted, options = change_settings(wanted, data, changes), replace(options, set=others)
    stages = list(plan_reproduction(wanted, folder, scale=scale))
    shard = shards.parse(options.shard)
    if options.dry_run:
        console.result(f"{wanted.title}: {wanted.about}")
        print_cost(console, stages, options)
        return DONE
    if shard.total > 1:
        return run_shard(stages, shard, options, console, folder / "index.html")
    studies: dict[str, Study] = {}
    missing: list[str] = []
    for stage in stages:
        try:
            studies[stage.name], left_out = run_stage(stage, options, console, command=command)
        except BadFile as error:
            left_out = [f"{stage.name} is left out: {error}"]
        for sentence in left_out:
            console.info(sentence)
        missing += left_out
    page = write(
        name,
        wanted,
        studies,
        folder,
        facts=reproduction_facts(wanted, studies, command),
        times={stage.name: stage.times() for stage in stages},
        warnings=[
            *deviation_warnings(wanted, stages, scale, on, options.limit, data, changes),
            *missing,
        ],
    )
    console.result(str(page))
    return IN_PART if missing else DONE


def run_stage(
    stage: "ReproductionStage", options: Options, console: "Console", *, command: str
) -> "tuple[Study, Sequence[str]]":
    """Train and evaluate one setting; its study, and which networks are missing, and why.

    Raises:
        BadFile: the data are missing; the message says what to put where.
    """
    from catchup_eval.api import write_report
    from catchup_eval.jobs import engine
    from catchup_eval.jobs.evaluate import describe_study, save_examples
    from catchup_eval.results import study
    from catchup_eval.results.store import Store

    data, settings, tasks, missing = plan_stage(stage, options, console)
    groups = list(dict.fromkeys(task.model.group for task in tasks if task.kind == "evaluate"))
    about = study.data_info(data.evaluation)
    finished = engine.run(
        tasks,
        Store(stage.folder),
        describe_study(stage.name, command, groups, about, settings),
        engine=options.open_engine(),
        display=console.display(),
        fresh=options.fresh,
    )
    save_examples(finished, data.evaluation, stage.folder)
    write_report(finished, stage.folder)
    return finished, missing


def run_shard(
    stages: "Sequence[ReproductionStage]",
    shard: "Shard",
    options: Options,
    console: "Console",
    page: "Path",
) -> int:
    """Train and evaluate one shard's networks, and write no page; gives the exit code.

    Raises:
        UserError: there are fewer networks than shards, and this one has none.
    """
    from catchup_eval.core.errors import DONE, IN_PART, BadFile, UserError
    from catchup_eval.jobs import engine
    from catchup_eval.results.store import Store

    failed = count = done = 0
    for stage in stages:
        try:
            _, _, tasks, missing = plan_stage(stage, options, console)
        except BadFile as error:
            tasks, missing = [], [f"{stage.name} is left out: {error}"]
        for sentence in missing:
            console.info(sentence)
        failed += len(missing)
        units, here = {task.unit for task in tasks}, shard.after(count)
        count += len(units)
        if here.number > len(units):
            continue
        ended = engine.execute(
            engine.shard_tasks(tasks, here),
            Store(stage.folder),
            engine=options.open_engine(),
            display=console.display(),
            fresh=options.fresh,
        )
        for task, result in ended:
            done += 1
            if result.status == "failed":
                failed += 1
                console.result(f"{stage.name}: {task.label}: {result.reason}")
    if count and not done:
        raise UserError(f"shard {shard} has nothing to do: there are only {count}")
    console.result(
        f"shard {shard} has ended; when all have, the same command without --shard writes {page}"
    )
    return IN_PART if failed else DONE


def plan_stage(
    stage: "ReproductionStage", options: Options, console: "Console"
) -> "tuple[DataSource, EvaluationSettings, list[Any], Sequence[str]]":
    """The data, the settings and the tasks of one setting; which networks are missing, and why.

    Raises:
        BadFile: the data are missing; the message says what to put where.
    """
    from dataclasses import replace

    from catchup_eval.cli.console import access
    from catchup_eval.core.errors import BadFile
    from catchup_eval.jobs.data import DataSource
    from catchup_eval.jobs.evaluate import plan_evaluate

    data = DataSource(stage.setting.data, options.data_root, options.limit)
    data.training  # noqa: B018 (raises where the data are not here)
    settings = replace(options, only=[*stage.analyses], skip=[]).evaluation_settings()
    changes = {
        name: {**stage.analysis_settings.get(name, {}), **settings.settings.get(name, {})}
        for name in stage.analyses
    }
    settings = replace(settings, settings=changes)
    trainings = stage.trainings(data)
    models, missing = stage.models(trainings, data, access(options, console))
    if not models:
        raise BadFile("none of its models is here; " + "; ".join(missing))
    evaluations = plan_evaluate(models, data, settings)
    return data, settings, [*trainings, *stage.timings(trainings), *evaluations], missing


def print_cost(console: "Console", stages: "Sequence[ReproductionStage]", options: Options) -> None:
    """Print what would be trained and evaluated, and what that costs on this device."""
    from catchup_eval.core.environment import machine, resolve_device
    from catchup_eval.jobs.cost import StepTimes, analysis_seconds, parallel_seconds
    from catchup_eval.jobs.data import DataSource
    from catchup_eval.report.formatting import format_duration, format_roughly

    device = resolve_device(options.device)
    console.info(f"measuring a few steps of each network on {machine(device)}")
    step_times = StepTimes(device)
    total = evaluating = 0.0
    each: list[float] = []  # network and seed, with its analyses
    for stage in stages:
        size = stage.data_size(DataSource(stage.setting.data, options.data_root))
        split_sizes = {"train": size.train, "test": min(size.test, options.limit or size.test)}
        own = 0.0
        for network in stage.trained:
            recipe = stage.recipe(network)
            images = len(stage.seeds) * recipe.epochs * round(size.train * recipe.share)
            seconds = images * step_times(recipe, network.method, network.options, size)
            total += seconds
            before = own
            console.result(
                f"{stage.name}: train {network.name}: {len(stage.seeds)} x {recipe.epochs} epochs, "
                f"{images / 1e6:.2f} million images, {format_duration(seconds)}"
            )
            forward = step_times.forward_untrained(recipe, size)
            for name in stage.analyses:
                settings = stage.analysis_settings.get(name, {})
                cost = analysis_seconds(name, settings, split_sizes, size.side, forward)
                own += len(stage.seeds) * cost
            each += len(stage.seeds) * [(seconds + own - before) / len(stage.seeds)]
        evaluating += own
        for sentence in stage.missing_weights:
            console.result(f"{stage.name}: {sentence}")
        names = ", ".join(network.name for network in stage.networks)
        about = f"{format_roughly(own)} for those that are trained" if own else "not timed"
        console.result(f"{stage.name}: evaluate {names}: {', '.join(stage.analyses)}; {about}")
    console.result(
        f"all trainings: {format_duration(total)} on this device, without the analyses; "
        f"these {format_roughly(evaluating)} for the networks that are trained, roughly"
    )
    workers = options.open_engine().slots
    if workers > 1:
        console.result(
            f"over {workers} workers, each as fast as this process alone: "
            f"{format_duration(parallel_seconds(each, workers))}, analyses included"
        )
    if options.shard:
        console.result(f"shard {options.shard}: every so many of these networks and seeds")
