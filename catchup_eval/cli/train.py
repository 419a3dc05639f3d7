"""`train`: train networks by a recipe."""

from typing import Annotated

import typer

from catchup_eval.app.options import Options, with_common_options
from catchup_eval.cli.arguments import Epochs, RecipeData, Seeds


@with_common_options(
    "batch_size",
    "limit",
    "only",
    "skip",
    "set",
    "trust_pickle",
    "verbose",
    name="Name of the folder of the checkpoints (default: the recipe's).",
    out="Where this folder is made.",
    shard="Do only every N-th training from the I-th on; all shards share one folder.",
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
            "--method", "--methods", metavar="METHOD...", help="What to train (see: list methods)."
        ),
    ] = ["catchup"],  # noqa: B006
    seeds: Seeds = [0],  # noqa: B006
    epochs: Epochs = None,
    data: RecipeData = "",
    *,
    options: Options,
) -> None:
    """Train networks by a recipe.

    Writes a checkpoint and its history for each method and seed.
    """
    from catchup_eval.app.run import train_networks

    raise typer.Exit(train_networks(recipe, methods, seeds, epochs, data, options))
