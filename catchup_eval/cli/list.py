"""Lists: models, checkpoints, methods, analyses, their settings, data, recipes, plans."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catchup_eval.core.errors import UnknownName, UserError

if TYPE_CHECKING:
    from catchup_eval.core.registry import Registry

Rows = dict[str, str]


def _describe(registry: "Registry[Any]") -> Rows:
    return {name: registry.describe(name) for name in registry} | _broken(registry)


def _broken(registry: "Registry[Any]") -> Rows:
    """What other packages add and cannot be used, each with the reason."""
    return {
        f"{name} (added twice)" if name in registry.own else name: f"broken: {fault}"
        for name, fault in registry.broken.items()
    }


def _models() -> Rows:
    from catchup_eval.models.zoo import ARCHITECTURES

    rows = {name: ARCHITECTURES.describe(name) for name in ARCHITECTURES}
    rows["torchvision:NAME"] = "any torchvision classifier; 15 families with their stages"
    rows["huggingface:TYPE"] = "any image classifier of transformers, such as huggingface:vit"
    rows["timm:NAME"] = "any timm network, with timm's own stages and normalisation"
    rows["FILE.py:FACTORY"] = "a function of yours that builds a network"
    return rows | _broken(ARCHITECTURES)


def _catalogue() -> Rows:
    from catchup_eval.models.catalogue import entries

    return {name: entry.about for name, entry in entries().items()}


def _methods() -> Rows:
    from catchup_eval.trainers.mixing import METHODS

    return _describe(METHODS)


def _regularizers() -> Rows:
    from catchup_eval.trainers.regularizers import REGULARIZERS

    return _describe(REGULARIZERS)


def _analyses() -> Rows:
    from catchup_eval.analysis import ANALYSES

    return _describe(ANALYSES)


def _simulations() -> Rows:
    from catchup_eval.feature_learning import SIMULATIONS

    return _describe(SIMULATIONS)


def _configurable() -> dict[str, Callable[..., Any]]:
    """What has settings, by name: a function whose signature has them."""
    from catchup_eval.analysis import ANALYSES
    from catchup_eval.feature_learning import SIMULATIONS
    from catchup_eval.trainers.mixing import METHODS
    from catchup_eval.trainers.regularizers import REGULARIZERS

    return {
        **{name: one.measure for name, one in ANALYSES.items()},
        **{name: one.measure for name, one in SIMULATIONS.items()},
        **dict(METHODS.items()),
        **dict(REGULARIZERS.items()),
    }


def _settings() -> Rows:
    """All settings but those of recipes, each with its default and what is expected."""
    from catchup_eval.core.settings import describe_settings
    from catchup_eval.core.toml import brief

    return {
        f"{name}.{setting.name}": f"{brief(setting.default)}: {setting.expected or 'anything'}"
        for name, function in _configurable().items()
        for setting in describe_settings(function)
        if setting.name != "criterion"
    }


def _settings_of(name: str) -> Rows:
    """Those of one analysis, simulation, method, regularizer or recipe, each with its meaning.

    Raises:
        UnknownName: there is none of this name.
    """
    from catchup_eval.core.settings import describe_settings
    from catchup_eval.core.toml import SUFFIX, brief
    from catchup_eval.trainers.shipped import RECIPES

    known = _configurable()
    if name in known:
        settings = describe_settings(known[name])
        return {s.name: f"{brief(s.default)}: {s}" for s in settings if s.name != "criterion"}
    if name not in RECIPES and not name.endswith(SUFFIX):
        raise UnknownName("list of settings", name, [*known, *RECIPES, "FILE.toml"])
    from catchup_eval.trainers.annotation import entries
    from catchup_eval.trainers.recipe import load_recipe

    return {e.key: f"{brief(e.value)}: {e.setting}" for e in entries(load_recipe(name))}


def _data() -> Rows:
    from catchup_eval.datasets import DATASETS

    return {name: entry.about for name, entry in DATASETS.items()} | _broken(DATASETS)


def _engines() -> Rows:
    from catchup_eval.jobs.engines import ENGINES

    return _describe(ENGINES)


def _recipes() -> Rows:
    from catchup_eval.trainers.shipped import RECIPES

    return dict(RECIPES)


def _plans() -> Rows:
    from catchup_eval.jobs.plan import shipped_plans

    return {name: plan.about for name, plan in shipped_plans().items()}


def _reproductions() -> Rows:
    from catchup_eval.paper.reproduction import shipped_reproductions

    return {name: f"{each.title}: {each.about}" for name, each in shipped_reproductions().items()}


LISTS: Mapping[str, Callable[[], Rows]] = {
    "models": _models,
    "catalogue": _catalogue,
    "methods": _methods,
    "regularizers": _regularizers,
    "analyses": _analyses,
    "simulations": _simulations,
    "settings": _settings,
    "data": _data,
    "recipes": _recipes,
    "plans": _plans,
    "reproductions": _reproductions,
    "engines": _engines,
}


def listing(kind: str) -> Rows:
    """Name and one line for each thing of a kind.

    Raises:
        UnknownName: no such kind.
    """
    if kind not in LISTS:
        raise UnknownName("list", kind, LISTS)
    return LISTS[kind]()


def list_(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help=f"One of: {', '.join(LISTS)}."),
    ],
    of: Annotated[
        str,
        typer.Argument(
            metavar="[NAME]",
            help="With settings: those of this analysis, method, regularizer or recipe alone, with "
            "their meaning.",
        ),
    ] = "",
) -> None:
    """List models, methods, analyses, data and more, one line each."""
    if of and kind != "settings":
        raise UserError(f"expected list {kind} alone, or list settings {of}")
    if kind == "data":
        from catchup_eval.cli.datasets import list_sets

        raise typer.Exit(list_sets(Path(os.environ.get("CATCHUP_EVAL_DATA", "data"))))
    rows = _settings_of(of) if of else listing(kind)
    width = max(map(len, rows), default=0)
    for name, about in rows.items():
        print(f"{name:<{width}}  {about}".rstrip())
