"""The main finding in one sentence, and the notes of the page.

The sentence follows rules: "better" and "worse" only where Holm's p is below the level. The banner
says what could mislead a reader, the remarks what else differs between the models.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from catchup_eval.core.settings import flatten
from catchup_eval.report import formatting
from catchup_eval.results import published
from catchup_eval.results.comparison import PairwiseComparison, overall_ranking
from catchup_eval.results.study import FAILED, Study
from catchup_eval.results.summary import SummaryRow
from catchup_eval.trainers.distributed import describe_differences

WORDS = 25  # of the sentence, names of models counted as one


def finding(
    study: Study, lines: Sequence[SummaryRow], comparisons: Sequence[PairwiseComparison]
) -> str:
    """One sentence about the whole study: which model leads where, and whether significantly.

    The most detailed one that has no more than 25 words, each model's name counted as one.
    """
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
    if not decided:
        name = next(iter(groups)) if len(groups) == 1 else "No model"
        verb = "does not differ" if len(groups) == 1 else "differs"
        return f"{name} {verb} significantly from {reference} in {analyses}."
    ranking = overall_ranking(lines, study.groups)
    ranked = [one.group for one in ranking.ranks] if ranking else study.groups
    order = sorted(decided, key=lambda group: (-_balance(decided[group]), ranked.index(group)))
    choices = [
        f"{_phrases(order[:named], decided, reference, titles)}{_rest(order[named:])}."
        for titles in (True, False)
        for named in (3, 2, 1)
        if named <= len(order)
    ]
    short = [text for text in choices if _count_words(text, study.groups) <= WORDS]
    return short[0] if short else choices[-1]


def _balance(comparisons: Sequence[PairwiseComparison]) -> int:
    labels = [one.label for one in comparisons]
    return labels.count("better") - labels.count("worse")


def _phrases(
    groups: Sequence[str],
    decided: Mapping[str, Sequence[PairwiseComparison]],
    reference: str,
    titles: bool,
) -> str:
    """In what each of some groups differs significantly; a phrase each."""
    phrases: list[str] = []
    for group in groups:
        parts: list[str] = []
        for word in ("better", "worse"):
            own = [_in_sentence(c.line.title) for c in decided[group] if c.label == word]
            if not own:
                continue
            count = f"{len(own)} of {len(decided[group])} analyses"
            where = _listed(own) if titles else str(len(own)) if phrases or parts else count
            than = "" if phrases or parts else f" than {reference}"
            parts.append(f"{word}{than} on {where}")
        phrases.append(f"{group} is significantly {', '.join(parts)}")
    return "; ".join(phrases)


def _rest(groups: Sequence[str]) -> str:
    if len(groups) == 1:
        return f"; {groups[0]} differs, too"
    return f"; {len(groups)} more differ" if groups else ""


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _count_words(text: str, names: Sequence[str]) -> int:
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "name")
    return len(text.split())


def _single_model_sentence(study: Study, lines: Sequence[SummaryRow]) -> str:
    line = next((line for line in lines if line.primary), lines[0])
    (group,) = study.groups
    one = line.readings[group]
    unit = f" {line.unit}" if line.unit else ""
    value = formatting.format_estimate(one, line.unit)
    number, bracket, limits = value.partition(" [")
    guess = formatting.format_number(one.chance, line.unit)
    chance = "" if guess == formatting.NONE else f", where chance is {guess}{unit}"
    return (
        f"{group} reaches {line.headline.label} {number}{unit}{bracket}{limits} on "
        f"{study.info.data.name}{chance}."
    )


def _in_sentence(title: str) -> str:
    """A title within a sentence: small first letter, unless it is an abbreviation."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


OWN = {"method", "seed", "settings", "name"}  # entries of a recipe that are meant to differ


def banner(study: Study, lines: Sequence[SummaryRow], failed: Sequence[str]) -> list[str]:
    """What could mislead a reader, one sentence each.

    Preprocessing, data or protocol that differ, odd outputs, analyses that failed, accuracies that
    are not the published ones, and the sanity checks that `failed`.
    """
    models = study.info.models
    trained = [(model.group, model.card) for model in models if model.card]
    preprocessing = _difference("preprocessing", [(m.group, m.preprocessing) for m in models])
    return [
        *output_notes(study),
        *published.mismatches(study),
        *preprocessing,
        *(
            text
            for key, what in (("data", "training data"), ("data_fingerprint", "training images"))
            for text in _difference(what, [(g, str(card.get(key) or "")) for g, card in trained])
        ),
        *_line_differences(lines),
        *(f"A sanity check failed. {claim}." for claim in failed),
    ]


def remarks(study: Study) -> list[str]:
    """What else differs between the models, one sentence each: no reason to distrust a number."""
    return [
        *published.undecided(study),
        *_training_processes(study),
        *_model_differences(study),
        *_run_differences(study),
    ]


def output_notes(study: Study) -> list[str]:
    """What is odd about the data and the models' outputs, and what failed; one sentence each."""
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


def _training_processes(study: Study) -> Iterator[str]:
    """What differs from a training by one process, where several trained a model together."""
    groups: dict[str, dict[str, None]] = {}
    for model in study.info.models:
        ways = describe_differences(model.card.get("method", ""), model.card.get("recipe") or {})
        for way in ways:
            groups.setdefault(way, {})[model.group] = None
    for way, names in groups.items():
        yield f"{_listed([*names])}: {way}."


def _model_differences(study: Study) -> Iterator[str]:
    models = study.info.models
    trained = [(model.group, model.card) for model in models if model.card]
    sizes = [(m.group, f"{m.parameters:,}") for m in models if m.parameters is not None]
    yield from _difference("number of parameters", sizes)
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
