"""Write the reference pages that follow from the code: the commands, and every setting."""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from catchup_eval.analysis import ANALYSES, setting_defaults
from catchup_eval.cli.main import app
from catchup_eval.core.settings import describe_keywords
from catchup_eval.core.toml import brief
from catchup_eval.feature_learning import SIMULATIONS
from catchup_eval.trainers import mixing
from catchup_eval.trainers.regularizers import REGULARIZERS, fill_defaults
from catchup_eval.trainers.shipped import RECIPES

FOLDER = Path(__file__).parent / "reference"


def escape(text: str) -> str:
    """A text as it is shown in a cell of a Markdown table, without the roles of Sphinx."""
    text = re.sub(r":\w+:(`[^`]*`)", r"\1", text)
    text = " ".join(text.split()).replace("<", "&lt;")
    return re.sub(r"[|*\[]", r"\\\g<0>", text)


def code(text: str) -> str:
    """Code in a cell."""
    return "`" + text.replace("|", "\\|") + "`"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    header = list(header)
    yield ""
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def leaves(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Every command with its words."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, *path, name)
    else:
        yield " ".join(path), command


def cli() -> Iterator[str]:
    """The page of the commands."""
    root = typer.main.get_command(app)
    yield "# Commands\n"
    yield "`catchup-eval COMMAND -h` prints the same. Exit codes: 0 done; 1 contradicted, or a gate"
    yield "failed; 2 a mistake in what was asked; 3 done in part; 130 and 143 interrupted: the same"
    yield "command resumes.\n"
    for name, command in leaves(root):
        yield f"## {name}\n"
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join(p.metavar or p.name.upper() for p in arguments)
        yield f"`catchup-eval {name} {usage} [OPTIONS]`\n"
        yield f"{inspect.cleandoc(command.help or '')}\n"
        rows = [(code(p.metavar or p.name.upper()), escape(p.help or "")) for p in arguments]
        rows += [option(p) for p in command.params if p.param_type_name == "option"]
        yield from table(("argument or option", "meaning"), rows)


def option(parameter: Any) -> tuple[str, str]:
    """A row of the table of options."""
    words = ", ".join(f"`{word}`" for word in parameter.opts)
    value = "" if parameter.is_flag else f" {code(parameter.metavar or 'VALUE')}"
    default = parameter.default
    shown = not parameter.is_flag and default not in (None, "", [], ())
    text = escape(parameter.help or "")
    return words + value, text + (f" Default: {code(str(default))}." if shown else "")


def settings() -> Iterator[str]:
    """The page of all settings."""
    methods = {n: (one, mixing.default_settings(n)) for n, one in mixing.METHODS.items()}
    regularizers = {n: (one, fill_defaults({n: {}})[n]) for n, one in REGULARIZERS.items()}
    yield "# Settings\n"
    yield "Of analyses: `--set ANALYSIS.KEY=VALUE`, or `settings={...}` in Python; of methods and"
    yield "regularizers: `[methods.NAME]` and `[regularizers.NAME]` in a recipe. Values are written"
    yield "as in TOML. A value out of its range is refused before anything is computed.\n"
    groups: Mapping[str, Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]]] = {
        "Analyses": {n: (one.measure, setting_defaults(one)) for n, one in ANALYSES.items()},
        "Simulations": {n: (one.measure, setting_defaults(one)) for n, one in SIMULATIONS.items()},
        "Training methods": methods,
        "Regularizers": regularizers,
    }
    for heading, entries in groups.items():
        yield f"## {heading}\n"
        for name, (function, defaults) in entries.items():
            yield f"### {name}\n"
            expected, about = describe_keywords(function), meanings(function)
            rows = [
                (
                    f"`{key}`",
                    code(brief(value)),
                    escape(expected.get(key, "anything")),
                    about.get(key, ""),
                )
                for key, value in defaults.items()
            ]
            if rows:
                yield from table(("setting", "default", "expected", "meaning"), rows)
            else:
                yield "No settings.\n"


def meanings(function: Callable[..., Any]) -> dict[str, str]:
    """What the section `Args` of a docstring says of each keyword."""
    lines = iter((inspect.getdoc(function) or "").split("Args:\n")[-1].splitlines())
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            break
        head, colon, rest = line.strip().partition(": ")
        if line.startswith("    ") and not line.startswith("     ") and colon:
            names = [name.strip() for name in head.split(",")]
            found |= dict.fromkeys(names, rest)
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return {name: escape(text) for name, text in found.items()}


def recipes() -> Iterator[str]:
    """The page of the recipes that come with the toolkit."""
    yield "# Recipes\n"
    yield '`catchup-eval train NAME`; a file with `base = "NAME"` changes one.'
    yield from table(("recipe", "about"), ((f"`{n}`", escape(a)) for n, a in RECIPES.items()))


PAGES: Mapping[str, Callable[[], Iterator[str]]] = {
    "commands.md": cli,
    "settings.md": settings,
    "recipes.md": recipes,
}


def main(folder: Path = FOLDER) -> None:
    """Write every page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text("\n".join(page()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
