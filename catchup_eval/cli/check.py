"""`check`: a gate for continuous integration."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catchup_eval.core.errors import DONE, UserError

if TYPE_CHECKING:
    from catchup_eval.audit.gate import Requirement

FAILED = 1


def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A finished report.")],
    require: Annotated[
        list[str],
        typer.Option(
            metavar="REQUIREMENT",
            help="What each model must reach, such as 'corruption.mean_error < 30' or "
            "'corruption.error[corruption=fog, severity=5] < 40'; may be repeated.",
        ),
    ] = [],  # noqa: B006
    no_worse_than: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="An earlier report of the same data; fails where a headline metric is "
            "significantly worse (Holm-adjusted p < .05).",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            min=0,
            max=100,
            help="With --no-worse-than: a rate that is worse by more than this fails as well, "
            "significant or not.",
        ),
    ] = None,
    models: Annotated[
        list[str],
        typer.Option("--models", metavar="NAME...", help="Only these models of the report."),
    ] = [],  # noqa: B006
    certain: Annotated[
        bool,
        typer.Option(
            "--certain",
            help="With --require: the whole 95 % interval must lie within the bound, not only the "
            "value.",
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only what failed or was not tested.")
    ] = False,
) -> None:
    """Fail where a report falls short or has become worse.

    Exit code 0: everything passed. 1: something failed, or was not measured.
    """
    from catchup_eval.audit.gate import parse_requirement

    if not require and no_worse_than is None:
        raise UserError("expected --require, --no-worse-than or both; there is nothing to check")
    if margin is not None and no_worse_than is None:
        raise UserError("--margin needs --no-worse-than, the report to compare with")
    requirements = [parse_requirement(text) for text in require]
    code = check_report(
        folder, requirements, no_worse_than, models, margin=margin, certain=certain, quiet=quiet
    )
    raise typer.Exit(code)


def check_report(
    folder: Path,
    requirements: "Sequence[Requirement]",
    before: Path | None = None,
    models: Sequence[str] = (),
    *,
    margin: float | None = None,
    certain: bool = False,
    quiet: bool = False,
) -> int:
    """Print a line for each requirement and model; gives the exit code.

    Raises:
        BadFile: a folder that holds no report.
        UnknownName, UserError: as in :mod:`catchup_eval.audit.gate`.
    """
    from catchup_eval.audit import gate
    from catchup_eval.cli.console import Console
    from catchup_eval.feature_learning import KNOWN
    from catchup_eval.results import study

    console = Console(quiet=quiet)
    current = study.load(folder, KNOWN)
    results = gate.check_requirements(current, requirements, KNOWN, models=models, certain=certain)
    if before is not None:
        earlier = study.load(before, KNOWN)
        results += gate.check_no_worse(current, earlier, KNOWN, models=models, margin=margin)
    for result in results:
        (console.info if result.verdict == "passed" else console.result)(str(result))
    counts = Counter(result.verdict for result in results)
    console.result(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    return FAILED if counts["failed"] else DONE
