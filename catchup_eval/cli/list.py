"""Lists: models, checkpoints, methods, analyses, simulations, data, recipes, plans."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from catchup_eval.core.errors import UnknownName

Rows = dict[str, str]


def _models() -> Rows:
    from catchup_eval.models.zoo import ARCHITECTURES

    rows = {name: ARCHITECTURES.describe(name) for name in ARCHITECTURES}
    rows["torchvision:NAME"] = "any torchvision classifier; 13 families with their stages"
    rows["timm:NAME"] = "any timm network with one head, with timm's own stages and normalisation"
    rows["FILE.py:FACTORY"] = "a function of yours that builds a network"
    return rows


def _catalogue() -> Rows:
    from catchup_eval.models.catalogue import entries

    return {name: entry.about for name, entry in entries().items()}


def _methods() -> Rows:
    from catchup_eval.trainers.mixing import METHODS

    return {name: METHODS.describe(name) for name in METHODS}


def _regularizers() -> Rows:
    from catchup_eval.trainers.regularizers import REGULARIZERS

    return {name: REGULARIZERS.describe(name) for name in REGULARIZERS}


def _analyses() -> Rows:
    from catchup_eval.analysis import ANALYSES

    return {name: ANALYSES.describe(name) for name in ANALYSES}


def _simulations() -> Rows:
    from catchup_eval.feature_learning import SIMULATIONS

    return {name: SIMULATIONS.describe(name) for name in SIMULATIONS}


def _data() -> Rows:
    from catchup_eval.datasets import DATASETS

    return {name: entry.about for name, entry in DATASETS.items()}


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
    "data": _data,
    "recipes": _recipes,
    "plans": _plans,
    "reproductions": _reproductions,
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
