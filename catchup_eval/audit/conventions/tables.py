"""The conventions of a study, as tables and sentences, for a page and for comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catchup_eval.analysis.conventions import Convention
from catchup_eval.audit.conventions.rankings import (
    DECIDES,
    ConventionComparison,
    ConventionResult,
    tau,
)
from catchup_eval.report import formatting
from catchup_eval.report.names import headings
from catchup_eval.report.tables import Cell, Table, cells
from catchup_eval.results.summary import PERCENT

HOW = (
    "Papers print different numbers under one name. Each block is one name; each row is one "
    "definition of it, from the same stored outcomes of the same models. Brackets are 95 % "
    "intervals; tau is Kendall's, between a row's ranking of the models and that of its block's "
    "first row: 1 is the same ranking, -1 the reverse."
)
PAIRS = (
    "Two models differ significantly where the interval of their difference over the same images, "
    "or over seeds, lacks zero; where a convention has no outcomes of single images, where their "
    "own intervals do not touch. No correction is made for the number of pairs."
)


@dataclass(frozen=True)
class ConventionsSection:
    """The conventions of one study.

    Args:
        finding: one sentence.
        values: every convention that is stored, for every group.
        swaps: the pairs whose order depends on the convention.
        users: who uses each, and how it is computed.
        absent: what is not stored, and what it would take.
    """

    finding: str
    values: Table
    swaps: Table
    users: Table
    absent: Table
    how: str = HOW

    @property
    def tables(self) -> list[Table]:
        """The tables that are not empty."""
        known = (self.values, self.swaps, self.users, self.absent)
        return [table for table in known if table.blocks]


def section(
    comparisons: Sequence[ConventionComparison], groups: Sequence[str]
) -> ConventionsSection:
    """Lay out the estimates.

    Args:
        groups: the study's, in its order.
    """
    here = [one for one in comparisons if one.available]
    return ConventionsSection(
        finding(here),
        values_table(here, groups),
        swaps_table(here),
        users_table(here),
        unavailable_table(comparisons),
    )


def finding(comparisons: Sequence[ConventionComparison]) -> str:
    """Whether the ranking depends on the convention, in a sentence."""
    ranked = [one for one in comparisons if one.is_ranked]
    if not ranked:
        return "There is no ranking to compare: it takes two models and two stored conventions."
    changed = [one for one in ranked if one.swaps]
    decided = [one for one in changed if any(swap.verdict == DECIDES for swap in one.swaps)]
    names = f" ({', '.join(one.family.title for one in changed)})" if changed else ""
    more = f"; in {len(decided)} the convention alone decides which is better" if decided else ""
    if changed and not decided:
        more = "; no two conventions contradict each other significantly"
    return (
        f"The ranking of the models depends on the convention in {len(changed)} of {len(ranked)} "
        f"families that have more than one{names}{more}."
    )


def values_table(comparisons: Sequence[ConventionComparison], groups: Sequence[str]) -> Table:
    """A block for each family, a row for each stored convention, a column for each group."""
    left, right = ["Name", "Convention (%)"], ["n", "tau", "Remark"]
    columns = [*left, *headings(groups, [*left, *right]), *right]
    blocks = [
        [_value_row(comparison, one, groups) for one in comparison.available]
        for comparison in comparisons
    ]
    caption = "The same models under every stored convention."
    return Table("conventions", caption, columns, blocks, words=2, notes=1)


def _value_row(
    comparison: ConventionComparison, one: ConventionResult, groups: Sequence[str]
) -> list[Cell]:
    first = comparison.available[0]
    needs = [f"needs {one.needs}"] if one.needs else []
    return cells(
        [
            comparison.family.title,
            f"{one.convention.name} {formatting.ARROWS[one.convention.better]}",
            *(formatting.format_estimate(one.readings.get(group), PERCENT) for group in groups),
            formatting.format_count([reading.n for reading in one.readings.values()]),
            formatting.format_number(np.nan if one is first else tau(first, one), "", 2),
            "; ".join([*one.notes, *needs]),
        ]
    )


def swaps_table(comparisons: Sequence[ConventionComparison]) -> Table:
    """A block for each family whose ranking changes, a row for each pair whose order changes."""
    columns = ["Name", "Better", "Worse", "Under", "Reversed under", "Significant?"]
    blocks = [
        [
            cells([comparison.family.title, *swap[:2], *map("; ".join, swap[2:4]), swap.verdict])
            for swap in comparison.swaps
        ]
        for comparison in comparisons
    ]
    return _words_table(
        "conventions-swaps",
        "Pairs of models whose order depends on the convention.",
        columns,
        blocks,
    )


def users_table(comparisons: Sequence[ConventionComparison]) -> Table:
    """Who uses each stored convention, and how it is computed; once for each name."""
    known: dict[str, dict[str, Convention]] = {}
    for comparison in comparisons:
        of_name = known.setdefault(comparison.family.name, {})
        of_name |= {one.convention.name: one.convention for one in comparison.available}
    blocks = [
        [cells([name, one.name, one.used_by, one.how]) for one in conventions.values()]
        for name, conventions in known.items()
    ]
    columns = ["Name", "Convention", "Used by", "How"]
    return _words_table("conventions-users", "Who means what.", columns, blocks)


def unavailable_table(comparisons: Sequence[ConventionComparison]) -> Table:
    """Conventions not stored of any model; one row for those with the same need."""
    known: dict[str, dict[str, dict[str, None]]] = {}
    for comparison in comparisons:
        by_need = known.setdefault(comparison.family.name, {})
        for one in comparison.unavailable:
            by_need.setdefault(one.needs, {})[one.convention.name] = None
    blocks = [
        [cells([name, "; ".join(lacking), needs]) for needs, lacking in by_need.items()]
        for name, by_need in known.items()
    ]
    caption = "Conventions of which nothing is stored."
    return _words_table("conventions-absent", caption, ["Name", "Not stored", "Needs"], blocks)


def _words_table(
    name: str, caption: str, columns: list[str], blocks: Sequence[Sequence[Sequence[Cell]]]
) -> Table:
    return Table(name, caption, columns, [one for one in blocks if one], words=len(columns))


def frame(comparisons: Sequence[ConventionComparison]) -> pd.DataFrame:
    """A row for each convention and group, full precision."""
    rows: list[dict[str, object]] = []
    for comparison in comparisons:
        for one in comparison.available:
            rows += [
                {
                    "name": comparison.family.title,
                    "convention": one.convention.name,
                    "better": one.convention.better,
                    "model": group,
                    "value": reading.mean,
                    "low": reading.interval.low,
                    "high": reading.interval.high,
                    "n": reading.n,
                    "seeds": len(reading.values),
                    "tau": tau(comparison.available[0], one),
                    "note": "; ".join(one.notes),
                }
                for group, reading in one.readings.items()
            ]
    return pd.DataFrame(rows)
