"""`evaluate` and `compare`: evaluate checkpoints."""

from collections.abc import Sequence
from math import inf
from typing import Annotated

import typer

from catchup_eval.cli.arguments import Data, Models, command_line
from catchup_eval.cli.options import Options, with_common_options


@with_common_options("devices")
def evaluate(models: Models, data: Data = "digits", *, options: Options) -> None:
    """Evaluate models by every analysis; print a table."""
    raise typer.Exit(evaluate_models(models, data, options, command=command_line()))


@with_common_options("devices")
def compare(
    models: Models,
    data: Data = "digits",
    reference: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The model that the others are compared with (default: the first)."
        ),
    ] = "",
    *,
    options: Options,
) -> None:
    """Evaluate models, then compare them on one page.

    Stored results are not evaluated again. The landscape, which takes minutes for each network,
    is evaluated only where `--with landscape` or `--only` asks for it.
    """
    raise typer.Exit(
        evaluate_models(
            models, data, options, command=command_line(), reference=reference, page=True
        )
    )


def evaluate_models(
    models: Sequence[str],
    data_name: str,
    options: Options,
    *,
    command: str,
    reference: str = "",
    page: bool = False,
) -> int:
    """Evaluate what is not evaluated yet of these models; gives the exit code.

    Args:
        page: write it.
    """
    from catchup_eval.analysis.base import USUAL
    from catchup_eval.api import report_usable
    from catchup_eval.cli.console import Console, access
    from catchup_eval.cli.printing import dry_run, print_models, print_summary
    from catchup_eval.core.errors import DONE
    from catchup_eval.jobs import engine
    from catchup_eval.jobs.data import DataSource
    from catchup_eval.jobs.evaluate import (
        describe_study,
        left_out,
        plan_evaluate,
        save_examples,
    )
    from catchup_eval.jobs.networks import ModelSource
    from catchup_eval.results import shards, study
    from catchup_eval.results.folder import writing
    from catchup_eval.results.store import Store

    console = Console(quiet=options.quiet, verbose=options.verbose)
    workers = options.open_engine()
    settings = options.evaluation_settings(most=USUAL if page else inf)
    source = DataSource(data_name, options.data_root, options.limit, ood=options.ood)
    data = source.evaluation
    how = access(options, console)
    sources = ModelSource.of_specs(models, source, how)
    loaded = [each.load() for each in sources]
    groups = list(dict.fromkeys(model.info.group for model in loaded))
    study.check_groups(model.info for model in loaded)
    tasks = plan_evaluate(sources, source, settings)
    shard = shards.parse(options.shard)
    folder = options.out / ((options.name or f"evaluate-{data.name}") + shard.suffix)
    info = describe_study(folder.name, command, groups, study.data_info(data), settings, reference)
    own = engine.shard_tasks(tasks, shard)
    skipped = left_out(settings, own)
    info = info.model_copy(update={**shard.study_fields(groups), "skipped": skipped})
    print_models(console, loaded, data, settings)
    store = Store(folder)
    if options.dry_run:
        written = folder / "index.html" if page else None
        slots = workers.slots
        dry_run(
            console, own, store, settings.device, fresh=options.fresh, page=written, workers=slots
        )
        return DONE
    with writing(folder):
        finished = engine.run(
            own,
            store,
            info,
            engine=workers,
            display=console.display(),
            fresh=options.fresh,
        )
        save_examples(finished, data, folder)
        path = folder / "results"
        if page:
            finished, path = report_usable(finished, folder)
    return print_summary(console, finished, path, requested=options.only)
