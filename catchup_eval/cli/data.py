"""`data`: list, fetch, check and corrupt datasets, and estimate C-scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catchup_eval.cli.arguments import (
    LARGEST_SEED,
    MOST,
    DataArgument,
    DataRoot,
    Device,
    Engine,
    EngineSet,
    Workers,
)
from catchup_eval.cli.checks import check_request
from catchup_eval.cli.options import Options

if TYPE_CHECKING:
    from catchup_eval.jobs.plan import CScoreSettings

data = typer.Typer(
    no_args_is_help=True, help="List, fetch, check and corrupt datasets.", rich_markup_mode=None
)

Archives = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Your own list of addresses, such as a mirror's, instead of the shipped one (TOML).",
    ),
]


@data.command(name="list")
def list_data(
    names: Annotated[
        list[str],
        typer.Argument(metavar="[NAME...]", help="Only these, with licence, citation and files."),
    ] = [],  # noqa: B006
    data_root: DataRoot = Path("data"),
    archives: Archives = None,
) -> None:
    """List the datasets that can be fetched, and which are here."""
    from catchup_eval.cli.datasets import describe_sets, list_sets

    if names:
        raise typer.Exit(describe_sets(names, archives=archives))
    raise typer.Exit(list_sets(data_root, archives=archives))


@data.command()
def fetch(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Datasets (see: data list).")
    ],
    data_root: DataRoot = Path("data"),
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the archives after they are unpacked.")
    ] = False,
    archives: Archives = None,
) -> None:
    """Download datasets, compare their checksums and unpack them.

    Files that are here stay. If stopped at any moment and called again, it resumes.
    """
    from catchup_eval.cli.datasets import fetch_sets

    raise typer.Exit(fetch_sets(names, data_root, keep=keep, archives=archives))


@data.command()
def check(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...|all", help="Datasets; all are those that are here."),
    ],
    data_root: DataRoot = Path("data"),
    archives: Archives = None,
) -> None:
    """Compare the files of datasets with the official ones.

    Also those of files you got yourself. Prints for each: ok, absent, incomplete, cut short, a web
    page, not the official file.
    """
    from catchup_eval.cli.datasets import check_sets

    raise typer.Exit(check_sets(names, data_root, archives=archives))


@data.command()
def cscores(
    dataset: DataArgument,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE.npz", help="NAME-cscores.npz in the data root is found there."),
    ],
    networks: Annotated[
        int,
        typer.Option(
            metavar="N", min=3, max=10_000, help="How many networks are trained and evaluated."
        ),
    ] = 24,
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="Of their training (see: list recipes).")
    ] = "tiny",
    device: Device = "auto",
    data_root: DataRoot = Path("data"),
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="Train only every N-th network from the I-th on; then the same command without "
            "--shard writes the file.",
        ),
    ] = "",
    engine: Engine = "",
    workers: Workers = None,
    engine_set: EngineSet = [],  # noqa: B006
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train all again, also what is done.")
    ] = False,
) -> None:
    """Estimate the C-score of each test image.

    From small networks trained on random subsets. Stopped and called again, it goes on where it
    was; the predictions are saved beside the file.
    """
    from catchup_eval.jobs.plan import CScoreSettings

    options = Options(
        device=device,
        data_root=data_root,
        shard=shard,
        engine=engine,
        workers=workers,
        engine_set=engine_set,
        fresh=fresh,
    )
    check_request({"data": dataset, "recipe": recipe, **vars(options)})
    settings = CScoreSettings(networks=networks, recipe=recipe)
    write_cscores(dataset, out, settings, options)


def write_cscores(name: str, out: Path, settings: "CScoreSettings", options: Options) -> None:
    """Write the estimated C-scores of a dataset's test images to a file.

    Raises:
        UserError: there is nothing to train on or to score, `out` cannot be written, or another
            process estimates it.
    """
    from catchup_eval import datasets
    from catchup_eval.cli.console import Console
    from catchup_eval.core.errors import UserError
    from catchup_eval.core.files import locked
    from catchup_eval.datasets.cscores import write_scores
    from catchup_eval.datasets.dataset import TensorDataset
    from catchup_eval.jobs.cscores import CScoreEstimation, plan_cscores
    from catchup_eval.jobs.engine import execute
    from catchup_eval.results import shards
    from catchup_eval.results.store import MemoryStore

    console = Console()
    shard = shards.parse(options.shard)
    origin = (name, options.data_root)
    data = datasets.load(*origin).without_cscores
    if not isinstance(data, TensorDataset):
        raise UserError(f"expected images of one size, got {data.name} with varying sizes")
    if not data.has("train"):
        raise UserError(f"expected training images to learn from, {data.name} has none")
    folder = out.with_name(f"{out.stem}-networks")
    estimation = CScoreEstimation(settings, data, folder, origin)
    console.info(estimation.description)
    tasks = shard.select(plan_cscores(estimation))
    with locked(out.with_name(out.name + shard.suffix), wait=False) as alone:
        if alone is False:
            raise UserError(f"another process is estimating {out} at this moment; wait for its end")
        ended = execute(
            tasks,
            MemoryStore(),
            engine=options.open_engine(),
            display=console.display(),
            fresh=options.fresh,
        )
        failed = [f"{task.label} {result.reason}" for task, result in ended if result.reason]
    if failed:
        raise UserError("; ".join(failed))
    if shard.total > 1:
        console.result(
            f"shard {shard} has ended; when all have, the same command without --shard writes {out}"
        )
        return
    split = estimation.scored().split("cscores")
    write_scores(out, split)
    console.result(f"C-scores of {len(split)} images in {out}")


@data.command()
def corrupt(
    dataset: DataArgument,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")],
    corruptions: Annotated[
        list[str], typer.Option(metavar="TYPE...", help="Types (default: all 19).")
    ] = [],  # noqa: B006
    seed: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=LARGEST_SEED, help="Seed of what is random about them."
        ),
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=MOST, help="Only N class-balanced images."),
    ] = None,
    photographs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The official photographs of frost."),
    ] = None,
    data_root: DataRoot = Path("data"),
) -> None:
    """Write corrupted test images as CIFAR-10-C has them.

    Five severities to a file.
    """
    check_request({"data": dataset})
    from catchup_eval.cli.corrupt import write_corrupted as write

    code = write(
        dataset,
        out,
        corruptions=corruptions,
        seed=seed,
        limit=limit,
        photographs=photographs,
        data_root=data_root,
    )
    raise typer.Exit(code)
