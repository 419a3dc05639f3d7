"""What there is: models, checkpoints, methods, analyses, simulations, data, recipes, plans."""

from collections.abc import Callable, Mapping

from catchup_eval.errors import UnknownName

Rows = dict[str, str]


def _models() -> Rows:
    from catchup_eval.models.architectures import ARCHITECTURES

    rows = {name: entry.about for name, entry in ARCHITECTURES.items()}
    rows["torchvision:NAME"] = "any torchvision classifier; 13 families with their stages"
    rows["timm:NAME"] = "any timm network with one head, with timm's own stages and normalisation"
    rows["FILE.py:FACTORY"] = "a function of yours that builds a network"
    return rows


def _catalogue() -> Rows:
    from catchup_eval.models.catalogue import entries

    return {name: entry.about for name, entry in entries().items()}


def _methods() -> Rows:
    from catchup_eval.trainers.methods import METHODS, summary

    return {name: summary(name) for name in METHODS}


def _regularizers() -> Rows:
    from catchup_eval.trainers.regularizers import REGULARIZERS

    return {name: (build.__doc__ or "").partition("\n")[0] for name, build in REGULARIZERS.items()}


def _analyses() -> Rows:
    from catchup_eval.analysis import ANALYSES

    return {name: analysis.QUESTION for name, analysis in ANALYSES.items()}


def _simulations() -> Rows:
    from catchup_eval.analysis.feature_learning import SIMULATIONS

    return {name: simulation.QUESTION for name, simulation in SIMULATIONS.items()}


def _data() -> Rows:
    from catchup_eval.datasets import DATASETS

    return {name: entry.about for name, entry in DATASETS.items()}


def _recipes() -> Rows:
    from catchup_eval.trainers.recipe import RECIPES

    return dict(RECIPES)


def _plans() -> Rows:
    from catchup_eval.app.plan import shipped

    return {name: plan.about for name, plan in shipped().items()}


def _reproductions() -> Rows:
    from catchup_eval.app.reproduction import shipped

    return {name: f"{each.title}: {each.about}" for name, each in shipped().items()}


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
