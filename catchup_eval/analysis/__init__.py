"""`ANALYSES`, in the order of a report; those of other installed packages come last."""

import inspect
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from catchup_eval.analysis.base import PARTS, Analysis, declaration
from catchup_eval.core.errors import UnknownName
from catchup_eval.core.registry import LazyEntry, Registry, share_entries

NAMES = (
    "clean",
    "adversarial",
    "corruption",
    "deformation",
    "ood",
    "shape_bias",
    "cscore",
    "feature_drop",
    "filters",
    "localization",
    "landscape",
    "training",
)
ANALYSES: Registry[Analysis] = Registry(
    "analyses",
    {name: LazyEntry(f"{__name__}.{name}") for name in NAMES},
    parts=PARTS,
    about="DESCRIPTION",
)

share_entries(__name__, ANALYSES)


def choose(
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    known: Mapping[str, Analysis] = ANALYSES,
    *,
    most: float = inf,
    include: Sequence[str] = (),
) -> list[str]:
    """The names of those to evaluate, in their own order.

    Args:
        most: the `COST` up to which one is evaluated that is not named in `include`.

    Raises:
        UnknownName: a name that is none of them.
        UserError: one of another package that is broken.
    """
    for name in (*only, *skip, *include):
        if name not in known:
            raise UnknownName("analysis", name, known)
    usable = [*known]
    for name in (*only, *include):
        if name not in usable:
            known[name]  # raises why
    wanted = [name for name in usable if (not only or name in only) and name not in skip]
    return [
        name
        for name in wanted
        if most == inf or name in include or declaration(known[name], "COST") <= most
    ]


def check_settings(
    settings: Mapping[str, Mapping[str, Any]], known: Mapping[str, Analysis] = ANALYSES
) -> None:
    """Refuse what no analysis can be given, before anything is trained or computed.

    Raises:
        UnknownName: an analysis or a setting that does not exist.
        UserError: a value of another type or out of range.
    """
    from catchup_eval.core.settings import check_keywords

    choose(tuple(settings), known=known)
    for name, values in settings.items():
        check_keywords(known[name].measure, values, name)


def setting_defaults(analysis: Analysis) -> dict[str, Any]:
    """The settings of an analysis with their defaults."""
    parameters = inspect.signature(analysis.measure).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
