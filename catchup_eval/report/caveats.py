"""What a reader must know before any number: what is missing, failed, or not alike."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from catchup_eval import published
from catchup_eval.headlines import Line
from catchup_eval.report import numbers
from catchup_eval.study import Study

OWN = ("method", "seed", "settings", "name")  # entries of a recipe that are meant to differ
Pairs = Iterable[tuple[str, str]]  # (group, value)


def caveats(study: Study, lines: Sequence[Line], failed: Sequence[str]) -> list[str]:
    """One sentence each, for the banner.

    Args:
        failed: the self-checks that do not hold.
    """
    return [
        *_subset(study),
        *published.warnings(study),
        *_unlike_models(study),
        *_unlike_training(study),
        *_unlike_devices(study),
        *_unlike_lines(lines),
        *(f"A self-check failed. {claim}." for claim in failed),
    ]


def _subset(study: Study) -> list[str]:
    subset = study.info.data.subset
    return [f"Not the whole data set: {subset.removeprefix('subset: ')}."] if subset else []


def _unlike_models(study: Study) -> Iterator[str]:
    models = study.info.models
    yield from _unlike("preprocessing", [(m.group, m.preprocessing) for m in models])
    yield from _unlike("number of parameters", [(m.group, f"{m.parameters:,}") for m in models])


def _unlike_training(study: Study) -> Iterator[str]:
    trained = [(model.group, model.card) for model in study.info.models if model.card]
    for key, what in (("data", "training data"), ("data_fingerprint", "training images")):
        yield from _unlike(what, [(group, str(card.get(key) or "")) for group, card in trained])
    recipes = [(group, _flat(card.get("recipe") or {})) for group, card in trained]
    for key in dict.fromkeys(key for _, recipe in recipes for key in recipe):
        values = [(group, recipe.get(key, "not set")) for group, recipe in recipes]
        yield from _unlike(f"recipe: {key}", values)


def _flat(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in recipe.items():
        if key in OWN:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def _unlike_devices(study: Study) -> Iterator[str]:
    group = {model.key: model.group for model in study.info.models}
    runs = [(group[key], run.device) for (key, _), run in study.provenance.items()]
    yield from _unlike("device", runs)


def _unlike_lines(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        name = f"protocol of {line.headline.label} ({line.title})"
        yield from _unlike(name, [(g, reading.protocol) for g, reading in line.readings.items()])
        name = f"number of samples behind {line.headline.label} ({line.title})"
        sizes = [(g, numbers.count([reading.n])) for g, reading in line.readings.items()]
        yield from _unlike(name, sizes)


def _unlike(what: str, values: Pairs) -> Iterator[str]:
    groups: dict[str, dict[str, None]] = {}
    for group, value in values:
        groups.setdefault(value, {})[group] = None
    if len(groups) > 1:
        told = [f"{value or 'unknown'} ({', '.join(names)})" for value, names in groups.items()]
        yield f"The models differ in {what}: {'; '.join(told)}."
