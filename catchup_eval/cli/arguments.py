"""Arguments and options that several commands have, written once, and the command as typed."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

MOST = 10_000_000  # of anything that is counted
LARGEST_SEED = 2**63 - 1
Seeds = Annotated[
    list[int],
    typer.Option(
        metavar="N...",
        min=0,
        max=LARGEST_SEED,
        help="Seeds; each method is trained once with each.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=MOST, help="Epochs, instead of the recipe's."),
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
    str, typer.Option("--data", metavar="NAME", help="A dataset (see: list data) or a .npz file.")
]
RecipeData = Annotated[
    str,
    typer.Option(
        "--data", metavar="NAME", help="A dataset or a .npz file, instead of the recipe's dataset."
    ),
]
DataArgument = Annotated[
    str, typer.Argument(metavar="DATA", help="A dataset (see: list data) or a .npz file.")
]
DataRoot = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER", envvar="CATCHUP_EVAL_DATA", help="Where downloaded datasets lie."
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Where to compute: cpu, cuda, cuda:1, mps; auto takes a GPU if there is one.",
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What runs the tasks: this process (inline), processes of this machine (local), "
        "Slurm (slurm), Ray (ray).",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=1024,
        help="Tasks at a time (default: local one for each GPU, slurm 64, ray one for each core).",
    ),
]
EngineSet = Annotated[
    list[str],
    typer.Option(
        "--engine-set",
        metavar="KEY=VALUE...",
        help="Settings of the engine: threads; of slurm partition, account, time, gpus, ...",
    ),
]
Folders = Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Finished reports.")]


def command_line() -> str:
    """The command as it was called, in one line that a shell reads back."""
    return shlex.join(["catchup-eval", *sys.argv[1:]])
