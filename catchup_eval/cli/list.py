"""Lists: models, checkpoints, methods, analyses, their settings, data, recipes, plans."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catchup_eval.core.errors import UnknownName

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
    rows["torchvision:NAME"] = "any torchvision classifier; 13 families with their stages"
    rows["timm:NAME"] = "any timm network with one head, with timm's own stages and normalisation"
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


def _settings() -> Rows:
    """All settings, each with its default and what is expected, as its signature has them."""
    from catchup_eval.analysis import ANALYSES, setting_defaults
    from catchup_eval.core.settings import describe_keywords
    from catchup_eval.core.toml import brief
    from catchup_eval.feature_learning import SIMULATIONS
    from catchup_eval.trainers import mixing
    from catchup_eval.trainers.regularizers import REGULARIZERS, fill_defaults

    every: list[tuple[str, Callable[..., Any], Mapping[str, Any]]] = [
        *((n, one.measure, setting_defaults(one)) for n, one in ANALYSES.items()),
        *((n, one.measure, setting_defaults(one)) for n, one in SIMULATIONS.items()),
        *((n, one, mixing.default_settings(n)) for n, one in mixing.METHODS.items()),
        *((n, one, fill_defaults({n: {}})[n]) for n, one in REGULARIZERS.items()),
    ]
    return {
        f"{name}.{key}": f"{brief(default)}: {words.get(key, 'anything')}"
        for name, function, defaults in every
        for words in [describe_keywords(function)]
        for key, default in defaults.items()
    }


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
) -> None:
    """List models, methods, analyses, data and more, one line each."""
    if kind == "data":
        from catchup_eval.cli.datasets import list_sets

        raise typer.Exit(list_sets(Path(os.environ.get("CATCHUP_EVAL_DATA", "data"))))
    rows = listing(kind)
    width = max(map(len, rows), default=0)
    for name, about in rows.items():
        print(f"{name:<{width}}  {about}".rstrip())
