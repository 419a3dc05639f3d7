"""`verify`: audit a report."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from catchup_eval.audit.findings import AuditCheck, AuditRequest, AuditStatus, worst_status
from catchup_eval.cli.arguments import LARGEST_SEED, MOST, DataRoot, Device
from catchup_eval.core.errors import BadFile
from catchup_eval.results.folder import study_file

if TYPE_CHECKING:
    from catchup_eval.cli.console import Console

CANNOT_TELL = 3
LISTED = 20  # differing samples in the terminal


def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A finished report.")],
    samples: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=MOST,
            help="How many pairs of model and image to evaluate again; 299 find, with 95 %, any "
            "report in which 1 % were altered.",
        ),
    ] = 299,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=LARGEST_SEED, help="Seed of their choice.")
    ] = 0,
    device: Device = "auto",
    batch_size: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=MOST, help="Images at a time; changes no verdict."),
    ] = 100,
    weights: Annotated[
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
    samples. 3: cannot tell, with the missing data. Nothing is written into the report.
    """
    request = AuditRequest(
        folder, samples, seed, device, batch_size, weights, data, data_root, full, trust_code
    )
    raise typer.Exit(verify_report(request, out))


def verify_report(request: AuditRequest, out: Path | None = None, *, quiet: bool = False) -> int:
    """Audit a report and print what was found; gives the exit code.

    Args:
        out: a file for all that was found; nothing is written where it is None.

    Raises:
        BadFile: the folder holds no report, or a file or folder that is named does not exist.
        UnknownName: no such dataset.
    """
    from catchup_eval import datasets

    study_file(request.folder)
    if request.data:
        datasets.check_name(request.data)
    if request.weights is not None and not request.weights.is_dir():
        raise BadFile(f"there is no folder {request.weights}")

    from catchup_eval.api import write_report
    from catchup_eval.audit.verify import audit, to_json
    from catchup_eval.cli.console import Console
    from catchup_eval.core.files import write_text

    found = list(audit(request, write_report))
    verdict = worst_status(one.verdict for one in found)
    print_checks(Console(quiet=quiet), found)
    if out:
        write_text(out, to_json(found))
    codes = {AuditStatus.CONFIRMED: 0, AuditStatus.NEAR: 0, AuditStatus.CONTRADICTED: 1}
    return codes.get(verdict, CANNOT_TELL)


def print_checks(console: "Console", found: Sequence[AuditCheck]) -> None:
    """Print a line for each check, the samples that differ, and the verdict."""
    import pandas as pd

    rows = [(one.check, one.verdict, one.detail) for one in found]
    console.table(pd.DataFrame(rows, columns=["Check", "Verdict", "Found"]), "")
    differing = [each for one in found for each in one.differences]
    differing.sort(key=lambda each: each.verdict != AuditStatus.CONTRADICTED)
    for each in differing[:LISTED]:
        stored, now = (
            shorten(
                f"{value:.6g}" if isinstance(value, float) else str(value), 40, placeholder="..."
            )
            for value in (each.stored, each.found)
        )
        console.info(
            f"{each.verdict}: {each.model}: {each.analysis}: {each.samples}, {each.part} image "
            f"{each.image}: stored {stored}, found {now}"
        )
    if len(differing) > LISTED:
        console.info(f"and {len(differing) - LISTED} more; --out FILE has all")
    console.result(worst_status(one.verdict for one in found))
