"""All families of conventions: which numbers go by one name, and who means what by it.

Each analysis declares its own; those of one name are one family.
"""

from dataclasses import replace

from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.base import declaration
from catchup_eval.analysis.conventions import ConventionFamily
from catchup_eval.results.study import Study


def families(study: Study) -> list[ConventionFamily]:
    """In the order of the analyses; last, those that hang on what the study's results are about."""
    fixed: list[ConventionFamily] = []
    measured: list[ConventionFamily] = []
    for name, analysis in ANALYSES.items():
        declared = declaration(analysis, "CONVENTIONS")
        if callable(declared):
            measured += declared([member.result for member in study.members(name)])
        else:
            fixed += declared
    joined: dict[str, ConventionFamily] = {}
    for family in (*fixed, *measured):
        first = joined.get(family.title)
        joined[family.title] = family if first is None else _join(first, family)
    return list(joined.values())


def _join(first: ConventionFamily, second: ConventionFamily) -> ConventionFamily:
    conventions = (*first.conventions, *second.conventions)
    return replace(
        first, conventions=conventions, also=tuple(dict.fromkeys((*first.also, *second.also)))
    )
