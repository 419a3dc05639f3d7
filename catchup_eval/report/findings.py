"""What was found, in one sentence on top, and what must be known before any number.

The sentence says whether it is significant. It is written by rules from the verdicts: "better" and
"worse" stand only where Holm's p is below the level, and everything else is said to be undecided.

What a reader must know is what is missing, failed, or not alike.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from catchup_eval.report import formatting
from catchup_eval.results import published
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.study import Study
from catchup_eval.results.summary import SEEDS, SummaryRow

NAMED = 4  # groups that get a phrase of their own


def finding(
    study: Study, lines: Sequence[SummaryRow], verdicts: Sequence[PairwiseComparison]
) -> str:
    """One sentence about the whole study."""
    questions = [verdict for verdict in verdicts if verdict.line.primary]
    if not lines:
        return "Nothing was measured."
    if len(study.groups) == 1:
        return _single_model_sentence(study, lines)
    if not questions:
        return f"No question was answered both by {study.info.reference} and by another model."
    return f"{_comparison_sentence(study, questions)}; {_scope(study, questions)}."


def _single_model_sentence(study: Study, lines: Sequence[SummaryRow]) -> str:
    line = next((line for line in lines if line.primary), lines[0])
    (group,) = study.groups
    unit = f" {line.unit}" if line.unit else ""
    value = formatting.format_estimate(line.readings[group], line.unit)
    number, bracket, limits = value.partition(" [")
    return (
        f"{group} reaches {line.headline.label} {number}{unit}{bracket}{limits} on "
        f"{study.info.data.name}; there is no second model here to call it better or worse than."
    )


def _comparison_sentence(study: Study, verdicts: Sequence[PairwiseComparison]) -> str:
    groups = [group for group in study.groups if any(v.group == group for v in verdicts)]
    told = {
        group: _significant_phrases([v for v in verdicts if v.group == group]) for group in groups
    }
    decided = [group for group in groups if told[group]]
    asked = len({verdict.line.analysis for verdict in verdicts})
    if not decided:
        return _inconclusive_sentence(groups, study.info.reference, asked)
    phrases = [f"{group} is {told[group]}" for group in decided[:NAMED]]
    more = len(decided) - NAMED
    if more > 0:
        phrases.append(f"{more} more differ from it as well")
    rest = [group for group in groups if not told[group]]
    if rest:
        phrases.append(f"{_join_names(rest)} cannot be told apart from it on any")
    return f"Of {_count(asked)}, compared with {study.info.reference}, {'; '.join(phrases)}"


def _significant_phrases(verdicts: Sequence[PairwiseComparison]) -> str:
    """What is significant about one group; empty where nothing is."""
    parts = []
    for word in ("better", "worse"):
        titles = [_lowercase_title(v.line.title) for v in verdicts if v.label == word]
        if titles:
            parts.append(f"significantly {word} on {len(titles)} ({', '.join(titles)})")
    rest = sum(verdict.label == "cannot tell" for verdict in verdicts)
    if parts and rest:
        parts.append(f"undecided on {rest}")
    return " and ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]} and {parts[2]}"


def _inconclusive_sentence(groups: Sequence[str], reference: str, asked: int) -> str:
    who = _join_names(groups)
    if asked == 1:
        return f"The one question does not tell {who} apart from {reference}"
    return f"On none of {_count(asked)} can {who} be told apart from {reference}"


def _count(asked: int) -> str:
    return "1 question" if asked == 1 else f"{asked} questions"


def _join_names(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return f"{len(names)} models"
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _lowercase_title(title: str) -> str:
    """A title inside a sentence: small first letter, unless it is an abbreviation."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _scope(study: Study, verdicts: Sequence[PairwiseComparison]) -> str:
    over = {verdict.over for verdict in verdicts} - {""}
    seeds = [len(study.models_of(group)) for group in study.groups]
    if not over:
        return "no difference could be tested"
    if over == {"seeds"}:
        return f"tested over {_range(seeds)} seeds each, this compares the methods"
    if "seeds" in over:
        return f"where both have {SEEDS} seeds or more this compares methods, elsewhere networks"
    if max(seeds) == 1:
        return "with one network each, this compares these networks and not the methods"
    return f"with fewer than {SEEDS} seeds each, this compares these networks and not the methods"


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


OWN = ("method", "seed", "settings", "name")  # entries of a recipe that are meant to differ
Pairs = Iterable[tuple[str, str]]  # (group, value)


def caveats(study: Study, lines: Sequence[SummaryRow], failed: Sequence[str]) -> list[str]:
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
        *_unlike_provenance(study),
        *_unlike_lines(lines),
        *(f"A self-check failed. {claim}." for claim in failed),
    ]


def _subset(study: Study) -> list[str]:
    subset = study.info.data.subset
    return [f"Not the whole data set: {subset.removeprefix('subset: ')}."] if subset else []


def _unlike_models(study: Study) -> Iterator[str]:
    models = study.info.models
    yield from _difference_caveat("preprocessing", [(m.group, m.preprocessing) for m in models])
    yield from _difference_caveat(
        "number of parameters", [(m.group, f"{m.parameters:,}") for m in models]
    )


def _unlike_training(study: Study) -> Iterator[str]:
    trained = [(model.group, model.card) for model in study.info.models if model.card]
    for key, what in (("data", "training data"), ("data_fingerprint", "training images")):
        yield from _difference_caveat(
            what, [(group, str(card.get(key) or "")) for group, card in trained]
        )
    recipes = [(group, _flatten(card.get("recipe") or {})) for group, card in trained]
    for key in dict.fromkeys(key for _, recipe in recipes for key in recipe):
        values = [(group, recipe.get(key, "not set")) for group, recipe in recipes]
        yield from _difference_caveat(f"recipe: {key}", values)


def _flatten(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in recipe.items():
        if key in OWN:
            continue
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def _unlike_devices(study: Study) -> Iterator[str]:
    group = {model.key: model.group for model in study.info.models}
    runs = [(group[key], run.device) for (key, _), run in study.provenance.items()]
    yield from _difference_caveat("device", runs)


def _unlike_provenance(study: Study) -> Iterator[str]:
    """One sentence about the versions and threads in which results of one analysis differ."""
    group = {model.key: model.group for model in study.info.models}
    runs: dict[str, dict[str, list[tuple[str, str]]]] = {}  # by name, then by analysis
    for (key, analysis), run in study.provenance.items():
        threads = {"threads": str(run.threads)} if run.threads else {}
        for name, value in {**run.versions, **threads}.items():
            runs.setdefault(name, {}).setdefault(analysis, []).append((group[key], value))
    told = []
    for name, values in runs.items():
        unlike = [p for pairs in values.values() if len({v for _, v in pairs}) > 1 for p in pairs]
        if unlike:
            told.append(f"{name} {_format_values(unlike, ', ')}")
    if told:
        yield (
            "The models were measured with unlike software or threads, which may change pixels or "
            f"rounding: {'; '.join(told)}. tables/provenance.csv has every result's."
        )


def _unlike_lines(lines: Sequence[SummaryRow]) -> Iterator[str]:
    for line in lines:
        name = f"protocol of {line.headline.label} ({line.title})"
        yield from _difference_caveat(
            name, [(g, reading.protocol) for g, reading in line.readings.items()]
        )
        name = f"number of samples behind {line.headline.label} ({line.title})"
        sizes = [(g, formatting.format_count([reading.n])) for g, reading in line.readings.items()]
        yield from _difference_caveat(name, sizes)


def _difference_caveat(what: str, values: Pairs) -> Iterator[str]:
    values = list(values)
    if len({value for _, value in values}) > 1:
        yield f"The models differ in {what}: {_format_values(values, '; ')}."


def _format_values(values: Pairs, separator: str) -> str:
    """Each value once, with the groups that have it."""
    groups: dict[str, dict[str, None]] = {}
    for group, value in values:
        groups.setdefault(value, {})[group] = None
    return separator.join(
        f"{value or 'unknown'} ({', '.join(names)})" for value, names in groups.items()
    )
