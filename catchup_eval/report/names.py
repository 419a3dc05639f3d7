"""Models' names in tables: whatever a model is called, it has a column and rows of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from catchup_eval.results.study import Study


def visible(name: str) -> str:
    r"""A name on one line; in quotes, with escapes, where it would be invisible or break the line.

    Example:
        >>> visible("a|b"), visible(" "), visible("a\nb")
        ('a|b', "' '", "'a\\nb'")
    """
    return name if name.isprintable() and name.strip() else repr(name)


def rename_groups(study: Study, names: Mapping[str, str]) -> Study:
    """The same study with other names of its groups."""
    models = tuple(m.model_copy(update={"group": names[m.group]}) for m in study.info.models)
    reference = names.get(study.info.reference, study.info.reference)
    info = study.info.model_copy(update={"models": models, "reference": reference})
    return replace(study, info=info)


def readable(study: Study) -> Study:
    """The same study, each group under its visible name; different groups keep different names."""
    names: dict[str, str] = {}
    for group in sorted(study.groups, key=lambda group: group != visible(group)):
        names[group] = _make_unique(visible(group), set(names.values()))
    return rename_groups(study, names)


def headings(groups: Sequence[str], own: Sequence[str]) -> list[str]:
    """The groups as headings of a table that has columns of its `own`, all different.

    Example:
        >>> headings(["baseline", "n"], ["Metric", "n"])
        ['baseline', 'n (model)']
    """
    taken = {*own, *groups}
    found = []
    for group in groups:
        found.append(_make_unique(f"{group} (model)", taken) if group in own else group)
        taken.add(found[-1])
    return found


def _make_unique(name: str, taken: set[str]) -> str:
    while name in taken:
        name += " (model)"
    return name
