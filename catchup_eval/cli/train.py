"""`train`: train networks by a recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from catchup_eval.cli.arguments import Epochs, RecipeData, Seeds
from catchup_eval.cli.options import Options, with_common_options


@with_common_options(
    "batch_size",
    "limit",
    "only",
    "skip",
    "ood",
    "quick",
    "include",
    "set",
    "trust_pickle",
    "verbose",
    name="Name of the folder of the checkpoints (default: the recipe's).",
    out="Where this folder is made.",
    shard="Do only every N-th training from the I-th on; all shards write to one folder.",
    quiet="Print only where the checkpoints are.",
)
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A shipped recipe (see: list recipes) or a .toml file."
        ),
    ],
    methods: Annotated[
        list[str],
        typer.Option(
            "--method",
            "--methods",
            metavar="METHOD...",
            help="Methods to train (see: list methods), or FILE.py:NAME, a function of yours.",
        ),
    ] = ["catchup"],  # noqa: B006
    seeds: Seeds = [0],  # noqa: B006
    epochs: Epochs = None,
    data: RecipeData = "",
    architecture: Annotated[
        str,
        typer.Option(
            metavar="ARCH",
            help="A network with fresh weights, instead of the recipe's (see: list models), or "
            "FILE.py:NAME, a function of yours that takes the number of classes.",
        ),
    ] = "",
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard", help="Also write event files for TensorBoard beside each checkpoint."
        ),
    ] = False,
    *,
    options: Options,
) -> None:
    """Train networks by a recipe.

    Writes a checkpoint and its history for each method and seed.
    """
    train_networks(recipe, methods, seeds, epochs, data, options, architecture, tensorboard)


def train_networks(
    recipe: str,
    methods: Sequence[str],
    seeds: Sequence[int],
    epochs: int | None,
    data: str,
    options: Options,
    architecture: str = "",
    tensorboard: bool = False,
) -> None:
    """Train and stop there.

    Raises:
        UserError: what is named is missing or does not fit together.
    """
    from catchup_eval.cli.console import Console
    from catchup_eval.cli.printing import dry_run
    from catchup_eval.core.environment import resolve_device
    from catchup_eval.core.errors import IN_PART, UserError
    from catchup_eval.jobs import engine
    from catchup_eval.jobs.data import DataSource
    from catchup_eval.jobs.train import plan_train
    from catchup_eval.models import checkpoints
    from catchup_eval.results import shards
    from catchup_eval.results.store import MemoryStore
    from catchup_eval.trainers.distributed import describe_differences, join_processes
    from catchup_eval.trainers.history import read_history
    from catchup_eval.trainers.recipe import load_recipe, with_architecture, with_epochs

    console = Console(quiet=options.quiet)
    workers = options.open_engine()
    chosen = with_epochs(load_recipe(recipe), epochs)
    if architecture:
        chosen = with_architecture(chosen, architecture)
    if not (data or chosen.data):
        raise UserError(f"the recipe {recipe} names no dataset; expected --data, or data in it")
    source = DataSource(data or chosen.data, options.data_root)
    source.training  # noqa: B018 (raises where there is nothing to learn from)
    folder = options.out / (options.name or Path(recipe).stem)
    planned = plan_train(chosen, methods, seeds, source, folder, tensorboard=tensorboard)
    tasks = engine.shard_tasks(planned, shards.parse(options.shard))
    if options.dry_run:
        device = resolve_device(options.device)
        dry_run(console, tasks, MemoryStore(), device, fresh=options.fresh, workers=workers.slots)
        return
    with join_processes(options.device) as (processes, device):
        trained = engine.execute(
            tasks,
            MemoryStore(),
            engine=workers if processes.size == 1 else engine.InlineEngine(device),
            display=console.display() if processes.first else engine.SILENT,
            fresh=options.fresh,
        )
        ended = list(trained)
    if processes.first:
        notes: list[str] = []
        for task, result in ended:
            path = task.outputs[0]
            if result.status == "failed":
                console.result(f"{path} {result.reason}")
                continue
            last = read_history(path.with_suffix(".history.csv")).summary
            console.result(", ".join([f"{path} ", *(f"{k} {v:.1f} %" for k, v in last.items())]))
            if card := checkpoints.read(path)[1]:
                notes += describe_differences(card.method, card.recipe)
        for note in dict.fromkeys(notes):
            console.result(f"note: {note}")
    if any(result.status == "failed" for _, result in ended):
        raise typer.Exit(IN_PART)
