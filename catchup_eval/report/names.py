"""Models' names in tables: whatever a model is called, its column and its rows stand."""

from collections.abc import Sequence
from dataclasses import replace

from catchup_eval.results.study import Study


def visible(name: str) -> str:
    r"""A name on one line; in quotes, with escapes, where it could not be seen or would break it.

    Example:
        >>> visible("a|b"), visible(" "), visible("a\nb")
        ('a|b', "' '", "'a\\nb'")
    """
    return name if name.isprintable() and name.strip() else repr(name)


def readable(study: Study) -> Study:
    """The same study, each group under its visible name; groups stay apart."""
    names: dict[str, str] = {}
    for group in sorted(study.groups, key=lambda group: group != visible(group)):
        names[group] = _free(visible(group), set(names.values()))
    models = tuple(
        model.model_copy(update={"group": names[model.group]}) for model in study.info.models
    )
    reference = names.get(study.info.reference, study.info.reference)
    info = study.info.model_copy(update={"models": models, "reference": reference})
    return replace(study, info=info)


def headings(groups: Sequence[str], own: Sequence[str]) -> list[str]:
    """The groups as headings of a table that has columns of its `own`, all different.

    Example:
        >>> headings(["baseline", "n"], ["Number", "n"])
        ['baseline', 'n (model)']
    """
    taken = {*own, *groups}
    found = []
    for group in groups:
        found.append(_free(f"{group} (model)", taken) if group in own else group)
        taken.add(found[-1])
    return found


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += " (model)"
    return name
