"""`run`: carry out a plan."""

from typing import TYPE_CHECKING, Annotated

import typer

from catchup_eval.cli.arguments import Epochs, Seeds, command_line
from catchup_eval.cli.options import Options, with_common_options

if TYPE_CHECKING:
    from pathlib import Path

    from catchup_eval.cli.console import Console
    from catchup_eval.jobs.plan import Plan


@with_common_options()
def run(
    plan: Annotated[
        str,
        typer.Argument(metavar="[PLAN]", help="A shipped plan (see: list plans) or a .toml file."),
    ] = "digits",
    seeds: Seeds = [],  # noqa: B006
    methods: Annotated[
        list[str], typer.Option(metavar="METHOD...", help="Methods, instead of the plan's.")
    ] = [],  # noqa: B006
    epochs: Epochs = None,
    *,
    options: Options,
) -> None:
    """Carry out a plan: train or simulate, evaluate, report.

    The default plan needs no data and takes minutes on two cores.

    Stopped at any moment and called again, it goes on where it was.
    """
    from catchup_eval.jobs import plan as plans

    changes = {"seeds": tuple(seeds), "methods": tuple(methods), "epochs": epochs}
    changed = plans.override_plan(plans.find(plan), changes)
    raise typer.Exit(run_plan(changed, options, command=command_line()))


def run_plan(plan: "Plan", options: Options, *, command: str) -> int:
    """Run the tasks of a plan, then write the page; gives the exit code.

    Raises:
        UserError: what the plan or the options name is missing or does not fit together.
    """
    from catchup_eval.api import report_usable
    from catchup_eval.cli.console import Console, access
    from catchup_eval.cli.printing import dry_run, print_left_out, print_summary
    from catchup_eval.core.errors import DONE
    from catchup_eval.core.files import write_text
    from catchup_eval.jobs import engine
    from catchup_eval.jobs import plan as plans
    from catchup_eval.jobs.evaluate import save_examples
    from catchup_eval.jobs.experiment import known_simulations, plan_experiment
    from catchup_eval.results import shards
    from catchup_eval.results.folder import writing
    from catchup_eval.results.store import Store

    console = Console(quiet=options.quiet, verbose=options.verbose)
    changes = {"name": options.name, "only": tuple(options.only), "skip": tuple(options.skip)}
    plan = plans.override_plan(plan, changes)
    workers = options.open_engine(plan)
    settings = options.evaluation_settings(plan, known_simulations(plan) or None)
    shard = shards.parse(options.shard)
    folder = options.out / f"{plan.name}{shard.suffix}"
    experiment = plan_experiment(
        plan,
        settings,
        folder,
        command=command,
        root=options.data_root,
        limit=options.limit,
        ood=options.ood,
        access=access(options, console),
        shard=shard,
    )
    print_left_out(console, settings)
    for note in experiment.notes:
        console.info(note)
    print_plan_changes(console, plan, folder)
    store = Store(folder)
    if options.dry_run:
        page = folder / "index.html"
        dry_run(
            console,
            experiment.tasks,
            store,
            settings.device,
            fresh=options.fresh,
            page=page,
            workers=workers.slots,
        )
        return DONE
    with writing(folder):
        write_text(folder / "plan.toml", plans.write(plan))
        finished = engine.run(
            experiment.tasks,
            store,
            experiment.info,
            engine=workers,
            display=console.display(),
            fresh=options.fresh,
        )
        if experiment.data is not None:
            save_examples(finished, experiment.data.evaluation, folder)
        finished, path = report_usable(finished, folder)
    return print_summary(console, finished, path, requested=options.only)


def print_plan_changes(console: "Console", plan: "Plan", folder: "Path") -> None:
    """Print how the plan differs from the one that filled the folder."""
    from catchup_eval.core.errors import UserError
    from catchup_eval.jobs import plan as plans

    try:
        before = plans.find(str(folder / "plan.toml"))
    except UserError:
        return
    for change in plans.differences(plan, before):
        console.info(
            f"the plan differs from the folder's: {change}; results that still fit are reused"
        )
