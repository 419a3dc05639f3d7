"""Mistakes that names and files alone show: refused before torch is imported.

Only lists and plans are read for it; their contents are checked where they are used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from catchup_eval import datasets
from catchup_eval.analysis import ANALYSES, choose
from catchup_eval.core import toml
from catchup_eval.core.errors import UserError
from catchup_eval.datasets.ood import check_ood
from catchup_eval.jobs import engines
from catchup_eval.models import spec
from catchup_eval.results import shards
from catchup_eval.results.folder import study_file
from catchup_eval.trainers import shipped
from catchup_eval.trainers.regularizers import split_combination


def check_request(arguments: Mapping[str, Any]) -> None:
    """Refuse a command by its arguments and options, by name; it may have any of them.

    Raises:
        UnknownName, BadFile, UserError: a name, a file or a value that cannot be meant.
    """
    shards.parse(arguments.get("shard", ""))
    engines.parse_settings(arguments.get("engine_set", ()))
    if arguments.get("engine") or "plan" not in arguments:  # a plan may name one
        engines.check_engine(
            arguments.get("engine") or engines.INLINE,
            arguments.get("workers"),
            arguments.get("devices"),
        )
    if arguments.get("data"):
        datasets.check_name(arguments["data"])
    check_ood(arguments.get("ood", ()))
    for folder in arguments.get("folders", ()):
        study_file(folder)
    if arguments.get("table", "all") != "all":
        from catchup_eval.paper import reproduction

        wanted = reproduction.find(arguments["table"])
        reproduction.select_columns(wanted, arguments["columns"])
        reproduction.select_rows(wanted, arguments["only"], arguments["seeds"], arguments["skip"])
        read_recipe_changes(arguments["set"])
        if arguments["on"] and arguments["data"]:
            raise UserError(
                "--on takes a dataset with its own recipe, --data with the paper's: give one"
            )
        for setting in wanted.settings.values() if arguments["on"] else ():
            reproduction.transfer_setting(setting, arguments["on"])
    if "plan" in arguments:
        _check_plan(arguments)
    if "recipe" in arguments:
        _check_training(arguments["recipe"], arguments.get("methods", ()))
    if "models" in arguments:
        _check_analyses(arguments)
        _check_models(arguments["models"])


def _check_plan(arguments: Mapping[str, Any]) -> None:
    from catchup_eval.jobs import plan as plans

    plan = plans.find(arguments["plan"])
    methods = arguments["methods"] or plan.methods
    if plan.simulations:
        return
    datasets.check_name(plan.data)
    if methods:
        _check_training(plan.recipe, methods)
    _check_analyses(arguments)
    _check_models(plan.models)


def _check_training(recipe: str, methods: Sequence[str]) -> None:
    shipped.read(recipe)
    for method in methods:
        split_combination(method)


def _check_models(models: Sequence[str]) -> None:
    for text in models:
        spec.check(text)


def _check_analyses(arguments: Mapping[str, Any]) -> None:
    named = read_settings(arguments.get("set", ()))
    choose((*arguments.get("only", ()), *named), arguments.get("skip", ()), ANALYSES)


def read_recipe_changes(texts: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """`["recipe.options.width=16"]` as the tables of a recipe; and the texts about analyses.

    Raises:
        UserError: not recipe.KEY=VALUE.
    """
    changes: dict[str, Any] = {}
    others: list[str] = []
    for text in texts:
        target, equals, value = text.partition("=")
        first, *tables, last = target.split(".") if "." in target else ("", target)
        if first != "recipe":
            others.append(text)
            continue
        if not (equals and last and all(tables)):
            raise UserError(f"expected --set recipe.KEY=VALUE, got {text!r}")
        inner = changes
        for table in tables:
            inner = inner.setdefault(table, {})
            if not isinstance(inner, dict):
                raise UserError(f"expected one kind of value for {table}, got {text!r}")
        inner[last] = toml.parse_value(value, "--set")
    return changes, others


def read_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`["landscape.points=21"]` as settings by analysis; values as TOML spells them.

    Raises:
        UserError: not ANALYSIS.KEY=VALUE.
    """
    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        analysis, dot, key = target.partition(".")
        if not (equals and dot and key):
            raise UserError(f"expected --set ANALYSIS.KEY=VALUE, got {text!r}")
        settings.setdefault(analysis, {})[key] = toml.parse_value(value, "--set")
    return settings
