"""The command `catchup-eval`; what it needs is imported inside each command, so help is instant."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from catchup_eval import __version__
from catchup_eval.app.options import Options, computing, spread
from catchup_eval.errors import Interrupted, UserError

app = typer.Typer(
    name="catchup-eval",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"catchup-eval {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train Catch-up Mix and its baselines, then ask any classifier how robust it is.

    Start with `catchup-eval run`: it needs no data and takes minutes on two cores.
    """


Seeds = Annotated[
    list[int], typer.Option(metavar="N...", help="Seeds; each method is trained once with each.")
]
Epochs = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Epochs, instead of the recipe's.")
]
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="[NAME=]ARCH[@WEIGHTS][?key=value&...] or a path; a glob is the seeds of one group.",
    ),
]
Data = Annotated[
    str,
    typer.Option("--data", metavar="NAME", help="An image set (see: list data) or a .npz file."),
]


@app.command()
@computing
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
    """Train, question and report, or simulate and report, as a plan says.

    The default plan needs no data and takes minutes on two cores.

    Stopped at any moment and called again, it goes on where it was.
    """
    from catchup_eval.app import plan as plans
    from catchup_eval.app.run import run as run_trainings
    from catchup_eval.app.simulate import run_simulations

    changes = {"seeds": tuple(seeds), "methods": tuple(methods), "epochs": epochs}
    changed = plans.overridden(plans.find(plan), changes)
    carry_out = run_simulations if changed.simulations else run_trainings
    raise typer.Exit(carry_out(changed, options, command=_spelled()))


@app.command()
@computing
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
    data: Data = "",
    *,
    options: Options,
) -> None:
    """Train networks by a recipe.

    Writes a checkpoint and its history for each method and seed.
    """
    from catchup_eval.app.run import train_only

    raise typer.Exit(train_only(recipe, methods, seeds, epochs, data, options))


@app.command()
@computing
def evaluate(models: Models, data: Data = "digits", *, options: Options) -> None:
    """Ask checkpoints every question; print a table."""
    from catchup_eval.app.evaluate import evaluate as answer

    raise typer.Exit(answer(models, data, options, command=_spelled()))


@app.command()
@computing
def compare(
    models: Models,
    data: Data = "digits",
    reference: Annotated[
        str,
        typer.Option(metavar="NAME", help="What the others are compared with; the first model."),
    ] = "",
    *,
    options: Options,
) -> None:
    """Ask what is missing, then compare all on one page."""
    from catchup_eval.app.evaluate import evaluate as answer

    code = answer(models, data, options, command=_spelled(), reference=reference, page=True)
    raise typer.Exit(code)


@app.command()
@computing
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Finished reports.")],
    *,
    options: Options,
) -> None:
    """Draw finished reports again, or merge several."""
    from catchup_eval.app.evaluate import redraw

    raise typer.Exit(redraw(folders, options))


@app.command(name="list")
def list_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="models|methods|regularizers|analyses|simulations|data|recipes|plans",
            help="What to list.",
        ),
    ],
) -> None:
    """Say what there is, one line each."""
    from catchup_eval.app.listing import listing

    rows = listing(kind)
    width = max(map(len, rows))
    for name, about in rows.items():
        print(f"{name:<{width}}  {about}".rstrip())


data_app = typer.Typer(no_args_is_help=True, help="Make image sets.", rich_markup_mode=None)
app.add_typer(data_app, name="data")


@data_app.command()
def corrupt(
    data: Annotated[str, typer.Argument(metavar="DATA", help="An image set or a .npz file.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")],
    corruptions: Annotated[
        list[str], typer.Option(metavar="TYPE...", help="Types (default: all 19).")
    ] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(metavar="N", help="Of what is random about them.")] = 0,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only N class-balanced images.")
    ] = None,
    photographs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The official photographs of frost."),
    ] = None,
    data_root: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", envvar="CATCHUP_EVAL_DATA", help="Where downloaded data sets lie."
        ),
    ] = Path("data"),
) -> None:
    """Write corrupted test images as CIFAR-10-C has them, five severities to a file."""
    from catchup_eval.app.corrupt import corrupt as write

    code = write(
        data,
        out,
        corruptions=corruptions,
        seed=seed,
        limit=limit,
        photographs=photographs,
        data_root=data_root,
    )
    raise typer.Exit(code)


@app.command()
def doctor(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where reports would go.")] = Path(
        "reports"
    ),
) -> None:
    """Look whether this machine is ready."""
    from catchup_eval.app.doctor import examine

    findings = examine(out)
    for finding in findings:
        print(f"{'ok  ' if finding.well else 'FAIL'}  {finding.name}: {finding.seen}")
    raise typer.Exit(0 if all(finding.well for finding in findings) else 2)


def _spelled() -> str:
    return " ".join(["catchup-eval", *sys.argv[1:]])


def _stop(number: int, _frame: Any) -> None:
    raise Interrupted("stopped", number)


def main() -> None:
    """Run the command; a user's mistake ends it with one line."""
    # Waiting threads that spin cost a busy machine a factor of four, an idle one next to nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.argv[1:] = spread(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as error:
        print(f"{error}; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + error.signal_number)
