"""The command `catchup-eval`; what it needs is imported inside each command, so help is instant."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

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
        help="[NAME=]ARCH[@WEIGHTS][?key=value&...], a path, https://..., hf:OWNER/NAME, "
        "catalogue:NAME, or a .toml file that lists models; a glob is the seeds of one group.",
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


@app.command()
@computing
def claims(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A .toml file of claims, or catchup-mix, the paper's."),
    ],
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Finished reports.")],
    more: Annotated[
        bool, typer.Option("--run", help="First train the seeds that would tell, where it can.")
    ] = False,
    most: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --run: train no more seeds per method.")
    ] = 20,
    *,
    options: Options,
) -> None:
    """Judge a paper's sentences from finished reports.

    Each is supported, contradicted, or cannot be told, and then what would tell.
    """
    from catchup_eval.app.claims import claims as judge

    raise typer.Exit(judge(file, folders, options, more=more, limit=most))


@app.command()
def lens(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="Finished reports of the same networks, or paper: the paper's own tables.",
        ),
    ],
    quotes: Annotated[
        list[str],
        typer.Option(
            "--quote",
            metavar="NAME=NUMBER",
            help="A number you read, such as mCE=43.76: what comes closest; may be repeated.",
        ),
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write lens.html, lens.md and lens.csv there."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only answers and where the result is.")
    ] = False,
) -> None:
    """Show finished reports under every convention in circulation, and whether the ranking changes.

    A report holds one convention of some questions; name a second one, asked otherwise, beside it.
    """
    from catchup_eval.app.lens import lens as look

    raise typer.Exit(look(folders, quotes, out, quiet=quiet))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A finished report.")],
    samples: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="How many pairs of network and image to ask again; 299 find, with 95 %, any "
            "report in which 1 % were altered.",
        ),
    ] = 299,
    seed: Annotated[int, typer.Option(metavar="N", help="Of drawing these.")] = 0,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Where to compute: auto, cpu, cuda, mps.")
    ] = "auto",
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Images at a time; changes no verdict.")
    ] = 100,
    models: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the weights lie, if not where they lay."),
    ] = None,
    data: Annotated[
        str, typer.Option("--data", metavar="NAME", help="The images, if not the report's name.")
    ] = "",
    data_root: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", envvar="CATCHUP_EVAL_DATA", help="Where downloaded data sets lie."
        ),
    ] = Path("data"),
    full: Annotated[
        bool, typer.Option("--full", help="Ask every question again, of all images, too.")
    ] = False,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            help="Run the .py files that the report names as its networks. Whoever wrote them can "
            "then do on this machine what you can; without it, such networks are not asked again.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all that was found, as JSON.")
    ] = None,
) -> None:
    """Audit a report: its files, numbers and pages, and a sample of its outcomes asked again.

    The last line is the verdict. Exit code 0: confirmed, perhaps within what other hardware rounds
    otherwise. 1: contradicted, with the samples. 3: cannot tell, with what is missing. Nothing is
    written into the report.
    """
    from catchup_eval.app.console import Console
    from catchup_eval.app.verify import Request
    from catchup_eval.app.verify import verify as audit

    request = Request(
        folder,
        samples,
        seed,
        device,
        batch_size,
        models,
        data,
        data_root,
        full=full,
        trust_code=trust_code,
        out=out,
    )
    raise typer.Exit(audit(request, Console()))


@app.command()
@computing
def reproduce(
    table: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the paper: table1 to table13, figure1, ...")
    ],
    seeds: Seeds = [],  # noqa: B006
    epochs_scale: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=1e-9, help="Of all epochs, such as 0.01; the page says so."
        ),
    ] = 1.0,
    on: Annotated[
        str,
        typer.Option(metavar="NAME", help="Run the design on these data instead: digits, ..."),
    ] = "",
    *,
    options: Options,
) -> None:
    """Carry out a table or figure of the Catch-up Mix paper; lay it out beside the paper's numbers.

    `--dry-run` says what it will cost, from a few measured steps. `--only` names rows or methods
    here, not questions. Stopped at any moment and called again, it goes on where it was.
    """
    from catchup_eval.app.reproduce import narrowed
    from catchup_eval.app.reproduce import reproduce as carry_out
    from catchup_eval.app.reproduction import find

    wanted = narrowed(find(table), options.only, seeds)
    command = _spelled()
    raise typer.Exit(carry_out(table, wanted, options, scale=epochs_scale, on=on, command=command))


@app.command(name="list")
def list_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="models|catalogue|methods|regularizers|analyses|simulations|data|recipes|plans|reproductions",
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


data_app = typer.Typer(
    no_args_is_help=True, help="List, fetch, check and corrupt image sets.", rich_markup_mode=None
)
app.add_typer(data_app, name="data")
DataRoot = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER", envvar="CATCHUP_EVAL_DATA", help="Where downloaded data sets lie."
    ),
]
Archives = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Your own list of addresses, such as a mirror's, instead of the shipped one (TOML).",
    ),
]


@data_app.command(name="list")
def list_data(
    names: Annotated[
        list[str],
        typer.Argument(metavar="[NAME...]", help="Only these, with licence, citation and files."),
    ] = [],  # noqa: B006
    data_root: DataRoot = Path("data"),
    archives: Archives = None,
) -> None:
    """Say which image sets can be fetched, and which are here."""
    from catchup_eval.app.data import describe_sets, list_sets

    if names:
        raise typer.Exit(describe_sets(names, archives=archives))
    raise typer.Exit(list_sets(data_root, archives=archives))


@data_app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Sets (see: data list).")],
    data_root: DataRoot = Path("data"),
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the archives after they are unpacked.")
    ] = False,
    archives: Archives = None,
) -> None:
    """Download image sets, compare their checksums and unpack them.

    What is here already stays. Stopped at any moment and called again, it goes on where it was.
    """
    from catchup_eval.app.data import fetch_sets

    raise typer.Exit(fetch_sets(names, data_root, keep=keep, archives=archives))


@data_app.command()
def check(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...|all", help="Sets; all are those that are here.")
    ],
    data_root: DataRoot = Path("data"),
    archives: Archives = None,
) -> None:
    """Compare the files of image sets with the official ones, also files you got yourself.

    Says of each: ok, absent, incomplete, cut short, a web page, not the official file.
    """
    from catchup_eval.app.data import check_sets

    raise typer.Exit(check_sets(names, data_root, archives=archives))


@data_app.command()
def cscores(
    data: Annotated[str, typer.Argument(metavar="DATA", help="An image set or a .npz file.")],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE.npz", help="NAME-cscores.npz in the data root is found there."),
    ],
    networks: Annotated[
        int, typer.Option(metavar="N", min=3, help="How many are trained and asked.")
    ] = 24,
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="How (see: list recipes).")
    ] = "tiny",
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Where to compute, as elsewhere.")
    ] = "auto",
    data_root: DataRoot = Path("data"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train all again, also what is done.")
    ] = False,
) -> None:
    """Estimate how regular each test image is, from small networks trained on random subsets.

    Stopped and called again, it goes on where it was; the answers are kept beside the file.
    """
    from catchup_eval.app.plan import Regularity
    from catchup_eval.app.regularity import write

    how = Regularity(networks=networks, recipe=recipe)
    raise typer.Exit(write(data, out, how, device=device, data_root=data_root, fresh=fresh))


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


_signals: list[int] = []  # those that came


def _stop(number: int, _frame: Any) -> None:
    _signals.append(number)
    raise Interrupted("stopped", number)


def main() -> None:
    """Run the command; a user's mistake ends it with one line."""
    # Waiting threads that spin cost a busy machine a factor of four, an idle one next to nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.argv[1:] = spread(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    _signals.clear()
    try:
        app()
    except Exception as error:
        if isinstance(error, Interrupted):
            _end(str(error), error.signal_number)
        if _signals:  # it came inside a library, which then failed in its own way
            _end("stopped", _signals[0])
        if not isinstance(error, UserError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _end(said: str, number: int) -> NoReturn:
    print(f"{said}; the same command goes on from here", file=sys.stderr)
    sys.exit(128 + number)
