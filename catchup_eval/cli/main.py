"""The command `catchup-eval`; what a command needs it imports when it runs, so help is instant."""

import codecs
import os
import signal
import sys
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from catchup_eval.cli.arguments import MOST
from catchup_eval.cli.check import check
from catchup_eval.cli.claims import claims
from catchup_eval.cli.conventions import conventions
from catchup_eval.cli.data import data
from catchup_eval.cli.doctor import doctor
from catchup_eval.cli.evaluate import compare, evaluate
from catchup_eval.cli.list import list_
from catchup_eval.cli.options import expand_repeated_options
from catchup_eval.cli.recipe import recipe
from catchup_eval.cli.report import report
from catchup_eval.cli.reproduce import reproduce
from catchup_eval.cli.run import run
from catchup_eval.cli.train import train
from catchup_eval.cli.verify import verify
from catchup_eval.core.environment import __version__
from catchup_eval.core.errors import Interrupted, UserError


class Commands(typer.core.TyperGroup):
    """Help that shows no upper bound where it is only there to keep numbers within 64 bits."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name."""
        found = super().get_command(ctx, cmd_name)
        _hide_bounds(found)
        return found


def _hide_bounds(command: Any) -> None:
    for inner in getattr(command, "commands", {}).values():
        _hide_bounds(inner)
    for parameter in getattr(command, "params", ()):
        # What is checked is apart from what is shown.
        if (getattr(parameter, "max", None) or 0) >= MOST:
            parameter.max = None


app = typer.Typer(
    cls=Commands,
    name="catchup-eval",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
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
    """Train Catch-up Mix and its baselines, and evaluate the robustness of any classifier.

    Start with `catchup-eval run`: it needs no data and takes minutes on two cores.
    """


PANELS = {
    "Train and evaluate": (run, train, evaluate, compare),
    "Reports": (report, check, claims, conventions, verify),
    "The paper": (reproduce,),
    "Look up and prepare": (doctor,),
}
for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.command(name="list", rich_help_panel="Look up and prepare")(list_)
app.add_typer(data, name="data", rich_help_panel="Look up and prepare")
app.add_typer(recipe, name="recipe", rich_help_panel="Look up and prepare")

PLAIN = {"↑": "^", "↓": "v", "−": "-", "–": "-", "…": "...", "×": "x", "±": "+-", "≤": "<="}  # noqa: RUF001

_signals: list[int] = []  # those that came


def _replace_unprintable(error: UnicodeError) -> tuple[str, int]:
    """Replacements of characters that the console's encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in text), error.end


def prepare_console() -> None:
    """Print on any console, and plot without a display, whatever the environment."""
    codecs.register_error("catchup_eval", _replace_unprintable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="catchup_eval")
    os.environ["MPLBACKEND"] = "agg"  # an inherited one may be absent here


def _stop(number: int, _frame: Any) -> None:
    _signals.append(number)
    raise Interrupted("stopped", number)


def main() -> None:
    """Run the command; a user's mistake ends it with one line."""
    # Waiting threads that spin cost a busy machine a factor of four, an idle one next to nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    prepare_console()
    sys.argv[1:] = expand_repeated_options(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    _signals.clear()
    try:
        sys.exit(app(standalone_mode=False))
    except Exception as error:
        if hasattr(error, "format_message"):  # of click, which some versions of typer contain
            _refuse_usage(error)
        if isinstance(error, Interrupted):
            _end(str(error), error.signal_number)
        if _signals:  # it came within a library, which then failed otherwise
            _end("stopped", _signals[0])
        if not isinstance(error, UserError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _refuse_usage(error: Any) -> NoReturn:
    """A wrong option in one line; the help where there is no word at all."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        print(f"error: {error.format_message()}", file=sys.stderr)
    sys.exit(error.exit_code)


def _end(message: str, number: int) -> NoReturn:
    print(f"{message}; the same command resumes from here", file=sys.stderr)
    sys.exit(128 + number)
