"""The models that a page shows, and their names: each has a column and rows of its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.plotting.style import Style
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


def arrange(study: Study, style: Style) -> tuple[Study, Style]:
    """The study in the style's order under its names, and the style for these names."""
    order = [*style.order, *study.groups]
    models = sorted(study.info.models, key=lambda model: order.index(model.group))
    study = replace(study, info=study.info.model_copy(update={"models": tuple(models)}))
    names = {group: style.names.get(group, group) for group in study.groups}
    taken = Counter(names.values())
    doubled = next((name for name, times in taken.items() if times > 1), None)
    if doubled is not None:
        both = " and ".join(group for group, name in names.items() if name == doubled)
        raise UserError(f"{both} would both be called {doubled!r}; give them different names")
    colors = {names.get(group, group): color for group, color in style.colors.items()}
    highlighted = tuple(names.get(group, group) for group in style.highlighted)
    update = {"names": {}, "order": (), "colors": colors, "highlighted": highlighted}
    return rename_groups(study, names), style.model_copy(update=update)


def select(
    study: Study,
    models: Sequence[str] = (),
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> Study:
    """The part of a study that is about these models and analyses; all where none is named.

    The first model is the reference where the study's own is left out.

    Raises:
        UnknownName: the study has no such model or analysis.
    """
    if not (models or only or skip):
        return study
    for name in models:
        if name not in study.groups:
            raise UnknownName("model", name, study.groups)
    for name in (*only, *skip):
        if name not in study.info.analyses:
            raise UnknownName("analysis of this report", name, study.info.analyses)
    kept = tuple(model for model in study.info.models if not models or model.group in models)
    analyses = tuple(
        name for name in study.info.analyses if (not only or name in only) and name not in skip
    )
    pairs = {(model.key, name) for model in kept for name in analyses}
    groups = [model.group for model in kept]
    update = {
        "models": kept,
        "analyses": analyses,
        "reference": study.info.reference if study.info.reference in groups else groups[0],
        "skipped": tuple(s for s in study.info.skipped if (s.model, s.analysis) in pairs),
    }
    return Study(
        study.info.model_copy(update=update),
        {pair: result for pair, result in study.results.items() if pair in pairs},
        {pair: run for pair, run in study.provenance.items() if pair in pairs},
    )


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
