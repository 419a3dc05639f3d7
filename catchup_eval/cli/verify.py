"""`verify`: audit a report."""

from pathlib import Path
from typing import Annotated

import typer

from catchup_eval.cli.arguments import DataRoot, Device


def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A finished report.")],
    samples: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="How many pairs of model and image to evaluate again; 299 find, with 95 %, any "
            "report in which 1 % were altered.",
        ),
    ] = 299,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of drawing them.")] = 0,
    device: Device = "auto",
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Images at a time; changes no verdict.")
    ] = 100,
    models: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the weights, if they were moved."),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            "--data", metavar="NAME", help="The dataset, if not the one that the report names."
        ),
    ] = "",
    data_root: DataRoot = Path("data"),
    full: Annotated[
        bool, typer.Option("--full", help="Run every analysis again, on all images, too.")
    ] = False,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            help="Run the .py files that the report names as its models. Whoever wrote them can "
            "then do on this machine what you can; without it, such models are left out.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all that was found, as JSON.")
    ] = None,
) -> None:
    """Audit a report; evaluate a sample of it again.

    Looks at its files, numbers and pages too. The last line is the verdict. Exit code 0:
    confirmed, perhaps within what other hardware rounds otherwise. 1: contradicted, with the
    samples. 3: cannot tell, with what is missing. Nothing is written into the report.
    """
    from catchup_eval.app.verify import AuditRequest
    from catchup_eval.app.verify import verify_report as audit
    from catchup_eval.cli.console import Console

    request = AuditRequest(
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
