"""The main finding in one sentence, and the notes at the top of the page.

The sentence follows rules: "better" and "worse" only where Holm's p is below the level. The
notes name what is missing, failed, or differs between the models.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from catchup_eval.core.settings import flatten
from catchup_eval.report import formatting
from catchup_eval.results import published
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.study import FAILED, Study
from catchup_eval.results.summary import SEEDS, SummaryRow

NAMED = 2  # models that get a phrase of their own
TITLES = 3  # analyses up to which they are named


def finding(
    study: Study, lines: Sequence[SummaryRow], comparisons: Sequence[PairwiseComparison]
) -> str:
    """One sentence about the whole study; of many models, about those that differ most."""
    reference, primary = study.info.reference, [one for one in comparisons if one.line.primary]
    if not lines:
        return "Nothing was measured."
    if len(study.groups) == 1:
        return _single_model_sentence(study, lines)
    if not primary:
        return f"No analysis has results of both {reference} and another model."
    groups: dict[str, list[PairwiseComparison]] = {}
    for one in primary:
        groups.setdefault(one.group, []).append(one)
    decided = {group: own for group, own in groups.items() if any(c.significant for c in own)}
    count = len({one.line.analysis for one in primary})
    analyses = "1 analysis" if count == 1 else f"{count} analyses"
    scope = _scope(study, primary)
    if not decided:
        names = " or ".join(groups) if len(groups) <= NAMED else f"{len(groups)} models"
        return f"No significant difference of {names} to {reference} in {analyses} ({scope})."
    order = sorted(decided, key=lambda group: -sum(c.label == "better" for c in decided[group]))
    naming = len(groups) == 1 and sum(one.significant for one in primary) <= TITLES
    phrases = [_phrase(group, decided[group], naming) for group in order[:NAMED]]
    if len(order) > NAMED:
        phrases.append(f"{len(order) - NAMED} more differ")
    return f"Over {analyses} against {reference}, {'; '.join(phrases)} ({scope})."


def _single_model_sentence(study: Study, lines: Sequence[SummaryRow]) -> str:
    line = next((line for line in lines if line.primary), lines[0])
    (group,) = study.groups
    unit = f" {line.unit}" if line.unit else ""
    value = formatting.format_estimate(line.readings[group], line.unit)
    number, bracket, limits = value.partition(" [")
    return (
        f"{group} reaches {line.headline.label} {number}{unit}{bracket}{limits} on "
        f"{study.info.data.name}; there is no second model to compare it with."
    )


def _phrase(group: str, comparisons: Sequence[PairwiseComparison], naming: bool) -> str:
    """How many analyses are significantly better and worse for one group, and which ones."""
    parts = []
    for word in ("better", "worse"):
        titles = [_lowercase_title(one.line.title) for one in comparisons if one.label == word]
        if titles:
            parts.append(f"{word} on {len(titles)}" + (f" ({', '.join(titles)})" if naming else ""))
    return f"{group} is significantly {' and '.join(parts)}"


def _lowercase_title(title: str) -> str:
    """A title within a sentence: small first letter, unless it is an abbreviation."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _scope(study: Study, comparisons: Sequence[PairwiseComparison]) -> str:
    """Whether the tests compare methods, over seeds, or only these models."""
    over = {one.over for one in comparisons} - {""}
    seeds = [len(study.models_of(group)) for group in study.groups]
    if not over:
        return "no difference could be tested"
    if over == {"seeds"}:
        low, high = min(seeds), max(seeds)
        return f"comparing methods over {low if low == high else f'{low} to {high}'} seeds"
    if "seeds" in over:
        return f"comparing methods where both have {SEEDS} seeds or more, else models"
    return "comparing models, not methods"


OWN = {"method", "seed", "settings", "name"}  # entries of a recipe that are meant to differ


def caveats(study: Study, lines: Sequence[SummaryRow], failed: Sequence[str]) -> list[str]:
    """One sentence each, for the notes on top of the page.

    Args:
        failed: the sanity checks that do not hold.
    """
    subset = study.info.data.subset
    return [
        *([f"Not the whole dataset: {subset.removeprefix('subset: ')}."] if subset else []),
        *output_notes(study),
        *published.warnings(study),
        *_model_differences(study),
        *_run_differences(study),
        *_line_differences(lines),
        *(f"A sanity check failed. {claim}." for claim in failed),
    ]


def output_notes(study: Study) -> list[str]:
    """What is odd about the data and the models' outputs, one sentence each."""
    notes = [f"{study.info.data.name}: {note}." for note in study.info.data.notes]
    notes += [f"{group}: {note}." for group in study.groups for note in study.notes(group)]
    failed = [
        f"{group}: {analysis} {reason}."
        for analysis in study.info.analyses
        for group in study.groups
        if (reason := study.failure(group, analysis))
    ]
    there = {model.key for model in study.info.models}
    absent = {
        f"{skip.model} is absent: {skip.reason}."
        for skip in study.info.skipped
        if skip.reason.startswith(FAILED) and skip.model not in there
    }
    return [*notes, *failed, *sorted(absent)]


def _model_differences(study: Study) -> Iterator[str]:
    models = study.info.models
    trained = [(model.group, model.card) for model in models if model.card]
    yield from _difference("preprocessing", [(m.group, m.preprocessing) for m in models])
    yield from _difference("number of parameters", [(m.group, f"{m.parameters:,}") for m in models])
    for key, what in (("data", "training data"), ("data_fingerprint", "training images")):
        yield from _difference(what, [(group, str(card.get(key) or "")) for group, card in trained])
    recipes = [(group, _recipe_texts(card.get("recipe") or {})) for group, card in trained]
    for key in dict.fromkeys(key for _, recipe in recipes for key in recipe):
        values = [(group, recipe.get(key, "not set")) for group, recipe in recipes]
        yield from _difference(f"recipe: {key}", values)


def _recipe_texts(recipe: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else json.dumps(value, default=str)
        for key, value in flatten(recipe).items()
        if not OWN & set(key.split("."))
    }


def _run_differences(study: Study) -> Iterator[str]:
    """The devices; in one sentence the versions and threads that differ within an analysis."""
    group = {model.key: model.group for model in study.info.models}
    devices = [(group[key], run.device) for (key, _), run in study.provenance.items()]
    yield from _difference("device", devices)
    runs: dict[str, dict[str, list[tuple[str, str]]]] = {}  # by name, then by analysis
    for (key, analysis), run in study.provenance.items():
        threads = {"threads": str(run.threads)} if run.threads else {}
        for name, value in {**run.versions, **threads}.items():
            runs.setdefault(name, {}).setdefault(analysis, []).append((group[key], value))
    texts = []
    for name, values in runs.items():
        unlike = [p for pairs in values.values() if len({v for _, v in pairs}) > 1 for p in pairs]
        if unlike:
            texts.append(f"{name} {_format_values(unlike, ', ')}")
    if texts:
        yield (
            "The models were measured with different software or threads, which may change pixels "
            f"or rounding: {'; '.join(texts)}. tables/provenance.csv lists every result."
        )


def _line_differences(lines: Sequence[SummaryRow]) -> Iterator[str]:
    for line in lines:
        name = f"{line.headline.label} ({line.title})"
        readings = line.readings.items()
        yield from _difference(f"protocol of {name}", [(g, one.protocol) for g, one in readings])
        sizes = [(g, formatting.format_count([one.n])) for g, one in readings]
        yield from _difference(f"number of samples behind {name}", sizes)


def _difference(what: str, values: Sequence[tuple[str, str]]) -> Iterator[str]:
    if len({value for _, value in values}) > 1:
        yield f"The models differ in {what}: {_format_values(values, '; ')}."


def _format_values(values: Iterable[tuple[str, str]], separator: str) -> str:
    """Each value once, with the groups that have it."""
    groups: dict[str, dict[str, None]] = {}
    for group, value in values:
        groups.setdefault(value, {})[group] = None
    return separator.join(
        f"{value or 'unknown'} ({', '.join(names)})" for value, names in groups.items()
    )
