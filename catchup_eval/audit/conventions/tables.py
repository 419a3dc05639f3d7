"""A study under every convention, as tables and sentences, for a page and for comparisons."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catchup_eval.audit.conventions.quotes import QuoteMatches
from catchup_eval.audit.conventions.rankings import DECIDES, ConventionComparison, ConventionResult
from catchup_eval.report import formatting
from catchup_eval.report.names import headings
from catchup_eval.report.tables import Cell, Table, cells
from catchup_eval.results.summary import PERCENT

HOW = (
    "Papers print different numbers under one name. Each block is one name; each row is one way "
    "to compute it, from the same stored outcomes of the same networks. Brackets are 95 % "
    "intervals; tau is Kendall's, between a row's ranking of the models and that of its block's "
    "first row: 1 is the same ranking, -1 the reverse."
)
PAIRS = (
    "Two models are told apart where the interval of their difference over the same images, or "
    "over seeds, lacks zero; where a convention has no outcomes of single images, where their own "
    "intervals do not touch. No correction is made for the number of pairs."
)


@dataclass(frozen=True)
class ConventionsSection:
    """One study under every convention.

    Args:
        finding: one sentence.
        values: every convention that is stored, for every group.
        swaps: the pairs whose order depends on the convention.
        users: who uses each, and how it is computed.
        absent: what is not stored, and what it would take.
        answers: to the quotes.
    """

    finding: str
    values: Table
    swaps: Table
    users: Table
    absent: Table
    answers: Sequence[QuoteMatches] = ()
    how: str = HOW
    pairs: str = PAIRS

    @property
    def tables(self) -> list[Table]:
        """All that are not empty."""
        known = (self.values, self.swaps, self.users, self.absent)
        return [table for table in known if table.blocks]


def section(
    views: Sequence[ConventionComparison],
    groups: Sequence[str],
    answers: Sequence[QuoteMatches] = (),
) -> ConventionsSection:
    """Lay out what was seen.

    Args:
        groups: the study's, in its order.
    """
    here = [view for view in views if view.available]
    return ConventionsSection(
        finding(here),
        values_table(here, groups),
        swaps_table(here),
        users_table(here),
        unavailable_table(views),
        answers,
    )


def finding(views: Sequence[ConventionComparison]) -> str:
    """Whether the ranking depends on the convention, in a sentence."""
    ranked = [view for view in views if view.smallest_tau[0] == view.smallest_tau[0]]
    if not ranked:
        return "There is no ranking to compare: it takes two models and two stored conventions."
    changed = [view for view in ranked if view.swaps]
    beyond = [view for view in changed if any(swap.verdict == DECIDES for swap in view.swaps)]
    names = f" ({', '.join(view.family.title for view in changed)})" if changed else ""
    told = f"; in {len(beyond)} the convention alone decides who is better" if beyond else ""
    if changed and not beyond:
        told = "; no two conventions contradict each other beyond their intervals"
    return (
        f"The ranking of the models depends on the convention in {len(changed)} of {len(ranked)} "
        f"families that have more than one{names}{told}."
    )


def values_table(views: Sequence[ConventionComparison], groups: Sequence[str]) -> Table:
    """A block for each family, a row for each stored convention, a column for each group."""
    left, right = ["Name", "Convention (%)"], ["n", "tau", "Remark"]
    columns = [*left, *headings(groups, [*left, *right]), *right]
    blocks = [[_value_row(view, seen, groups) for seen in view.available] for view in views]
    caption = "The same networks under every stored convention."
    return Table("conventions", caption, columns, blocks, words=2, notes=1)


def _value_row(
    view: ConventionComparison, seen: ConventionResult, groups: Sequence[str]
) -> list[Cell]:
    tau = np.nan if seen is view.available[0] else view.tau(seen)
    lacking = f"needs {seen.needs}" if seen.needs else ""
    return cells(
        [
            view.family.title,
            f"{seen.convention.name} {formatting.ARROWS[seen.convention.better]}",
            *(formatting.format_estimate(seen.readings.get(group), PERCENT) for group in groups),
            formatting.format_count([one.n for one in seen.readings.values()]),
            formatting.NONE if tau != tau else formatting.format_number(tau, "", 2),
            "; ".join(filter(None, [*seen.notes, lacking])),
        ]
    )


def swaps_table(views: Sequence[ConventionComparison]) -> Table:
    """A block for each family whose ranking changes, a row for each pair that swaps."""
    columns = ["Name", "Better", "Worse", "Under", "The other way round under", "Beyond chance?"]
    blocks = [
        [
            cells([view.family.title, *swap[:2], *map("; ".join, swap[2:4]), swap.verdict])
            for swap in view.swaps
        ]
        for view in views
    ]
    caption = "Pairs of models whose order depends on the convention."
    return Table(
        "conventions-swaps", caption, columns, [b for b in blocks if b], words=len(columns)
    )


def users_table(views: Sequence[ConventionComparison]) -> Table:
    """Who uses each stored convention, and how it is computed; once for each name."""
    columns = ["Name", "Convention", "Used by", "How"]
    known = {
        name: {seen.convention.name: seen.convention for view in alike for seen in view.available}
        for name, alike in _group_by_name(views).items()
    }
    blocks = [
        [cells([name, one.name, one.used_by, one.how]) for one in conventions.values()]
        for name, conventions in known.items()
    ]
    return Table("conventions-users", "Who means what.", columns, blocks, words=len(columns))


def unavailable_table(views: Sequence[ConventionComparison]) -> Table:
    """What is not stored of any model; conventions that need the same share a row."""
    columns = ["Name", "Not stored", "Needs"]
    blocks = [list(_absent_rows(name, alike)) for name, alike in _group_by_name(views).items()]
    caption = "Conventions of which nothing is stored."
    return Table(
        "conventions-absent", caption, columns, [b for b in blocks if b], words=len(columns)
    )


def _absent_rows(name: str, views: Sequence[ConventionComparison]) -> Iterator[list[Cell]]:
    absent = [seen for view in views for seen in view.unavailable]
    for needs in dict.fromkeys(seen.needs for seen in absent):
        lacking = dict.fromkeys(seen.convention.name for seen in absent if seen.needs == needs)
        yield cells([name, "; ".join(lacking), needs])


def _group_by_name(views: Sequence[ConventionComparison]) -> dict[str, list[ConventionComparison]]:
    """Views of one name together, in order."""
    names = dict.fromkeys(view.family.name for view in views)
    return {name: [view for view in views if view.family.name == name] for name in names}


def frame(views: Sequence[ConventionComparison]) -> pd.DataFrame:
    """A row for each convention and group, full precision."""
    rows = [row for view in views for seen in view.available for row in _frame_rows(view, seen)]
    return pd.DataFrame(rows)


def _frame_rows(view: ConventionComparison, seen: ConventionResult) -> Iterator[dict[str, object]]:
    for group, reading in seen.readings.items():
        yield {
            "name": view.family.title,
            "convention": seen.convention.name,
            "better": seen.convention.better,
            "model": group,
            "value": reading.mean,
            "low": reading.interval.low,
            "high": reading.interval.high,
            "n": reading.n,
            "seeds": len(reading.values),
            "tau": view.tau(seen),
            "note": "; ".join(seen.notes),
        }
