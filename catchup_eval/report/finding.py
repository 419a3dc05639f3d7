"""The one sentence on top: what was found, and whether it is significant.

Written by rules from the verdicts: "better" and "worse" stand only where Holm's p is below the
level, and everything else is said to be undecided.
"""

from collections.abc import Sequence

from catchup_eval.comparison import Verdict
from catchup_eval.headlines import SEEDS, Line
from catchup_eval.report import numbers
from catchup_eval.study import Study

NAMED = 4  # groups that get a phrase of their own


def finding(study: Study, lines: Sequence[Line], verdicts: Sequence[Verdict]) -> str:
    """One sentence about the whole study."""
    questions = [verdict for verdict in verdicts if verdict.line.primary]
    if not lines:
        return "Nothing was measured."
    if len(study.groups) == 1:
        return _alone(study, lines)
    if not questions:
        return f"No question was answered both by {study.info.reference} and by another model."
    return f"{_compared(study, questions)}; {_scope(study, questions)}."


def _alone(study: Study, lines: Sequence[Line]) -> str:
    line = next((line for line in lines if line.primary), lines[0])
    (group,) = study.groups
    unit = f" {line.unit}" if line.unit else ""
    value = numbers.reading(line.readings[group], line.unit)
    number, bracket, limits = value.partition(" [")
    return (
        f"{group} reaches {line.headline.label} {number}{unit}{bracket}{limits} on "
        f"{study.info.data.name}; there is no second model here to call it better or worse than."
    )


def _compared(study: Study, verdicts: Sequence[Verdict]) -> str:
    groups = [group for group in study.groups if any(v.group == group for v in verdicts)]
    told = {group: _told([v for v in verdicts if v.group == group]) for group in groups}
    decided = [group for group in groups if told[group]]
    asked = len({verdict.line.analysis for verdict in verdicts})
    if not decided:
        return _undecided(groups, study.info.reference, asked)
    phrases = [f"{group} is {told[group]}" for group in decided[:NAMED]]
    more = len(decided) - NAMED
    if more > 0:
        phrases.append(f"{more} more differ from it as well")
    rest = [group for group in groups if not told[group]]
    if rest:
        phrases.append(f"{_listed(rest)} cannot be told apart from it on any")
    return f"Of {_count(asked)}, compared with {study.info.reference}, {'; '.join(phrases)}"


def _told(verdicts: Sequence[Verdict]) -> str:
    """What is significant about one group; empty where nothing is."""
    parts = []
    for word in ("better", "worse"):
        titles = [_inline(v.line.title) for v in verdicts if v.word == word]
        if titles:
            parts.append(f"significantly {word} on {len(titles)} ({', '.join(titles)})")
    rest = sum(verdict.word == "cannot tell" for verdict in verdicts)
    if parts and rest:
        parts.append(f"undecided on {rest}")
    return " and ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]} and {parts[2]}"


def _undecided(groups: Sequence[str], reference: str, asked: int) -> str:
    who = _listed(groups)
    if asked == 1:
        return f"The one question does not tell {who} apart from {reference}"
    return f"On none of {_count(asked)} can {who} be told apart from {reference}"


def _count(asked: int) -> str:
    return "1 question" if asked == 1 else f"{asked} questions"


def _listed(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return f"{len(names)} models"
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _inline(title: str) -> str:
    """A title inside a sentence: small first letter, unless it is an abbreviation."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _scope(study: Study, verdicts: Sequence[Verdict]) -> str:
    over = {verdict.over for verdict in verdicts} - {""}
    seeds = [len(study.seeds(group)) for group in study.groups]
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
