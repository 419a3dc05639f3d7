"""`run`: carry out a plan."""

from typing import Annotated

import typer

from catchup_eval.app.options import Options, with_common_options
from catchup_eval.cli.arguments import Epochs, Seeds, command_line


@with_common_options()
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
    """Carry out a plan: train or simulate, evaluate, report.

    The default plan needs no data and takes minutes on two cores.

    Stopped at any moment and called again, it goes on where it was.
    """
    from catchup_eval.app.run import run_plan as run_trainings
    from catchup_eval.app.simulate import run_simulations
    from catchup_eval.jobs import plan as plans

    changes = {"seeds": tuple(seeds), "methods": tuple(methods), "epochs": epochs}
    changed = plans.override_plan(plans.find(plan), changes)
    carry_out = run_simulations if changed.simulations else run_trainings
    raise typer.Exit(carry_out(changed, options, command=command_line()))
